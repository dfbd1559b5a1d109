/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps that all probes share, and how a record gets into the ringbuf.
 *
 * Wake-ups: none. The ringbuf's default one costs half the packets of a flood,
 * and user space polls anyway. A reader that has died or is stopped costs the
 * host no more than one that reads.
 */
#ifndef LOSTBEAT_HELPERS_H
#define LOSTBEAT_HELPERS_H

#include "event.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

/* Records of all probes; the engine sets its size and replaces it by the shared map. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} lb_ringbuf SEC(".maps");

/* Per CPU: records lost by kind. */
struct lb_cpu_state {
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

/* Submit a record that lb_reserve gave; nobody is woken. */
static __always_inline void lb_submit(void *record)
{
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Fill the head of a record for an event that is complete at time_ns. */
static __always_inline void lb_head(struct lb_record *head, __u16 kind, __u64 time_ns)
{
	head->time_ns = time_ns;
	head->kind = kind;
	head->cpu = (__u16)bpf_get_smp_processor_id();
	head->pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
}

#endif /* LOSTBEAT_HELPERS_H */
