package etw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/source"
)

// livePoll is how often records that are old enough are decoded.
const livePoll = 50 * time.Millisecond

// Live is the running Windows as a source of events.
type Live struct {
	options LiveOptions
	api     api
}

// NewLive checks that this Windows can be traced. The error carries a hint.
func NewLive(o LiveOptions) (*Live, error) {
	if v := windows.RtlGetVersion(); v.MajorVersion < 10 || v.BuildNumber < MinimumBuild {
		return nil, hint.New(
			fmt.Sprintf("Windows %d.%d build %d is too old for live tracing", v.MajorVersion, v.MinorVersion, v.BuildNumber),
			"it needs Windows 10 1809, Server 2019 or later; captures open on any Windows: lostbeat replay FILE",
		)
	}
	l := &Live{options: o, api: systemAPI()}
	return l, l.api.check()
}

// liveRun is one Run.
type liveRun struct {
	options  LiveOptions
	api      api
	out      model.Builder
	decoder  *Decoder
	merger   *Merger
	live     LiveDecoder
	clock    *qpc
	sessions []*session
	// enabled are the classes whose events come.
	enabled map[GUID]bool
	// poll reads what Windows counts, pools are the ranges of ports of the system's choice, rpc are those of RPC.
	poll  poll
	pools []model.PortPool
	rpc   rpcPorts
	// present are the sockets that were there at the start, compared when their tables were read again last.
	present  present
	compared model.Time
	// status are the probe events about the sessions, reasons why something is not on.
	status  []model.Probe
	reasons []error
}

// Run implements source.Source: it starts the sessions, emits until ctx is done, and stops them.
func (l *Live) Run(ctx context.Context, emit source.Emit) (err error) {
	clock, err := newQPC()
	if err != nil {
		return err
	}
	r := &liveRun{
		options: l.options, api: l.api, clock: clock, enabled: make(map[GUID]bool), merger: NewMerger(l.options.Memory),
		poll: poll{failed: make(map[string]bool)},
	}
	var probes []Probe
	if l.options.Probes != nil {
		probes = l.options.Probes()
	}
	st := NewLiveState()
	r.options.SkipRaw = true
	r.decoder = NewDecoder(r.options.Options, clock.Clock, st, &r.out, probes...)
	r.live = LiveDecoder{Decoder: r.decoder, Merger: r.merger, Emit: emit, EverySecond: r.second}
	// Sessions outlive their process: they are stopped whatever happens here.
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(); err != nil {
		return err
	}
	learnProcesses(st)
	st.Pooled = true
	r.pools = dynamicPools()
	r.poll.second(clock.Start, &r.out)
	if err := learnModules(st); err != nil {
		r.report("modules", model.ProbeDegraded, fmt.Errorf("list the drivers: %w", err))
	}
	if err := r.introduce(probes, emit); err != nil {
		return err
	}
	ticker := time.NewTicker(livePoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(r.stop(), r.live.End(r.clock.now()))
		case <-ticker.C:
		}
		if err := r.live.Step(r.clock.now()); err != nil {
			return err
		}
		for _, s := range r.sessions {
			if fault := s.consumer.fault.Load(); fault != nil {
				return fault
			}
		}
	}
}

// start starts the sessions and enables the providers. It fails when there is nothing to be seen.
func (r *liveRun) start() error {
	if r.options.CountersOnly {
		r.status = append(r.status, model.Probe{
			Name: "etw", State: model.ProbeOff, Reason: "only counters are read (--probe counters)",
			Hint: "run without --probe counters, from an elevated prompt",
		})
		return nil
	}
	if names := stopStale(&r.api); len(names) > 0 {
		r.status = append(r.status, model.Probe{
			Name: "etw", Part: "stale", State: model.ProbeOn,
			Reason: "stopped sessions left behind by an earlier lostbeat: " + strings.Join(names, ", "),
		})
	}
	system, user := r.merger.Stream(), r.merger.Stream()
	flags := uint32(kernelProcess | kernelThread | kernelImageLoad | kernelDPC | kernelInterrupt)
	if r.options.ContextSwitches {
		flags |= kernelCSwitch
	}
	if s := r.session("system", flags, system); s != nil {
		for _, class := range kernelClasses {
			r.enabled[class] = true
		}
	}
	if s := r.session("user", 0, user); s != nil {
		for _, p := range userProviders {
			if err := s.enable(p, r.decoder.decodedIDs(p.guid)); err != nil {
				r.report(p.name, model.ProbeDegraded, err)
				continue
			}
			r.enabled[p.guid] = true
		}
	}
	if len(r.enabled) == 0 {
		return errors.Join(r.reasons...)
	}
	return nil
}

