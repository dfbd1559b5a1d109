package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"lostbeat/detect"
	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/probes"
	"lostbeat/probes/heartbeat"
	"lostbeat/source"

	"golang.org/x/sync/errgroup"
)

// Expectation is a verdict that a scenario must bring.
type Expectation struct {
	// Detector is the detector that must speak, with more than a note of severity info.
	Detector string
	// Contains are parts that its finding must have, in title, causes or subject.
	Contains []string
	// Culprit is the process that it must blame, by the order in which the
	// scenario starts them from 1 on; 0 any.
	Culprit int
	// Times is how many findings it is, 0 one: of a fault that several flows of a program suffer from. More says that it
	// may be further ones, as not every flow of the program has a packet to send or to read meanwhile.
	Times int
	More  bool
	// Logs are lines in which victims report the fault themselves: time and length
	// of the finding must be theirs.
	Logs []LogWord
}

// Scenario is one fault, or one healthy load that looks like a fault.
type Scenario struct {
	// Name is the word to run it by, Doc what it does in one sentence.
	Name, Doc string
	// Expect are the verdicts that must come; none for a healthy load.
	Expect []Expectation
	// Allow are detectors that may speak as well, because the fault has
	// consequences of their kind; Also are findings that may come as well, any number of each, because they are true. Any
	// other finding is a false alarm.
	Allow []string
	Also  []Expectation
	// Length is how long the fault lasts.
	Length time.Duration
	// Light says that it leaves the CPUs so much time that others of its kind can
	// run beside it.
	Light bool
	// Pools are port pools to watch, as given by --pool.
	Pools []ebpf.Pool
	// Heartbeat says that the flow to the scenario's port is followed, as by --heartbeat.
	Heartbeat bool
	// Follow are the flows that are followed, as by --heartbeat.
	Follow []string
	// Needs are programs of the host that it cannot do without.
	Needs []Program
	// Run makes the fault happen; it returns after Length or when ctx is done.
	Run func(ctx context.Context, env *Env) error
	// Advice, when not nil, is followed once Run has returned, while the fault goes on.
	Advice *Advice
	// Generate gives a stream instead of a live run, for faults that take
	// longer than anyone waits; Run is nil then. The fault begins at the returned time.
	Generate func() (b *model.Batch, fault model.Time)

	// number is its place among the scenarios.
	number int
}

// Result is what came of one scenario.
type Result struct {
	Scenario *Scenario
	// Findings are the findings about the lab in their last state; Elsewhere
	// those about other processes and devices of the host.
	Findings, Elsewhere []model.Finding
	// Missing are expectations that were not met, False the findings that must not be.
	Missing []Expectation
	False   []model.Finding
	// Early are expectations that were not met while the fault lasted, After
	// those not met just after its end; Missing are those not met once its
	// processes had exited.
	Early, After []Expectation
	// Changed are claims of expected findings that differ between those moments.
	Changed []string
	// Unsaid are words of the advice that was followed which no expected finding gives.
	Unsaid []string
	// Helped is the time from the advice's being followed to the last loss, in
	// event time; 0 when no advice was tried. Unhelped says how it did not help.
	Helped   time.Duration
	Unhelped []string
	// Verdict is the time from the fault to the first word of an expected
	// finding, in event time; 0 when there is none. Sure is the time until it was
	// more than a note of severity info.
	Verdict, Sure time.Duration
	// Lost counts events lost on the way.
	Lost uint64
	// Disagrees says where the victims' own logs have another time or length than the findings.
	Disagrees []string
	// NotRun says what must be installed for the scenario to run; empty when it has run.
	NotRun string
	// Err says that the scenario could not be run.
	Err error
}

// OK says that every verdict was right.
func (r *Result) OK() bool {
	return r.Err == nil && len(r.Early)+len(r.After)+len(r.Missing)+len(r.False)+len(r.Changed)+len(r.Unsaid)+
		len(r.Unhelped)+len(r.Disagrees) == 0
}

