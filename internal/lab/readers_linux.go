package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// readerScenarios are programs that do not read their socket in time, each for
// another reason.
func readerScenarios() []*Scenario {
	reader := func(parts ...string) []Expectation { return []Expectation{{Detector: "socket-drop", Contains: parts}} }
	return []*Scenario{
		{Name: "reader-behind-realtime", Doc: "a reader whose CPU a SCHED_FIFO task holds for 400 ms at a time",
			Length: 8 * time.Second, Expect: reader("got no CPU", "did not read", "SCHED_FIFO 50"), Run: behindRealtime},
		{Name: "reader-behind-hogs", Doc: "a reader of low priority that shares its CPU with four programs",
			Length: 8 * time.Second, Expect: reader("got no CPU", "did not read"), Run: behindHogs},
		{Name: "reader-frozen", Doc: "a reader whose control group is frozen for 2.5 s", Light: true,
			Length: 6 * time.Second, Expect: reader("frozen", "did not read"), Run: frozenReader},
		{Name: "reader-throttled", Doc: "a reader that uses up the CPU quota of its control group", Light: true,
			Length: 8 * time.Second, Expect: reader("throttled", "did not read"), Run: throttledReader},
		{Name: "reader-resumed", Doc: "a reader that is stopped by a signal for 4 s and then goes on", Light: true,
			Length: 8 * time.Second, Expect: reader("stopped for", "did not read"), Run: resumedReader},
		{Name: "reader-waits-for-lock", Doc: "a reader that waits for a file lock which another process holds", Light: true,
			Length: 8 * time.Second, Expect: reader("waited for a lock", "did not read"), Run: lockedReader},
		{Name: "reader-reads-elsewhere", Doc: "a reader that waits for another socket most of the time", Light: true,
			Length: 8 * time.Second, Expect: reader("waited for something else", "did not read"), Run: elsewhereReader},
		{Name: "small-buffer-two", Doc: "bursts into a buffer of 8 KiB, on any CPU", Light: true,
			Length: 8 * time.Second, Expect: reader("too small"), Run: smallBufferAnywhere},
	}
}

// readBy starts a reader with the given options and the sender of rate datagrams a second.
func readBy(ctx context.Context, e *Env, rate int, args ...string) (*Process, error) {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := e.Start(ctx, receiver, "sink", append([]string{"-local", e.target()}, args...)...)
	if err != nil {
		return nil, err
	}
	_, err = e.Start(ctx, sender, "flood", "-to", e.target(), "-rate", strconv.Itoa(rate), "-size", "600", "-cpu", "0")
	return reader, err
}

func behindRealtime(ctx context.Context, e *Env) error {
	if _, err := readBy(ctx, e, 2000, "-cpu", "1"); err != nil {
		return err
	}
	if _, err := e.Start(ctx, "", "hog", "-cpu", "1", "-fifo", "50", "-on", "400ms", "-off", "200ms"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func behindHogs(ctx context.Context, e *Env) error {
	if _, err := readBy(ctx, e, 4000, "-cpu", "1", "-nice", "19", "-buffer", "32768"); err != nil {
		return err
	}
	for range 4 {
		if _, err := e.Start(ctx, "", "hog", "-cpu", "1"); err != nil {
			return err
		}
	}
	e.Hold(ctx)
	return nil
}

// group makes a control group for one process below the given controller's
// hierarchy, or the unified one, and moves the process there.
func (e *Env) group(controller string, pid int) (folder string, unified bool, err error) {
	name := fmt.Sprintf("lostbeat-lab-%d-%d", os.Getpid(), e.scenario.number)
	for _, root := range []string{"/sys/fs/cgroup/" + controller, "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		_, isUnified := os.Stat(filepath.Join(root, "cgroup.controllers"))
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		folder, unified = filepath.Join(root, name), isUnified == nil
		if unified && controller == "cpu" {
			// The controller may be on already, or in the hands of another hierarchy: then cpu.max is missing below.
			_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0)
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			return "", false, fmt.Errorf("make a control group: %w", err)
		}
		e.undo = append([]func() error{func() error { return os.Remove(folder) }}, e.undo...) // once its process has ended
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return "", false, fmt.Errorf("move a process into a control group: %w", err)
		}
		e.cgroup, e.unified = folder, unified
		return folder, unified, nil
	}
	return "", false, errors.New("no hierarchy of control groups has the controller " + controller)
}

