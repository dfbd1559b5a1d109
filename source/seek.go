package source

import (
	"lostbeat/model"
	"lostbeat/model/state"
)

// Seek emits the events of a source without an index, which is read from its beginning, as RunFrom wants them: what
// lies before a time is folded into a state and emitted as a keyframe.
type Seek struct {
	emit Emit
	from model.Time
	// before folds what lies before from; nil once that time is reached.
	before *state.State
	// Newest is the time of the latest event emitted, Late how many were emitted after a later one.
	Newest model.Time
	Late   uint64
}

// NewSeek returns a Seek that emits the events from time t on; 0 means all of them.
func NewSeek(t model.Time, emit Emit) *Seek {
	s := &Seek{emit: emit, from: t}
	if t > 0 {
		s.before = state.New()
	}
	return s
}

// Emit takes the next batch of the source, which is in order of time.
func (s *Seek) Emit(b *model.Batch) error {
	if s.before != nil {
		n := 0
		for n < len(b.Events) && b.Events[n].Time < s.from {
			n++
		}
		past, rest := *b, *b
		past.Events, rest.Events = b.Events[:n], b.Events[n:]
		s.before.Apply(&past)
		if len(rest.Events) == 0 {
			return nil
		}
		if err := s.End(); err != nil {
			return err
		}
		b = &rest
	}
	for i := range b.Events {
		if b.Events[i].Time < s.Newest {
			s.Late++
		}
		s.Newest = max(s.Newest, b.Events[i].Time)
	}
	return s.emit(b)
}

// End emits the keyframe, if no event has reached its time.
func (s *Seek) End() error {
	if s.before == nil {
		return nil
	}
	var b model.Builder
	s.before.Snapshot(s.from, &b)
	s.before = nil
	if keyframe := b.Take(); keyframe != nil {
		return s.emit(keyframe)
	}
	return nil
}
