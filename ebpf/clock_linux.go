package ebpf

import (
	"fmt"
	"time"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// clockReadings is how often the clocks are read to find the tightest bracket.
const clockReadings = 7

// reading is one simultaneous reading of the clocks, as far as that exists.
type reading struct {
	boot, mono time.Duration
	wall       model.Time
	// bracket is the time that the reading took: its uncertainty.
	bracket time.Duration
}

// offset is what turns the boot clock into wall time.
func (r reading) offset() int64 { return int64(r.wall) - int64(r.boot) }

// readClocks reads CLOCK_REALTIME between two readings of CLOCK_BOOTTIME.
func readClocks(get func(clock int32) (int64, error)) (reading, error) {
	before, err := get(unix.CLOCK_BOOTTIME)
	if err != nil {
		return reading{}, err
	}
	wall, err := get(unix.CLOCK_REALTIME)
	if err != nil {
		return reading{}, err
	}
	after, err := get(unix.CLOCK_BOOTTIME)
	if err != nil {
		return reading{}, err
	}
	mono, err := get(unix.CLOCK_MONOTONIC)
	if err != nil {
		return reading{}, err
	}
	return reading{
		boot:    time.Duration(before + (after-before)/2),
		mono:    time.Duration(mono),
		wall:    model.Time(wall),
		bracket: time.Duration(after - before),
	}, nil
}

// tightestReading reads the clocks several times and returns the reading with
// the narrowest bracket.
func tightestReading(get func(clock int32) (int64, error)) (reading, error) {
	var best reading
	for i := range clockReadings {
		r, err := readClocks(get)
		if err != nil {
			return reading{}, fmt.Errorf("read clocks: %w", err)
		}
		if i == 0 || r.bracket < best.bracket {
			best = r
		}
	}
	return best, nil
}

// clockGettime returns a clock's reading in nanoseconds.
func clockGettime(clock int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, err
	}
	return ts.Nano(), nil
}

// Now returns the present time on the session's scale.
func (c Clock) Now() model.Time {
	ns, err := clockGettime(unix.CLOCK_BOOTTIME)
	if err != nil { // cannot fail: the clock was read at the start
		return 0
	}
	return c.Time(uint64(ns))
}