// Options configure a run.
type Options struct {
	// Settings are the detectors' thresholds.
	Settings detect.Settings
	// Length, when not 0, replaces the scenarios' own lengths.
	Length time.Duration
	// Outputs take the stream as well: a recording, a screen.
	Outputs []pipeline.Output
	// Log is told what happens, a line each; nil for silence.
	Log func(string)
	// Patience is how long the probes may take to give their first event, 20 s when 0.
	Patience time.Duration
}

// How long the host is watched before a fault, while it still lasts, just after
// it while its processes still exist, and once they have exited.
const (
	settleBefore = 2 * time.Second
	settleDuring = time.Second
	settleAfter  = 3 * time.Second
	settleExited = 3 * time.Second
)

// Find returns the scenarios with the given names, all of them for none.
func Find(names []string) ([]*Scenario, error) {
	all := Scenarios()
	if len(names) == 0 {
		return all, nil
	}
	var list []*Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s *Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, &unknownScenario{name, all}
		}
		list = append(list, all[i])
	}
	return list, nil
}

type unknownScenario struct {
	name string
	all  []*Scenario
}

func (e *unknownScenario) Error() string { return fmt.Sprintf("there is no lab scenario %q", e.name) }

// Hint lists the scenarios.
func (e *unknownScenario) Hint() string {
	names := make([]string, len(e.all))
	for i, s := range e.all {
		names[i] = s.Name
	}
	text := "scenarios: " + strings.Join(names, ", ")
	if near := hint.Nearest(e.name, names); near != "" {
		return "did you mean " + near + "? " + text
	}
	return text
}

// Run runs the scenarios, those that load the machine one after the other and
// then the light ones several at a time. It returns the results so far, in the
// order of the scenarios, and ctx's error when ctx ends first.
func Run(ctx context.Context, scenarios []*Scenario, opts Options) ([]*Result, error) {
	results := make([]*Result, len(scenarios))
	play := func(i int) {
		if r := runOne(ctx, scenarios[i], opts); ctx.Err() == nil {
			results[i] = r
		}
	}
	var light errgroup.Group
	light.SetLimit(AtOnce)
	if len(opts.Outputs) > 0 {
		light.SetLimit(1) // they take one stream at a time
	}
	for i, s := range scenarios {
		if !s.Light && ctx.Err() == nil {
			play(i)
		}
	}
	for i, s := range scenarios {
		if s.Light && ctx.Err() == nil {
			light.Go(func() error { play(i); return nil })
		}
	}
	if err := light.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(results, func(r *Result) bool { return r == nil }), ctx.Err()
}

// AtOnce is how many light scenarios run at a time.
const AtOnce = 4

// Play makes one fault happen without watching it: the caller does that.
func Play(ctx context.Context, s *Scenario, log func(string)) (err error) {
	if s.Run == nil {
		return fmt.Errorf("scenario %s is generated and cannot be played on a host", s.Name)
	}
	if missing := s.toInstall(); missing != "" {
		return fmt.Errorf("scenario %s cannot be played: install %s", s.Name, missing)
	}
	env, err := newEnv(s, s.Length, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.close()) }()
	return s.Run(ctx, env)
}

// Watched returns the pools and the flows that are to be watched while the fault happens.
func (s *Scenario) Watched() (ebpf.Options, error) {
	watched := ebpf.Options{Pools: s.Pools}
	if s.Heartbeat {
		for _, protocol := range []model.Protocol{model.ProtocolUDP, model.ProtocolTCP} {
			watched.Heartbeats = append(watched.Heartbeats,
				ebpf.Heartbeat{Protocol: protocol, Port: s.port(), Timeout: 2 * time.Second})
		}
	}
	for _, text := range s.Follow {
		flows, err := heartbeat.ParseFlow(strings.ReplaceAll(text, peer, s.addr(2)))
		if err != nil {
			return watched, err
		}
		watched.Heartbeats = append(watched.Heartbeats, flows...)
	}
	return watched, nil
}

