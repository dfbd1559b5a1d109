package model

import "math/bits"

// Histogram buckets are log-linear: four to each power of two, so that a
// percentile is at most 12.5 % from the true value when read at the middle of
// its bucket. Bucket 0 holds 0 ns and everything below 2^HistMinShift ns; the
// last holds everything above its lower bound.
const (
	// HistMinShift is log2 of the lowest bound that is told apart: 64 ns.
	HistMinShift = 6
	// HistSubShift is log2 of the number of buckets to a power of two.
	HistSubShift = 2
	// HistBuckets is the number of buckets: up to 2^34 ns, 17 s.
	HistBuckets = 1 + (34-HistMinShift)<<HistSubShift
)

// BucketOf returns the bucket of a duration of ns nanoseconds. The BPF side
// computes the same from the constants in kinds.h.
func BucketOf(ns uint64) int {
	if ns < 1<<HistMinShift {
		return 0
	}
	log := bits.Len64(ns) - 1
	sub := int(ns>>(log-HistSubShift)) & (1<<HistSubShift - 1)
	return min(1+(log-HistMinShift)<<HistSubShift+sub, HistBuckets-1)
}

// BucketLow returns the lowest duration, in nanoseconds, of bucket i.
func BucketLow(i int) uint64 {
	if i <= 0 {
		return 0
	}
	i--
	log := i>>HistSubShift + HistMinShift
	return 1<<log + uint64(i&(1<<HistSubShift-1))<<(log-HistSubShift)
}

// BucketHigh returns the lowest duration, in nanoseconds, above bucket i.
func BucketHigh(i int) uint64 { return BucketLow(i + 1) }

// BucketCount is one non-empty bucket of a Histogram.
type BucketCount struct {
	// Bucket is the bucket's number, see BucketOf.
	Bucket uint8
	// Count is the number of durations in it.
	Count uint64
}

// Histogram is a distribution of durations. The zero Histogram is empty.
type Histogram struct {
	// Count is the number of durations.
	Count uint64
	// Sum is their total in nanoseconds.
	Sum uint64
	// Max is the longest in nanoseconds.
	Max uint64
	// Buckets are the non-empty buckets by rising number.
	Buckets []BucketCount
}

// Observe adds one duration of ns nanoseconds.
func (h *Histogram) Observe(ns uint64) {
	h.Count++
	h.Sum += ns
	h.Max = max(h.Max, ns)
	h.add(uint8(BucketOf(ns)), 1)
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.Count == 0 {
		return
	}
	h.Count += o.Count
	h.Sum += o.Sum
	h.Max = max(h.Max, o.Max)
	for _, bc := range o.Buckets {
		h.add(bc.Bucket, bc.Count)
	}
}

func (h *Histogram) add(bucket uint8, n uint64) {
	i := len(h.Buckets)
	for i > 0 && h.Buckets[i-1].Bucket >= bucket {
		i--
	}
	if i < len(h.Buckets) && h.Buckets[i].Bucket == bucket {
		h.Buckets[i].Count += n
		return
	}
	h.Buckets = append(h.Buckets, BucketCount{})
	copy(h.Buckets[i+1:], h.Buckets[i:])
	h.Buckets[i] = BucketCount{bucket, n}
}

// Clone returns a copy that shares nothing with h.
func (h *Histogram) Clone() Histogram {
	c := *h
	c.Buckets = append([]BucketCount(nil), h.Buckets...)
	return c
}

// Quantile returns the duration in nanoseconds below which the share q (0 to
// 1) of the durations lies: the middle of the bucket that holds it, and never
// more than Max. It returns 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) uint64 {
	if h.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.Count))
	var seen uint64
	for _, bc := range h.Buckets {
		if seen += bc.Count; seen > rank {
			mid := (BucketLow(int(bc.Bucket)) + BucketHigh(int(bc.Bucket))) / 2
			return min(mid, h.Max)
		}
	}
	return h.Max
}

// Mean returns the mean duration in nanoseconds, 0 for an empty histogram.
func (h *Histogram) Mean() uint64 {
	if h.Count == 0 {
		return 0
	}
	return h.Sum / h.Count
}