func frozenReader(ctx context.Context, e *Env) error {
	reader, err := readBy(ctx, e, 1000)
	if err != nil {
		return err
	}
	if _, _, err := e.group("freezer", reader.pid()); err != nil {
		return err
	}
	wait(ctx, time.Second)
	e.MarkFault()
	if err := e.freeze(true); err != nil {
		return err
	}
	wait(ctx, 2500*time.Millisecond)
	if err := e.freeze(false); err != nil {
		return err
	}
	wait(ctx, e.Length-2500*time.Millisecond)
	return nil
}

// freeze freezes the control group, or thaws it.
func (e *Env) freeze(on bool) error {
	file, value := "freezer.state", map[bool]string{true: "FROZEN", false: "THAWED"}[on]
	if e.unified {
		file, value = "cgroup.freeze", map[bool]string{true: "1", false: "0"}[on]
	}
	if err := os.WriteFile(filepath.Join(e.cgroup, file), []byte(value), 0); err != nil {
		return fmt.Errorf("freeze or thaw: %w", err)
	}
	return nil
}

func throttledReader(ctx context.Context, e *Env) error {
	reader, err := readBy(ctx, e, 2000, "-spin", "200us", "-buffer", "65536")
	if err != nil {
		return err
	}
	if err := e.quota(reader.pid(), 10*time.Millisecond); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

// quota gives a process so much CPU time in each 100 ms.
func (e *Env) quota(pid int, quota time.Duration) error {
	if _, _, err := e.group("cpu", pid); err != nil {
		return err
	}
	return e.setQuota(quota)
}

// setQuota gives the control group so much CPU time in each 100 ms.
func (e *Env) setQuota(quota time.Duration) error { return e.setQuotaIn(quota, 100*time.Millisecond) }

// setQuotaIn gives it so much in each period.
func (e *Env) setQuotaIn(quota, period time.Duration) error {
	file, value := "cpu.cfs_quota_us", strconv.FormatInt(quota.Microseconds(), 10)
	length := strconv.FormatInt(period.Microseconds(), 10)
	if e.unified {
		file, value = "cpu.max", value+" "+length
	} else if err := os.WriteFile(filepath.Join(e.cgroup, "cpu.cfs_period_us"), []byte(length), 0); err != nil {
		return fmt.Errorf("set the period of a CPU quota: %w", err)
	}
	err := os.WriteFile(filepath.Join(e.cgroup, file), []byte(value), 0)
	if err != nil {
		return fmt.Errorf("set a CPU quota: %w", err)
	}
	return nil
}

func resumedReader(ctx context.Context, e *Env) error {
	reader, err := readBy(ctx, e, 700)
	if err != nil {
		return err
	}
	wait(ctx, time.Second)
	e.MarkFault()
	if err := reader.suspend(); err != nil {
		return err
	}
	wait(ctx, 4*time.Second)
	if err := reader.resume(); err != nil {
		return err
	}
	wait(ctx, e.Length-4*time.Second)
	return nil
}

func lockedReader(ctx context.Context, e *Env) error {
	lock, err := e.lockFile()
	if err != nil {
		return err
	}
	if _, err := readBy(ctx, e, 1000, "-lock", lock); err != nil {
		return err
	}
	if _, err := e.Start(ctx, "", "locker", "-lock", lock, "-on", "900ms", "-off", "300ms"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func elsewhereReader(ctx context.Context, e *Env) error {
	if _, err := readBy(ctx, e, 1000, "-elsewhere", "900ms"); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}

func smallBufferAnywhere(ctx context.Context, e *Env) error {
	sender, receiver, err := e.Pair(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, receiver, "sink", "-local", e.target(), "-buffer", "8192", "-cpu", "0"); err != nil {
		return err
	}
	if _, err := e.Start(
		ctx, sender, "flood", "-to", e.target(), "-rate", "1500", "-burst", "300", "-cpu", "0",
	); err != nil {
		return err
	}
	e.Hold(ctx)
	return nil
}
