package main

import (
	"fmt"
	"os"

	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/sink/notify"

	"golang.org/x/sys/unix"
)

// journalOutput sends findings to systemd's journal where standard error is the journal, as in a service; elsewhere it
// is nothing. say is told what could not be delivered.
func journalOutput(say func(string)) (outputs []pipeline.Output, end func()) {
	var errs unix.Stat_t
	if err := unix.Fstat(unix.Stderr, &errs); err != nil || !isJournal(os.Getenv("JOURNAL_STREAM"), &errs) {
		return nil, func() {}
	}
	n := notify.Journal{Say: say}.Start()
	output := pipeline.Output{Name: "the journal", Sink: n, Kinds: []model.Kind{model.KindFinding}}
	return []pipeline.Output{output}, func() { n.Close(lastDelivery) }
}

// isJournal says whether a file is the one that systemd names in JOURNAL_STREAM: its device and inode.
func isJournal(variable string, file *unix.Stat_t) bool {
	return variable == fmt.Sprintf("%d:%d", file.Dev, file.Ino)
}
