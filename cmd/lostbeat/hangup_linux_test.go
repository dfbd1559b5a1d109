package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/record"
)

// hangUp runs a command in a terminal whose shell does not pass SIGHUP on,
// closes the terminal once shown is on the screen, and returns the command's
// exit status.
func hangUp(t *testing.T, command, shown string) string {
	t.Helper()
	status := filepath.Join(t.TempDir(), "status")
	term := startTerminal(t, 100, 30, fmt.Sprintf("trap : HUP; %s; echo $? >%s", command, status))
	term.wait(shown)
	if out, err := exec.Command("tmux", "-S", term.socket, "kill-server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if text, err := os.ReadFile(status); err == nil && len(text) > 0 {
			return strings.TrimSpace(string(text))
		}
		if time.Now().After(deadline) {
			t.Fatal("it has not ended")
		}
	}
}

// The UI ends with its terminal, also where nobody tells it.
func TestReplayEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	if status := hangUp(t, lostbeat(t)+" replay "+sampleRecording(t), "Overview"); status != "0" {
		t.Errorf("status %s", status)
	}
}

// What was started with nohup outlives its terminal.
func TestRecordSurvivesItsTerminal(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	path := filepath.Join(t.TempDir(), "out.lostbeat")
	status := hangUp(
		t,
		"echo started; nohup "+lostbeat(t)+" record --probe nic --duration 6s -o "+path+" </dev/null >/dev/null 2>&1",
		"started",
	)
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if start, end := r.Span(); status != "0" || end.Sub(start) < 3*time.Second {
		t.Errorf("status %s, %v recorded", status, end.Sub(start))
	}
}
