package etw

import (
	"fmt"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

const (
	// DefaultHold is how long a record waits for earlier ones of other streams: sessions hand over what is older than
	// their flush timer of a second, and half a second is for a busy host.
	DefaultHold = 1500 * time.Millisecond
	// liveBatch is the size of a batch.
	liveBatch = 4096
)

// LiveDecoder decodes the records of a [Merger] as they come and emits what they make. Its fields are set before the
// first Step; one goroutine calls its methods.
type LiveDecoder struct {
	// Decoder decodes the records into its Out.
	Decoder *Decoder
	// Merger has their streams.
	Merger *Merger
	// Hold is how long a record waits for earlier ones; 0 means DefaultHold.
	Hold time.Duration
	// Emit takes the batches.
	Emit source.Emit
	// EverySecond adds what is read once a second, at time t, the end of a second; nil for nothing.
	EverySecond func(t model.Time)

	// newest is the time of the latest event that was emitted, next the next whole second.
	newest, next  model.Time
	late          uint64
	lateTold      uint64
	dropped       uint64
	partial       uint64
	partialToldAt model.Time
	// losses wait for their time.
	losses []model.Loss
}

// Lose adds a loss when the stream has reached its time.
func (l *LiveDecoder) Lose(v model.Loss) { l.losses = append(l.losses, v) }

// lose adds the losses up to time t.
func (l *LiveDecoder) lose(t model.Time) {
	rest := l.losses[:0]
	for _, v := range l.losses {
		if v.Time > t {
			rest = append(rest, v)
			continue
		}
		v.Time = t
		l.Decoder.Out.AddLoss(v)
	}
	l.losses = rest
}

// Step decodes what is older than the hold-back at the time stamp now, and ends the seconds that have passed, whether
// records came or not.
func (l *LiveDecoder) Step(now uint64) error {
	hold := l.Hold
	if hold == 0 {
		hold = DefaultHold
	}
	until := l.Decoder.Clock.Ticks(l.Decoder.Clock.Time(now) - model.Time(hold))
	return l.step(until)
}

// End decodes everything that is left and ends the last interval.
func (l *LiveDecoder) End(now uint64) error {
	last := l.Decoder.Clock.Time(now)
	if err := l.release(^uint64(0)); err != nil {
		return err
	}
	last = max(last, l.newest)
	l.Decoder.Finish(last)
	for _, v := range l.losses {
		last = max(last, v.Time)
	}
	l.second(last)
	if err := l.flush(); err != nil {
		return err
	}
	l.reportLate(l.newest)
	return l.flush()
}

func (l *LiveDecoder) step(until uint64) error {
	t := l.Decoder.Clock.Time(until)
	if l.next == 0 {
		l.next = max(t, l.Decoder.Clock.Start).NextSecond()
	}
	for l.next <= t {
		// All records of the second are decoded before it ends.
		if err := l.release(l.Decoder.Clock.Ticks(l.next - 1)); err != nil {
			return err
		}
		l.Decoder.Advance(l.next)
		l.second(l.next)
		if l.next += model.Time(source.Interval); t-l.next > model.Time(time.Hour) {
			l.next = t.NextSecond() // the clock has stepped, or the machine was suspended: no hour of empty seconds
		}
	}
	if err := l.release(until); err != nil {
		return err
	}
	return l.flush()
}

// release decodes the records up to a time stamp.
func (l *LiveDecoder) release(until uint64) error {
	return l.Merger.Release(until, func(r *Record) error {
		l.Decoder.Decode(r)
		if l.Decoder.Out.Len() < liveBatch {
			return nil
		}
		return l.flush()
	})
}

// second reports at the end of a second what was lost in it.
func (l *LiveDecoder) second(t model.Time) {
	out := l.Decoder.Out
	if n := l.Merger.Dropped(); n > l.dropped {
		out.AddLoss(model.Loss{
			Time: t, Dur: source.Interval, CPU: -1, Lost: n - l.dropped, Origin: model.OriginMemory,
			Detail: "records arrived faster than they could be decoded",
		})
		l.dropped = n
	}
	l.reportLate(t)
	if n := l.Decoder.Partial(); n > l.partial && t-l.partialToldAt >= 10*model.Time(time.Second) {
		l.partial, l.partialToldAt = n, t
		out.AddProbe(model.Probe{
			Time: t, Name: "etw", Part: "payloads", State: model.ProbeDegraded,
			Reason: fmt.Sprintf("%d records are shorter than their layout and were not decoded", n),
		})
	}
	if l.EverySecond != nil {
		l.EverySecond(t)
	}
	l.lose(t)
}

// reportLate reports the events that were too late for their place.
func (l *LiveDecoder) reportLate(t model.Time) {
	if l.late > l.lateTold {
		l.Decoder.Out.AddLoss(model.Loss{
			Time: max(t, l.newest), CPU: -1, Lost: l.late - l.lateTold, Origin: model.OriginLate,
			Detail: "events that came too late to be put in order",
		})
		l.lateTold = l.late
	}
}

// flush emits what was decoded.
func (l *LiveDecoder) flush() error {
	out := l.Decoder.Out
	out.SortByTime()
	b := out.Take()
	if b == nil {
		return nil
	}
	for i := range b.Events {
		if b.Events[i].Time < l.newest {
			l.late++
		}
		l.newest = max(l.newest, b.Events[i].Time)
	}
	return l.Emit(b)
}
