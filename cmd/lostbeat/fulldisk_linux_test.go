package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/testutil"
)

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, size string) (dir string, resize func(size string)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// leakPorts leaks UDP ports of 21000-21999 until the returned function is called.
func leakPorts(t *testing.T, first int) (stop func()) {
	t.Helper()
	leak := exec.Command(
		lostbeat(t), "lab-child", "leak", "-mode", "port", "-rate", "40", "-count", "600", "-port", fmt.Sprint(first),
	)
	stdin, err := leak.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := leak.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(stdin.Close(), leak.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// A full disk ends in a status of its own and one sentence that says how much is
// missing, where and why; what was written before it was full opens.
func TestLongRecordToFullDisk(t *testing.T) {
	testutil.Privileged(t)
	for _, c := range []struct {
		name string
		size string
		args []string
		// later is the size that the disk has after some seconds, "" the same.
		later string
		leak  bool
		says  []string
	}{
		{name: "plain", size: "16k", args: []string{"--trace", "--duration", "6s"}},
		{name: "rotated", size: "24k", args: []string{"--trace", "--duration", "6s", "--rotate-size", "8KiB"}},
		{
			name: "full for a while", size: "8k", args: []string{"--trace", "--duration", "8s"}, later: "64m",
			says: []string{"the disk has taken later ones"},
		},
		{
			name: "flight", size: "4k", leak: true,
			args: []string{"--flight", "1m", "--probe", "port", "--pool", "lab=udp:21000-21999", "--duration", "18s"},
			says: []string{"it cannot be recorded now", "nothing around them could be recorded"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, resize := smallDisk(t, c.size)
			if c.leak {
				// Not a byte is left.
				if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 4096), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, "out.lostbeat")
			cmd := exec.Command(lostbeat(t), append([]string{"record", "-o", path}, c.args...)...)
			var errs output
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if c.later != "" {
				eventually(t, 20*time.Second, "the disk is full", func() bool {
					var s syscall.Statfs_t
					return syscall.Statfs(dir, &s) == nil && s.Bfree == 0
				})
				time.Sleep(time.Second)
				resize(c.later)
			}
			if c.leak {
				defer leakPorts(t, 21000)()
			}
			_ = cmd.Wait() // the status is checked
			out := errs.String()
			if cmd.ProcessState.ExitCode() != exitIncomplete {
				t.Errorf("status %d\n%s", cmd.ProcessState.ExitCode(), out)
			}
			for _, part := range append([]string{
				"the recording is incomplete: ", dir, "no space left on device", "hint: free space",
			}, c.says...) {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not said:\n%s", part, out)
				}
			}
			if strings.Contains(out, "no finding") {
				t.Errorf("a verdict that was not reached:\n%s", out)
			}
			names, err := filepath.Glob(filepath.Join(dir, "out*"))
			if err != nil || (len(names) == 0) != c.leak {
				t.Errorf("files %q, %v", names, err)
			}
			for _, name := range names {
				if info, err := os.Stat(name); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v, %v", name, info, err)
				}
				if _, errs, status := execute(t, "info", name); status != exitOK && status != exitIncomplete {
					t.Errorf("what was written before does not open: %s", errs)
				}
			}
		})
	}
}

// One long finding stays below the total cap, which deletes all files but the
// newest and says so.
func TestLongFlightStaysBelowTheCap(t *testing.T) {
	testutil.Privileged(t)
	dir := t.TempDir()
	const limit = 100 << 10
	cmd := exec.Command(lostbeat(t), "record", "-o", filepath.Join(dir, "fault.lostbeat"), "--flight", "1m",
		"--total-cap", "100KiB", "--trace", "--pool", "lab=udp:22000-22999", "--duration", "30s")
	var errs output
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	stop := leakPorts(t, 22000)
	ended := make(chan struct{})
	most := int64(0)
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the status is checked
	}()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-time.After(10 * time.Millisecond):
		}
		size := sizeOf(filepath.Join(dir, "fault-*"))
		if size > limit { // files come and go while they are added up: what stays is there the next time, too
			size = min(size, sizeOf(filepath.Join(dir, "fault-*")))
		}
		most = max(most, size)
	}
	stop()
	t.Logf("%d bytes at most\n%s", most, errs.String())
	if most > limit || most < limit/4 {
		t.Errorf("%d bytes on disk, cap %d", most, limit)
	}
	if !strings.Contains(errs.String(), "to stay below --total-cap 100KiB") {
		t.Errorf("not said: %s", errs.String())
	}
	if status := cmd.ProcessState.ExitCode(); status != exitOK {
		t.Errorf("status %d", status)
	}
	_, out, status := execute(t, "info", filepath.Join(dir, "fault.lostbeat"))
	if status != exitOK && status != exitIncomplete {
		t.Errorf("what is on disk does not open: %s", out)
	}
}

// sizeOf adds up the sizes of the files that match a pattern.
func sizeOf(pattern string) (sum int64) {
	names, _ := filepath.Glob(pattern) // the pattern is well formed
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}
