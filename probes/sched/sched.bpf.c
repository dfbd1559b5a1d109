//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Why a watched thread did not run. For each watched thread, every stay on a
 * CPU, in a run queue, throttled or blocked is added up, blocked ones by where
 * they block; and while one waits for a CPU, what that CPU runs meanwhile.
 *
 * The programs are attached only while something is watched. A thread is found
 * by one bit of its number, so that all others cost little.
 */
#include "hist.h"
#include "follow.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MARKS 65536 /* bits for thread numbers; others share them, which costs a look-up */
#define SLOTS 8 /* watched threads that may wait for one CPU at once */
#define STACK_DEPTH 32
#define SETTLED_NS 5000000 /* no change of phase takes as long */
#define RETURN_NS 1000000 /* on the way out of a read: sooner after it, and for longer */

/* Kernel constants, the same from 6.1 to 6.18. */
#define TASK_EXITING 0xb0 /* EXIT_DEAD, EXIT_ZOMBIE, TASK_DEAD */
#define TASK_INTERRUPTIBLE 1
#define TASK_WAKING 0x200
#define TASK_FROZEN 0x8000
#define TASK_STOPPED_OR_TRACED 0xc
#define JOBCTL_STOP_SIGMASK 0xffff
#define JOBCTL_TRAP_FREEZE (1UL << 23)
#define PF_KTHREAD 0x00200000
#define MAX_RT_PRIO 100

/* What is read of a task can also be read of one that is not the current: with
 * a helper that lockdown=confidentiality refuses. */
volatile const bool probe_reads = true;

struct cfs_rq { int throttle_count; } __core;
struct sched_entity {
	__u64 sum_exec_runtime;
	__u64 prev_sum_exec_runtime;
	struct cfs_rq *cfs_rq;
} __core;
struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_arrival;
	unsigned long long last_queued;
} __core;
struct thread_info { __u32 cpu; } __core;
struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	unsigned int flags;
	int on_cpu;
	int prio;
	unsigned int rt_priority;
	unsigned int policy;
	struct sched_entity se;
	struct sched_info sched_info;
	int exit_state;
	unsigned long jobctl;
	unsigned int in_iowait : 1;
	unsigned int in_memstall : 1;
	int pid;
	int tgid;
	char comm[LB_COMM_LEN];
} __core;
/* Since 6.18 each task is throttled for itself, on its way to user mode. */
struct task_struct___throttled { bool throttled; } __core;
struct pt_regs___x86 { unsigned long orig_ax, di; } __core;
struct pt_regs___arm64 { __u64 orig_x0; __s32 syscallno; } __core;
struct pt_regs;

