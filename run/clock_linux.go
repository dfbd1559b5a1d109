package run

import (
	"lostbeat/ebpf"
	"lostbeat/model"
)

// streamClock returns the clock of a live stream that has the given reading.
func streamClock(v model.Clock) func() model.Time {
	return ebpf.Clock{Offset: int64(v.Wall) - int64(v.Boot)}.Now
}
