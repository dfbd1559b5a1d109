package perfmon

import "math"

// CounterType is a counter's type as winperf.h composes it: size, kind,
// calculation, time base and display.
type CounterType uint32

// Counter types, by the names of winperf.h without their PERF_ prefix.
const (
	RawCountHex          CounterType = 0x00000000
	LargeRawCountHex     CounterType = 0x00000100
	CounterText          CounterType = 0x00000b00
	RawCount             CounterType = 0x00010000
	LargeRawCount        CounterType = 0x00010100
	CounterDelta         CounterType = 0x00400400
	LargeDelta           CounterType = 0x00400500
	SampleCounter        CounterType = 0x00410400
	QueueLen             CounterType = 0x00450400
	LargeQueueLen        CounterType = 0x00450500
	QueueLen100ns        CounterType = 0x00550500
	QueueLenObject       CounterType = 0x00650500
	Counter              CounterType = 0x10410400
	BulkCount            CounterType = 0x10410500
	RawFraction          CounterType = 0x20020400
	LargeRawFraction     CounterType = 0x20020500
	Timer                CounterType = 0x20410500
	PrecisionSystemTimer CounterType = 0x20470500
	Timer100ns           CounterType = 0x20510500
	Precision100nsTimer  CounterType = 0x20570500
	ObjectTimer          CounterType = 0x20610500
	PrecisionObjectTimer CounterType = 0x20670500
	SampleFraction       CounterType = 0x20c20400
	TimerInv             CounterType = 0x21410500
	Timer100nsInv        CounterType = 0x21510500
	MultiTimer           CounterType = 0x22410500
	MultiTimer100ns      CounterType = 0x22510500
	MultiTimerInv        CounterType = 0x23410500
	MultiTimer100nsInv   CounterType = 0x23510500
	AverageTimer         CounterType = 0x30020400
	ElapsedTime          CounterType = 0x30240500
	NoData               CounterType = 0x40000200
	AverageBulk          CounterType = 0x40020500
	SampleBase           CounterType = 0x40030401
	AverageBase          CounterType = 0x40030402
	RawBase              CounterType = 0x40030403
	LargeRawBase         CounterType = 0x40030503
	LargeRawBaseOld      CounterType = 0x40030500
	MultiBase            CounterType = 0x42030500
	Histogram            CounterType = 0x80000000
)

// Fields of a counter type.
const (
	sizeMask         = 0x300
	sizeLarge        = 0x100
	kindMask         = 0xc00
	kindCounter      = 0x400
	timeBaseMask     = 0x300000
	timeBase100ns    = 0x100000
	timeBaseObject   = 0x200000
	subtypeMask      = 0x0f0000
	subtypeBase      = 0x030000
	deltaFlag        = 0x400000
	displayMask      = 0x70000000
	displayPerSecond = 0x10000000
	displayPercent   = 0x20000000
	displaySeconds   = 0x30000000
)

// isBase reports whether t is the denominator of the counter before it rather
// than a counter of its own.
func (t CounterType) isBase() bool { return t&kindMask == kindCounter && t&subtypeMask == subtypeBase }

// hasBase reports whether the definition after t holds its denominator.
func (t CounterType) hasBase() bool {
	switch t {
	case RawFraction, LargeRawFraction, SampleFraction, AverageTimer, AverageBulk,
		PrecisionSystemTimer, Precision100nsTimer, PrecisionObjectTimer,
		MultiTimer, MultiTimerInv, MultiTimer100ns, MultiTimer100nsInv:
		return true
	}
	return false
}

// isMulti reports whether t is divided by a number of items besides time.
func (t CounterType) isMulti() bool {
	switch t {
	case MultiTimer, MultiTimerInv, MultiTimer100ns, MultiTimer100nsInv:
		return true
	}
	return false
}

// needsTwo reports whether a value of t takes two samples.
func (t CounterType) needsTwo() bool {
	return t&deltaFlag != 0 || t == AverageTimer || t == AverageBulk
}

// isTimeShare reports whether t is a share of the interval, in percent.
func (t CounterType) isTimeShare() bool {
	return t&displayMask == displayPercent && t&deltaFlag != 0 && t != SampleFraction
}

