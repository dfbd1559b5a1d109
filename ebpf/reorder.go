package ebpf

import (
	"cmp"
	"slices"

	"lostbeat/model"
)

const (
	// maxBatch is the most events in one emitted batch.
	maxBatch = 4096
	// minRun is the shortest run of events of one chunk that is emitted as a
	// batch of its own, which needs no copy.
	minRun = 256
)

// reorder puts what is read from many processors into time order. Records
// leave the ringbuf nearly sorted: one is out of place when an interrupt came
// between its time stamp and its reservation, or when two processors raced. So
// it holds chunks, each sorted in itself, and merges them where they overlap.
type reorder struct {
	chunks []chunk
	// last is the time of the last event passed on.
	last model.Time
	// late counts the events that were passed on after a later one.
	late   uint64
	mixed  model.Builder
	memory memory
}

// chunk is a sorted batch whose first events may have been passed on.
type chunk struct {
	batch *model.Batch
	next  int
	lease *lease
}

func (c *chunk) rest() []model.Event { return c.batch.Events[c.next:] }

// add takes a batch.
func (r *reorder) add(b *model.Batch) {
	sortNearly(b.Events)
	r.chunks = append(r.chunks, chunk{batch: b, lease: r.memory.lease(b.Events)})
}

// sortNearly sorts by time, keeping the order of equal times. It is quick where
// few events are out of place, by little: events are large, and a general sort
// moves them more often.
func sortNearly(events []model.Event) {
	moves := 4 * len(events)
	for i := 1; i < len(events); i++ {
		t := events[i].Time
		if t >= events[i-1].Time {
			continue
		}
		place := i - 1
		for place > 0 && events[place-1].Time > t {
			place--
		}
		if moves -= i - place; moves < 0 {
			slices.SortStableFunc(events, func(a, b model.Event) int { return cmp.Compare(a.Time, b.Time) })
			return
		}
		e := events[i]
		copy(events[place+1:i+1], events[place:i])
		events[place] = e
	}
}

// release emits the events up to and including time until, in time order.
func (r *reorder) release(until model.Time, emit func(*model.Batch) error) error {
	for {
		c, limit := r.first(until)
		if c == nil {
			break
		}
		rest := c.rest()
		n := after(rest, limit)
		if n >= minRun {
			if err := r.emitMixed(emit); err != nil {
				return err
			}
			if err := r.emitRun(c, rest[:n], emit); err != nil {
				return err
			}
		} else {
			r.mixed.Import(c.batch, rest[:n]...)
			if r.mixed.Len() >= maxBatch-minRun {
				if err := r.emitMixed(emit); err != nil {
					return err
				}
			}
		}
		c.next += n
	}
	r.chunks = slices.DeleteFunc(r.chunks, func(c chunk) bool {
		done := len(c.rest()) == 0
		if done {
			c.lease.end()
		}
		return done
	})
	return r.emitMixed(emit)
}

// first returns the chunk with the earliest event up to time until, and the
// time up to which its events come before those of all others; nil when there
// is none. Of chunks with equal times the oldest comes first.
func (r *reorder) first(until model.Time) (earliest *chunk, limit model.Time) {
	limit = until
	for i := range r.chunks {
		rest := r.chunks[i].rest()
		if len(rest) == 0 || rest[0].Time > until {
			continue
		}
		switch t := rest[0].Time; {
		case earliest == nil:
			earliest = &r.chunks[i]
		case t < earliest.rest()[0].Time:
			limit = earliest.rest()[0].Time - 1 // equal times: the older chunk's turn
			earliest = &r.chunks[i]
		default:
			limit = min(limit, t)
		}
	}
	return earliest, limit
}

// after returns the number of events up to and including time limit.
func after(events []model.Event, limit model.Time) int {
	n, _ := slices.BinarySearchFunc(events, limit, func(e model.Event, t model.Time) int {
		if e.Time <= t {
			return -1
		}
		return 1
	})
	return n
}

// emitRun passes on events of a batch in parts that share its tables.
func (r *reorder) emitRun(c *chunk, events []model.Event, emit func(*model.Batch) error) error {
	for part := range slices.Chunk(events, maxBatch) {
		r.count(part)
		out := *c.batch
		out.Events = part
		c.lease.share(&out)
		if err := emit(&out); err != nil {
			return err
		}
	}
	return nil
}

// emitMixed passes on the events that were merged from several chunks.
func (r *reorder) emitMixed(emit func(*model.Batch) error) error {
	b := r.mixed.Take()
	if b == nil {
		return nil
	}
	r.memory.provide(&r.mixed)
	r.count(b.Events)
	l := r.memory.lease(b.Events)
	l.share(b)
	l.end()
	return emit(b)
}

// count notes what is passed on and what of it is late.
func (r *reorder) count(events []model.Event) {
	n, _ := slices.BinarySearchFunc(events, r.last, func(e model.Event, t model.Time) int {
		if e.Time < t {
			return -1
		}
		return 1
	})
	r.late += uint64(n)
	r.last = max(r.last, events[len(events)-1].Time)
}
