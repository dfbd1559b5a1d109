package stats

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Difference is how the values of one series differ from those of another one.
type Difference struct {
	// A and B are the means.
	A, B float64
	// Low and High bound B-A: 95 of 100 such intervals hold it. Both are NaN where there are too few values.
	Low, High float64
	// P is the probability of means this far apart where nothing differs; 1 where there are too few values.
	P float64
	// Above is the share of pairs of values in which that of B is greater, those that are equal counted by half.
	Above float64
	// Independent is how many values of each series are as good as independent of each other.
	Independent [2]float64
}

const (
	// MinValues is how many values Compare needs of each series.
	MinValues = 12
	// minIndependent is how many of them have to be as good as independent.
	minIndependent = 4
	// resamples is how often the interval draws blocks of values again.
	resamples = 999
)

// Compare says how b differs from a, two series in the order of time. unit is what is small for the series: below it
// values count as they are, above it by their ratio.
//
// Neighbouring values resemble each other, so that there are fewer independent ones than values: their number follows
// from the correlation of neighbours. The probability is that of Welch's t-test of the values on that scale, with so
// many values; the interval draws blocks of values that are longer than the resemblance lasts (block bootstrap, always
// with the same draws).
func Compare(a, b []float64, unit float64) Difference {
	d := Difference{A: Mean(a), B: Mean(b), Low: math.NaN(), High: math.NaN(), P: 1, Above: above(a, b)}
	x, y := scaled(a, unit), scaled(b, unit)
	memory := max(memoryOf(x), memoryOf(y)) // what they are of resembles itself alike in both
	d.Independent = [2]float64{float64(len(a)) / memory, float64(len(b)) / memory}
	if min(len(a), len(b)) < MinValues || min(d.Independent[0], d.Independent[1]) < minIndependent {
		return d
	}
	d.P = welch(x, y, d.Independent)
	random := rand.New(rand.NewPCG(1, 2))
	draws := make([]float64, resamples)
	for i := range draws {
		draws[i] = draw(random, b, memory) - draw(random, a, memory)
	}
	slices.Sort(draws)
	d.Low, d.High = quantileSorted(draws, 0.025), quantileSorted(draws, 0.975)
	return d
}

// Mean returns the mean of xs, and 0 for none.
func Mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(max(1, len(xs)))
}

// scaled returns the inverse hyperbolic sines of xs in a unit.
func scaled(xs []float64, unit float64) []float64 {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = math.Asinh(x / unit)
	}
	return out
}

// memoryOf is how many values of a series are worth one that is independent, as in a series whose correlation falls by
// the same factor from value to value. What a short series shows of that factor is too small on average (Marriott and
// Pope, 1954) and uncertain: both are added, the latter as one standard error, so that a difference is rather missed.
func memoryOf(xs []float64) float64 {
	m := Mean(xs)
	var same, next float64
	for i, x := range xs {
		same += (x - m) * (x - m)
		if i > 0 {
			next += (x - m) * (xs[i-1] - m)
		}
	}
	n := float64(len(xs))
	if same <= 1e-20*n*m*m { // constant, but for rounding
		return 1
	}
	r := max(next/same, 0)
	r = min(r+(1+3*r)/n+math.Sqrt((1-r*r)/n), 0.98)
	return (1 + r) / (1 - r)
}

// draw is the mean of as many values as xs has, drawn from it in blocks.
func draw(random *rand.Rand, xs []float64, memory float64) float64 {
	block := min(int(math.Ceil(2*memory)), len(xs)/2)
	sum, n := 0.0, 0
	for n < len(xs) {
		from := random.IntN(len(xs) - block + 1)
		for i := from; i < from+block && n < len(xs); i++ {
			sum += xs[i]
			n++
		}
	}
	return sum / float64(n)
}

// above is the share of pairs of a value of x and one of y in which y's is greater, by the sum of the ranks.
func above(x, y []float64) float64 {
	if len(x) == 0 || len(y) == 0 {
		return 0.5
	}
	sorted := slices.Clone(x)
	slices.Sort(sorted)
	sum := 0.0
	for _, v := range y {
		low, _ := slices.BinarySearch(sorted, v)
		high, _ := slices.BinarySearch(sorted, math.Nextafter(v, math.Inf(1)))
		sum += float64(low+high) / 2
	}
	return sum / float64(len(x)) / float64(len(y))
}

// welch is the two-sided probability of Welch's t-test, with n[0] and n[1] independent values: the fewer they are, the
// more their mean has taken from the spread around it.
func welch(x, y []float64, n [2]float64) float64 {
	variance := func(xs []float64, n float64) float64 {
		m, sum := Mean(xs), 0.0
		for _, v := range xs {
			sum += (v - m) * (v - m)
		}
		return sum / float64(len(xs)) / (1 - 1/n) / n
	}
	a, b := variance(x, n[0]), variance(y, n[1])
	gap := math.Abs(Mean(x) - Mean(y))
	switch {
	case gap == 0:
		return 1
	case a+b == 0:
		return 0
	}
	freedom := (a + b) * (a + b) / (a*a/(n[0]-1) + b*b/(n[1]-1))
	t2 := gap * gap / (a + b)
	return beta(freedom/2, 0.5, freedom/(freedom+t2))
}

// beta is the regularised incomplete beta function, by its continued fraction (Lentz).
func beta(a, b, x float64) float64 {
	if x <= 0 || x >= 1 {
		return min(max(x, 0), 1)
	}
	if x > (a+1)/(a+b+2) {
		return 1 - beta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log(1-x)) / a
	const tiny = 1e-300
	c, d := 1.0, 1-(a+b)*x/(a+1)
	if math.Abs(d) < tiny {
		d = tiny
	}
	d = 1 / d
	f := d
	for m := 1.0; m < 500; m++ {
		for _, step := range [2]float64{
			m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m)), -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1)),
		} {
			if d = 1 + step*d; math.Abs(d) < tiny {
				d = tiny
			}
			if c = 1 + step/c; math.Abs(c) < tiny {
				c = tiny
			}
			d = 1 / d
			f *= c * d
		}
		if math.Abs(c*d-1) < 1e-12 {
			break
		}
	}
	return front * f
}

// Holm reports which of several probabilities stay below a level when all of them are looked at: with none that
// differs, the level is the probability that any is reported.
func Holm(ps []float64, level float64) []bool {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ps[a], ps[b]) })
	out := make([]bool, len(ps))
	for k, i := range order {
		if ps[i] > level/float64(len(ps)-k) {
			break
		}
		out[i] = true
	}
	return out
}
