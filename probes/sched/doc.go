// Package sched owns the signal of threads that get or lose a processor.
//
// On Windows it decodes context switches. On Linux it answers model.RequestSched:
// it watches the threads of a process (Request.PID), one thread (Request.TID),
// kernel threads by name (Request.Name, a * at its end stands for anything), or
// the ksoftirqd of a CPU (Request.CPU). Nothing is attached while nothing is watched.
//
// # What is emitted
//
// Once per interval and watched thread: a sched.state for each state in which it
// was, whose times add up to the interval; a sched.hist of the times from wake-up
// to running; and a sched.rival for each of the eight that ran longest on its
// CPU while it waited for that. Of a process with more than 32 threads, the 32
// that ran or waited most.
//
// # How the states are told apart
//
// BPF programs on the tracepoints sched_switch and sched_waking add up every
// stay: on a CPU, in a run queue, throttled, or blocked. At the switch they note
// the task state, in_iowait, in_memstall, jobctl, the system call with its first
// argument, and the kernel stack; stays that agree in all of them share one
// counter. A table of kernel functions (classify_linux.go) turns that into a
// state when the counters are read, so no kernel function has to exist.
//
//   - running, waiting: on a CPU; runnable without one.
//   - throttled: runnable, with the CPU quota of its control group used up:
//     task_struct.throttled from Linux 6.18 on, cfs_rq.throttle_count before. The
//     group, limit and period are those of the group that cpu.stat shows as
//     throttled most in the interval.
//   - frozen: TASK_FROZEN (version 1, suspend), or JOBCTL_TRAP_FREEZE in an
//     interruptible wait (version 2).
//   - stopped: TASK_STOPPED with the signal, TASK_TRACED with the tracer.
//   - memory: inside a page fault, or where PSI counts a memory stall.
//   - disk, lock, input, sleeping: by the innermost function of the stack that
//     the table knows, then by in_iowait, then by the system call.
//
// For input, the detail names system call, descriptor and what that is, and the
// cookie is the socket's: a reader that waits for another one is not waiting
// for the socket that loses packets.
//
// # Who ran instead
//
// It is not the task before the switch: behind a real-time task that hogs a CPU
// that is often a kworker. While a watched thread waits, each switch, softirq
// and interrupt of its CPU ends a segment, whose time is added to whoever had
// it, under the thread that waited. ksoftirqd is a task like others; softirqs
// and interrupts on top of a task are rivals of their own, without PID.
//
// # What was before
//
// When watching begins, an iterator over the tasks takes each thread in as it
// is found: running, waiting, or blocked, with its stack. The scheduler's own
// times say since when (sched_info.last_queued and last_arrival, and how long
// the thread ran after that), so a thread that was frozen, stopped or blocked
// before is told with its whole stay in longest_ns; total_ns contains only what
// was watched. The iterator runs again at each interval and puts right what was
// missed: a thread that sleeps is frozen without a switch.
//
// A stay that had ended before watching began is not known.
package sched
