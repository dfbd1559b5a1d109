package port

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// hooked is the probe with a function that the engine calls before each
// Collect, on the engine's goroutine.
type hooked struct {
	Probe
	before func(a *attached)
}

type hookedAttached struct {
	*attached
	before func(a *attached)
}

func (h hooked) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	a, err := h.Probe.Attach(env)
	if err != nil {
		return nil, err
	}
	return hookedAttached{a.(*attached), h.before}, nil
}

func (h hookedAttached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	h.before(h.attached)
	return h.attached.Collect(now, interval, b)
}

// count counts the events of a kind that a function accepts.
func count(batches []*model.Batch, accept func(b *model.Batch, e *model.Event) bool) (n int) {
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if accept(b, e) {
			n++
		}
	})
	return n
}

// noLoss checks that nothing was lost and that no audit had to correct anything.
func noLoss(t *testing.T, batches []*model.Batch) {
	t.Helper()
	if err := model.Validate(batches...); err != nil {
		t.Errorf("the stream is not valid: %v", err)
	}
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortAcquire(e); ok && v.How == model.HowAudit {
			t.Errorf("missed before an audit: %+v", v)
		}
		if v, ok := b.PortRelease(e); ok && v.How == model.HowAudit {
			t.Errorf("stale before an audit: %+v", v)
		}
		if l, ok := b.Loss(e); ok {
			t.Errorf("loss: %+v", l)
		}
	})
}

func TestLongPresentAtStart(t *testing.T) {
	w := newWork(t)
	udp, unbound := w.udp(), w.udp()
	w.check("bind", unix.Bind(udp, loop4))
	server, client, conn := w.pair(nil)
	server2, client2, conn2 := w.pair(nil)
	rested := cookieOf(client2)
	restedPort := portOf(client2)
	w.endPair(client2, conn2)

	s := ebpftest.Start(t, ebpf.Options{}, New())
	cookies := map[uint64]string{
		cookieOf(udp):     "udp",
		cookieOf(server):  "server",
		cookieOf(client):  "client",
		cookieOf(conn):    "conn",
		cookieOf(server2): "server2",
	}
	s.WaitFor(
		patience,
		"active event",
		func(b *model.Batch, e *model.Event) bool { return e.Kind == model.KindPortActive },
	)
	s.Intervals(1)
	// A socket from before the start that had no port: its later life must be seen.
	w.check("connect", unix.Connect(unbound, sink4))
	unboundCookie, unboundPort := cookieOf(unbound), portOf(unbound)
	for fd, name := range map[int]string{
		udp: "udp", server: "server", client: "client", conn: "conn", server2: "server2", unbound: "",
	} {
		cookies[cookieOf(fd)] = name
		unix.Close(fd)
	}
	s.Intervals(1)
	active, ended, connected, resting := map[string]model.PortActive{}, map[string]bool{}, false, false
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortActive(e); ok {
			if v.Resting {
				resting = resting || v.LocalPort == restedPort && v.RemotePort != 0
			} else if name := cookies[v.Cookie]; name != "" {
				active[name] = v
			}
		}
		if v, ok := b.PortAcquire(e); ok && v.Cookie == unboundCookie {
			connected = v.How == model.HowConnect && v.LocalPort == unboundPort && v.PID == int32(os.Getpid())
		}
		switch e.Kind {
		case model.KindPortRelease, model.KindPortRest:
			ended[cookies[e.Resource]] = true
		}
		if e.Kind == model.KindPortRelease && e.Resource == rested {
			t.Error("a socket that was closed before the start is released")
		}
	})
	for _, name := range []string{"udp", "server", "client", "conn", "server2"} {
		v, ok := active[name]
		if !ok {
			t.Errorf("%s is not announced", name)
			continue
		}
		want := model.HowPresent
		if name == "conn" {
			want = model.HowAccept
		}
		if v.PID != int32(os.Getpid()) || v.How != want || v.Netns == 0 || v.LocalPort == 0 || v.Process == "" {
			t.Errorf("%s: %+v, want this process and %v", name, v, want)
		}
		if addr, err := netip.ParseAddr(v.LocalAddr); err != nil || addr != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: address %q", name, v.LocalAddr)
		}
		if !ended[name] {
			t.Errorf("%s is not released", name)
		}
	}
	if !connected {
		t.Error("the port that an older socket took is missed")
	}
	if !resting {
		t.Error("a connection in TIME_WAIT is not announced")
	}
}

