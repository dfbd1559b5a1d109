package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// wander returns n values that resemble their neighbours: each keeps the share r of the last one.
func wander(random *rand.Rand, n int, mean, r float64) []float64 {
	xs := make([]float64, n)
	x := random.NormFloat64()
	for i := range xs {
		x = r*x + math.Sqrt(1-r*r)*random.NormFloat64()
		xs[i] = mean + x
	}
	return xs
}

func constant(n int, x float64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = x
	}
	return xs
}

func TestCompare(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	d := Compare(wander(random, 100, 10, 0), wander(random, 80, 12, 0), 1)
	near(t, "A", d.A, 10, 0.3)
	near(t, "B", d.B, 12, 0.3)
	if d.P > 1e-6 || d.Low < 1 || d.High > 3 || d.Above < 0.85 {
		t.Errorf("%+v", d)
	}
	for name, c := range map[string][2][]float64{
		"too few":   {{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2}, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}},
		"none":      {nil, nil},
		"nothing":   {constant(60, 0), constant(60, 0)},
		"one slope": {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, constant(60, 50)}, // hardly one independent value
	} {
		if d := Compare(c[0], c[1], 1); d.P != 1 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := Compare(constant(12, 0), constant(12, 1), 1); d.P > 1e-100 || d.Above != 1 || d.Low != 1 || d.High != 1 {
		t.Errorf("%+v", d)
	}
	if got := above([]float64{1, 2, 3}, []float64{2, 2, 4}); got != 6.0/9 {
		t.Errorf("above %v", got)
	}
}

// The probabilities of the t distribution, from tables.
func TestWelch(t *testing.T) {
	for _, c := range []struct{ t, freedom, p float64 }{
		{2.228, 10, 0.05}, {12.706, 1, 0.05}, {3.169, 10, 0.01}, {1.96, 1e6, 0.05}, {0.7, 10, 0.4999},
	} {
		near(t, "p", beta(c.freedom/2, 0.5, c.freedom/(c.freedom+c.t*c.t)), c.p, 0.001)
	}
	x, y := []float64{1, 2, 3, 4, 5}, []float64{2, 3, 4, 5, 6}
	near(t, "Welch", welch(x, y, [2]float64{5, 5}), 0.3466, 0.001)
}

// Where nothing differs, hardly any of many series is reported, also where neighbours resemble each other and where
// single values are far above the others.
func TestCompareByChance(t *testing.T) {
	const runs, series = 60, 20
	for _, c := range []struct {
		r     float64
		n     int
		heavy bool
	}{
		{0, 60, false}, {0, 12, false}, {0.5, 60, false}, {0.9, 60, false}, {0.8, 14, false}, {0.9, 300, false},
		{0.5, 60, true},
	} {
		reported := 0
		for seed := range uint64(runs) {
			random := rand.New(rand.NewPCG(seed, 5))
			var ps []float64
			for range series {
				x, y := wander(random, c.n, 0, c.r), wander(random, c.n, 0, c.r)
				if c.heavy {
					for i := range x {
						x[i], y[i] = math.Exp(2*x[i]), math.Exp(2*y[i])
					}
				}
				a, b := scaled(x, 1), scaled(y, 1)
				if n := float64(c.n) / max(memoryOf(a), memoryOf(b)); n >= minIndependent {
					ps = append(ps, welch(a, b, [2]float64{n, n}))
				}
			}
			for _, yes := range Holm(ps, 0.05) {
				if yes {
					reported++
					break
				}
			}
		}
		t.Logf("%+v: %d", c, reported)
		if reported > 8 {
			t.Errorf("%+v: %d of %d runs report a difference", c, reported, runs)
		}
	}
}

func TestHolm(t *testing.T) {
	got := Holm([]float64{0.02, 0.001, 0.04, 0.9}, 0.05)
	if got[0] || !got[1] || got[2] || got[3] {
		t.Errorf("%v", got)
	}
	if got := Holm([]float64{0.0125, 0.0126}, 0.025); !got[0] || !got[1] {
		t.Errorf("%v", got)
	}
	if len(Holm(nil, 0.05)) != 0 {
		t.Error("none of none")
	}
}