struct seq_file;
struct bpf_iter_meta {
	union {
		struct seq_file *seq;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;
struct bpf_iter__task {
	union {
		struct bpf_iter_meta *meta;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		struct task_struct *task;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;

/* What a watched thread does. */
enum phase {
	PHASE_UNKNOWN,
	PHASE_RUNNING,
	PHASE_WAITING, /* for a CPU */
	PHASE_THROTTLED,
	PHASE_BLOCKED,
	PHASE_GONE,
};

/* Flags of a site. */
enum site_flags {
	SITE_IOWAIT = 1, /* waits for I/O, as the kernel accounts it */
	SITE_FROZEN = 2, /* frozen by its control group, or with the system */
	SITE_MEMSTALL = 4, /* in reclaim, compaction or a wait for pages, as PSI accounts it */
	SITE_KTHREAD = 8,
	SITE_LISTED = 16, /* found by listing: its stack is in the listing */
};

/* Where a thread blocks. */
struct site {
	__u64 argument; /* the system call's first */
	__u32 tid;
	__u32 state; /* task state, as the kernel numbers it */
	__s32 syscall; /* number, -1 none */
	__s32 stack; /* in sched_stacks, below 0 none */
	__u32 flags; /* enum site_flags */
	__u32 signal; /* that stopped it, 0 none */
};

/* Stays of one kind; only ever grows. */
struct amount {
	__u64 sum_ns;
	__u64 count;
	struct lb_peak peaks[2]; /* by parity of the epoch */
};

/* A watched thread. */
struct thread {
	__u64 seq; /* grows with each change of the phase */
	__u64 since_ns; /* boot clock: when the phase began */
	__u64 woken_ns; /* when it was woken to run next, 0 it was not */
	__u64 listed_ns; /* when it was listed last */
	__u64 task; /* struct task_struct: read only while it waits, when it cannot end */
	__u64 returning; /* cookie of the socket that it had read when it lost the CPU, 0 none */
	__u64 return_ns; /* since when it has not had the CPU since */
	__u32 return_state; /* enum lb_schedstate, meanwhile */
	__u32 unused;
	struct site site; /* where it blocks */
	__u32 pid;
	__u32 phase; /* enum phase */
	__u32 cpu; /* where it runs or waits */
	__u32 slot; /* among that CPU's waiting threads, plus 1; 0 none */
	struct amount running;
	struct amount waiting;
	struct amount throttled;
	struct lb_hist wait; /* wake-up to running */
	char comm[LB_COMM_LEN];
};

/* Who ran while a watched thread waited, and where. */
struct rival {
	__u32 victim; /* tid of the watched thread */
	__u32 tid; /* 0 when deferred work or interrupts ran */
	__u32 cpu;
	__u32 vector; /* softirq plus 1, VECTOR_IRQ, 0 a task */
};
#define VECTOR_IRQ 100

struct rival_amount {
	__u64 run_ns; /* only ever grows */
	__u32 pid;
	__u32 policy;
	__u32 priority; /* real-time priority */
	__u32 unused;
	char comm[LB_COMM_LEN];
};

/* A watched thread as it is listed. */
struct listed {
	__u64 now_ns; /* boot clock, when it was listed */
	__u64 argument;
	__u64 run_delay_ns; /* time in run queues since it began, by the kernel's own account */
	__u32 tid;
	__u32 pid;
	__u32 phase; /* enum phase, as found */
	__u32 state;
	__u32 flags; /* enum site_flags */
	__s32 syscall;
	__u32 cpu;
	__u32 policy;
	__u32 priority;
	__s32 stack_bytes; /* of stack in use; below 0 none */
	char comm[LB_COMM_LEN];
	__u64 stack[STACK_DEPTH];
};

/* A CPU, as far as threads that wait for it need it. */
struct cpu {
	__u64 segment_ns; /* up to here what ran was added up */
	__u64 task; /* struct task_struct that runs, 0 unknown */
	__u32 waiters; /* watched threads that wait for this CPU */
	__u32 vector; /* softirq that runs plus 1, VECTOR_IRQ, 0 none */
	__u32 outer; /* what an interrupt interrupted, in the same form */
	__u32 unused;
	__u32 slots[SLOTS]; /* their tids */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} sched_pids SEC(".maps"); /* processes whose threads are watched */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} sched_tids SEC(".maps"); /* single threads that are watched */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* new entries come from process context only */
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct thread);
} sched_threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct site);
	__type(value, struct amount);
} sched_sites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct rival);
	__type(value, struct rival_amount);
} sched_rivals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_DEPTH * sizeof(__u64));
} sched_stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set to the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu);
} sched_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct listed);
} sched_scratch SEC(".maps");

/* Bits of the threads that are watched. User space clears them when nothing is. */
volatile __u64 sched_marks[MARKS / 64];

/* Zeroed entries, too large for the stack. */
static const struct thread no_thread;
static const struct amount no_amount;

/* For bpf2go, which finds types by the variables that have them. */
struct listed *unused_listed __attribute__((unused));
enum phase unused_phase __attribute__((unused));
enum site_flags unused_site_flags __attribute__((unused));

static __always_inline bool marked(__u32 tid)
{
	tid &= MARKS - 1;
	return sched_marks[tid / 64] >> (tid % 64) & 1;
}

static __always_inline void mark(__u32 tid)
{
	tid &= MARKS - 1;
	__sync_fetch_and_or(&sched_marks[tid / 64], 1ULL << (tid % 64));
}

