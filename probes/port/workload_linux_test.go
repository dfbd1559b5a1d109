package port

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// fact is one thing that a workload did to a port, as its own socket calls
// tell: the truth that the probe's events are compared with.
type fact struct {
	Kind     model.Kind
	Cookie   uint64
	Protocol model.Protocol
	Port     uint16
	How      model.How
	PID      int
	Errno    int
}

// work carries out one scenario and writes down the facts.
type work struct {
	t     testing.TB
	facts []fact
	pid   int
}

func newWork(t testing.TB) *work { return &work{t: t, pid: os.Getpid()} }

func (w *work) check(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *work) socket(family, kind int) int {
	w.t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	w.check("socket", err)
	return fd
}

func (w *work) udp() int  { return w.socket(unix.AF_INET, unix.SOCK_DGRAM) }
func (w *work) udp6() int { return w.socket(unix.AF_INET6, unix.SOCK_DGRAM) }
func (w *work) tcp() int  { return w.socket(unix.AF_INET, unix.SOCK_STREAM) }

func protocolOf(fd int) model.Protocol {
	if kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); kind == unix.SOCK_STREAM {
		return model.ProtocolTCP
	}
	return model.ProtocolUDP
}

func cookieOf(fd int) uint64 {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		panic(err)
	}
	return cookie
}

func portOf(fd int) uint16 {
	name, err := unix.Getsockname(fd)
	if err != nil {
		panic(err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(name.Port)
	case *unix.SockaddrInet6:
		return uint16(name.Port)
	}
	panic("no internet socket")
}

// took writes down that fd has taken its port.
func (w *work) took(fd int, how model.How) {
	w.t.Helper()
	port := portOf(fd)
	if port == 0 {
		w.t.Fatal("the socket has no port")
	}
	w.facts = append(
		w.facts,
		fact{Kind: model.KindPortAcquire, Cookie: cookieOf(fd), Protocol: protocolOf(fd), Port: port, How: how, PID: w.pid},
	)
}

// last returns the fact of the socket's last acquisition.
func (w *work) last(cookie uint64) fact {
	w.t.Helper()
	for i := len(w.facts) - 1; i >= 0; i-- {
		if w.facts[i].Cookie == cookie && w.facts[i].Kind == model.KindPortAcquire {
			return w.facts[i]
		}
	}
	w.t.Fatal("the socket has taken no port")
	return fact{}
}

// gave writes down that a socket's port has been given back.
func (w *work) gave(cookie uint64, how model.How) {
	w.t.Helper()
	f := w.last(cookie)
	f.Kind, f.How = model.KindPortRelease, how
	w.facts = append(w.facts, f)
}

// rested writes down that a socket's port has gone to rest.
func (w *work) rested(cookie uint64) {
	w.t.Helper()
	f := w.last(cookie)
	f.Kind, f.How = model.KindPortRest, 0
	w.facts = append(w.facts, f)
}

func (w *work) failed(fd int, port uint16, how model.How, err error, want unix.Errno) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
	w.facts = append(
		w.facts,
		fact{
			Kind:     model.KindPortFail,
			Cookie:   cookieOf(fd),
			Protocol: protocolOf(fd),
			Port:     port,
			How:      how,
			PID:      w.pid,
			Errno:    int(want),
		},
	)
}

// close closes fd, the last reference to its socket.
func (w *work) close(fd int) {
	w.t.Helper()
	cookie := cookieOf(fd)
	w.check("close", unix.Close(fd))
	w.gave(cookie, model.HowClose)
}

var (
	any4  = &unix.SockaddrInet4{}
	loop4 = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	any6  = &unix.SockaddrInet6{}
	loop6 = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	// sink4 is a datagram's destination; nobody needs to listen there.
	sink4  = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}
	sink6  = &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 9}
	sink46 = &unix.SockaddrInet6{Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}, Port: 9}
)

func at4(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}
}

