package stats

import "slices"

// Slopes returns the quartiles of the slopes between all pairs of values that
// lie step apart: the middle one is Theil and Sen's estimate of a trend, which
// outliers do not move. With fewer than two values all are 0.
func Slopes(xs []float64, step float64) (low, middle, high float64) {
	var slopes []float64
	for i := range xs {
		for j := i + 1; j < len(xs); j++ {
			slopes = append(slopes, (xs[j]-xs[i])/(float64(j-i)*step))
		}
	}
	if len(slopes) == 0 {
		return 0, 0, 0
	}
	slices.Sort(slopes)
	at := func(q float64) float64 { return slopes[int(q*float64(len(slopes)-1)+0.5)] }
	return at(0.25), at(0.5), at(0.75)
}
