//go:build !unix

package main

import "lostbeat/sink/recording"

// keepSignal is nothing: this system has no such signal.
type keepSignal struct{}

func takeKeepSignal() keepSignal { return keepSignal{} }

func (keepSignal) serve(recording.Recorder) {}

func (keepSignal) stop() {}
