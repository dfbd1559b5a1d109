package interrupt

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/platform"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

// name is the probe's name.
const name = "interrupt"

const (
	// defaultThreshold is the shortest run that is emitted singly.
	defaultThreshold = time.Millisecond
	// handlersPerCPU is for how many handlers there is room, per CPU.
	handlersPerCPU = 64
	// nameIntervals is for how many intervals the names of a line are believed.
	nameIntervals = 10
	// batch is how many handlers are read from the kernel at once.
	batch = 256
)

// Probe observes hard interrupts.
type Probe struct{}

// New returns the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind {
	return []model.Kind{model.KindInterruptHist, model.KindInterruptRun}
}

// attached is the running probe.
type attached struct {
	env      *ebpf.Env
	loader   *ebpf.Loader
	handlers *cebpf.Map
	epoch    *cebpf.Variable
	status   []model.Probe
	// runs is how often the programs ran in the last interval.
	runs uint64

	// interval is the number of the interval that is being counted.
	interval uint64
	before   map[interruptHandler]*counted
	names    names
	keys     []interruptHandler
	values   []interruptHandlerCounters
}

// counted is what has been reported of a handler.
type counted struct {
	run  ebpf.Hist
	busy time.Duration
}

// Attach implements ebpf.Probe.
func (*Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	spec, err := loadInterrupt()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	cpus, err := platform.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	spec.Maps["interrupt_handlers"].MaxEntries = uint32(max(batch, handlersPerCPU*len(cpus)))
	err = errors.Join(
		spec.Variables["run_threshold_ns"].Set(uint64(cmp.Or(env.Options.RunThreshold, defaultThreshold))),
		spec.Variables["trace"].Set(env.Options.Trace),
	)
	if err != nil {
		return nil, fmt.Errorf("set thresholds: %w", err)
	}
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	a := &attached{
		env:      env,
		loader:   loader,
		handlers: loader.Map("interrupt_handlers"),
		epoch:    loader.Variable("lb_epoch"),
		interval: 1,
		before:   make(map[interruptHandler]*counted),
		names:    names{sys: "/sys/kernel/irq", lines: make(map[uint32]*line)},
		keys:     make([]interruptHandler, batch),
		values:   make([]interruptHandlerCounters, batch),
	}
	if err := a.epoch.Set(a.interval); err != nil {
		return nil, errors.Join(fmt.Errorf("start the first interval: %w", err), loader.Close())
	}
	env.Handle(model.KindInterruptRun, a.decode)
	if err := loader.AttachAll("interrupt_entry", "interrupt_exit"); err != nil {
		return nil, errors.Join(err, loader.Close())
	}
	lines := ebpf.StatusOf(name, "lines", nil)
	lines.Reason = "local timer and inter-processor interrupts do not go through the handler tracepoints; their " +
		"time is part of irq_ns in cpu.time"
	a.status = []model.Probe{lines}
	return a, nil
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// Close implements ebpf.Attached.
func (a *attached) Close() error { return a.loader.Close() }

// Runs implements ebpf.Counted: each run is an entry and an exit.
func (a *attached) Runs() uint64 { return a.runs }

// PauseTrace implements ebpf.Tracer.
func (a *attached) PauseTrace(paused bool) error {
	if err := a.loader.Variable(interruptVarTracePaused).Set(paused); err != nil {
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
	read := a.env.Clock.Now()
	a.runs = 0
	var cursor cebpf.MapBatchCursor
	for {
		n, err := a.handlers.BatchLookup(&cursor, a.keys, a.values, nil)
		for i := range n {
			a.add(now, interval, ended, read, a.keys[i], &a.values[i], b)
		}
		if errors.Is(err, cebpf.ErrKeyNotExist) {
			return nil // that was all
		}
		if err != nil {
			return fmt.Errorf("read the handlers: %w", err)
		}
	}
}

// add adds the interval of one handler on one CPU, if it ran.
func (a *attached) add(
	now model.Time,
	interval time.Duration,
	ended uint64,
	read model.Time,
	key interruptHandler,
	v *interruptHandlerCounters,
	b *model.Builder,
) {
	before := a.before[key]
	if before == nil {
		before = &counted{}
		a.before[key] = before
		a.names.add(key.Irq, key.Action, v.FirstNs)
	}
	run := ebpf.HistOf(&v.Run).Since(&before.run, ended)
	before.run = *ebpf.HistOf(&v.Run)
	a.runs += 2 * run.Count
	total := time.Duration(v.Run.SumNs)
	if v.EnteredNs != 0 {
		total += max(read.Sub(a.env.Clock.Time(v.EnteredNs)), 0)
	}
	busy := max(total-before.busy, 0)
	before.busy += busy
	if run.Count == 0 && busy == 0 {
		return
	}
	b.AddInterruptHist(model.InterruptHist{
		Time: now, Dur: interval, CPU: int32(key.Cpu), IRQ: int64(key.Irq), Class: model.ClassHardIRQ,
		Name:  a.names.of(key.Irq, key.Action, ended).String(),
		Count: run.Count, Busy: busy, MaxRun: time.Duration(run.Max), RunHist: &run,
	})
}

// decode turns a record into an interrupt.run event.
func (a *attached) decode(raw []byte, b *model.Builder) error {
	run, ok := ebpf.Record[interruptRun](raw)
	if !ok {
		return fmt.Errorf("interrupt run: %d bytes are not a run", len(raw))
	}
	pid := int32(run.Head.Pid)
	a.env.InternedProcess(pid) // adds the process
	e := b.Append(model.KindInterruptRun)
	e.Time, e.Dur, e.Resource = a.env.Clock.Time(run.Head.TimeNs), time.Duration(run.RunNs), uint64(run.Irq)
	e.CPU, e.PID, e.TID = int32(run.Head.Cpu), pid, int32(run.Tid)
	e.Args[model.ArgInterruptRunClass] = uint64(model.ClassHardIRQ)
	if run.Result != 0 {
		e.Args[model.ArgInterruptRunHandled] = 1
	}
	e.Str[model.StrInterruptRunName] = b.ID(a.names.of(run.Irq, run.Action, a.interval))
	return nil
}

// names knows the handlers of the lines by name.
type names struct {
	sys   string // "/sys/kernel/irq"
	lines map[uint32]*line
}

// line is what is known of one IRQ line.
type line struct {
	// actions are the handlers seen, in the order in which they first ran: the
	// order in which the kernel calls them.
	actions []action
	// names are those of the handlers, all of them together.
	names []model.Interned
	all   model.Interned
	// read is the interval in which the names were read.
	read uint64
}

type action struct{ address, firstNS uint64 }

// add reports a handler that ran for the first time.
func (n *names) add(irq uint32, address, firstNS uint64) {
	l := n.lines[irq]
	if l == nil {
		l = &line{}
		n.lines[irq] = l
	}
	l.names = nil
	if i := slices.IndexFunc(l.actions, func(a action) bool { return a.address == address }); i >= 0 {
		l.actions[i].firstNS = min(l.actions[i].firstNS, firstNS) // seen on another CPU
	} else {
		l.actions = append(l.actions, action{address, firstNS})
	}
	slices.SortFunc(l.actions, func(a, b action) int { return cmp.Compare(a.firstNS, b.firstNS) })
}

// of returns the name of a handler, the names of all handlers of its line when
// it is not clear which, or "irq N" when the line has none.
func (n *names) of(irq uint32, address, interval uint64) *model.Interned {
	l := n.lines[irq]
	if l == nil {
		l = &line{}
		n.lines[irq] = l
	}
	if l.names == nil || interval-l.read >= nameIntervals {
		l.read = interval
		names := readActions(n.sys, irq)
		l.names, l.all = nil, model.NewInterned(strings.Join(names, ","))
		for _, name := range names {
			l.names = append(l.names, model.NewInterned(name))
		}
	}
	if len(l.names) == len(l.actions) {
		for i, a := range l.actions {
			if a.address == address {
				return &l.names[i]
			}
		}
	}
	return &l.all
}

// readActions reads the names of a line's handlers, in the order in which they
// are called.
func readActions(sys string, irq uint32) []string {
	number := strconv.FormatUint(uint64(irq), 10)
	content, err := os.ReadFile(filepath.Join(sys, number, "actions"))
	list := strings.TrimSpace(string(content))
	if err != nil || list == "" {
		return []string{"irq " + number}
	}
	return strings.Split(list, ",")
}
