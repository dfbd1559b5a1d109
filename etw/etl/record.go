package etl

import (
	"encoding/binary"

	"lostbeat/etw"
)

// Header types of records.
const (
	typeSystem32   = 1
	typeSystem64   = 2
	typeCompact32  = 3
	typeCompact64  = 4
	typeFull32     = 10
	typeInstance32 = 11
	typeError      = 13
	typePerfInfo32 = 16
	typePerfInfo64 = 17
	typeEvent32    = 18
	typeEvent64    = 19
	typeFull64     = 20
	typeInstance64 = 21

	// The marker's flags: a trace header, or a trace message.
	markTrace   = 0xc0
	markMessage = 0x90
)

// minRecord is the size of the smallest header.
const minRecord = 8

// outcome is what a position in a buffer holds.
type outcome uint8

const (
	// isRecord is a record.
	isRecord outcome = iota
	// isEnd is the end of the data.
	isEnd
	// isDamaged is neither.
	isDamaged
	// isPartial is a record whose end lies behind the data at hand.
	isPartial
)

// headerSize is the size of each type's header, 0 for types that are not known.
var headerSize = [32]uint8{
	typeSystem32: 32, typeSystem64: 32, typeCompact32: 24, typeCompact64: 24, typePerfInfo32: 16, typePerfInfo64: 16,
	typeFull32: 48, typeFull64: 48, typeInstance32: 72, typeInstance64: 72, typeEvent32: 80, typeEvent64: 80, typeError: 8,
}

// measure returns the size of the record at the start of b and the type of its
// header; kind is 0 for a trace message.
func measure(b []byte) (size int, kind uint8, what outcome) {
	if len(b) < minRecord {
		return 0, 0, isEnd
	}
	marker := binary.LittleEndian.Uint32(b)
	if marker == 0xffffffff || marker == 0 {
		return 0, 0, isEnd
	}
	least := minRecord
	switch flags := b[3]; {
	case flags&markTrace == markTrace:
		kind = b[2]
		if int(kind) >= len(headerSize) || headerSize[kind] == 0 {
			return 0, kind, isDamaged
		}
		least = int(headerSize[kind])
		if kind <= typeCompact64 || kind == typePerfInfo32 || kind == typePerfInfo64 {
			size = int(binary.LittleEndian.Uint16(b[4:]))
		} else {
			size = int(binary.LittleEndian.Uint16(b))
		}
	case flags == markMessage:
		size = int(binary.LittleEndian.Uint16(b))
	default:
		return 0, 0, isDamaged
	}
	if size < least {
		return 0, kind, isDamaged
	}
	if size > len(b) {
		return size, kind, isPartial
	}
	return size, kind, isRecord
}

// place is where the next record of a window stands.
type place struct {
	// at is its position in the window, or where the next window begins when size is 0.
	at, size int
	kind     uint8
	// skipped is how many bytes in front of it are no records, reason why the first of them is none.
	skipped int
	reason  string
}

// damage describes what stands in front of p, in the window of b that begins at base.
func (p *place) damage(b *buffer, base uint32) *Damage {
	return &Damage{Offset: b.position(base, p.at-p.skipped), Bytes: int64(p.skipped), Reason: p.reason}
}

// locate finds the next record of a window's data at or behind offset. last says
// that the buffer ends with the window. Behind what is no record, one counts
// only if its time lies between after and before, and another record or the
// end follows it.
func locate(data []byte, offset int, last bool, after, before uint64) place {
	size, kind, what := measure(data[offset:])
	switch {
	case what == isRecord:
		return place{at: offset, size: size, kind: kind}
	case what == isPartial && !last:
		return place{at: offset}
	case len(data)-offset < minRecord && !last:
		return place{at: offset} // it begins the next window
	case len(data)-offset < minRecord || filler(data[offset:]):
		return place{at: len(data)}
	}
	p := place{reason: "no record header"}
	switch what {
	case isPartial:
		p.reason = "a record is longer than its buffer"
	case isEnd:
		p.reason = "zeros where records should be"
	}
	for p.at = offset + 8; p.at+minRecord <= len(data); p.at += 8 {
		size, kind, what := measure(data[p.at:])
		if what == isPartial && !last && kind != 0 && len(data)-p.at >= int(headerSize[kind]) {
			if t := timeOf(data[p.at:], kind); t >= after && t <= before {
				p.skipped = p.at - offset
				return p // perhaps a record: the next window shows
			}
		}
		if what != isRecord || kind == 0 {
			continue
		}
		if t := timeOf(data[p.at:p.at+size], kind); t < after || t > before {
			continue
		}
		next := min(p.at+align8(size), len(data))
		if _, _, then := measure(data[next:]); then == isRecord || then == isEnd || then == isPartial && !last {
			p.size, p.kind, p.skipped = size, kind, p.at-offset
			return p
		}
	}
	p.at = len(data)
	if !last {
		p.at = max(offset+8, len(data)&^7)
		p.at = min(p.at, len(data))
	}
	p.skipped = p.at - offset
	return p
}

