// Package interrupt observes hard interrupts: IRQ lines on Linux, interrupt
// service routines (ISRs) on Windows.
//
// On Linux, BPF programs on the tracepoints irq:irq_handler_entry and
// irq_handler_exit keep a histogram per line, handler (action) and CPU in the
// kernel, read once per interval. Runs above Options.RunThreshold, and with
// Options.Trace all runs, also go through the ringbuf.
//
// # What is not seen
//
// Interrupts that the architecture serves itself do not pass these tracepoints:
// the local timer, rescheduling and function calls between processors, and
// those that the hypervisor takes. The kernel counts their time together with
// the rest as irq_ns of cpu.time, where it accounts interrupt time at all.
//
// A line that several devices share has one handler each. They are told apart
// by address and named in the order in which the kernel calls them; while that
// order is not known, each has the names of all.
package interrupt
