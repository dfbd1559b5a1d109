package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/hostile"
	"lostbeat/internal/testutil"
	"lostbeat/model/budget"
)

// What a command may take for a file of some kilobytes. The race detector and a
// busy machine stretch what passes on a clock, so it is the time on a CPU.
const (
	hostileTime = 10 * time.Second
	hostileEnd  = 2 * time.Minute
)

// hostileCommands are what is run over each file.
var hostileCommands = [][]string{
	{"findings"},
	{"findings", "--json"},
	{"info", "--verify", "--json"},
	{"info"},
	{"events", "--json"},
	{"events", "--since", "+90s"},
}

// Every command ends within its memory and time, whatever the file. This takes
// a part of the files, each with one command; TestLongHostileFiles takes all.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it runs the program a hundred times")
	}
	for i, f := range hostile.Files() {
		if i%3 == 0 || !strings.HasPrefix(f.Name, "kind-") {
			withHostile(t, f, hostileCommands[i%len(hostileCommands)])
		}
	}
}

// TestLongHostileFiles runs every third command on each file, the next ones on the next files, and one on those that
// differ in the kind of their events; with LOSTBEAT_LARGE=1 it runs all of them.
func TestLongHostileFiles(t *testing.T) {
	for i, f := range hostile.Files() {
		every := 3
		if strings.HasPrefix(f.Name, "kind-") {
			every = len(hostileCommands)
		}
		var commands [][]string
		for j, c := range hostileCommands {
			if (i+j)%every == 0 || testutil.Large() {
				commands = append(commands, c)
			}
		}
		withHostile(t, f, commands...)
	}
}

func withHostile(t *testing.T, f hostile.File, commands ...[]string) {
	bin := lostbeat(t)
	t.Run(f.Name, func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), f.Name)
		if err := os.WriteFile(path, f.Data(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range commands {
			t.Run(strings.Join(args, " "), func(t *testing.T) { runHostile(t, bin, path, args) })
		}
	})
}

// The screen takes no more, and can be left at once.
func TestHostileFilesOnScreen(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it runs the program")
	}
	shown := map[string]bool{
		"span.txt": true, "two-centuries.lostbeat": true, "kind-process.lostbeat": true,
		"kind-socket-queue-1s.lostbeat": true, "kind-deferred-hist.lostbeat": true, "years.csv": true,
	}
	for _, f := range hostile.Files() {
		if !shown[f.Name] {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, pid := filepath.Join(dir, f.Name), filepath.Join(dir, "pid")
			if err := os.WriteFile(path, f.Data(), 0o600); err != nil {
				t.Fatal(err)
			}
			term := startTerminal(t, 120, 40, fmt.Sprintf("sh -c 'echo $$ >%s; exec %s replay %s'", pid, lostbeat(t), path))
			term.wait("REPLAY")
			term.press("2", "3", "4", "5", "6", "]", "[", "1")
			time.Sleep(2 * time.Second)
			number, err := os.ReadFile(pid)
			if err != nil {
				t.Fatal(err)
			}
			if peak := peakMemory(t, strings.TrimSpace(string(number))); peak > budget.Default {
				t.Errorf("%d MiB of memory", peak>>20)
			}
			term.press("q")
			term.wait("ended with 0")
		})
	}
}

// peakMemory returns the most memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid string) int64 {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no peak in %s", status)
	return 0
}

// measureVariable names the file into which this program, started with it and a
// command, writes what the command took: it is small, and a child counts the
// memory of whoever starts it as its own.
const measureVariable = "LOSTBEAT_MEASURE"

// measured is what a command took.
type measured struct {
	Memory int64
	CPU    time.Duration
}

func measure(report string, args []string) (status int) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	timer := time.AfterFunc(hostileEnd, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // its state says how it ended
	timer.Stop()
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	out, err := json.Marshal(measured{usage.Maxrss << 10, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()})
	if err == nil {
		err = os.WriteFile(report, out, 0o600)
	}
	if err != nil {
		panic(err)
	}
	return cmd.ProcessState.ExitCode()
}

func runHostile(t *testing.T, bin, path string, args []string) {
	var stderr bytes.Buffer
	report := filepath.Join(t.TempDir(), "report")
	cmd := exec.Command(os.Args[0], append(append([]string{bin}, args...), path)...)
	cmd.Env = append(os.Environ(), measureVariable+"="+report)
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	err := cmd.Run()
	if status := (*exec.ExitError)(nil); errors.As(err, &status) && status.ExitCode() != exitError &&
		status.ExitCode() != exitIncomplete {
		t.Errorf("%v: %s", err, firstLines(stderr.String()))
	}
	var took measured
	if out, err := os.ReadFile(report); err != nil {
		t.Fatal(err)
	} else if err := json.Unmarshal(out, &took); err != nil {
		t.Fatal(err)
	}
	if took.Memory > budget.Default {
		t.Errorf("%d MiB of memory", took.Memory>>20)
	}
	if took.CPU > hostileTime {
		t.Errorf("%v on a CPU", took.CPU)
	}
	if strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("it panicked: %s", firstLines(stderr.String()))
	}
	t.Logf("%d MiB, %v on a CPU", took.Memory>>20, took.CPU)
}

func firstLines(s string) string { return fmt.Sprintf("%.500s", s) }
