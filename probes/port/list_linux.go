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
	"lostbeat/model"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// maxNamespaces bounds the network namespaces that are listed.
	maxNamespaces = 1024
	// maxSharers bounds the processes that are kept of one socket.
	maxSharers = 8
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
	// pid and comm are the first process that has it open; -1 none is known.
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
	clock ebpf.Clock
	files *link.Iter
	err   error
}

func newLister(env *ebpf.Env, loader *ebpf.Loader) *lister {
	l := &lister{clock: env.Clock}
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
	for _, n := range namespaces {
		if err := out.listNamespace(n, inodes, buffer); err != nil && !errors.Is(err, netns.ErrGone) {
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
		s.Reason = "owners of sockets from before the start are unknown: " + s.Reason
		return s
	case out.diagErr != nil:
		s := ebpf.StatusOf(probeName, "listing", out.diagErr)
		s.State = model.ProbeDegraded
		s.Reason = "sockets without a process and TIME_WAIT are not listed in every namespace: " + s.Reason
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
			out.addOpen((*bpfPortOpenSocket)(unsafe.Pointer(&buffer[offset])), names, inodes)
		}
		kept = copy(buffer, buffer[whole:kept])
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("list open sockets: %w", err)
		}
	}
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
func (out *listing) listNamespace(n netns.Namespace, inodes map[uint64]holder, buffer []byte) error {
	return n.Do(func() error {
		ns := namespace{inode: n.Inode, name: n.Name, complete: true}
		var errs []error
		for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				complete, err := dumpDiag(
					family,
					protocol,
					buffer,
					func(s diagSocket) { out.addDiag(s, n.Inode, protocol, inodes) },
				)
				ns.complete = ns.complete && complete
				errs = append(errs, err)
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

func (out *listing) addDiag(s diagSocket, inode uint32, protocol uint8, inodes map[uint64]holder) {
	if s.timeWait {
		out.resting = append(out.resting, timeWait{
			tuple:  tuple{s.local, s.remote, inode, s.localPort, s.remotePort},
			cookie: s.cookie, left: time.Duration(s.expiresMS) * time.Millisecond,
		})
		return
	}
	if out.sockets.has(s.cookie) {
		return
	}
	open := openSocket{
		cookie: s.cookie, local: s.local, remote: s.remote, netns: inode,
		localPort: s.localPort, remotePort: s.remotePort, protocol: model.ProtocolTCP, state: s.state, pid: -1,
	}
	if protocol == unix.IPPROTO_UDP {
		open.protocol = model.ProtocolUDP
	}
	if h, ok := inodes[uint64(s.inode)]; ok && s.inode != 0 {
		open.pid, open.comm = h.pid, h.comm
	}
	out.sockets.add(&open)
}

// commString returns a task name from a record.
func commString(comm [16]int8) string {
	b := (*[16]byte)(unsafe.Pointer(&comm))[:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
