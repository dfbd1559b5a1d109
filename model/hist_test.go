package model

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

// naiveBucket finds the bucket by trying all of them.
func naiveBucket(ns uint64) int {
	for i := range HistBuckets - 1 {
		if ns < BucketLow(i+1) {
			return i
		}
	}
	return HistBuckets - 1
}

func TestBuckets(t *testing.T) {
	for i := range HistBuckets {
		low, high := BucketLow(i), BucketHigh(i)
		if low >= high {
			t.Fatalf("bucket %d: %d to %d", i, low, high)
		}
		if BucketOf(low) != i || i < HistBuckets-1 && BucketOf(high-1) != i {
			t.Errorf("bucket %d does not hold its own bounds", i)
		}
		if i > 1 && i < HistBuckets-1 && float64(high-low)/2/float64(low) > 0.125 {
			t.Errorf("bucket %d is wider than 12.5 %% either side of its middle", i)
		}
	}
	if BucketLow(1) != 64 || BucketOf(math.MaxUint64) != HistBuckets-1 || BucketLow(HistBuckets) != 1<<34 {
		t.Error("the range is not 64 ns to 2^34 ns")
	}
}

func FuzzBucketOf(f *testing.F) {
	fuzztest.Quick(f)
	for _, ns := range []uint64{0, 63, 64, 79, 80, 1e6, 1<<34 - 1, 1 << 34, math.MaxUint64} {
		f.Add(ns)
	}
	f.Fuzz(func(t *testing.T, ns uint64) {
		if got, want := BucketOf(ns), naiveBucket(ns); got != want {
			t.Errorf("BucketOf(%d) = %d, want %d", ns, got, want)
		}
	})
}

func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var whole, left, right Histogram
	var values []uint64
	for i := range 10000 {
		ns := uint64(math.Exp(random.NormFloat64()*2 + 9))
		values = append(values, ns)
		whole.Observe(ns)
		if i%3 == 0 {
			left.Observe(ns)
		} else {
			right.Observe(ns)
		}
	}
	clone := left.Clone()
	left.Merge(&right)
	left.Merge(nil)
	if !reflect.DeepEqual(left, whole) {
		t.Error("merged halves differ from the whole")
	}
	if clone.Count == left.Count || clone.Check() != nil {
		t.Error("the clone changed with its original")
	}
	if err := whole.Check(); err != nil {
		t.Error(err)
	}
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99} {
		want := float64(values[int(q*float64(len(values)))])
		if got := float64(whole.Quantile(q)); math.Abs(got-want)/want > 0.125 && want > 64 {
			t.Errorf("quantile %v is %v, true %v", q, got, want)
		}
	}
	if whole.Quantile(1) != whole.Max || whole.Max != values[len(values)-1] {
		t.Errorf("quantile 1 is %d, maximum %d", whole.Quantile(1), whole.Max)
	}
	var empty Histogram
	if empty.Quantile(0.5) != 0 || empty.Mean() != 0 || empty.Check() != nil {
		t.Error("an empty histogram is not empty")
	}
}

func TestHistogramCheck(t *testing.T) {
	good := Histogram{Count: 3, Sum: 300, Max: 110, Buckets: []BucketCount{{bucket8(80), 1}, {bucket8(110), 2}}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Histogram){
		"count":        func(h *Histogram) { h.Count++ },
		"order":        func(h *Histogram) { slices.Reverse(h.Buckets) },
		"no bucket":    func(h *Histogram) { h.Buckets[1].Bucket = HistBuckets },
		"empty bucket": func(h *Histogram) { h.Buckets = append(h.Buckets, BucketCount{bucket8(200), 0}) },
		"maximum":      func(h *Histogram) { h.Max = 200 },
		"small sum":    func(h *Histogram) { h.Sum = 100 },
		"large sum":    func(h *Histogram) { h.Sum = 331 },
		"nothing":      func(h *Histogram) { *h = Histogram{Max: 1} },
	} {
		h := good.Clone()
		spoil(&h)
		if h.Check() == nil {
			t.Errorf("%s: no fault found", name)
		}
	}
}

// bucket8 is BucketOf in the type of BucketCount.
func bucket8(ns uint64) uint8 { return uint8(BucketOf(ns)) }
