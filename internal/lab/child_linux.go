package lab

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// childArg is the hidden argument by which the lab starts its own binary again.
	childArg = "lab-child"
	// childEnv marks such a process, so that tests can be re-executed as well.
	childEnv = "LOSTBEAT_LAB_CHILD"
	// readyLine is what a process prints once its fault can begin.
	readyLine = "ready"
)

// Child runs a process of the lab when args (without the program's name) ask
// for one. A process ends when its standard input is closed.
func Child(args []string) (handled bool, status int) {
	if len(args) < 2 || args[0] != childArg {
		return false, 0
	}
	role, ok := roles[args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "lostbeat: there is no lab role %q\n", args[1])
		return true, 2
	}
	c := &child{flags: flag.NewFlagSet(args[1], flag.ContinueOnError)}
	c.define()
	if err := c.flags.Parse(args[2:]); err != nil {
		return true, 2
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it has ended
		c.ended.Store(true)
		c.unblock()
	}()
	if err := role(c); err != nil {
		fmt.Fprintf(os.Stderr, "lostbeat: lab %s: %v\n", args[1], err)
		return true, 1
	}
	return true, 0
}

// roles are what a process of the lab can do.
var roles = map[string]func(*child) error{
	"flood":  (*child).flood,
	"sink":   (*child).sink,
	"leak":   (*child).leak,
	"accept": (*child).accept,
	"dial":   (*child).dial,
	"fill":   (*child).fill,
	"hog":    (*child).hog,
	"steady": (*child).steady,
	"idle":   (*child).idle,
	"stream": (*child).stream,
	"local":  (*child).datagrams,

	"beat":     (*child).beat,
	"tcpbeat":  (*child).tcpBeat,
	"tcpsink":  (*child).tcpSink,
	"locker":   (*child).locker,
	"deaf":     (*child).deaf,
	"knock":    (*child).knock,
	"scan":     (*child).scan,
	"reserved": (*child).reserved,
	"forks":    (*child).forks,
	"named":    (*child).named,
}

// child is a process of the lab: its options and whether it shall end.
type child struct {
	flags *flag.FlagSet
	ended atomic.Bool
	// wake interrupts the call that the process waits in.
	wake atomic.Pointer[func()]

	to, local, mode                        string
	rate, count, flows, size, buffer, port int
	cpu, churn, burst                      int
	every, after, hold                     time.Duration

	lock, plan, disk         string
	abort                    bool
	at, busy                 time.Duration
	fifo, nice               int
	spin, on, off, elsewhere time.Duration
}

func (c *child) define() {
	f := c.flags
	f.StringVar(&c.to, "to", "", "destination, address:port")
	f.StringVar(&c.local, "local", "", "local address, address:port")
	f.StringVar(&c.mode, "mode", "", "way of taking ports")
	f.IntVar(&c.rate, "rate", 0, "packets or ports a second, 0 as fast as possible")
	f.IntVar(&c.count, "count", 0, "how many at most, 0 no limit")
	f.IntVar(&c.flows, "flows", 1, "number of sending sockets")
	f.IntVar(&c.size, "size", 64, "payload in bytes")
	f.IntVar(&c.buffer, "buffer", 0, "SO_RCVBUF, 0 the default")
	f.IntVar(&c.port, "port", 0, "first port")
	f.IntVar(&c.cpu, "cpu", -1, "CPU to run on, -1 any")
	f.IntVar(&c.churn, "churn", 0, "healthy open and close cycles a second")
	f.IntVar(&c.burst, "burst", 1, "packets sent back to back")
	f.DurationVar(&c.every, "every", 0, "time spent on each packet")
	f.DurationVar(&c.after, "after", 0, "stop reading after this time, 0 never")
	f.StringVar(&c.lock, "lock", "", "file to lock before each read, or to hold")
	f.StringVar(&c.plan, "plan", "", "rests between heartbeats: 5x100ms,3x1s; the last one for good")
	f.StringVar(&c.disk, "disk", "", "block device to write a block to for each packet")
	f.BoolVar(&c.abort, "abort", false, "end the connection by a reset")
	f.DurationVar(&c.at, "at", 0, "when to be busy with something else")
	f.DurationVar(&c.busy, "busy", 0, "and for how long")
	f.IntVar(&c.fifo, "fifo", 0, "SCHED_FIFO priority, 0 none")
	f.IntVar(&c.nice, "nice", 0, "nice value")
	f.DurationVar(&c.spin, "spin", 0, "CPU time burnt on each packet")
	f.DurationVar(&c.on, "on", 0, "how long to be busy at a time, 0 always")
	f.DurationVar(&c.off, "off", 0, "how long to rest in between")
	f.DurationVar(&c.elsewhere, "elsewhere", 0, "how long to wait for another socket after each batch of packets")
	f.DurationVar(&c.hold, "hold", 0, "how long a healthy socket is held")
}

