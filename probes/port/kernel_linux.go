package port

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"

	"lostbeat/ebpf"
	"lostbeat/model"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// nfsdPorts is where the kernel's NFS server lists the sockets that it serves,
// where its file system is mounted.
const nfsdPorts = "/proc/fs/nfsd/portlist"

// kernelSockets tells which of the sockets that no process has open are the
// kernel's own: the others are on their way from one process to another, or kept
// by something else than a file. The walk through the kernel's tables is as long
// as that of sock_diag, so it is made only in a namespace that has a socket of
// which this is not known yet.
type kernelSockets struct {
	tables []*link.Iter
	// known are the verdicts of the last listing, by cookie; next those of the one under way.
	known, next map[uint64]bool
	portlist    string
}

// newKernelSockets attaches the walks. Where the kernel refuses them, sockets
// without a process have no owner that is known.
func newKernelSockets(loader *ebpf.Loader) kernelSockets {
	k := kernelSockets{next: make(map[uint64]bool), portlist: nfsdPorts}
	for _, program := range []string{bpfProgPortListKernelTcp, bpfProgPortListKernelUdp} {
		lk, err := loader.Attach(program)
		if err != nil {
			continue
		}
		if table, ok := lk.(*link.Iter); ok {
			k.tables = append(k.tables, table)
		}
	}
	return k
}

// begin is called before a listing: what it does not meet is forgotten.
func (k *kernelSockets) begin() { k.known, k.next = k.next, make(map[uint64]bool) }

// judge makes the kernel the owner of those sockets that are its own. They are of
// the namespace that the calling thread is in, which may be that of this process.
func (k *kernelSockets) judge(sockets []openSocket, own bool) {
	var walked, listed bool
	var mine map[uint64]bool
	var served map[servedPort]bool
	for i := range sockets {
		s := &sockets[i]
		kernel, known := k.known[s.cookie]
		if !known && !walked {
			walked = true
			mine = k.walk()
		}
		kernel = kernel || mine[s.cookie]
		if !kernel && own {
			if !listed {
				listed = true
				served = readServed(k.portlist)
			}
			kernel = served[servedPort{s.protocol, s.localPort}]
		}
		k.next[s.cookie] = kernel
		if kernel {
			s.pid, s.comm = 0, ""
		}
	}
}

// walk returns the cookies of the kernel's own sockets. A table that cannot be
// read adds none: their owner stays unknown.
func (k *kernelSockets) walk() map[uint64]bool {
	mine := make(map[uint64]bool)
	for _, table := range k.tables {
		r, err := table.Open()
		if err != nil {
			continue
		}
		var cookie [8]byte
		for {
			if _, err := io.ReadFull(r, cookie[:]); err != nil {
				break
			}
			mine[binary.NativeEndian.Uint64(cookie[:])] = true
		}
		r.Close()
	}
	return mine
}

// servedPort is a port of the kernel's NFS server.
type servedPort struct {
	protocol model.Protocol
	port     uint16
}

// readServed reads the ports that the NFS server serves. Its tools make those
// sockets, hand them over and end, so that no flag of a socket says it.
func readServed(path string) map[servedPort]bool {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil // there is no NFS server
	}
	return parseServed(content)
}

// parseServed reads lines such as "tcp 2049".
func parseServed(content []byte) map[servedPort]bool {
	served := make(map[servedPort]bool)
	for line := range bytes.Lines(content) {
		fields := bytes.Fields(line)
		if len(fields) != 2 {
			continue
		}
		protocol := map[string]model.Protocol{"tcp": model.ProtocolTCP, "udp": model.ProtocolUDP}[string(fields[0])]
		port, err := strconv.ParseUint(string(fields[1]), 10, 16)
		if err == nil && protocol != model.ProtocolUnknown {
			served[servedPort{protocol, uint16(port)}] = true
		}
	}
	return served
}

// ended says that a process is no more.
func ended(pid int32) bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }
