//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Softirqs: how long each vector waited after it was raised, and how long it
 * ran, on each CPU. Raw tracepoints, because their arguments are plain numbers:
 * that needs no BTF and costs the same.
 */
#include "hist.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define VECTORS 10 /* NR_SOFTIRQS, the same since Linux 2.6.31 */

/* Longer runs and waits are emitted singly. Constants, so that what they
 * switch off is not even loaded. */
volatile const __u64 run_threshold_ns = 1000000;
volatile const __u64 wait_threshold_ns = 1000000;
/* Emit every run. */
volatile const bool trace = false;
/* The kernel is PREEMPT_RT. */
volatile const bool preemptible = false;
/* With trace: emit the longer ones only, for a while. */
volatile bool trace_paused;

/* A vector on a CPU. Only that CPU writes. */
struct vector_counters {
	__u64 raised;     /* times raised */
	__u64 raised_ns;  /* clock(): the first raise that has not been served, 0 none */
	__u64 entered_ns; /* clock(): when the run in progress began, 0 none */
	__u64 wait_ns;    /* how long that run had waited, 0 unknown */
	struct lb_hist wait;
	struct lb_hist run;
};

struct cpu_counters {
	struct vector_counters vectors[VECTORS];
	/* Vector that runs, plus 1; 0 none. Vectors do not nest on a CPU: an entry
	 * ends what ran before, also when its exit was not reported. */
	__u64 running;
	/* PREEMPT_RT, where a task runs softirqs and can lose the CPU meanwhile: the
	 * task that runs this one, as the address of its task_struct, 0 none, and
	 * clock() of when it lost the CPU, 0 it has it. */
	__u64 task;
	__u64 lost_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set to the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu_counters);
} deferred_cpus SEC(".maps");

/* A run, in the ringbuf. */
struct run {
	struct lb_record head;
	__u64 run_ns;  /* entry to exit */
	__u64 wait_ns; /* raise to entry, 0 unknown */
	__u32 tid;     /* thread that was interrupted, or that ran it */
	__u32 vector;
};

/* A run above a threshold also names the task. */
struct long_run {
	struct run run;
	char comm[LB_COMM_LEN];
};

/* For bpf2go, which finds types by the variables that have them. */
struct run *unused_run __attribute__((unused));
struct long_run *unused_long_run __attribute__((unused));

/*
 * Differences of this clock are durations. The monotonic clock costs three
 * quarters of the boot clock; where every run becomes a record, which needs
 * its time on the boot clock, one reading serves for both.
 */
static __always_inline __u64 clock(void)
{
	return trace ? bpf_ktime_get_boot_ns() : bpf_ktime_get_ns();
}

static __always_inline struct cpu_counters *this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&deferred_cpus, &cpu);
}

static __always_inline struct vector_counters *counters_of(struct cpu_counters *state, __u32 vector)
{
	barrier_var(vector); /* or clang computes the offset before the check, where the verifier cannot see its bound */
	if (!state || vector >= VECTORS)
		return 0;
	return &state->vectors[vector];
}

static __always_inline void fill(struct run *run, __u64 now, __u64 run_ns, __u64 wait_ns, __u32 vector)
{
	__u64 id = bpf_get_current_pid_tgid();

	run->head.time_ns = now;
	run->head.kind = LB_KIND_DEFERRED_RUN;
	run->head.cpu = (__u16)bpf_get_smp_processor_id();
	run->head.pid = (__u32)(id >> 32);
	run->run_ns = run_ns;
	run->wait_ns = wait_ns;
	run->tid = (__u32)id;
	run->vector = vector;
}

/* int softirq_raise(unsigned int vec_nr), with interrupts off. */
SEC("raw_tp/softirq_raise")
int deferred_raise(struct bpf_raw_tracepoint_args *ctx)
{
	struct vector_counters *v = counters_of(this_cpu(), (__u32)ctx->args[0]);

	if (!v)
		return 0;
	v->raised++;
	if (!v->raised_ns)
		v->raised_ns = clock();
	return 0;
}

/* softirq_entry(unsigned int vec_nr). Interrupts are on: a raise may come
 * between any two lines, and belongs to the next run. */
SEC("raw_tp/softirq_entry")
int deferred_entry(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 vector = (__u32)ctx->args[0];
	struct cpu_counters *state = this_cpu();
	struct vector_counters *v = counters_of(state, vector);
	__u64 now, raised;

	if (!v)
		return 0;
	raised = __sync_lock_test_and_set(&v->raised_ns, 0);
	now = clock();
	v->wait_ns = 0;
	if (raised && now > raised) {
		v->wait_ns = now - raised;
		lb_observe(&v->wait, now - raised);
	}
	v->entered_ns = now;
	state->running = vector + 1;
	if (preemptible) {
		state->lost_ns = 0;
		state->task = bpf_get_current_task();
	}
	return 0;
}

/*
 * sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next):
 * only on PREEMPT_RT. What the task that runs a softirq has missed moves the
 * beginning of the run forward, so that a run is as long as it had the CPU.
 */
SEC("raw_tp/sched_switch")
int deferred_switch(struct bpf_raw_tracepoint_args *ctx)
{
	struct cpu_counters *state = this_cpu();
	struct vector_counters *v;
	__u64 now;

	if (!state || !state->task)
		return 0;
	if (ctx->args[1] == state->task) {
		state->lost_ns = clock();
	} else if (ctx->args[2] == state->task && state->lost_ns) {
		v = counters_of(state, (__u32)state->running - 1);
		now = clock();
		if (v && v->entered_ns && now > state->lost_ns)
			v->entered_ns += now - state->lost_ns;
		state->lost_ns = 0;
	}
	return 0;
}

/* softirq_exit(unsigned int vec_nr) */
SEC("raw_tp/softirq_exit")
int deferred_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 vector = (__u32)ctx->args[0];
	struct cpu_counters *state = this_cpu();
	struct vector_counters *v = counters_of(state, vector);
	struct long_run *long_run;
	struct run *run;
	__u64 now, run_ns;

	if (!v || !v->entered_ns)
		return 0;
	now = clock();
	run_ns = now > v->entered_ns ? now - v->entered_ns : 0; /* the fast clock may step back a little */
	v->entered_ns = 0;
	state->running = 0;
	if (preemptible)
		state->task = 0;
	lb_observe(&v->run, run_ns);
	if (run_ns >= run_threshold_ns || v->wait_ns >= wait_threshold_ns) {
		long_run = lb_reserve(LB_KIND_DEFERRED_RUN, sizeof(*long_run));
		if (!long_run)
			return 0;
		fill(&long_run->run, trace ? now : bpf_ktime_get_boot_ns(), run_ns, v->wait_ns, vector);
		bpf_get_current_comm(long_run->comm, sizeof(long_run->comm));
		lb_submit(long_run);
	} else if (trace && !trace_paused) {
		run = lb_reserve(LB_KIND_DEFERRED_RUN, sizeof(*run));
		if (!run)
			return 0;
		fill(run, now, run_ns, v->wait_ns, vector);
		lb_submit(run);
	}
	return 0;
}
