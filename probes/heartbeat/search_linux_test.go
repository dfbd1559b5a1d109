package heartbeat

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// A flow that nobody has named is proposed with its period and owner, and a request follows it at once.
func TestLongSearch(t *testing.T) {
	testutil.Privileged(t)
	c := reader(t, true, "udp4", "100000", "0s")
	s := ebpftest.Start(t, ebpf.Options{Heartbeats: []ebpf.Heartbeat{{Auto: true}}}, New())
	conn := c.dial(t, "udp4")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = conn.Write([]byte("heartbeat 1")) // the reader may have ended
			}
		}
	}()
	var found model.Flow
	s.WaitFor(30*time.Second, "a proposal", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.Flow(e)
		if ok && v.State == model.FlowProposed && v.Cookie == c.Cookie {
			found = v
			return true
		}
		return false
	})
	if found.Period < 90*time.Millisecond || found.Period > 150*time.Millisecond ||
		int(found.PID) != c.cmd.Process.Pid || int(found.ServicePort()) != c.Port {
		t.Errorf("proposed: %+v", found)
	}
	s.Request(model.Request{Kind: model.RequestFollow, CPU: -1, PID: -1, TID: -1, Name: found.Name()})
	s.WaitFor(5*time.Second, "the flow", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.Flow(e)
		return ok && v.State != model.FlowProposed && v.Cookie == c.Cookie
	})
	s.WaitFor(5*time.Second, "its packets", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.Packet(e)
		return ok && v.Cookie == c.Cookie && v.Direction == model.DirectionRX
	})
}

// A program's file is read below its own root, whatever its links say, and nothing that could block.
func TestReadIn(t *testing.T) {
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{filepath.Join(root, "real"): "inside", outside: "outside"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"absolute": "/real", "relative": "real", "up": "../../../real", "out": outside,
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/real": "inside", "/absolute": "inside", "/relative": "inside", "/up": "inside", "/out": "", "/none": "",
		"/folder": "",
	} {
		if got := readIn(root, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
