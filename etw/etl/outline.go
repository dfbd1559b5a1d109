package etl

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lostbeat/etw"
)

// outline is what the headers of the buffers say of a file.
type outline struct {
	buffers []buffer
	// damage is what lies between the buffers, or is missing, and what became of it.
	damage []*Damage
	// repaired are buffers of which the header's size was wrong and that are read all the same.
	repaired int
}

// bufferKinds is the number of kinds of buffers; knownFlags are the flags that a header may have.
const (
	bufferKinds = 8
	knownFlags  = 0x7f
)

// maxCandidates is how many places of one file are looked at for the header of a
// buffer behind damage: a file made for it could have one at each byte.
const maxCandidates = 1 << 16

// outliner walks over the buffers of a file.
type outliner struct {
	r      io.ReaderAt
	size   int64
	header *Header
	// fixed is the size of every buffer, 0 where each has its own.
	fixed uint32
	outline
	// gaps is how many buffers do not make sense, as far as that can be told.
	gaps int
	// seen finds the buffer of a sequence number in buffers.
	seen       map[sequenceKey]int
	candidates int
}

type sequenceKey struct {
	sequence, flushed int64
	processor, logger uint16
}

// readOutline walks the buffer headers to the end of the file. Where one makes no
// sense, the walk goes on at the next that does.
func readOutline(ctx context.Context, r io.ReaderAt, size int64, header *Header) (outline, error) {
	w := outliner{r: r, size: size, header: header, seen: make(map[sequenceKey]int)}
	for offset, n := int64(0), 0; size-offset >= bufferHeaderSize; n++ {
		if n&0xff == 0 && ctx.Err() != nil {
			return outline{}, ctx.Err()
		}
		next, err := w.buffer(offset)
		if err != nil {
			return outline{}, err
		}
		offset = next
	}
	w.missing()
	return w.outline, nil
}

// headerAt reads the buffer header at offset; ok says that its fields make sense,
// fits that its size does, too.
func (w *outliner) headerAt(offset int64) (b buffer, raw [bufferHeaderSize]byte, fits, ok bool, err error) {
	if w.size-offset < bufferHeaderSize {
		return b, raw, false, false, nil
	}
	if _, err := w.r.ReadAt(raw[:], offset); err != nil && !errors.Is(err, io.EOF) {
		return b, raw, false, false, fmt.Errorf("read buffer header at offset %d: %w", offset, err)
	}
	length := binary.LittleEndian.Uint32(raw[:])
	fits = length >= bufferHeaderSize && length <= maxBuffer && (w.fixed == 0 || length == w.fixed)
	if !fits {
		// The other fields are judged as if it were as long as the others.
		binary.LittleEndian.PutUint32(raw[:], max(w.fixed, w.header.BufferSize, bufferHeaderSize))
	}
	b, ok = parseBuffer(raw[:], offset, w.size)
	saved := binary.LittleEndian.Uint32(raw[4:])
	ok = ok && b.kind < bufferKinds && b.flags&^knownFlags == 0 && b.sequence >= 0 && b.sequence < 1<<40 &&
		saved <= maxBuffer && b.filled >= bufferHeaderSize &&
		(b.compressed() || saved <= max(length, w.fixed, w.header.BufferSize))
	return b, raw, fits, ok, nil
}