static __always_inline void observe(struct amount *a, __u64 ns)
{
	struct lb_peak *peak = &a->peaks[lb_epoch & 1];

	if (peak->epoch != lb_epoch) {
		peak->epoch = lb_epoch;
		peak->max_ns = 0;
	}
	if (ns > peak->max_ns)
		peak->max_ns = ns;
	a->sum_ns += ns;
	a->count++;
}

/* End the stay in the phase that the thread is in; the caller sets the next. */
static __always_inline void end_stay(struct thread *t, __u64 now)
{
	__u64 ns = now > t->since_ns ? now - t->since_ns : 0;
	struct amount *amount = 0;

	switch (t->phase) {
	case PHASE_RUNNING:
		amount = &t->running;
		break;
	case PHASE_WAITING:
		amount = &t->waiting;
		break;
	case PHASE_THROTTLED:
		amount = &t->throttled;
		break;
	case PHASE_BLOCKED:
		amount = bpf_map_lookup_elem(&sched_sites, &t->site);
		if (!amount) {
			bpf_map_update_elem(&sched_sites, &t->site, &no_amount, BPF_NOEXIST);
			amount = bpf_map_lookup_elem(&sched_sites, &t->site);
			if (!amount)
				lb_count_lost(LB_KIND_SCHED_STATE);
		}
	}
	if (amount)
		observe(amount, ns);
	t->seq++;
	t->since_ns = now > t->since_ns ? now : t->since_ns;
}

static __always_inline struct cpu *cpu_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&sched_cpus, &cpu);
}

/* Have a thread wait for a CPU: what that runs from now on is added up. */
static __always_inline void claim(struct thread *t, __u32 tid, __u32 cpu, __u64 now)
{
	struct cpu *c = cpu_of(cpu);

	t->cpu = cpu;
	t->slot = 0;
	if (!c)
		return;
	for (__u32 i = 0; i < SLOTS; i++) {
		if (c->slots[i] || __sync_val_compare_and_swap(&c->slots[i], 0, tid))
			continue;
		t->slot = i + 1;
		if (!__sync_fetch_and_add(&c->waiters, 1))
			c->segment_ns = now;
		return;
	}
}

static __always_inline void release(struct thread *t)
{
	struct cpu *c = cpu_of(t->cpu);
	__u32 slot = t->slot - 1;

	t->slot = 0;
	if (!c || slot >= SLOTS)
		return;
	__sync_lock_test_and_set(&c->slots[slot], 0);
	__sync_fetch_and_sub(&c->waiters, 1);
}

/* Whether the quota of the thread's control group is used up. */
static __always_inline bool throttled(struct task_struct *task)
{
	struct task_struct___throttled *own = (void *)task;
	struct cfs_rq *cfs_rq = 0;

	if (task->prio < MAX_RT_PRIO)
		return false;
	if (bpf_core_field_exists(own->throttled))
		return own->throttled;
	if (!bpf_core_field_exists(cfs_rq->throttle_count))
		return false;
	cfs_rq = task->se.cfs_rq;
	return cfs_rq && cfs_rq->throttle_count > 0;
}

/* The same of a task that waits elsewhere. */
static __always_inline bool throttled_elsewhere(__u64 address)
{
	struct task_struct *task = (void *)address;
	struct task_struct___throttled *own = (void *)address;
	struct cfs_rq *cfs_rq = 0;
	bool yes = false;
	int prio = 0, count = 0;

	if (bpf_core_read(&prio, sizeof(prio), &task->prio) || prio < MAX_RT_PRIO)
		return false;
	if (bpf_core_field_exists(own->throttled)) {
		bpf_core_read(&yes, sizeof(yes), &own->throttled);
		return yes;
	}
	if (!bpf_core_field_exists(cfs_rq->throttle_count))
		return false;
	bpf_core_read(&cfs_rq, sizeof(cfs_rq), &task->se.cfs_rq);
	if (cfs_rq)
		bpf_core_read(&count, sizeof(count), &cfs_rq->throttle_count);
	return count > 0;
}

/* Whatever runs on a CPU. */
struct who {
	__u32 tid;
	__u32 pid;
	__u32 policy;
	__u32 priority;
	__u32 vector;
	char comm[LB_COMM_LEN];
};

