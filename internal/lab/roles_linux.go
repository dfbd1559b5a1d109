package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// realtime gives the calling thread a real-time priority or a nice value.
func (c *child) schedule() error {
	if c.fifo == 0 && c.nice == 0 {
		return nil
	}
	runtime.LockOSThread()
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: int32(c.nice)}
	if c.fifo > 0 {
		attr.Policy, attr.Priority, attr.Nice = unix.SCHED_FIFO, uint32(c.fifo), 0
	}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("set the scheduling of a lab process: %w", err)
	}
	return nil
}

// spin burns CPU for d.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// burn uses the CPU of the calling thread for d, however often it is taken away.
func burn(d time.Duration) {
	now := func() (ns int64) {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) == nil {
			ns = ts.Nano()
		}
		return ns
	}
	for end := now() + int64(d); now() < end; {
	}
}

// gate returns what waits for the lock, where one is given, and gives it back at once. Its file is open until the
// process ends.
func (c *child) gate() (pass func() error, err error) {
	if c.lock == "" {
		return func() error { return nil }, nil
	}
	file, err := os.OpenFile(c.lock, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return func() error {
		fd := int(file.Fd())
		if err := errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.Flock(fd, unix.LOCK_UN)); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		return nil
	}, nil
}

// locker holds a file lock for a while, again and again.
func (c *child) locker() error {
	file, err := os.OpenFile(c.lock, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	c.ready()
	for !c.ended.Load() {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		time.Sleep(c.on)
		if err := unix.Flock(int(file.Fd()), unix.LOCK_UN); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
		time.Sleep(c.off)
	}
	return nil
}

// deaf listens with a backlog of one and accepts nothing.
func (c *child) deaf() error {
	to, err := net.ResolveTCPAddr("tcp4", c.local)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	c.ready()
	c.untilEnd()
	return nil
}

// knock starts TCP connections and gives each half a second to come about.
func (c *child) knock() error {
	c.ready()
	_, err := c.pace(c.rate, c.count, 1, func(int) error {
		go func() {
			conn, err := net.DialTimeout("tcp4", c.to, 500*time.Millisecond)
			if err == nil {
				time.Sleep(2 * time.Second)
				conn.Close()
			}
		}()
		return nil
	})
	return err
}

// scan sends a datagram to one port after the other, count ports from that of its destination on.
func (c *child) scan() error {
	to, err := net.ResolveUDPAddr("udp4", c.to)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.ready()
	_, err = c.pace(c.rate, 0, 1, func(i int) error {
		_, err := conn.WriteToUDP([]byte("x"), &net.UDPAddr{IP: to.IP, Port: to.Port + i%c.count})
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		return err
	})
	return err
}

// reserved connects from explicitly bound ports, one after the other, closes
// each connection at once, and goes on trying when all are at rest.
func (c *child) reserved() error {
	to, err := net.ResolveTCPAddr("tcp4", c.to)
	if err != nil {
		return err
	}
	c.ready()
	refused := 0
	_, err = c.pace(c.rate, 0, 1, func(i int) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		defer unix.Close(fd)
		for n := range c.count { // as bindresvport searches
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: c.port + (i+n)%c.count})
			if !errors.Is(err, unix.EADDRINUSE) {
				break
			}
		}
		if errors.Is(err, unix.EADDRINUSE) {
			refused++
			return nil
		}
		if err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EADDRINUSE) {
			return nil
		}
		return err
	})
	fmt.Println(refused)
	return err
}

// forks starts short-lived processes.
func (c *child) forks() error {
	c.ready()
	_, err := c.pace(c.rate, c.count, 1, func(int) error { return exec.Command("/bin/true").Run() })
	return err
}

// named does nothing under a name.
func (c *child) named() error {
	if err := os.WriteFile("/proc/self/comm", []byte(c.mode), 0); err != nil {
		return fmt.Errorf("take a name: %w", err)
	}
	c.ready()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = c.pace(50, 0, 1, func(int) error {
		s, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err == nil {
			err = s.Close()
		}
		return err
	})
	return err
}

