package drop

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// TestReader has a socket that two processes hold: until one of them reads, which
// of them does is not known; from then on its thread is named.
func TestReader(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	n := newNamespace(t, "reader")
	conn, port := listen(t, n, 4096)
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.SetNonblock(int(file.Fd()), true); err != nil {
		t.Fatal(err)
	}
	heir := exec.Command("sleep", "60")
	heir.ExtraFiles = []*os.File{file}
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = heir.Process.Kill(); _ = heir.Wait() })
	own := int32(os.Getpid())
	queue := func(what string, matches func(q model.SocketQueue) bool) {
		t.Helper()
		s.WaitFor(30*time.Second, what, func(b *model.Batch, e *model.Event) bool {
			q, ok := b.SocketQueue(e)
			return ok && q.LocalPort == port && q.Flags&model.FlagSecondary == 0 && matches(q)
		})
	}
	fill := func() { sendTo(t, n, fmt.Sprintf("127.0.0.1:%d", port), 100) }

	s.WaitFor(10*time.Second, "the state of reads", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		if ok && p.Part == partReads && p.State == model.ProbeOff {
			t.Skip("this kernel does not show which thread reads: ", p.Reason)
		}
		return ok && p.Part == partReads
	})
	fill()
	queue("a queue of several processes", func(q model.SocketQueue) bool {
		return q.Flags&model.FlagShared != 0 && q.TID == -1
	})
	tid := make(chan int32)
	done := make(chan struct{})
	defer close(done)
	go func() {
		runtime.LockOSThread()
		if _, err := unix.Read(int(file.Fd()), make([]byte, 100)); err != nil {
			t.Error(err)
		}
		tid <- int32(unix.Gettid())
		<-done // the thread is to be the one that read
	}()
	reader := <-tid
	fill()
	queue("the reader", func(q model.SocketQueue) bool {
		return q.PID == own && q.TID == reader && q.Flags&model.FlagShared == 0
	})
}
