package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/record"
	"lostbeat/tui/tuitest"
)

// buildDir is the folder in which built has put the program; nil before.
var buildDir atomic.Value

// built builds the program once for all tests that start it as a process.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lostbeat-cli")
	if err != nil {
		return "", err
	}
	buildDir.Store(dir)
	// Ordinary users start it, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "lostbeat")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if report := os.Getenv(measureVariable); report != "" {
		os.Exit(measure(report, os.Args[1:]))
	}
	if spec := os.Getenv(holdVariable); spec != "" {
		if err := holdPorts(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if handled, status := runHidden(os.Args[1:]); handled {
		os.Exit(status)
	}
	os.Setenv("XDG_CONFIG_HOME", "/proc/none") // no settings of whoever runs the tests; nothing can be made there
	status := m.Run()
	if dir, ok := buildDir.Load().(string); ok {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

func lostbeat(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nobody makes cmd run as an ordinary user.
func nobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Env = append(os.Environ(), "HOME=/nonexistent")
	cmd.Dir = "/"
	return cmd
}

// terminal is a program in a real terminal of a given size.
type terminal struct {
	t      *testing.T
	socket string
}

func startTerminal(t *testing.T, width, height int, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is not installed; .ci/setup installs it")
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	term.tmux(
		"new-session",
		"-d",
		"-x",
		fmt.Sprint(width),
		"-y",
		fmt.Sprint(height),
		command+"; echo ended with $?; sleep 60",
	)
	t.Cleanup(func() {
		// It fails when the program has ended by itself, and with it the server.
		_ = exec.Command("tmux", "-S", term.socket, "kill-server").Run()
	})
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (term *terminal) screen() string { return term.tmux("capture-pane", "-p") }

// wait waits until the screen shows all of the given texts.
func (term *terminal) wait(texts ...string) string {
	term.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		screen := term.screen()
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			return screen
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("the screen does not show %q:\n%s", missing, screen)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (term *terminal) press(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys"}, keys...)...)
}

func TestLiveUIInATerminal(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	for _, size := range []struct{ width, height int }{{120, 40}, {80, 24}} {
		t.Run(fmt.Sprintf("%dx%d", size.width, size.height), func(t *testing.T) {
			term := startTerminal(t, size.width, size.height, lostbeat(t))
			term.wait("LIVE", "Overview", "loss")
			for _, page := range []struct{ key, text string }{
				{"2", "wait p99"}, {"3", "device"}, {"4", "port pools"}, {"6", "finding"}, {"?", "next finding"},
			} {
				term.press(page.key)
				term.waitFold(page.text)
			}
			term.press("Escape", "1")
			term.press("Space")
			term.wait("PAUSED")
			term.press("q")
			term.wait("ended with 0")
		})
	}
}

// waitFold is wait without regard to case.
func (term *terminal) waitFold(text string) {
	term.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(strings.ToLower(term.screen()), strings.ToLower(text)) {
		if time.Now().After(deadline) {
			term.t.Fatalf("the screen does not show %q:\n%s", text, term.screen())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestLongSmallTerminalsLive(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	for _, size := range []struct{ width, height int }{{20, 5}, {40, 10}, {1, 1}} {
		t.Run(fmt.Sprintf("%dx%d", size.width, size.height), func(t *testing.T) {
			term := startTerminal(t, size.width, size.height, lostbeat(t))
			deadline := time.Now().Add(time.Minute)
			for ; size.width > 10 && strings.TrimSpace(term.screen()) == ""; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the screen stays empty")
				}
			}
			term.press("2", "Tab", "?", "Escape", "Down")
			term.press("q")
			if size.width > 10 {
				term.wait("ended with 0")
			}
		})
	}
}

func TestLongReplayInATerminalAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t) // to become another user
	path := sampleRecording(t)
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	term := startTerminal(
		t,
		100,
		30,
		fmt.Sprintf("setpriv --reuid=65534 --regid=65534 --clear-groups %s replay --utc %s", lostbeat(t), path),
	)
	term.wait("PAUSED", "web-07") // at its worst finding
	term.press("End")
	term.wait("rpc", "ports")
	term.press("g")
	term.press("14:03:30", "Enter")
	term.wait("14:03:30")
	term.press("q")
	term.wait("ended with 0")
}

// A file of metrics that can no longer be written is a line of the screen, which stays whole; so is that it can again.
// It takes 25 s: the file is written every 10 s.
func TestLongMetricsFileOnScreen(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	folder := filepath.Join(t.TempDir(), "metrics")
	create := func() {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	create()
	term := startTerminal(t, 120, 40, lostbeat(t)+" --metrics-file "+filepath.Join(folder, "lostbeat.prom"))
	term.wait("LIVE", "Overview")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	screen := term.wait("metrics file: write metrics: ", "output fails: d")
	if got := strings.Count(screen, "write metrics"); got != 1 {
		t.Errorf("it is said %d times:\n%s", got, screen)
	}
	create()
	screen = term.wait("metrics file: works again")
	if strings.Contains(screen, "output fails") {
		t.Errorf("it is still marked:\n%s", screen)
	}
	term.press("q")
	term.wait("ended with 0")
}

// Every key that the help names does something in a real terminal, on each page, and none of them ends the program.
func TestLongEveryKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "faults.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range tuitest.Stream(tuitest.Options{Seconds: 90, Flood: 70, Leak: 20, Units: true}) {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	term := startTerminal(t, 120, 40, fmt.Sprintf("%s replay --utc %s", lostbeat(t), path))
	term.wait("web-07", "PAUSED") // at its worst finding
	for _, tt := range []struct{ keys, want string }{
		{"1", "this file:"}, {"2", "CPU and deferred work"}, {"3", "packets lost, by place"}, {"4", "port pools"},
		{"5", "Heartbeats"}, {"6", "all findings"}, {"Tab", "this file:"}, {"BTab", "all findings"},
		{"j", "all findings"}, {"k", "all findings"}, {"Enter", "Esc back"}, {"Escape", "q quit"},
		{"2 v", "deferred work by CPU"}, {"V", "CPU and deferred work"},
		{"/", "filter:"}, {"c p u = 0 Enter", "filter: cpu=0"}, {"Escape", "!filter:"},
		{"&", "filter of all tables"}, {"N E T Enter", "filter: NET"}, {"Escape", "!filter:"},
		{"s", "▼"}, {"S", "▲"}, {"m", "p99 (m changes)"}, {"Enter", "findings about this"}, {"Escape", "q quit"},
		{"4 u", "units whose processes"}, {"u", "port holders"},
		{"Home", "PAUSED"}, {"n", "PAUSED"}, {"N", "PAUSED"}, {"]", "PAUSED"}, {"[", "PAUSED"},
		{"Left", "PAUSED"}, {"Right", "PAUSED"}, {"H", "PAUSED"}, {"L", "PAUSED"}, {"End", "PAUSED"},
		{"g", "go to"}, {"Escape", "!go to"}, {"+", "×2"}, {"-", "!×2"}, {"Home Space", "REPLAY"}, {"Space", "PAUSED"},
		{"1", "this file:"}, {"n", "too early to call it a leak"}, {"y", "copied the finding"},
		{":", "commands: type"}, {"Escape", "q quit"},
		{"d", "probes: what is seen"}, {"d", "this file:"}, {"?", "keys on Overview"}, {"?", "this file:"},
	} {
		term.press(strings.Fields(tt.keys)...)
		if tt.keys == "y" { // the moment that n goes to may still be read
			time.Sleep(time.Second)
			term.press("y")
		}
		unwanted, gone := strings.CutPrefix(tt.want, "!")
		if !gone {
			term.wait(tt.want)
			continue
		}
		for deadline := time.Now().Add(time.Minute); strings.Contains(term.screen(), unwanted); {
			if time.Now().After(deadline) {
				t.Fatalf("the screen still shows %q after %s", unwanted, tt.keys)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	term.press("q")
	term.wait("ended with 0")
}

func TestWithoutPrivileges(t *testing.T) {
	testutil.Privileged(t) // to become another user
	for _, args := range [][]string{{}, {"watch"}, {"record", "-o", "/tmp/lostbeat-nobody.lostbeat"}} {
		cmd := nobody(exec.Command(lostbeat(t), args...))
		var errs bytes.Buffer
		cmd.Stderr = &errs
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != exitError || !strings.Contains(errs.String(), "hint: ") ||
			!strings.Contains(errs.String(), "CAP_BPF") {
			t.Errorf("%v: %v, %s", args, err, errs.String())
		}
	}
	out, err := nobody(exec.Command(lostbeat(t), "doctor")).Output()
	if err != nil || !strings.Contains(string(out), "CAP_BPF") || !strings.Contains(string(out), "probe deferred") {
		t.Errorf("doctor without privileges: %v\n%s", err, out)
	}
}

func TestRecordStopsCleanly(t *testing.T) {
	testutil.Privileged(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.lostbeat")
			cmd := exec.Command(lostbeat(t), "record", "-o", path)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				if info, err := os.Stat(path); err == nil && info.Size() > 4096 {
					break
				}
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			out, stderr, status := execute(t, "info", path)
			if status != exitOK || !strings.Contains(out, "deferred.hist") || strings.Contains(out, "note") {
				t.Errorf("status %d\n%s%s", status, out, stderr)
			}
		})
	}
}

func TestWatchAndRecordInATerminal(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	term := startTerminal(t, 130, 10, lostbeat(t)+" watch >/dev/null")
	term.wait("watching", "Ctrl-C stops")
	term.press("C-c")
	term.wait("ended with 0")
	narrow := startTerminal(t, 40, 10, lostbeat(t)+" record -o "+filepath.Join(t.TempDir(), "out.lostbeat"))
	narrow.wait("recording 3s")
	if n := strings.Count(narrow.screen(), "recording"); n != 1 {
		t.Errorf("the progress takes %d lines:\n%s", n, narrow.screen())
	}
	narrow.press("C-c")
	narrow.wait("ended with 0")
}

func TestWatchNamesFindingsOnOneLine(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	cmd := exec.Command(lostbeat(t), "watch", "--probe", "port", "--pool", "lab=udp:21000-21999")
	var out output
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leak := exec.Command(
		lostbeat(t),
		"lab-child",
		"leak",
		"-mode",
		"port",
		"-rate",
		"40",
		"-count",
		"600",
		"-port",
		"21000",
	)
	stdin, err := leak.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // the probes attach
	if err := leak.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the leak is found", func() bool { return strings.Contains(out.String(), "port-leak") })
	if err := errors.Join(stdin.Close(), leak.Wait(), cmd.Process.Signal(syscall.SIGINT), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "port-leak") || !strings.Contains(out.String(), "lab") {
		t.Errorf("got %q", out.String())
	}
}
