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
	"lostbeat/model"

	tea "charm.land/bubbletea/v2"
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

// brokenPlayer panics when its position is asked for, as commands beside the loop do.
type brokenPlayer struct{ Player }

func (brokenPlayer) Position() model.Time { panic("no position") }

// broken makes drawing panic.
func broken(m *Model) { m.ui.theme = nil }

// A panic ends the program with an error that says where, in whichever goroutine it is.
func TestPanics(t *testing.T) {
	opt := Options{State: loaded(bothFaults), Live: true, Width: 80, Height: 24}
	for name, act := range map[string]func(m *Model) tea.Msg{
		"drawing": func(m *Model) tea.Msg { broken(m); m.View(); return nil },
		"a key":   func(m *Model) tea.Msg { m.ui.lists = nil; return tea.KeyPressMsg{Code: tea.KeyDown} },
		"a tick": func(m *Model) tea.Msg {
			m.ui.opt.Player = brokenPlayer{}
			return m.tick()()
		},
		"a command": func(m *Model) tea.Msg {
			return wrapCommand(func() message { panic("no disk") })()
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewModel(opt)
			msg := act(m)
			_, cmd := m.Update(msg)
			if cmd == nil || m.failed == nil {
				t.Fatalf("the program goes on after %T", msg)
			}
			if _, quits := cmd().(tea.QuitMsg); !quits {
				t.Error("the program does not end")
			}
			if !strings.Contains(m.failed.Error(), "in the screen") || !strings.Contains(string(m.failed.Trace), "tui.") {
				t.Errorf("%v\n%s", m.failed, m.failed.Trace)
			}
		})
	}
}

// childEnv makes the test binary run the program instead of its tests, or, when
// it is "panic", a program that panics after a while.
const childEnv = "LOSTBEAT_TUI_CHILD"

// TestChild is the program that TestTerminal starts.
func TestChild(t *testing.T) {
	opt := Options{State: loaded(bothFaults), Live: true, Location: time.UTC}
	switch os.Getenv(childEnv) {
	case "":
		t.Skip("runs inside TestTerminal")
	case "panic":
		opt.Player = brokenPlayer{}
	}
	if err := Run(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
}

// realTerminal runs TestChild in a terminal.
type realTerminal struct {
	t   *testing.T
	run func(args ...string) string
}

func startChild(t *testing.T, child string) *realTerminal {
	t.Helper()
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		testutil.Unavailable(t, "needs tmux: %v", err)
	}
	dir, err := os.MkdirTemp("", "lb") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	term := &realTerminal{t, func(args ...string) string {
		t.Helper()
		args = append([]string{"-S", filepath.Join(dir, "s"), "-f", "/dev/null"}, args...)
		out, err := exec.Command(tmux, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}}
	shell := childEnv + `=` + child + ` "$0" -test.run='^TestChild$'; s=$?; stty -a | ` +
		`tr ' ' '\n' | grep -cxE 'icanon|echo' | sed 's/^/modes /'; echo status $s; exec cat`
	term.run("new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", shell, os.Args[0])
	t.Cleanup(func() { term.run("kill-server") })
	return term
}

// until waits until the screen shows a text, and returns the screen.
func (term *realTerminal) until(want string) string {
	term.t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(20 * time.Second)
	for {
		got := term.run("capture-pane", "-p")
		if strings.Contains(got, want) {
			return got
		}
		select {
		case <-poll.C:
		case <-deadline:
			term.t.Fatalf("the terminal never shows %q but\n%s", want, got)
		}
	}
}

// A panic beside the loop gives a real terminal back, and says where it was.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	term := startChild(t, "panic")
	screen := term.until("status 1")
	if !strings.Contains(screen, "internal error in the screen: no position") {
		t.Errorf("the error is not on the screen:\n%s", screen)
	}
	if !strings.Contains(screen, "modes 2") {
		t.Errorf("the terminal is still raw:\n%s", screen)
	}
	if on := strings.TrimSpace(term.run("display-message", "-p", "#{alternate_on} #{mouse_any_flag}")); on != "0 0" {
		t.Errorf("alternate screen and mouse are %s", on)
	}
}

// The whole program in a real terminal: it draws, takes keys, follows a change
// of size and gives the terminal back.
func TestTerminal(t *testing.T) {
	term := startChild(t, "1")
	run, until := term.run, term.until
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
