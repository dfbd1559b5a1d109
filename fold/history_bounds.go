package fold

import "time"

// HistoryLength is how much event time a History keeps.
const HistoryLength = historyFrames * time.Second

// Bounds of a History, so that a host with very many sources costs memory in
// proportion to what a reader can use.
const (
	// historyFrames is how many seconds are kept.
	historyFrames = 900
	// historyRows bounds the rows in all frames together, at some 48 bytes each.
	historyRows = 1 << 20
	// openFrames is how many of the newest frames may still change; it grows with the length of the intervals, up to
	// maxOpenFrames.
	openFrames, maxOpenFrames = 4, 64
	// Rows of one table, single runs, holders and counters in one frame.
	maxRowsPerFrame  = 2048
	maxRunsPerFrame  = 16
	maxHolders       = 64
	maxCounterSeries = 256
	// maxSeries is how many series of one kind are remembered before those that are in no frame any more are forgotten.
	maxSeries = 1 << 14
)

// Bounds of the totals of a History. What comes after a table is full is
// counted in its totals but gets no row of its own.
const (
	maxWorkTotals   = 4096
	maxCounters     = 8192
	maxFlows        = 2048
	maxRefused      = 512
	maxRPC          = 1024
	maxLosses       = 256
	maxAudits       = 1024
	maxDeviceEvents = 64
	// shownTotals is how many rows of a table a Snapshot has.
	shownTotals = 256
	// maxFindings is how many findings are kept, maxVersions how many versions of each.
	maxFindings, maxVersions = 1000, 32
)

const (
	// seekGap is a step back in event time that only a seek makes.
	seekGap = 3 * time.Second
	// publishEvery is the shortest time between two snapshots, publishQuiet that while no second ends.
	publishEvery, publishQuiet = 100 * time.Millisecond, time.Second
)
