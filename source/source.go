// Package source defines where events come from. Live hosts, recordings,
// Windows captures and performance logs are all a [Source]; nothing that
// consumes events may know which of them feeds it.
package source

import (
	"context"
	"time"

	"lostbeat/model"
)

// Emit takes a batch of events in time order. The batch belongs to the
// receiver from then on and is immutable; a receiver that is done with it may
// call its Release. An error means that the receiver is gone: the source stops
// and returns that error.
type Emit = func(*model.Batch) error

// Source is a stream of events.
//
// Run emits batches until the source is exhausted (nil), ctx is done (nil:
// stopping on request is no error, and what was under way is drained first) or
// it cannot go on (the error). Batches are in order, except events later than
// the source's reorder window; those are emitted with their own time and counted
// in a loss event. Run is called once.
//
// The first batch of a stream carries meta events (host, os, kernel, cpus,
// source), a clock event and the probe states, so that a stream describes
// itself.
type Source interface {
	Run(ctx context.Context, emit Emit) error
}

// Seekable is a Source over something that ended: a recording, a capture.
type Seekable interface {
	Source
	// Span returns the times of the first and the last event.
	Span() (start, end model.Time)
	// RunFrom is Run from time t on: it first emits the state that held at the
	// block before t as events with model.FlagKeyframe, then the events from
	// that block on. It may be called again after it has returned.
	RunFrom(ctx context.Context, t model.Time, emit Emit) error
}

// Progress is told how far a source has read; done and total are bytes.
type Progress func(done, total int64)

// Interval is the length of the intervals that live sources count over.
const Interval = time.Second

// Requester is a Source that can look closer: a live host. Request never
// blocks; what becomes of a request is an event of the stream. Requests that
// come before Run, after it has ended, or faster than the source can take them
// are refused.
type Requester interface {
	Request(model.Request)
}
