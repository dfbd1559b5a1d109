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
	w.facts = append(w.facts, fact{Kind: model.KindPortAcquire, Cookie: cookieOf(fd), Protocol: protocolOf(fd), Port: port, How: how, PID: w.pid})
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
	w.facts = append(w.facts, fact{Kind: model.KindPortFail, Cookie: cookieOf(fd), Protocol: protocolOf(fd), Port: port, How: how, PID: w.pid, Errno: int(want)})
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

type scenario struct {
	name string
	do   func(w *work)
	// sendLength says that it has a send that fails, which only fentry and the
	// tracepoint sock_send_length see.
	sendLength bool
}

var scenarios = []scenario{
	{name: "udp4 bind any", do: func(w *work) {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		w.close(fd)
	}},
	{name: "udp6 bind any", do: func(w *work) {
		fd := w.udp6()
		w.check("bind", unix.Bind(fd, any6))
		w.took(fd, model.HowBindAny)
		w.close(fd)
	}},
	{name: "udp4 bind port", do: func(w *work) {
		port := w.freePort(unix.SOCK_DGRAM)
		fd := w.udp()
		w.check("bind", unix.Bind(fd, at4(port)))
		w.took(fd, model.HowBindPort)
		w.close(fd)
	}},
	{name: "udp6 bind port v6only", do: func(w *work) {
		port := w.freePort(unix.SOCK_DGRAM)
		fd := w.udp6()
		w.check("v6only", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
		w.check("bind", unix.Bind(fd, &unix.SockaddrInet6{Port: port, Addr: loop6.Addr}))
		w.took(fd, model.HowBindPort)
		w.close(fd)
	}},
	{name: "udp4 sendto", do: func(w *work) {
		fd := w.udp()
		w.check("sendto", unix.Sendto(fd, []byte("x"), 0, sink4))
		w.took(fd, model.HowSend)
		w.check("sendto", unix.Sendto(fd, []byte("x"), 0, sink4))
		w.close(fd)
	}},
	{name: "udp6 sendto", do: func(w *work) {
		fd := w.udp6()
		w.check("sendto", unix.Sendto(fd, []byte("x"), 0, sink6))
		w.took(fd, model.HowSend)
		w.close(fd)
	}},
	{name: "udp4 sendmsg", do: func(w *work) {
		fd := w.udp()
		w.check("sendmsg", unix.Sendmsg(fd, []byte("x"), nil, sink4, 0))
		w.took(fd, model.HowSend)
		w.close(fd)
	}},
	{name: "udp6 sendto v4-mapped", do: func(w *work) {
		fd := w.udp6()
		w.check("sendto", unix.Sendto(fd, []byte("x"), 0, sink46))
		w.took(fd, model.HowSend)
		w.close(fd)
	}},
	{sendLength: true, name: "udp send that fails after taking a port", do: func(w *work) {
		fd := w.udp()
		if err := unix.Sendto(fd, make([]byte, 70000), 0, sink4); err != unix.EMSGSIZE {
			w.t.Fatalf("sendto: %v, want EMSGSIZE", err)
		}
		w.took(fd, model.HowSend)
		w.close(fd)
	}},
	{name: "udp4 connect", do: func(w *work) {
		fd := w.udp()
		w.check("connect", unix.Connect(fd, sink4))
		w.took(fd, model.HowConnect)
		w.close(fd)
	}},
	{name: "udp6 connect", do: func(w *work) {
		fd := w.udp6()
		w.check("connect", unix.Connect(fd, sink6))
		w.took(fd, model.HowConnect)
		w.close(fd)
	}},
	{name: "udp6 connect v4-mapped", do: func(w *work) {
		fd := w.udp6()
		w.check("connect", unix.Connect(fd, sink46))
		w.took(fd, model.HowConnect)
		w.close(fd)
	}},
	{name: "udp connect then send", do: func(w *work) {
		fd := w.udp()
		w.check("connect", unix.Connect(fd, sink4))
		w.took(fd, model.HowConnect)
		_, _ = unix.Write(fd, []byte("x"))
		w.check("connect again", unix.Connect(fd, at4(10)))
		w.close(fd)
	}},
	{name: "udp connect, disconnect, connect", do: func(w *work) {
		fd := w.udp()
		w.check("connect", unix.Connect(fd, sink4))
		w.took(fd, model.HowConnect)
		w.check("disconnect", disconnect(fd))
		if portOf(fd) != 0 {
			w.t.Fatal("disconnect has kept the port")
		}
		w.gave(cookieOf(fd), model.HowDisconnect)
		w.check("connect", unix.Connect(fd, sink4))
		w.took(fd, model.HowConnect)
		w.close(fd)
	}},
	{name: "udp bind port, connect, disconnect keeps it", do: func(w *work) {
		port := w.freePort(unix.SOCK_DGRAM)
		fd := w.udp()
		w.check("bind", unix.Bind(fd, at4(port)))
		w.took(fd, model.HowBindPort)
		w.check("connect", unix.Connect(fd, sink4))
		w.check("disconnect", disconnect(fd))
		if int(portOf(fd)) != port {
			w.t.Fatalf("disconnect has changed the port to %d", portOf(fd))
		}
		w.close(fd)
	}},
	{name: "udp bind any, connect, disconnect releases it", do: func(w *work) {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		w.check("connect", unix.Connect(fd, sink4))
		w.check("disconnect", disconnect(fd))
		if portOf(fd) != 0 {
			w.t.Skipf("this kernel keeps the port %d", portOf(fd))
		}
		w.gave(cookieOf(fd), model.HowDisconnect)
		w.check("close", unix.Close(fd))
	}},
	{name: "tcp bind", do: func(w *work) {
		fd := w.tcp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		w.close(fd)
	}},
	{name: "tcp6 bind port", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		fd := w.socket(unix.AF_INET6, unix.SOCK_STREAM)
		w.check("bind", unix.Bind(fd, &unix.SockaddrInet6{Port: port}))
		w.took(fd, model.HowBindPort)
		w.close(fd)
	}},
	{name: "tcp bind, listen", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		fd := w.tcp()
		w.check("bind", unix.Bind(fd, at4(port)))
		w.took(fd, model.HowBindPort)
		w.check("listen", unix.Listen(fd, 1))
		w.close(fd)
	}},
	{name: "tcp listen without bind", do: func(w *work) {
		fd := w.tcp()
		w.check("listen", unix.Listen(fd, 1))
		w.took(fd, model.HowListen)
		w.close(fd)
	}},
	{name: "tcp connect, accept, peer closes first", do: func(w *work) {
		server, client, conn := w.pair(nil)
		clientCookie, connCookie := cookieOf(client), cookieOf(conn)
		w.check("close", unix.Close(conn))
		w.readEOF(client)
		w.check("close", unix.Close(client))
		w.gave(clientCookie, model.HowClose)
		w.rested(connCookie)
		w.close(server)
	}},
	{name: "tcp connect, accept, client closes first", do: func(w *work) {
		server, client, conn := w.pair(nil)
		clientCookie, connCookie := cookieOf(client), cookieOf(conn)
		w.check("close", unix.Close(client))
		w.readEOF(conn)
		w.check("close", unix.Close(conn))
		w.rested(clientCookie)
		w.gave(connCookie, model.HowClose)
		w.close(server)
	}},
	{name: "tcp connect, accept, reset", do: func(w *work) {
		server, client, conn := w.pair(nil)
		clientCookie, connCookie := cookieOf(client), cookieOf(conn)
		w.check("linger", unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		w.check("close", unix.Close(client))
		w.gave(clientCookie, model.HowClose)
		w.gave(connCookie, model.HowClose)
		w.check("close", unix.Close(conn))
		w.close(server)
	}},
	{name: "tcp connect refused", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		fd := w.tcp()
		if err := unix.Connect(fd, at4(port)); err != unix.ECONNREFUSED {
			w.t.Fatalf("connect: %v, want ECONNREFUSED", err)
		}
		// The port has come and gone within the call.
		f := fact{Cookie: cookieOf(fd), Protocol: model.ProtocolTCP, PID: w.pid}
		f.Kind, f.How = model.KindPortAcquire, model.HowConnect
		w.facts = append(w.facts, f)
		w.gave(f.Cookie, model.HowClose)
		w.check("close", unix.Close(fd))
	}},
	{name: "tcp bind port then connect refused keeps it", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		closed := w.freePort(unix.SOCK_STREAM)
		fd := w.tcp()
		w.check("bind", unix.Bind(fd, at4(port)))
		w.took(fd, model.HowBindPort)
		if err := unix.Connect(fd, at4(closed+1)); err != unix.ECONNREFUSED {
			w.t.Fatalf("connect: %v, want ECONNREFUSED", err)
		}
		w.close(fd)
	}},
	{name: "tcp bind port then connect", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		server, client, conn := w.pair(at4(port))
		clientCookie, connCookie := cookieOf(client), cookieOf(conn)
		w.check("close", unix.Close(client))
		w.readEOF(conn)
		w.check("close", unix.Close(conn))
		w.rested(clientCookie)
		w.gave(connCookie, model.HowClose)
		w.close(server)
	}},
	{name: "tcp connect, disconnect", do: func(w *work) {
		server, client, conn := w.pair(nil)
		connCookie := cookieOf(conn)
		w.check("disconnect", disconnect(client))
		w.gave(cookieOf(client), model.HowDisconnect)
		w.gave(connCookie, model.HowClose)
		w.check("close", unix.Close(conn))
		w.check("close", unix.Close(client))
		w.close(server)
	}},
	{name: "tcp bind address without port, connect", do: func(w *work) {
		server := w.listener()
		fd := w.tcp()
		w.check("option", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
		w.check("bind", unix.Bind(fd, loop4))
		if portOf(fd) != 0 {
			w.t.Fatal("bind has taken a port")
		}
		w.check("connect", unix.Connect(fd, at4(int(portOf(server)))))
		w.took(fd, model.HowConnect)
		conn := w.accept(server)
		w.endPair(fd, conn)
		w.close(server)
	}},
	{name: "udp reuseport group", do: func(w *work) {
		port := w.freePort(unix.SOCK_DGRAM)
		var group []int
		for range 4 {
			fd := w.udp()
			w.check("option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			w.check("bind", unix.Bind(fd, at4(port)))
			w.took(fd, model.HowBindPort)
			group = append(group, fd)
		}
		for _, fd := range group {
			w.close(fd)
		}
	}},
	{name: "tcp reuseport group", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		var group []int
		for range 3 {
			fd := w.tcp()
			w.check("option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			w.check("bind", unix.Bind(fd, at4(port)))
			w.took(fd, model.HowBindPort)
			w.check("listen", unix.Listen(fd, 1))
			group = append(group, fd)
		}
		for _, fd := range group {
			w.close(fd)
		}
	}},
	{name: "bind: address in use", do: func(w *work) {
		holder, fd := w.udp(), w.udp()
		w.check("bind", unix.Bind(holder, loop4))
		w.took(holder, model.HowBindAny)
		w.failed(fd, portOf(holder), model.HowBindPort, unix.Bind(fd, at4(int(portOf(holder)))), unix.EADDRINUSE)
		w.check("close", unix.Close(fd))
		w.close(holder)
	}},
	{name: "bind: address not local", do: func(w *work) {
		fd := w.tcp()
		w.failed(fd, 80, model.HowBindPort, unix.Bind(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}}), unix.EADDRNOTAVAIL)
		w.check("close", unix.Close(fd))
	}},
	{name: "bind: privileged port", do: func(w *work) {
		w.unprivileged(func() {
			fd := w.udp()
			w.failed(fd, 81, model.HowBindPort, unix.Bind(fd, at4(81)), unix.EACCES)
			w.check("close", unix.Close(fd))
		})
	}},
	{name: "another network namespace", do: func(w *work) {
		w.namespace(40000, 40999, func() {
			bound, sent, connected := w.udp(), w.udp6(), w.udp()
			w.check("bind", unix.Bind(bound, any4))
			w.took(bound, model.HowBindAny)
			w.check("sendto", unix.Sendto(sent, []byte("x"), 0, sink6))
			w.took(sent, model.HowSend)
			w.check("connect", unix.Connect(connected, sink4))
			w.took(connected, model.HowConnect)
			server, client, conn := w.pair(nil)
			w.endPair(client, conn)
			for _, fd := range []int{bound, sent, connected, server} {
				w.close(fd)
			}
		})
	}},
	{sendLength: true, name: "exhausted range, udp", do: func(w *work) {
		w.namespace(40000, 40003, func() {
			held := w.exhaust(unix.SOCK_DGRAM, 4)
			fd := w.udp()
			w.failed(fd, 0, model.HowBindAny, unix.Bind(fd, any4), unix.EADDRINUSE)
			w.failed(fd, 0, model.HowSend, unix.Sendto(fd, []byte("x"), 0, sink4), unix.EAGAIN)
			w.failed(fd, 0, model.HowSend, unix.Sendmsg(fd, []byte("x"), nil, sink4, 0), unix.EAGAIN)
			w.failed(fd, 0, model.HowConnect, unix.Connect(fd, sink4), unix.EAGAIN)
			w.check("close", unix.Close(fd))
			for _, fd := range held {
				w.close(fd)
			}
		})
	}},
	{name: "exhausted range, tcp", do: func(w *work) {
		w.namespace(40000, 40003, func() {
			held := w.exhaust(unix.SOCK_STREAM, 4)
			fd := w.tcp()
			w.failed(fd, 0, model.HowBindAny, unix.Bind(fd, any4), unix.EADDRINUSE)
			w.failed(fd, 0, model.HowListen, unix.Listen(fd, 1), unix.EADDRINUSE)
			w.failed(fd, 0, model.HowConnect, unix.Connect(fd, at4(80)), unix.EADDRNOTAVAIL)
			w.check("close", unix.Close(fd))
			for _, fd := range held {
				w.close(fd)
			}
		})
	}},
	{name: "listen: address in use", do: func(w *work) {
		port := w.freePort(unix.SOCK_STREAM)
		var pair []int
		for range 2 {
			fd := w.tcp()
			w.check("option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			w.check("bind", unix.Bind(fd, at4(port)))
			w.took(fd, model.HowBindPort)
			pair = append(pair, fd)
		}
		w.check("listen", unix.Listen(pair[0], 1))
		w.failed(pair[1], uint16(port), model.HowListen, unix.Listen(pair[1], 1), unix.EADDRINUSE)
		w.close(pair[1])
		w.close(pair[0])
	}},
	{name: "dup: the last close counts", do: func(w *work) {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		second, err := unix.Dup(fd)
		w.check("dup", err)
		w.check("close", unix.Close(fd))
		w.close(second)
	}},
	{name: "scm_rights: the last reference counts", do: func(w *work) {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		w.check("socketpair", err)
		fd := w.udp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		cookie := cookieOf(fd)
		w.check("pass", unix.Sendmsg(ends[0], []byte("x"), unix.UnixRights(fd), nil, 0))
		w.check("close", unix.Close(fd)) // now only the message holds it
		w.check("close", unix.Close(ends[0]))
		w.check("close", unix.Close(ends[1]))
		w.gave(cookie, model.HowClose)
	}},
	{name: "fork: the child's close counts", do: func(w *work) {
		fd := w.udp()
		w.check("bind", unix.Bind(fd, any4))
		w.took(fd, model.HowBindAny)
		cookie := cookieOf(fd)
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		w.check("dup", err)
		child := w.child("hold")
		child.cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup), "udp")}
		child.start()
		child.cmd.ExtraFiles[0].Close()
		w.check("close", unix.Close(fd))
		child.end()
		w.gave(cookie, model.HowClose)
	}},
	{name: "sigkill", do: func(w *work) {
		child := w.child("leak", "20")
		child.start()
		facts := child.facts(20)
		w.check("kill", child.cmd.Process.Kill())
		_ = child.cmd.Wait()
		w.facts = append(w.facts, facts...)
		for _, f := range facts {
			w.gave(f.Cookie, model.HowClose)
		}
	}},
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
			line, _ := json.Marshal(fact{model.KindPortAcquire, cookieOf(fd), model.ProtocolUDP, portOf(fd), model.HowBindAny, os.Getpid(), 0})
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
		w.check("set the range", os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", low, high), 0o644))
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
