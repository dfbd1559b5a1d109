package stats

import (
	"math"
	"slices"
)

// Trend is the result of the Mann-Kendall test, with Theil and Sen's slope.
type Trend struct {
	// N is the number of values.
	N int
	// S is the number of pairs that rise less the number of pairs that fall; Tau is S as a share of all pairs, -1 to 1.
	S   int64
	Tau float64
	// Z is S in its standard deviations, P its two-sided p-value.
	Z, P float64
	// Slope is the median of the slopes between all pairs; Low and High bound it with a confidence of 95 %.
	Slope, Low, High float64
}

// maxSlopes is the number of values up to which all pairs are used for the
// slope: their number is proportional to its square. Of a longer series an
// even selection is used.
const maxSlopes = 1500

// NewTrend tests whether xs rise or fall over the times ts, which must not
// fall. The test makes no assumption about the distribution, and an outlier
// does not move it; a series whose neighbours resemble each other (queues,
// ports held) gives smaller p-values than it deserves. With fewer than three
// values P is 1.
func NewTrend(ts, xs []float64) Trend {
	n := min(len(ts), len(xs))
	ts, xs = ts[:n], xs[:n]
	t := Trend{N: n, P: 1}
	if n < 3 {
		return t
	}
	t.S = concordance(xs)
	pairs := float64(n) * float64(n-1) / 2
	t.Tau = float64(t.S) / pairs
	deviation := math.Sqrt(kendallVariance(xs))
	if deviation > 0 {
		switch {
		case t.S > 0:
			t.Z = float64(t.S-1) / deviation
		case t.S < 0:
			t.Z = float64(t.S+1) / deviation
		}
		t.P = 2 * NormalTail(math.Abs(t.Z))
	}
	t.slope(ts, xs)
	return t
}

// concordance returns the number of rising pairs less that of falling ones, by
// counting inversions in a Fenwick tree over the ranks.
func concordance(xs []float64) (s int64) {
	values := slices.Clone(xs)
	slices.Sort(values)
	values = slices.Compact(values)
	tree := make([]int64, len(values)+1)
	sum := func(i int) (n int64) {
		for ; i > 0; i &= i - 1 {
			n += tree[i]
		}
		return n
	}
	for seen, x := range xs {
		rank, _ := slices.BinarySearch(values, x)
		below, upTo := sum(rank), sum(rank+1)
		s += below - (int64(seen) - upTo)
		for i := rank + 1; i < len(tree); i += i & -i {
			tree[i]++
		}
	}
	return s
}

// kendallVariance is the variance of S without a trend, corrected for equal values.
func kendallVariance(xs []float64) float64 {
	f := func(n float64) float64 { return n * (n - 1) * (2*n + 5) }
	sorted := slices.Clone(xs)
	slices.Sort(sorted)
	v := f(float64(len(sorted)))
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		v -= f(float64(j - i))
		i = j
	}
	return v / 18
}

// slope computes Theil and Sen's slope and its limits.
func (t *Trend) slope(ts, xs []float64) {
	if n := len(xs); n > maxSlopes {
		a, b := make([]float64, maxSlopes), make([]float64, maxSlopes)
		for i := range maxSlopes {
			j := i * (n - 1) / (maxSlopes - 1)
			a[i], b[i] = ts[j], xs[j]
		}
		ts, xs = a, b
	}
	var slopes []float64
	for i := range xs {
		for j := i + 1; j < len(xs); j++ {
			if d := ts[j] - ts[i]; d > 0 {
				slopes = append(slopes, (xs[j]-xs[i])/d)
			}
		}
	}
	if len(slopes) == 0 {
		return
	}
	slices.Sort(slopes)
	t.Slope = quantileSorted(slopes, 0.5)
	// Sen 1968: the ranks of the limits lie this far from the middle.
	c := 1.959963984540054 * math.Sqrt(kendallVariance(xs))
	count := float64(len(slopes))
	low := int(math.Floor((count-c)/2)) - 1
	high := int(math.Ceil((count + c) / 2))
	t.Low = slopes[min(max(low, 0), len(slopes)-1)]
	t.High = slopes[min(max(high, 0), len(slopes)-1)]
}
