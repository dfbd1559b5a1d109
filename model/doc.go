// Package model is lostbeat's shared event model: pure data, standard library
// only, no operating system, no clock.
//
// # Events
//
// An [Event] is a fixed-size value without pointers. What its arguments,
// strings and histograms mean depends on its [Kind] and stands in one table,
// [Specs]; the typed views ([Batch.DeferredRun], [Builder.AddDrop], ...), the
// text form, the JSON keys, docs/EVENTS.md, the C header ebpf/include/kinds.h
// and the validator are all read from that table. To change a kind, change the
// table and run "make generate".
//
// # Batches
//
// Events travel in a [Batch]: events in time order plus the tables that their
// ids refer to (strings, stacks, histograms). Ids hold within their batch only;
// id 0 is always the empty entry. A batch that has been handed on is immutable,
// until its last owner calls [Batch.Release]: then the memory of its events may
// hold others. [Builder] makes batches and interns their tables.
//
// # Time
//
// [Time] is nanoseconds since the Unix epoch on a scale that never steps: the
// boot clock plus an offset sampled once, at the start of the session. An
// event's Time is the moment at which it was complete: the end of a run, the
// end of an interval. It began at Time-Dur. Streams are ordered by Time.
// Clock events say how the wall clock has moved since the start.
//
// # Processes and threads
//
// PID is the process (the kernel's tgid), TID the thread (the kernel's pid).
// Both are int32: 0 is the kernel's own context (the idle task on Linux, Idle
// on Windows), -1 is unknown. CPU is int32 as well, -1 unknown.
//
// # Interval counts
//
// Kinds that describe an interval (deferred.hist, softnet, device.stats, drop,
// ...) carry what was counted within [Time-Dur, Time], never a running total,
// so that a consumer which joins in the middle needs nothing from before.
// "counter" events are the exception and say so in their mode argument.
//
// # Keyframes
//
// Events whose names end in "active", and the configuration kinds (meta,
// probe, process, device.config, device.queue, port.pool), describe what holds
// at their Time. Package model/state folds a stream into that state and gives
// it back as a batch with [FlagKeyframe] set: this is what a recording puts in
// front of every block, and what a consumer sees first after a seek.
package model
