package port

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/internal/netns"
	"lostbeat/internal/rpcbind"
	"lostbeat/model"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// maxNamespaces bounds the network namespaces that are listed.
	maxNamespaces = 1024
	// maxSharers bounds the processes that are kept of one socket.
	maxSharers = 8
	// initPID is the init process, which may listen on sockets for others.
	initPID = 1
)

// openSocket is one socket of a listing.
type openSocket struct {
	cookie        uint64
	local, remote [16]byte
	netns         uint32
	localPort     uint16
	remotePort    uint16
	protocol      model.Protocol
	state         uint8
	flags         uint8 // PORT_*
	// now and used are jiffies: of the listing and of its last use, 0 for none.
	now, used uint32
	// pid and comm are the first process that has it open; -1 none is known, 0 it is the kernel's own.
	pid  int32
	comm string
	// sharers are further processes that have it open.
	sharers []int32
}

// heldBy says whether a process has the socket open.
func (s *openSocket) heldBy(pid int32) bool { return s.pid == pid || slices.Contains(s.sharers, pid) }

// holder is a process that has a socket open.
type holder struct {
	pid  int32
	comm string
}

// timeWait is one connection at rest.
type timeWait struct {
	tuple
	cookie uint64
	left   time.Duration
}

// tuple identifies a connection.
type tuple struct {
	local, remote [16]byte
	netns         uint32
	localPort     uint16
	remotePort    uint16
}

// namespace is what a listing found out about one network namespace.
type namespace struct {
	inode    uint32
	name     string // as in netns.Namespace: empty for that of this process
	complete bool   // all tables were read without interruption
	low      uint16
	high     uint16
	reserved string // ip_local_reserved_ports
}

// listing is what the kernel's tables held between begin and end.
type listing struct {
	begin, end model.Time
	sockets    socketTable
	resting    []timeWait
	namespaces []namespace
	// sunRPC is the range of ports that SunRPC binds, zero without it.
	sunRPC [2]uint16
	// rpcbind is a process that listens on the port of rpcbind in this process's
	// namespace, and is not the init process, which does so in its place until it is needed;
	// rpcbindTCP says that it does so by TCP. 0 is none.
	rpcbind    int32
	rpcbindTCP bool
	// rpcbindWaits says that the init process listens on that port.
	rpcbindWaits bool
	// jiffies is a reading of the kernel's counter, and jiffiesAt the monotonic
	// clock at that moment; 0 when no socket was listed.
	jiffies   uint32
	jiffiesAt time.Duration
	// filesErr and diagErr are the faults of the two sources, nil for none.
	filesErr, diagErr error
}

// lister lists sockets from two sources: iter/task_file knows the owners and
// sees every namespace, sock_diag knows what no process has open.
type lister struct {
	clock  ebpf.Clock
	files  *link.Iter
	err    error
	kernel kernelSockets
	// own is the network namespace of this process, 0 unknown.
	own uint32
}

func newLister(env *ebpf.Env, loader *ebpf.Loader) *lister {
	l := &lister{clock: env.Clock, kernel: newKernelSockets(loader)}
	if own, err := netns.Own(); err == nil { // without it, List fails as well and says so
		l.own = own.Inode
	}
	lk, err := loader.Attach(bpfProgPortListFiles)
	if err != nil {
		l.err = err
		return l
	}
	files, ok := lk.(*link.Iter)
	if !ok {
		l.err = fmt.Errorf("attach %s: not an iterator", bpfProgPortListFiles)
	}
	l.files = files
	return l
}

func (l *lister) now() model.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return l.clock.Time(uint64(ts.Nano()))
}

// list reads the tables of all namespaces.
func (l *lister) list() *listing {
	out := &listing{begin: l.now()}
	inodes := make(map[uint64]holder)
	out.filesErr = l.listFiles(out, inodes)
	namespaces, err := netns.List(maxNamespaces)
	out.diagErr = err
	buffer := make([]byte, diagBufferSize)
	l.kernel.begin()
	for _, n := range namespaces {
		if err := l.listNamespace(out, n, inodes, buffer); err != nil && !errors.Is(err, netns.ErrGone) {
			out.diagErr = err
		}
	}
	out.sunRPC = sunRPCRange("/proc/sys/sunrpc")
	out.end = l.now()
	return out
}

// status says what the listing's sources left out.
func (l *lister) status(out *listing) model.Probe {
	switch {
	case out.filesErr != nil:
		s := ebpf.StatusOf(probeName, "listing", out.filesErr)
		s.State = model.ProbeDegraded
		s.Reason = "the owners of sockets opened before lostbeat started are unknown: " + s.Reason
		return s
	case out.diagErr != nil:
		s := ebpf.StatusOf(probeName, "listing", out.diagErr)
		s.State = model.ProbeDegraded
		s.Reason = "sockets without a process and in TIME_WAIT are not listed in some namespaces: " + s.Reason
		return s
	}
	return model.Probe{Name: probeName, Part: "listing", State: model.ProbeOn}
}

