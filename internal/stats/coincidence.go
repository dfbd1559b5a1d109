package stats

// Coincidence is the result of a test whether marks fall on high values of a series.
type Coincidence struct {
	// Marks is the number of marked samples, N that of all samples.
	Marks, N int
	// AtMarks is the mean of the series at the marks, Elsewhere that at the other samples.
	AtMarks, Elsewhere float64
	// P is the share of the shifts of the marks against the series, the observed position included, at which the mean at
	// the
	// marks is as high as observed or higher. It cannot be below 1/N.
	P float64
}

// Coincide tests whether the marked samples of xs are higher than chance would
// have it. The test shifts the marks against the series, around its end, by
// every number of samples: a permutation test that keeps the bursts in which
// both come. Shuffling single samples would take each sample of a burst for a
// coincidence of its own and find significance everywhere.
//
// The time is proportional to the number of samples times that of the runs of
// marks. With no marks, or nothing but marks, P is 1.
func Coincide(xs []float64, marks []bool) Coincidence {
	n := min(len(xs), len(marks))
	c := Coincidence{N: n, P: 1}
	// sums[i] is the sum of the first i values of the series twice in a row, so
	// that a run of marks that is shifted around the end is one difference.
	sums := make([]float64, 2*n+1)
	var largest float64
	for i := range 2 * n {
		sums[i+1] = sums[i] + xs[i%n]
		largest = max(largest, abs(sums[i+1]))
	}
	var runs [][2]int
	for i := 0; i < n; i++ {
		if !marks[i] {
			continue
		}
		first := i
		for i < n && marks[i] {
			i++
		}
		runs = append(runs, [2]int{first, i})
		c.Marks += i - first
	}
	if c.Marks == 0 {
		return c
	}
	at := func(shift int) (sum float64) {
		for _, r := range runs {
			sum += sums[r[1]+shift] - sums[r[0]+shift]
		}
		return sum
	}
	inside := at(0)
	c.AtMarks = inside / float64(c.Marks)
	if c.Marks == n {
		return c
	}
	c.Elsewhere = (sums[n] - inside) / float64(n-c.Marks)
	least := inside - 1e-12*largest*float64(len(runs)) // what rounding may take away
	asHigh := 0
	for shift := range n {
		if at(shift) >= least {
			asHigh++
		}
	}
	c.P = float64(asHigh) / float64(n)
	return c
}

func abs(x float64) float64 { return max(x, -x) }
