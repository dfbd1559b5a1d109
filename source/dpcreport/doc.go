// Package dpcreport reads reports in text about DPCs and interrupts of Windows: what `xperf -i FILE -a dpcisr`
// prints, and the report of LatencyMon.
//
// xperf prints, first for DPCs and then for interrupts: the time of each driver on each CPU over the whole trace, how
// many runs were how long, of all and of each driver, in classes that double, and the time of each CPU in intervals
// of a second. It names no machine and no time of day: the intervals end when the file was written last. Lines are
// known by their shape: numbers with a decimal point or comma.
//
// LatencyMon prints one value a line, behind its name: the longest run and the driver that had it, how many runs were
// how long, and for each CPU the longest run, all time and the number of runs. Names are in English whatever the
// system's language; numbers have a point or a comma. It has sums over the time of measuring, and no times.
//
// The seconds of xperf become counters of the names that performance logs have, which the detectors read. Sums
// without times become counters of no detector, and notes: who had the longest run is no fault by itself, and tells
// nothing of what was lost.
package dpcreport
