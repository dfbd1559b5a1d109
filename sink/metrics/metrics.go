// Package metrics keeps numbers about the host and about lostbeat for Prometheus, and gives them out: to scrapers by
// HTTP ([Server]), in a file for node_exporter's textfile collector ([File]), and as OTLP metrics ([Metrics.OTLP]).
//
// Nothing that reads the numbers can delay tracing: counters are kept by the output's own goroutine, what the detectors
// know is taken over by one atomic store a second, and a page is made at most once a second, whoever asks. The number
// of series is bounded, see [Table]; what has no room is counted.
package metrics

import (
	"cmp"
	"maps"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/redact"
	"lostbeat/model"
	"lostbeat/pipeline"
)

// Options say what is known before any event.
type Options struct {
	// Detectors are the names of the detectors: findings of others are counted as other.
	Detectors []string
	// Version is lostbeat's.
	Version string
	// Exports says that the metrics are sent, so that what fails is one of them.
	Exports bool
	// Redact gives pseudonyms to what Text returns, nil for none.
	Redact *redact.Shared
}

// Failure is why an export did not arrive as a whole.
type Failure string

// Failures of exports.
const (
	// Unreachable is an export that the receiver may take later.
	Unreachable Failure = "unreachable"
	// Refused is an export that the receiver does not take.
	Refused Failure = "refused"
	// Partial is an export of which the receiver has left out a part.
	Partial Failure = "partial"
)

// Metrics is a sink that counts. Its methods may be called from any goroutine.
type Metrics struct {
	opts Options
	// levels are what the detectors know, levelsAt when they were published; nil and 0 before the first second.
	levels   atomic.Pointer[fold.Levels]
	levelsAt atomic.Int64
	began    time.Time

	mu sync.Mutex
	totals

	// made is the page that was made last.
	made struct {
		sync.Mutex
		at   time.Time
		text []byte
		err  error
	}
}

// totals are what the stream has told so far.
type totals struct {
	findings findings
	dropped  [model.PlaceSocket + 1]uint64
	refused  uint64
	vectors  map[string]*work
	flows    flows
	lost     map[string]uint64
	failed   map[Failure]uint64 // nil without exports
	probes   map[[2]string]model.Probe
	// process and kernel are CPU time in seconds, resident is memory in bytes; self says that they were measured.
	process, kernel, resident float64
	self                      bool
	// vectorsOut and originsOut count what was added to the label "other".
	vectorsOut, originsOut map[string]bool
}

// work is one vector's deferred work.
type work struct{ wait, run distribution }

// New returns the metrics before any event.
func New(o Options) *Metrics {
	o.Detectors = o.Detectors[:min(len(o.Detectors), maxDetectors-1)]
	m := &Metrics{opts: o, began: time.Now(), totals: totals{
		findings: newFindings(o.Detectors),
		vectors:  map[string]*work{},
		flows:    newFlows(),
		// A counter that begins with 0 shows its first increase.
		lost:       map[string]uint64{"ringbuf": 0, pipeline.OriginQueue: 0, pipeline.OriginOutput: 0},
		probes:     map[[2]string]model.Probe{},
		vectorsOut: map[string]bool{}, originsOut: map[string]bool{},
	}}
	if o.Exports {
		m.failed = map[Failure]uint64{Unreachable: 0, Refused: 0, Partial: 0}
	}
	return m
}

// Failed counts an export that did not arrive as a whole.
func (m *Metrics) Failed(why Failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		m.failed[why]++
	}
}

// kinds are what is counted.
var kinds = []model.Kind{
	model.KindFinding, model.KindDrop, model.KindPortFail, model.KindDeferredHist, model.KindLoss, model.KindProbe,
	model.KindCounter,
}

// Output is the output of a pipeline that keeps the metrics.
func (m *Metrics) Output() pipeline.Output {
	return pipeline.Output{Name: "metrics", Sink: m, Kinds: kinds, Facts: m.facts}
}

// facts takes over what the detectors know.
func (m *Metrics) facts(f *fold.Fold) { m.publish(f.Levels(max(maxPools, maxFlows))) }

func (m *Metrics) publish(l *fold.Levels) {
	m.levels.Store(l)
	m.levelsAt.Store(int64(time.Since(m.began)))
}

// Age is how long ago a second was judged, or the start where none has been.
func (m *Metrics) Age() time.Duration { return time.Since(m.began) - time.Duration(m.levelsAt.Load()) }

// Write implements pipeline.Sink.
func (m *Metrics) Write(b *model.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range b.Events {
		m.event(b, &b.Events[i])
	}
	m.flows.update(m.levels.Load())
	return nil
}

func (m *Metrics) event(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindFinding:
		f, _ := b.Finding(e)
		m.findings.add(&f)
	case model.KindDrop:
		if v, _ := b.Drop(e); int(v.Place) < len(m.dropped) {
			m.dropped[v.Place] += v.Count
		}
	case model.KindPortFail:
		m.refused++
	case model.KindDeferredHist:
		if v, _ := b.DeferredHist(e); v.Flags&model.FlagSecondary == 0 {
			m.deferred(&v)
		}
	case model.KindLoss:
		v, _ := b.Loss(e)
		m.lost[bounded(m.lost, v.Origin, maxOrigins, m.originsOut)] += v.Lost
	case model.KindProbe:
		v, _ := b.Probe(e)
		if k := [2]string{v.Name, v.Part}; len(m.probes) < maxProbes || m.probes[k].Name != "" {
			m.probes[k] = v
		}
	case model.KindCounter:
		v, _ := b.Counter(e)
		m.counter(&v)
	}
}

