package pause

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

const (
	// stopLine is how the guest asks the host to stop it, for stopped.
	stopLine = "guest: stop me"
	stopped  = 4 * time.Second
)

// TestLongGuestStopped stops a virtual machine, as a snapshot does: its clocks stand still, and the command that
// watches its heartbeats says how long it was away.
func TestLongGuestStopped(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		guestStopped(t)
		return
	}
	monitor := filepath.Join(t.TempDir(), "monitor")
	var wg sync.WaitGroup
	defer wg.Wait()
	t.Log(vmtest.Run(t, vmtest.Options{
		Kernel: "6.1", CPUs: 1, Package: "lostbeat/probes/pause", Tests: "TestLongGuestStopped", Timeout: 3 * time.Minute,
		Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"}, Monitor: monitor,
		Line: func(line string) {
			if line != stopLine {
				return
			}
			wg.Go(func() {
				if err := pauseGuest(monitor); err != nil {
					t.Error(err)
				}
			})
		},
	}))
}

// pauseGuest stops the guest for a while.
func pauseGuest(monitor string) error {
	conn, err := net.Dial("unix", monitor)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // its answers, until it is closed
	_, err = io.WriteString(conn, "stop\n")
	time.Sleep(stopped)
	_, err2 := io.WriteString(conn, "cont\n")
	time.Sleep(time.Second) // until it has been read
	return errors.Join(err, err2)
}

// beats sends and reads heartbeats inside the guest.
func beats(t *testing.T) {
	reader, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	sender, err := net.Dial("udp4", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	go func() {
		for {
			if _, err := sender.Write([]byte("heartbeat")); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
}

func guestStopped(t *testing.T) {
	beats(t)
	watch, findings := vmtest.Watch(t, "--probe", "heartbeat,pause", "--heartbeat", "udp:7000=1s", "--heartbeat-root")
	time.Sleep(14 * time.Second) // emulated, the probes take seconds to load
	fmt.Println(stopLine)
	patience := time.After(25 * time.Second)
	for {
		select {
		case f, ok := <-findings:
			if !ok {
				t.Fatal("the watch has ended")
			}
			if f.Subject.Kind != "host" || f.Detector != "heartbeat-loss" {
				continue
			}
			check(t, f)
			if err := errors.Join(watch.Process.Signal(unix.SIGINT), watch.Wait()); err != nil {
				t.Error(err)
			}
			return
		case <-patience:
			t.Fatal("nothing was said within 25 s")
		}
	}
}

func check(t *testing.T, f model.Finding) {
	t.Helper()
	var length, wrong float64
	for _, e := range f.Evidence {
		switch e.Name {
		case "paused for":
			length = e.Value
		case "uncertainty":
			wrong = e.Value
		}
	}
	off := time.Duration(length) - stopped
	t.Logf("paused for %v, wrong by %v at most", time.Duration(length), time.Duration(wrong))
	// What the host sleeps is a little more than what it was asked for.
	if off < -time.Duration(wrong) || off > time.Duration(wrong)+500*time.Millisecond {
		t.Errorf("%v for %v: more than %v apart", time.Duration(length), stopped, time.Duration(wrong))
	}
	if f.Severity != model.SeverityCritical ||
		!strings.Contains(f.Title, "its virtual machine was stopped") ||
		!strings.Contains(strings.Join(f.Causes, "\n"), "its peers received nothing") ||
		!strings.Contains(strings.Join(f.Causes, "\n"), "udp/7000") {
		t.Errorf("%+v", f)
	}
}
