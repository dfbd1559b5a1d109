//go:build !unix

package main

import "lostbeat/sink/recording"

// keepOnSignal does nothing: this system has no such signal.
func keepOnSignal(recording.Recorder) (stop func()) { return func() {} }