// Raw is one reading of a counter before it is cooked.
type Raw struct {
	// First is the counter's value.
	First int64
	// Second is the denominator: the time of the reading in units of the time base, or the base counter's value.
	Second int64
	// Multi is the number of items of a multi timer.
	Multi uint32
	// TimeBase is the number of units of the clock in a second.
	TimeBase float64
}

// Cook computes the value of a counter of type t from two readings, as PDH
// does: shares in percent, rates per second, times in seconds. It reports
// false where there is no value: a type without one, no time between the
// readings, a counter that was reset between them. Types that need one reading
// only ignore the first.
//
// Two deviations: the SDK multiplies a MULTI_TIMER of the performance counter
// by the time base, which is right only for a counter that counts seconds;
// here it is the ratio, as for MULTI_TIMER in 100 ns. And an inverse timer
// that comes out below zero, because idle time and clock were not read in the
// same instant, is 0.
func Cook(t CounterType, earlier, later Raw) (float64, bool) {
	switch t {
	case RawCount, RawCountHex:
		return float64(uint32(later.First)), true
	case LargeRawCount, LargeRawCountHex:
		return float64(later.First), true
	case RawFraction, LargeRawFraction:
		return ratio(100*float64(later.First), float64(later.Second))
	case ElapsedTime:
		if later.TimeBase <= 0 || later.Second < later.First {
			return 0, false
		}
		return float64(later.Second-later.First) / later.TimeBase, true
	}
	if !t.needsTwo() {
		return 0, false
	}
	count, ok := difference(t, earlier.First, later.First)
	if !ok {
		return 0, false
	}
	switch t {
	case CounterDelta, LargeDelta:
		return count, true
	}
	elapsed := float64(later.Second - earlier.Second)
	switch t {
	case SampleFraction, AverageTimer, AverageBulk:
		if elapsed, ok = baseDifference(earlier.Second, later.Second); !ok {
			return 0, false
		}
	}
	if elapsed < 0 || later.Second == earlier.Second {
		return 0, false
	}
	switch t {
	case Counter, BulkCount, SampleCounter:
		return ratio(count*later.TimeBase, elapsed)
	case QueueLen, LargeQueueLen, QueueLen100ns, QueueLenObject, AverageBulk:
		return ratio(count, elapsed)
	case Timer, Timer100ns, ObjectTimer, PrecisionSystemTimer, Precision100nsTimer, PrecisionObjectTimer, SampleFraction:
		return ratio(100*count, elapsed)
	case TimerInv, Timer100nsInv:
		return max(0, 100*(1-count/elapsed)), true
	case MultiTimer, MultiTimer100ns:
		return ratio(100*count/elapsed, float64(later.Multi))
	case MultiTimerInv, MultiTimer100nsInv:
		if later.Multi == 0 {
			return 0, false
		}
		return max(0, 100*(1-count/elapsed/float64(later.Multi))), true
	case AverageTimer:
		if later.TimeBase <= 0 {
			return 0, false
		}
		return ratio(count/later.TimeBase, elapsed)
	}
	return 0, false
}

// ratio divides; it reports false where the result is not a number to show.
func ratio(numerator, denominator float64) (float64, bool) {
	if denominator == 0 {
		return 0, false
	}
	v := numerator / denominator
	return v, !math.IsNaN(v) && !math.IsInf(v, 0)
}

// difference returns how far a counter has advanced. A counter of 32 bits may
// have wrapped; one of 64 bits that has fallen was reset.
func difference(t CounterType, earlier, later int64) (float64, bool) {
	if t&sizeMask != sizeLarge {
		return baseDifference(int64(uint32(earlier)), int64(uint32(later)))
	}
	if later < earlier {
		return 0, false
	}
	return float64(uint64(later) - uint64(earlier)), true
}

// baseDifference is the advance of a counter of which nothing but its size is
// known: a fall of more than half of 32 bits is a wrap, any other a reset.
func baseDifference(earlier, later int64) (float64, bool) {
	if later >= earlier {
		return float64(uint64(later) - uint64(earlier)), true
	}
	if earlier <= math.MaxUint32 && later >= 0 && earlier-later > math.MaxInt32 {
		return float64(later - earlier + 1<<32), true
	}
	return 0, false
}
