package etw

import (
	"encoding/binary"
)

// inType is how a field is encoded, numbered as TDH_INTYPE_*.
type inType uint16

const (
	inNull         inType = 0
	inUTF16        inType = 1
	inANSI         inType = 2
	inInt8         inType = 3
	inUint8        inType = 4
	inInt16        inType = 5
	inUint16       inType = 6
	inInt32        inType = 7
	inUint32       inType = 8
	inInt64        inType = 9
	inUint64       inType = 10
	inFloat        inType = 11
	inDouble       inType = 12
	inBool         inType = 13
	inBinary       inType = 14
	inGUID         inType = 15
	inPointer      inType = 16
	inFileTime     inType = 17
	inSystemTime   inType = 18
	inSID          inType = 19
	inHex32        inType = 20
	inHex64        inType = 21
	inCountedUTF16 inType = 22
	inCountedANSI  inType = 23
	// inStruct stands for the fields that follow it: of TraceLogging, and here of all schemas.
	inStruct        inType = 24
	inCountedBinary inType = 25
	// The types from 300 on are those of WBEM classes.
	inCountedString  inType = 300
	inCountedString8 inType = 301
	inRestUTF16      inType = 304
	inRestANSI       inType = 305
	inChar16         inType = 306
	inChar8          inType = 307
	inSize           inType = 308
	inHexDump        inType = 309
	inWBEMSID        inType = 310

	// inSockAddr and inIPv6 are ours: binary fields whose content is known, from the built-in table.
	inSockAddr inType = 0x8001
	inIPv6     inType = 0x8002
	inIPv4     inType = 0x8003
	inPort     inType = 0x8004
)

// quantity is a number of elements or bytes: fixed, or the value of an earlier
// field.
type quantity struct {
	n     uint16
	field bool
	known bool
}

// field describes one field of a payload.
type field struct {
	name string
	in   inType
	// count is the number of elements of an array; unknown for a single value.
	count quantity
	// counted says that a 16-bit count stands in front of the elements.
	counted bool
	// length is the size of a binary or string field.
	length quantity
	// members is how many of the fields that follow belong to a structure.
	members int
	// values names the values.
	values map[uint32]string
}

// schema describes the payload of one kind of record.
type schema struct {
	name   string
	fields []field
}

// schemaKey identifies a schema.
type schemaKey struct {
	class   GUID
	id      uint16
	version uint16
	classic bool
}

// Limits of what is remembered of schemas.
const (
	maxSchemas = 1 << 14
	maxFields  = 1 << 10
)

// schemas knows the payloads of records by what a capture says about itself
// and by the built-in table.
type schemas struct {
	byKey     map[schemaKey]*schema
	logging   map[string]*schema
	maps      map[mapKey]map[uint32]string
	pending   []pendingMap
	manifests map[GUID]*manifest
}

// mapKey identifies a value map.
type mapKey struct {
	provider GUID
	name     string
}

// pendingMap is a field that waits for its value map.
type pendingMap struct {
	field *field
	key   mapKey
}

func newSchemas() schemas {
	s := schemas{
		byKey:     make(map[schemaKey]*schema),
		logging:   make(map[string]*schema),
		maps:      make(map[mapKey]map[uint32]string),
		manifests: make(map[GUID]*manifest),
	}
	s.addBuiltin()
	return s
}

// survey takes the schemas out of r, if it carries any.
func (s *schemas) survey(r *Record) {
	switch {
	case r.Class == ClassEventInfo && r.ID == 32:
		s.addEventInfo(r.Payload)
	case r.Class == ClassEventInfo && r.ID == 33:
		s.addEventMap(r.Payload)
	case r.Header == HeaderEvent && r.ID == manifestEvent:
		s.addManifest(r)
	}
}

// settle joins fields with their value maps.
func (s *schemas) settle() {
	for _, p := range s.pending {
		p.field.values = s.maps[p.key]
	}
	s.pending = nil
	s.settleManifests()
}

// find returns the schema of r, nil when there is none. Without the exact
// version the highest lower one describes the beginning of the payload.
func (s *schemas) find(r *Record) *schema {
	if item, ok := r.ExtendedItem(ExtendedSchemaTL); ok {
		return s.traceLogging(item)
	}
	if r.Header == HeaderEvent && r.ID == manifestEvent {
		return manifestSchema
	}
	k := schemaKey{r.Class, r.ID, r.Version, r.Classic()}
	if found, ok := s.byKey[k]; ok {
		return found
	}
	for v := min(r.Version, 8); v > 0; v-- {
		k.version = v - 1
		if found, ok := s.byKey[k]; ok {
			return found
		}
	}
	return nil
}

