//go:build !linux

package applog

import "lostbeat/model"

// writer is the process that has a log open for writing; found on Linux only.
type writer struct {
	pid  int32
	name string
}

func (w *writer) look(_ model.Time, in input) {
	w.pid = -1
	if j, ok := in.(*journal); ok {
		w.pid, w.name = j.writer()
	}
}
