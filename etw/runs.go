package etw

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// RunKey identifies what ran: one routine of one class on one processor.
type RunKey struct {
	CPU     int32
	Class   model.Class
	Routine uint64
	// Vector is the interrupt vector, 0 for a DPC.
	Vector uint16
}

// Tally is what ran in an interval.
type Tally struct {
	RunKey
	Symbol
	// Flags has model.FlagInclusive when the durations contain nested
	// interrupts, or may do so.
	Flags model.Flags
	// Dur is the interval; it is longer when a run that ended in it had begun
	// before it.
	Dur       time.Duration
	Histogram model.Histogram
}

// Run is one completed DPC or ISR.
type Run struct {
	RunKey
	Symbol
	// Start and End are when it ran.
	Start, End model.Time
	// Exclusive is its duration without nested runs.
	Exclusive time.Duration
}

// Runs adds up the runs of DPCs or ISRs by interval.
type Runs struct {
	d       *Decoder
	tallies map[RunKey]*tally
	// traced says that interrupts are in the capture, so that what was nested in a run is known.
	traced bool
}

type tally struct {
	Tally
	first model.Time
}

// NewRuns returns a collection whose tallies go to emit at the end of each
// interval. traced says whether the capture has ISRs.
func NewRuns(d *Decoder, traced bool, emit func(end model.Time, t *Tally)) *Runs {
	r := &Runs{d: d, tallies: make(map[RunKey]*tally), traced: traced}
	d.EveryInterval(func(begin, end model.Time) { r.flush(begin, end, emit) })
	return r
}

// Add records that a routine ran from the time stamp initial to the record's.
// ok is false when the initial time does not make sense.
func (r *Runs) Add(k RunKey, initial uint64, rec *Record, t model.Time) (run Run, flags model.Flags, ok bool) {
	if initial > rec.Time {
		return run, 0, false
	}
	d := r.d
	k.CPU = rec.CPU
	nested := d.Completed(k.CPU, initial, rec.Time)
	whole := time.Duration(d.Clock.Duration(initial, rec.Time))
	run = Run{RunKey: k, Start: t.Add(-whole), End: t, Exclusive: whole - time.Duration(d.Clock.Duration(0, nested))}
	if !r.traced {
		flags, run.Exclusive = model.FlagInclusive, 0
	} else if nested > 0 {
		flags = model.FlagInclusive
	}
	e := r.tallies[k]
	if e == nil {
		e = &tally{Tally: Tally{RunKey: k, Symbol: d.Symbol(k.Routine, t)}, first: run.Start}
		r.tallies[k] = e
	}
	run.Symbol = e.Symbol
	e.Flags |= flags
	e.first = min(e.first, run.Start)
	e.Histogram.Observe(uint64(whole))
	return run, flags, true
}

// flush hands out the tallies of the interval that ends now, in a fixed order.
func (r *Runs) flush(begin, end model.Time, emit func(end model.Time, t *Tally)) {
	all := make([]*tally, 0, len(r.tallies))
	for _, e := range r.tallies {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *tally) int {
		return cmp.Or(
			cmp.Compare(a.CPU, b.CPU),
			cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Vector, b.Vector),
			cmp.Compare(a.Routine, b.Routine),
		)
	})
	for _, e := range all {
		e.Dur = end.Sub(min(begin, e.first))
		emit(end, &e.Tally)
	}
	clear(r.tallies)
}
