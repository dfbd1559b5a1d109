package fold

import "time"

// Limits are the thresholds and lengths that the fold itself needs: from which
// wait on a run is late, how long a port rests where the stream does not say.
// They come from the settings of the detectors that read what they select.
type Limits struct {
	// Window is the time over which the last seconds are summed.
	Window time.Duration
	// LateWait and LongRun are from which wait or length on single runs of deferred work are kept.
	LateWait, LongRun time.Duration
	// HeldWait is from which wait on deferred work counts as held back.
	HeldWait time.Duration
	// DPCGuideline and ISRGuideline are the lengths that runs of DPCs and ISRs should stay below.
	DPCGuideline, ISRGuideline time.Duration
	// LeastSilence and SilentGaps say when a regular flow has fallen silent: after that long, and that many usual gaps.
	LeastSilence time.Duration
	SilentGaps   uint64
	// LatePeriods and LeastLate say when a gap of a followed flow is too long: after so many periods, and that long.
	LatePeriods uint64
	LeastLate   time.Duration
	// TimeoutShare is the share of the protocol's timeout, where that is known, from which fewer periods are enough.
	TimeoutShare float64
	// SilentPeriods and LeastSilent say the same of a gap that lasts and in which nothing comes.
	SilentPeriods uint64
	LeastSilent   time.Duration
	// FullShare is the fill of a receive queue, 0 to 1, from which a reading counts as full.
	FullShare float64
	// StoppedIdle is the time without a read, with data in the queue, after which a program has stopped reading.
	StoppedIdle time.Duration
	// RestLinux and RestWindows are how long a closed port rests where the stream does not say.
	RestLinux, RestWindows time.Duration
	// MaxSamples is how many samples of counters are kept.
	MaxSamples int
	// Memory is that of the process in bytes, of which facts get a part; 0 is budget.Default.
	Memory int64
}
