package perfmontest

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

var le = binary.LittleEndian

// fileTime is 100 ns since 1601 of t as it stands, whatever its zone.
func fileTime(t time.Time) uint64 {
	return uint64(t.UnixNano()/100) + 116444736000000000
}

func wide(s string, zero bool) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	if zero {
		b = append(b, 0, 0)
	}
	return b
}

// BLG is a binary log. Times are local times without a zone; UTC is local plus
// Bias.
type BLG struct {
	// PointerSize is 4 or 8, 8 when 0; BufferSize is 64 KiB when 0; PartSize is the largest part, 8000 when 0.
	PointerSize, BufferSize, PartSize int
	// Bias is minutes from local to UTC in standard time; Daylight, where not 0, is the further bias in summer.
	Bias, Daylight int
	// Start is the log header's start, UTC.
	Start time.Time
	// Unfinished leaves out what is written when a log is closed.
	Unfinished bool

	buffers [][]byte
	last    time.Time
}

// Entry is one entry of the catalogue.
type Entry struct {
	// Form is 0 for one counter, 1 for each instance, 16 for a whole object.
	Form                               uint32
	Machine, Object, Instance, Counter string
	Type                               uint32
	TimeBase                           uint64
}

func (l *BLG) pointer() int {
	if l.PointerSize == 0 {
		return 8
	}
	return l.PointerSize
}

func (l *BLG) bufferSize() int {
	if l.BufferSize == 0 {
		return 64 << 10
	}
	return l.BufferSize
}

// Catalogue writes the catalogue.
func (l *BLG) Catalogue(at time.Time, entries ...Entry) {
	body := le.AppendUint32(nil, 0x6ff)
	body = le.AppendUint32(body, 0x20008)
	for _, e := range entries {
		text := wide(`\\`+e.Machine, true)
		add := func(s string) uint32 {
			if s == "" {
				return 0xffffffff
			}
			offset := uint32(len(text))
			text = append(text, wide(s, true)...)
			return offset
		}
		object, instance, counter := add(e.Object), add(e.Instance), add(e.Counter)
		for len(text)%8 != 4 {
			text = append(text, 0)
		}
		n := uint32(0x34 + len(text))
		for _, v := range []uint32{
			n, e.Form, 0, e.Type, uint32(e.TimeBase), uint32(e.TimeBase >> 32), 0, 0, object, instance, 0xffffffff, 0,
			counter,
		} {
			body = le.AppendUint32(body, v)
		}
		body = append(body, text...)
	}
	l.Record(0x20, at, body)
}

// Names writes the table of names by index.
func (l *BLG) Names(at time.Time, machine string, names [][2]string) {
	body := wide(`\\`+machine, true)
	for _, n := range names {
		body = append(body, wide(n[0], true)...)
		body = append(body, wide(n[1], true)...)
	}
	l.Record(0x24, at, body)
}

// Reading is one raw counter.
type Reading struct {
	// Name is the instance, for each of Instances.
	Name          string
	Status        uint32
	First, Second int64
	Multi         uint32
}

// Single encodes a kind 1 record.
func Single(at time.Time, r Reading) []byte {
	b := make([]byte, 0x30)
	copy(b, "BL\x03\x01")
	le.PutUint32(b[4:], 0x30)
	le.PutUint32(b[8:], r.Status)
	le.PutUint64(b[12:], fileTime(at))
	le.PutUint64(b[24:], uint64(r.First))
	le.PutUint64(b[32:], uint64(r.Second))
	le.PutUint32(b[40:], r.Multi)
	return b
}

// Instances encodes a kind 2 record.
func Instances(at time.Time, list ...Reading) []byte {
	body := make([]byte, 24+24*len(list))
	le.PutUint32(body[4:], uint32(len(list)))
	le.PutUint64(body[16:], fileTime(at))
	for i, r := range list {
		item := body[24+24*i:]
		le.PutUint32(item, uint32(len(body)))
		le.PutUint32(item[4:], r.Multi)
		le.PutUint64(item[8:], uint64(r.First))
		le.PutUint64(item[16:], uint64(r.Second))
		body = append(body, wide(r.Name, true)...)
	}
	for len(body)%8 != 0 {
		body = append(body, 0)
	}
	le.PutUint32(body, uint32(len(body)))
	return record(2, body)
}

func record(kind byte, body []byte) []byte {
	b := append([]byte("BL\x03"), kind, 0, 0, 0, 0)
	b = append(b, body...)
	le.PutUint32(b[4:], uint32(len(b)))
	return b
}

