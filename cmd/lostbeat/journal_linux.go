package main

import (
	"fmt"
	"os"

	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/sink/notify"
	"lostbeat/sink/recording"

	"golang.org/x/sys/unix"
)

// onJournal says whether standard error is systemd's journal, as in a service.
func onJournal() bool {
	var errs unix.Stat_t
	err := unix.Fstat(unix.Stderr, &errs)
	return err == nil && isJournal(os.Getenv("JOURNAL_STREAM"), &errs)
}

// journalOutput sends findings to systemd's journal, with the files in which they are recorded. say is told what could
// not be delivered.
func journalOutput(say func(string), to recording.Recorder) (outputs []pipeline.Output, end func()) {
	journal := notify.Journal{Say: say}
	if files, ok := to.(recording.Locator); ok {
		journal.Locate = files.Locate
	}
	n := journal.Start()
	output := pipeline.Output{Name: "the journal", Sink: n, Kinds: []model.Kind{model.KindFinding}}
	return []pipeline.Output{output}, func() { n.Close(lastDelivery) }
}

// isJournal says whether a file is the one that systemd names in JOURNAL_STREAM: its device and inode.
func isJournal(variable string, file *unix.Stat_t) bool {
	return variable == fmt.Sprintf("%d:%d", file.Dev, file.Ino)
}
