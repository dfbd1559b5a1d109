//go:build !linux

package run

import (
	"time"

	"lostbeat/model"
)

// streamClock returns the clock of a live stream that has the given reading.
func streamClock(v model.Clock) func() model.Time {
	began := time.Now()
	return func() model.Time { return v.Wall.Add(time.Since(began)) }
}
