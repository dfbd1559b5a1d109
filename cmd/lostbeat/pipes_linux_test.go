package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe without a writer is refused at once: opening it would wait for ever.
func TestPipesAreNoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"findings", "info", "events"} {
		_, errs, status := execute(t, command, path)
		if status != exitError || !strings.Contains(errs, "is not a file") || !strings.Contains(errs, "standard input") {
			t.Errorf("%s: status %d: %s", command, status, errs)
		}
	}
}

// Settings from a pipe are read once: to open it again would wait for ever.
func TestSettingsFromAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	go func() { written <- os.WriteFile(path, []byte("utc = true\n"), 0o600) }()
	out, errs, status := execute(t, "config", "--config", path)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if status != exitOK || !strings.HasPrefix(out, path+": read\n") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}
