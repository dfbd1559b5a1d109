//go:build !linux

package main

import (
	"lostbeat/pipeline"
	"lostbeat/sink/recording"
)

// onJournal is false on systems without systemd.
func onJournal() bool { return false }

// journalOutput is not called on systems without systemd.
func journalOutput(func(string), recording.Recorder) (outputs []pipeline.Output, end func()) {
	return nil, func() {}
}
