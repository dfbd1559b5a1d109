package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsJournal(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]bool{"8:15": true, "8:16": false, "9:15": false, "8:15:": false, "": false} {
		if got := isJournal(variable, &unix.Stat_t{Dev: 8, Ino: 15}); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", variable, got)
		}
	}
}
