package port

import (
	"os"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

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
		w.failed(
			fd,
			80,
			model.HowBindPort,
			unix.Bind(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}}),
			unix.EADDRNOTAVAIL,
		)
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