// TestLeak compares counts with a process that opens sockets and is killed.
func TestLeak(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	w := newWork(t)
	child := w.child("leak", "500")
	child.start()
	facts := child.facts(500)
	s.Intervals(1)
	w.check("kill", child.cmd.Process.Kill())
	_ = child.cmd.Wait()
	s.Intervals(1)
	batches := s.Stop()
	noLoss(t, batches)
	pid := int32(child.cmd.Process.Pid)
	for _, kind := range []model.Kind{model.KindPortAcquire, model.KindPortRelease} {
		n := count(batches, func(_ *model.Batch, e *model.Event) bool { return e.Kind == kind && e.PID == pid })
		if n != len(facts) {
			t.Errorf("%d %v events, want %d", n, kind, len(facts))
		}
	}
}

// TestLongBurst opens and closes 60,000 sockets as fast as four processes can:
// none may be lost, and none be taken for drift.
func TestLongBurst(t *testing.T) {
	const children, each = 4, 15000
	var listed time.Duration
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: 2 * time.Second}, hooked{before: func(a *attached) {
		if a.tracker.held.n >= children*each && listed == 0 {
			began := time.Now()
			a.lister.list()
			listed = time.Since(began)
		}
	}})
	w := newWork(t)
	pids := make(map[int32]bool)
	var flood []*childProcess
	began := time.Now()
	for i := range children {
		child := w.child("flood", strconv.Itoa(i), strconv.Itoa(each))
		w.check("start", child.cmd.Start())
		pids[int32(child.cmd.Process.Pid)] = true
		flood = append(flood, child)
	}
	for _, child := range flood {
		child.ready()
	}
	bound := time.Since(began)
	s.Intervals(6) // audits among them
	began = time.Now()
	for _, child := range flood {
		w.check("kill", child.cmd.Process.Kill())
	}
	for _, child := range flood {
		_ = child.cmd.Wait()
	}
	closed := time.Since(began)
	s.Intervals(1)
	batches := s.Stop()
	noLoss(t, batches)
	for _, kind := range []model.Kind{model.KindPortAcquire, model.KindPortRelease} {
		n := count(batches, func(_ *model.Batch, e *model.Event) bool { return e.Kind == kind && pids[e.PID] })
		if n != children*each {
			t.Errorf("%d %v events, want %d", n, kind, children*each)
		}
	}
	audits := count(batches, func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortAudit(e)
		if ok && v.Missed+v.Stale > 0 {
			t.Errorf("drift: %+v", v)
		}
		return ok && v.Kernel >= children*each
	})
	if audits == 0 {
		t.Error("no audit while the ports were held")
	}
	t.Logf("%d sockets bound in %v, closed in %v, one listing took %v", children*each, bound, closed, listed)
}

