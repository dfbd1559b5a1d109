// Package etltest writes event trace logs for tests: every kind of header,
// pointer size, clock and compression, and whole scenarios. It is the reverse
// of package etl and is written from the same description of the format.
package etltest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"lostbeat/etw"
	"lostbeat/etw/xca"
	"lostbeat/etw/xca/xcatest"
)

// Options describe the session that is written; the zero value is a finalised
// 64-bit session with one processor, the performance counter at 10 MHz as its
// clock, and buffers of 8 KiB.
type Options struct {
	PointerSize uint8
	Clock       etw.ClockType
	// Frequency is of the performance counter; CPUSpeed in MHz is of the cycle counter.
	Frequency  uint64
	CPUSpeed   uint32
	BufferSize int
	Processors int
	// Compression is the format of all buffers but the first.
	Compression xca.Format
	// OldProcessor writes the processor as a byte, as Windows 7 does.
	OldProcessor bool
	// Unfinalised leaves out what is written when a session stops.
	Unfinalised bool
	// Mode are additional LogFileMode bits.
	Mode                    uint32
	EventsLost, BuffersLost uint32
	// FlushTimer makes a session that is followed: all buffers are written each
	// second, and images are known from the start.
	FlushTimer bool
	// Start is the time of the session's start in 100 ns since 1601, Origin its time stamp.
	Start, Origin uint64
}

// DefaultStart is the start of a session: 19 November 2026, 12:00 UTC.
const DefaultStart = 134395632000000000

// Writer collects records. The zero Writer is not ready: use New.
type Writer struct {
	o       Options
	current map[int]*bytes.Buffer
	last    map[int]uint64
	done    []buffer
	counts  map[int]int64
	// End is the time stamp of the last record.
	End uint64
	// flushes counts the seconds of the flush timer.
	flushes int64
}

type buffer struct {
	processor int
	sequence  int64
	flushed   uint64
	data      []byte
	flags     uint16
}

// New returns a Writer.
func New(o Options) *Writer {
	o.PointerSize = cmp.Or(o.PointerSize, 8)
	o.Clock = cmp.Or(o.Clock, etw.ClockQPC)
	o.Frequency = cmp.Or(o.Frequency, 10_000_000)
	o.CPUSpeed = cmp.Or(o.CPUSpeed, 2000)
	o.BufferSize = cmp.Or(o.BufferSize, 8<<10)
	o.Processors = cmp.Or(o.Processors, 1)
	o.Start = cmp.Or(o.Start, DefaultStart)
	if o.Origin == 0 {
		o.Origin = 1_000_000_000
		if o.Clock == etw.ClockSystem {
			o.Origin = o.Start
		}
	}
	return &Writer{
		o:       o,
		current: make(map[int]*bytes.Buffer),
		last:    make(map[int]uint64),
		counts:  make(map[int]int64),
		End:     o.Origin,
	}
}

// Ticks returns the time stamp of a moment, in nanoseconds after the start.
func (w *Writer) Ticks(ns int64) uint64 {
	switch w.o.Clock {
	case etw.ClockSystem:
		return w.o.Origin + uint64(ns/100)
	case etw.ClockCycles:
		return w.o.Origin + uint64(ns)*uint64(w.o.CPUSpeed)/1000
	}
	return w.o.Origin + uint64(ns/1000)*w.o.Frequency/1_000_000 + uint64(ns%1000)*w.o.Frequency/1_000_000_000
}

// Add writes a record to the buffer of its processor. Records of a processor
// have to be added in order.
func (w *Writer) Add(r etw.Record) {
	w.AddRaw(int(max(r.CPU, 0)), r.Time, Encode(r))
}

// AddRaw writes an encoded record.
func (w *Writer) AddRaw(processor int, time uint64, record []byte) {
	if w.o.FlushTimer && time >= w.Ticks((w.flushes+1)*second) {
		for w.flushes++; time >= w.Ticks((w.flushes+1)*second); w.flushes++ {
		}
		for processor := range w.o.Processors {
			w.Flush(processor, 0)
		}
	}
	b := w.current[processor]
	if b == nil {
		b = new(bytes.Buffer)
		w.current[processor] = b
	}
	if b.Len()+len(record)+72 > w.o.BufferSize {
		w.Flush(processor, 0)
	}
	b.Write(record)
	for b.Len()%8 != 0 {
		b.WriteByte(0)
	}
	w.last[processor] = time
	w.End = max(w.End, time)
}