static __always_inline bool is_ksoftirqd(const char *comm)
{
	return comm[0] == 'k' && comm[1] == 's' && comm[2] == 'o' && comm[3] == 'f' && comm[4] == 't';
}

/* Deferred work in ksoftirqd is that thread's; elsewhere it is nobody's. */
static __always_inline void name_vector(struct who *who, __u32 vector)
{
	if (!vector || (vector != VECTOR_IRQ && is_ksoftirqd(who->comm)))
		return;
	__builtin_memset(who, 0, sizeof(*who));
	who->vector = vector;
}

static __always_inline void who_is(struct who *who, struct task_struct *task, __u32 vector)
{
	who->tid = task->pid;
	who->pid = task->tgid;
	who->policy = task->policy;
	who->priority = task->rt_priority;
	who->vector = 0;
	__builtin_memcpy(who->comm, task->comm, LB_COMM_LEN);
	name_vector(who, vector);
}

/* Add up what ran on a CPU until now for each watched thread that waits for it,
 * and see whether one has been throttled, or is no more. */
static __noinline int account(struct cpu *c, struct who *who, __u32 cpu, __u64 now)
{
	__u64 from, begin;

	if (!c || !who)
		return 0;
	from = __sync_lock_test_and_set(&c->segment_ns, now);
	for (__u32 i = 0; i < SLOTS; i++) {
		struct rival key = { .victim = c->slots[i], .tid = who->tid, .cpu = cpu, .vector = who->vector };
		struct rival_amount fresh = {}, *amount;
		struct thread *t;
		bool is;

		if (!key.victim)
			continue;
		t = bpf_map_lookup_elem(&sched_threads, &key.victim);
		if (!t || (t->slot != i + 1 && t->slot) || t->cpu != cpu) {
			/* It is not watched any more, or waits elsewhere. */
			__sync_lock_test_and_set(&c->slots[i], 0);
			__sync_fetch_and_sub(&c->waiters, 1);
			continue;
		}
		begin = t->since_ns > from ? t->since_ns : from;
		if (t->phase == PHASE_WAITING && now > begin && (key.tid || key.vector)) {
			amount = bpf_map_lookup_elem(&sched_rivals, &key);
			if (!amount) {
				bpf_map_update_elem(&sched_rivals, &key, &fresh, BPF_NOEXIST);
				amount = bpf_map_lookup_elem(&sched_rivals, &key);
			}
			if (amount) {
				__sync_fetch_and_add(&amount->run_ns, now - begin);
				/* A thread may change its name and policy: the last ones count. */
				amount->pid = who->pid;
				amount->policy = who->policy;
				amount->priority = who->priority;
				__builtin_memcpy(amount->comm, who->comm, LB_COMM_LEN);
			} else {
				lb_count_lost(LB_KIND_SCHED_RIVAL);
			}
		}
		if (!probe_reads)
			continue;
		is = throttled_elsewhere(t->task);
		if (t->phase == PHASE_WAITING && is) {
			end_stay(t, now);
			t->phase = PHASE_THROTTLED;
		} else if (t->phase == PHASE_THROTTLED && !is) {
			end_stay(t, now);
			t->phase = PHASE_WAITING;
		}
	}
	return 0;
}

/* account for a CPU that may be another than this one. */
static __always_inline void account_elsewhere(__u32 cpu, __u64 now)
{
	struct cpu *c = cpu_of(cpu);
	struct task_struct *task;
	struct who who = {};

	if (!c || !probe_reads)
		return;
	task = (void *)c->task;
	if (!task)
		return; /* since it is watched it has not switched: its next switch tells */
	bpf_core_read(&who.tid, sizeof(who.tid), &task->pid);
	bpf_core_read(&who.pid, sizeof(who.pid), &task->tgid);
	bpf_core_read(&who.policy, sizeof(who.policy), &task->policy);
	bpf_core_read(&who.priority, sizeof(who.priority), &task->rt_priority);
	bpf_core_read(&who.comm, sizeof(who.comm), &task->comm);
	name_vector(&who, c->vector);
	account(c, &who, cpu, now);
}

