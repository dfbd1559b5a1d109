// Package stack samples kernel stacks while a detector asks for them: what
// makes each packet expensive, what holds a CPU in the kernel.
//
// Each CPU has a perf event of the software clock cpu-clock, 199 times a second
// of CPU time: no hardware counters are needed. The events are opened when the
// probe is attached and stay disabled, which costs nothing but a descriptor and
// about a kilobyte of kernel memory for each CPU; a request enables those of the
// CPUs that it names. So sampling begins within one system call, and still
// works after privileges were given up, when no more events can be opened.
//
// The stacks come through the shared ringbuf and are added up here, by the names
// of their functions: addresses differ within each function, so that one path
// has dozens of stacks. A BPF stack map would hold 6 MiB all the time, refuse
// stacks whose bucket is taken, and need clearing.
//
// Once per interval, the [Top] most frequent groups of each CPU become
// stack.sample events. A group is one task in user code; or a task, the
// innermost function (the leaf) and the entry: the outermost function that says
// what it ran for. Deferred work is grouped without the task, which it
// interrupts at random: the event names the task that was interrupted most
// often. Of the stacks of a group, the most frequent one is kept.
//
// # What is not seen
//
// Samples are taken in a timer interrupt. What runs with interrupts off is
// charged to the instruction that turns them on: a leaf such as
// handle_softirqs, or _raw_spin_unlock_irqrestore, stands for what ran just
// before, too. An idle CPU is hardly sampled. A stack is cut after [Frames]
// frames, and one that is cut before the entry has no entry.
package stack