// buffer takes the buffer at offset and returns where to go on.
func (w *outliner) buffer(offset int64) (next int64, err error) {
	b, raw, fits, ok, err := w.headerAt(offset)
	if err != nil {
		return 0, err
	}
	length := int64(binary.LittleEndian.Uint32(raw[:]))
	if offset == 0 {
		// It was read as the log header already.
		if b, ok = parseBuffer(raw[:], 0, w.size); !ok {
			return w.size, nil
		}
		fits = true
		if length == int64(w.header.BufferSize) && w.header.LogFileMode&modeCompressed == 0 {
			w.fixed = w.header.BufferSize
		}
	} else if another, err := w.begins(offset); err != nil || another {
		return w.size, err
	}
	if ok && !fits {
		// Its own size may be right although the others have another.
		own := int64(w.ownSize(offset))
		if own >= bufferHeaderSize && own <= min(maxBuffer, w.size-offset) {
			_, _, nextFits, nextOK, err := w.headerAt(offset + own)
			if err != nil {
				return 0, err
			}
			if nextFits && nextOK || offset+own == w.size {
				binary.LittleEndian.PutUint32(raw[:], uint32(own))
				b, _ = parseBuffer(raw[:], offset, w.size)
				length, fits = own, true
			}
		}
	}
	if ok && fits && offset+length <= w.size {
		if w.size-offset-length >= bufferHeaderSize {
			// The next header has to be there, or the buffer is a part of one.
			_, following, nextFits, nextOK, err := w.headerAt(offset + length)
			if err != nil {
				return 0, err
			}
			if (!nextFits || !nextOK) && !blank(following[4:]) {
				if next, err = w.search(offset + bufferHeaderSize); err != nil {
					return 0, err
				}
				if next < offset+length {
					fits = false
				}
			}
		}
		if fits {
			w.take(b)
			return offset + length, nil
		}
	}
	if next == 0 {
		if next, err = w.search(offset + bufferHeaderSize); err != nil {
			return 0, err
		}
	}
	switch {
	case !ok:
		return next, w.gap(offset, next)
	case next == w.size && fits:
		// The file was cut inside it.
		w.damaged(offset, 0, fmt.Sprintf("the file ends inside a buffer, %d bytes of it are missing", offset+length-w.size))
		w.take(b)
		return next, nil
	}
	// The header is right but for the size, which the next header shows.
	real := next - offset
	if w.fixed > 0 {
		real = min(real, int64(w.fixed))
	}
	if real > maxBuffer {
		return next, w.gap(offset, next)
	}
	binary.LittleEndian.PutUint32(raw[:], uint32(real))
	if b, ok = parseBuffer(raw[:], offset, w.size); !ok {
		return next, w.gap(offset, next)
	}
	w.repaired++
	w.damaged(offset, 0, "the size of a buffer is damaged: it was read as far as the next one")
	w.take(b)
	if rest := offset + real; rest < next {
		return next, w.gap(rest, next)
	}
	return next, nil
}

// ownSize is the size that the header at offset gives.
func (w *outliner) ownSize(offset int64) uint32 {
	var raw [4]byte
	if err := readFull(w.r, raw[:], offset); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint32(raw[:])
}

// begins reports whether another event trace log begins at offset, as where a file
// was appended to another, and notes that.
func (w *outliner) begins(offset int64) (bool, error) {
	var head, first [128]byte
	if w.size-offset < int64(len(head)) {
		return false, nil
	}
	if err := readFull(w.r, head[:], offset); err != nil {
		return false, err
	}
	if !Detect(head[:]) {
		return false, nil
	}
	what := "another trace begins here and is not read: split the file there and open both parts"
	if err := readFull(w.r, first[:], 0); err != nil {
		return false, err
	}
	if bytes.Equal(head[:], first[:]) {
		what = "the same trace begins again here and is not read twice"
	}
	w.damaged(offset, w.size-offset, what)
	return true, nil
}

// take adds a buffer, unless one of its sequence number is there: then the one that
// is less damaged stays.
func (w *outliner) take(b buffer) {
	k := sequenceKey{b.sequence, b.flushed, b.processor, b.logger}
	at, ok := w.seen[k]
	switch {
	case !ok || b.sequence == 0 && b.flushed == 0:
		w.seen[k] = len(w.buffers)
		w.buffers = append(w.buffers, b)
	case w.better(&b, &w.buffers[at]):
		w.copied(&w.buffers[at], &b)
		w.buffers[at] = b
	default:
		w.copied(&b, &w.buffers[at])
	}
}

// better reports whether more records can be read of a than of b.
func (w *outliner) better(a, b *buffer) bool {
	readable := func(b *buffer) (n int) {
		walker := walker{r: w.r, header: w.header}
		walker.buffer(b, func(*etw.Record) bool { n++; return true }, func(*Damage) bool { n--; return true })
		return n
	}
	return readable(a) > readable(b)
}

// copied notes that b is a copy of another buffer, or of its beginning.
func (w *outliner) copied(b, of *buffer) {
	w.damaged(b.offset, int64(b.size), fmt.Sprintf("a copy of the buffer at offset %d, or of a part of it", of.offset))
}

// gap notes that no buffer stands from offset to next. Blank space at the end is
// what a session reserves, and no damage.
func (w *outliner) gap(offset, next int64) error {
	empty, err := w.blank(offset, next)
	if err == nil && (!empty || next < w.size) {
		w.gaps++
		if w.fixed > 0 {
			w.gaps += int((next-offset)/int64(w.fixed)) - 1
		}
	}
	switch {
	case err != nil:
		return err
	case !empty:
		w.damaged(offset, next-offset, "no buffer header")
	case next < w.size:
		w.damaged(offset, next-offset, "zeros where a buffer should be")
	}
	return nil
}