// freePort returns a port below the ephemeral range that nothing holds.
func (w *work) freePort(kind int) int {
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		fd := w.socketUnseen(kind)
		err := unix.Bind(fd, at4(port))
		unix.Close(fd)
		if err == nil {
			return port
		}
	}
	w.t.Fatal("no free port")
	return 0
}

// unseen are the sockets of the workload itself, by cookie.
func (w *work) socketUnseen(kind int) int {
	fd := w.socket(unix.AF_INET, kind)
	w.facts = append(w.facts, fact{Kind: 0, Cookie: cookieOf(fd)})
	return fd
}

// disconnect connects fd to AF_UNSPEC.
func disconnect(fd int) error {
	var unspec [16]byte
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), addressOf(&unspec), uintptr(len(unspec)))
	if errno != 0 {
		return errno
	}
	return nil
}

// listener returns a listening socket on loopback.
func (w *work) listener() int {
	fd := w.tcp()
	w.check("bind", unix.Bind(fd, loop4))
	w.took(fd, model.HowBindAny)
	w.check("listen", unix.Listen(fd, 8))
	return fd
}

// accept accepts a connection, which shares the listener's port.
func (w *work) accept(server int) int {
	conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
	w.check("accept", err)
	w.took(conn, model.HowAccept)
	return conn
}

// pair returns a listener, a connected socket and its accepted other end.
func (w *work) pair(local *unix.SockaddrInet4) (server, client, conn int) {
	server = w.listener()
	client = w.tcp()
	if local != nil {
		w.check("bind", unix.Bind(client, local))
		w.took(client, model.HowBindPort)
	}
	w.check("connect", unix.Connect(client, at4(int(portOf(server)))))
	if local == nil {
		w.took(client, model.HowConnect)
	}
	return server, client, w.accept(server)
}

// endPair closes the client first.
func (w *work) endPair(client, conn int) {
	clientCookie, connCookie := cookieOf(client), cookieOf(conn)
	w.check("close", unix.Close(client))
	w.readEOF(conn)
	w.check("close", unix.Close(conn))
	w.rested(clientCookie)
	w.gave(connCookie, model.HowClose)
}

func (w *work) readEOF(fd int) {
	var buffer [1]byte
	if n, err := unix.Read(fd, buffer[:]); n != 0 || err != nil {
		w.t.Fatalf("read: %d, %v; want the end", n, err)
	}
}

// childProcess is this test binary, run as a workload in a process of its own.
type childProcess struct {
	w   *work
	cmd *exec.Cmd
	in  interface{ Close() error }
	out *bufio.Scanner
}

const childVariable = "LOSTBEAT_PORT_CHILD"

func (w *work) child(args ...string) *childProcess {
	exe, err := os.Executable()
	w.check("find this program", err)
	c := &childProcess{w: w, cmd: exec.Command(exe, args...)}
	c.cmd.Env = append(os.Environ(), childVariable+"=1")
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	w.check("pipe", err)
	out, err := c.cmd.StdoutPipe()
	w.check("pipe", err)
	c.in, c.out = in, bufio.NewScanner(out)
	return c
}

// start returns when the child is ready.
func (c *childProcess) start() {
	c.w.t.Helper()
	c.w.check("start", c.cmd.Start())
	c.ready()
}

func (c *childProcess) ready() {
	c.w.t.Helper()
	if !c.out.Scan() || c.out.Text() != "ready" {
		c.w.t.Fatalf("child: %q, %v", c.out.Text(), c.out.Err())
	}
}

func (c *childProcess) facts(n int) []fact {
	c.w.t.Helper()
	facts := make([]fact, n)
	for i := range facts {
		if !c.out.Scan() {
			c.w.t.Fatalf("child: %v", c.out.Err())
		}
		c.w.check("decode", json.Unmarshal(c.out.Bytes(), &facts[i]))
	}
	return facts
}

// end lets the child go and waits for it.
func (c *childProcess) end() {
	c.w.t.Helper()
	c.in.Close()
	c.w.check("wait", c.cmd.Wait())
}

