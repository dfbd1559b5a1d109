package port

import (
	"slices"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// attempt is a socket that tries to take a port and is then left alone, or
// closed at once: no call that would show the port comes before that.
type attempt struct {
	name string
	udp6 bool
	// do returns whether the socket is to be closed.
	do   func(w *work, fd int) (closed bool)
	want []string // events in order, "kind how"
	// slow is what is seen as well where more than 1 ms passes between the calls.
	slow []string
}

// silentAttempts are the cases in which only the timer and the last close see
// what a call has done.
var silentAttempts = []attempt{
	{name: "connect, idle", want: []string{"port.acquire connect", "port.release close"}, do: func(w *work, fd int) bool {
		w.check("connect", unix.Connect(fd, sink4))
		return false
	}},
	{name: "connect 6, idle", udp6: true, want: []string{"port.acquire connect", "port.release close"}, do: func(
		w *work, fd int,
	) bool {
		w.check("connect", unix.Connect(fd, sink6))
		return false
	}},
	{name: "connect, close", want: []string{"port.acquire connect", "port.release close"}, do: func(w *work, fd int) bool {
		w.check("connect", unix.Connect(fd, sink4))
		return true
	}},
	{name: "connect, send", want: []string{"port.acquire connect", "port.release close"}, do: func(w *work, fd int) bool {
		w.check("connect", unix.Connect(fd, sink4))
		_, _ = unix.Write(fd, []byte("x"))
		return true
	}},
	{name: "connect, disconnect, close", slow: []string{
		"port.acquire connect", "port.release disconnect",
	}, do: func(w *work, fd int) bool {
		w.check("connect", unix.Connect(fd, sink4))
		w.check("disconnect", disconnect(fd))
		return true
	}},
	{name: "connect, disconnect, idle", slow: []string{
		"port.acquire connect", "port.release disconnect",
	}, do: func(w *work, fd int) bool {
		w.check("connect", unix.Connect(fd, sink4))
		w.check("disconnect", disconnect(fd))
		return false
	}},
	{
		name: "connect, disconnect, connect",
		want: []string{"port.acquire connect", "port.release close"},
		slow: []string{"port.acquire connect", "port.release disconnect", "port.acquire connect", "port.release close"},
		do: func(w *work, fd int) bool {
			w.check("connect", unix.Connect(fd, sink4))
			w.check("disconnect", disconnect(fd))
			w.check("connect", unix.Connect(fd, sink4))
			return false
		},
	},
	{
		name: "connect, pause, disconnect, close",
		want: []string{"port.acquire connect", "port.release disconnect"},
		do: func(w *work, fd int) bool {
			w.check("connect", unix.Connect(fd, sink4))
			time.Sleep(50 * time.Millisecond)
			w.check("disconnect", disconnect(fd))
			return true
		},
	},
	{
		name: "connect, pause, disconnect, connect",
		want: []string{
			"port.acquire connect", "port.release disconnect", "port.acquire connect", "port.release close",
		},
		do: func(w *work, fd int) bool {
			w.check("connect", unix.Connect(fd, sink4))
			time.Sleep(50 * time.Millisecond)
			w.check("disconnect", disconnect(fd))
			w.check("connect", unix.Connect(fd, sink4))
			return false
		},
	},
	{name: "bind without port", do: func(w *work, fd int) bool {
		w.check("option", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
		w.check("bind", unix.Bind(fd, any4))
		return false
	}},
	{name: "bind without port, to an address", do: func(w *work, fd int) bool {
		w.check("option", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
		w.check("bind", unix.Bind(fd, loop4))
		return false
	}},
	{name: "bind twice", want: []string{"port.acquire bind_any", "port.release close"}, do: func(w *work, fd int) bool {
		w.check("bind", unix.Bind(fd, loop4))
		if err := unix.Bind(fd, loop4); err != unix.EINVAL {
			w.t.Errorf("the second bind: %v", err)
		}
		return false
	}},
	{name: "bind fails, idle", want: []string{"port.fail bind_port"}, do: func(w *work, fd int) bool {
		_ = unix.Bind(fd, foreign4)
		return false
	}},
	{name: "bind fails, close", want: []string{"port.fail bind_port"}, do: func(w *work, fd int) bool {
		_ = unix.Bind(fd, foreign4)
		return true
	}},
	{
		name: "bind fails, and succeeds",
		want: []string{"port.fail bind_port", "port.fail bind_port", "port.acquire bind_any", "port.release close"},
		do: func(w *work, fd int) bool {
			_ = unix.Bind(fd, foreign4)
			_ = unix.Bind(fd, foreign4)
			w.check("bind", unix.Bind(fd, loop4))
			return false
		},
	},
	{
		name: "bind fails, connect",
		want: []string{"port.fail bind_port", "port.acquire connect", "port.release close"},
		do: func(w *work, fd int) bool {
			_ = unix.Bind(fd, foreign4)
			w.check("connect", unix.Connect(fd, sink4))
			return true
		},
	},
}

var foreign4 = &unix.SockaddrInet4{Port: 7, Addr: [4]byte{192, 0, 2, 1}}

// TestLongSilentAttempts leaves the sockets alone for long enough that the timer
// has looked and doubts are settled, before it closes them.
func TestLongSilentAttempts(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Hour}, Probe{without: []string{"functions"}})
	w := newWork(t)
	want := make(map[uint64]attempt)
	var idle []int
	for _, c := range silentAttempts {
		fd := w.udp()
		if c.udp6 {
			unix.Close(fd)
			fd = w.udp6()
		}
		want[cookieOf(fd)] = c
		if c.do(w, fd) {
			unix.Close(fd)
		} else {
			idle = append(idle, fd)
		}
	}
	s.Intervals(3)
	for _, fd := range idle {
		unix.Close(fd)
	}
	s.Intervals(1)
	got := make(map[uint64][]string)
	batches := s.Stop()
	noLoss(t, batches)
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if f, ok := seen(b, e); ok {
			got[f.Cookie] = append(got[f.Cookie], f.Kind.String()+" "+f.How.String())
		}
		if v, ok := b.PortFail(e); ok && want[v.Cookie].name != "" && v.LocalAddr != "192.0.2.1" {
			t.Errorf("%s: %+v", want[v.Cookie].name, v)
		}
	})
	for cookie, c := range want {
		if !slices.Equal(got[cookie], c.want) && (c.slow == nil || !slices.Equal(got[cookie], c.slow)) {
			t.Errorf("%s: got %q, want %q", c.name, got[cookie], c.want)
		}
	}
}

// TestLongSilentExhaustion has a connect without a free port, whose socket then
// does nothing more.
func TestLongSilentExhaustion(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Hour}, Probe{without: []string{"functions"}})
	w := newWork(t)
	var idle, retried uint64
	w.namespace(40000, 40003, func() {
		w.exhaust(unix.SOCK_DGRAM, 4)
		fds := []int{w.udp(), w.udp()}
		idle, retried = cookieOf(fds[0]), cookieOf(fds[1])
		for _, fd := range append(fds, fds[1], fds[1]) {
			if err := unix.Connect(fd, sink4); err != unix.EAGAIN {
				t.Errorf("connect: %v, want EAGAIN", err)
			}
		}
	})
	s.Intervals(3)
	counts := make(map[uint64]int)
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.PortFail(e); ok && v.ErrorName == "EAGAIN" && v.How == model.HowConnect && v.RemotePort == 9 &&
			v.RemoteAddr == "127.0.0.1" && int(v.PID) == w.pid {
			counts[v.Cookie]++
		}
	})
	if counts[idle] != 1 || counts[retried] != 3 {
		t.Errorf("%d and %d failures, want 1 and 3", counts[idle], counts[retried])
	}
}