func (w *outliner) damaged(offset, bytes int64, reason string) {
	w.damage = append(w.damage, &Damage{Offset: offset, Bytes: bytes, Reason: reason})
}

// missing compares what was found with what the log header counts. A circular
// log counts what it has overwritten, too.
func (w *outliner) missing() {
	written, found := int(w.header.BuffersWritten), len(w.buffers)
	if w.header.LogFileMode&modeCircular != 0 || written <= found+w.gaps {
		return
	}
	found += w.gaps // those are said already
	w.damage = append(w.damage, &Damage{
		Offset: w.size,
		Reason: fmt.Sprintf("%d of the %d buffers that the file's header counts are missing", written-found, written),
		Lost:   uint64(written - found),
	})
}

// searchBytes is how much is read at a time in the search for a header.
const searchBytes = 256 << 10

// search returns where the next buffer begins at or behind from, the size of the
// file when there is none.
func (w *outliner) search(from int64) (int64, error) {
	data := make([]byte, searchBytes+bufferHeaderSize)
	for base := from; w.size-base >= bufferHeaderSize; base += searchBytes {
		data = data[:min(int64(cap(data)), w.size-base)]
		if err := readFull(w.r, data, base); err != nil {
			return 0, err
		}
		for i := 0; i+bufferHeaderSize <= len(data) && i < searchBytes; i++ {
			if i = w.candidate(data, i); i < 0 {
				break
			}
			if i >= searchBytes {
				break
			}
			if w.candidates++; w.candidates > maxCandidates {
				return w.size, nil
			}
			ok, err := w.proven(base + int64(i))
			if err != nil {
				return 0, err
			}
			if ok {
				return base + int64(i), nil
			}
		}
	}
	return w.size, nil
}

// candidate returns the first place in data at or behind i where a header may
// stand, by the fields that have few values; -1 for none.
func (w *outliner) candidate(data []byte, i int) int {
	if w.fixed > 0 {
		var size [4]byte
		binary.LittleEndian.PutUint32(size[:], w.fixed)
		at := bytes.Index(data[i:], size[:])
		if at < 0 || i+at+bufferHeaderSize > len(data) {
			return -1
		}
		return i + at
	}
	for ; i+bufferHeaderSize <= len(data); i++ {
		h := data[i:]
		if h[0x37] == 0 && h[0x36] < bufferKinds && h[0x35] == 0 && h[0x34]&^knownFlags == 0 && h[3] == 0 &&
			binary.LittleEndian.Uint32(h) >= bufferHeaderSize {
			return i
		}
	}
	return -1
}

// proven reports whether a buffer begins at offset: its header makes sense, and
// a record, compressed data or the end of the buffer follow.
func (w *outliner) proven(offset int64) (bool, error) {
	b, raw, fits, ok, err := w.headerAt(offset)
	if err != nil || !fits || !ok || b.flushed < 0 {
		return false, err
	}
	length := int64(binary.LittleEndian.Uint32(raw[:]))
	if w.fixed == 0 {
		if length > int64(w.header.BufferSize)+bufferHeaderSize {
			return false, nil
		}
		if offset+length == w.size {
			return true, nil
		}
		_, _, nextFits, nextOK, err := w.headerAt(offset + length)
		return nextFits && nextOK, err
	}
	if b.compressed() || b.filled == bufferHeaderSize {
		return true, nil
	}
	var head [minRecord]byte
	if w.size-offset < bufferHeaderSize+minRecord {
		return false, nil
	}
	if err := readFull(w.r, head[:], offset+bufferHeaderSize); err != nil {
		return false, err
	}
	_, _, what := measure(head[:])
	return what == isRecord || what == isPartial, nil
}

// blank reports whether the bytes from offset to end are all 0 or all 0xff.
func (w *outliner) blank(offset, end int64) (bool, error) {
	data := make([]byte, 64<<10)
	for offset < end {
		part := data[:min(int64(len(data)), end-offset)]
		if err := readFull(w.r, part, offset); err != nil {
			return false, err
		}
		if !blank(part) {
			return false, nil
		}
		offset += int64(len(part))
	}
	return true, nil
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0 && c != 0xff {
			return false
		}
	}
	return true
}
