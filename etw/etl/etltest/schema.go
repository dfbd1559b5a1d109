package etltest

import (
	"encoding/binary"
	"slices"

	"lostbeat/etw"
)

// Property is one field of an embedded schema.
type Property struct {
	Name string
	// Type is the TDH input type.
	Type uint16
	// Map is the name of its value map, empty for none.
	Map string
}

// texts collects the texts of a structure, which refers to them by offset.
type texts struct {
	base int
	data []byte
}

func (t *texts) add(s string) uint32 {
	if s == "" {
		return 0
	}
	at := t.base + len(t.data)
	t.data = append(t.data, NewPayload(8).UTF16(s).Bytes()...)
	return uint32(at)
}

// EventInfo encodes a TRACE_EVENT_INFO.
func EventInfo(provider etw.GUID, id uint16, version uint8, name, task string, properties []Property) []byte {
	const head, size = 112, 24
	le := binary.LittleEndian
	b := make([]byte, head+size*len(properties))
	t := texts{base: len(b)}
	copy(b, provider[:])
	le.PutUint16(b[32:], id)
	b[34] = version
	le.PutUint32(b[52:], t.add(name))
	le.PutUint32(b[68:], t.add(task))
	le.PutUint32(b[100:], uint32(len(properties)))
	le.PutUint32(b[104:], uint32(len(properties)))
	for i, p := range properties {
		q := b[head+size*i:]
		le.PutUint32(q[4:], t.add(p.Name))
		le.PutUint16(q[8:], p.Type)
		le.PutUint32(q[12:], t.add(p.Map))
		le.PutUint16(q[16:], 1)
	}
	return append(b, t.data...)
}

// EventMap encodes an EVENT_MAP_INFO behind its provider.
func EventMap(provider etw.GUID, name string, values map[uint32]string) []byte {
	const head, size = 16, 8
	le := binary.LittleEndian
	keys := make([]uint32, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b := make([]byte, head+size*len(keys))
	t := texts{base: len(b)}
	le.PutUint32(b, t.add(name))
	le.PutUint32(b[8:], uint32(len(keys)))
	for i, k := range keys {
		le.PutUint32(b[head+size*i:], t.add(values[k]))
		le.PutUint32(b[head+size*i+4:], k)
	}
	return append(provider[:], append(b, t.data...)...)
}
