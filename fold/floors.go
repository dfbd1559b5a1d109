package fold

import "slices"

// Lengths of a holder's history.
const (
	// SecondFloors is how many seconds of floors are kept.
	SecondFloors = 304
	// CoarseSeconds is the length of a coarse floor, coarseFloors how many are kept.
	CoarseSeconds = 10
	CoarseFloors  = 184
)

// floors are the floors of consecutive spans of time, as runs of equal ones: a
// host has thousands of processes that always hold the same few ports.
type floors []floorRun

// floorRun says that the floor is low from span number first on.
type floorRun struct{ first, low int32 }

// add appends the floor of span n and forgets those before the last keep.
func (f *floors) add(n, low, keep int) {
	if last := len(*f) - 1; last < 0 || (*f)[last].low != int32(low) {
		*f = append(*f, floorRun{int32(n), int32(low)})
	}
	old := 0
	for old+1 < len(*f) && int((*f)[old+1].first) <= n-keep+1 {
		old++
	}
	if old > 0 {
		*f = slices.Delete(*f, 0, old)
	}
}

// lowest returns the lowest floor of the spans first to last; those before the
// first that is known count as 0.
func (f floors) lowest(first, last int) int {
	low, end := 0, last
	for i := len(f) - 1; i >= 0 && end >= first; i-- {
		run := f[i]
		if int(run.first) > end {
			continue
		}
		if end == last {
			low = int(run.low)
		}
		low = min(low, int(run.low))
		end = int(run.first) - 1
	}
	if end >= first {
		low = min(low, 0)
	}
	return low
}

// highest returns the highest floor of the spans first to last; those before the
// first that is known count as 0.
func (f floors) highest(first, last int) int {
	high, end := 0, last
	for i := len(f) - 1; i >= 0 && end >= first; i-- {
		if run := f[i]; int(run.first) <= end {
			high = max(high, int(run.low))
			end = int(run.first) - 1
		}
	}
	return high
}

// turnover counts what happened second by second; seconds with nothing take no
// memory.
type turnover []secondCount

// secondCount is a count in second number tick.
type secondCount struct {
	tick  int32
	count uint32
}

// Add counts one more in the present second and forgets those before the last
// secondFloors.
func (t *turnover) Add(tick int) {
	if last := len(*t) - 1; last >= 0 && (*t)[last].tick == int32(tick) {
		(*t)[last].count++
		return
	}
	old := 0
	for old < len(*t) && int((*t)[old].tick) < tick-SecondFloors {
		old++
	}
	*t = append(slices.Delete(*t, 0, old), secondCount{int32(tick), 1})
}

// sum adds up the seconds first to last.
func (t turnover) sum(first, last int) uint64 {
	var sum uint64
	for i := len(t) - 1; i >= 0 && int(t[i].tick) >= first; i-- {
		if int(t[i].tick) <= last {
			sum += uint64(t[i].count)
		}
	}
	return sum
}
