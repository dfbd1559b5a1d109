package ebpf

import (
	"testing"

	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
)

// observe does what lb_observe of include/hist.h does.
func (h *Hist) observe(epoch, ns uint64) {
	peak := &h.Peaks[epoch&1]
	if peak.Epoch != epoch {
		*peak = Peak{Epoch: epoch}
	}
	peak.MaxNS = max(peak.MaxNS, ns)
	h.SumNS += ns
	h.Buckets[model.BucketOf(ns)]++
}

func TestHistSince(t *testing.T) {
	var h Hist
	h.observe(1, 100)
	h.observe(1, 5000)
	first := h
	if diff := cmp.Diff(histogram(100, 5000), first.Since(&Hist{}, 1)); diff != "" {
		t.Errorf("first interval:\n%s", diff)
	}
	h.observe(2, 200)
	h.observe(2, 100)
	second := h
	if diff := cmp.Diff(histogram(200, 100), second.Since(&first, 2)); diff != "" {
		t.Errorf("second interval: what came before shows through:\n%s", diff)
	}
	if diff := cmp.Diff(model.Histogram{}, h.Since(&second, 3)); diff != "" {
		t.Errorf("an interval without anything:\n%s", diff)
	}
	h.observe(4, 300)
	if diff := cmp.Diff(histogram(300), h.Since(&second, 4)); diff != "" {
		t.Errorf("after an empty interval:\n%s", diff)
	}
}

// A program that read the old epoch just before it was raised adds to the new
// interval, but its maximum is lost: the bucket's lower bound stands in.
func TestHistSinceLateMaximum(t *testing.T) {
	var h Hist
	h.observe(1, 100)
	before := h
	h.observe(1, 70000)
	h.observe(2, 100)
	got := h.Since(&before, 2)
	if want := model.BucketLow(model.BucketOf(70000)); got.Max != want || got.Count != 2 {
		t.Errorf("max %d of %d, want %d of 2", got.Max, got.Count, want)
	}
	before = h
	h.observe(2, 72000) // its maximum is of the interval before
	if got := h.Since(&before, 3); got.Max != 72000 || got.Count != 1 {
		t.Errorf("max %d of %d, want that of the sum", got.Max, got.Count)
	}
}

// What was added between raising the epoch and the reading before was counted by
// that reading; its maximum, which is of this interval, belongs to no bucket.
func TestHistSinceEarlyMaximum(t *testing.T) {
	var h Hist
	h.observe(2, 70000)
	before := h
	h.observe(2, 100)
	if got := h.Since(&before, 2); got.Max != 100 || got.Count != 1 {
		t.Errorf("max %d of %d, want that of the sum", got.Max, got.Count)
	}
	h.observe(2, 100)
	got := h.Since(&before, 2)
	if want := model.BucketHigh(model.BucketOf(100)) - 1; got.Max != want || got.Count != 2 {
		t.Errorf("max %d of %d, want %d of 2", got.Max, got.Count, want)
	}
}

// A duration that is added to the sum before it is counted is in two intervals.
func TestHistSinceSumFirst(t *testing.T) {
	var h Hist
	h.observe(1, 100)
	between := h
	between.SumNS += 70000
	if got := between.Since(&Hist{}, 1); got.Check() != nil || got.Count != 1 || got.Max >= 112 {
		t.Errorf("before it is counted: %+v: %v", got, got.Check())
	}
	h.observe(1, 70000)
	if got := h.Since(&between, 1); got.Check() != nil || got.Count != 1 || got.Max < 65000 {
		t.Errorf("after it was counted: %+v: %v", got, got.Check())
	}
}

// The maximum of this interval is right where the sum lacks it, in the last bucket too.
func TestHistSinceSumEarlier(t *testing.T) {
	for _, ns := range []uint64{70000, 60_000_000_000} {
		var h Hist
		h.observe(2, 100)
		before := h
		before.SumNS += ns // read when the duration was added to the sum, and not yet counted
		h.observe(2, ns)
		if got := h.Since(&before, 2); got.Check() != nil || got.Count != 1 || got.Max != ns {
			t.Errorf("%d ns: %+v: %v", ns, got, got.Check())
		}
	}
	// One of the last bucket whose maximum is lost.
	var h Hist
	h.observe(1, 100)
	before := h
	h.observe(1, 20_000_000_000)
	if got := h.Since(&before, 2); got.Check() != nil || got.Max != 20_000_000_000 {
		t.Errorf("lost: %+v: %v", got, got.Check())
	}
}

func histogram(durations ...uint64) model.Histogram {
	var h model.Histogram
	for _, ns := range durations {
		h.Observe(ns)
	}
	return h
}
