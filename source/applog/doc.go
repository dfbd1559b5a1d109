// Package applog reads the logs of applications: when they fell silent, and
// what they say of heartbeats and connections.
//
// A log is known by its shape: lines with a time stamp in one of the forms of
// docs/LOGS.md, near their beginning. A line without one continues the record
// before it. What the stamps leave open (the zone, the year, the date, the
// order of day and month) is said by the user or assumed, and Log.Assumed says
// what was assumed; it is never silent.
//
// The file is read once, without being held, and only the stamp of each line
// is parsed. The cadence of the log is learned on the way: the longest silences
// after minutes with about as many lines. At the end, a silence is a gap when
// the power law through the others lets expect less than one like it in all of
// the log, and when the log went on afterwards as before. Lines that report
// missed heartbeats, lost connections or a program that was held up are found
// by the table Patterns: one pass looks for what is literally in all of them,
// and an expression is tried on the few records that have it.
//
// Times may step back by moments, where several programs write into one file; a
// longer step begins anew. Records of a cluster.log of WSFC that are glued
// together on one line are taken apart. UTF-16 is recognised, with and without a
// byte order mark; long lines are cut, and bytes that are no text are passed over.
package applog

//go:generate go run lostbeat/internal/gen/monthsgen