// filler reports whether b is what sessions leave behind the last record.
func filler(b []byte) bool {
	for _, c := range b {
		if c != 0xff {
			return false
		}
	}
	return true
}

// timeOf returns the time stamp of the record that b holds, of the given
// header type, and 0 where it has none.
func timeOf(b []byte, kind uint8) uint64 {
	switch kind {
	case typePerfInfo32, typePerfInfo64:
		return binary.LittleEndian.Uint64(b[8:])
	case 0:
		var r etw.Record
		parseMessage(b, &r)
		return r.Time
	case typeError:
		return 0
	}
	return binary.LittleEndian.Uint64(b[16:])
}

// pointerSize returns the size of pointers that a header type stands for.
func pointerSize(kind uint8) uint8 {
	switch kind {
	case typeSystem32, typeCompact32, typeFull32, typeInstance32, typePerfInfo32, typeEvent32:
		return 4
	}
	return 8
}

// keyOf returns the kind of the record that fills b, as parse would; group is
// the number behind its class and opcode, -1 where it has a class of its own.
func keyOf(b []byte, kind uint8) (k etw.Key, group int) {
	switch kind {
	case typeSystem32, typeSystem64, typeCompact32, typeCompact64, typePerfInfo32, typePerfInfo64:
		return etw.Key{Class: etw.GroupClass(b[7], b[6]), ID: uint16(b[6]), Classic: true}, int(b[7])<<8 | int(b[6])
	}
	var r etw.Record
	parse(b, kind, &r)
	return r.Key(), -1
}

// parse decodes the record that fills b, of the given header type, into r. It
// leaves r.CPU alone for headers that do not say it.
func parse(b []byte, kind uint8, r *etw.Record) {
	if fromKernel(kind) && r.Group != 0 {
		// The record before was one of the kernel, too: what these do not have is unset already.
		r.PID, r.TID, r.PointerSize = -1, -1, pointerSize(kind)
		parseKernel(b, kind, r)
		return
	}
	cpu := r.CPU
	*r = etw.Record{CPU: cpu, PID: -1, TID: -1, PointerSize: pointerSize(kind)}
	switch kind {
	case 0:
		parseMessage(b, r)
	case typeError:
		r.Header = etw.HeaderError
		r.Payload = b[8:]
	case typeSystem32, typeSystem64, typeCompact32, typeCompact64, typePerfInfo32, typePerfInfo64:
		parseKernel(b, kind, r)
	case typeFull32, typeFull64, typeInstance32, typeInstance64:
		parseFull(b, kind, r)
	case typeEvent32, typeEvent64:
		parseEvent(b, r)
	}
}

// fromKernel reports whether a header type names the class by a group number.
func fromKernel(kind uint8) bool {
	switch kind {
	case typeSystem32, typeSystem64, typeCompact32, typeCompact64, typePerfInfo32, typePerfInfo64:
		return true
	}
	return false
}

// groupOf returns the group and type of a record whose header type is one of the kernel.
func groupOf(b []byte) uint32 { return uint32(b[7])<<8 | uint32(b[6]) }

// parseKernel decodes the headers whose class is a group number.
func parseKernel(b []byte, kind uint8, r *etw.Record) {
	version := binary.LittleEndian.Uint16(b)
	r.ID = uint16(b[6])
	r.Opcode = b[6]
	if group := groupOf(b) + 1; group != r.Group {
		r.Group = group
		r.Class = etw.GroupClass(b[7], b[6])
	}
	n := int(headerSize[kind])
	switch kind {
	case typePerfInfo32, typePerfInfo64:
		r.Header = etw.HeaderPerfInfo
		r.Time = binary.LittleEndian.Uint64(b[8:])
	default:
		r.Header = etw.HeaderCompact
		if kind <= typeSystem64 {
			r.Header = etw.HeaderSystem
		}
		r.TID = int32(binary.LittleEndian.Uint32(b[8:]))
		r.PID = int32(binary.LittleEndian.Uint32(b[12:]))
		r.Time = binary.LittleEndian.Uint64(b[16:])
	}
	// The version's upper bits say that hardware counters follow the header.
	r.Version = version & 0xff
	counters := 8 * int(version>>8&7)
	if version&0x8000 != 0 {
		counters += 8
	}
	r.Payload = b[min(n+counters, len(b)):]
}

