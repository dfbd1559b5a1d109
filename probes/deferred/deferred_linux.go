package deferred

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/platform"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// name is the probe's name.
const name = "deferred"

// defaultThreshold is the shortest run, and the shortest wait, that is emitted singly.
const defaultThreshold = time.Millisecond

// vectorNames are the softirq vectors by number, as /proc/softirqs calls them.
var vectorNames = [...]string{
	"HI",
	"TIMER",
	"NET_TX",
	"NET_RX",
	"BLOCK",
	"IRQ_POLL",
	"TASKLET",
	"SCHED",
	"HRTIMER",
	"RCU",
}

// maxWait bounds what is believed of a wait: a vector that is still marked as
// raised after that was lost with its CPU when that went offline.
const maxWait = time.Minute

// Probe observes softirqs.
type Probe struct{}

// New returns the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind {
	return []model.Kind{model.KindDeferredHist, model.KindDeferredRun, model.KindCPUTime}
}

// attached is the running probe.
type attached struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	memory *cebpf.Memory
	epoch  *cebpf.Variable
	status []model.Probe
	// runs is how often the programs ran in the last interval.
	runs uint64

	// clock is the one that the counters are on.
	clock int32
	// interval is the number of the interval that is being counted.
	interval uint64
	// now and before are the counters at the end of this and the last interval.
	now, before []deferredCpuCounters
	// counted is the busy time reported so far, by CPU and vector.
	counted [][len(vectorNames)]time.Duration
	// held is what the emitted runs say about who held each CPU.
	held []hold
	// vectors are the names of the vectors, idle those of the idle tasks by CPU.
	vectors [len(vectorNames)]model.Interned
	idle    []model.Interned
	times   map[int32]cpuTime
}

// Attach implements ebpf.Probe.
func (*Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	spec, err := loadDeferred()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	cpus, err := platform.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	n := slices.Max(cpus) + 1
	spec.Maps["deferred_cpus"].MaxEntries = uint32(n)
	err = errors.Join(
		spec.Variables["run_threshold_ns"].Set(uint64(cmp.Or(env.Options.RunThreshold, defaultThreshold))),
		spec.Variables["wait_threshold_ns"].Set(uint64(cmp.Or(env.Options.WaitThreshold, defaultThreshold))),
		spec.Variables["trace"].Set(env.Options.Trace),
		spec.Variables["preemptible"].Set(platform.PreemptRT()),
	)
	if err != nil {
		return nil, fmt.Errorf("set thresholds: %w", err)
	}
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	a := newAttached(n)
	a.env, a.loader, a.epoch, a.clock = env, loader, loader.Variable("lb_epoch"), unix.CLOCK_MONOTONIC
	if env.Options.Trace {
		a.clock = unix.CLOCK_BOOTTIME
	}
	if err := a.start(); err != nil {
		return nil, errors.Join(err, loader.Close())
	}
	return a, nil
}

// newAttached returns the probe's state for so many CPUs, before anything was counted.
func newAttached(cpus int) *attached {
	a := &attached{
		interval: 1,
		now:      make([]deferredCpuCounters, cpus),
		before:   make([]deferredCpuCounters, cpus),
		counted:  make([][len(vectorNames)]time.Duration, cpus),
		held:     make([]hold, cpus),
	}
	for i, name := range vectorNames {
		a.vectors[i] = model.NewInterned(name)
	}
	for cpu := range cpus {
		a.idle = append(a.idle, model.NewInterned("swapper/"+strconv.Itoa(cpu)))
	}
	return a
}

