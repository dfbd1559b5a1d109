package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within*max(1e-300, math.Abs(want))) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		xs   []float64
		q    float64
		want float64
	}{{[]float64{3, 1, 2}, 0.5, 2}, {[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5}, 0.95, 4.8}, {[]float64{7}, 0.1, 7}, {[]float64{1, 2}, 2, 2},
		{[]float64{1, 2}, -1, 1}} {
		if got := Quantile(c.xs, c.q); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.xs, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("median of nothing")
	}
}

func TestBaseline(t *testing.T) {
	b := NewBaseline([]float64{1, 1, 2, 2, 4, 6, 9})
	if b.Median != 2 || b.N != 7 || b.Max != 9 {
		t.Errorf("baseline %+v", b)
	}
	near(t, "spread (MAD 1)", b.Spread, 1.4826022185056018, 1e-12)
	near(t, "z", b.Z(9, 0.1), 7/1.4826022185056018, 1e-12)
	flat := NewBaseline([]float64{0, 0, 0, 0, 5})
	if flat.Spread != 0 || flat.Z(5, 2) != 2.5 {
		t.Errorf("flat %+v", flat)
	}
	if (NewBaseline(nil) != Baseline{}) {
		t.Error("baseline of nothing")
	}
	// Outliers in less than half of the values do not move it.
	wild := NewBaseline([]float64{1, 2, 3, 4, 5, 1e9, 1e9, 1e9, 1e9})
	if wild.Median != 5 || wild.Spread > 10 {
		t.Errorf("wild %+v", wild)
	}
}

func TestCoincide(t *testing.T) {
	// A burst of 4 in 200 samples that the marks hit at 3 samples.
	xs, marks := make([]float64, 200), make([]bool, 200)
	for i := 100; i < 104; i++ {
		xs[i] = 1
	}
	marks[101], marks[102], marks[103] = true, true, true
	c := Coincide(xs, marks)
	// Two of the 200 positions put all three marks on the burst.
	if c.P != 2.0/200 || c.AtMarks != 1 || c.Marks != 3 || math.Abs(c.Elsewhere-1.0/197) > 1e-12 {
		t.Errorf("burst: %+v", c)
	}
	// A series that is high all the time coincides with everything.
	for i := range xs {
		xs[i] = 50
	}
	if c := Coincide(xs, marks); c.P != 1 {
		t.Errorf("constant: %+v", c)
	}
	if c := Coincide(xs, make([]bool, 200)); c.P != 1 || c.Marks != 0 {
		t.Errorf("no marks: %+v", c)
	}
	for i := range marks {
		marks[i] = true
	}
	if c := Coincide(xs, marks); c.P != 1 {
		t.Errorf("all marks: %+v", c)
	}
	if c := Coincide(nil, nil); c.P != 1 {
		t.Errorf("nothing: %+v", c)
	}
}

// TestCoincideByChance checks that unrelated series of bursts are called
// significant at the rate that the p-value says, and not more often.
func TestCoincideByChance(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const runs, n = 400, 300
	hits := 0
	for range runs {
		xs, marks := make([]float64, n), make([]bool, n)
		level := 0.0
		for i := range xs {
			level = 0.9*level + random.NormFloat64() // neighbours resemble each other
			xs[i] = level
		}
		at := random.IntN(n)
		for i := range 8 {
			marks[(at+i)%n] = true
		}
		if Coincide(xs, marks).P <= 0.05 {
			hits++
		}
	}
	if share := float64(hits) / runs; share < 0.02 || share > 0.08 {
		t.Errorf("%.3f of unrelated series are significant at 0.05", share)
	}
}
