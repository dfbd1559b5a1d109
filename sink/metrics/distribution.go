package metrics

import (
	"time"

	"lostbeat/model"
)

// bounds are the histogram buckets of the event model with which the buckets here begin: a few of the model's own
// edges, so that each count is exact. They are near 10 and 100 us, and 1, 3, 10, 30, 100 ms and 1 s.
var bounds = [...]int{
	bucketFrom(10 * time.Microsecond), bucketFrom(96 * time.Microsecond), bucketFrom(time.Millisecond),
	bucketFrom(3 * time.Millisecond), bucketFrom(10 * time.Millisecond), bucketFrom(30 * time.Millisecond),
	bucketFrom(100 * time.Millisecond), bucketFrom(time.Second),
}

// bucketFrom returns the first bucket that holds nothing below d.
func bucketFrom(d time.Duration) int {
	i := model.BucketOf(uint64(d))
	if model.BucketLow(i) < uint64(d) {
		i++
	}
	return i
}

// upper is the inclusive upper bound of bucket i here, in seconds: durations are whole nanoseconds, and the model's
// edges belong to the bucket above.
func upper(i int) float64 { return float64(model.BucketLow(bounds[i])-1) / 1e9 }

// distribution counts durations by bounds.
type distribution struct {
	counts [len(bounds) + 1]uint64
	sum    uint64 // ns
}

// add adds what h has counted.
func (d *distribution) add(h *model.Histogram) {
	for _, bc := range h.Buckets {
		i := 0
		for i < len(bounds) && int(bc.Bucket) >= bounds[i] {
			i++
		}
		d.counts[i] += bc.Count
	}
	d.sum += h.Sum
}

func (d *distribution) empty() bool { return d.counts == [len(bounds) + 1]uint64{} }
