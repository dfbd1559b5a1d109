// Package pipeline runs a source through the detectors into outputs. It owns
// every goroutine and queue between them, and counts what a full queue drops.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/source"
)

const (
	// defaultQueueBytes is about a second of --trace on a host with 250,000 softirqs a second.
	defaultQueueBytes = 32 << 20
	defaultDrain      = 10 * time.Second
)

// Sink takes the stream, findings included. Write is called by one goroutine,
// which serves no other sink. The batch is immutable, and its events are valid
// only during the call: their memory is used again. What its tables hold may be
// kept.
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
	// Kinds are the kinds of events that the sink is given; nil for all. A sink
	// of findings needs no memory for what waits for others.
	Kinds []model.Kind
	// Facts is shown what the detectors know once in each second that they have judged, on their goroutine: it must be
	// quick and keep nothing that it is given. Nil for none.
	Facts func(*fold.Fold)
}

// Options configure Run. The zero value reads the source and forgets it.
type Options struct {
	// Detect are the detectors' thresholds; nil runs no detectors.
	Detect *detect.Settings
	// History is a screen that shares what the detectors know: it takes the
	// stream and the findings on their goroutine. It needs Detect; nil for none.
	History *fold.History
	// Outputs take the stream, each in a goroutine and from a queue of its own.
	Outputs []Output
	// Live says that the source is a running host: it is never held up by a
	// slow sink. What does not fit into the queues is dropped, counted and
	// reported by a loss event in the stream of whoever misses it. Otherwise the
	// source waits, and nobody misses anything.
	Live bool
	// QueueBytes bounds the memory for what waits in all queues together, but
	// for one batch to each output; 0 means 32 MiB.
	QueueBytes int64
	// Drain is how long, after ctx is done, a live source may take to end, and
	// how long after its end the sinks may take for what is queued; 0 means 10 s.
	Drain time.Duration
	// Failed is told that a sink which is not essential has failed and was
	// detached; nil ignores it.
	Failed func(name string, err error)
}

// Stats are what went through a pipeline.
type Stats struct {
	// Events is the number of events that the detectors have seen, and of findings.
	Events uint64
	// Dropped is the number of events that did not fit into the queue of the detectors: nobody has seen them.
	Dropped uint64
	// Outputs are those of Options, in that order.
	Outputs []OutputStats
}

// Of returns the stats of an output by its name, zero when there is none.
func (s Stats) Of(name string) OutputStats {
	for _, o := range s.Outputs {
		if o.Name == name {
			return o
		}
	}
	return OutputStats{}
}

// OutputStats are what went to one output.
type OutputStats struct {
	// Name is that of the output.
	Name string
	// Events is the number of events that it was given.
	Events uint64
	// Missed is the number of events that it was too slow for.
	Missed uint64
	// Unread is the number of events that waited for it when the pipeline gave up.
	Unread uint64
}

// DrainError says that the source or outputs did not end in time.
type DrainError struct {
	// After is how long was waited.
	After time.Duration
	// Waiting names what was waited for.
	Waiting []string
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("%s did not finish within %s of the end", strings.Join(e.Waiting, ", "), e.After)
}

// Hint says what usually lies behind it.
func (e *DrainError) Hint() string {
	return "a disk or terminal that blocks; what was written before can be read"
}

// errStopped is what a source gets when there is nobody left to write for.
var errStopped = errors.New("the pipeline has stopped")

// Run reads src until it ends, ctx is done or an essential sink fails, and
// returns once everything that was queued has been written. A panic of any part
// ends it too: the others write what they have, and the error is a
// [guard.PanicError]. A live source that is a [source.Requester] is given the
// requests of the detectors.
func Run(ctx context.Context, src source.Source, opts Options) (Stats, error) {
	r := &runner{opts: opts, queues: newQueues(opts)}
	if opts.Detect != nil {
		r.engine = detect.New(*opts.Detect, detect.Options{Request: requests(src, opts.Live)})
		if opts.History != nil {
			r.engine.Show(opts.History)
		}
	}
	if r.opts.Drain == 0 {
		r.opts.Drain = defaultDrain
	}
	return r.run(ctx, src)
}

// requests returns what hands the detectors' requests for detail to a live
// source, nil where there is none that takes them.
func requests(src source.Source, live bool) func(model.Request) {
	if r, ok := src.(source.Requester); ok && live {
		return r.Request
	}
	return nil
}

// runner is a pipeline under way.
type runner struct {
	opts   Options
	queues *queues
	engine *detect.Engine
	stop   context.CancelCauseFunc
	// newest is the time of the latest event judged; the detectors' goroutine has it.
	newest model.Time
	// shown is the second whose facts the outputs have seen.
	shown model.Time

	mu     sync.Mutex
	events uint64
	errs   []error
}

func (r *runner) run(ctx context.Context, src source.Source) (Stats, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.stop = cancel
	sourceDone := make(chan struct{})
	go func() {
		defer close(sourceDone)
		err := guard.Do("the source", func() error {
			return src.Run(ctx, func(b *model.Batch) error { return r.queues.put(ctx, b) })
		})
		r.queues.close(r.queues.input)
		if !errors.Is(err, errStopped) {
			r.fail(err)
		}
	}()
	judged := make(chan struct{})
	go func() {
		defer close(judged)
		r.judging()
	}()
	written := make([]chan struct{}, len(r.opts.Outputs))
	for i, o := range r.opts.Outputs {
		written[i] = make(chan struct{})
		go func() {
			defer close(written[i])
			r.writing(o, r.queues.outputs[i])
		}()
	}
	r.wait(ctx, sourceDone, judged, written)
	return r.result()
}

