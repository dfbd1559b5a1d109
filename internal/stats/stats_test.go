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
	}{{[]float64{3, 1, 2}, 0.5, 2}, {[]float64{4, 1, 3, 2}, 0.5, 2.5}, {[]float64{1, 2, 3, 4, 5}, 0.95, 4.8}, {[]float64{7}, 0.1, 7}, {[]float64{1, 2}, 2, 2}, {[]float64{1, 2}, -1, 1}} {
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

func TestTrend(t *testing.T) {
	rising := make([]float64, 10)
	times := make([]float64, 10)
	for i := range rising {
		times[i], rising[i] = float64(i), 1+2*float64(i)
	}
	got := NewTrend(times, rising)
	if got.S != 45 || got.Tau != 1 || got.Slope != 2 || got.Low != 2 || got.High != 2 {
		t.Errorf("rising: %+v", got)
	}
	near(t, "z", got.Z, 44/math.Sqrt(125), 1e-12)
	near(t, "p", got.P, 8.303070332638001e-05, 1e-9)
	// One outlier does not move the slope.
	rising[5] = 1e6
	if got := NewTrend(times, rising); math.Abs(got.Slope-2) > 1e-9 || got.P > 0.01 {
		t.Errorf("outlier: %+v", got)
	}
	// Ties: n=5, values 1 1 2 2 3: S=8, variance (5*4*15-2*(2*1*9))/18 = 264/18.
	got = NewTrend(times[:5], []float64{1, 1, 2, 2, 3})
	if got.S != 8 {
		t.Errorf("ties: %+v", got)
	}
	near(t, "z with ties", got.Z, 7/math.Sqrt(264.0/18), 1e-12)
	if got := NewTrend(times, make([]float64, 10)); got.P != 1 || got.S != 0 || got.Slope != 0 {
		t.Errorf("constant: %+v", got)
	}
	if got := NewTrend(times[:2], rising[:2]); got.P != 1 {
		t.Errorf("two values: %+v", got)
	}
	falling := []float64{9, 7, 8, 5, 4, 4, 2, 1}
	if got := NewTrend(times, falling); got.S >= 0 || got.Z >= 0 || got.Slope >= 0 ||
		!(got.Low <= got.Slope && got.Slope <= got.High) {
		t.Errorf("falling: %+v", got)
	}
}

// TestConcordance compares the tree with counting pairs.
func TestConcordance(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		xs := make([]float64, 1+random.IntN(60))
		for i := range xs {
			xs[i] = float64(random.IntN(12))
		}
		var want int64
		for i := range xs {
			for j := i + 1; j < len(xs); j++ {
				switch {
				case xs[j] > xs[i]:
					want++
				case xs[j] < xs[i]:
					want--
				}
			}
		}
		if got := concordance(xs); got != want {
			t.Fatalf("%v: %d, want %d", xs, got, want)
		}
	}
}

func TestLongTrend(t *testing.T) {
	ts, xs := make([]float64, 20000), make([]float64, 20000)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range xs {
		ts[i], xs[i] = float64(i), 0.01*float64(i)+random.NormFloat64()
	}
	got := NewTrend(ts, xs)
	near(t, "slope", got.Slope, 0.01, 0.01)
	if got.Low > 0.01 || got.High < 0.01 {
		t.Errorf("limits %v to %v", got.Low, got.High)
	}
}

// Reference values: sums of the distributions' terms in exact arithmetic.
func TestTails(t *testing.T) {
	near(t, "normal 1.96", NormalTail(1.959963984540054), 0.025, 1e-12)
	near(t, "poisson 5 of 2", PoissonTail(5, 2), 0.05265301734371115, 1e-12)
	near(t, "poisson 10 of 5", PoissonTail(10, 5), 0.03182805730620486, 1e-12)
	near(t, "poisson 1 of 1e-6", PoissonTail(1, 1e-6), 9.999995e-07, 1e-6)
	near(t, "poisson 90 of 100", PoissonTail(90, 100), 0.8536538253012672, 1e-9)
	if PoissonTail(0, 3) != 1 || PoissonTail(3, 0) != 0 {
		t.Error("poisson limits")
	}
	near(t, "binomial 8 of 10", BinomialTail(8, 10, 0.5), 0.0546875, 1e-12)
	near(t, "binomial 1 of 20", BinomialTail(1, 20, 0.1), 1-math.Pow(0.9, 20), 1e-12)
	near(t, "binomial 20 of 20", BinomialTail(20, 20, 0.1), 1e-20, 1e-9)
	if BinomialTail(0, 5, 0.1) != 1 || BinomialTail(6, 5, 0.1) != 0 || BinomialTail(2, 5, 0) != 0 ||
		BinomialTail(2, 5, 1) != 1 {
		t.Error("binomial limits")
	}
	near(t, "hypergeometric", HypergeometricTail(3, 5, 4, 10), 66.0/252, 1e-12)
	if HypergeometricTail(0, 5, 4, 10) != 1 || HypergeometricTail(5, 5, 4, 10) != 0 ||
		!math.IsNaN(HypergeometricTail(1, 11, 4, 10)) {
		t.Error("hypergeometric limits")
	}
	ratio, p := RateRatio(12, 10, 4, 20)
	near(t, "ratio of rates", ratio, 6, 1e-12)
	near(t, "its p-value", p, BinomialTail(12, 16, 1.0/3), 1e-12)
	if ratio, p := RateRatio(0, 1, 5, 1); ratio != 0 || p != 1 {
		t.Error("no events")
	}
	if ratio, p := RateRatio(5, 1, 0, 1); !math.IsInf(ratio, 1) || math.Abs(p-1.0/32) > 1e-12 {
		t.Error("events in the first only")
	}
}

func FuzzTails(f *testing.F) {
	f.Add(uint64(3), uint64(10), 0.3)
	f.Fuzz(func(t *testing.T, k, n uint64, p float64) {
		k, n, p = k%1e6, n%1e6, math.Abs(p)
		if math.IsNaN(p) || p > 1e6 {
			return
		}
		for _, v := range []float64{PoissonTail(k, p), BinomialTail(k, n, p)} {
			if !(v >= 0 && v <= 1) {
				t.Errorf("k %d, n %d, p %v: probability %v", k, n, p, v)
			}
		}
	})
}
