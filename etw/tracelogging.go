package etw

import "bytes"

// TraceLogging events carry their schema in an extended item:
//
//	u16 size, tag bytes (the upper bit says that more follow), name NUL,
//	then each field: name NUL, type byte, [type of output, [tag bytes]], [u16 count].
const (
	tlTypeMask    = 0x1f
	tlFixedCount  = 0x20
	tlVariable    = 0x40
	tlCustom      = 0x60
	tlCountMask   = 0x60
	tlOutFollows  = 0x80
	tlTagsFollow  = 0x80
	tlMemberCount = 0x7f
)

// traceLogging returns the schema in an item; equal items share one.
func (s *schemas) traceLogging(item []byte) *schema {
	if found, ok := s.logging[string(item)]; ok {
		return found
	}
	sch := parseTraceLogging(item)
	if len(s.logging) < maxSchemas {
		s.logging[string(item)] = sch
	}
	return sch
}

// parseTraceLogging decodes an item as far as it makes sense.
func parseTraceLogging(item []byte) *schema {
	if len(item) < 3 {
		return nil
	}
	b := item[2:min(max(int(le16(item)), 2), len(item))]
	b = skipTags(b)
	sch := new(schema)
	var ok bool
	if sch.name, b, ok = cutString(b); !ok {
		return sch
	}
	for len(b) > 0 && len(sch.fields) < maxFields {
		var f field
		if f.name, b, ok = cutString(b); !ok || len(b) == 0 {
			return sch
		}
		kind := b[0]
		b = b[1:]
		f.in = inType(kind & tlTypeMask)
		out := byte(0)
		if kind&tlOutFollows != 0 && len(b) > 0 {
			out = b[0]
			b = b[1:]
			if out&tlTagsFollow != 0 {
				b = skipTags(b)
			}
		}
		if f.in == inStruct {
			f.members = int(out & tlMemberCount)
		}
		switch kind & tlCountMask {
		case tlFixedCount, tlCustom:
			if len(b) < 2 {
				return sch
			}
			n := le16(b)
			b = b[2:]
			if kind&tlCountMask == tlCustom {
				b = b[min(int(n), len(b)):]
				f.in = inCountedBinary
			} else {
				f.count = quantity{n: n, known: true}
			}
		case tlVariable:
			f.counted = true
		}
		if f.in == inBinary {
			f.in = inCountedBinary
		}
		sch.fields = append(sch.fields, f)
	}
	return sch
}

// skipTags passes over bytes up to the first without its upper bit.
func skipTags(b []byte) []byte {
	for i, c := range b {
		if c&tlTagsFollow == 0 {
			return b[i+1:]
		}
	}
	return nil
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+1:], true
}

// ProviderName returns the provider's name from the traits that a record
// carries, "" when it carries none.
func (r *Record) ProviderName() string {
	item, ok := r.ExtendedItem(ExtendedProviderTraits)
	if !ok || len(item) < 3 {
		return ""
	}
	name, _, _ := cutString(item[2:])
	return name
}