// ready tells the lab that the fault can begin.
func (c *child) ready() {
	fmt.Println(readyLine)
}

func (c *child) unblock() {
	if wake := c.wake.Load(); wake != nil {
		(*wake)()
	}
}

// onEnd has f called, once, when the process shall end.
func (c *child) onEnd(f func()) {
	f = sync.OnceFunc(f)
	c.wake.Store(&f)
	if c.ended.Load() {
		f()
	}
}

// pin binds the calling goroutine's thread to the CPU asked for.
func (c *child) pin() error {
	if c.cpu < 0 {
		return nil
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(c.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("run on CPU %d: %w", c.cpu, err)
	}
	return nil
}

// pace calls step at the given rate until the process shall end, the count is
// reached or step fails. A rate of 0 means without a pause.
func (c *child) pace(rate, count, burst int, step func(i int) error) (done int, err error) {
	start := time.Now()
	for i := 0; !c.ended.Load() && (count == 0 || i < count); i++ {
		if rate > 0 && i%burst == 0 {
			due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			if d := time.Until(due); d > 0 {
				time.Sleep(d)
			}
		}
		if err := step(i); err != nil {
			return i, err
		}
		done++
	}
	return done, nil
}

// flood sends UDP packets and prints how many, and the time that one takes at best, in nanoseconds.
func (c *child) flood() error {
	if err := errors.Join(c.pin(), c.schedule()); err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(c.to)
	if err != nil {
		return err
	}
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	sockets := make([]int, c.flows)
	for i := range sockets {
		if sockets[i], err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if c.local != "" {
			from, err := netip.ParseAddrPort(c.local)
			if err != nil {
				return err
			}
			if err := unix.Bind(sockets[i], &unix.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()}); err != nil {
				return fmt.Errorf("bind: %w", err)
			}
		}
		if err := unix.Connect(sockets[i], address); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	payload := bytes.Repeat([]byte("heartbeat "), c.size/10+1)[:c.size]
	c.ready()
	// Others may run on this CPU: the best of many short pieces is what a
	// packet costs.
	const piece = 128
	best, began := time.Duration(1<<62), time.Now()
	sent, err := c.pace(c.rate, c.count, c.burst, func(i int) error {
		if i%piece == 0 && i > 0 {
			now := time.Now()
			best, began = min(best, now.Sub(began)/piece), now
		}
		_, err := unix.Write(sockets[i%len(sockets)], payload)
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN) ||
			errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ENETDOWN) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fmt.Println(sent, best.Nanoseconds())
	return nil
}

// sink receives UDP packets: at once, slowly, or not any more after a while. It
// prints how many.
func (c *child) sink() error {
	if err := errors.Join(c.pin(), c.schedule()); err != nil {
		return err
	}
	pass, err := c.gate()
	if err != nil {
		return err
	}
	other, waitElsewhere, err := aside(c.elsewhere)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(other) }() // there may be none
	local, err := net.ResolveUDPAddr("udp", c.local)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.buffer > 0 {
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		if cerr := raw.Control(func(fd uintptr) {
			// The kernel doubles what is asked for.
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.buffer)
		}); cerr != nil || err != nil {
			return errors.Join(cerr, err)
		}
	}
	c.onEnd(func() { _ = conn.SetReadDeadline(time.Now()) })
	c.ready()
	buf := make([]byte, 65536)
	read := func(buf []byte) error { _, err := conn.Read(buf); return err }
	chores, err := c.chores()
	if err != nil {
		return err
	}
	if c.lock != "" || c.disk != "" || c.busy > 0 || c.elsewhere > 0 || c.spin > 0 {
		// One thread in blocking calls, as simple daemons read: which thread reads is then seen.
		runtime.LockOSThread()
		if read, err = c.blocking(conn); err != nil {
			return err
		}
	}
	received, start := 0, time.Now()
	stopped := make(chan struct{})
	for !c.ended.Load() {
		if c.after > 0 && time.Since(start) > c.after {
			c.onEnd(func() { close(stopped) })
			<-stopped
			break
		}
		if err := pass(); err != nil {
			return err
		}
		if err := read(buf); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			return err
		}
		received++
		spin(c.spin)
		if err := chores(); err != nil {
			return err
		}
		if c.every > 0 {
			time.Sleep(c.every)
		}
		if c.elsewhere > 0 && received%1000 == 0 {
			waitElsewhere()
		}
	}
	fmt.Println(received)
	return nil
}

