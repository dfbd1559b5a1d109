// Package stats has the robust statistics with which counters are judged:
// what is usual for a series, how far a value lies from it, whether two series
// coincide by more than chance, whether a series grows, whether a rate has
// risen. Functions are pure and deterministic: the tests that are often done
// by random shuffling are exact here.
//
// A p-value is the probability of what was observed, or of something more
// extreme, where nothing but chance is at work. Inputs must not hold NaN.
package stats

import (
	"math"
	"slices"
)

// Median returns the middle of xs, the mean of the two middle ones where their
// number is even, and NaN for none. xs is not changed.
func Median(xs []float64) float64 { return Quantile(xs, 0.5) }

// Quantile returns the value below which the share q (0 to 1) of xs lies,
// interpolated linearly between neighbours; NaN for none. xs is not changed.
func Quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(xs)
	slices.Sort(sorted)
	return quantileSorted(sorted, q)
}

func quantileSorted(sorted []float64, q float64) float64 {
	at := min(max(q, 0), 1) * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	part := at - float64(low)
	return sorted[low]*(1-part) + sorted[low+1]*part
}

// madToSigma turns the median absolute deviation of a normal distribution into
// its standard deviation.
const madToSigma = 1.4826022185056018

// Baseline is what is usual for a series. Half of the values may be outliers
// without moving it.
type Baseline struct {
	// N is the number of values.
	N int
	// Median is the middle value, Low and High the 5th and the 95th percentile, Max the greatest.
	Median, Low, High, Max float64
	// Spread is the standard deviation that the median absolute deviation stands for; 0 for a series that is mostly
	// constant.
	Spread float64
}

// NewBaseline computes the baseline of xs; the zero Baseline for none.
func NewBaseline(xs []float64) Baseline {
	if len(xs) == 0 {
		return Baseline{}
	}
	sorted := slices.Clone(xs)
	slices.Sort(sorted)
	b := Baseline{
		N:      len(xs),
		Median: quantileSorted(sorted, 0.5),
		Low:    quantileSorted(sorted, 0.05),
		High:   quantileSorted(sorted, 0.95),
		Max:    sorted[len(sorted)-1],
	}
	for i, x := range sorted {
		sorted[i] = math.Abs(x - b.Median)
	}
	slices.Sort(sorted)
	b.Spread = madToSigma * quantileSorted(sorted, 0.5)
	return b
}

// Z returns how many spreads x lies above the median. floor is the least
// spread that counts, so that a series which hardly moves makes no alarm of
// every step; it must be above zero.
func (b Baseline) Z(x, floor float64) float64 {
	return (x - b.Median) / max(b.Spread, floor)
}
