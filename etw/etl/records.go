package etl

import (
	"context"
	"io"
	"iter"

	"lostbeat/etw"
	"lostbeat/etw/xca"
)

// chunk is how much of an uncompressed buffer is held at once; a record is at
// most 64 KiB.
const chunk = 256 << 10

// Records iterates over all records of an event trace log in the order of the
// file, the log header first. It works for every file of that container
// format, binary performance logs included.
//
// A part that cannot be read yields a [*Damage] with a zero record, and the
// iteration goes on behind it. Any other error ends it. A record is valid
// until the next step.
func Records(r io.ReaderAt, size int64) iter.Seq2[*etw.Record, error] {
	return func(yield func(*etw.Record, error) bool) {
		h, found, err := index(context.Background(), r, size)
		if err != nil {
			yield(&etw.Record{}, err)
			return
		}
		w := walker{r: r, header: &h}
		for i := range found.buffers {
			if !w.buffer(
				&found.buffers[i],
				func(record *etw.Record) bool { return yield(record, nil) },
				func(d *Damage) bool { return yield(&etw.Record{}, d) },
			) {
				return
			}
		}
		for _, damage := range found.damage {
			if !yield(&etw.Record{}, damage) {
				return
			}
		}
	}
}

// walker reads the records of one buffer after the other.
type walker struct {
	r      io.ReaderAt
	header *Header
	window window
	record etw.Record
	// passed reports whether a record with a header of the given type is not needed decoded; nil needs all.
	passed func(b []byte, kind uint8) bool
}

// format returns how a buffer is compressed.
func (h *Header) format(b *buffer) xca.Format {
	if b.compressed() {
		return h.packed
	}
	return xca.None
}

// cpu returns the processor that a buffer's records are from unless they say
// otherwise.
func (h *Header) cpu(b *buffer) int32 {
	if h.LogFileMode&modeNoPerProcessor != 0 {
		return -1
	}
	return int32(b.processor)
}

// buffer hands the records of b to each, and damage to report; it returns
// false when one of them did.
func (w *walker) buffer(b *buffer, each func(*etw.Record) bool, report func(*Damage) bool) bool {
	at := uint32(bufferHeaderSize)
	previous := uint64(0)
	cpu := w.header.cpu(b)
	for {
		if err := w.window.load(w.r, b, at, chunk, w.header.format(b)); err != nil {
			return report(&Damage{Offset: b.offset, Bytes: int64(b.size), Reason: err.Error()})
		}
		data := w.window.data
		last := b.compressed() || at+uint32(len(data)) >= b.filled
		offset := 0
		for {
			size, kind, what := measure(data[offset:])
			if what != isRecord {
				p := locate(data, offset, last, previous, b.latest())
				if p.skipped > 0 && !report(p.damage(b, at)) {
					return false
				}
				if offset, size, kind = p.at, p.size, p.kind; size == 0 {
					break
				}
			}
			record := data[offset : offset+size]
			offset = min(offset+align8(size), len(data))
			if w.passed != nil && w.passed(record, kind) {
				if t := timeOf(record, kind); t != 0 {
					previous = t
				}
				continue
			}
			w.record.CPU = cpu
			parse(record, kind, &w.record)
			if w.record.Time == 0 {
				w.record.Time = previous
			}
			previous = w.record.Time
			if !each(&w.record) {
				return false
			}
		}
		if last {
			return true
		}
		at += uint32(offset)
	}
}

// position returns where in the file a record lies, or its buffer where that
// is compressed.
func (b *buffer) position(at uint32, offset int) int64 {
	if b.compressed() {
		return b.offset
	}
	return b.offset + int64(at) + int64(offset)
}

func align8(n int) int { return (n + 7) &^ 7 }
