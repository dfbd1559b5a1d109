package tui

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
)

// Run ends without an error when the reader quits and when its context is done.
func TestRunEnds(t *testing.T) {
	s := loaded(bothFaults)
	t.Run("quit", func(t *testing.T) {
		var out bytes.Buffer
		if err := Run(
			t.Context(),
			Options{State: s, Live: true, Input: strings.NewReader("2q"), Output: &out, Width: 80, Height: 24},
		); err != nil {
			t.Error(err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		in, w := io.Pipe()
		defer w.Close()
		if err := Run(ctx, Options{State: s, Live: true, Input: in, Output: io.Discard, Width: 80, Height: 24}); err != nil {
			t.Error(err)
		}
	})
}

// childEnv makes the test binary run the program instead of its tests.
const childEnv = "LOSTBEAT_TUI_CHILD"

// TestChild is the program that TestTerminal starts.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("runs inside TestTerminal")
	}
	if err := Run(t.Context(), Options{State: loaded(bothFaults), Live: true, Location: time.UTC}); err != nil {
		t.Fatal(err)
	}
}

// The whole program in a real terminal: it draws, takes keys, follows a change
// of size and gives the terminal back.
func TestTerminal(t *testing.T) {
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		testutil.Unavailable(t, "needs tmux: %v", err)
	}
	dir, err := os.MkdirTemp("", "lb") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(
			t.Context(), tmux, append([]string{"-S", filepath.Join(dir, "s"), "-f", "/dev/null"}, args...)...,
		).
			CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(
		"new-session",
		"-d",
		"-x",
		"80",
		"-y",
		"24",
		"sh",
		"-c",
		childEnv+`=1 "$0" -test.run='^TestChild$'; echo status $?; exec cat`,
		os.Args[0],
	)
	defer run("kill-server")
	until := func(want string) {
		t.Helper()
		poll := time.NewTicker(50 * time.Millisecond)
		defer poll.Stop()
		deadline := time.After(20 * time.Second)
		for {
			got := run("capture-pane", "-p")
			if strings.Contains(got, want) {
				return
			}
			select {
			case <-poll.C:
			case <-deadline:
				t.Fatalf("the terminal never shows %q but\n%s", want, got)
			}
		}
	}
	until("CPU 0 spends 99.8 %")
	run("send-keys", "Enter")
	until("more lines")
	run("send-keys", "2")
	until("CPU and deferred work")
	run("resize-window", "-x", "40", "-y", "10")
	run("send-keys", "1")
	until("cannot keep up with: 7.1 M packets")
	run("send-keys", "q")
	until("status 0") // on the screen of before, which the program has given back
}
