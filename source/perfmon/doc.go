// Package perfmon reads the performance logs of Windows on any operating
// system: PDH text logs (CSV and TSV, as relog, logman, perfmon and typeperf
// write them) and binary logs (BLG). A [Log] is a source of lostbeat's event
// model; nothing of it needs Windows.
//
// # Text logs
//
// Line 1 holds quoted cells. The first is "(PDH-CSV 4.0) (ZONE)(BIAS)", where
// BIAS is the number of minutes to add to local time for UTC; the others are
// counter paths, \\MACHINE\Object(Instance)\Counter. Each line after it is one
// sample: local time as MM/DD/YYYY HH:MM:SS.mmm, then one value to a column. A
// missing value is a cell of one space.
//
// What the programs that write them do to that format:
//
//   - The header is in the machine's ANSI code page and is not marked as such.
//   - A zone name with a letter outside ASCII ends the first cell there and
//     then, without a bias. typeperf writes no zone at all. Such a log has no
//     known offset: [Open] asks for it, see [OffsetError].
//   - Names of objects and counters are in the language of the machine.
//   - The description of a data collector set stands behind the last column.
//   - typeperf starts with an empty line and ends with sentences.
//   - Rates and shares have no value in the first line: they need two samples.
//   - An instance that appears after the start has no column, and "#N" behind
//     the name of an instance moves to another process when one ends.
//
// # Binary logs
//
// A BLG is an ETL file (buffers of records, see package etw/etl) whose events
// have the class 933f3bb3-943e-490d-9ced-3cbb14c14479. Numbers are
// little-endian, strings UTF-16. The payload of an event is a GUID, part and
// parts (uint32 each) and the part of a record; a record is its parts joined:
//
//	0x20  catalogue: uint32 0x6ff, uint32 flags, then entries
//	0x22  sample: block 'B' 'L' 3 0, uint32 length, then records
//	0x23  summary at the end of the file; not needed, not read
//	0x24  names: \\MACHINE 0, then (index 0 name 0)...
//
// A catalogue entry names a counter, by strings at offsets from entry+0x34:
//
//	0x00 uint32 length     0x04 uint32 form: 0 one counter, 1 each instance, 16 a whole object
//	0x08 uint32            0x0c uint32 counter type (winperf.h)
//	0x10 uint64 time base  0x18 int32 scale   0x1c uint32 machine
//	0x20 uint32 object     0x24 uint32 instance, 0xffffffff none
//	0x28 uint32 parent instance   0x2c uint32 instance index   0x30 uint32 counter
//
// A sample has one record for each entry, in the same order: 'B' 'L' 3 kind,
// uint32 length with this header, then
//
//	kind 1  one counter, a PDH_RAW_COUNTER: uint32 status, FILETIME at 4, int64 first
//	        value at 16, second value at 24, uint32 multi count at 32
//	kind 2  each instance: uint32 size, uint32 count, uint32 status, FILETIME at 16, then
//	        count items of uint32 name, uint32 multi count, int64 first, int64 second;
//	        names are at offsets from the size
//	kind 5  a whole object: a PERF_DATA_BLOCK as in winperf.h
//
// Values are raw; they are cooked by their counter type, see [Cook]. The time
// of an event is local; the log header's start is UTC and its zone gives the
// offset, so that a binary log always knows its own.
//
// # Events
//
// Counters that bear on lost heartbeats become events of their own kinds for
// each interval between two samples: cpu.time, deferred.hist and
// interrupt.hist of each CPU, device.stats and drop of each adapter and of UDP.
// These and some more are counter events too, under their English names
// whatever the language of the log ("Processor/% DPC Time", instance "3").
// With [Options.AllCounters] every column is a counter event. Shares are 0 to
// 1. Evidence from counters carries [model.FlagSecondary] where a trace would
// say more: a counter cannot tell one long DPC from many short ones, and
// _Total hides the one CPU that is starved.
package perfmon
