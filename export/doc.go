// Package export writes captures as tables, for tools that analyse data, and as Perfetto traces.
//
// There is a table for each kind of event, with a column for each of its fields ([Columns]), one of the captures that
// were read, and one of the findings in them. A [Folder] holds a file for each table that has rows, in one of the
// [Formats]. docs/EXPORT.md describes the tables for users.
//
// A [Trace] is one file in the format of perfetto.proto, the part of Perfetto's that is written. Its tracks are not the
// tables: what holds at a moment, such as the ports of a pool, is folded from the events.
//
// Rows and packets are written as they come. What is held in memory is bounded: a row group of Parquet for each table,
// or a little for each track.
package export
