package sched

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes/drop"
	"lostbeat/probes/heartbeat"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// lateRole reads datagrams; Blocked is the time from the kernel's stamp of each to the return of its read.
func lateRole(self *part) func() error {
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	for _, err := range []error{
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
	} {
		if err != nil {
			panic(err)
		}
	}
	self.Port = must(unix.Getsockname(fd)).(*unix.SockaddrInet4).Port
	buffer, control := make([]byte, 64), make([]byte, 256)
	return func() error {
		_, n, _, _, err := unix.Recvmsg(fd, buffer, control, 0)
		now := time.Now().UnixNano()
		if err == unix.EAGAIN || err == unix.EINTR {
			return nil
		}
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) == 0 || len(messages[0].Data) < 16 {
			return errors.Join(errors.New("no time of arrival"), err)
		}
		word := func(i int) int64 { return int64(binary.NativeEndian.Uint64(messages[0].Data[8*i:])) }
		self.Blocked += now - word(0)*int64(time.Second) - word(1)
		return nil
	}
}

// Since Linux 6.18 a thread is throttled on its way to user mode: it has read its packet then, and its program does not
// have it. That time is seen, and is no more than what the program itself says.
func TestLongReturn(t *testing.T) {
	testutil.Privileged(t)
	folder := quotaGroup(t)
	hog, c := newChild(t, "spin", folder), newChild(t, "late", folder)
	hog.begin()
	s := ebpftest.Start(t, ebpf.Options{
		Heartbeats: []ebpf.Heartbeat{{Protocol: model.ProtocolUDP, Port: uint16(c.part.Port)}},
	}, drop.New(), New(), heartbeat.New())
	request := processOf(c)
	request.Kind = model.RequestSched
	ask(t, s, request)
	c.begin()
	conn := must(net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", c.part.Port)))
	defer conn.Close()
	stop := every(conn, 137*time.Millisecond)
	if perTask(t) {
		s.WaitFor(time.Minute, "return", func(b *model.Batch, e *model.Event) bool {
			v, ok := b.PacketReturn(e)
			return ok && int(v.LocalPort) == c.part.Port
		})
	}
	s.Intervals(3)
	sent := stop()
	s.Intervals(1)
	p := c.end()
	hog.end()
	var back, lasted time.Duration
	reads, returns := 0, 0
	var read model.Time
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.PacketRead(e); ok && int(v.LocalPort) == c.part.Port {
			reads++
			read = v.Time
		}
		if v, ok := b.PacketReturn(e); ok && int(v.LocalPort) == c.part.Port {
			returns++
			back += v.Dur
			lasted = max(lasted, v.Dur)
			if int(v.TID) != c.part.TID || int(v.PID) != c.pid() || v.Time.Add(-v.Dur) < read ||
				v.State != model.SchedThrottled && v.State != model.SchedWaiting {
				t.Errorf("%+v after a read at %d", v, read)
			}
		}
	})
	t.Logf("%d reads, %d returns: %v, the longest %v; its own clock says %v", reads, returns, back, lasted,
		time.Duration(p.Blocked))
	if reads != sent {
		t.Errorf("%d reads of %d", reads, sent)
	}
	if back > time.Duration(p.Blocked)+20*time.Millisecond {
		t.Errorf("returned late by %v, its own clock says %v", back, time.Duration(p.Blocked))
	}
}

// every sends datagrams until the returned function is called, which says how many it has sent.
func every(conn net.Conn, period time.Duration) (stop func() int) {
	done, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(period); ; {
			select {
			case <-done:
				tick.Stop()
				sent <- n
				return
			case <-tick.C:
				if _, err := conn.Write([]byte("beat")); err == nil {
					n++
				}
			}
		}
	}()
	return func() int { close(done); return <-sent }
}

// perTask says that this kernel throttles tasks rather than run queues.
func perTask(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var task *btf.Struct
	if err := kernel.TypeByName("task_struct", &task); err != nil {
		t.Fatal(err)
	}
	for _, m := range task.Members {
		if m.Name == "throttled" {
			return true
		}
	}
	return false
}