// Sample writes one sample of the given records.
func (l *BLG) Sample(at time.Time, records ...[]byte) {
	var body []byte
	for _, r := range records {
		body = append(body, r...)
	}
	l.Record(0x22, at, record(0, body))
	l.last = at
}

// Record writes one record, in parts where it is too long for one.
func (l *BLG) Record(kind byte, at time.Time, body []byte) {
	size := l.PartSize
	if size == 0 {
		size = 8000
	}
	parts := max(1, (len(body)+size-1)/size)
	for i := range parts {
		part := body[i*size : min(len(body), (i+1)*size)]
		payload := make([]byte, 24, 24+len(part))
		copy(payload, "lostbeat test log")
		le.PutUint32(payload[16:], uint32(i+1))
		le.PutUint32(payload[20:], uint32(parts))
		l.event(kind, at, append(payload, part...))
	}
}

func (l *BLG) event(kind byte, at time.Time, payload []byte) {
	b := make([]byte, 48)
	le.PutUint16(b, uint16(48+len(payload)))
	b[2], b[3] = 20, 0xc0
	if l.pointer() == 4 {
		b[2] = 10
	}
	b[4] = kind
	le.PutUint16(b[6:], 60)
	le.PutUint64(b[16:], fileTime(at))
	copy(b[24:], []byte{0xb3, 0x3b, 0x3f, 0x93, 0x3e, 0x94, 0x0d, 0x49, 0x9c, 0xed, 0x3c, 0xbb, 0x14, 0xc1, 0x44, 0x79})
	b = append(b, payload...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	n := len(l.buffers)
	if n == 0 || len(l.buffers[n-1])+len(b) > l.bufferSize() {
		l.buffers = append(l.buffers, make([]byte, 72, l.bufferSize()))
		n++
	}
	l.buffers[n-1] = append(l.buffers[n-1], b...)
}

// Bytes returns the file.
func (l *BLG) Bytes() []byte {
	out := l.buffer(append(make([]byte, 72), l.logHeader()...), 0, 4)
	for i, b := range l.buffers {
		out = append(out, l.buffer(b, i+1, 0)...)
	}
	return out
}

// buffer fills in a buffer's header and pads it.
func (l *BLG) buffer(b []byte, sequence int, kind uint16) []byte {
	filled := len(b)
	b = append([]byte(nil), b...)
	for len(b) < l.bufferSize() {
		b = append(b, 0xff)
	}
	le.PutUint32(b, uint32(l.bufferSize()))
	le.PutUint32(b[0x04:], uint32(filled))
	le.PutUint64(b[0x18:], uint64(sequence))
	le.PutUint32(b[0x2c:], 3)
	le.PutUint32(b[0x30:], uint32(filled))
	le.PutUint16(b[0x34:], 0x20)
	le.PutUint16(b[0x36:], kind)
	return b
}

func (l *BLG) logHeader() []byte {
	p := l.pointer()
	b := make([]byte, 32+56+2*p+176+32)
	b[2], b[3] = 2, 0xc0
	if p == 4 {
		b[2] = 1
	}
	le.PutUint16(b, 2)
	le.PutUint64(b[16:], fileTime(l.Start))
	h := b[32:]
	le.PutUint32(h, uint32(l.bufferSize()))
	copy(h[4:], []byte{6, 2, 1, 5})
	le.PutUint32(h[8:], 9200)
	le.PutUint32(h[12:], 4)
	if !l.Unfinished {
		le.PutUint64(h[16:], fileTime(l.last.Add(time.Duration(l.Bias+l.Daylight)*time.Minute)))
		le.PutUint32(h[36:], uint32(len(l.buffers)+1))
	}
	le.PutUint32(h[44:], uint32(p))
	zone := h[56+2*p:]
	le.PutUint32(zone, uint32(int32(l.Bias)))
	if l.Daylight != 0 {
		le.PutUint16(zone[68+2:], 10)
		le.PutUint16(zone[152+2:], 3)
		le.PutUint32(zone[168:], uint32(int32(l.Daylight)))
	}
	tail := zone[176:]
	le.PutUint64(tail[8:], 10_000_000)
	le.PutUint64(tail[16:], fileTime(l.Start))
	le.PutUint32(tail[24:], 2)
	b = append(b, wide("perfmontest", true)...)
	b = append(b, wide(`C:\PerfLogs\test.blg`, true)...)
	le.PutUint16(b[4:], uint16(len(b)))
	return b
}
