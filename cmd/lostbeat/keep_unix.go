//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"lostbeat/sink/recording"
)

// keepOnSignal has SIGUSR1 keep the time around it, where the recorder is a flight recorder. Others ignore the signal:
// it would end the process. The returned function ends that.
func keepOnSignal(to recording.Recorder) (stop func()) {
	keeper, ok := to.(recording.Keeper)
	if !ok {
		signal.Ignore(syscall.SIGUSR1)
		return func() { signal.Reset(syscall.SIGUSR1) }
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			keeper.Keep("asked for by SIGUSR1")
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals) // whoever keeps just then may wait for a disk that does not respond: it ends with the process
	}
}
