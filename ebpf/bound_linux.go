package ebpf

import (
	"time"
)

// When detail is left out because of lostbeat's own CPU time, and when it is taken up again.
const (
	// overFor is how long the bound must be passed: in the mean, and in more than half of the time.
	overFor = 10 * time.Second
	// meanOver is the time whose mean counts as well, where at least minAbove of it was above the bound: load that comes
	// and goes passes the bound in the mean only, a single burst does not.
	meanOver = time.Minute
	minAbove = 5 * time.Second
	// calmShare is the part of the bound below which detail is taken up again, one step at a time, after calmFirst. Each
	// time that a step has to be left out again within steadyFor, the time doubles, up to calmLongest.
	calmShare   = 0.5
	calmFirst   = time.Minute
	calmLongest = 15 * time.Minute
	steadyFor   = 20 * time.Minute
)

// bound decides how many steps of detail are left out, from what lostbeat takes itself.
type bound struct {
	// max is the share of one CPU that may be taken, 0 for no bound; steps is how many steps there are.
	max   float64
	steps int
	// shed is how many are left out.
	shed int
	// recent are the intervals since the last change, for meanOver at most.
	recent []spent
	// since is the time since the last change, calm how long it must be quiet before the next step is taken up again.
	since, calm time.Duration
	// restored is the time since a step was taken up again, 0 when none was.
	restored time.Duration
	// helpless says that the bound is passed with everything left out.
	helpless bool
}

// spent is the CPU time of an interval.
type spent struct{ cpu, length time.Duration }

// share is the mean of the last length, and how much of that time was above max.
func (b *bound) share(length time.Duration) (mean float64, above, seen time.Duration) {
	var cpu time.Duration
	for i := len(b.recent) - 1; i >= 0 && seen < length; i-- {
		s := b.recent[i]
		cpu += s.cpu
		seen += s.length
		if float64(s.cpu) > b.max*float64(s.length) {
			above += s.length
		}
	}
	if seen > 0 {
		mean = float64(cpu) / float64(seen)
	}
	return mean, above, seen
}

// add takes the CPU time of an interval. It returns 1 when one step more is to be left out, -1 when the last one is to
// be taken up again, and the share of a CPU that decided that.
func (b *bound) add(cpu, length time.Duration) (change int, share float64) {
	if b.max <= 0 || length <= 0 {
		return 0, 0
	}
	b.recent = append(b.recent, spent{cpu, length})
	b.since += length
	if b.restored > 0 {
		b.restored += length
	}
	var kept time.Duration
	for _, s := range b.recent {
		kept += s.length
	}
	for kept-b.recent[0].length >= meanOver {
		kept -= b.recent[0].length
		b.recent = b.recent[1:]
	}
	share, over := b.over()
	b.helpless = over && b.shed == b.steps
	switch {
	case over && b.shed < b.steps:
		if b.restored == 0 || b.restored > steadyFor {
			b.calm = calmFirst
		} else {
			b.calm = min(2*b.calm, calmLongest)
		}
		b.restored = 0
		b.shed++
		b.changed()
		return 1, share
	case b.shed > 0 && b.since >= b.calm:
		mean, _, _ := b.share(meanOver)
		if mean >= calmShare*b.max {
			return 0, mean
		}
		b.shed--
		b.restored = length
		b.changed()
		return -1, mean
	}
	return 0, share
}

// over says that the bound is passed, and by which share.
func (b *bound) over() (share float64, over bool) {
	mean, above, seen := b.share(overFor)
	if seen >= overFor && mean > b.max && above > seen/2 {
		return mean, true
	}
	long, above, seen := b.share(meanOver)
	if seen >= meanOver && long > b.max && above >= minAbove {
		return long, true
	}
	return mean, false
}

// changed begins anew: what was taken before a change says nothing of what is taken after it.
func (b *bound) changed() { b.since, b.recent = 0, nil }
