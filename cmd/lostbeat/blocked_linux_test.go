package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/record"
)

// frozen is a small file system that can stop responding.
type frozen struct {
	t   *testing.T
	dir string
}

func newFrozen(t *testing.T, size int64) *frozen {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	f := &frozen{t, t.TempDir()}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	f.do("mkfs.ext4", "-q", "-F", image)
	f.do("mount", "-o", "loop", image, f.dir)
	t.Cleanup(func() { f.do("umount", f.dir) })
	return f
}

func (f *frozen) do(args ...string) {
	f.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		f.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// freeze stops the file system until the test or the returned function ends it.
func (f *frozen) freeze() (thaw func()) {
	f.t.Helper()
	f.do("fsfreeze", "-f", f.dir)
	thaw = sync.OnceFunc(func() { f.do("fsfreeze", "-u", f.dir) })
	f.t.Cleanup(thaw)
	return thaw
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// recordOnto begins a recording on f and returns once its file has blocks.
func recordOnto(t *testing.T, f *frozen) (cmd *exec.Cmd, path string, errs *output) {
	t.Helper()
	path, errs = filepath.Join(f.dir, "out.lostbeat"), &output{}
	cmd = exec.Command(lostbeat(t), "record", "--probe", "nic", "-o", path)
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, 20*time.Second, "blocks are written", func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 2000
	})
	return cmd, path, errs
}

func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// exited says that the process has ended, but for threads that wait for the disk.
func exited(cmd *exec.Cmd) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	return err != nil || strings.Contains(string(status), "State:\tZ")
}

// A disk that does not respond ends the command with an error within the
// deadlines for draining and closing, and a second signal ends it at once. What
// was written before can be read.
func TestRecordOnABlockedDisk(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	for name, c := range map[string]struct {
		signals int
		within  time.Duration
		says    string
	}{
		"one signal":  {1, 16 * time.Second, "did not finish within 10s"},
		"two signals": {2, 2 * time.Second, "a second signal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFrozen(t, 32<<20)
			cmd, path, errs := recordOnto(t, f)
			thaw := f.freeze()
			time.Sleep(2500 * time.Millisecond) // blocks are due each second: now one waits for the disk
			for range c.signals {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			eventually(t, c.within, "the command ends", func() bool { return exited(cmd) })
			thaw()
			_ = cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != exitError || !strings.Contains(errs.String(), c.says) {
				t.Errorf("status %d:\n%s", status, errs)
			}
			r, err := record.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if info := r.Stat(); info.Events == 0 {
				t.Errorf("nothing can be read: %+v", info)
			}
		})
	}
}