// session starts a session, or notes why it does not run.
func (r *liveRun) session(kind string, flags uint32, stream *Stream) *session {
	c := &consumer{stream: stream, since: r.clock.Origin}
	if r.options.Buffers != nil {
		c.buffers = r.options.Buffers()
	}
	s, err := startSession(&r.api, kind, flags, c)
	if err != nil {
		r.report(kind+" session", model.ProbeOff, err)
		return nil
	}
	r.sessions = append(r.sessions, s)
	state := model.Probe{Name: "etw", Part: s.kind, State: model.ProbeOn}
	if s.single != nil {
		state.State, state.Reason = model.ProbeDegraded, s.single.Error()+"; its records are read one by one"
		state.Hint = "run without --raw-buffers: it needs Windows 11 22H2 or Server 2022"
	}
	r.status = append(r.status, state)
	return s
}

// report notes what does not work, and why.
func (r *liveRun) report(part string, state model.ProbeState, err error) {
	r.reasons = append(r.reasons, err)
	r.status = append(r.status, model.Probe{
		Name: "etw", Part: part, State: state, Reason: err.Error(), Hint: hint.Of(err),
	})
}

// introduce emits the batch that describes the stream.
func (r *liveRun) introduce(probes []Probe, emit source.Emit) error {
	t := r.clock.Start
	v := windows.RtlGetVersion()
	name, _ := os.Hostname()
	for _, m := range [][2]string{
		{"host", name},
		{"os", "windows"},
		{"tool", cmp.Or(r.options.Tool, "lostbeat")},
		{"kernel", fmt.Sprintf("%d.%d build %d", v.MajorVersion, v.MinorVersion, v.BuildNumber)},
		{"arch", runtime.GOARCH},
		{"cpus", strconv.Itoa(processors())},
		{"source", "live"},
		{"start_wall", t.String()},
	} {
		if m[1] != "" {
			r.out.AddMeta(model.Meta{Time: t, Key: m[0], Value: m[1]})
		}
	}
	r.out.AddClock(r.clock.reading(t))
	for _, s := range r.status {
		s.Time = t
		r.out.AddProbe(s)
	}
	asked := func(k Key) bool { return traceable(k) && (k != contextSwitch || r.options.ContextSwitches) }
	states := liveStates{
		possible: r.decoder.available(traceable),
		wanted:   r.decoder.available(asked),
		enabled:  r.decoder.available(func(k Key) bool { return asked(k) && r.enabled[k.Class] }),
	}
	if len(r.reasons) > 0 {
		states.reason, states.hint = r.reasons[0].Error(), hint.Of(r.reasons[0])
	}
	for _, p := range probes {
		for _, s := range states.of(p) {
			s.Time = t
			r.out.AddProbe(s)
		}
	}
	for _, pool := range r.pools {
		pool.Time = t
		r.out.AddPortPool(pool)
	}
	r.followRPC(t)
	r.poll.addEndpoints(t, &r.out)
	r.poll.addAdapters(t, &r.out)
	r.begin(t)
	return emit(r.out.Take())
}

// tableInterval is how often the tables of sockets and the registry are read.
const tableInterval = 5 * time.Second

// followRPC adds the configuration of the ports of RPC when it has changed, and says what is wrong with it.
func (r *liveRun) followRPC(t model.Time) {
	wrong, err := r.rpc.follow(t, &r.out)
	if err != nil {
		r.poll.said("RPC ports", err, t, &r.out)
	}
	if wrong != nil {
		r.out.AddProbe(model.Probe{
			Time: t, Name: "port", Part: "RPC ports", State: model.ProbeDegraded, Reason: wrong.Error(),
			Hint: "until it is corrected or deleted, RPC servers that let Windows choose their port fail to start " +
				"(the page 'Configuring the registry for port allocations' has the rules)",
		})
	}
}

