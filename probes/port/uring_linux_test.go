package port

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// Operations and structures of linux/io_uring.h.
const (
	uringOpConnect = 16
	uringOpSend    = 26
	uringOffSQ     = 0
	uringOffSQEs   = 0x10000000
	uringGetEvents = 1
)

type uringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wqFD uint32
	_                                                      [3]uint32
	sq                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _, _, _ uint32
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _, _, _ uint32
	}
}

type uringSQE struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	length        uint32
	_             [36]byte
}

// uring is an io_uring for one operation at a time.
type uring struct {
	w          *work
	fd         int
	params     uringParams
	ring, sqes []byte
}

func newUring(w *work) *uring {
	r := &uring{w: w}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		w.t.Skipf("no io_uring: %v", errno)
	}
	r.fd = int(fd)
	size := max(r.params.sq.array+r.params.sqEntries*4, r.params.cq.cqes+r.params.cqEntries*16)
	var err error
	r.ring, err = unix.Mmap(
		r.fd,
		uringOffSQ,
		int(size),
		unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_POPULATE,
	)
	w.check("map the ring", err)
	r.sqes, err = unix.Mmap(
		r.fd,
		uringOffSQEs,
		int(r.params.sqEntries)*64,
		unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_POPULATE,
	)
	w.check("map the requests", err)
	return r
}

func (r *uring) word(offset uint32) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r.ring[offset]))
}

// do carries out one operation and returns its result.
func (r *uring) do(s uringSQE) int32 {
	tail := r.word(r.params.sq.tail).Load()
	index := tail & r.word(r.params.sq.ringMask).Load()
	*(*uringSQE)(unsafe.Pointer(&r.sqes[index*64])) = s
	r.word(r.params.sq.array + index*4).Store(index)
	r.word(r.params.sq.tail).Store(tail + 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, uringGetEvents, 0, 0); errno != 0 {
		r.w.t.Fatalf("io_uring_enter: %v", errno)
	}
	head := r.word(r.params.cq.head).Load()
	cqe := r.params.cq.cqes + (head&r.word(r.params.cq.ringMask).Load())*16
	result := int32(r.word(cqe + 8).Load())
	r.word(r.params.cq.head).Store(head + 1)
	return result
}

func (r *uring) close() {
	_ = unix.Munmap(r.ring)
	_ = unix.Munmap(r.sqes)
	unix.Close(r.fd)
}

// TestURing takes ports through io_uring, whose connect is no system call: a UDP
// socket's port is read from it as after any other connect; where the exits of
// system calls are watched, it is seen when it first sends, or by the audit.
func TestURing(t *testing.T) {
	w := newWork(t)
	ring := newUring(w)
	defer ring.close()
	functions := false
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	s.WaitFor(patience, "status", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		functions = functions || ok && p.Part == "functions" && p.State == model.ProbeOn
		return ok && p.Part == "listing"
	})
	server := w.listener()
	defer unix.Close(server)
	address := func(port uint16) unix.RawSockaddrInet4 {
		return unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: loop4.Addr}
	}
	connect := func(fd int, port uint16) {
		t.Helper()
		to := address(port)
		result := ring.do(
			uringSQE{
				opcode: uringOpConnect,
				fd:     int32(fd),
				addr:   uint64(uintptr(unsafe.Pointer(&to))),
				off:    uint64(unsafe.Sizeof(to)),
			},
		)
		runtime.KeepAlive(&to)
		if result != 0 {
			t.Fatalf("connect: %v", unix.Errno(-result))
		}
	}
	tcp, sent, silent := w.tcp(), w.udp(), w.udp()
	connect(tcp, portOf(server))
	connect(sent, 9)
	connect(silent, 9)
	payload := []byte("x")
	ring.do(uringSQE{opcode: uringOpSend, fd: int32(sent), addr: uint64(uintptr(unsafe.Pointer(&payload[0]))), length: 1})
	runtime.KeepAlive(payload)
	udp := model.HowConnect
	if functions {
		udp = model.HowSend // what takes a port outside a system call that is known
	}
	want := map[uint64]model.How{cookieOf(tcp): model.HowConnect, cookieOf(sent): udp, cookieOf(silent): udp}
	got := make(map[uint64]model.How)
	s.WaitFor(patience, "all acquisitions", func(b *model.Batch, e *model.Event) bool {
		if v, ok := b.PortAcquire(e); ok && want[v.Cookie] != 0 {
			got[v.Cookie] = v.How
		}
		return len(got) == len(want)
	})
	for cookie, how := range got {
		if how != want[cookie] {
			t.Errorf("socket %#x: %v, want %v", cookie, how, want[cookie])
		}
	}
	for _, fd := range []int{tcp, sent, silent} {
		unix.Close(fd)
	}
	released := 0
	s.WaitFor(patience, "all releases", func(b *model.Batch, e *model.Event) bool {
		if (e.Kind == model.KindPortRelease || e.Kind == model.KindPortRest) && want[e.Resource] != 0 {
			released++
		}
		return released == len(want)
	})
}