const (
	// maxProbes bounds the parts of probes that are counted; the programs have a few dozen.
	maxProbes = 256
	// maxNamed bounds the names that are told apart among those without a series.
	maxNamed = 1024
)

// bounded returns the label under which name is counted in m: its own, or "other" when there are too many. out are
// the names of the latter.
func bounded[V any](m map[string]V, name string, limit int, out map[string]bool) string {
	if _, ok := m[name]; ok || len(m) < limit {
		return name
	}
	if len(out) < maxNamed {
		out[name] = true
	}
	return otherLabel
}

func (m *Metrics) deferred(v *model.DeferredHist) {
	name := bounded(m.vectors, cmp.Or(v.Driver, v.Name), maxVectors, m.vectorsOut)
	w := m.vectors[name]
	if w == nil {
		w = &work{}
		m.vectors[name] = w
	}
	if v.WaitHist != nil {
		w.wait.add(v.WaitHist)
	}
	if v.RunHist != nil {
		w.run.add(v.RunHist)
	}
}

func (m *Metrics) counter(v *model.Counter) {
	switch v.Name {
	case fold.CounterSelfCPU:
		m.process += v.Value * v.Dur.Seconds()
		m.self = true
	case fold.CounterSelfKernel:
		m.kernel += v.Value * v.Dur.Seconds()
	case fold.CounterSelfRSS:
		m.resident, m.self = v.Value, true
	}
}

// pageFor is how long a page is given out before it is made anew.
const pageFor = time.Second

// Text returns the metrics in Prometheus' text format. It is at most pageFor old, and must not be changed.
func (m *Metrics) Text() ([]byte, error) {
	m.made.Lock()
	defer m.made.Unlock()
	if m.made.text == nil || time.Since(m.made.at) >= pageFor {
		m.made.text, m.made.err = m.page(m.opts.Redact).text()
		m.made.at = time.Now()
	}
	return m.made.text, m.made.err
}

// page makes the page of this moment. names gives pseudonyms, nil for none.
func (m *Metrics) page(names *redact.Shared) *page {
	p := newPage(names)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flows.update(m.levels.Load())
	m.findings.show(p)
	for place, n := range m.dropped {
		p.counter(nameDropped, float64(n), model.Place(place).String())
	}
	p.counter(nameRefused, float64(m.refused))
	for _, name := range slices.Sorted(maps.Keys(m.vectors)) {
		w := m.vectors[name]
		if !w.wait.empty() {
			p.histogram(nameWait, &w.wait, name)
		}
		if !w.run.empty() {
			p.histogram(nameRun, &w.run, name)
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(m.lost)) {
		p.counter(nameLost, float64(m.lost[origin]), origin)
	}
	for why, n := range m.failed {
		p.counter(nameExports, float64(n), string(why))
	}
	if m.self {
		p.counter(nameProcessCPU, m.process)
		p.counter(nameKernelCPU, m.kernel)
		p.gauge(nameResident, m.resident)
	}
	m.showProbes(p)
	poolsOut, flowsOut := 0, len(m.flows.out)
	if l := m.levels.Load(); l != nil {
		poolsOut, flowsOut = showPools(p, l), flowsOut+l.BeatsLeftOut
		p.gauge(nameJudged, float64(l.At)/1e9)
	}
	flowsOut += m.flows.show(p)
	for _, out := range []struct {
		what string
		n    int
	}{
		{"pools", poolsOut}, {"flows", flowsOut}, {"vectors", len(m.vectorsOut)}, {"origins", len(m.originsOut)},
		{"findings", m.findings.leftOut},
	} {
		p.gauge(nameLeftOut, float64(out.n), out.what)
	}
	p.gauge(nameBuild, 1, m.opts.Version, runtime.Version())
	return p
}

func (m *Metrics) showProbes(p *page) {
	states := map[model.ProbeState]int{}
	for _, v := range m.probes {
		states[v.State]++
	}
	for _, s := range []model.ProbeState{model.ProbeOff, model.ProbeOn, model.ProbeDegraded} {
		p.gauge(nameProbes, float64(states[s]), s.String())
	}
	for _, part := range model.ShedParts {
		shed := 0.0
		if m.probes[[2]string{part.Probe, part.Part}].Shed() {
			shed = 1
		}
		p.gauge(nameShed, shed, part.Probe, part.Part)
	}
}

// showPools shows the pools, and returns how many have no series.
func showPools(p *page, l *fold.Levels) (leftOut int) {
	leftOut = l.PoolsLeftOut
	for _, pool := range l.Pools[:min(len(l.Pools), maxPools)] {
		labels := []string{pool.Name, pool.Protocol.String(), pool.Netns}
		if !p.gauge(namePoolUsed, float64(pool.Used), labels...) {
			leftOut++
			continue
		}
		p.gauge(namePoolResting, float64(pool.Resting), labels...)
		p.gauge(namePoolSize, float64(pool.Size), labels...)
		if pool.Filling.PerSecond > 0 {
			p.gauge(nameExhaustion, pool.Filling.Left.Seconds(), labels...)
		}
	}
	return leftOut
}

// endpoint writes a peer's address; the port that its kernel chose says nothing.
func endpoint(addr string, port uint16) string {
	if port == 0 || port >= model.FirstEphemeral {
		return addr
	}
	return net.JoinHostPort(addr, strconv.Itoa(int(port)))
}