// fail adds err to what Run returns.
func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

func (r *runner) result() (Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Events: r.events}
	s.Dropped, s.Outputs = r.queues.stats()
	return s, errors.Join(r.errs...)
}

// wait returns when everything has ended, or when a live pipeline has taken too long to.
func (r *runner) wait(ctx context.Context, source, judged <-chan struct{}, written []chan struct{}) {
	if !r.opts.Live {
		<-source
		<-judged
		for _, done := range written {
			<-done
		}
		return
	}
	select {
	case <-source:
	case <-ctx.Done():
	}
	timer := time.NewTimer(r.opts.Drain)
	defer timer.Stop()
	select {
	case <-source:
	case <-timer.C:
		r.fail(&DrainError{r.opts.Drain, []string{"the probes"}})
		return
	}
	timer.Reset(r.opts.Drain)
	late := false
	ended := func(done <-chan struct{}) bool {
		if !late {
			select {
			case <-done:
			case <-timer.C:
				late = true
			}
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var waiting []string
	if !ended(judged) {
		waiting = append(waiting, "the detectors")
	}
	for i, done := range written {
		if !ended(done) {
			waiting = append(waiting, "output "+r.opts.Outputs[i].Name)
		}
	}
	if waiting != nil {
		r.fail(&DrainError{r.opts.Drain, waiting})
	}
}

// judging runs the detectors over what the source gives, and hands it on.
func (r *runner) judging() {
	q := r.queues
	err := guard.Do("the detectors", func() error {
		for {
			b, it, ok := q.take(q.input)
			if !ok {
				break
			}
			r.judge(b, it)
		}
		if r.engine != nil {
			r.fan(nil, Interleave(&model.Batch{}, r.verdicts(r.engine.Finish)))
			r.leftOut()
		}
		return nil
	})
	if err != nil {
		r.fail(err)
		r.stop(errStopped)
		q.leave(q.input)
	}
	for _, l := range q.outputs {
		q.close(l)
	}
}

func (r *runner) judge(b *model.Batch, it *item) {
	if r.engine != nil {
		b = Interleave(b, r.verdicts(func(emit detect.Emit) { r.engine.Apply(b, emit) }))
		r.showFacts()
	}
	if n := len(b.Events); n > 0 {
		r.newest = max(r.newest, b.Events[n-1].Time)
	}
	r.fan(it, b)
	r.leftOut()
}

// showFacts shows a second that has been judged to the outputs that want to see it.
func (r *runner) showFacts() {
	facts := r.engine.Facts()
	if facts.Now == r.shown {
		return
	}
	r.shown = facts.Now
	for _, o := range r.opts.Outputs {
		if o.Facts != nil {
			o.Facts(facts)
		}
	}
}

// leftOut says in the stream what the detectors had no memory or time for.
func (r *runner) leftOut() {
	if r.engine == nil {
		return
	}
	n, what := r.engine.LeftOut()
	if n == 0 {
		return
	}
	var b model.Builder
	b.AddLoss(model.Loss{
		Time: r.newest, Flags: model.FlagDerived, CPU: -1, Lost: n, Origin: model.OriginMemory,
		Detail: "no room or time for " + what,
	})
	loss := b.Take()
	if h := r.opts.History; h != nil {
		h.Begin()
		r.engine.Derived(loss)
		h.End()
	}
	r.fan(nil, loss)
}

// verdicts returns the findings that judge emits.
func (r *runner) verdicts(judge func(detect.Emit)) []Verdict {
	var verdicts []Verdict
	h := r.opts.History
	if h != nil {
		h.Begin()
		defer h.End()
	}
	judge(func(at model.Time, f model.Finding) {
		verdicts = append(verdicts, Verdict{at, f})
		if h != nil {
			h.Finding(at, f)
		}
	})
	return verdicts
}

func (r *runner) fan(it *item, b *model.Batch) {
	if len(b.Events) == 0 {
		return
	}
	r.mu.Lock()
	r.events += uint64(len(b.Events))
	r.mu.Unlock()
	r.queues.fan(it, b)
}

// writing gives an output its stream until that ends or the output fails.
func (r *runner) writing(o Output, l *lane) {
	q := r.queues
	err := guard.Do("output "+o.Name, func() error {
		for {
			b, it, ok := q.take(l)
			if !ok {
				return nil
			}
			err := o.Sink.Write(b)
			if it != nil {
				q.done(it)
			}
			if err != nil {
				return err
			}
		}
	})
	if err == nil {
		return
	}
	q.leave(l)
	var panicked *guard.PanicError
	switch {
	case errors.As(err, &panicked):
		r.fail(err)
		r.stop(errStopped)
	case o.Essential:
		r.fail(fmt.Errorf("%s: %w", o.Name, err))
		r.stop(errStopped)
	case r.opts.Failed != nil:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.opts.Failed(o.Name, err)
	}
}