/* The system call that a task is in, -1 none, and its first argument. */
static __always_inline __s32 syscall_of(struct task_struct *task, __u64 *argument)
{
	struct pt_regs *regs;
	struct pt_regs___x86 *x86;
	struct pt_regs___arm64 *arm64;

	*argument = 0;
	if (task->flags & PF_KTHREAD)
		return -1;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if (!regs)
		return -1;
	x86 = (void *)regs;
	arm64 = (void *)regs;
	if (bpf_core_field_exists(x86->orig_ax)) {
		*argument = x86->di;
		return (__s32)x86->orig_ax;
	}
	if (bpf_core_field_exists(arm64->syscallno)) {
		*argument = arm64->orig_x0;
		return arm64->syscallno;
	}
	return -1;
}

static __always_inline __u32 site_flags(struct task_struct *task, __u32 state)
{
	__u32 flags = 0;

	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		flags |= SITE_IOWAIT;
	if (bpf_core_field_exists(task->in_memstall) && BPF_CORE_READ_BITFIELD(task, in_memstall))
		flags |= SITE_MEMSTALL;
	if (state & TASK_FROZEN || (state & TASK_INTERRUPTIBLE && task->jobctl & JOBCTL_TRAP_FREEZE))
		flags |= SITE_FROZEN;
	if (task->flags & PF_KTHREAD)
		flags |= SITE_KTHREAD;
	return flags;
}

static __always_inline __u32 stop_signal(struct task_struct *task, __u32 state)
{
	return state & TASK_STOPPED_OR_TRACED ? (__u32)task->jobctl & JOBCTL_STOP_SIGMASK : 0;
}

/* Note that a thread that has read from a followed socket loses the CPU before its program gets what it has read. */
static __always_inline void leave_read(struct thread *t, struct task_struct *prev, __u64 now)
{
	__u32 tid = prev->pid;
	struct lb_reading *r = bpf_map_lookup_elem(&lb_readings, &tid);
	__s64 call;
	__u64 ip;

	if (!r || now - r->read_ns > RETURN_NS)
		return;
	if (t->phase == PHASE_THROTTLED)
		t->return_state = LB_SCHEDSTATE_THROTTLED;
	else if (t->phase == PHASE_WAITING)
		t->return_state = LB_SCHEDSTATE_WAITING;
	else if (t->phase == PHASE_BLOCKED && t->site.flags & SITE_FROZEN)
		t->return_state = LB_SCHEDSTATE_FROZEN;
	else if (t->phase == PHASE_BLOCKED && t->site.state & TASK_STOPPED_OR_TRACED)
		t->return_state = LB_SCHEDSTATE_STOPPED;
	else
		return; /* it waits for more, as it was asked to */
	lb_call_of(prev, &call, &ip);
	if (call < 0 || call != r->call || ip != r->ip)
		return;
	t->returning = r->cookie;
	t->return_ns = now;
}

/* A thread goes on that lost the CPU on its way out of a read. */
static __always_inline void resume_read(struct thread *t, __u32 tid, __u64 now)
{
	struct lb_reading *r = bpf_map_lookup_elem(&lb_readings, &tid);
	struct lb_return *out;

	if (r)
		r->read_ns = now; /* it may lose the CPU again */
	if (now - t->return_ns >= RETURN_NS) {
		out = lb_follow_reserve(LB_KIND_PACKET_RETURN, sizeof(*out), now);
		if (out) {
			out->head.time_ns = now;
			out->head.kind = LB_KIND_PACKET_RETURN;
			out->head.cpu = (__u16)bpf_get_smp_processor_id();
			out->head.pid = t->pid;
			out->cookie = t->returning;
			out->since_ns = t->return_ns;
			out->tid = tid;
			out->state = t->return_state;
			lb_submit(out);
		}
	}
	t->returning = 0;
}

