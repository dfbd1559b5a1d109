/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps that all probes share, and how a record gets into the ringbuf.
 *
 * Wake-ups: never the ringbuf's default one, which costs half the packets of a
 * flood. User space polls; a record forces a wake-up only when the CPU has
 * written LB_WAKEUP_BYTES since the last, so that a reader that has died or is
 * stopped costs the host nothing.
 */
#ifndef LOSTBEAT_HELPERS_H
#define LOSTBEAT_HELPERS_H

#include "event.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#define LB_WAKEUP_BYTES 65536

/* Records of all probes; the engine sets its size and replaces it by the shared map. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} lb_ringbuf SEC(".maps");

/* Per CPU: bytes written since the last forced wake-up, and records lost by kind. */
struct lb_cpu_state {
	__u64 unsignalled_bytes;
	__u64 lost[128]; /* by enum lb_kind; only ever grows */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_cpu_state);
} lb_state SEC(".maps");

static __always_inline struct lb_cpu_state *lb_cpu_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_state, &zero);
}

/* Count a record of the given kind that could not be reserved. */
static __always_inline void lb_count_lost(__u16 kind)
{
	struct lb_cpu_state *state = lb_cpu_state();

	if (state && kind < 128)
		__sync_fetch_and_add(&state->lost[kind], 1); /* an interrupt's program may nest in a softirq's */
}

/* Reserve a record; a failure is counted. The caller fills it and calls lb_submit. */
static __always_inline void *lb_reserve(__u16 kind, __u64 size)
{
	void *record = bpf_ringbuf_reserve(&lb_ringbuf, size, 0);

	if (!record)
		lb_count_lost(kind);
	return record;
}

static __always_inline void lb_submit(void *record, __u64 size)
{
	struct lb_cpu_state *state = lb_cpu_state();
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (state) {
		state->unsignalled_bytes += size + 8;
		if (state->unsignalled_bytes >= LB_WAKEUP_BYTES) {
			state->unsignalled_bytes = 0;
			flags = BPF_RB_FORCE_WAKEUP;
		}
	}
	bpf_ringbuf_submit(record, flags);
}

/* Fill the head of a record for an event that is complete at time_ns. */
static __always_inline void lb_head(struct lb_record *head, __u16 kind, __u64 time_ns)
{
	head->time_ns = time_ns;
	head->kind = kind;
	head->cpu = (__u16)bpf_get_smp_processor_id();
	head->pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
}

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
	__u32 bucket = lb_bucket(ns);

	hist->count++;
	hist->sum_ns += ns;
	if (ns > hist->max_ns)
		hist->max_ns = ns;
	if (bucket < LB_HIST_BUCKETS)
		hist->buckets[bucket]++;
}

#endif /* LOSTBEAT_HELPERS_H */