// TestLongAuditCorrects takes a port away from the tracker and gives it one that
// does not exist: the audit must find both, and nothing else.
func TestLongAuditCorrects(t *testing.T) {
	w := newWork(t)
	fd := w.udp()
	w.check("bind", unix.Bind(fd, loop4))
	defer unix.Close(fd)
	cookie, port := cookieOf(fd), portOf(fd)
	const fake = 1 << 60
	injected := false
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, hooked{before: func(a *attached) {
		h, ok := a.tracker.held.get(cookie)
		if injected || !ok {
			return
		}
		injected = true
		ghost := h
		ghost.localPort, ghost.since = 1, 1
		a.tracker.held.put(fake, &ghost)
		a.tracker.drop(cookie, &h)
	}})
	s.WaitFor(patience, "release of the ghost", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortRelease(e)
		return ok && v.Cookie == fake && v.How == model.HowAudit
	})
	s.WaitFor(patience, "acquisition of what was missed", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortAcquire(e)
		return ok && v.Cookie == cookie && v.LocalPort == port && v.How == model.HowAudit && v.PID == int32(os.Getpid())
	})
	s.Intervals(2)
	var missed, stale uint64
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortAudit(e); ok {
			missed, stale = missed+v.Missed, stale+v.Stale
		}
	})
	if missed != 1 || stale != 1 {
		t.Errorf("the audits missed %d and held %d too many, want 1 and 1", missed, stale)
	}
}

// TestLongAuditUnderChurn audits while ports come and go: no drift may be found.
func TestLongAuditUnderChurn(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	w := newWork(t)
	stop := time.Now().Add(5 * time.Second)
	server := w.listener()
	for time.Now().Before(stop) {
		for range 50 {
			fd := w.udp()
			w.check("connect", unix.Connect(fd, sink4))
			unix.Close(fd)
		}
		client := w.tcp()
		w.check("connect", unix.Connect(client, at4(int(portOf(server)))))
		conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
		w.check("accept", err)
		unix.Close(client)
		unix.Close(conn)
	}
	unix.Close(server)
	batches := s.Stop()
	noLoss(t, batches)
	audits := 0
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortAudit(e); ok {
			audits++
			if v.Missed+v.Stale > 0 {
				t.Errorf("drift: %+v", v)
			}
		}
	})
	if audits < 3 {
		t.Errorf("%d audits, want at least 3", audits)
	}
}

// TestOwnerDies passes a socket on: the audit names the heir once its creator
// has ended.
func TestOwnerDies(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	w := newWork(t)
	child := w.child("heir")
	child.start()
	facts := child.facts(1)
	heir := child.facts(1)[0].PID
	_ = child.cmd.Wait()
	s.WaitFor(patience, "new owner", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortActive(e)
		return ok && v.Cookie == facts[0].Cookie && int(v.PID) == heir
	})
	p, err := os.FindProcess(heir)
	w.check("find the heir", err)
	w.check("kill the heir", p.Kill())
	s.WaitFor(patience, "release", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortRelease(e)
		return ok && v.Cookie == facts[0].Cookie && int(v.PID) == heir
	})
}

func TestPools(t *testing.T) {
	s := ebpftest.Start(
		t,
		ebpf.Options{Pools: []ebpf.Pool{{Name: "rpc", Protocol: model.ProtocolUDP, Low: 5000, High: 5100}}},
		New(),
	)
	low, high, err := readPortRange("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	want := map[model.PoolSource]bool{}
	s.WaitFor(patience, "pools", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortPool(e)
		switch {
		case !ok:
		case v.Source == model.PoolConfigured && v.Name == "rpc" && v.Size == 101 && v.Netns == 0:
			want[v.Source] = true
		case v.Source == model.PoolEphemeral && v.Low == low && v.High == high && v.Netns != 0:
			want[v.Source] = true
		}
		return len(want) == 2
	})
}

// bare is the probe on a host without cgroup2.
type bare struct{ Probe }

func (p bare) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	env.CgroupRoot, env.CgroupError = "", errors.New("no cgroup2 here")
	return p.Probe.Attach(env)
}