// start attaches the programs. Raises come last, so that no raise is seen
// whose run is not.
func (a *attached) start() error {
	var err error
	if a.memory, err = a.loader.Map("deferred_cpus").Memory(); err != nil {
		return fmt.Errorf("map the counters: %w", err)
	}
	if err := a.epoch.Set(a.interval); err != nil {
		return fmt.Errorf("start the first interval: %w", err)
	}
	a.env.Handle(model.KindDeferredRun, a.decode)
	programs := []string{"deferred_entry", "deferred_exit"}
	if platform.PreemptRT() {
		programs = append(programs, "deferred_switch")
	}
	if err := a.loader.AttachAll(programs...); err != nil {
		return err
	}
	wait := a.loader.Try(name, "wait", "deferred_raise")
	a.times, err = procCPUTimes()
	a.status = []model.Probe{ebpf.StatusOf(name, "run", nil), wait, ebpf.StatusOf(name, "cpu.time", err)}
	return nil
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// Close implements ebpf.Attached.
func (a *attached) Close() error { return a.loader.Close() }

// Runs implements ebpf.Counted: each run is an entry and an exit, beside the raises.
func (a *attached) Runs() uint64 { return a.runs }

// PauseTrace implements ebpf.Tracer.
func (a *attached) PauseTrace(paused bool) error {
	if err := a.loader.Variable(deferredVarTracePaused).Set(paused); err != nil {
		return fmt.Errorf("pause tracing: %w", err)
	}
	return nil
}

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	ended := a.interval
	a.interval++
	if err := a.epoch.Set(a.interval); err != nil {
		return fmt.Errorf("start an interval: %w", err)
	}
	a.now, a.before = a.before, a.now
	var read unix.Timespec
	if err := unix.ClockGettime(a.clock, &read); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	if err := ebpf.ReadMapped(a.memory, a.now); err != nil {
		return err
	}
	a.runs = 0
	for cpu := range a.now {
		for vector := range vectorNames {
			a.add(now, interval, ended, read.Nano(), cpu, vector, b)
		}
	}
	times, err := procCPUTimes()
	if err != nil {
		return err
	}
	a.follow(times)
	a.addCPUTimes(times, now, interval, b)
	return nil
}

// add adds the interval of one vector on one CPU, if anything happened. The
// counters were read when their clock stood at read nanoseconds.
func (a *attached) add(
	now model.Time,
	interval time.Duration,
	ended uint64,
	read int64,
	cpu, vector int,
	b *model.Builder,
) {
	v, before := &a.now[cpu].Vectors[vector], &a.before[cpu].Vectors[vector]
	run := ebpf.HistOf(&v.Run).Since(ebpf.HistOf(&before.Run), ended)
	wait := ebpf.HistOf(&v.Wait).Since(ebpf.HistOf(&before.Wait), ended)
	// A run in progress counts with what it has taken so far, and later with
	// the rest. The counters are not read at one instant, so the total may seem
	// to fall when that run ends in between: it never counts twice.
	total := time.Duration(v.Run.SumNs)
	if c := &a.now[cpu]; v.EnteredNs != 0 && c.Running == uint64(vector)+1 {
		until := read
		if c.Task != 0 && c.LostNs != 0 {
			until = int64(c.LostNs) // the task that runs it does not have the CPU
		}
		total += time.Duration(max(until-int64(v.EnteredNs), 0))
	}
	busy := max(total-a.counted[cpu][vector], 0)
	a.counted[cpu][vector] += busy
	raised := v.Raised - before.Raised
	a.runs += raised + 2*run.Count
	if run.Count == 0 && raised == 0 && busy == 0 {
		return
	}
	b.AddDeferredHist(model.DeferredHist{
		Time: now, Dur: interval, CPU: int32(cpu), Class: model.ClassSoftirq, Name: vectorNames[vector],
		Count: run.Count, Busy: busy, Raised: raised,
		MaxRun: time.Duration(run.Max), MaxWait: time.Duration(wait.Max), RunHist: &run, WaitHist: &wait,
	})
}

// follow notes in the status which CPUs have gone offline and come back since the last interval.
func (a *attached) follow(times map[int32]cpuTime) {
	for _, cpu := range slices.Sorted(maps.Keys(a.times)) {
		if _, ok := times[cpu]; !ok {
			a.setCPU(cpu, model.ProbeOff, "the CPU went offline")
		}
	}
	for _, cpu := range slices.Sorted(maps.Keys(times)) {
		if _, ok := a.times[cpu]; !ok {
			a.setCPU(cpu, model.ProbeOn, "the CPU came online")
		}
	}
}