// Flush ends the buffer of a processor, with additional flags.
func (w *Writer) Flush(processor int, flags uint16) {
	b := w.current[processor]
	if b == nil || b.Len() == 0 {
		return
	}
	w.counts[processor]++
	w.done = append(w.done, buffer{processor, w.counts[processor], w.last[processor], bytes.Clone(b.Bytes()), flags})
	b.Reset()
}

// Bytes returns the file: buffers stand in the order in which they were
// flushed, each processor's last ones at the end.
func (w *Writer) Bytes() []byte {
	processors := make([]int, 0, len(w.current))
	for p := range w.current {
		processors = append(processors, p)
	}
	slices.Sort(processors)
	for _, p := range processors {
		w.Flush(p, 0)
	}
	out := w.encode(buffer{data: w.header()}, true)
	for _, b := range w.done {
		out = append(out, w.encode(b, false)...)
	}
	return out
}

// encode writes one buffer with its header.
func (w *Writer) encode(b buffer, first bool) []byte {
	data := b.data
	size := w.o.BufferSize
	saved := 72 + len(data)
	flags := b.flags
	kind, state := uint16(0), uint32(3)
	switch {
	case first:
		kind = 4
		size = max((saved+511)&^511, 1024)
		state = cmp.Or(uint32(w.o.Compression), state)
	case w.o.Compression != xca.None:
		data = xcatest.Compress(data, w.o.Compression)
		size = 72 + len(data)
		flags |= 0x40
		state = 5
	}
	out := make([]byte, max(size, 72+len(data)))
	for i := range out[72+len(data):] {
		out[72+len(data)+i] = 0xff
	}
	le := binary.LittleEndian
	le.PutUint32(out[0x00:], uint32(len(out)))
	le.PutUint32(out[0x04:], uint32(saved))
	le.PutUint64(out[0x10:], b.flushed)
	le.PutUint64(out[0x18:], uint64(b.sequence))
	if w.o.OldProcessor {
		out[0x28], out[0x29] = byte(b.processor), 8
	} else {
		le.PutUint16(out[0x28:], uint16(b.processor))
		flags |= 0x20
	}
	le.PutUint16(out[0x2a:], 7)
	le.PutUint32(out[0x2c:], state)
	le.PutUint32(out[0x30:], uint32(saved))
	le.PutUint16(out[0x34:], flags)
	le.PutUint16(out[0x36:], kind)
	copy(out[72:], data)
	return out
}

// elapsed is the time from the start to the last record, in 100 ns.
func (w *Writer) elapsed() uint64 {
	ticks := w.End - w.o.Origin
	switch w.o.Clock {
	case etw.ClockSystem:
		return ticks
	case etw.ClockCycles:
		return ticks * 10 / uint64(w.o.CPUSpeed)
	}
	return uint64(float64(ticks) / float64(w.o.Frequency) * 1e7)
}

// header returns the log header's record.
func (w *Writer) header() []byte {
	o := &w.o
	p := NewPayload(o.PointerSize)
	mode := o.Mode
	if o.Compression != xca.None {
		mode |= 0x04000000
	}
	end := uint64(0)
	written := uint32(0)
	if !o.Unfinalised {
		end = o.Start + w.elapsed() + 10_000_000
		written = uint32(len(w.done) + 1)
	}
	p.U32(uint32(o.BufferSize)).
		Raw([]byte{10, 0, 1, 5}).
		U32(20348).
		U32(uint32(o.Processors)).
		U64(end).
		U32(156250).
		U32(0).
		U32(mode).
		U32(written).
		U32(1).
		U32(uint32(o.PointerSize)).
		U32(o.EventsLost).
		U32(o.CPUSpeed).
		Pointer(0).
		Pointer(0)
	p.U32(60).
		Raw(make([]byte, 172)).
		U64(o.Start - 36_000_000_000).
		U64(o.Frequency).
		U64(o.Start).
		U32(uint32(o.Clock)).
		U32(o.BuffersLost).
		UTF16("lostbeat test").
		UTF16(`C:\test.etl`)
	return Encode(
		etw.Record{
			Header:      etw.HeaderSystem,
			PointerSize: o.PointerSize,
			Class:       etw.ClassEventTrace,
			Version:     2,
			PID:         4,
			TID:         8,
			Time:        o.Origin,
			Payload:     p.Bytes(),
		},
	)
}

