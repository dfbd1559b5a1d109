package port

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/guard"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

const (
	probeName = "port"
	// partAttempts are the hooks that begin and end attempts to take a port.
	partAttempts = "attempts"
	// defaultAudit is how often the tracked ports are compared with the
	// kernel's tables.
	defaultAudit = 10 * time.Second
	// confirmAudit is how long after an audit that found a difference the next
	// begins: longer than a task is likely to be kept from its processor between
	// the kernel's table and the hook.
	confirmAudit = time.Second
	// pollAudit is the same where only audits see the closes of UDP sockets.
	pollAudit = time.Second
	// maxStacks bounds the number of distinct user stacks that are kept.
	maxStacks = 16384
	// maxWalks bounds the threads whose stacks are put together at the same time.
	maxWalks = 1024
	// attemptsPerCPU is PORT_SLOTS of port.h.
	attemptsPerCPU = 256 + 64
)

// Probe follows local ports.
type Probe struct {
	// without names parts that are not tried; tests stand in for kernels that
	// refuse them.
	without []string
	// uses are the programs that see uses of UDP ports, useSets unless a test sets them.
	uses []ebpf.Set
}

// useSets are the programs that see uses of UDP ports where port_send does not.
func (p Probe) useSets() []ebpf.Set {
	if p.uses != nil {
		return p.uses
	}
	return ebpf.SocketSets(
		[]string{bpfProgPortUseReceive, bpfProgPortUseSend},
		[]string{bpfProgPortUseReceive4, bpfProgPortUseSend4}, []string{bpfProgPortUseReceive6, bpfProgPortUseSend6},
	)
}

// New returns the probe.
func New() Probe { return Probe{} }

// Name implements ebpf.Probe.
func (Probe) Name() string { return probeName }

// Kinds implements ebpf.Probe.
func (Probe) Kinds() []model.Kind {
	return []model.Kind{
		model.KindPortAcquire, model.KindPortRelease, model.KindPortRest, model.KindPortFail,
		model.KindPortActive, model.KindPortPool, model.KindPortAudit, model.KindPortActivity, model.KindRPCEndpoint,
	}
}

// attached is the running probe.
type attached struct {
	env      *ebpf.Env
	loader   *ebpf.Loader
	status   []model.Probe
	lister   *lister
	tracker  *tracker
	watch    watch
	pools    pools
	programs programs

	// The auditor lists the kernel's tables on a goroutine of its own, because
	// that can take long; requests and listings hold at most one each.
	requests chan struct{}
	listings chan *listing
	stop     context.CancelFunc
	done     guard.Background

	interval  time.Duration
	nextAudit model.Time
	auditing  bool
}

// Attach implements ebpf.Probe.
func (p Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	if err := configure(spec, env); err != nil {
		return nil, err
	}
	loader, err := newLoader(env, spec)
	if err != nil {
		return nil, err
	}
	a := &attached{
		env: env, loader: loader, watch: watch{loader: loader},
		tracker:  newTracker(env),
		pools:    newPools(env.Options.Pools),
		requests: make(chan struct{}, 1),
		listings: make(chan *listing, 1),
		interval: env.Options.AuditInterval,
	}
	if a.interval <= 0 {
		a.interval = defaultAudit
	}
	a.tracker.forget = func(cookie uint64) {
		// Usually its socket has taken it along.
		if err := loader.Map(bpfMapPortSockets).Delete(cookie); err != nil && !errors.Is(err, cebpf.ErrKeyNotExist) {
			env.Log.Debug("forget a socket", "error", err)
		}
	}
	a.tracker.meet = a.pools.meet
	if env.Options.Stacks {
		a.tracker.stacks = newSymbolizer(loader.Map(bpfMapPortStacks))
	}
	// Records from here on wait in the ringbuf until the listing has been taken.
	env.Handle(model.KindPortAcquire, a.tracker.decodeAcquire)
	env.Handle(model.KindPortFail, a.tracker.decodeFail)
	env.Handle(model.KindPortRelease, a.tracker.decodeRelease)
	a.attachParts(&p)
	a.lister = newLister(env, loader)
	first := a.lister.list()
	a.addStatus(a.lister.status(first))
	a.tracker.begin(first)
	a.pools.update(first)
	a.watchUses(first)
	a.programs = newPrograms(a.lister.own)
	a.addStatus(a.programs.listed(first))

	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.done.Go("the listing of ports", func() { a.audit(ctx) })
	a.done.Go("the questions to rpcbind", func() { a.programs.answer(ctx) })
	return a, nil
}