// setCPU sets the status of a CPU.
func (a *attached) setCPU(cpu int32, state model.ProbeState, reason string) {
	part := "CPU " + strconv.Itoa(int(cpu))
	i := slices.IndexFunc(a.status, func(p model.Probe) bool { return p.Part == part })
	if i < 0 {
		i = len(a.status)
		a.status = append(a.status, model.Probe{Name: name, Part: part})
	}
	a.status[i].State, a.status[i].Reason = state, reason
	a.env.StatusChanged()
}

// addCPUTimes adds where the CPUs spent the interval, as the kernel counts it.
func (a *attached) addCPUTimes(times map[int32]cpuTime, now model.Time, interval time.Duration, b *model.Builder) {
	for _, cpu := range slices.Sorted(maps.Keys(times)) {
		before, ok := a.times[cpu]
		if !ok {
			continue // came online in this interval
		}
		d := times[cpu].since(before)
		b.AddCPUTime(
			model.CPUTime{
				Time:    now,
				Dur:     interval,
				CPU:     cpu,
				User:    d.user,
				System:  d.system,
				Softirq: d.softirq,
				IRQ:     d.irq,
				Idle:    d.idle,
				Steal:   d.steal,
			},
		)
	}
	a.times = times
}

func procCPUTimes() (map[int32]cpuTime, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("read CPU times: %w", err)
	}
	defer f.Close()
	return readCPUTimes(f)
}

// decode turns a record into a deferred.run event.
func (a *attached) decode(raw []byte, b *model.Builder) error {
	run, ok := ebpf.Record[deferredRun](raw)
	if !ok || int(run.Vector) >= len(vectorNames) || int(run.Head.Cpu) >= len(a.idle) {
		return fmt.Errorf("softirq run: %d bytes are not a run", len(raw))
	}
	cpu, pid := int32(run.Head.Cpu), int32(run.Head.Pid)
	var task model.StringID // before Append: it may add the process
	if pid == 0 {
		task = b.ID(&a.idle[cpu])
	} else if long, ok := ebpf.Record[deferredLongRun](raw); ok {
		comm := ebpf.Comm(long.Comm[:])
		a.env.NamedProcess(pid, comm)
		task = b.Intern(comm)
	} else {
		task = b.ID(a.env.InternedProcess(pid))
	}
	end, ran, wait := a.env.Clock.Time(run.Head.TimeNs), time.Duration(run.RunNs), time.Duration(run.WaitNs)
	e := b.Append(model.KindDeferredRun)
	e.Time, e.Dur, e.CPU, e.PID, e.TID = end, ran, cpu, pid, int32(run.Tid)
	if wait <= 0 || wait > maxWait {
		wait, e.Flags = 0, model.FlagWaitUnknown
	}
	e.Args[model.ArgDeferredRunClass] = uint64(model.ClassSoftirq)
	e.Args[model.ArgDeferredRunWait] = uint64(wait)
	e.Args[model.ArgDeferredRunVector] = uint64(run.Vector)
	e.Str[model.StrDeferredRunName] = b.ID(&a.vectors[run.Vector])
	e.Str[model.StrDeferredRunTask] = task
	if before := a.held[cpu].next(int(run.Vector), end, ran, wait); before >= 0 {
		e.Str[model.StrDeferredRunBefore] = b.ID(&a.vectors[before])
	}
	return nil
}

// holdGap is the longest pause between two runs of a vector that count as one
// stretch: ksoftirqd looks around after each.
const holdGap = 100 * time.Microsecond

// hold is a stretch of runs of one vector on a CPU, one after the other.
type hold struct {
	vector     int
	start, end model.Time
}

// next takes the next run on the CPU and returns the vector that held the CPU
// for most of its wait, -1 when that is not known: what is not emitted singly
// is not seen here.
func (h *hold) next(vector int, end model.Time, ran, wait time.Duration) (before int) {
	before = -1
	entry := end.Add(-ran)
	if wait > 0 {
		raised := entry.Add(-wait)
		if overlap := h.end.Sub(max(h.start, raised)); overlap > wait/2 {
			before = h.vector
		}
	}
	if h.vector != vector || entry.Sub(h.end) > holdGap {
		h.vector, h.start = vector, entry
	}
	h.end = end
	return before
}
