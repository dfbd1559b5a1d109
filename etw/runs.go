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
	// Tally is what ran, and all that ran of it in the interval.
	*Tally
	// Whole is how long it ran, Exclusive without nested runs.
	Whole, Exclusive time.Duration
}

// Runs adds up the runs of DPCs or ISRs by interval.
type Runs struct {
	d       *Decoder
	tallies map[RunKey]*tally
	// recent remembers tallies by a hash of their keys: the map takes as long as everything else that is done for a run.
	recent [1 << recentBits]*tally
	// traced says that interrupts are in the capture, so that what was nested in a run is known.
	traced bool
}

// recentBits is the binary logarithm of how many tallies are remembered.
const recentBits = 10

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
	exclusive := whole
	if !r.traced {
		flags, exclusive = model.FlagInclusive, 0
	} else if nested > 0 {
		flags = model.FlagInclusive
		exclusive -= time.Duration(d.Clock.Duration(0, nested))
	}
	start := t.Add(-whole)
	const spread = 0x9e3779b97f4a7c15 // of Fibonacci hashing: the upper bits depend on all bits
	hash := (k.Routine ^ uint64(k.CPU)<<48 ^ uint64(k.Vector)<<32 ^ uint64(k.Class)<<40) * spread
	place := &r.recent[hash>>(64-recentBits)]
	e := *place
	if e == nil || e.RunKey != k {
		if e = r.tallies[k]; e == nil {
			e = &tally{Tally: Tally{RunKey: k, Symbol: d.Symbol(k.Routine, t)}, first: start}
			r.tallies[k] = e
		}
		*place = e
	}
	e.Flags |= flags
	e.first = min(e.first, start)
	e.Histogram.Observe(uint64(whole))
	return Run{&e.Tally, whole, exclusive}, flags, true
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
	clear(r.recent[:])
}
