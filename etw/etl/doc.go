// Package etl reads Windows event trace log files on any operating system.
//
// # Files
//
// A file is a sequence of buffers. Each starts with a header of 72 bytes:
//
//	0x00 u32 BufferSize      size on disk, header included
//	0x04 u32 SavedOffset     end of valid data; of a compressed buffer: 72 + uncompressed length
//	0x10 i64 TimeStamp       when it was flushed, in the session's clock
//	0x18 i64 SequenceNumber  of the session
//	0x28 u16 ProcessorIndex  with flag 0x20; otherwise u8 processor number and u8 alignment
//	0x2a u16 LoggerId
//	0x2c u32 State           of buffer 0: low 16 bits are the compression format
//	0x30 u32 Offset          end of valid data; differs from SavedOffset in the last buffers
//	0x34 u16 BufferFlag      0x02 events lost, 0x04 buffer lost, 0x20 processor index, 0x40 compressed
//	0x36 u16 BufferType      4 is the header buffer, which is never compressed
//
// The next buffer begins BufferSize bytes further on, whatever the session's
// buffer size is. The number of buffers in the log header is not trusted: a
// file that was never finalised has none.
//
// Buffers are written when they are full, so a processor's buffers are in
// order and those of different processors are not. [File.Run] merges the
// processors' streams by time and holds one window of each in memory.
//
// # Records
//
// Records are aligned to 8 bytes. The first four bytes are the marker: byte 3
// has the flags 0xc0 for a trace header, whose kind is byte 2, or 0x90 for a
// trace message. Kinds 1 and 2 are system headers for 32 and 64 bits, 3 and 4
// compact, 16 and 17 perfinfo, 10 and 20 full, 11 and 21 instance, 18 and 19
// event, 13 an error record. Anything else ends the buffer: there is nothing
// to resynchronise on, so the rest of that buffer is dropped and counted.
//
// # Times
//
// The log header event gives the clock: its own time stamp belongs to
// StartTime. See etw.Clock.
package etl
