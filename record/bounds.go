package record

import (
	"errors"
	"fmt"

	"lostbeat/model"
)

// Bounds of what a reader makes of a file, so that a small file can take neither
// much memory nor much time. The writer stays far below all of them.
const (
	// maxBlocks is the most blocks of a file that are read: 72 bytes are kept for each.
	maxBlocks = 1 << 19
	// maxHeader is the largest header, decompressed.
	maxHeader = 256 << 10
	// maxTables bounds the memory of the tables of one Events message: strings, stacks and histograms.
	maxTables = 32 << 20
	// maxString is the longest string of a table.
	maxString = 1 << 20

	// What a file may expand to grows with what is read of it: so many events, and so many bytes decompressed, to a byte
	// of the file, beside an allowance that serves the smallest. A recording takes some 7 bytes to an event, and shrinks
	// to a third when it is compressed.
	allowedEvents, eventsPerByte = 1 << 17, 4
	allowedRaw, rawPerByte       = 48 << 20, 32
)

// expansion is how much more one pass over a file may make of it.
type expansion struct{ events, raw int64 }

func newExpansion() expansion { return expansion{allowedEvents, allowedRaw} }

// stored takes up that a frame of n bytes is about to be read.
func (x *expansion) stored(n int) {
	x.events += eventsPerByte * int64(n)
	x.raw += rawPerByte * int64(n)
}

// decompressed takes up that a frame has become n bytes. It returns an error
// when the file has expanded too far.
func (x *expansion) decompressed(n int) error {
	if x.raw -= int64(n); x.raw < 0 {
		return fmt.Errorf("%w: more than %d bytes decompressed to a byte of the file", errExpands, rawPerByte)
	}
	return nil
}

// emitted takes up n events and returns how many of them are still allowed.
func (x *expansion) emitted(n int) int {
	allowed := int(max(0, min(int64(n), x.events)))
	x.events -= int64(allowed)
	return allowed
}

// errExpands says that a file would become far more than was written to it.
var errExpands = errors.New("out of proportion")

// tableBytes is the memory of a batch's tables.
type tableBytes int

// take counts n bytes and returns an error when they are too many.
func (t *tableBytes) take(n int) error {
	if *t += tableBytes(n); *t > maxTables {
		return malformed("tables of more than %d MiB", maxTables>>20)
	}
	return nil
}

// Sizes in memory of what tables hold.
const (
	stringBytes = 16
	stackBytes  = 24
	frameBytes  = 24
	histBytes   = 48
	bucketBytes = 16
)

// outline is what a block says of itself, as far as it is kept for all blocks.
type outline struct {
	seq, events, lost uint64
	start, end        model.Time
	keyframe          bool
	// known says that it was read, bad that it cannot be.
	known, bad bool
}
