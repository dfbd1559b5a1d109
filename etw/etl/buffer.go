package etl

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"lostbeat/etw/xca"
)

// Sizes and flags of buffers.
const (
	bufferHeaderSize = 72

	flagEventsLost     = 0x02
	flagBufferLost     = 0x04
	flagProcessorIndex = 0x20
	flagCompressed     = 0x40

	// maxBuffer is the largest session buffer that Windows allows.
	maxBuffer = 16 << 20
	// maxStreams limits how many processors are merged: Windows supports 2048.
	maxStreams = 2048
)

// buffer is the index entry of one buffer.
type buffer struct {
	// offset is where it begins, size how long it is on disk (clamped to the
	// file) and filled the end of valid data counted from its beginning.
	offset    int64
	size      uint32
	filled    uint32
	sequence  int64
	flushed   int64
	processor uint16
	logger    uint16
	flags     uint16
	kind      uint16
	state     uint32
}

func (b *buffer) compressed() bool { return b.flags&flagCompressed != 0 }

// latest is the time stamp that no record of the buffer is behind: when it was
// flushed, where the header says that.
func (b *buffer) latest() uint64 {
	if b.flushed <= 0 {
		return math.MaxUint64
	}
	return uint64(b.flushed)
}

// parseBuffer decodes the buffer header h of a buffer at offset of a file that
// is size bytes long.
func parseBuffer(h []byte, offset, size int64) (b buffer, ok bool) {
	length := binary.LittleEndian.Uint32(h)
	if length < bufferHeaderSize {
		return b, false
	}
	saved := binary.LittleEndian.Uint32(h[0x04:])
	b = buffer{
		offset:    offset,
		size:      uint32(min(int64(length), size-offset)),
		filled:    binary.LittleEndian.Uint32(h[0x30:]),
		flushed:   int64(binary.LittleEndian.Uint64(h[0x10:])),
		sequence:  int64(binary.LittleEndian.Uint64(h[0x18:])),
		processor: uint16(h[0x28]),
		logger:    binary.LittleEndian.Uint16(h[0x2a:]),
		state:     binary.LittleEndian.Uint32(h[0x2c:]),
		flags:     binary.LittleEndian.Uint16(h[0x34:]),
		kind:      binary.LittleEndian.Uint16(h[0x36:]),
	}
	if b.flags&flagProcessorIndex != 0 {
		b.processor = binary.LittleEndian.Uint16(h[0x28:])
	}
	if b.filled == 0 || b.compressed() {
		b.filled = saved
	}
	if !b.compressed() {
		b.filled = min(b.filled, b.size)
	}
	return b, true
}

// Damage describes a buffer, or a part of one, that could not be read. Only
// the records in it are lost.
type Damage struct {
	// Offset is the position of the damage in the file, or of its buffer where that is compressed.
	Offset int64
	// Bytes is how much of the file was not decoded because of it.
	Bytes int64
	// Reason says what is wrong.
	Reason string
	// Lost is how many buffers or parts of one are lost; 0 counts as one.
	Lost uint64
}

// Error implements error.
func (d *Damage) Error() string {
	if d.Bytes == 0 {
		return fmt.Sprintf("offset %d: %s", d.Offset, d.Reason)
	}
	return fmt.Sprintf("offset %d (%d bytes): %s", d.Offset, d.Bytes, d.Reason)
}

// streams groups the buffers by processor and session and puts each group in
// the order in which it was logged.
func streams(buffers []buffer) [][]buffer {
	type key struct{ processor, logger uint16 }
	index := make(map[key]int)
	var out [][]buffer
	for _, b := range buffers {
		k := key{b.processor % maxStreams, b.logger}
		i, ok := index[k]
		if !ok {
			if len(out) == maxStreams {
				i = int(k.processor)
			} else {
				i = len(out)
				out = append(out, nil)
			}
			index[k] = i
		}
		out[i] = append(out[i], b)
	}
	for _, group := range out {
		slices.SortStableFunc(group, func(a, b buffer) int { return cmp.Compare(a.sequence, b.sequence) })
	}
	return out
}

// window reads buffers. The zero window is ready; data is valid until the next
// load.
type window struct {
	data []byte
	raw  []byte
	// base is the position in the buffer's uncompressed data of data[0]; the
	// data begins behind the header, at 72.
	base uint32
}

// load reads the part of b from position at on, at most limit bytes, which is
// ignored for a compressed buffer.
func (w *window) load(r io.ReaderAt, b *buffer, at, limit uint32, format xca.Format) error {
	w.base = at
	w.data = w.data[:0]
	if !b.compressed() {
		if at >= b.filled {
			return nil
		}
		n := min(b.filled-at, limit)
		w.data = sized(w.data, n)
		return readFull(r, w.data, b.offset+int64(at))
	}
	w.base = bufferHeaderSize
	in := b.size - bufferHeaderSize
	w.raw = sized(w.raw, in)
	if err := readFull(r, w.raw, b.offset+bufferHeaderSize); err != nil {
		return err
	}
	if b.filled < bufferHeaderSize {
		return fmt.Errorf("uncompressed length %d is less than the header", b.filled)
	}
	// A claim of more than this is not believed: it would let a small file
	// occupy any amount of memory.
	want := int(b.filled) - bufferHeaderSize
	if most := min(maxBuffer, 256<<10+64*int(in)); want > most {
		return fmt.Errorf("uncompressed length %d is out of proportion to %d compressed bytes", want, in)
	}
	var err error
	w.data, err = xca.Decompress(w.data, w.raw, want, format)
	return err
}

// release gives the memory back.
func (w *window) release() { *w = window{} }

// sized returns a slice of n bytes, in b's memory where that suffices.
func sized(b []byte, n uint32) []byte {
	if cap(b) < int(n) {
		return make([]byte, n)
	}
	return b[:n]
}

func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at offset %d: %w", offset, err)
}