// blocking returns a function that reads a socket in a blocking system call.
func (c *child) blocking(conn *net.UDPConn) (func(buf []byte) error, error) {
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	fd := int(file.Fd()) // which makes it blocking
	timeout := unix.NsecToTimeval(int64(200 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, fmt.Errorf("set a timeout: %w", err)
	}
	return func(buf []byte) error {
		for {
			_, _, err := unix.Recvfrom(fd, buf, 0)
			switch {
			case err == nil:
				runtime.KeepAlive(file)
				return nil
			case c.ended.Load():
				return os.ErrDeadlineExceeded
			case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
				return fmt.Errorf("receive: %w", err)
			}
		}
	}, nil
}

// aside is a socket on which nothing ever arrives, and a function that waits for it in vain.
func aside(wait time.Duration) (int, func(), error) {
	if wait == 0 {
		return -1, func() {}, nil // the loopback device may be down
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(max(wait, time.Millisecond)))
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
	buf := make([]byte, 16)
	return fd, func() { _, _, _ = unix.Recvfrom(fd, buf, 0) }, err // it ends by its timeout
}

// chores returns what a program does besides for each packet: it writes to a disk, or is busy for once.
func (c *child) chores() (func() error, error) {
	disk := -1
	if c.disk != "" {
		var err error
		if disk, err = unix.Open(c.disk, unix.O_WRONLY|unix.O_DIRECT|unix.O_SYNC|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", c.disk, err)
		}
	}
	const block = 4096
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	start, busy := time.Now(), c.busy
	return func() error {
		if busy > 0 && time.Since(start) >= c.at {
			spin(busy)
			busy = 0
		}
		if disk < 0 {
			return nil
		}
		if _, err := unix.Pwrite(disk, buf, 0); err != nil {
			return fmt.Errorf("write to %s: %w", c.disk, err)
		}
		return nil
	}, nil
}

// rests returns the time until the next heartbeat, by the plan where there is one; off is how much longer it may be, by
// chance.
func (c *child) rests() (func() time.Duration, error) {
	type step struct {
		n    int
		rest time.Duration
	}
	steps := []step{{0, c.every}}
	if c.plan != "" {
		steps = nil
	}
	for part := range strings.SplitSeq(c.plan, ",") {
		if part == "" {
			continue
		}
		times, rest, _ := strings.Cut(part, "x")
		n, err := strconv.Atoi(times)
		every, err2 := time.ParseDuration(rest)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("plan %q: %w", part, err)
		}
		steps = append(steps, step{n, every})
	}
	return func() time.Duration {
		rest := steps[0].rest
		if steps[0].n--; steps[0].n <= 0 && len(steps) > 1 {
			steps = steps[1:]
		}
		if c.off > 0 {
			rest += rand.N(c.off)
		}
		return rest
	}, nil
}

// beat sends a datagram, rests, and sends the next: what is late stays late, as with real heartbeats. Where a lock is
// given, it is taken before each.
func (c *child) beat() error {
	var dialer net.Dialer
	if c.local != "" {
		local, err := net.ResolveUDPAddr("udp", c.local)
		if err != nil {
			return err
		}
		dialer.LocalAddr = local
	}
	conn, err := dialer.Dial("udp", c.to)
	if err != nil {
		return err
	}
	return c.heartbeats(conn)
}

// tcpBeat does the same over a connection.
func (c *child) tcpBeat() error {
	conn, err := net.Dial("tcp4", c.to)
	if err != nil {
		return err
	}
	if c.abort {
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
	}
	return c.heartbeats(conn)
}

func (c *child) heartbeats(conn net.Conn) error {
	defer conn.Close()
	runtime.LockOSThread()
	if err := errors.Join(c.pin(), c.schedule()); err != nil {
		return err
	}
	pass, err := c.gate()
	if err != nil {
		return err
	}
	chores, err := c.chores()
	if err != nil {
		return err
	}
	rests, err := c.rests()
	if err != nil {
		return err
	}
	c.onEnd(func() { _ = conn.SetWriteDeadline(time.Now()) })
	c.ready()
	sent := 0
	for ; !c.ended.Load() && (c.count == 0 || sent < c.count); sent++ {
		if err := pass(); err != nil {
			return err
		}
		burn(c.spin)
		if err := chores(); err != nil {
			return err
		}
		payload := append(fmt.Appendf(nil, "heartbeat <%d>", sent), make([]byte, c.size)...)
		_, err := conn.Write(payload)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), c.ended.Load():
			return nil
		case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
			c.untilEnd() // a connection that was reset stays open
			return nil
		case err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EPERM) &&
			!errors.Is(err, unix.ENETUNREACH):
			return err
		}
		ts := unix.NsecToTimespec(int64(rests()))
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, &ts) == unix.EINTR && !c.ended.Load() {
		}
	}
	if c.count > 0 {
		c.untilEnd() // with the socket open
	}
	fmt.Println(sent)
	return nil
}

// tcpSink reads one connection, in one thread; not any more after a while where one is given.
func (c *child) tcpSink() error {
	if err := errors.Join(c.pin(), c.schedule()); err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", c.local)
	if err != nil {
		return err
	}
	if c.buffer > 0 {
		raw, err := listener.(*net.TCPListener).SyscallConn()
		if err != nil {
			return err
		}
		if cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, c.buffer)
		}); cerr != nil || err != nil {
			return errors.Join(cerr, err)
		}
	}
	c.onEnd(func() { listener.Close() })
	c.ready()
	for !c.ended.Load() {
		conn, err := listener.Accept()
		if err != nil {
			if c.ended.Load() {
				return nil
			}
			return err
		}
		c.onEnd(func() { conn.Close(); listener.Close() })
		buf := make([]byte, 65536)
		for start := time.Now(); c.after == 0 || time.Since(start) < c.after; {
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
		if c.after > 0 {
			c.untilEnd()
		}
		conn.Close()
	}
	return nil
}
