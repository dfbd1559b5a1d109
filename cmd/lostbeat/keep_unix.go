//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"lostbeat/sink/recording"
)

// keepSignal is SIGUSR1, which asks for the time around it. From takeKeepSignal on it does not end the process.
type keepSignal chan os.Signal

func takeKeepSignal() keepSignal {
	signals := make(keepSignal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	return signals
}

// serve has a flight recorder keep the time around each signal, also one that has come already. Others ignore it.
func (s keepSignal) serve(to recording.Recorder) {
	keeper, ok := to.(recording.Keeper)
	go func() {
		for range s {
			if ok {
				keeper.Keep("asked for by SIGUSR1")
			}
		}
	}()
}

// stop ends that.
func (s keepSignal) stop() {
	signal.Stop(s)
	close(s) // whoever keeps just then may wait for a disk that does not respond: it ends with the process
}
