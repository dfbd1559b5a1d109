package port

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// TestTellUse compares what is told with the uses that a listing shows, at 250
// jiffies to the second.
func TestTellUse(t *testing.T) {
	const jiffies = 250
	const watchEnds = 90 // second
	at := func(seconds int) model.Time { return model.Time(1e6+seconds) * model.Time(time.Second) }
	// look is a listing at a second after the start, in which the socket was last
	// used at another, -1 never.
	type look struct {
		at, used int
	}
	tcpConnection := func(s *openSocket) { s.protocol, s.state, s.remotePort = model.ProtocolTCP, 1, 90 }
	for _, c := range []struct {
		name    string
		socket  func(s *openSocket)
		taken   int // second at which it was taken, 0 it was there at the start
		watched int // second from which UDP is watched, 0 never
		looks   []look
		want    []string
	}{
		{"UDP that is not watched", nil, 0, 0, []look{{5, -1}, {20, 19}}, nil},
		{
			"UDP that is never used", nil, 0, 5, []look{{4, -1}, {14, -1}, {24, -1}, {34, -1}},
			[]string{"14 in_use", "24 idle 19s at least"},
		},
		{
			"UDP that is never used, taken within sight", nil, 6, 5, []look{{14, -1}, {24, -1}, {34, -1}},
			[]string{"24 idle 18s"},
		},
		{"UDP that was last used before it was watched", nil, 2, 5, []look{{4, 3}, {24, 3}}, []string{"24 idle 19s at " +
			"least"}},
		{"UDP that is watched for a while", nil, 2, 5, []look{{4, 3}, {24, 3}, {99, 3}}, []string{"24 idle 19s at " +
			"least", "99 unknown"}},
		{"UDP in constant use", nil, 2, 5, []look{{6, 6}, {14, 14}, {24, 24}, {34, 33}}, []string{"14 in_use"}},
		{
			"UDP that goes idle and is used again", nil, 2, 3, []look{{14, 14}, {24, 14}, {34, 14}, {44, 40}, {54, 40}},
			[]string{"14 in_use", "34 idle 19s", "44 in_use", "54 idle 13s"},
		},
		{
			"idle again between two listings", nil, 2, 3, []look{{4, -1}, {24, 6}, {64, 46}},
			[]string{"24 idle 17s", "64 idle 17s"},
		},
		{
			"a connection from before the start", tcpConnection, 0, 0, []look{{4, 1}, {14, 1}, {24, 24}},
			[]string{"4 in_use", "14 idle 13s", "24 in_use"},
		},
		{
			"a connection that the peer has closed",
			func(s *openSocket) { tcpConnection(s); s.state = tcpCloseWait },
			0, 0, []look{{4, 1}, {14, 1}}, []string{"4 in_use", "14 peer_closed 13s"},
		},
		{
			"a listener without connections", func(s *openSocket) { s.protocol, s.state = model.ProtocolTCP, tcpListen },
			0, 0, []look{{4, -1}, {14, -1}}, []string{"4 in_use", "14 idle 13s at least"},
		},
		{"what no process has open", func(s *openSocket) { s.now = 0 }, 0, 5, []look{{4, -1}, {24, -1}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTestTracker()
			socket := openSocket{cookie: 1, localPort: 80, protocol: model.ProtocolUDP, pid: 7}
			list := func(seconds, used int) *listing {
				s := socket
				if s.now = uint32(seconds * jiffies); used >= 0 {
					s.used = uint32(used*jiffies) | 1
				}
				if c.socket != nil {
					c.socket(&s)
				}
				now := at(seconds)
				return &listing{begin: now, end: now, sockets: socketsOf(s), namespaces: []namespace{{complete: true}},
					jiffies: uint32(seconds * jiffies), jiffiesAt: time.Duration(seconds) * time.Second}
			}
			first := list(1, -1)
			if c.taken != 0 {
				first.sockets = socketTable{}
			}
			tr.begin(first)
			var b model.Builder
			tr.announce(at(2), &b)
			if c.taken != 0 {
				h := socket.holding()
				h.since = at(c.taken)
				tr.hold(1, h)
				tr.emitAcquire(1, h, h.since, -1, nil, &b)
			}
			var got []string
			for _, look := range c.looks {
				tr.watched = 0
				if c.watched != 0 && look.at >= c.watched && look.at < watchEnds {
					tr.watched = at(c.watched)
				}
				tr.reconcile(list(look.at, look.used), at(look.at), &b)
			}
			batch := b.Take()
			if err := model.Validate(batch); err != nil {
				t.Errorf("not valid: %v", err)
			}
			ebpftest.Each([]*model.Batch{batch}, func(b *model.Batch, e *model.Event) {
				v, ok := b.PortActivity(e)
				if !ok {
					return
				}
				s := fmt.Sprintf("%d %v", v.Time.Sub(at(0))/time.Second, v.Activity)
				if v.Dur != 0 {
					s += fmt.Sprintf(" %v", v.Dur.Round(time.Second))
				}
				if v.AtLeast {
					s += " at least"
				}
				got = append(got, s)
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestCrowd(t *testing.T) {
	const now = model.Time(1000 * time.Second)
	for _, c := range []struct {
		name   string
		change func(i int, s *openSocket, h *holding)
		want   bool
	}{
		{"old enough", nil, true},
		{"one is younger", func(i int, _ *openSocket, h *holding) {
			if i == 3 {
				h.since = now - model.Time(time.Second)
			}
		}, false},
		{"from before the start", func(_ int, _ *openSocket, h *holding) { h.since = 0 }, true},
		{"of two processes", func(i int, s *openSocket, _ *holding) { s.pid += int32(i % 2) }, false},
		{"connections", func(_ int, s *openSocket, _ *holding) { s.protocol = model.ProtocolTCP }, false},
		{"of no process", func(_ int, s *openSocket, _ *holding) { s.pid = -1 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTestTracker()
			var sockets []openSocket
			for i := range watchedPorts {
				s := openSocket{cookie: uint64(i + 1), localPort: uint16(i + 1), protocol: model.ProtocolUDP, pid: 7}
				h := s.holding()
				h.since = now - model.Time(watchedAge)
				if c.change != nil {
					c.change(i, &s, h)
				}
				tr.hold(s.cookie, h)
				sockets = append(sockets, s)
			}
			if got := tr.crowd(&listing{begin: now, sockets: socketsOf(sockets...)}); got != c.want {
				t.Errorf("worth watching: %v, want %v", got, c.want)
			}
		})
	}
}

func TestJiffyClock(t *testing.T) {
	var c jiffyClock
	const start = 1<<32 - 600 // wraps on the way
	for i := range 5 {
		c.sample(uint32(start+i*250), time.Duration(i)*time.Second)
		want := 4 * time.Millisecond
		if i < 2 {
			want = 0
		}
		if c.length != want {
			t.Errorf("after %d s: a jiffy of %v, want %v", i, c.length, want)
		}
	}
}

// usedSocket is a socket whose uses the test knows.
type usedSocket struct {
	name string
	fd   int
	// use uses it once; nil never.
	use func()
	// until is for how long it is used, 0 until the end.
	until time.Duration
	// before and after enclose the last use.
	before, after model.Time
	// told is what the stream says last of it, inUse that it once said in use.
	told  model.PortActivity
	inUse bool
}

// TestLongActivity compares the idle times of ports with the uses that it makes.
func TestLongActivity(t *testing.T) {
	w := newWork(t)
	now := func() model.Time { return model.Time(time.Now().UnixNano()) }
	var sockets []*usedSocket
	add := func(name string, fd int, until time.Duration, use func()) {
		sockets = append(sockets, &usedSocket{name: name, fd: fd, use: use, until: until, before: now(), after: now()})
		t.Cleanup(func() { unix.Close(fd) })
	}
	bound := func() int {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, loop4))
		return fd
	}
	send := func(from, to int) func() {
		return func() { w.check("send", unix.Sendto(from, []byte("x"), 0, at4(int(portOf(to))))) }
	}
	write := func(fd int) func() {
		return func() { _, err := unix.Write(fd, []byte("x")); w.check("write", err) }
	}
	var buffer [16]byte
	sink := bound()
	t.Cleanup(func() { unix.Close(sink) })
	receive := func(fd int) func() {
		// What is lost on the way fails the test; it must not hang.
		w.check("timeout", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
		return func() {
			send(sink, fd)()
			_, _, err := unix.Recvfrom(fd, buffer[:], 0)
			w.check("receive", err)
		}
	}
	const while = 12 * time.Second // longer than it takes until UDP is watched
	fd := bound()
	add("udp sends, bound", fd, while, send(fd, sink))
	fd = w.udp()
	send(fd, sink)()
	add("udp sends, port taken implicitly", fd, while, send(fd, sink))
	fd = w.udp()
	w.check("connect", unix.Connect(fd, at4(int(portOf(sink)))))
	add("udp sends for ever", fd, 0, write(fd))
	fd = bound()
	add("udp receives", fd, while, receive(fd))
	fd = bound()
	add("udp receives for ever", fd, 0, receive(fd))
	for range watchedPorts {
		add("udp, never used", bound(), 0, nil)
	}
	server, client, conn := w.pair(nil)
	add("connection sends", client, while, write(client))
	t.Cleanup(func() { unix.Close(conn) })
	add("listener", server, 0, nil)
	server, client2, conn2 := w.pair(nil)
	unix.Close(server)
	t.Cleanup(func() { unix.Close(conn2) })
	add("connection receives", client2, while, func() {
		write(conn2)()
		_, err := unix.Read(client2, buffer[:])
		w.check("read", err)
	})

	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	server = w.listener()
	add("listener that accepts", server, while, func() {
		client := w.tcp()
		w.check("connect", unix.Connect(client, at4(int(portOf(server)))))
		conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
		w.check("accept", err)
		unix.Close(client)
		unix.Close(conn)
	})
	add("listener that accepts for ever", w.listener(), 0, nil)
	last := sockets[len(sockets)-1]
	last.use = func() {
		client := w.tcp()
		w.check("connect", unix.Connect(client, at4(int(portOf(last.fd)))))
		conn, _, err := unix.Accept4(last.fd, unix.SOCK_CLOEXEC)
		w.check("accept", err)
		unix.Close(client)
		unix.Close(conn)
	}
	// Uses go on for a while, then long enough for idle ports to be told of.
	for began := time.Now(); time.Since(began) < while+18*time.Second; s.Intervals(1) {
		for _, u := range sockets {
			if u.use != nil && (u.until == 0 || time.Since(began) < u.until) {
				u.before = now()
				u.use()
				u.after = now()
			}
		}
	}
	batches := s.Stop()
	noLoss(t, batches)
	byCookie := make(map[uint64]*usedSocket)
	for _, u := range sockets {
		byCookie[cookieOf(u.fd)] = u
	}
	var watched bool
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if p, ok := b.Probe(e); ok && p.Part == "activity" {
			watched = p.State == model.ProbeOn
		}
		v, ok := b.PortActivity(e)
		u := byCookie[v.Cookie]
		if !ok || u == nil {
			return
		}
		if v.PID != int32(os.Getpid()) || v.LocalPort != portOf(u.fd) || v.Protocol != protocolOf(u.fd) {
			t.Errorf("%s: %+v is not told of this process and port %d", u.name, v, portOf(u.fd))
		}
		u.told, u.inUse = v, u.inUse || v.Activity == model.ActivityInUse
	})
	for _, u := range sockets {
		v := u.told
		if protocolOf(u.fd) == model.ProtocolUDP && !watched {
			if v.Activity != model.ActivityUnknown {
				t.Errorf("%s: %+v without a watch", u.name, v)
			}
			continue
		}
		if u.use != nil && u.until == 0 {
			if v.Activity != model.ActivityInUse {
				t.Errorf("%s: %+v, want in use", u.name, v)
			}
			continue
		}
		// Uses are noted to a tick, and listings take their time.
		const precision = 4 * time.Second
		since := v.Time.Add(-v.Dur)
		switch {
		case v.Activity != model.ActivityIdle:
			t.Errorf("%s: %+v, want idle", u.name, v)
		case u.use == nil && (!v.AtLeast || since < u.before):
			t.Errorf("%s: idle since %v, at least %v; it was taken at %v and never used", u.name, since, v.AtLeast, u.before)
		case u.use != nil && (!u.inUse || v.AtLeast):
			t.Errorf("%s: %+v, was told in use: %v; want a time that is exact, after one of use", u.name, v, u.inUse)
		case u.use != nil && (since.Sub(u.before) < -precision/10 || since.Sub(u.after) > precision):
			t.Errorf("%s: idle since %v, last used between %v and %v", u.name, since, u.before, u.after)
		}
		t.Logf("%s: idle since %v after its last use", u.name, since.Sub(u.after))
	}
}