// groupOf returns the group number of a kernel class.
func groupOf(class etw.GUID, kind uint8) uint8 {
	if class == etw.ClassImage && kind == 10 {
		return 0x03
	}
	for group := range 256 {
		if etw.GroupClass(uint8(group), kind) == class {
			return uint8(group)
		}
	}
	return 0xff
}

// Encode returns a record in the form that its Header, PointerSize and fields
// ask for. Extended items have to be encoded already, see Extended.
func Encode(r etw.Record) []byte {
	le := binary.LittleEndian
	narrow := r.PointerSize == 4
	pick := func(wide, small uint8) uint8 {
		if narrow {
			return small
		}
		return wide
	}
	var head []byte
	sizeAt := 0
	switch r.Header {
	case etw.HeaderSystem, etw.HeaderCompact, etw.HeaderPerfInfo:
		kind, n := pick(2, 1), 32
		if r.Header == etw.HeaderCompact {
			kind, n = pick(4, 3), 24
		}
		if r.Header == etw.HeaderPerfInfo {
			kind, n = pick(17, 16), 16
		}
		head = make([]byte, n)
		sizeAt = 4
		le.PutUint16(head, r.Version)
		head[2], head[3] = kind, 0xc0
		head[6], head[7] = uint8(r.ID), groupOf(r.Class, uint8(r.ID))
		if n == 16 {
			le.PutUint64(head[8:], r.Time)
			break
		}
		le.PutUint32(head[8:], uint32(r.TID))
		le.PutUint32(head[12:], uint32(r.PID))
		le.PutUint64(head[16:], r.Time)
	case etw.HeaderFull, etw.HeaderInstance:
		head = make([]byte, 48)
		head[2], head[3] = pick(20, 10), 0xc0
		head[4], head[5] = uint8(r.ID), r.Level
		le.PutUint16(head[6:], r.Version)
		le.PutUint32(head[8:], uint32(r.TID))
		le.PutUint32(head[12:], uint32(r.PID))
		le.PutUint64(head[16:], r.Time)
		copy(head[24:], r.Class[:])
		if r.Header == etw.HeaderInstance {
			head[2] = pick(21, 11)
			head = le.AppendUint32(head, r.InstanceID)
			head = le.AppendUint32(head, r.ParentID)
			head = append(head, r.Related[:]...)
		}
	case etw.HeaderEvent:
		head = encodeEvent(r, pick(19, 18))
	case etw.HeaderMessage:
		head = encodeMessage(r)
	default:
		head = []byte{0, 0, 13, 0xc0, 0, 0, 0, 0}
	}
	out := append(head, r.Payload...)
	le.PutUint16(out[sizeAt:], uint16(len(out)))
	return out
}

func encodeEvent(r etw.Record, kind uint8) []byte {
	le := binary.LittleEndian
	head := make([]byte, 80)
	head[2], head[3] = kind, 0xc0
	flags := r.Flags
	if len(r.Extended) > 0 {
		flags |= etw.FlagExtended
	}
	le.PutUint16(head[4:], flags)
	le.PutUint32(head[8:], uint32(r.TID))
	le.PutUint32(head[12:], uint32(r.PID))
	le.PutUint64(head[16:], r.Time)
	copy(head[24:], r.Class[:])
	le.PutUint16(head[40:], r.ID)
	head[42], head[43], head[44], head[45] = uint8(r.Version), r.Channel, r.Level, r.Opcode
	le.PutUint16(head[46:], r.Task)
	le.PutUint64(head[48:], r.Keyword)
	if flags&etw.FlagCPUIndex != 0 {
		le.PutUint16(head[56:], uint16(r.CPU))
	}
	copy(head[64:], r.Activity[:])
	return append(head, r.Extended...)
}

