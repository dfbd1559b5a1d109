// Package detect judges a stream of events: events in, findings out.
//
// An [Engine] folds the stream into facts (what each CPU, device, socket, port
// pool and process did, second by second) and asks each detector at every
// whole second of event time. Nothing here reads a clock, starts a goroutine
// or depends on the order of a map: the same events give the same findings,
// byte for byte, live, replayed, and however the stream is cut into batches.
//
// A detector decides for each subject (a CPU, a device, a socket, a process
// and its pool) whether the fault holds. A tracker turns that into findings:
// one per fault, opened once the fault is confirmed, updated at a bounded
// rate, closed with hysteresis, and reopened under the same identity when it
// comes back soon.
//
// What each detector needs to be convinced, and every threshold with its
// source, stands in docs/DETECTORS.md; the thresholds are [Settings].
package detect