static __always_inline void left(void *ctx, struct task_struct *prev, __u32 cpu, bool preempt, __u32 state, __u64 now)
{
	__u32 tid = prev->pid;
	struct thread *t = bpf_map_lookup_elem(&sched_threads, &tid);

	if (!t)
		return;
	if (t->slot)
		release(t); /* its arrival was not reported: single events are missing now and then */
	end_stay(t, now);
	t->woken_ns = 0;
	t->task = (__u64)prev;
	__builtin_memcpy(t->comm, prev->comm, LB_COMM_LEN);
	/* A signal keeps a thread runnable that was about to block. */
	if (preempt || !state || !prev->__state) {
		t->phase = throttled(prev) ? PHASE_THROTTLED : PHASE_WAITING;
		claim(t, tid, cpu, now);
	} else if (state & TASK_EXITING) {
		t->phase = PHASE_GONE;
	} else {
		__u64 argument;

		t->site.tid = tid;
		t->site.state = state;
		t->site.syscall = syscall_of(prev, &argument);
		t->site.argument = argument;
		t->site.flags = site_flags(prev, state);
		t->site.signal = stop_signal(prev, state);
		t->site.stack = (__s32)bpf_get_stackid(ctx, &sched_stacks, 0);
		t->phase = PHASE_BLOCKED;
	}
	t->returning = 0;
	leave_read(t, prev, now);
}

static __always_inline void arrived(struct task_struct *next, __u32 cpu, __u64 now)
{
	__u32 tid = next->pid;
	struct thread *t = bpf_map_lookup_elem(&sched_threads, &tid);

	if (!t)
		return;
	if (t->slot)
		release(t);
	end_stay(t, now);
	if (t->returning)
		resume_read(t, tid, now);
	if (t->woken_ns) {
		lb_observe(&t->wait, now > t->woken_ns ? now - t->woken_ns : 0);
		t->woken_ns = 0;
	}
	t->phase = PHASE_RUNNING;
	t->cpu = cpu;
}

/* sched_switch(bool preempt, prev, next, unsigned int prev_state): the last since 5.18. */
SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = cpu_of(cpu);
	bool leaves, arrives;
	__u64 now;

	if (!c)
		return 0;
	c->task = (__u64)next;
	leaves = marked(prev->pid);
	arrives = marked(next->pid);
	if (!leaves && !arrives && !c->waiters)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (c->waiters) {
		struct who who;

		who_is(&who, prev, 0);
		account(c, &who, cpu, now);
	}
	c->vector = 0;
	if (leaves)
		left(ctx, prev, cpu, preempt, prev_state, now);
	if (arrives)
		arrived(next, cpu, now);
	return 0;
}

/* sched_waking(struct task_struct *p): on the CPU of whoever wakes it. */
SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *p)
{
	__u32 tid = p->pid;
	struct thread *t;
	__u64 now;

	if (!marked(tid))
		return 0;
	t = bpf_map_lookup_elem(&sched_threads, &tid);
	if (!t || (t->phase != PHASE_BLOCKED && t->phase != PHASE_UNKNOWN))
		return 0; /* it has not left the CPU */
	now = bpf_ktime_get_boot_ns();
	/* A sleeping thread is frozen without being woken: some time since it was listed. */
	if (p->__state & TASK_FROZEN && !(t->site.flags & SITE_FROZEN)) {
		if (t->listed_ns > t->since_ns)
			end_stay(t, t->listed_ns);
		t->site.state = TASK_FROZEN;
		t->site.flags |= SITE_FROZEN;
	}
	end_stay(t, now);
	t->woken_ns = now;
	t->task = (__u64)p;
	t->phase = throttled(p) ? PHASE_THROTTLED : PHASE_WAITING;
	claim(t, tid, p->thread_info.cpu, now);
	return 0;
}

/* sched_migrate_task(struct task_struct *p, int dest_cpu) */
SEC("tp_btf/sched_migrate_task")
int BPF_PROG(sched_migrate, struct task_struct *p, int dest_cpu)
{
	__u32 tid = p->pid;
	struct thread *t;
	__u64 now;

	if (!marked(tid))
		return 0;
	t = bpf_map_lookup_elem(&sched_threads, &tid);
	if (!t || (t->phase != PHASE_WAITING && t->phase != PHASE_THROTTLED))
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (t->slot) {
		account_elsewhere(t->cpu, now);
		release(t);
	}
	claim(t, tid, (__u32)dest_cpu, now);
	return 0;
}