// runChild is the main function of childProcess.
func runChild(args []string) {
	switch args[0] {
	case "hold": // inherited sockets, until stdin ends
		fmt.Println("ready")
	case "flood": // number of the process, number of sockets
		if err := flood(args[1], args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("ready")
	case "namespace": // a bound socket in a network namespace of its own
		if err := inNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "heir": // a bound socket that outlives this process in a further one
		fmt.Println("ready")
		if err := bequeath(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	case "leak": // N bound UDP sockets
		fmt.Println("ready")
		n, err := strconv.Atoi(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if err == nil {
				err = unix.Bind(fd, any4)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			line, _ := json.Marshal(
				fact{model.KindPortAcquire, cookieOf(fd), model.ProtocolUDP, portOf(fd), model.HowBindAny, os.Getpid(), 0},
			)
			fmt.Println(string(line))
		}
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it ends
}

// namespace runs f on a thread in a new network namespace with lo up and an
// ephemeral range of the given limits.
func (w *work) namespace(low, high int, f func()) {
	w.t.Helper()
	w.onThread(func() {
		w.check("unshare", unix.Unshare(unix.CLONE_NEWNET))
		w.check("namespace", vmtest.LoopbackUp())
		w.check(
			"set the range",
			os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", low, high), 0o644),
		)
		f()
	})
}

// onThread runs f on a thread of its own, which ends with it.
func (w *work) onThread(f func()) {
	w.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done) // also when f fails the test
		runtime.LockOSThread()
		f()
	}()
	<-done
	if w.t.Failed() {
		w.t.FailNow()
	}
	if w.t.Skipped() {
		w.t.SkipNow()
	}
}

// exhaust takes all ports of the range by sockets of the given kind.
func (w *work) exhaust(kind, ports int) (held []int) {
	w.t.Helper()
	for range ports {
		fd := w.socket(unix.AF_INET, kind)
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		held = append(held, fd)
	}
	return held
}

// unprivileged runs f on a thread that may not bind privileged ports.
func (w *work) unprivileged(f func()) {
	w.t.Helper()
	w.onThread(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		w.check("read capabilities", unix.Capget(&header, &data[0]))
		data[0].Effective &^= 1 << unix.CAP_NET_BIND_SERVICE
		w.check("drop a capability", unix.Capset(&header, &data[0]))
		f()
	})
}

// bequeath binds a socket, starts a process that keeps it until it is killed,
// and prints the socket's fact and a fact with the heir's PID.
func bequeath() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, any4); err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	heir := exec.Command("/proc/self/exe", "hold")
	heir.Env = append(os.Environ(), childVariable+"=1")
	heir.Stdin = in
	// It holds the other end of its own input, which therefore never ends.
	heir.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "udp"), out}
	if err := heir.Start(); err != nil {
		return err
	}
	for _, f := range []fact{{Cookie: cookieOf(fd), PID: os.Getpid()}, {PID: heir.Process.Pid}} {
		line, err := json.Marshal(f)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

// flood binds many UDP sockets; several addresses share a port.
func flood(process, sockets string) error {
	number, err := strconv.Atoi(process)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(sockets)
	if err != nil {
		return err
	}
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		a := &unix.SockaddrInet4{Addr: [4]byte{127, byte(number + 1), byte(i % 60), 1}, Port: 33000 + i/60}
		if err := unix.Bind(fd, a); err != nil {
			return fmt.Errorf("bind %v: %w", a, err)
		}
	}
	return nil
}

// inNamespace moves this process to a namespace of its own, as far as others
// see it, binds a socket there and prints its fact.
func inNamespace() error {
	if os.Getenv("LOSTBEAT_PORT_MOVED") == "" {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := vmtest.LoopbackUp(); err != nil {
			return err
		}
		// Only a thread has moved; what it starts anew has moved as a whole.
		return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "LOSTBEAT_PORT_MOVED=1"))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, any4); err != nil {
		return err
	}
	line, err := json.Marshal(fact{Cookie: cookieOf(fd), PID: os.Getpid(), Port: portOf(fd)})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	fmt.Println(string(line))
	return nil
}
