package confirm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/netns"
	"lostbeat/model"
)

const (
	// Name is the probe's name.
	Name = "confirm"
	// atOnce is how many requests are read at the same time; each takes a thread.
	atOnce = 4
	// maxReadings bounds the readings of one answer.
	maxReadings = 64
	// maxNamespaces bounds the network namespaces among which one is looked for.
	maxNamespaces = 4096
	// rateTime is the time between two readings of a counter.
	rateTime = time.Second
	// closeTime is how long Close waits for readings to end.
	closeTime = 2 * time.Second
)

// Probe reads what detectors ask for.
type Probe struct{}

// New returns the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return Name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind { return []model.Kind{model.KindReading} }

// Attach implements ebpf.Probe.
func (*Probe) Attach(*ebpf.Env) (ebpf.Attached, error) {
	ctx, cancel := context.WithCancel(context.Background())
	return &attached{
		ctx: ctx, cancel: cancel, places: make(chan struct{}, atOnce), asked: make(map[model.Request]*answer),
		namespaces: make(map[uint32]netns.Namespace),
	}, nil
}

// attached is the running probe. Every request is read by a goroutine of its
// own: some readings take a while, and the engine has packets to count.
type attached struct {
	// ctx ends with Close, which no caller's context does.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// places has room for those that read at the moment.
	places chan struct{}
	// asked are the answers by request, as in model.Request.Same. The engine's
	// goroutine alone uses it.
	asked map[model.Request]*answer

	mu sync.Mutex
	// namespaces are those that were found, by inode.
	namespaces map[uint32]netns.Namespace
}

// answer is what one goroutine reads.
type answer struct {
	a *attached
	// ctx is that of the request, which Begin and End span.
	ctx     context.Context
	cancel  context.CancelFunc
	request model.Request
	// argument is what follows the name of the reading: "listen_queue:8080".
	argument string
	// namespace is that of the request, own that of this process.
	namespace, own netns.Namespace
	// readings are the answer, valid when done is closed; what is beyond
	// maxReadings is counted in more.
	readings []model.Reading
	more     int
	err      error
	done     chan struct{}
}

// key is the same for the same requests.
func key(r model.Request) model.Request {
	r.For, r.Finding = 0, ""
	return r
}

// Answers implements ebpf.Responder.
func (*attached) Answers() []model.RequestKind { return []model.RequestKind{model.RequestReading} }

// Begin implements ebpf.Responder.
func (a *attached) Begin(r model.Request) error {
	name, argument, _ := strings.Cut(r.Name, ":")
	what := readingOf(name)
	if what == nil {
		return fmt.Errorf("there is no reading named %q; there are %s", r.Name, strings.Join(Names(), ", "))
	}
	if argument != "" && !what.argument {
		return fmt.Errorf("the reading %s takes no argument", name)
	}
	ctx, cancel := context.WithCancel(a.ctx)
	q := &answer{a: a, ctx: ctx, cancel: cancel, request: r, argument: argument, done: make(chan struct{})}
	a.asked[key(r)] = q
	a.wg.Go(func() {
		defer close(q.done)
		q.err = q.read(what)
	})
	return nil
}

// Answer implements ebpf.Answerer.
func (a *attached) Answer(r model.Request, now model.Time, b *model.Builder) (done bool, err error) {
	q := a.asked[key(r)]
	if q == nil {
		return false, errors.New("the request was not started")
	}
	select {
	case <-q.done:
	default:
		return false, nil
	}
	if q.err != nil {
		return false, q.err
	}
	for _, v := range q.readings {
		v.Time = now
		b.AddReading(v)
	}
	return true, nil
}

// End implements ebpf.Responder.
func (a *attached) End(r model.Request) {
	if q := a.asked[key(r)]; q != nil {
		q.cancel()
		delete(a.asked, key(r))
	}
}

// Status implements ebpf.Attached.
func (*attached) Status() []model.Probe { return []model.Probe{ebpf.StatusOf(Name, "", nil)} }

// Collect implements ebpf.Attached: nothing is read unless it was asked for.
func (*attached) Collect(model.Time, time.Duration, *model.Builder) error { return nil }

// Close implements ebpf.Attached. A reading that hangs in the kernel does not
// hold it up.
func (a *attached) Close() error {
	a.cancel()
	ended := make(chan struct{})
	go func() {
		a.wg.Wait()
		close(ended)
	}()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return errors.New("a reading did not finish in time")
	}
}

// read reads what was asked for.
func (q *answer) read(what *reading) error {
	if err := q.findNamespaces(); err != nil {
		return err
	}
	if err := what.read(q); err != nil {
		return err
	}
	if len(q.readings) == 0 {
		return errors.New("nothing found")
	}
	if q.more > 0 {
		last := &q.readings[len(q.readings)-1]
		last.Detail = strings.TrimPrefix(fmt.Sprintf("%s; %d more not listed", last.Detail, q.more), "; ")
	}
	return nil
}

// findNamespaces finds the namespace that the request concerns.
func (q *answer) findNamespaces() (err error) {
	if q.own, err = netns.Own(); err != nil {
		return err
	}
	inode := uint32(q.request.Netns)
	if q.request.Netns == 0 || inode == q.own.Inode {
		q.namespace = q.own
		return nil
	}
	q.a.mu.Lock()
	n, known := q.a.namespaces[inode]
	q.a.mu.Unlock()
	if known && n.Do(func() error { return nil }) == nil {
		q.namespace = n
		return nil
	}
	all, err := netns.List(maxNamespaces)
	if err != nil {
		return err
	}
	q.a.mu.Lock()
	defer q.a.mu.Unlock()
	clear(q.a.namespaces)
	for _, n := range all {
		q.a.namespaces[n.Inode] = n
	}
	n, ok := q.a.namespaces[inode]
	if !ok {
		return netns.ErrGone
	}
	q.namespace = n
	return nil
}

// inside runs f on a thread in the namespace of the request.
func (q *answer) inside(f func() error) error { return q.in(q.namespace, f) }

// host runs f in the namespace of this process, where the settings of the whole
// host are.
func (q *answer) host(f func() error) error { return q.in(q.own, f) }

// in runs f in a namespace when there is a place.
func (q *answer) in(n netns.Namespace, f func() error) error {
	select {
	case q.a.places <- struct{}{}:
		defer func() { <-q.a.places }()
	case <-q.ctx.Done():
		return q.ctx.Err()
	}
	return n.Do(f)
}

// pause waits, and fails when the request is over first.
func (q *answer) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-q.ctx.Done():
		return q.ctx.Err()
	}
}

// add adds a reading: its name is that of the request unless it has one.
func (q *answer) add(v model.Reading) {
	if len(q.readings) >= maxReadings {
		q.more++
		return
	}
	if v.Name == "" {
		v.Name, _, _ = strings.Cut(q.request.Name, ":")
	}
	v.Netns = q.request.Netns
	q.readings = append(q.readings, v)
}