/* sched_process_fork(struct task_struct *parent, struct task_struct *child) */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 tid = child->pid, pid = child->tgid;
	struct thread *t;

	if (parent->tgid != pid || !bpf_map_lookup_elem(&sched_pids, &pid))
		return 0;
	if (bpf_map_update_elem(&sched_threads, &tid, &no_thread, BPF_ANY)) {
		lb_count_lost(LB_KIND_SCHED_STATE);
		return 0;
	}
	t = bpf_map_lookup_elem(&sched_threads, &tid);
	if (!t)
		return 0;
	t->pid = pid;
	t->since_ns = bpf_ktime_get_boot_ns();
	t->phase = PHASE_WAITING;
	__builtin_memcpy(t->comm, child->comm, LB_COMM_LEN);
	mark(tid);
	return 0;
}

/* What ran until now, and what runs from now on, on this CPU. */
static __always_inline struct cpu *boundary(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = cpu_of(cpu);

	if (c && c->waiters) {
		struct who who;

		who_is(&who, bpf_get_current_task_btf(), c->vector);
		account(c, &who, cpu, bpf_ktime_get_boot_ns());
	}
	return c;
}

/* softirq_entry(unsigned int vec_nr) */
SEC("tp_btf/softirq_entry")
int BPF_PROG(sched_softirq_entry, unsigned int vector)
{
	struct cpu *c = boundary();

	if (c)
		c->vector = vector + 1;
	return 0;
}

/* softirq_exit(unsigned int vec_nr) */
SEC("tp_btf/softirq_exit")
int BPF_PROG(sched_softirq_exit)
{
	struct cpu *c = boundary();

	if (c)
		c->vector = 0;
	return 0;
}

/* irq_handler_entry(int irq, struct irqaction *action) */
SEC("tp_btf/irq_handler_entry")
int BPF_PROG(sched_irq_entry)
{
	struct cpu *c = boundary();

	if (c && c->vector != VECTOR_IRQ) {
		c->outer = c->vector;
		c->vector = VECTOR_IRQ;
	}
	return 0;
}

/* irq_handler_exit(int irq, struct irqaction *action, int ret) */
SEC("tp_btf/irq_handler_exit")
int BPF_PROG(sched_irq_exit)
{
	struct cpu *c = boundary();

	if (c && c->vector == VECTOR_IRQ)
		c->vector = c->outer;
	return 0;
}

/* Convert a time of the scheduler's clock: the reader of the listing has just
 * been given a CPU, so that it knows one time on both. 0 unknown. */
static __always_inline __u64 boot_time(__u64 sched_ns, __u64 now)
{
	struct task_struct *me = bpf_get_current_task_btf();
	__u64 arrival = me->sched_info.last_arrival, time;

	if (!sched_ns || !arrival)
		return 0;
	time = now + sched_ns - arrival;
	return time < now ? time : now;
}

/* Since when a thread that is listed for the first time has been in its phase. */
static __always_inline __u64 since(struct task_struct *task, __u32 phase, __u64 now)
{
	__u64 time = 0;

	if (!bpf_core_field_exists(task->sched_info.last_arrival))
		return now;
	if (phase == PHASE_WAITING || phase == PHASE_THROTTLED)
		time = boot_time(task->sched_info.last_queued, now);
	else if (phase == PHASE_BLOCKED && task->prio >= MAX_RT_PRIO) {
		/* It last got a CPU, and how long it had it, is known of this class only. */
		time = boot_time(task->sched_info.last_arrival, now);
		if (time)
			time += task->se.sum_exec_runtime - task->se.prev_sum_exec_runtime;
	} else if (phase == PHASE_RUNNING)
		time = boot_time(task->sched_info.last_arrival, now);
	return time && time < now ? time : now;
}

/*
 * List the watched threads, with the stack of those that block. One that is new
 * is taken in as it is found. One of which a change was missed is put right:
 * threads are frozen in their sleep, and single events get lost.
 */
