// Package screen feeds the terminal UI with a stream that jumps: a replay.
package screen

import (
	"sync"

	"lostbeat/fold"
	"lostbeat/model"
)

// Jumping is a fold.History that forgets what was before a jump, at the
// jump's place in the stream: events from before it wait in the queue between
// player and screen.
type Jumping struct {
	*fold.History

	mu    sync.Mutex
	marks map[*model.Batch]bool
}

// Mark returns the batch that stands for a jump.
func (s *Jumping) Mark(to model.Time) *model.Batch {
	var b model.Builder
	b.AddMeta(model.Meta{Time: to, Flags: model.FlagKeyframe, Key: "replay", Value: "jump"})
	mark := b.Take()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil {
		s.marks = make(map[*model.Batch]bool)
	}
	s.marks[mark] = true
	return mark
}

// Write implements pipeline.Sink.
func (s *Jumping) Write(b *model.Batch) error {
	s.mu.Lock()
	jump := s.marks[b]
	delete(s.marks, b)
	s.mu.Unlock()
	if jump {
		s.Reset()
		return nil
	}
	return s.History.Write(b)
}
