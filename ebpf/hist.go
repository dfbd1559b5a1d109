package ebpf

import "lostbeat/model"

// Peak is struct lb_peak of include/hist.h.
type Peak struct {
	// Epoch is the interval that it belongs to.
	Epoch uint64
	// MaxNS is the longest duration of that interval in nanoseconds.
	MaxNS uint64
}

// Hist is struct lb_hist of include/hist.h: a histogram that only grows.
type Hist struct {
	// SumNS is the total of all durations in nanoseconds.
	SumNS uint64
	// Peaks are the longest durations of this and the previous interval.
	Peaks [2]Peak
	// Buckets are the counts by model.BucketOf.
	Buckets [model.HistBuckets]uint64
}

// Since returns what was added after prev was read. epoch is the interval that
// has just ended. Buckets and sum are not read at one instant: the sum may
// differ by the one duration that was being added.
func (h *Hist) Since(prev *Hist, epoch uint64) model.Histogram {
	out := model.Histogram{Sum: h.SumNS - prev.SumNS}
	for i, n := range &h.Buckets {
		if n -= prev.Buckets[i]; n != 0 {
			out.Count += n
			out.Buckets = append(out.Buckets, model.BucketCount{Bucket: uint8(i), Count: n})
		}
	}
	if len(out.Buckets) == 0 {
		return model.Histogram{}
	}
	highest := int(out.Buckets[len(out.Buckets)-1].Bucket)
	bounded := highest+1 < model.HistBuckets
	peak := h.Peaks[epoch&1]
	if peak.Epoch == epoch {
		out.Max = peak.MaxNS
	}
	if out.Max == 0 || model.BucketOf(out.Max) != highest {
		// The maximum is lost, and no less than the mean; or it is that of a duration that was added just after the epoch
		// was raised, and before this was read the last time: that was counted then. None is longer than all together.
		out.Max = max(out.Max, (out.Sum+out.Count-1)/out.Count)
		if bounded {
			out.Max = min(out.Max, model.BucketHigh(highest)-1)
		}
		out.Max = max(min(out.Max, out.Sum), model.BucketLow(highest))
	}
	// The sum may lack a duration, or have one that is not counted yet.
	out.Sum = max(out.Sum, out.Max)
	if bounded {
		out.Sum = min(out.Sum, out.Count*out.Max)
	}
	return out
}