SEC("iter/task")
int sched_list(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct listed *listed;
	struct thread *t;
	__u32 tid, pid, zero = 0, phase, state;
	__u64 now, seq, argument, begin;

	if (!task)
		return 0;
	tid = task->pid;
	pid = task->tgid;
	if (!bpf_map_lookup_elem(&sched_pids, &pid) && !bpf_map_lookup_elem(&sched_tids, &tid))
		return 0;
	listed = bpf_map_lookup_elem(&sched_scratch, &zero);
	if (!listed || task->exit_state)
		return 0;
	t = bpf_map_lookup_elem(&sched_threads, &tid);
	if (!t) {
		bpf_map_update_elem(&sched_threads, &tid, &no_thread, BPF_NOEXIST);
		mark(tid);
		t = bpf_map_lookup_elem(&sched_threads, &tid);
		if (!t) {
			lb_count_lost(LB_KIND_SCHED_STATE);
			return 0;
		}
	}
	seq = t->seq;
	now = bpf_ktime_get_boot_ns();
	state = task->__state;
	if (task->on_cpu)
		phase = PHASE_RUNNING;
	else if (!state || state & TASK_WAKING)
		phase = throttled(task) ? PHASE_THROTTLED : PHASE_WAITING;
	else if (state & TASK_EXITING)
		return 0;
	else
		phase = PHASE_BLOCKED;
	listed->now_ns = now;
	listed->tid = tid;
	listed->pid = pid;
	listed->phase = phase;
	listed->state = state;
	listed->flags = site_flags(task, state);
	listed->syscall = syscall_of(task, &argument);
	listed->argument = argument;
	listed->cpu = task->thread_info.cpu;
	listed->policy = task->policy;
	listed->priority = task->rt_priority;
	listed->run_delay_ns = bpf_core_field_exists(task->sched_info.run_delay) ? task->sched_info.run_delay : 0;
	__builtin_memcpy(listed->comm, task->comm, LB_COMM_LEN);
	listed->stack_bytes = phase == PHASE_BLOCKED ? bpf_get_task_stack(task, listed->stack, sizeof(listed->stack), 0) : -1;
	/* A change that is under way looks like one that was missed: only a phase that has lasted is put right. */
	if ((t->phase != phase && (t->phase == PHASE_UNKNOWN || now > t->since_ns + SETTLED_NS)) ||
	    (t->phase == phase && phase == PHASE_BLOCKED && (t->site.flags ^ listed->flags) & SITE_FROZEN)) {
		bool first = t->phase == PHASE_UNKNOWN;

		begin = since(task, phase, now);
		if (__sync_val_compare_and_swap(&t->seq, seq, seq + 1) != seq)
			goto write; /* it has moved on in the meantime: its events are right */
		if (first) {
			t->pid = pid;
			t->since_ns = begin;
			__builtin_memcpy(t->comm, listed->comm, LB_COMM_LEN);
		} else {
			if (phase == PHASE_BLOCKED)
				begin = listed->flags & SITE_FROZEN && t->listed_ns ? t->listed_ns : now;
			if (begin < t->since_ns)
				begin = t->since_ns;
			if (t->slot)
				release(t);
			end_stay(t, begin);
		}
		t->woken_ns = 0;
		t->task = (__u64)task;
		if (phase == PHASE_BLOCKED) {
			t->site.tid = tid;
			t->site.state = state;
			t->site.syscall = listed->syscall;
			t->site.argument = argument;
			t->site.flags = listed->flags | SITE_LISTED;
			t->site.signal = stop_signal(task, state);
			t->site.stack = -1;
		}
		t->phase = phase;
		t->cpu = listed->cpu;
		if (phase == PHASE_WAITING || phase == PHASE_THROTTLED)
			claim(t, tid, listed->cpu, now);
	} else if (phase == PHASE_WAITING && t->slot) {
		account_elsewhere(t->cpu, now);
	}
write:
	t->listed_ns = now;
	bpf_seq_write(ctx->meta->seq, listed, sizeof(*listed));
	return 0;
}
