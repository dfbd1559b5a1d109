package pause

import (
	"time"

	"lostbeat/model"
)

const (
	// leastSuspended is the shortest sleep that is a pause: the clocks are not read at the same instant.
	leastSuspended = 100 * time.Millisecond
	// leastStopped is how far the real-time clock has to have gone at least.
	leastStopped = time.Second
	// agree is how close the real-time clock and the wall clock are where one was set from the other; quarter is what
	// time zones differ by, as the real-time clock may have local time.
	agree   = time.Second
	quarter = 15 * time.Minute
	// drift is how far the two clocks may drift apart: one part in so many.
	drift = 500
	// rtcTick is the resolution of the real-time clock.
	rtcTick = time.Second
)

// reading is what the clocks say.
type reading struct {
	boot, mono, wall time.Duration
	// rtc is the real-time clock in whole seconds, where hasRTC says that it was read.
	rtc    time.Duration
	hasRTC bool
}

// clocks compares readings.
type clocks struct {
	last reading
	// began says that there was a reading; rtc that there was one with the real-time clock, the last one at rtcBoot.
	began, rtc bool
	rtcBoot    time.Duration
	// low and high are the bounds of by how much the real-time clock is ahead of CLOCK_BOOTTIME; wallAhead is by how much
	// the wall clock was at that reading.
	low, high time.Duration
	wallAhead time.Duration
}

// next takes a reading up, and returns the pauses that it shows.
func (c *clocks) next(r reading) (list []model.HostPause) {
	if c.began {
		if slept := r.boot - r.mono - (c.last.boot - c.last.mono); slept >= leastSuspended {
			list = append(list, model.HostPause{
				Dur: r.boot - c.last.boot, What: model.PauseSuspended, Paused: slept, Clock: "CLOCK_BOOTTIME",
			})
		}
	}
	c.began, c.last = true, r
	if !r.hasRTC {
		return list
	}
	low := r.rtc - r.boot
	high := low + rtcTick
	wallAhead := r.wall - r.boot
	drifted := (r.boot - c.rtcBoot) / drift
	c.low, c.high = c.low-drifted, c.high+drifted
	switch {
	case !c.rtc, high < c.low: // set back
		c.low, c.high = low, high
	case low-c.high >= leastStopped:
		before, after := (c.low+c.high)/2-c.wallAhead, (low+high)/2-wallAhead
		if !agrees(after) || agrees(before) {
			list = append(list, model.HostPause{
				Dur: r.boot - c.rtcBoot, What: model.PauseStopped, Paused: ((low + high) - (c.low + c.high)) / 2,
				Error: ((high - low) + (c.high - c.low)) / 2, Clock: "real-time clock",
			})
		}
		c.low, c.high = low, high
	case low > c.high: // it drifts
		c.low, c.high = low, high
	default:
		c.low, c.high = max(c.low, low), min(c.high, high)
	}
	c.rtc, c.rtcBoot, c.wallAhead = true, r.boot, wallAhead
	return list
}

// agrees says that two clocks show the same, but for the time zone.
func agrees(difference time.Duration) bool {
	return (difference - difference.Round(quarter)).Abs() <= agree
}
