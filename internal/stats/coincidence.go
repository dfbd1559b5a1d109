package stats

// Coincidence is the result of a test whether marks fall on high values of a series.
type Coincidence struct {
	// Marks is the number of marked samples, N that of all samples.
	Marks, N int
	// AtMarks is the mean of the series at the marks, Elsewhere that at the other samples.
	AtMarks, Elsewhere float64
	// P is the share of the shifts of the marks against the series, the observed position included, at which the mean at the
	// marks is as high as observed or higher. It cannot be below 1/N.
	P float64
}

// Coincide tests whether the marked samples of xs are higher than chance would
// have it. The test shifts the marks against the series, around its end, by
// every number of samples: a permutation test that keeps the bursts in which
// both come. Shuffling single samples would take each sample of a burst for a
// coincidence of its own and find significance everywhere.
//
// The time is proportional to the number of samples times that of the marks.
// With no marks, or nothing but marks, P is 1.
func Coincide(xs []float64, marks []bool) Coincidence {
	n := min(len(xs), len(marks))
	c := Coincidence{N: n, P: 1}
	var at []int
	var inside, outside float64
	for i := range n {
		if marks[i] {
			at = append(at, i)
			inside += xs[i]
		} else {
			outside += xs[i]
		}
	}
	c.Marks = len(at)
	if c.Marks == 0 {
		return c
	}
	c.AtMarks = inside / float64(c.Marks)
	if c.Marks == n {
		return c
	}
	c.Elsewhere = outside / float64(n-c.Marks)
	// A tolerance for sums in another order.
	least := inside - 1e-9*max(1, abs(inside))
	asHigh := 0
	for shift := range n {
		var sum float64
		for _, i := range at {
			j := i + shift
			if j >= n {
				j -= n
			}
			sum += xs[j]
		}
		if sum >= least {
			asHigh++
		}
	}
	c.P = float64(asHigh) / float64(n)
	return c
}

func abs(x float64) float64 { return max(x, -x) }
