package stack

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/internal/platform"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

const (
	// Name is the probe's name.
	Name = "stack"
	// Hertz is how often a busy CPU is sampled in a second: a prime number, so
	// that nothing that happens regularly is always or never seen.
	Hertz = 199
	// Frames is how deep stacks are read.
	Frames = len(stackSample{}.Frames)
)

// Probe samples kernel stacks on request.
type Probe struct{}

// New returns the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return Name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind { return []model.Kind{model.KindStackSample} }

// attached is the running probe.
type attached struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	status []model.Probe
	// online lists the CPUs that are online, open opens the disabled perf event of one.
	online func() ([]int, error)
	open   func(cpu int) (int, error)
	// events are the perf events by CPU, everywhere how many requests are served on all CPUs.
	events     map[int32]*event
	everywhere int
	// samples are those of the current interval.
	samples samples
}

// event is the perf event of one CPU.
type event struct {
	// fd is away while the CPU is offline, and where the event was refused.
	fd int
	// wanted is how many requests are served by it; it is enabled while there is one.
	wanted int
	// refused is why it could not be opened when the CPU came online, nil otherwise: it is not tried again.
	refused error
}

// away stands for the descriptor of an event that is not open.
const away = -1

// Attach implements ebpf.Probe.
func (*Probe) Attach(env *ebpf.Env) (_ ebpf.Attached, err error) {
	spec, err := loadStack()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	a := &attached{env: env, loader: loader, online: platform.OnlineCPUs, events: make(map[int32]*event)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	program, err := loader.Program(stackProgStackSample)
	if err != nil {
		return nil, err
	}
	a.open = func(cpu int) (int, error) { return openEvent(cpu, program.FD()) }
	cpus, err := a.online()
	if err != nil {
		return nil, err
	}
	for _, cpu := range cpus {
		fd, err := a.open(cpu)
		if err != nil {
			return nil, fmt.Errorf("sample CPU %d: %w", cpu, err)
		}
		a.events[int32(cpu)] = &event{fd: fd}
	}
	env.Handle(model.KindStackSample, a.decode)
	on := ebpf.StatusOf(Name, "", nil)
	if check := platform.KernelSymbols(); check.State == platform.StateNo {
		on.State, on.Hint = model.ProbeDegraded, check.Hint
		on.Reason = "kernel functions are shown without names: " + check.Detail
	}
	a.status = []model.Probe{on}
	return a, nil
}

// openEvent opens the disabled perf event of a CPU, with the program that it
// runs. Setting the program, rather than making a link, takes one descriptor
// per CPU instead of two, and older kernels can do it.
func openEvent(cpu, program int) (int, error) {
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Size:   uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: Hertz,
		Bits:   unix.PerfBitDisabled | unix.PerfBitFreq,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		level, _ := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
		return -1, &ebpf.RefusedError{
			Advice: refusedAdvice(strings.TrimSpace(string(level))), Err: fmt.Errorf("open a perf event: %w", err),
		}
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program); err != nil {
		return -1, errors.Join(fmt.Errorf("attach to a perf event: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// refusedAdvice says what perf events need. Kernels of Debian and Ubuntu know levels of kernel.perf_event_paranoid
// above 2, at which they ask for CAP_SYS_ADMIN.
func refusedAdvice(level string) string {
	if n, err := strconv.Atoi(level); err == nil && n > 2 {
		return fmt.Sprintf("kernel.perf_event_paranoid is %d, where this kernel requires CAP_SYS_ADMIN for perf events: "+
			"CAP_PERFMON is enough from 2 down", n)
	}
	return "perf events need CAP_PERFMON and, in a container, a seccomp profile that allows perf_event_open"
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// Answers implements ebpf.Responder.
func (*attached) Answers() []model.RequestKind { return []model.RequestKind{model.RequestStacks} }

// Begin implements ebpf.Responder.
func (a *attached) Begin(r model.Request) error {
	events := a.of(r)
	on := 0
	failed := fmt.Errorf("CPU %d is offline", r.CPU)
	for cpu, e := range events {
		if e.fd == away {
			failed = cmp.Or(e.refused, failed)
			continue
		}
		if e.wanted == 0 {
			if err := unix.IoctlSetInt(e.fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
				failed = fmt.Errorf("sample CPU %d: %w", cpu, err)
				continue
			}
		}
		on++
	}
	if on == 0 {
		return failed
	}
	for _, e := range events {
		e.wanted++
	}
	if r.CPU < 0 {
		a.everywhere++
	}
	return nil
}

// End implements ebpf.Responder.
func (a *attached) End(r model.Request) {
	if r.CPU < 0 {
		a.everywhere--
	}
	for cpu, e := range a.of(r) {
		if e.wanted--; e.wanted > 0 || e.fd == away {
			continue
		}
		if err := unix.IoctlSetInt(e.fd, unix.PERF_EVENT_IOC_DISABLE, 0); err != nil {
			a.env.Log.Warn("stop sampling", "cpu", cpu, "error", err)
		}
	}
}

// follow gives up the events of CPUs that have gone offline, which the kernel never enables again, and opens those of
// CPUs that have come online.
func (a *attached) follow(online []int) {
	for _, cpu := range sortedKeys(a.events, cmp.Compare[int32]) {
		e := a.events[cpu]
		if e.fd == away || slices.Contains(online, int(cpu)) {
			continue
		}
		if err := unix.Close(e.fd); err != nil {
			a.env.Log.Warn("close the perf event of an offline CPU", "cpu", cpu, "error", err)
		}
		e.fd = away
	}
	for _, cpu := range online {
		e := a.events[int32(cpu)]
		if e == nil {
			e = &event{fd: away, wanted: a.everywhere}
			a.events[int32(cpu)] = e
		}
		if e.fd == away && e.refused == nil {
			a.reopen(cpu, e)
		}
	}
}

// reopen opens the event of a CPU that has come online.
func (a *attached) reopen(cpu int, e *event) {
	fd, err := a.open(cpu)
	if errors.Is(err, unix.ENODEV) {
		return // it has gone offline again
	}
	if err == nil && e.wanted > 0 {
		if err = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			err = errors.Join(fmt.Errorf("enable a perf event: %w", err), unix.Close(fd))
		}
	}
	if err == nil {
		e.fd = fd
		return
	}
	e.refused = fmt.Errorf("sample CPU %d: %w", cpu, err)
	a.status = append(a.status, ebpf.StatusOf(Name, "CPU "+strconv.Itoa(cpu), err))
	a.env.StatusChanged()
}

// of returns the events that a request concerns.
func (a *attached) of(r model.Request) map[int32]*event {
	if r.CPU < 0 {
		return a.events
	}
	if e := a.events[r.CPU]; e != nil {
		return map[int32]*event{r.CPU: e}
	}
	return nil
}

// decode counts one sample.
func (a *attached) decode(raw []byte, _ *model.Builder) error {
	s, ok := ebpf.Record[stackSample](raw)
	if !ok {
		return fmt.Errorf("stack sample: %d bytes are not a sample", len(raw))
	}
	comm := unsafe.Slice((*byte)(unsafe.Pointer(&s.Comm[0])), len(s.Comm))
	if end := bytes.IndexByte(comm, 0); end >= 0 {
		comm = comm[:end]
	}
	pid := int32(s.Head.Pid)
	t := task{pid: pid, tid: int32(s.Tid), name: string(comm)}
	a.env.NamedProcess(pid, t.name)
	n := max(0, min(int(s.Bytes)/8, Frames))
	a.samples.add(int32(s.Head.Cpu), t, s.Frames[:n], a.env.Symbol)
	return nil
}

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	a.samples.emit(now, interval, b)
	online, err := a.online()
	if err != nil {
		return err
	}
	a.follow(online)
	return nil
}

// Close implements ebpf.Attached.
func (a *attached) Close() error {
	var errs []error
	for _, cpu := range sortedKeys(a.events, cmp.Compare[int32]) {
		if fd := a.events[cpu].fd; fd != away {
			errs = append(errs, unix.Close(fd))
		}
	}
	a.events = nil
	return errors.Join(append(errs, a.loader.Close())...)
}
