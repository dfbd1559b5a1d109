package ebpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/model"
	"lostbeat/source"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
)

const (
	defaultRingBytes = 8 << 20
	// pollShort, pollLong and pollQuiet are how long the ringbuf is left alone
	// after a poll that found busyRecords or more, after most others, and after
	// quietPolls in a row that found fewer than quietRecords each. Nothing wakes
	// the reader: a wake-up costs the host more than the polls do, and the polls
	// are most of what tracing a quiet host costs. A ring of the usual size takes
	// a million records a second for as long as pollQuiet; a smaller one is never
	// left alone for longer than pollLong.
	pollShort    = 10 * time.Millisecond
	pollLong     = 40 * time.Millisecond
	pollQuiet    = 100 * time.Millisecond
	busyRecords  = 512
	quietRecords = 32
	quietPolls   = 25
	// flushInterval is how often events are passed on: those that are older than
	// the flush before, so that each is held for one to two intervals.
	flushInterval = 25 * time.Millisecond
	// clockInterval is how often a clock event is written.
	clockInterval = 30 * time.Second
	// maxLateness is how far behind its whole second an interval may end and
	// still be stamped with it; later ones are stamped with their true time.
	maxLateness = 50 * time.Millisecond
)

// Live is the running host as a source of events.
type Live struct {
	options Options
	probes  []Probe
	inbox   *inbox
}