// configure sets what has to be known before loading.
func configure(spec *cebpf.CollectionSpec, env *ebpf.Env) error {
	set := func(name string, value bool) error {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return nil
	}
	// Lockdown in confidentiality mode forbids reading kernel memory by helper.
	probe := features.HaveProgramHelper(cebpf.TracePoint, asm.FnProbeReadKernel) == nil
	if env.Options.Stacks {
		spec.Maps[bpfMapPortStacks].MaxEntries = maxStacks
		spec.Maps[bpfMapPortWalks].MaxEntries = maxWalks
	}
	cpus, err := cebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count the processors: %w", err)
	}
	spec.Maps[bpfMapPortTimers].MaxEntries = uint32(cpus)
	spec.Maps[bpfMapPortAttempts].MaxEntries = uint32(cpus * attemptsPerCPU)
	return errors.Join(
		set(bpfVarPortMayProbe, probe),
		set(bpfVarPortStacksWanted, env.Options.Stacks),
		set(bpfVarPortWithoutCgroup, env.CgroupError != nil),
	)
}

// newLoader creates the maps. Kernels before 6.1 want hash maps of tracing
// programs allocated in advance: then fewer sockets are remembered.
func newLoader(env *ebpf.Env, spec *cebpf.CollectionSpec) (*ebpf.Loader, error) {
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	_, err = loader.Program(bpfProgPortSetState)
	if err == nil || errors.Is(err, context.Canceled) {
		return loader, nil
	}
	if err := loader.Close(); err != nil {
		return nil, err
	}
	sockets := spec.Maps[bpfMapPortSockets]
	sockets.Flags &^= unix.BPF_F_NO_PREALLOC
	sockets.MaxEntries = 1 << 16
	return env.NewLoader(spec)
}

// attachParts attaches the programs, those that see a release before those
// that see an acquisition.
func (a *attached) attachParts(p *Probe) {
	try := func(part string, programs ...string) bool {
		s := model.Probe{Name: probeName, Part: part, Reason: "not tried"}
		if !slices.Contains(p.without, part) {
			s = a.loader.Try(probeName, part, programs...)
		}
		a.addStatus(s)
		return s.State == model.ProbeOn
	}
	try("connections", bpfProgPortSetState)
	sockets := try("sockets", bpfProgPortSockRelease, bpfProgPortSockCreate)
	if try(
		"functions",
		bpfProgPortFnUdpPut,
		bpfProgPortFnTcpPut,
		bpfProgPortFnUdpGet,
		bpfProgPortFnTcpGet,
		bpfProgPortFnConnect4,
		bpfProgPortFnConnect6,
	) {
		if !try(
			"failures",
			bpfProgPortFnBind4,
			bpfProgPortFnBind6,
			bpfProgPortFnListen,
			bpfProgPortFnStreamConnect,
			bpfProgPortFnDgramConnect,
		) {
			a.bySystemCalls("failures", bpfProgPortExitBind, bpfProgPortExitListen, bpfProgPortExitConnect)
		}
		a.addStatus(a.watch.load(p.useSets()))
	} else {
		a.degrade("functions", "fentry is not available: port releases by in-kernel sockets (NFS, SunRPC) show up only at "+
			fmt.Sprintf("the %v s audit; everything else is traced by other means", a.interval.Seconds()))
		a.attachCalls(try, sockets)
		a.attachSend(sockets)
		a.addStatus(a.watch.load([]ebpf.Set{{Programs: []string{bpfProgPortUseReceive}}}))
	}
	if !sockets {
		a.degrade("sockets", "closed UDP sockets show up only at the audit, which therefore runs every second")
		a.interval = min(a.interval, pollAudit)
	}
}

// attachCalls attaches what sees bind, listen and connect where there is no
// fentry. The outcome of attempts that no hook shows is read from their sockets
// (attempt.bpf.h), which takes all of the hooks; without one of them the exits of
// the system calls are watched.
func (a *attached) attachCalls(try func(part string, programs ...string) bool, sockets bool) {
	bind := try("bind", bpfProgPortPostBind4, bpfProgPortPostBind6)
	attempts := sockets && bind && try(
		partAttempts,
		bpfProgPortSockops,
		bpfProgPortGetsockname4,
		bpfProgPortGetsockname6,
		bpfProgPortConnect4,
		bpfProgPortConnect6,
		bpfProgPortBind4,
		bpfProgPortBind6,
	)
	if !attempts {
		a.bySystemCalls("failures", bpfProgPortExitBind, bpfProgPortExitListen)
		a.bySystemCalls("connect", bpfProgPortExitConnect)
		try("tcp", bpfProgPortSockops)
		return
	}
	if err := a.loader.Variable(bpfVarPortByState).Set(true); err != nil {
		a.addStatus(ebpf.StatusOf(probeName, "failures", err))
	}
}

