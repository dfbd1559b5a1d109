package ebpf

import (
	"slices"

	"lostbeat/model"
)

// maxBatch is the most events in one emitted batch.
const maxBatch = 4096

// reorder puts what is read from many processors into time order. Records
// leave the ringbuf nearly sorted: one is late when an interrupt came between
// its time stamp and its reservation. So events are held for one generation:
// what the next generation holds that belongs before is moved over first.
type reorder struct {
	held *model.Batch
	// cut is the time up to which the held generation reaches.
	cut model.Time
	// last is the time of the last event passed on.
	last model.Time
	// late counts the events that came more than a generation too late; they
	// are passed on out of order.
	late uint64
}

// next takes the events of a generation, all of which happened up to cut, and
// returns the previous one in time order, nil when it is empty.
func (r *reorder) next(generation *model.Batch, cut model.Time) *model.Batch {
	out := r.held
	if generation != nil {
		byTime := func(a, b model.Event) int {
			switch {
			case a.Time < b.Time:
				return -1
			case a.Time > b.Time:
				return 1
			}
			return 0
		}
		if !slices.IsSortedFunc(generation.Events, byTime) {
			slices.SortStableFunc(generation.Events, byTime)
		}
		n, _ := slices.BinarySearchFunc(generation.Events, r.cut+1, func(e model.Event, t model.Time) int {
			if e.Time < t {
				return -1
			}
			return 1
		})
		if n > 0 {
			var merged model.Builder
			if out != nil {
				merged.Import(out, out.Events...)
			}
			merged.Import(generation, generation.Events[:n]...)
			merged.SortByTime()
			out = merged.Take()
			generation.Events = generation.Events[n:]
		}
		if len(generation.Events) == 0 {
			generation = nil
		}
	}
	r.held, r.cut = generation, cut
	if out == nil {
		return nil
	}
	for i := range out.Events {
		if out.Events[i].Time >= r.last {
			break
		}
		r.late++
	}
	r.last = max(r.last, out.Events[len(out.Events)-1].Time)
	return out
}

// split passes a batch on in parts of at most maxBatch events, which share its tables.
func split(b *model.Batch, emit func(*model.Batch) error) error {
	if b == nil {
		return nil
	}
	for events := range slices.Chunk(b.Events, maxBatch) {
		part := *b
		part.Events = events
		if err := emit(&part); err != nil {
			return err
		}
	}
	return nil
}
