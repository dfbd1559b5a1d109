package main

import (
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
		if status != exitError || !strings.Contains(errs, "is no file") || !strings.Contains(errs, "standard input") {
			t.Errorf("%s: status %d: %s", command, status, errs)
		}
	}
}