// bySystemCalls attaches exits of system calls for a part whose better hooks
// are refused; the last status says why.
func (a *attached) bySystemCalls(part string, programs ...string) {
	refused := a.status[len(a.status)-1].Reason
	if last := &a.status[len(a.status)-1]; last.Part == part && last.State != model.ProbeOn {
		a.status = a.status[:len(a.status)-1]
	}
	s := a.loader.Try(probeName, part, programs...)
	if s.State == model.ProbeOn {
		s.State = model.ProbeDegraded
		s.Reason = "system call exits are traced, which makes every system call on this host about 30 ns slower"
		if refused != "" {
			s.Reason += ": " + refused
		}
	}
	a.addStatus(s)
}

// attachSend attaches what sees implicit allocation by a send.
func (a *attached) attachSend(sockets bool) {
	s := a.loader.Try(probeName, "send", bpfProgPortSend)
	if s.State != model.ProbeOn && sockets {
		reason := s.Reason
		if s = a.loader.Try(probeName, "send", bpfProgPortSendmsg4, bpfProgPortSendmsg6); s.State == model.ProbeOn {
			s.State = model.ProbeDegraded
			s.Reason = "sends that fail because no port is free are not seen: " + reason
			s.Hint = "Linux 6.3 and later have the tracepoint sock_send_length"
		}
	}
	a.addStatus(s)
}

func (a *attached) addStatus(s model.Probe) { a.status = append(a.status, s) }

// degrade says what the loss of a part means.
func (a *attached) degrade(part, meaning string) {
	for i := range a.status {
		if s := &a.status[i]; s.Part == part {
			s.Reason = meaning + " (" + s.Reason + ")"
		}
	}
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// audit lists the kernel's tables when asked to, until ctx is done.
func (a *attached) audit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.requests:
		}
		l := a.lister.list()
		select {
		case <-ctx.Done():
			return
		case a.listings <- l:
		}
	}
}

// Collect implements ebpf.Attached: it announces what existed at the start,
// ends rests, and compares with the last listing.
func (a *attached) Collect(now model.Time, _ time.Duration, b *model.Builder) error {
	a.done.Rethrow()
	a.tracker.told = now
	a.tracker.announce(now, b)
	a.tracker.expire(now, b)
	a.tracker.tell(now, b)
	select {
	case l := <-a.listings:
		a.auditing = false
		a.pools.update(l)
		differs := a.tracker.reconcile(l, now, b)
		if differs {
			a.nextAudit = now.Add(confirmAudit)
		}
		a.setStatus(a.lister.status(l))
		a.watchUses(l)
		a.setStatus(a.programs.listed(l))
	default:
	}
	a.pools.report(now, b)
	a.setStatus(a.programs.collect(now, a.tracker, b))
	if a.nextAudit == 0 {
		a.nextAudit = now.Add(a.interval)
	}
	if !a.auditing && (now >= a.nextAudit || a.tracker.auditSoon) {
		a.auditing, a.tracker.auditSoon = true, false
		a.nextAudit = now.Add(a.interval)
		a.tracker.auditBegins()
		a.requests <- struct{}{}
	}
	return nil
}

// watchUses begins and ends the watch of UDP ports by what the listing l found.
func (a *attached) watchUses(l *listing) {
	t := a.tracker
	switch crowd := t.crowd(l); {
	case crowd:
		t.crowded = l.end
		if t.watched != 0 {
			return
		}
		on, err := a.watch.start()
		if err != nil {
			a.env.Log.Debug("watch UDP ports", "error", err)
		}
		if on {
			t.watched = a.lister.now()
		}
	case t.watched != 0 && l.end.Sub(t.crowded) >= watchFor:
		a.watch.stop()
		t.watched = 0
	}
}

// setStatus reports when a part begins or ceases to work.
func (a *attached) setStatus(s model.Probe) {
	for i := range a.status {
		if a.status[i].Part == s.Part && a.status[i] != s {
			a.status[i] = s
			a.env.StatusChanged()
		}
	}
}

// Close implements ebpf.Attached.
func (a *attached) Close() error {
	a.stop()
	a.done.Wait()
	// The hooks go one after the other: what passes only some of them is no failure.
	err := a.loader.Variable(bpfVarPortByState).Set(false)
	a.watch.stop()
	return errors.Join(err, a.loader.Close())
}