// parseFull decodes the headers of classic events with a class GUID.
func parseFull(b []byte, kind uint8, r *etw.Record) {
	r.Header = etw.HeaderFull
	r.ID = uint16(b[4])
	r.Opcode = b[4]
	r.Level = b[5]
	r.Version = binary.LittleEndian.Uint16(b[6:])
	r.TID = int32(binary.LittleEndian.Uint32(b[8:]))
	r.PID = int32(binary.LittleEndian.Uint32(b[12:]))
	r.Time = binary.LittleEndian.Uint64(b[16:])
	r.Class = etw.GUID(b[24:40])
	r.Payload = b[48:]
	if kind == typeInstance32 || kind == typeInstance64 {
		r.Header = etw.HeaderInstance
		r.InstanceID = binary.LittleEndian.Uint32(b[48:])
		r.ParentID = binary.LittleEndian.Uint32(b[52:])
		r.Related = etw.GUID(b[56:72])
		r.Payload = b[72:]
	}
}

// parseEvent decodes an EVENT_HEADER and separates its extended items, which
// are there only when the header's flag says so.
func parseEvent(b []byte, r *etw.Record) {
	r.Header = etw.HeaderEvent
	r.Flags = binary.LittleEndian.Uint16(b[4:])
	r.TID = int32(binary.LittleEndian.Uint32(b[8:]))
	r.PID = int32(binary.LittleEndian.Uint32(b[12:]))
	r.Time = binary.LittleEndian.Uint64(b[16:])
	r.Class = etw.GUID(b[24:40])
	r.ID = binary.LittleEndian.Uint16(b[40:])
	r.Version = uint16(b[42])
	r.Channel = b[43]
	r.Level = b[44]
	r.Opcode = b[45]
	r.Task = binary.LittleEndian.Uint16(b[46:])
	r.Keyword = binary.LittleEndian.Uint64(b[48:])
	if r.Flags&etw.FlagCPUIndex != 0 {
		r.CPU = int32(binary.LittleEndian.Uint16(b[56:]))
	}
	r.Activity = etw.GUID(b[64:80])
	rest := b[80:]
	if r.Flags&etw.FlagExtended != 0 {
		n := extendedLength(rest)
		r.Extended = rest[:n]
		rest = rest[n:]
	}
	r.Payload = rest
}

// extendedLength returns how many bytes the chain of extended items takes.
func extendedLength(b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		size := int(binary.LittleEndian.Uint16(b[n:]))
		more := binary.LittleEndian.Uint16(b[n+4:])&1 != 0
		if size < 8 || size > len(b)-n {
			return n
		}
		if n += size; !more {
			return n
		}
	}
	return n
}

// Options of a trace message: which fields follow its header.
const (
	messageSequence  = 0x01
	messageGUID      = 0x02
	messageComponent = 0x04
	messageTime      = 0x08
	messageThread    = 0x20
	messagePointer32 = 0x40
)

// parseMessage decodes a trace message. Its payload needs the TMF file of the
// program that wrote it.
func parseMessage(b []byte, r *etw.Record) {
	r.Header = etw.HeaderMessage
	r.ID = binary.LittleEndian.Uint16(b[4:])
	options := binary.LittleEndian.Uint16(b[6:])
	r.Version = options
	if options&messagePointer32 != 0 {
		r.PointerSize = 4
	}
	rest := b[8:]
	take := func(flag uint16, n int) []byte {
		if options&flag == 0 || len(rest) < n {
			return nil
		}
		field := rest[:n]
		rest = rest[n:]
		return field
	}
	take(messageSequence, 4)
	if g := take(messageGUID, 16); g != nil {
		r.Class = etw.GUID(g)
	} else if options&messageGUID == 0 {
		take(messageComponent, 4)
	}
	if t := take(messageTime, 8); t != nil {
		r.Time = binary.LittleEndian.Uint64(t)
	}
	if ids := take(messageThread, 8); ids != nil {
		r.TID = int32(binary.LittleEndian.Uint32(ids))
		r.PID = int32(binary.LittleEndian.Uint32(ids[4:]))
	}
	r.Payload = rest
}
