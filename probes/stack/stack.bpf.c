//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Kernel stacks, sampled by perf events that user space enables on request.
 */
#include "helpers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define STACK_FRAMES 48

/* A sample, in the ringbuf. */
struct sample {
	struct lb_record head;
	__u32 tid;   /* thread that was running */
	__s32 bytes; /* of frames in use; negative in user code */
	char comm[LB_COMM_LEN];
	__u64 frames[STACK_FRAMES]; /* innermost first */
};

struct sample *unused_sample __attribute__((unused));

SEC("perf_event")
int stack_sample(struct bpf_perf_event_data *ctx)
{
	struct sample *s = lb_reserve(LB_KIND_STACK_SAMPLE, sizeof(*s));

	if (!s)
		return 0;
	lb_head(&s->head, LB_KIND_STACK_SAMPLE, bpf_ktime_get_boot_ns());
	s->tid = (__u32)bpf_get_current_pid_tgid();
	bpf_get_current_comm(s->comm, sizeof(s->comm));
	s->bytes = bpf_get_stack(ctx, s->frames, sizeof(s->frames), 0);
	lb_submit(s);
	return 0;
}
