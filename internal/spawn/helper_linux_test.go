package spawn

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if handled, status := Child(os.Args[1:], func([]byte) {}); handled {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func startHelper(t *testing.T, programs ...Program) *Helper {
	t.Helper()
	h, err := Start(nil, programs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// A program gives the same through a helper as without one.
func TestHelperAsDirect(t *testing.T) {
	h := startHelper(t, Program{Path: "/bin/sh"})
	for name, script := range map[string]string{
		"input and output": `cat; echo said >&2`,
		"status":           `cat; exit 3`,
		"input unread":     `echo done`,
		"environment":      `printf '%s\n' "$ODD"`,
		"much output":      `head -c 3000000 /dev/zero`,
		"killed":           `kill -9 $$`,
	} {
		t.Run(name, func(t *testing.T) {
			results := map[string]string{}
			for way, run := range map[string]Run{"helper": h.Run, "direct": Direct} {
				var out, errs bytes.Buffer
				err := run(t.Context(), Command{
					Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"ODD=a\xffb"},
					Stdin: strings.NewReader(strings.Repeat("line\n", 50_000)), Stdout: &out, Stderr: &errs,
				})
				results[way] = out.String() + "|" + errs.String() + "|"
				if err != nil {
					results[way] += err.Error()
				}
			}
			if results["helper"] != results["direct"] {
				t.Errorf("through the helper %.80q, directly %.80q", results["helper"], results["direct"])
			}
		})
	}
}

func TestHelperRefusesOthers(t *testing.T) {
	h := startHelper(t, Program{Path: "/bin/sh", Args: []string{"-c", "true"}})
	for _, c := range []Command{
		{Path: "/bin/cat"}, {Path: "/bin/sh"}, {Path: "/bin/sh", Args: []string{"-c", "echo"}},
	} {
		if err := h.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "was not started to run") {
			t.Errorf("%s %q: %v", c.Path, c.Args, err)
		}
	}
	if err := h.Run(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", "true", "more"}}); err != nil {
		t.Error(err)
	}
}

func TestHelperKills(t *testing.T) {
	h := startHelper(t, Program{Path: "/bin/sh"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	var out bytes.Buffer
	err := h.Run(ctx, Command{
		Path: "/bin/sh", Args: []string{"-c", "sleep 60 & wait"}, Stdout: &out, Group: true, WaitDelay: time.Second,
	})
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestHelperEnds(t *testing.T) {
	h, err := Start(nil, Program{Path: "/bin/sh"})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		failed <- h.Run(context.Background(), Command{Path: "/bin/sh", Args: []string{"-c", "sleep 60"}})
	}()
	time.Sleep(50 * time.Millisecond)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil || !errors.Is(err, ErrHelperEnded) && !strings.Contains(err.Error(), "killed") {
		t.Errorf("the program that was running: %v", err)
	}
	if err := h.Run(t.Context(), Command{Path: "/bin/sh"}); err == nil {
		t.Error("a helper that has ended runs a program")
	}
	if n := len(h.waiting); n > 0 {
		t.Errorf("%d answers are waited for that nobody sends", n)
	}
}