// port is the port that its packets go to.
func (s *Scenario) port() uint16 { return floodPort + uint16(s.number) }

// addr is the address of its host i.
func (s *Scenario) addr(i int) string { return fmt.Sprintf("10.78.%d.%d", s.number, i) }

// Stream returns a generated scenario as a source.
func Stream(s *Scenario) source.Source {
	return sourceFunc(func(_ context.Context, emit source.Emit) error {
		b, _ := s.Generate()
		return emit(b)
	})
}

type sourceFunc func(context.Context, source.Emit) error

func (f sourceFunc) Run(ctx context.Context, emit source.Emit) error { return f(ctx, emit) }

// observer keeps the findings of a stream.
type observer struct {
	mu    sync.Mutex
	found model.FindingList
	// first and sure are when a finding came, and when it became more than info.
	first, sure map[string]model.Time
	lost        uint64
	ready       chan struct{}
	once        sync.Once
}

func newObserver() *observer {
	return &observer{
		first: make(map[string]model.Time),
		sure:  make(map[string]model.Time),
		ready: make(chan struct{}),
	}
}

// Write implements pipeline.Sink.
func (o *observer) Write(b *model.Batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range b.Events {
		e := &b.Events[i]
		switch e.Kind {
		case model.KindFinding:
			f, ok := b.Finding(e)
			if !ok {
				continue
			}
			if o.found.Add(f) {
				o.first[f.ID] = e.Time
			}
			if _, is := o.sure[f.ID]; !is && f.Severity > model.SeverityInfo {
				o.sure[f.ID] = e.Time
			}
		case model.KindLoss:
			o.lost += e.Args[0]
		case model.KindCPUTime, model.KindSoftnet, model.KindDeferredHist:
			// The first interval is over: the probes run.
			o.once.Do(func() { close(o.ready) })
		}
	}
	return nil
}

func runOne(ctx context.Context, s *Scenario, opts Options) *Result {
	r := &Result{Scenario: s}
	o := newObserver()
	log := opts.Log
	if log == nil {
		log = func(string) {}
	}
	outputs := append([]pipeline.Output{{Name: "lab", Sink: o, Essential: true}}, opts.Outputs...)
	if s.Generate != nil {
		_, fault := s.Generate()
		_, r.Err = pipeline.Run(ctx, Stream(s), pipeline.Options{Detect: &opts.Settings, Outputs: outputs})
		r.judge(o, fault, nil)
		return r
	}
	if r.NotRun = s.toInstall(); r.NotRun != "" {
		return r
	}
	length := s.Length
	if opts.Length > 0 {
		length = opts.Length
	}
	env, err := newEnv(s, length, log)
	if err != nil {
		r.Err = err
		return r
	}
	watched, err := s.Watched()
	if err != nil {
		r.Err = errors.Join(err, env.close())
		return r
	}
	src, err := ebpf.New(watched, probes.All())
	if err != nil {
		r.Err = errors.Join(err, env.close())
		return r
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var watchErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		_, watchErr = pipeline.Run(watch, src, pipeline.Options{Detect: &opts.Settings, Live: true, Outputs: outputs})
	})
	select {
	case <-o.ready:
		wait(ctx, settleBefore)
		env.shared = env.besideOthers()
		r.Err = s.Run(ctx, env)
		env.shared = env.shared || env.besideOthers()
		wait(ctx, settleDuring)
		r.stages(ctx, o, env)
	case <-time.After(cmp.Or(opts.Patience, 20*time.Second)):
		r.Err = fmt.Errorf("the probes gave no event within %v", cmp.Or(opts.Patience, 20*time.Second))
	case <-ctx.Done():
	}
	r.Err = errors.Join(r.Err, env.close())
	stop()
	wg.Wait()
	r.Err = errors.Join(r.Err, watchErr)
	r.judge(o, env.faultAt(), env)
	return r
}