// begin adds the sockets that are there, if events report the others.
func (r *liveRun) begin(t model.Time) {
	r.compared = t
	r.present.polled = r.options.CountersOnly
	if !r.present.polled && (!r.enabled[ProviderAFD] || len(r.decoder.decodedIDs(ProviderAFD)) == 0) {
		return
	}
	r.present.process = r.decoder.Process
	if sockets, ok := r.tables(t); ok {
		r.present.begin(t, sockets, &r.out)
	}
}

// tables reads the tables of sockets.
func (r *liveRun) tables(t model.Time) (sockets []tableSocket, ok bool) {
	sockets, err := readTables()
	if err != nil {
		r.poll.said("sockets", err, t, &r.out)
		return nil, false
	}
	if r.present.polled { // no events say which processes start and end
		names := make(map[int32]string)
		runningProcesses(func(pid, _ int32, name string) { names[pid] = name })
		r.present.process = func(pid int32, _ model.Time) string { return names[pid] }
	}
	r.out.AddReading(model.Reading{
		Time: t, Name: model.ReadingSocketTables, Value: float64(len(sockets)), Unit: "sockets",
		Detail: "GetExtendedUdpTable, GetExtendedTcpTable",
	})
	return sockets, true
}

// compare reads the registry and the tables again, when it is time, and adds what has changed.
func (r *liveRun) compare(t model.Time) {
	if t.Sub(r.compared) < tableInterval {
		return
	}
	r.compared = t
	r.followRPC(t)
	if r.present.cookies == nil {
		return
	}
	if sockets, ok := r.tables(t); ok {
		r.present.compare(t, sockets, &r.out)
	}
}

// second adds the reading of the clocks and the losses of a second.
func (r *liveRun) second(t model.Time) {
	r.out.AddClock(r.clock.reading(t))
	r.poll.second(t, &r.out)
	r.compare(t)
	for _, s := range r.sessions {
		r.lose(s, t)
	}
}

// lose reports what a session has lost, and that it has ended by itself.
func (r *liveRun) lose(s *session, t model.Time) {
	if s.ended {
		return
	}
	events, buffers, err := s.losses()
	select {
	case <-s.done: // it was not stopped by us
		err = cmp.Or(s.err, err, fail("read the session "+s.name, errorInstanceNotFound))
		s.ended = true
	default:
	}
	if err != nil {
		state := model.Probe{
			Time: t, Name: "etw", Part: s.kind, State: model.ProbeDegraded, Reason: err.Error(), Hint: hint.Of(err),
		}
		if codeOf(err) == errorInstanceNotFound {
			s.ended = true
		}
		if s.ended {
			state.State = model.ProbeOff
		}
		if s.ended || s.failing != state.Reason {
			r.out.AddProbe(state)
		}
		s.failing = state.Reason
		return
	}
	if s.failing != "" {
		s.failing = ""
		r.out.AddProbe(model.Probe{Time: t, Name: "etw", Part: s.kind, State: model.ProbeOn})
	}
	r.lost(s, t, events, buffers)
}

// lost adds what a session has lost until time t, which the stream may not have reached yet.
func (r *liveRun) lost(s *session, t model.Time, events, buffers uint64) {
	full := " that the " + s.kind + " lost: its buffers were full"
	for _, loss := range [...]struct {
		n              uint64
		origin, detail string
	}{
		{events, "etw", "events" + full},
		{buffers, "etw-buffer", "buffers" + full},
		{s.damage(), "etw-buffer", "parts of buffers of the " + s.kind + " that could not be read"},
	} {
		if loss.n > 0 {
			r.live.Lose(model.Loss{
				Time: t, Dur: source.Interval, CPU: -1, Lost: loss.n, Origin: loss.origin, Detail: loss.detail,
			})
		}
	}
}

// stop stops the sessions. What they lost until then is reported.
func (r *liveRun) stop() error {
	var errs []error
	for _, s := range r.sessions {
		events, buffers, err := s.stop()
		errs = append(errs, err)
		t := r.clock.Time(r.clock.now())
		r.lost(s, t, events, buffers)
		if fault := s.consumer.fault.Load(); fault != nil {
			errs = append(errs, fault)
		}
	}
	r.sessions = nil
	return errors.Join(errs...)
}

// processors returns the number of processors of all groups.
func processors() int {
	const allGroups = 0xffff
	if n := windows.GetActiveProcessorCount(allGroups); n > 0 {
		return int(n)
	}
	return runtime.NumCPU()
}

