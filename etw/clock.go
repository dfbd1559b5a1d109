package etw

import (
	"math"
	"math/bits"

	"lostbeat/model"
)

// ClockType is the clock of a session's time stamps.
type ClockType uint8

// Session clocks.
const (
	// ClockQPC is the performance counter, the usual one.
	ClockQPC ClockType = 1
	// ClockSystem is the system time in 100 ns since 1601.
	ClockSystem ClockType = 2
	// ClockCycles is the processor's cycle counter.
	ClockCycles ClockType = 3
)

var clockNames = [...]string{"unknown", "qpc", "system", "cycles"}

// String returns qpc, system or cycles.
func (c ClockType) String() string {
	if int(c) < len(clockNames) {
		return clockNames[c]
	}
	return clockNames[0]
}

// fileTimeEpoch is 1 January 1970 in 100 ns since 1601.
const fileTimeEpoch = 116444736000000000

// FileTime converts 100 ns since 1601; 0 and what model.Time cannot hold become 0.
func FileTime(t uint64) model.Time {
	const limit = 1<<63/100 - 1
	d := int64(t) - fileTimeEpoch
	if t == 0 || int64(t) < 0 || d > limit || d < -limit {
		return 0
	}
	return model.Time(d * 100)
}

// Clock converts time stamps of a session.
type Clock struct {
	Type ClockType
	// Frequency is ticks per second: of the performance counter for ClockQPC, of the processor for ClockCycles.
	Frequency uint64
	// Origin is the time stamp that Start belongs to.
	Origin uint64
	// Start is the time at Origin.
	Start model.Time
}

// Time converts a time stamp. Time stamps before the origin are valid: a
// relogged capture has them.
func (c *Clock) Time(ticks uint64) model.Time {
	if c.Type == ClockSystem {
		return FileTime(ticks)
	}
	if ticks >= c.Origin {
		return c.Start + model.Time(c.nanoseconds(ticks-c.Origin))
	}
	return c.Start - model.Time(c.nanoseconds(c.Origin-ticks))
}

// Ticks is the inverse of Time: the last time stamp that lies at or before t,
// or one just before it.
func (c *Clock) Ticks(t model.Time) uint64 {
	if c.Type == ClockSystem {
		return uint64(max(int64(t)/100+fileTimeEpoch-1, 0))
	}
	if t >= c.Start {
		return c.Origin + c.ticks(uint64(t-c.Start))
	}
	return c.Origin - min(c.ticks(uint64(c.Start-t))+1, c.Origin)
}

// ticks converts nanoseconds, limited as nanoseconds does.
func (c *Clock) ticks(ns uint64) uint64 {
	hi, lo := bits.Mul64(ns, c.Frequency)
	if hi >= 1e9 {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, 1e9)
	return min(n, math.MaxInt64)
}

// Duration converts the difference of two time stamps; it is 0 when end is
// before start.
func (c *Clock) Duration(start, end uint64) int64 {
	if end <= start {
		return 0
	}
	if c.Type == ClockSystem {
		return c.scale(end-start, 1e7)
	}
	return c.nanoseconds(end - start)
}

func (c *Clock) nanoseconds(ticks uint64) int64 { return c.scale(ticks, c.Frequency) }

// scale returns ticks/frequency seconds in nanoseconds, computed in 128 bits
// and limited to a century, so that a damaged time stamp stays a number.
func (c *Clock) scale(ticks, frequency uint64) int64 {
	const century = 100 * 365 * 86400 * 1_000_000_000
	switch frequency {
	case 0:
		return 0
	case 1e7: // that of FILETIME, and of the performance counter from Windows 10 on
		return int64(min(ticks, century/100) * 100)
	}
	hi, lo := bits.Mul64(ticks, 1e9)
	if hi >= frequency {
		return century
	}
	ns, _ := bits.Div64(hi, lo, frequency)
	return int64(min(ns, century))
}