// TestLongWithoutCgroup checks that what the cgroup hooks would see is found by
// the tracepoints and the audit.
func TestLongWithoutCgroup(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, bare{Probe{without: []string{"functions"}}})
	w := newWork(t)
	udp, connected, sent, listening := w.udp(), w.udp(), w.udp(), w.tcp()
	w.check("bind", unix.Bind(udp, any4))
	w.check("connect", unix.Connect(connected, sink4))
	w.check("sendto", unix.Sendto(sent, []byte("x"), 0, sink4))
	w.check("listen", unix.Listen(listening, 1))
	ports := make(map[uint16]uint64)
	for _, fd := range []int{udp, connected, sent, listening} {
		ports[portOf(fd)] = 0
	}
	s.WaitFor(patience, "all acquisitions", func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.PortAcquire(e); ok && int(v.PID) == w.pid {
			if _, ok := ports[v.LocalPort]; ok {
				ports[v.LocalPort] = v.Cookie
			}
		}
		for _, cookie := range ports {
			if cookie == 0 {
				return false
			}
		}
		return true
	})
	for _, fd := range []int{udp, connected, sent, listening} {
		unix.Close(fd)
	}
	released := make(map[uint64]bool)
	s.WaitFor(patience, "all releases", func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.PortRelease(e); ok {
			for _, cookie := range ports {
				if cookie == v.Cookie {
					released[cookie] = true
				}
			}
		}
		return len(released) == len(ports)
	})
	degraded := count(s.Stop(), func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		return ok && p.Part == "sockets" && p.State == model.ProbeOff && p.Reason != ""
	})
	if degraded == 0 {
		t.Error("the loss of the cgroup hooks is not told")
	}
}

// TestLongNamedNamespace holds a port in a namespace of its own from before the
// start, and lets the namespace vanish.
func TestLongNamedNamespace(t *testing.T) {
	w := newWork(t)
	child := w.child("namespace")
	child.start()
	held := child.facts(1)[0]
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	var netns int64
	s.WaitFor(patience, "port in the other namespace", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortActive(e)
		netns = v.Netns
		return ok && v.Cookie == held.Cookie && int(v.PID) == held.PID && v.LocalPort == held.Port
	})
	s.WaitFor(patience, "pool of the other namespace", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortPool(e)
		return ok && v.Netns == netns && v.Source == model.PoolEphemeral
	})
	s.WaitFor(patience, "audit of the other namespace", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortAudit(e)
		return ok && v.Netns == netns && v.Kernel == 1 && v.Tracked == 1 && v.Missed+v.Stale == 0
	})
	w.check("kill", child.cmd.Process.Kill())
	_ = child.cmd.Wait()
	s.WaitFor(patience, "release", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortRelease(e)
		return ok && v.Cookie == held.Cookie && v.How == model.HowClose
	})
	s.Intervals(3)
	if n := count(s.Stop(), func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		return ok && p.Part == "listing" && p.State != model.ProbeOn
	}); n > 0 {
		t.Error("a namespace that vanished is reported as a fault of the listing")
	}
}

// TestLongMPTCP listens on a socket whose port a subflow of the kernel's holds.
func TestLongMPTCP(t *testing.T) {
	const protocol = 262 // IPPROTO_MPTCP
	older, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Skipf("no MPTCP: %v", err)
	}
	w := newWork(t)
	w.check("bind", unix.Bind(older, loop4))
	w.check("listen", unix.Listen(older, 1))
	s := ebpftest.Start(t, ebpf.Options{}, New())
	younger, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	w.check("socket", err)
	w.check("bind", unix.Bind(younger, loop4))
	w.check("listen", unix.Listen(younger, 1))
	olderPort, youngerPort := portOf(older), portOf(younger)
	s.Intervals(1)
	unix.Close(older)
	unix.Close(younger)
	s.Intervals(1)
	got := make(map[uint16]string)
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortActive(e); ok && int(v.PID) == w.pid {
			got[v.LocalPort] += "active "
		}
		if v, ok := b.PortAcquire(e); ok && int(v.PID) == w.pid {
			got[v.LocalPort] += "acquire "
		}
		if v, ok := b.PortRelease(e); ok && int(v.PID) == w.pid {
			got[v.LocalPort] += "release "
		}
	})
	if got[olderPort] != "active release " {
		t.Errorf("a listener from before the start: %q", got[olderPort])
	}
	if got[youngerPort] != "acquire release " {
		t.Errorf("a new listener: %q", got[youngerPort])
	}
}
