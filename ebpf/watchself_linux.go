package ebpf

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"lostbeat/internal/cgroup"
	"lostbeat/internal/plain"
	"lostbeat/internal/platform"
	"lostbeat/model"
)

// Parts of the engine in probe events.
const (
	engineName = "engine"
	partCost   = "cost in the kernel"
	partOwn    = "own CPU time"
	partQuota  = "CPU quota"
)

const (
	// quotaFor is how long the time is added up for which this process was throttled, and throttledShare the share of it
	// from which that is reported.
	quotaFor       = 10 * time.Second
	throttledShare = 0.05
)

// quotas follow how long this process is throttled by limits on its control groups.
type quotas struct {
	read   func() []platform.Quota
	before map[string]time.Duration
	// waited and length are added up since the last verdict; verdict is what was said then.
	waited, length time.Duration
	verdict        string
}

// step ends an interval and returns what is to be said of it: empty when nothing throttles this process.
func (q *quotas) step(interval time.Duration) string {
	var tightest platform.Quota
	var worst time.Duration
	now := make(map[string]time.Duration, len(q.before))
	for _, g := range q.read() {
		now[g.Group] = g.Throttled
		if before, ok := q.before[g.Group]; ok && g.Throttled-before > worst {
			worst, tightest = g.Throttled-before, g
		}
	}
	q.before = now
	q.waited += worst
	q.length += interval
	switch {
	case worst > 0 && q.verdict == "" && float64(q.waited) >= throttledShare*float64(quotaFor):
		q.verdict = fmt.Sprintf("the quota of %s of a CPU on its own control group %s stops lostbeat again and again: "+
			"what it reports comes late, and more may be lost", plain.Percent(tightest.CPUs), tightest.Group)
		q.waited, q.length = 0, 0
	case q.length >= quotaFor:
		if float64(q.waited) < throttledShare*float64(q.length) {
			q.verdict = ""
		}
		q.waited, q.length = 0, 0
	}
	return q.verdict
}

// watchSelf prepares to bound and to report what lostbeat takes itself; the probes are attached.
func (r *run) watchSelf() {
	r.self.cost.calibrate()
	r.saySelf(&r.self.costStatus, partCost, r.self.cost.reason())
	mounts := cgroup.Mounted("/proc")
	r.self.quotas.read = func() []platform.Quota { return platform.Quotas("/proc", mounts) }
	r.self.quotas.step(0)
	step := -1
	for _, p := range model.ShedParts {
		i := slices.IndexFunc(r.probes, func(a *attachedProbe) bool { return a.name == p.Probe })
		if i < 0 || p.Trace && !r.options.Trace {
			continue
		}
		if p.Step != step {
			step = p.Step
			r.self.steps = append(r.self.steps, nil)
		}
		parts := &r.self.steps[len(r.self.steps)-1]
		*parts = append(*parts, shedPart{p, r.probes[i]})
	}
	r.self.bound = bound{max: r.options.MaxCPU, steps: len(r.self.steps)}
}

// collectSelf ends an interval: it writes what lostbeat takes, and leaves out detail when that is too much.
func (r *run) collectSelf(end model.Time, interval time.Duration) {
	measured := r.self.cost.read(func(program string, n uint64) {
		r.builder.AddLoss(model.Loss{
			Time: end, Dur: interval, CPU: -1, Lost: n, Origin: "recursion", Detail: program,
		})
	})
	if interval <= 0 {
		return
	}
	counted := make(map[string]uint64, len(r.probes))
	for _, a := range r.probes {
		if c, ok := a.Attached.(Counted); ok {
			counted[a.name] = c.Runs()
		}
	}
	kernel, err := r.self.cost.step(usage{interval, counted, r.requests.idle}, r.options.Log)
	if err != nil {
		r.options.Log.Warn("measure BPF programs", "error", err)
	}
	if r.options.Log.Enabled(context.Background(), slog.LevelDebug) {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		r.options.Log.Debug("process", "goroutines", runtime.NumGoroutine(), "heap_bytes", memory.HeapInuse)
	}
	spent := r.self.spent()
	r.self.write(end, interval, spent, measured, kernel, &r.builder)
	change, share := r.self.bound.add(spent, interval)
	switch {
	case change > 0:
		r.shed(r.self.steps[r.self.bound.shed-1], share)
	case change < 0:
		r.restore(r.self.steps[r.self.bound.shed])
	}
	r.saySelf(&r.self.costStatus, partCost, r.self.cost.reason())
	r.saySelf(&r.self.ownStatus, partOwn, r.ownReason())
	r.saySelf(&r.self.quotaStatus, partQuota, r.self.quotas.step(interval))
}

// ownReason says that the bound is passed with everything left out, which is said until it is not passed any more.
func (r *run) ownReason() string {
	if !r.self.bound.helpless {
		return ""
	}
	return fmt.Sprintf("lostbeat takes more than its bound of %s of a CPU (--max-cpu) with all detail left out: what is "+
		"left are the counters that verdicts rest on", plain.Percent(r.self.bound.max))
}

// saySelf writes the state of a part of the engine when it changes; reason is empty when it is well.
func (r *run) saySelf(said *string, part, reason string) {
	if reason == *said {
		return
	}
	*said = reason
	status := model.Probe{Name: engineName, Part: part, State: model.ProbeOn}
	if reason != "" {
		status.State, status.Reason = model.ProbeDegraded, reason
	}
	r.addStatus(status)
}

// shed leaves out the parts of a step.
func (r *run) shed(parts []shedPart, share float64) {
	for _, p := range parts {
		r.setShed(p, true)
		r.addStatus(model.Probe{
			Name: p.Probe, Part: p.Part, State: model.ProbeDegraded,
			Reason: fmt.Sprintf("%s (it took %s of a CPU, --max-cpu is %s)", model.NotSampled, plain.Percent(share),
				plain.Percent(r.self.bound.max)),
			Hint: "it comes back by itself; a higher --max-cpu keeps it, 0 sets no bound",
		})
	}
}

// restore takes the parts of a step up again.
func (r *run) restore(parts []shedPart) {
	for _, p := range parts {
		r.setShed(p, false)
		r.addStatus(model.Probe{Name: p.Probe, Part: p.Part, State: model.ProbeOn})
	}
}

func (r *run) setShed(p shedPart, shed bool) {
	if !p.Trace {
		r.requests.setShed(p.Request, shed, r.at, &r.builder)
		return
	}
	if t, ok := p.by.Attached.(Tracer); ok {
		if err := t.PauseTrace(shed); err != nil {
			r.options.Log.Warn("leave out detail", "probe", p.Probe, "error", err)
		}
	}
}
