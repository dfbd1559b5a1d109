// Package record writes and reads recordings: streams of events in files that
// any zstd tool can decompress and any protobuf reader can decode. docs/FORMAT.md
// specifies the format, recordpb/record.proto its messages.
//
// A [Writer] turns batches into blocks of about a second, each a zstd frame of
// its own with its tables, a checksum and, where it is due, a keyframe of the
// state that holds. It rotates files and bounds their sum, and outlives a full
// disk with a count of what it lost. A [Flight] keeps blocks in memory and
// writes those around a moment. A [Reader] is a source.Seekable over one file or
// several; it reads around damage, and reports as loss events what it had to
// leave out. [ReadText] reads the text form of the same streams.
package record