// New checks that this host can be traced. The error carries a hint; missing
// privileges are a *platform.PrivilegeError.
func New(options Options, probes []Probe) (*Live, error) {
	if err := platform.CheckPrivileges(); err != nil {
		return nil, fmt.Errorf("trace this host: %w", err)
	}
	if options.RingBytes == 0 {
		options.RingBytes = defaultRingBytes
	}
	if options.RingBytes < os.Getpagesize() || options.RingBytes&(options.RingBytes-1) != 0 {
		return nil, fmt.Errorf("ringbuf size of %d bytes: not a power of two of at least a page", options.RingBytes)
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	selected := probes
	if len(options.Only) > 0 {
		selected = nil
		for _, name := range options.Only {
			i := slices.IndexFunc(probes, func(p Probe) bool { return p.Name() == name })
			if i < 0 {
				return nil, fmt.Errorf("there is no probe named %q", name)
			}
			selected = append(selected, probes[i])
		}
	}
	return &Live{options: options, probes: selected, inbox: newInbox()}, nil
}

// Request asks for detail for a while (model.Request). It never blocks and may
// be called by any goroutine, before Run too. What becomes of the request is
// written into the stream as request events: asked and on, later off; or asked
// and refused, with the reason. A request that is being served already is only
// given more time.
func (l *Live) Request(r model.Request) { l.inbox.put(r) }

// Run implements source.Source: it attaches the probes, emits until ctx is
// done, detaches, and emits what was under way.
func (l *Live) Run(ctx context.Context, emit source.Emit) (err error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	r, err := newRun(l.options)
	if err != nil {
		return err
	}
	r.requests.inbox = l.inbox
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(ctx, l.probes, emit); err != nil {
		return err
	}
	return r.loop(ctx, emit)
}

// run is the state of one Run; one goroutine owns it.
type run struct {
	options   Options
	clock     Clock
	gettime   func(clock int32) (int64, error) // clockGettime but in tests
	shared    sharedMaps
	ring      *ring
	builder   model.Builder
	reorder   reorder
	handlers  [maxKinds]handler
	processes *processes
	symbols   symbols
	following Following
	self      selfUsage
	probes    []*attachedProbe
	requests  requests
	// at is the time of the record or interval that is being handled.
	at model.Time
	// lastCollect is the end of the last interval, lastFlush the last time at
	// which events were passed on.
	lastCollect, lastFlush, lastClock model.Time
	lossReported                      lossCounts
}

// handler decodes one kind of record.
type handler struct {
	probe  string
	decode Decoder
	// malformed counts the records that decode refused since the last interval.
	malformed uint64
}

// attachedProbe is a probe that runs.
type attachedProbe struct {
	Attached
	name    string
	changed bool
	status  []model.Probe
	// failure is why its counts could not be collected the last time.
	failure string
}

func newRun(options Options) (*run, error) {
	first, err := tightestReading(clockGettime)
	if err != nil {
		return nil, err
	}
	shared, err := newSharedMaps(options.RingBytes)
	if err != nil {
		return nil, err
	}
	ring, err := newRing(shared.ringbuf)
	if err != nil {
		return nil, errors.Join(err, shared.close())
	}
	clock := Clock{Offset: first.offset()}
	return &run{
		options:   options,
		clock:     clock,
		gettime:   clockGettime,
		shared:    shared,
		ring:      ring,
		processes: newProcesses("/proc", clock),
		symbols:   symbols{path: "/proc/kallsyms"},
		self:      selfUsage{proc: "/proc/self"},
	}, nil
}

// start attaches the probes, until ctx is canceled, and emits the batch that describes the stream.
func (r *run) start(ctx context.Context, probes []Probe, emit source.Emit) error {
	r.at = r.clock.Now()
	r.lastFlush = r.at
	r.describe()
	if err := r.readClock(); err != nil {
		return err
	}
	if err := platform.CheckBTF(); err != nil {
		r.addStatus(StatusOf("engine", "btf", err))
	}
	env := r.env()
	starting := true
	env.interrupted = func() error {
		if err := ctx.Err(); starting && errors.Is(err, context.Canceled) {
			return err // at a deadline, which may be shorter than the start, the host is still to be looked at
		}
		return nil
	}
	for _, p := range probes {
		if env.interrupted() == nil {
			r.attach(p, env)
		}
	}
	starting = false
	env.types.cache = nil
	r.watchSelf()
	if r.options.Attached != nil {
		r.addStatus(r.options.Attached())
	}
	r.lastCollect = r.clock.Now() // the first interval begins when everything counts
	r.self.start()
	first := r.builder.Take()
	r.reorder.last = first.Events[len(first.Events)-1].Time
	return emit(first)
}

// describe writes the facts about this host and stream.
func (r *run) describe() {
	for _, fact := range facts(platform.ThisHost(), r.at, r.options.Tool) {
		r.builder.AddMeta(model.Meta{Time: r.at, Key: fact[0], Value: fact[1]})
	}
}

// readClock writes a clock event.
func (r *run) readClock() error {
	now, err := tightestReading(r.gettime)
	if err != nil {
		return err
	}
	r.lastClock = r.at
	r.builder.AddClock(model.Clock{Time: r.at, Boot: now.boot, Mono: now.mono, Wall: now.wall, Bracket: now.bracket})
	return nil
}

// env returns what the probes are given.
func (r *run) env() Env {
	env := Env{
		Options: r.options,
		Clock:   r.clock,
		Maps:    r.shared.byName(),

		Following: &r.following,
		Process:   func(pid int32) string { return r.processes.name(pid, "", r.at, &r.builder) },
		NamedProcess: func(pid int32, comm string) string {
			return r.processes.name(pid, comm, r.at, &r.builder)
		},
		InternedProcess: func(pid int32) *model.Interned {
			return &r.processes.find(pid, "", r.at, &r.builder).name
		},
		Symbol: r.symbols.name, Function: r.symbols.function,
		Log:   r.options.Log,
		types: &kernelTypes{btf.NewCache()},
	}
	env.CgroupRoot, env.CgroupError = platform.CgroupRoot()
	env.Tracefs, env.TracefsError = platform.Tracefs()
	return env
}

// attach starts one probe; a probe that does not start is reported, and the
// others go on.
func (r *run) attach(p Probe, env Env) {
	a := &attachedProbe{name: p.Name()}
	env.StatusChanged = func() { a.changed = true }
	env.track = func(name string, p *cebpf.Program, own bool) { r.self.cost.track(a.name, name, p, own) }
	env.Log = r.options.Log.With("probe", a.name)
	env.Handle = func(kind model.Kind, decode Decoder) {
		r.handlers[kind] = handler{probe: a.name, decode: decode}
	}
	for _, kind := range p.Kinds() {
		if r.handlers[kind].probe == "" {
			r.handlers[kind].probe = a.name // a kind without records can count losses too
		}
	}
	began := time.Now()
	attached, err := p.Attach(&env)
	if env.interrupted() != nil {
		if err == nil {
			err = attached.Close()
		}
		r.options.Log.Debug("the end came while a probe was attached", "probe", a.name, "error", err)
		return
	}
	if err != nil {
		r.options.Log.Warn("the probe is not running", "probe", a.name, "error", err)
		r.addStatus(StatusOf(a.name, "", err))
		return
	}
	r.options.Log.Debug("probe attached", "probe", a.name, "took", time.Since(began))
	a.Attached = attached
	r.probes = append(r.probes, a)
	r.reportStatus(a)
}

// reportStatus writes the states of a probe's parts that have changed.
func (r *run) reportStatus(a *attachedProbe) {
	a.changed = false
	status := a.Status()
	for _, s := range status {
		s.Time = 0
		if !slices.Contains(a.status, s) {
			r.addStatus(s)
		}
	}
	a.status = slices.Clone(status)
	for i := range a.status {
		a.status[i].Time = 0
	}
}

// reportFailure writes that the counts of a probe could not be collected, or
// can be again.
func (r *run) reportFailure(a *attachedProbe, err error) {
	failure := StatusOf(a.name, "counts", err)
	if err != nil {
		failure.State = model.ProbeDegraded
	}
	if failure.Reason == a.failure {
		return
	}
	a.failure = failure.Reason
	r.options.Log.Warn("collect", "probe", a.name, "error", err)
	r.addStatus(failure)
}

func (r *run) addStatus(s model.Probe) {
	s.Time = r.at
	r.builder.AddProbe(s)
}

// loop reads the ringbuf and collects the intervals until ctx is done.
func (r *run) loop(ctx context.Context, emit source.Emit) error {
	timer := time.NewTimer(pollShort)
	defer timer.Stop()
	next := r.lastCollect.NextSecond()
	quiet := 0 // polls in a row that found little
	for {
		select {
		case <-ctx.Done():
			return r.finish(emit)
		case <-timer.C:
		}
		cut, n, err := r.drain()
		if err != nil {
			return errors.Join(err, r.finish(emit))
		}
		if cut >= next {
			end := next
			if cut.Sub(next) > maxLateness {
				end = cut
			}
			r.collect(end)
			next = cut.NextSecond()
		}
		if cut.Sub(r.lastFlush) >= flushInterval {
			r.at = cut
			r.requests.step(cut, r.probes, &r.builder)
			if err := r.flush(cut, emit); err != nil {
				return err
			}
		}
		if quiet++; n >= quietRecords || r.options.RingBytes < defaultRingBytes {
			quiet = 0
		}
		poll := pollLong
		switch {
		case n >= busyRecords:
			poll = pollShort
		case quiet >= quietPolls:
			poll = pollQuiet
		}
		timer.Reset(min(poll, max(next.Sub(r.clock.Now()), 0)))
	}
}

// drain decodes the records that are in the ringbuf. All of them happened
// before the time that it returns, with their number.
func (r *run) drain() (model.Time, int, error) {
	end := r.ring.end()
	cut := r.clock.Now()
	n, err := r.ring.read(end, r.handle)
	return cut, n, err
}

// handle decodes one record.
func (r *run) handle(raw []byte) {
	head, ok := readHead(raw)
	if !ok || int(head.kind) >= len(r.handlers) || r.handlers[head.kind].decode == nil {
		r.handlers[0].malformed++
		return
	}
	h := &r.handlers[head.kind]
	r.at = r.clock.Time(head.timeNS)
	if err := h.decode(raw, &r.builder); err != nil {
		if h.malformed == 0 {
			r.options.Log.Warn("malformed record", "probe", h.probe, "error", err)
		}
		h.malformed++
	}
	if r.builder.Len() >= maxBatch {
		r.pass()
	}
}

// pass gives what was built to be put in order.
func (r *run) pass() {
	if b := r.builder.Take(); b != nil {
		r.reorder.add(b)
		r.reorder.memory.provide(&r.builder)
	}
}

// collect ends an interval: everything that is counted is added to the stream.
func (r *run) collect(end model.Time) {
	interval := end.Sub(r.lastCollect)
	r.at = end
	for _, a := range r.probes {
		r.reportFailure(a, a.Collect(end, interval, &r.builder))
		if a.changed {
			r.reportStatus(a)
		}
	}
	r.reportLoss(end, interval)
	r.collectSelf(end, interval)
	if end.Sub(r.lastClock) >= clockInterval {
		if err := r.readClock(); err != nil {
			r.options.Log.Warn("read clocks", "error", err)
		}
		r.processes.forget(end, &r.builder)
	}
	r.symbols.forget()
	r.lastCollect = end
}

// flush passes on what happened until the last flush; cut is the time up to
// which everything has been read.
func (r *run) flush(cut model.Time, emit source.Emit) error {
	r.pass()
	until := r.lastFlush
	r.lastFlush = cut
	return r.reorder.release(until, emit)
}

// finish ends the last interval, detaches the probes, and passes on what they
// had recorded until then.
func (r *run) finish(emit source.Emit) error {
	cut, _, unread := r.drain()
	r.at = cut
	r.requests.end(cut, &r.builder)
	r.collect(cut)
	err := r.closeProbes()
	if unread == nil {
		cut, _, unread = r.drain()
	}
	return errors.Join(err, unread, r.flush(cut, emit), r.flush(cut, emit))
}

func (r *run) closeProbes() error {
	var errs []error
	for _, a := range r.probes {
		if err := a.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", a.name, err))
		}
	}
	r.probes = nil
	return errors.Join(errs...)
}

func (r *run) close() error {
	return errors.Join(r.closeProbes(), r.self.cost.close(), r.ring.close(), r.shared.close())
}