// leak takes ports and keeps them, beside a healthy churn if asked for.
func (c *child) leak() error {
	if c.churn > 0 {
		go c.churnPorts()
	}
	var kept []io.Closer
	c.ready()
	n, err := c.pace(c.rate, c.count, 1, func(i int) error {
		s, err := c.take(i)
		if err == nil {
			kept = append(kept, s)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.untilEnd()
	fmt.Println(n, len(kept))
	return nil
}

// churnPorts takes ports and gives each back after a moment.
func (c *child) churnPorts() {
	_, err := c.pace(c.churn, 0, 1, func(int) error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		time.Sleep(c.hold)
		return conn.Close()
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "lostbeat: lab churn:", err)
	}
}

// untilEnd waits until the process shall end.
func (c *child) untilEnd() {
	done := make(chan struct{})
	c.onEnd(func() { close(done) })
	<-done
}

// take takes one port in the way that was asked for.
func (c *child) take(i int) (io.Closer, error) {
	switch c.mode {
	case "bind":
		return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	case "bind6":
		return net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	case "connect":
		return net.Dial("udp4", "127.0.0.1:9")
	case "connect6":
		return net.Dial("udp6", "[::1]:9")
	case "reuseport":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(
				uintptr(fd),
				"listener",
			), errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
				unix.Listen(fd, 1),
			)
	case "listen":
		// Listening without a bind: the kernel chooses the port.
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), "listener"), unix.Listen(fd, 1)
	case "dial":
		return net.Dial("tcp4", c.to)
	case "listen-port":
		return net.Listen("tcp4", fmt.Sprintf(":%d", c.port+i))
	case "bind-first":
		// The port is chosen before the destination is known.
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.local)}, Control: bindPort}
		return dialer.Dial("tcp4", c.to)
	case "port":
		return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.port + i})
	case "sendto":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
		return os.NewFile(uintptr(fd), "socket"), err
	}
	return nil, fmt.Errorf("unknown way %q", c.mode)
}

// accept takes TCP connections and holds them until the peer closes.
func (c *child) accept() error {
	listener, err := net.Listen("tcp4", c.local)
	if err != nil {
		return err
	}
	c.onEnd(func() { listener.Close() })
	c.ready()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if c.ended.Load() {
				return nil
			}
			return err
		}
		if c.mode == "close" {
			conn.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn) // until the peer closes, in whatever way
			conn.Close()
		}()
	}
}

// dial opens TCP connections and closes each at once: the closing side keeps
// the port at rest.
func (c *child) dial() error {
	c.ready()
	n, err := c.pace(c.rate, c.count, 1, func(int) error {
		conn, err := net.Dial("tcp4", c.to)
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return nil
		}
		if err != nil {
			return err
		}
		return conn.Close()
	})
	fmt.Println(n)
	return err
}

// fill takes ports until none is left, and goes on trying. Where a second
// destination is given, it shows that this one can still be reached.
func (c *child) fill() error {
	var kept []io.Closer
	refused := 0
	c.ready()
	_, err := c.pace(c.rate, 0, 1, func(i int) error {
		switch {
		case c.mode == "port":
			i %= c.count
		case c.count > 0 && len(kept) >= c.count: // all that it needs
			time.Sleep(50 * time.Millisecond)
			return nil
		}
		s, err := c.take(i)
		switch {
		case err == nil:
			kept = append(kept, s)
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE):
			refused++
			if c.local != "" {
				if conn, err := net.Dial("tcp4", c.local); err == nil {
					conn.Close()
				}
			}
			time.Sleep(50 * time.Millisecond)
		default:
			return err
		}
		return nil
	})
	fmt.Println(len(kept), refused)
	return err
}

// hog burns a CPU in user space.
func (c *child) hog() error {
	if err := errors.Join(c.pin(), c.schedule()); err != nil {
		return err
	}
	c.ready()
	n := uint64(1)
	for busySince := time.Now(); !c.ended.Load(); {
		if c.on > 0 && time.Since(busySince) >= c.on {
			time.Sleep(c.off)
			busySince = time.Now()
		}
		for range 1000 {
			n = n*6364136223846793005 + 1442695040888963407
		}
	}
	fmt.Println(n != 0)
	return nil
}
