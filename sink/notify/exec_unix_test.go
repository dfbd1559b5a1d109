//go:build unix

package notify

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/model"
)

// script writes a program.
func script(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func startExec(t *testing.T, l *log, e Exec) *Notifier {
	t.Helper()
	e.Say = l.say
	n, err := e.Start()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestExec(t *testing.T) {
	t.Setenv("LOSTBEAT_THEME", "dark")
	t.Setenv("KEPT", "yes")
	dir := t.TempDir()
	var l log
	n := startExec(t, &l, Exec{Command: []string{script(t, `cat >>"$2/$LOSTBEAT_FINDING_ID"
echo "$1" "$LOSTBEAT_FINDING_DETECTOR $LOSTBEAT_FINDING_SEVERITY $LOSTBEAT_FINDING_TITLE $LOSTBEAT_FINDING_START" \
	"$LOSTBEAT_FINDING_ONGOING $LOSTBEAT_THEME $KEPT" >>"$2/env"`), "$(id); *", dir}})
	write(t, n, history("a")...)
	n.Close(10 * time.Second)
	body, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil || l.all() != "" {
		t.Fatalf("%v, said %q", err, l.all())
	}
	var got []string
	for line := range strings.Lines(string(body)) {
		got = append(got, describe(t, []byte(line)))
	}
	if !slices.Equal(got, wantHistory("a")) {
		t.Errorf("got %q", got)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "env"))
	want := "$(id); * socket-drop warning title of a 2026-11-29T14:03:00.000000000Z true  yes"
	if line, _, _ := strings.Cut(string(env), "\n"); line != want {
		t.Errorf("got %q, want %q", line, want)
	}
}

func TestExecFails(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"status", "echo no such team >&2; exit 7", "exit status 7: no such team (a)"},
		{"steers the terminal", `printf 'x\033[31m\n' >&2; exit 1`, "exit status 1: x·[31m (a)"},
		{"says much", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "exit status 1: xxx"},
		{"hangs", "sleep 60 & wait", "stopped after 200ms, its time limit (a)"},
		{"leaves a child", "sleep 60 &", "(a)"}, // it holds standard error open
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var l log
			n := startExec(t, &l, Exec{Command: []string{script(t, tt.script)}, Limit: 200 * time.Millisecond})
			began := time.Now()
			write(t, n, found("a", model.SeverityWarning, true))
			n.Close(10 * time.Second)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if !strings.Contains(l.all(), tt.want) || !strings.HasSuffix(l.all(), "1 of 1 messages were not delivered") ||
				len(l.all()) > 3*saidBytes {
				t.Errorf("said %q, want %q", l.all(), tt.want)
			}
		})
	}
}

// TestExecAtOnce runs many, of which no more than allowed run at a time.
func TestExecAtOnce(t *testing.T) {
	dir := t.TempDir()
	var l log
	n := startExec(t, &l, Exec{AtOnce: 2, Command: []string{script(t, `mkdir "$1/$$"
ls "$1" | wc -l >>"$1.count"
sleep 0.02
rmdir "$1/$$"`), dir}})
	for i := range 20 {
		write(t, n, found(fmt.Sprint(i), model.SeverityWarning, true))
	}
	n.Close(30 * time.Second)
	text, err := os.ReadFile(dir + ".count")
	if err != nil || l.all() != "" {
		t.Fatalf("%v, said %q", err, l.all())
	}
	counts := strings.Fields(string(text))
	if len(counts) != 20 || slices.ContainsFunc(counts, func(s string) bool { return s != "1" && s != "2" }) {
		t.Errorf("ran at a time: %v", counts)
	}
}

func TestExecNeedsAProgram(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lostbeat-no-such-program", plain, t.TempDir()} {
		if _, err := (Exec{Command: []string{name}}).Start(); err == nil || hint.Of(err) == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