// findings returns the findings so far in their last state.
func (o *observer) findings() []model.Finding {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found.All()
}

// missing returns the expectations that no finding meets.
func (s *Scenario) missing(found []model.Finding, env *Env) (list []Expectation) {
	for _, x := range s.Expect {
		if !slices.ContainsFunc(found, func(f model.Finding) bool { return x.matches(&f, env) }) {
			list = append(list, x)
		}
	}
	return list
}

// stages judges a fault while it lasts and just after it, and ends its processes.
func (r *Result) stages(ctx context.Context, o *observer, env *Env) {
	s := r.Scenario
	during := o.findings()
	r.Early = s.missing(during, env)
	switch {
	case r.Err != nil || len(s.Expect) == 0:
	case s.Advice != nil:
		r.Err = r.follow(ctx, o, env)
		r.compare("just after it", during, o.findings(), env)
	default:
		r.Err = env.endLoad()
		wait(ctx, settleAfter)
		r.compare("just after it", during, o.findings(), env)
	}
	r.After = s.missing(o.findings(), env)
	during = o.findings()
	r.readLogs(ctx, env, during)
	r.Err = errors.Join(r.Err, env.close())
	wait(ctx, settleExited)
	r.compare("after its processes had exited", during, o.findings(), env)
}

// wait waits for d or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// judge compares the findings with what the scenario expects.
func (r *Result) judge(o *observer, fault model.Time, env *Env) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.Lost = o.lost
	met := make([]int, len(r.Scenario.Expect))
	for _, f := range o.found.All() {
		expects := func(x Expectation) bool { return x.matches(&f, env) }
		if env != nil &&
			(!env.concerns(&f) || env.shared && f.Subject.Kind == "cpu" && f.Subject.Device == "" &&
				!slices.ContainsFunc(r.Scenario.Expect, expects)) {
			if !strings.HasPrefix(f.Subject.Netns, ownPrefix()) &&
				f.Subject.Process != ownName() { // not of a scenario beside this one
				r.Elsewhere = append(r.Elsewhere, f)
			}
			continue
		}
		r.Findings = append(r.Findings, f)
		expected := false
		for i, want := range r.Scenario.Expect {
			// One fault is one finding: a second of the same kind is one too many.
			if want.matches(&f, env) && (want.More || met[i] < max(want.Times, 1)) {
				expected = true
				met[i]++
				if took := o.first[f.ID].Sub(fault); r.Verdict == 0 || took < r.Verdict {
					r.Verdict, r.Sure = took, o.sure[f.ID].Sub(fault)
				}
			}
		}
		allowed := slices.Contains(r.Scenario.Allow, f.Detector) || slices.ContainsFunc(r.Scenario.Also, expects) ||
			env != nil && slices.Contains(env.allowed, f.Detector) ||
			r.Scenario.Advice != nil && slices.Contains(r.Scenario.Advice.Allow, f.Detector)
		if !expected && f.Severity > model.SeverityInfo && !allowed {
			r.False = append(r.False, f)
		}
	}
	for i, want := range r.Scenario.Expect {
		if met[i] < max(want.Times, 1) {
			r.Missing = append(r.Missing, want)
		}
	}
}

func (x *Expectation) matches(f *model.Finding, env *Env) bool {
	if f.Detector != x.Detector || f.Severity == model.SeverityInfo ||
		x.Culprit > 0 && env.pids[f.Subject.PID] != x.Culprit {
		return false
	}
	text := inPast(strings.Join(
		append([]string{f.Title, f.Subject.Device, f.Subject.Pool, f.Subject.Process}, f.Causes...),
		"\n",
	))
	for _, part := range x.Contains {
		if !strings.Contains(text, inPast(part)) {
			return false
		}
	}
	return true
}