// qpc is the performance counter, with the time at its origin.
type qpc struct {
	Clock
	counter *windows.LazyProc
}

// newQPC reads both clocks, of some readings that which was interrupted least.
func newQPC() (*qpc, error) {
	kernel := windows.NewLazySystemDLL("kernel32.dll")
	q := &qpc{counter: kernel.NewProc("QueryPerformanceCounter")}
	var frequency int64
	if r, _, err := kernel.NewProc("QueryPerformanceFrequency").Call(uintptr(unsafe.Pointer(&frequency))); r == 0 {
		return nil, fmt.Errorf("read the frequency of the performance counter: %w", err)
	}
	q.Type, q.Frequency = ClockQPC, uint64(frequency)
	q.Origin, q.Start, _ = q.bracket()
	return q, nil
}

// bracket reads the counter and the wall clock, with the width of the bracket in ticks.
func (q *qpc) bracket() (ticks uint64, wall model.Time, width uint64) {
	width = ^uint64(0)
	for range 5 {
		before := q.now()
		var ft windows.Filetime
		windows.GetSystemTimePreciseAsFileTime(&ft)
		after := q.now()
		if after-before < width {
			width = after - before
			ticks, wall = before+width/2, model.Time(ft.Nanoseconds())
		}
	}
	return ticks, wall, width
}

// now reads the counter.
func (q *qpc) now() uint64 {
	var n int64
	_, _, _ = syscall.SyscallN(q.counter.Addr(), uintptr(unsafe.Pointer(&n)))
	return uint64(n)
}

// reading returns a clock event at time t of the stream.
func (q *qpc) reading(t model.Time) model.Clock {
	ticks, wall, width := q.bracket()
	at := q.Time(ticks)
	boot := windows.DurationSinceBoot()
	return model.Clock{
		Time: t, Boot: boot - at.Sub(t), Wall: wall.Add(-at.Sub(t)), Bracket: time.Duration(q.nanoseconds(width)),
	}
}

// learnProcesses notes the processes that run.
func learnProcesses(st *State) {
	runningProcesses(func(pid, parent int32, name string) { st.LearnProcess(pid, parent, name) })
}

// runningProcesses calls each for every process that runs.
func runningProcesses(each func(pid, parent int32, name string)) {
	list, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return // names come with the rundown, too
	}
	defer func() { _ = windows.CloseHandle(list) }()
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err := windows.Process32First(list, &entry); err == nil; err = windows.Process32Next(list, &entry) {
		each(int32(entry.ProcessID), int32(entry.ParentProcessID), windows.UTF16ToString(entry.ExeFile[:]))
	}
}

// learnModules notes the images of the kernel. Windows hides their addresses from those who may not see them.
func learnModules(st *State) error {
	buffer := make([]byte, 64<<10)
	for {
		var need uint32
		err := windows.NtQuerySystemInformation(
			windows.SystemModuleInformation, unsafe.Pointer(&buffer[0]), uint32(len(buffer)), &need,
		)
		if errors.Is(err, windows.STATUS_INFO_LENGTH_MISMATCH) && len(buffer) < 16<<20 {
			buffer = make([]byte, max(2*len(buffer), int(need)))
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	list := (*windows.RTL_PROCESS_MODULES)(unsafe.Pointer(&buffer[0]))
	room := (len(buffer) - int(unsafe.Offsetof(list.Modules))) / int(unsafe.Sizeof(list.Modules[0]))
	for _, m := range unsafe.Slice(&list.Modules[0], min(int(list.NumberOfModules), room)) {
		if m.ImageBase != 0 {
			st.LearnImage(uint64(m.ImageBase), uint64(m.ImageSize), windows.ByteSliceToString(m.FullPathName[:]))
		}
	}
	return nil
}

// decodedIDs returns the ids of a provider's events that have a handler, in order.
func (d *Decoder) decodedIDs(provider GUID) (ids []uint16) {
	for k := range d.handlers {
		if k.Class == provider && !k.Classic {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// available returns a census of the kinds of events that can come: what probes say of themselves follows from it.
func (d *Decoder) available(enabled func(Key) bool) Census {
	c := Census{}
	for k := range d.handlers {
		if enabled(k) {
			c[k] = 1
		}
	}
	return c
}
