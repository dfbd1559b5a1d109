// Package pipeline runs a source through the detectors into sinks. It owns
// every goroutine and queue between them, and counts what a full queue drops.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/source"
)

const (
	// defaultQueueEvents are 30 MiB, and about a second of --trace on a host
	// with 300,000 softirqs a second.
	defaultQueueEvents = 1 << 18
	queueBatches       = 4096
	defaultDrain       = 10 * time.Second
)

// Sink takes the stream, findings included. Write is called by one goroutine.
// The batch is immutable, and its events are valid only during the call: their
// memory is used again. What its tables hold may be kept.
type Sink interface {
	Write(*model.Batch) error
}

// Output is a sink and what its failure means.
type Output struct {
	// Name names the sink in errors.
	Name string
	Sink Sink
	// Essential says that the pipeline ends when this sink fails; any other
	// sink is detached and reported, and the rest goes on.
	Essential bool
}

// Options configure Run. The zero value reads the source and forgets it.
type Options struct {
	// Detect are the detectors' thresholds; nil runs no detectors.
	Detect *detect.Settings
	// Outputs take the stream.
	Outputs []Output
	// Live says that the source is a running host: it is never held up by a
	// slow sink. What does not fit into the queue is dropped, counted and
	// reported by a loss event. Otherwise the source waits.
	Live bool
	// QueueEvents bounds the queue between source and sinks, in events; 0 means
	// 262,144.
	QueueEvents int
	// Drain is how long, after the source has ended, the sinks may take for
	// what is queued; 0 means 10 s.
	Drain time.Duration
	// Failed is told that a sink which is not essential has failed and was
	// detached; nil ignores it.
	Failed func(name string, err error)
}

// Stats are what went through a pipeline.
type Stats struct {
	// Events is the number of events that the sinks were given, findings included.
	Events uint64
	// Dropped is the number of events that did not fit into the queue.
	Dropped uint64
}

// DrainError says that the sinks did not finish in time.
type DrainError struct {
	// After is how long was waited.
	After time.Duration
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("outputs did not finish within %s of the end", e.After)
}

// Hint says what usually lies behind it.
func (e *DrainError) Hint() string {
	return "a disk or terminal that blocks; what was written before can be read"
}

// Run reads src until it ends, ctx is done or an essential sink fails, and
// returns once everything that was queued has been written.
func Run(ctx context.Context, src source.Source, opts Options) (Stats, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := newQueue(opts)
	sourceDone := make(chan error, 1)
	go func() {
		err := guarded(func() error {
			return src.Run(ctx, func(b *model.Batch) error { return q.put(ctx, b) })
		})
		q.close()
		sourceDone <- err
	}()
	w := &writer{opts: opts, outputs: opts.Outputs, stop: cancel}
	if opts.Detect != nil {
		w.engine = detect.New(*opts.Detect)
	}
	writerDone := make(chan struct{})
	go func() {
		defer close(writerDone)
		if err := guarded(func() error { w.run(q); return nil }); err != nil {
			w.err = err
			cancel(errStopped)
		}
	}()

	sourceErr := <-sourceDone
	drain := opts.Drain
	if drain == 0 {
		drain = defaultDrain
	}
	deadline := time.NewTimer(drain)
	defer deadline.Stop()
	select {
	case <-writerDone:
	case <-deadline.C:
		if opts.Live {
			return Stats{Dropped: q.droppedTotal()}, errors.Join(sourceErr, &DrainError{drain})
		}
		<-writerDone
	}
	stats := Stats{Events: w.events, Dropped: q.droppedTotal()}
	if errors.Is(sourceErr, errStopped) {
		sourceErr = nil
	}
	return stats, errors.Join(w.err, sourceErr)
}

// errStopped is what a source gets when there is nobody left to write for.
var errStopped = errors.New("the pipeline has stopped")

// writer runs the detectors and hands the stream to the sinks.
type writer struct {
	opts    Options
	engine  *detect.Engine
	outputs []Output
	stop    context.CancelCauseFunc
	events  uint64
	err     error
}

func (w *writer) run(q *queue) {
	for b := range q.batches {
		q.taken(len(b.Events))
		w.judge(b)
		b.Release()
	}
	if w.engine == nil || w.err != nil {
		return
	}
	var verdicts []Verdict
	w.engine.Finish(func(at model.Time, f model.Finding) { verdicts = append(verdicts, Verdict{at, f}) })
	w.write(Interleave(&model.Batch{}, verdicts))
}

func (w *writer) judge(b *model.Batch) {
	if w.err != nil || len(b.Events) == 0 {
		return
	}
	if w.engine != nil {
		var verdicts []Verdict
		w.engine.Apply(b, func(at model.Time, f model.Finding) { verdicts = append(verdicts, Verdict{at, f}) })
		if len(verdicts) > 0 {
			b = Interleave(b, verdicts)
		}
	}
	w.write(b)
}

func (w *writer) write(b *model.Batch) {
	if len(b.Events) == 0 {
		return
	}
	w.events += uint64(len(b.Events))
	kept := w.outputs[:0:0]
	for _, o := range w.outputs {
		err := o.Sink.Write(b)
		switch {
		case err == nil:
			kept = append(kept, o)
		case o.Essential:
			w.err = fmt.Errorf("%s: %w", o.Name, err)
			w.stop(errStopped)
			return
		case w.opts.Failed != nil:
			w.opts.Failed(o.Name, err)
		}
	}
	w.outputs = kept
}