func (s *schemas) add(k schemaKey, sch *schema) {
	if len(s.byKey) < maxSchemas {
		s.byKey[k] = sch
	}
}

// Layout of TRACE_EVENT_INFO.
const (
	infoDescriptor   = 32
	infoDecoding     = 48
	infoProviderName = 52
	infoTaskName     = 68
	infoOpcodeName   = 72
	infoCount        = 100
	infoProperties   = 112
	infoPropertySize = 24

	propertyStruct      = 1
	propertyParamLength = 2
	propertyParamCount  = 4
	propertyFixedLength = 16
	propertyFixedCount  = 32
)

// addEventInfo adds a TRACE_EVENT_INFO.
func (s *schemas) addEventInfo(b []byte) {
	if len(b) < infoProperties {
		return
	}
	count := int(binary.LittleEndian.Uint32(b[infoCount:]))
	if count > maxFields || infoProperties+count*infoPropertySize > len(b) {
		return
	}
	k := schemaKey{class: GUID(b[:16]), id: le16(b[infoDescriptor:]), version: uint16(b[infoDescriptor+2])}
	if le32(b[infoDecoding:]) == 1 { // described by a WBEM class
		k.class, k.id, k.classic = GUID(b[16:32]), uint16(b[infoDescriptor+5]), true
	}
	sch := &schema{
		name:   join(textAt(b, infoProviderName), join(textAt(b, infoTaskName), textAt(b, infoOpcodeName))),
		fields: make([]field, count),
	}
	for i := range sch.fields {
		p := b[infoProperties+i*infoPropertySize:][:infoPropertySize]
		f := &sch.fields[i]
		flags := le32(p)
		f.name = textFrom(b, le32(p[4:]))
		f.count = quantity{
			n:     le16(p[16:]),
			field: flags&propertyParamCount != 0,
			known: flags&(propertyParamCount|propertyFixedCount) != 0 || le16(p[16:]) > 1,
		}
		f.length = quantity{n: le16(p[18:]), field: flags&propertyParamLength != 0}
		if flags&propertyStruct != 0 {
			f.in, f.members = inStruct, 0
			// Members stand behind the top-level fields: they are moved below.
			f.length = quantity{n: le16(p[8:])}
			f.members = int(le16(p[10:]))
			continue
		}
		f.in = inType(le16(p[8:]))
		f.length.known = f.length.field ||
			f.length.n != 0 && (f.in == inBinary || f.in == inUTF16 || f.in == inANSI || f.in == inHexDump) &&
				(flags&propertyFixedLength != 0 || f.in == inBinary)
		if offset := le32(p[12:]); offset != 0 {
			s.pending = append(s.pending, pendingMap{f, mapKey{k.class, textFrom(b, offset)}})
		}
	}
	s.add(k, sch)
}

// addEventMap adds an EVENT_MAP_INFO, which stands behind its provider's GUID.
func (s *schemas) addEventMap(b []byte) {
	const head = 16
	if len(b) < 16+head || len(s.maps) >= maxSchemas {
		return
	}
	provider := GUID(b[:16])
	m := b[16:]
	n := int(le32(m[8:]))
	if n > (len(m)-head)/8 {
		return
	}
	values := make(map[uint32]string, n)
	for i := range n {
		entry := m[head+8*i:]
		values[le32(entry[4:])] = textFrom(m, le32(entry))
	}
	s.maps[mapKey{provider, textFrom(m, le32(m))}] = values
}

// textAt returns the string whose offset stands at position at.
func textAt(b []byte, at int) string { return textFrom(b, le32(b[at:])) }

// textFrom returns the UTF-16 string at an offset, "" for offset 0.
func textFrom(b []byte, offset uint32) string {
	if offset == 0 || uint64(offset) >= uint64(len(b)) {
		return ""
	}
	s, _ := decodeUTF16(b[offset:])
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}

func join(task, opcode string) string {
	if task == "" || opcode == "" {
		return task + opcode
	}
	return task + "/" + opcode
}

// Name returns what the event of r is called, "" unknown.
func (s *State) Name(r *Record) string {
	if sch := s.schemas.find(r); sch != nil {
		return sch.name
	}
	return classicName(r)
}
