//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Writes records as fast as it is asked to, for tests of the engine. */
#include "helpers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BURST 4096 /* records per run */

/* The size of a run of deferred work. */
struct record {
	struct lb_record head;
	__u64 sequence; /* counts all records of a CPU, lost ones included */
	__u64 unused[2];
};

struct record *unused_record __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} flood_sequence SEC(".maps");

static long flood_one(__u64 index, __u64 *sequence)
{
	struct record *r;

	(*sequence)++;
	r = lb_reserve(LB_KIND_DEFERRED_RUN, sizeof(*r));
	if (!r)
		return 0;
	lb_head(&r->head, LB_KIND_DEFERRED_RUN, bpf_ktime_get_boot_ns());
	r->sequence = *sequence;
	r->unused[0] = 0;
	r->unused[1] = 0;
	lb_submit(r);
	return 0;
}

SEC("raw_tp")
int flood(void *ctx)
{
	__u32 zero = 0;
	__u64 *saved = bpf_map_lookup_elem(&flood_sequence, &zero);
	__u64 sequence;

	if (!saved)
		return 0;
	sequence = *saved;
	bpf_loop(BURST, flood_one, &sequence, 0);
	*saved = sequence;
	return 0;
}
