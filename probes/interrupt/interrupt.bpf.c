//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hard interrupts: how long each handler (action) of each line ran, on each
 * CPU. Raw tracepoints, because the times need no BTF; a shared line has
 * several actions, told apart by their addresses.
 */
#include "hist.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Longer runs are emitted singly. A constant, so that what it switches off is
 * not even loaded. */
volatile const __u64 run_threshold_ns = 1000000;
/* Emit every run. */
volatile const bool trace = false;
/* With trace: emit the longer ones only, for a while. */
volatile bool trace_paused;

/* An action of a line on a CPU. */
struct handler {
	__u64 action; /* address of struct irqaction: an identity, never followed */
	__u32 irq;
	__u32 cpu;
};

struct handler_counters {
	__u64 entered_ns; /* when the run in progress began, 0 none */
	__u64 first_ns;   /* when it was first seen: orders the actions of a line */
	struct lb_hist run;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024); /* set by the number of possible CPUs */
	__type(key, struct handler);
	__type(value, struct handler_counters);
} interrupt_handlers SEC(".maps");

/* A zeroed entry, too large for the stack. */
static const struct handler_counters empty;

/* A run, in the ringbuf. */
struct run {
	struct lb_record head;
	__u64 run_ns; /* entry to exit */
	__u64 action; /* struct irqaction */
	__u32 irq;
	__u32 tid; /* thread that was interrupted */
	__u32 result; /* irqreturn_t: 0 not its interrupt, 1 handled, 2 thread woken */
	__u32 unused;
};

struct run *unused_run __attribute__((unused));

/* irq_handler_entry(int irq, struct irqaction *action) */
SEC("raw_tp/irq_handler_entry")
int interrupt_entry(struct bpf_raw_tracepoint_args *ctx)
{
	struct handler key = {
		.action = ctx->args[1],
		.irq = (__u32)ctx->args[0],
		.cpu = bpf_get_smp_processor_id(),
	};
	struct handler_counters *h = bpf_map_lookup_elem(&interrupt_handlers, &key);
	__u64 now;

	if (!h) {
		bpf_map_update_elem(&interrupt_handlers, &key, &empty, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&interrupt_handlers, &key);
		if (!h) {
			lb_count_lost(LB_KIND_INTERRUPT_HIST);
			return 0;
		}
		h->first_ns = bpf_ktime_get_boot_ns();
	}
	now = bpf_ktime_get_boot_ns();
	h->entered_ns = now;
	return 0;
}

/* irq_handler_exit(int irq, struct irqaction *action, int ret) */
SEC("raw_tp/irq_handler_exit")
int interrupt_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct handler key = {
		.action = ctx->args[1],
		.irq = (__u32)ctx->args[0],
		.cpu = bpf_get_smp_processor_id(),
	};
	struct handler_counters *h = bpf_map_lookup_elem(&interrupt_handlers, &key);
	__u64 now, run_ns, id;
	struct run *run;

	if (!h || !h->entered_ns)
		return 0;
	now = bpf_ktime_get_boot_ns();
	run_ns = now > h->entered_ns ? now - h->entered_ns : 0; /* the fast clock may step back a little */
	h->entered_ns = 0;
	lb_observe(&h->run, run_ns);
	if ((!trace || trace_paused) && run_ns < run_threshold_ns)
		return 0;
	run = lb_reserve(LB_KIND_INTERRUPT_RUN, sizeof(*run));
	if (!run)
		return 0;
	id = bpf_get_current_pid_tgid();
	run->head.time_ns = now;
	run->head.kind = LB_KIND_INTERRUPT_RUN;
	run->head.cpu = (__u16)key.cpu;
	run->head.pid = (__u32)(id >> 32);
	run->run_ns = run_ns;
	run->action = key.action;
	run->irq = key.irq;
	run->tid = (__u32)id;
	run->result = (__u32)ctx->args[2];
	run->unused = 0;
	lb_submit(run);
	return 0;
}
