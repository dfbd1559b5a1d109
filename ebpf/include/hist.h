/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Histograms that grow for ever: user space reads them once per interval and
 * takes differences, so that nothing is lost or counted twice whenever it
 * reads, and nobody ever writes to a counter but the CPU that owns it.
 *
 * A maximum has no difference. It is kept in two banks, each with the number of
 * the interval (epoch) that it belongs to; a program that finds an older epoch
 * in its bank starts it anew. User space raises lb_epoch and then reads the bank
 * of the epoch before. A program that had read the old epoch just before may
 * write its bank a moment later: that one maximum is lost, and the reader takes
 * the lower bound of the highest bucket instead; it never appears in another
 * interval.
 */
#ifndef LOSTBEAT_HIST_H
#define LOSTBEAT_HIST_H

#include "helpers.h"

/* Number of the interval; only user space writes it. 0 before the first. */
volatile __u64 lb_epoch;

/* The longest duration of one interval. */
struct lb_peak {
	__u64 epoch;  /* the interval */
	__u64 max_ns; /* the longest in it */
};

/* One histogram; package ebpf reads it as Hist. */
struct lb_hist {
	__u64 sum_ns; /* total of all durations */
	struct lb_peak peaks[2]; /* by parity of the epoch */
	__u64 buckets[LB_HIST_BUCKETS]; /* durations by lb_bucket */
};

/* Bucket of a duration; the same as model.BucketOf. */
static __always_inline __u32 lb_bucket(__u64 ns)
{
	__u32 log = 0, bucket;
	__u64 v = ns;

	if (ns < (1ULL << LB_HIST_MIN_SHIFT))
		return 0;
	if (v >= 1ULL << 32) { v >>= 32; log += 32; }
	if (v >= 1ULL << 16) { v >>= 16; log += 16; }
	if (v >= 1ULL << 8) { v >>= 8; log += 8; }
	if (v >= 1ULL << 4) { v >>= 4; log += 4; }
	if (v >= 1ULL << 2) { v >>= 2; log += 2; }
	if (v >= 1ULL << 1) log += 1;
	bucket = 1 + ((log - LB_HIST_MIN_SHIFT) << LB_HIST_SUB_SHIFT) +
		 ((ns >> (log - LB_HIST_SUB_SHIFT)) & ((1 << LB_HIST_SUB_SHIFT) - 1));
	return bucket < LB_HIST_BUCKETS ? bucket : LB_HIST_BUCKETS - 1;
}

/* Add one duration to a histogram that only this CPU writes. */
static __always_inline void lb_observe(struct lb_hist *hist, __u64 ns)
{
	__u64 epoch = lb_epoch;
	struct lb_peak *peak = &hist->peaks[epoch & 1];
	__u32 bucket = lb_bucket(ns);

	if (peak->epoch != epoch) {
		peak->epoch = epoch;
		peak->max_ns = 0;
	}
	if (ns > peak->max_ns)
		peak->max_ns = ns;
	hist->sum_ns += ns;
	if (bucket < LB_HIST_BUCKETS)
		hist->buckets[bucket]++;
}

#endif /* LOSTBEAT_HIST_H */
