package ebpf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/model"
)

// boundTest feeds a bound second by second.
type boundTest struct {
	bound
	at time.Duration
	// changes are the seconds at which something was left out (+) or taken up again (-).
	changes []string
}

// run lets some time pass in which each second takes a share of a CPU.
func (b *boundTest) run(length time.Duration, share func(second int) float64) {
	for i := range int(length / time.Second) {
		b.at += time.Second
		spent := time.Duration(share(i) * float64(time.Second))
		if change, _ := b.add(spent, time.Second); change > 0 {
			b.changes = append(b.changes, fmt.Sprintf("+%d", b.at/time.Second))
		} else if change < 0 {
			b.changes = append(b.changes, fmt.Sprintf("-%d", b.at/time.Second))
		}
	}
}

func always(share float64) func(int) float64 { return func(int) float64 { return share } }

func TestBound(t *testing.T) {
	const max = 0.03
	burst := func(seconds int) func(int) float64 {
		return func(i int) float64 {
			if i < seconds {
				return 1
			}
			return 0.004
		}
	}
	for _, c := range []struct {
		name  string
		share func(int) float64
		want  string
	}{
		{"at the bound", always(max), ""},
		{"just above", always(max + 0.0001), "+10 +20 +30 +40"},
		{"a start-up of 4 s", burst(4), ""},
		{"a start-up of 5 s", burst(5), "+60 -120"},
		{"one of 6 s is more than half of 10", burst(6), "+10 -70"},
		{"two seconds of ten, below in the mean", func(i int) float64 {
			if i%10 < 2 {
				return 0.14
			}
			return 0
		}, ""},
		{"two seconds of ten, above in the mean", func(i int) float64 {
			if i%10 < 2 {
				return 0.16
			}
			return 0
		}, "+60 +120 +180 +240"},
		{"one in a minute, above in the mean", func(i int) float64 {
			if i%60 == 30 {
				return 1
			}
			return 0.02
		}, ""},
	} {
		b := boundTest{bound: bound{max: max, steps: 4}}
		b.run(4*time.Minute, c.share)
		if got := strings.Join(b.changes, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	none := boundTest{bound: bound{steps: 4}}
	none.run(time.Minute, always(1))
	if none.shed != 0 {
		t.Error("something is left out without a bound")
	}
}

// What is left out comes back one step at a time, below half of the bound only.
func TestBoundRestores(t *testing.T) {
	b := boundTest{bound: bound{max: 0.03, steps: 2}}
	b.run(20*time.Second, always(0.1))
	if b.shed != 2 || b.helpless {
		t.Fatalf("%d steps left out, helpless %t", b.shed, b.helpless)
	}
	b.run(10*time.Second, always(0.1))
	if !b.helpless {
		t.Error("it does not say that nothing is left to leave out")
	}
	b.run(5*time.Minute, always(0.015))
	if b.shed != 2 || b.helpless {
		t.Errorf("at half of the bound %d steps are left out, helpless %t", b.shed, b.helpless)
	}
	b.changes = nil
	b.run(3*time.Minute, always(0.0149))
	if b.shed != 0 || len(b.changes) != 2 {
		t.Errorf("%d steps left out after %v", b.shed, b.changes)
	}
}

// A load that comes back whenever the detail does is found out: the changes become rare.
func TestBoundDoesNotFlap(t *testing.T) {
	for _, start := range []float64{0.031, 0.4, 1} {
		b := boundTest{bound: bound{max: 0.03, steps: 1}}
		b.run(4*time.Hour, func(int) float64 {
			if b.shed == 0 {
				return start
			}
			return 0.002
		})
		if n := len(b.changes); n < 8 || n > 44 {
			t.Errorf("with a load of %v: %d changes in 4 h: %v", start, n, b.changes)
		}
		last := b.changes[len(b.changes)-3:]
		b.run(20*time.Hour, func(int) float64 {
			if b.shed == 0 {
				return start
			}
			return 0.002
		})
		if n := len(b.changes); n > 44+2*20*4 {
			t.Errorf("with a load of %v: %d changes in a day, after %v", start, n, last)
		}
	}
}

// The load may jump in any way: no more is left out than there is, and changes have their distance.
func TestBoundAnyLoad(t *testing.T) {
	b := boundTest{bound: bound{max: 0.03, steps: 3}}
	seed := uint64(1)
	last := -time.Hour
	for range 100000 {
		seed = seed*6364136223846793005 + 1442695040888963407
		spent := time.Duration(seed >> 33 % 100 * uint64(time.Millisecond))
		change, _ := b.add(spent, time.Second)
		b.at += time.Second
		if b.shed < 0 || b.shed > b.steps || len(b.recent) > 61 {
			t.Fatalf("%d of %d left out, %d intervals kept", b.shed, b.steps, len(b.recent))
		}
		if change != 0 {
			if b.at-last < overFor {
				t.Fatalf("two changes within %v", b.at-last)
			}
			last = b.at
		}
	}
}

func TestShedRequests(t *testing.T) {
	stacks := &responder{kinds: []model.RequestKind{model.RequestStacks}}
	rt := newRequestTest(t, stacks)
	rt.ask(askStacks("a", 10*time.Second))
	rt.want("served", rt.step(0), "asked stacks a", "on stacks a")
	rt.q.setShed(model.RequestStacks, true, rt.at.Add(time.Second), &rt.builder)
	rt.want("left out", rt.take(), "off stacks a after 1s: "+model.NotSampled)
	rt.ask(askStacks("a", time.Second), askStacks("a", time.Second))
	rt.want("refused, once", rt.step(2*time.Second), "asked stacks a", "refused stacks a: "+model.NotSampled)
	rt.q.setShed(model.RequestStacks, false, rt.at, &rt.builder)
	rt.ask(askStacks("a", time.Second))
	rt.want("served again", rt.step(time.Second), "asked stacks a", "on stacks a")
	rt.q.setShed(model.RequestStacks, true, rt.at, &rt.builder)
	rt.take()
	rt.ask(askStacks("a", time.Second))
	rt.want("and refused again", rt.step(time.Second), "asked stacks a", "refused stacks a: "+model.NotSampled)
	standing := askStacks("b", 10*time.Second)
	standing.Standing = true
	rt.ask(standing)
	rt.want("a standing one is served", rt.step(time.Second), "asked stacks b", "on stacks b")
	rt.q.setShed(model.RequestStacks, true, rt.at, &rt.builder)
	rt.want("and stays", rt.take())
	if want := []string{
		"begin stacks a for 10s", "end stacks a", "begin stacks a for 1s", "end stacks a", "begin stacks b for 10s",
	}; !slices.Equal(stacks.calls, want) {
		t.Errorf("the probe was asked %q, want %q", stacks.calls, want)
	}
}

// tracer is a probe whose tracing can be paused.
type tracer struct {
	responder
	paused bool
}

func (p *tracer) PauseTrace(paused bool) error { p.paused = paused; return nil }

// Detail is left out in the order of model.ShedParts, and what is off is written.
func TestShedSteps(t *testing.T) {
	for _, c := range []struct {
		name  string
		trace bool
		want  []string
	}{
		{"traced", true, []string{"deferred/full tracing interrupt/full tracing", "stack/requests", "heartbeat/zoom",
			"sched/requests"}},
		{"not traced", false, []string{"stack/requests", "heartbeat/zoom", "sched/requests"}},
	} {
		r := &run{options: Options{Trace: c.trace, MaxCPU: 0.03}, requests: requests{inbox: newInbox()}}
		traced := &tracer{}
		for _, name := range []string{"sched", "deferred", "heartbeat", "stack", "interrupt", "port"} {
			r.probes = append(r.probes, &attachedProbe{Attached: traced, name: name})
		}
		r.watchSelf()
		r.builder.Take()
		var got []string
		for _, parts := range r.self.steps {
			r.shed(parts, 0.05)
			b := r.builder.Take()
			var names []string
			for i := range b.Events {
				p, _ := b.Probe(&b.Events[i])
				if !p.Shed() {
					t.Errorf("%s: %s/%s is %v: %s", c.name, p.Name, p.Part, p.State, p.Reason)
				}
				names = append(names, p.Name+"/"+p.Part)
			}
			got = append(got, strings.Join(names, " "))
		}
		if !slices.Equal(got, c.want) || traced.paused != c.trace {
			t.Errorf("%s: left out %q, want %q; paused %t", c.name, got, c.want, traced.paused)
		}
		if r.requests.shed != [requestKinds]bool{
			model.RequestStacks: true, model.RequestSched: true, model.RequestZoom: true,
		} {
			t.Errorf("%s: refused are %v", c.name, r.requests.shed)
		}
		for _, parts := range r.self.steps {
			r.restore(parts)
		}
		b := r.builder.Take()
		for i := range b.Events {
			if p, _ := b.Probe(&b.Events[i]); p.State != model.ProbeOn || p.Reason != "" {
				t.Errorf("%s: restored, %s/%s is %v: %s", c.name, p.Name, p.Part, p.State, p.Reason)
			}
		}
		if traced.paused || r.requests.shed != [requestKinds]bool{} {
			t.Errorf("%s: not all of it is on again", c.name)
		}
	}
}

// What a quota takes from lostbeat itself is said once it is a twentieth of 10 s, until it is not.
func TestOwnQuota(t *testing.T) {
	var throttled time.Duration
	q := quotas{read: func() []platform.Quota {
		return []platform.Quota{{Group: "/", CPUs: 4}, {Group: "/a", CPUs: 0.2, Throttled: throttled}}
	}}
	throttled = time.Hour // before the start
	q.step(0)
	step := func(waited time.Duration) bool {
		throttled += waited
		return q.step(time.Second) != ""
	}
	for i := range 10 {
		if step(49 * time.Millisecond) {
			t.Fatalf("said after %d s of 49 ms each", i+1)
		}
	}
	for i := range 10 {
		if said := step(50 * time.Millisecond); said != (i == 9) {
			t.Fatalf("after %d s of 50 ms each: said %t", i+1, said)
		}
	}
	if !strings.Contains(q.verdict, "20 % of a CPU") || !strings.Contains(q.verdict, "/a ") {
		t.Error(q.verdict)
	}
	for i := range 10 {
		if said := step(0); said != (i < 9) {
			t.Fatalf("after %d s without a wait: said %t", i+1, said)
		}
	}
}

func TestEstimate(t *testing.T) {
	const load = 5
	ns := func(runs float64, run time.Duration) float64 { return runs * float64(run+dispatch) }
	p := probeCost{runs: 1000, time: 200 * time.Microsecond}
	p.learn(load, time.Second, 600, 50*time.Nanosecond) // 400 a second that are not counted, 150 ns each and the call
	if got, want := p.estimate(load, 2000, 2*time.Second), ns(2800, 150); got != want {
		t.Errorf("by what is counted: %v, want %v", got, want)
	}
	p.runs, p.time = 1000, 100*time.Microsecond
	p.learn(load+2, 2*time.Second, 0, 50*time.Nanosecond)
	for at, want := range map[int]float64{
		0: ns(1400, 150), load + 1: ns(1400, 150), load + 2: ns(1500, 50), loads - 1: ns(1500, 50),
	} {
		if got := p.estimate(at, 1000, time.Second); got != want {
			t.Errorf("at load %d: %v, want %v", at, got, want)
		}
	}
	p = probeCost{}
	if got, want := p.estimate(load, 10, time.Second), ns(10, usualRun); got != want {
		t.Errorf("not measured: %v, want %v", got, want)
	}
	p = probeCost{runs: minRuns - 1, time: time.Millisecond}
	p.learn(load, time.Second, minRuns, 0) // it counts a run that the kernel does not: they are not read at one instant
	if p.run[load] != 0 || p.other[load] != 0 {
		t.Errorf("%d runs are taken for %v each, %v are not counted", minRuns-1, p.run[load], p.other[load])
	}
}

// A window is opened after the start, and where a probe that runs was not measured at the load for a while.
func TestWindows(t *testing.T) {
	c := kernelCost{probes: map[string]*probeCost{"always": {}, "asked": {}}}
	asked := false
	idle := func(probe string) bool { return probe == "asked" && !asked }
	for _, s := range []struct {
		age   time.Duration
		load  int
		asked bool
		want  bool
	}{
		{firstWindow - 1, 3, false, false},
		{firstWindow, 3, false, true},
		{firstWindow + windowGap - 1, 4, false, false},
		{firstWindow + windowGap, 4, false, true},
		{firstWindow + 2*windowGap, 3, false, false},
		{firstWindow + 2*windowGap, 3, true, true},
		{firstWindow + 3*windowGap, 3, true, false},
		{windowEvery + firstWindow + windowGap - 1, 4, false, false},
		{windowEvery + firstWindow + windowGap, 4, false, true},
	} {
		c.age, asked = s.age, s.asked
		if got := c.wanted(s.load, idle); got != s.want {
			t.Errorf("after %v at load %d, asked %t: opened %t", s.age, s.load, s.asked, got)
		}
		if !s.want {
			continue
		}
		c.last = s.age
		for name, p := range c.probes {
			if !idle(name) {
				p.windows[s.load] = s.age
			}
		}
	}
	for rate, want := range map[float64]int{0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 8: 2, 1e6: 10, 1e18: loads - 1} {
		if got := loadOf(rate); got != want {
			t.Errorf("%v runs a second are of class %d, want %d", rate, got, want)
		}
	}
}