// listFiles adds the sockets that processes have open. inodes gets one process
// for each socket file, by which the subflows of MPTCP find theirs.
func (l *lister) listFiles(out *listing, inodes map[uint64]holder) error {
	if l.err != nil {
		return l.err
	}
	r, err := l.files.Open()
	if err != nil {
		return fmt.Errorf("list open sockets: %w", err)
	}
	defer r.Close()
	names := make(map[[16]int8]string)
	const size = int(unsafe.Sizeof(bpfPortOpenSocket{}))
	buffer := make([]byte, 512*size)
	kept := 0
	for {
		n, err := r.Read(buffer[kept:])
		kept += n
		whole := kept / size * size
		if whole > 0 {
			out.readJiffies((*bpfPortOpenSocket)(unsafe.Pointer(&buffer[whole-size])).Now)
		}
		for offset := 0; offset < whole; offset += size {
			open := (*bpfPortOpenSocket)(unsafe.Pointer(&buffer[offset]))
			if open.LocalPort == rpcbind.Port && open.RemotePort == 0 && open.Netns == l.own {
				out.findRPCBind(open)
			}
			out.addOpen(open, names, inodes)
		}
		kept = copy(buffer, buffer[whole:kept])
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("list open sockets: %w", err)
		}
	}
}

// findRPCBind takes up a socket on the port of rpcbind.
func (out *listing) findRPCBind(open *bpfPortOpenSocket) {
	if open.Pid == initPID {
		out.rpcbindWaits = true
		return
	}
	out.rpcbind = int32(open.Pid)
	out.rpcbindTCP = out.rpcbindTCP || open.Protocol == uint8(model.ProtocolTCP)
}

// readJiffies takes the counter of the socket that was listed just now.
func (out *listing) readJiffies(jiffies uint32) {
	var ts unix.Timespec
	if jiffies == 0 || unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return
	}
	out.jiffies, out.jiffiesAt = jiffies, time.Duration(ts.Nano())
}

func (out *listing) addOpen(open *bpfPortOpenSocket, names map[[16]int8]string, inodes map[uint64]holder) {
	name, ok := names[open.Comm]
	if !ok {
		name = commString(open.Comm)
		names[open.Comm] = name
	}
	pid := int32(open.Pid)
	if open.Protocol == uint8(model.ProtocolUnknown) {
		inodes[open.Inode] = holder{pid, name}
		return
	}
	if out.sockets.share(open.Cookie, pid) {
		return
	}
	out.sockets.add(&openSocket{
		cookie: open.Cookie, local: open.LocalAddr, remote: open.RemoteAddr, netns: open.Netns,
		localPort: open.LocalPort, remotePort: open.RemotePort, protocol: model.Protocol(open.Protocol),
		state: open.State, flags: open.Flags, now: open.Now, used: open.Used, pid: pid, comm: name,
	})
}

// listNamespace adds what one namespace's tables hold, read through a buffer of
// diagBufferSize.
func (l *lister) listNamespace(out *listing, n netns.Namespace, inodes map[uint64]holder, buffer []byte) error {
	return n.Do(func() error {
		ns := namespace{inode: n.Inode, name: n.Name, complete: true}
		var unowned []openSocket
		var errs []error
		for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				complete, err := dumpDiag(
					family,
					protocol,
					buffer,
					func(s diagSocket) {
						if open, ok := out.addDiag(s, n.Inode, protocol, inodes); ok {
							unowned = append(unowned, open)
						}
					},
				)
				ns.complete = ns.complete && complete
				errs = append(errs, err)
			}
		}
		l.kernel.judge(unowned, n.Inode == l.own)
		for i := range unowned {
			if !out.sockets.has(unowned[i].cookie) { // a table that changes may have it twice
				out.sockets.add(&unowned[i])
			}
		}
		errs = append(errs, ns.readLimits())
		out.namespaces = append(out.namespaces, ns)
		return errors.Join(errs...)
	})
}

// readLimits reads the limits of the namespace that the calling thread is in.
func (n *namespace) readLimits() (err error) {
	if n.low, n.high, err = readPortRange("/proc/sys/net/ipv4/ip_local_port_range"); err != nil {
		return err
	}
	// Absent on no kernel in use; without it nothing is reserved.
	reserved, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	n.reserved = string(bytes.TrimSpace(reserved))
	return nil
}

// addDiag adds a socket of the kernel's tables. One that exists without a process
// that has it open is returned instead: ok is true.
func (out *listing) addDiag(
	s diagSocket,
	inode uint32,
	protocol uint8,
	inodes map[uint64]holder,
) (open openSocket, ok bool) {
	if s.timeWait {
		out.resting = append(out.resting, timeWait{
			tuple:  tuple{s.local, s.remote, inode, s.localPort, s.remotePort},
			cookie: s.cookie, left: time.Duration(s.expiresMS) * time.Millisecond,
		})
		return openSocket{}, false
	}
	if out.sockets.has(s.cookie) {
		return openSocket{}, false
	}
	open = openSocket{
		cookie: s.cookie, local: s.local, remote: s.remote, netns: inode,
		localPort: s.localPort, remotePort: s.remotePort, protocol: model.ProtocolTCP, state: s.state, pid: -1,
	}
	if protocol == unix.IPPROTO_UDP {
		open.protocol = model.ProtocolUDP
	}
	if s.inode != 0 { // else its last reference has gone
		h, ok := inodes[uint64(s.inode)]
		if !ok {
			return open, true
		}
		open.pid, open.comm = h.pid, h.comm
	}
	out.sockets.add(&open)
	return openSocket{}, false
}

// commString returns a task name from a record.
func commString(comm [16]int8) string {
	b := (*[16]byte)(unsafe.Pointer(&comm))[:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