// encodeMessage writes a trace message with the fields that its flags, the
// Version, ask for.
func encodeMessage(r etw.Record) []byte {
	le := binary.LittleEndian
	head := []byte{0, 0, 0, 0x90, byte(r.ID), byte(r.ID >> 8), byte(r.Version), byte(r.Version >> 8)}
	if r.Version&0x01 != 0 {
		head = le.AppendUint32(head, 1)
	}
	if r.Version&0x02 != 0 {
		head = append(head, r.Class[:]...)
	} else if r.Version&0x04 != 0 {
		head = le.AppendUint32(head, 1)
	}
	if r.Version&0x08 != 0 {
		head = le.AppendUint64(head, r.Time)
	}
	if r.Version&0x20 != 0 {
		head = le.AppendUint32(head, uint32(r.TID))
		head = le.AppendUint32(head, uint32(r.PID))
	}
	return head
}

// Extended encodes extended items.
func Extended(items map[uint16][]byte) []byte {
	kinds := make([]uint16, 0, len(items))
	for k := range items {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	var out []byte
	for i, k := range kinds {
		item := make([]byte, (8+len(items[k])+7)&^7)
		binary.LittleEndian.PutUint16(item, uint16(len(item)))
		binary.LittleEndian.PutUint16(item[2:], k)
		if i < len(kinds)-1 {
			item[4] = 1
		}
		binary.LittleEndian.PutUint16(item[6:], uint16(len(items[k])))
		copy(item[8:], items[k])
		out = append(out, item...)
	}
	return out
}

// Payload encodes a payload field by field.
type Payload struct {
	b   []byte
	ptr uint8
}

// NewPayload returns an empty payload with pointers of the given size.
func NewPayload(pointerSize uint8) *Payload { return &Payload{ptr: pointerSize} }

// Bytes returns the payload.
func (p *Payload) Bytes() []byte { return p.b }

// Raw adds bytes.
func (p *Payload) Raw(b []byte) *Payload {
	p.b = append(p.b, b...)
	return p
}

// U8 adds a byte.
func (p *Payload) U8(v uint8) *Payload { return p.Raw([]byte{v}) }

// U16 adds a 16-bit number.
func (p *Payload) U16(v uint16) *Payload { return p.Raw(binary.LittleEndian.AppendUint16(nil, v)) }

// Port adds a 16-bit number in network byte order.
func (p *Payload) Port(v uint16) *Payload { return p.Raw(binary.BigEndian.AppendUint16(nil, v)) }

// U32 adds a 32-bit number.
func (p *Payload) U32(v uint32) *Payload { return p.Raw(binary.LittleEndian.AppendUint32(nil, v)) }

// U64 adds a 64-bit number.
func (p *Payload) U64(v uint64) *Payload { return p.Raw(binary.LittleEndian.AppendUint64(nil, v)) }

// Pointer adds a pointer.
func (p *Payload) Pointer(v uint64) *Payload {
	if p.ptr == 4 {
		return p.U32(uint32(v))
	}
	return p.U64(v)
}

// GUID adds a GUID.
func (p *Payload) GUID(g etw.GUID) *Payload { return p.Raw(g[:]) }

// UTF16 adds a terminated UTF-16 string.
func (p *Payload) UTF16(s string) *Payload {
	for _, u := range utf16.Encode([]rune(s)) {
		p.U16(u)
	}
	return p.U16(0)
}

// ANSI adds a terminated single-byte string.
func (p *Payload) ANSI(s string) *Payload { return p.Raw([]byte(s)).U8(0) }

// SockAddr4 adds the length and SOCKADDR of an IPv4 address.
func (p *Payload) SockAddr4(addr [4]byte, port uint16) *Payload {
	return p.U32(16).U16(2).Port(port).Raw(addr[:]).Raw(make([]byte, 8))
}
