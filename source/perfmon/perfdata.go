package perfmon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

var le = binary.LittleEndian

var errPerfData = errors.New("performance data block does not fit its length")

// utf16String decodes the string at offset of b up to its zero or the end.
func utf16String(b []byte, offset int) string {
	if offset < 0 || offset >= len(b) {
		return ""
	}
	b = b[offset:]
	end := 0
	for end+1 < len(b) && (b[end] != 0 || b[end+1] != 0) {
		end += 2
	}
	units := make([]uint16, end/2)
	for i := range units {
		units[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// perfBlock is a PERF_DATA_BLOCK (winperf.h): what one machine answered.
type perfBlock struct {
	machine string
	// time and frequency are the performance counter; time100ns is UTC in 100 ns since 1601.
	time, frequency, time100ns int64
	objects                    []perfObject
}

// perfObject is a PERF_OBJECT_TYPE.
type perfObject struct {
	index uint32
	// time and frequency are those of counters that bring their own clock.
	time, frequency int64
	codePage        uint32
	counters        []perfCounter
	// instances are empty for an object that has none; its values are then in single.
	instances []perfInstance
	single    []byte
}

// perfCounter is a PERF_COUNTER_DEFINITION.
type perfCounter struct {
	index  uint32
	kind   CounterType
	size   uint32
	offset uint32
}

// perfInstance is a PERF_INSTANCE_DEFINITION with its PERF_COUNTER_BLOCK.
type perfInstance struct {
	name string
	// parentObject and parent are the index and the number of the parent instance, parentObject 0 for none.
	parentObject, parent uint32
	values               []byte
}

// parsePerfData decodes a performance data block. Every length is checked
// against what holds it.
func parsePerfData(b []byte) (*perfBlock, error) {
	if len(b) < 88 || le.Uint64(b) != 0x0046005200450050 || le.Uint32(b[8:]) != 1 {
		return nil, fmt.Errorf("%w: no signature", errPerfData)
	}
	total, header, count := le.Uint32(b[20:]), le.Uint32(b[24:]), le.Uint32(b[28:])
	if total > uint32(len(b)) || header < 88 || header > total {
		return nil, errPerfData
	}
	b = b[:total]
	p := &perfBlock{
		time:      int64(le.Uint64(b[56:])),
		frequency: int64(le.Uint64(b[64:])),
		time100ns: int64(le.Uint64(b[72:])),
	}
	if n, at := uint64(le.Uint32(b[80:])), uint64(le.Uint32(b[84:])); at+n <= uint64(header) {
		p.machine = utf16String(b[:at+n], int(at))
	}
	b = b[header:]
	for range count {
		if len(b) < 64 {
			return nil, errPerfData
		}
		n := le.Uint32(b)
		if n < 64 || n > uint32(len(b)) {
			return nil, errPerfData
		}
		o, err := parsePerfObject(b[:n])
		if err != nil {
			return nil, err
		}
		p.objects = append(p.objects, o)
		b = b[n:]
	}
	return p, nil
}

func parsePerfObject(b []byte) (perfObject, error) {
	definition, header := le.Uint32(b[4:]), le.Uint32(b[8:])
	count, instances := le.Uint32(b[32:]), int32(le.Uint32(b[40:]))
	if definition > uint32(len(b)) || header < 64 || header > definition || count > (definition-header)/40 {
		return perfObject{}, errPerfData
	}
	o := perfObject{
		index:     le.Uint32(b[12:]),
		codePage:  le.Uint32(b[44:]),
		time:      int64(le.Uint64(b[48:])),
		frequency: int64(le.Uint64(b[56:])),
	}
	o.counters = make([]perfCounter, 0, count)
	for d := b[header:definition]; len(o.counters) < int(count); {
		if len(d) < 40 {
			return o, errPerfData
		}
		n := le.Uint32(d)
		if n < 40 || n > uint32(len(d)) {
			return o, errPerfData
		}
		o.counters = append(
			o.counters,
			perfCounter{
				index:  le.Uint32(d[4:]),
				kind:   CounterType(le.Uint32(d[28:])),
				size:   le.Uint32(d[32:]),
				offset: le.Uint32(d[36:]),
			},
		)
		d = d[n:]
	}
	rest := b[definition:]
	if instances < 0 {
		values, _, err := counterBlock(rest)
		o.single = values
		return o, err
	}
	for range instances {
		if len(rest) < 24 {
			return o, errPerfData
		}
		n := le.Uint32(rest)
		at, length := le.Uint32(rest[16:]), le.Uint32(rest[20:])
		if n < 24 || n > uint32(len(rest)) || uint64(at)+uint64(length) > uint64(n) {
			return o, errPerfData
		}
		in := perfInstance{
			parentObject: le.Uint32(rest[4:]),
			parent:       le.Uint32(rest[8:]),
			name:         instanceName(rest[at:at+length], o.codePage),
		}
		var err error
		var size uint32
		if in.values, size, err = counterBlock(rest[n:]); err != nil {
			return o, err
		}
		o.instances = append(o.instances, in)
		rest = rest[n+size:]
	}
	return o, nil
}

// instanceName decodes the name of an instance; a code page other than 0 means
// one byte to a character.
func instanceName(b []byte, codePage uint32) string {
	if codePage == 0 {
		return utf16String(b, 0)
	}
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	if page, err := codePageNamed(fmt.Sprint(codePage)); err == nil {
		return page.decode(string(b))
	}
	return codePages[0].decode(string(b))
}

// counterBlock returns the PERF_COUNTER_BLOCK at the start of b.
func counterBlock(b []byte) (values []byte, size uint32, err error) {
	if len(b) < 4 {
		return nil, 0, errPerfData
	}
	size = le.Uint32(b)
	if size < 4 || size > uint32(len(b)) {
		return nil, 0, errPerfData
	}
	return b[:size], size, nil
}

// value returns the counter's number in a block of values.
func (c *perfCounter) value(values []byte) (int64, bool) {
	switch {
	case c.size == 4 && uint64(c.offset)+4 <= uint64(len(values)):
		return int64(le.Uint32(values[c.offset:])), true
	case c.size == 8 && uint64(c.offset)+8 <= uint64(len(values)):
		return int64(le.Uint64(values[c.offset:])), true
	}
	return 0, false
}

// raw returns the reading of counter i of the object in a block of values: the
// value with the clock, or the base counter behind it, that its type asks for.
func (p *perfBlock) raw(o *perfObject, i int, values []byte) (Raw, bool) {
	c := &o.counters[i]
	first, ok := c.value(values)
	if !ok {
		return Raw{}, false
	}
	r := Raw{First: first, Multi: 1}
	switch c.kind & timeBaseMask {
	case timeBase100ns:
		r.Second, r.TimeBase = p.time100ns, 1e7
	case timeBaseObject:
		r.Second, r.TimeBase = o.time, float64(o.frequency)
	default:
		r.Second, r.TimeBase = p.time, float64(p.frequency)
	}
	if c.kind.hasBase() {
		if i+1 >= len(o.counters) || !o.counters[i+1].kind.isBase() {
			return Raw{}, false
		}
		base, ok := o.counters[i+1].value(values)
		if !ok {
			return Raw{}, false
		}
		if c.kind.isMulti() {
			r.Multi = uint32(base)
		} else {
			r.Second = base
		}
	}
	return r, true
}
