package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// Sizes of the parts of a file.
const (
	fileHeader  = 4096
	chunkSize   = 65536
	chunkHeader = 512
	recordHead  = 24
)

var (
	fileMagic   = []byte("ElfFile\x00")
	chunkMagic  = []byte("ElfChnk\x00")
	recordMagic = []byte{0x2a, 0x2a, 0, 0}
	le          = binary.LittleEndian
)

// errBinary is the error of binary XML that cannot be right.
var errBinary = errors.New("its binary XML is damaged")

// readEVTX reads all chunks up to the end of the file.
func (s *Set) readEVTX(r io.Reader, name string) error {
	head := make([]byte, fileHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	chunk := make([]byte, chunkSize)
	for n := 0; ; n++ {
		got, err := io.ReadFull(r, chunk)
		if errors.Is(err, io.EOF) {
			return nil
		}
		cut := errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !cut {
			return err
		}
		part := chunk[:got]
		switch {
		case len(part) >= chunkHeader && bytes.HasPrefix(part, chunkMagic):
			s.readChunk(part, n, name)
		case len(bytes.Trim(part, "\x00")) > 0:
			s.integrity.Add(fmt.Sprintf("%s: chunk %d is not one", name, n), int64(len(part)))
		}
		if cut {
			s.integrity.Add(fmt.Sprintf("%s ends within chunk %d", name, n), 0)
			return nil
		}
	}
}

// readChunk reads the records of a chunk. What lies behind the end of those is of older ones.
func (s *Set) readChunk(chunk []byte, number int, name string) {
	end := int(le.Uint32(chunk[48:]))
	if end < chunkHeader || end > len(chunk) {
		end = len(chunk)
	}
	if sum := le.Uint32(chunk[52:]); sum != 0 && end < len(chunk) && crc32.ChecksumIEEE(chunk[chunkHeader:end]) != sum {
		s.integrity.Add(fmt.Sprintf("%s: the checksum of chunk %d is wrong", name, number), 0)
	}
	x := binXML{chunk: chunk, work: chunkWork}
	bad := 0
	for at := chunkHeader; at+recordHead+4 <= end; {
		size := int(le.Uint32(chunk[at+4:]))
		if !bytes.HasPrefix(chunk[at:], recordMagic) || size < recordHead+4 || size > end-at {
			if len(bytes.Trim(chunk[at:end], "\x00")) == 0 {
				break
			}
			bad++
			if at = nextRecord(chunk, at, end); at < 0 {
				break
			}
			continue
		}
		x.b.reset()
		x.b.entry.at = fileTime(le.Uint64(chunk[at+16:]))
		_, err := x.fragment(at+recordHead, at+size-4, nil, false, 0)
		if err != nil || x.b.entry.provider == "" && x.b.entry.id == 0 {
			bad++
		} else {
			s.take(&x.b.entry, name)
		}
		at += size
	}
	if bad > 0 {
		s.integrity.Add(fmt.Sprintf("%s: %d records of chunk %d could not be read", name, bad, number), 0)
	}
}

// nextRecord finds the next record behind a damaged one, -1 for none: they begin at multiples of 8 bytes.
func nextRecord(chunk []byte, at, end int) int {
	for at += 8 - at%8; at+recordHead <= end; at += 8 {
		if bytes.HasPrefix(chunk[at:], recordMagic) {
			return at
		}
	}
	return -1
}

// fileTime returns a FILETIME: units of 100 ns since 1601.
func fileTime(v uint64) model.Time {
	const to1970 = 116444736000000000
	if v < to1970 || v-to1970 > math.MaxInt64/100 {
		return 0
	}
	return plausible(time.Unix(0, int64(v-to1970)*100).UTC())
}

// chunkWork bounds the tokens that are read of a chunk: templates may use others, and refer back.
const chunkWork = 4 << 20

// binXML reads the binary XML of a chunk. Offsets are from its beginning.
type binXML struct {
	chunk []byte
	b     builder
	work  int
}

// value is what stands for a place in a template.
type value struct {
	kind     byte
	at, size int
}

// Tokens of binary XML; moreBit says that there is more of the kind.
const (
	tokenEnd, tokenOpen, tokenCloseStart, tokenCloseEmpty, tokenEndElement = 0, 1, 2, 3, 4
	tokenValue, tokenAttribute, tokenCDATA, tokenCharRef, tokenEntity      = 5, 6, 7, 8, 9
	tokenPITarget, tokenPIData, tokenTemplate, tokenNormal, tokenOptional  = 10, 11, 12, 13, 14
	tokenFragment                                                          = 15
	moreBit                                                                = 0x40
)

// Types of values.
const (
	typeNull, typeString, typeANSI, typeXML, typeArray = 0, 1, 2, 0x21, 0x80
	maxTemplates                                       = 16
)

// need says that there are n bytes at a place.
func (x *binXML) need(at, n, end int) bool {
	return n >= 0 && at >= 0 && at+n <= min(end, len(x.chunk))
}

// name reads a name by the offset at a place; after is where reading goes on: behind the name where it is there.
func (x *binXML) name(at, end int) (name string, after int, err error) {
	if !x.need(at, 4, end) {
		return "", 0, errBinary
	}
	offset := int(le.Uint32(x.chunk[at:]))
	after = at + 4
	if !x.need(offset, 8, len(x.chunk)) {
		return "", 0, errBinary
	}
	chars := int(le.Uint16(x.chunk[offset+6:]))
	if !x.need(offset+8, 2*chars+2, len(x.chunk)) {
		return "", 0, errBinary
	}
	if offset == after {
		after = offset + 8 + 2*chars + 2
	}
	return string(source.AppendUTF16(nil, x.chunk[offset+8:offset+8+2*chars], false)), after, nil
}

// fragment reads tokens up to the end of a fragment and returns where that is. Elements of templates have one more
// field.
func (x *binXML) fragment(at, end int, values []value, template bool, depth int) (int, error) {
	if depth > maxTemplates {
		return 0, errBinary
	}
	attribute, inAttribute, open := "", false, 0
	var text []byte
	flush := func() {
		if inAttribute {
			x.b.attribute(attribute, string(text))
		}
		inAttribute, text = false, nil
	}
	put := func(s string) {
		if !inAttribute {
			x.b.chars(s)
		} else if len(text) < maxValue {
			text = append(text, s[:min(len(s), maxValue-len(text))]...)
		}
	}
	for {
		if x.work--; x.work < 0 || !x.need(at, 1, end) {
			if x.work >= 0 && at == end && open == 0 {
				return at, nil
			}
			return 0, errBinary
		}
		token := x.chunk[at]
		at++
		switch token &^ moreBit {
		case tokenEnd:
			flush()
			return at, nil
		case tokenFragment:
			at += 3
		case tokenOpen:
			flush()
			if template {
				at += 2
			}
			name, after, err := x.name(at+4, end)
			if err != nil {
				return 0, err
			}
			at = after
			if token&moreBit != 0 {
				at += 4
			}
			open++
			x.b.start(name)
		case tokenAttribute:
			flush()
			name, after, err := x.name(at, end)
			if err != nil {
				return 0, err
			}
			attribute, inAttribute, at = name, true, after
		case tokenCloseStart:
			flush()
		case tokenCloseEmpty, tokenEndElement:
			flush()
			x.b.end()
			open--
		case tokenValue:
			if !x.need(at, 3, end) {
				return 0, errBinary
			}
			n := 2 * int(le.Uint16(x.chunk[at+1:]))
			if x.chunk[at] != typeString || !x.need(at+3, n, end) {
				return 0, errBinary
			}
			put(string(source.AppendUTF16(nil, x.chunk[at+3:at+3+n], false)))
			at += 3 + n
		case tokenCDATA, tokenPIData:
			if !x.need(at, 2, end) {
				return 0, errBinary
			}
			n := 2 * int(le.Uint16(x.chunk[at:]))
			if !x.need(at+2, n, end) {
				return 0, errBinary
			}
			if token&^moreBit == tokenCDATA {
				put(string(source.AppendUTF16(nil, x.chunk[at+2:at+2+n], false)))
			}
			at += 2 + n
		case tokenCharRef:
			if !x.need(at, 2, end) {
				return 0, errBinary
			}
			put(string(rune(le.Uint16(x.chunk[at:]))))
			at += 2
		case tokenEntity, tokenPITarget:
			name, after, err := x.name(at, end)
			if err != nil {
				return 0, err
			}
			if token&^moreBit == tokenEntity {
				put(entities[name])
			}
			at = after
		case tokenTemplate:
			after, err := x.template(at, end, depth)
			if err != nil {
				return 0, err
			}
			at = after
		case tokenNormal, tokenOptional:
			if !x.need(at, 3, end) {
				return 0, errBinary
			}
			i := int(le.Uint16(x.chunk[at:]))
			at += 3
			if i >= len(values) {
				return 0, errBinary
			}
			if v := values[i]; v.kind == typeXML && !inAttribute {
				if _, err := x.fragment(v.at, v.at+v.size, nil, false, depth+1); err != nil {
					return 0, err
				}
			} else {
				put(x.valueText(v))
			}
		default:
			return 0, errBinary
		}
	}
}

var entities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}

// template reads an instance of a template: the definition, here or at its offset, with the values that follow.
func (x *binXML) template(at, end, depth int) (after int, err error) {
	if !x.need(at, 9, end) {
		return 0, errBinary
	}
	definition := int(le.Uint32(x.chunk[at+5:]))
	at += 9
	if !x.need(definition, 24, len(x.chunk)) {
		return 0, errBinary
	}
	length := int(le.Uint32(x.chunk[definition+20:]))
	if !x.need(definition+24, length, len(x.chunk)) {
		return 0, errBinary
	}
	if definition == at {
		at += 24 + length
	}
	if !x.need(at, 4, end) {
		return 0, errBinary
	}
	count := int(le.Uint32(x.chunk[at:]))
	at += 4
	if count > (end-at)/4 {
		return 0, errBinary
	}
	values := make([]value, count)
	data := at + 4*count
	for i := range values {
		size := int(le.Uint16(x.chunk[at+4*i:]))
		if !x.need(data, size, end) {
			return 0, errBinary
		}
		values[i] = value{x.chunk[at+4*i+2], data, size}
		data += size
	}
	_, err = x.fragment(definition+24, definition+24+length, values, true, depth+1)
	return data, err
}

// valueText writes a value as XML has it; those that nothing is read of are left out.
func (x *binXML) valueText(v value) string {
	b := x.chunk[v.at : v.at+v.size]
	number := func() uint64 {
		var wide [8]byte
		copy(wide[:], b)
		return le.Uint64(wide[:])
	}
	switch v.kind {
	case typeString:
		return strings.TrimRight(string(source.AppendUTF16(nil, b, false)), "\x00")
	case typeANSI:
		return strings.TrimRight(strings.ToValidUTF8(string(b), "?"), "\x00")
	case typeString | typeArray:
		return strings.Trim(strings.ReplaceAll(string(source.AppendUTF16(nil, b, false)), "\x00", " "), " ")
	case 0x03:
		return strconv.FormatInt(int64(int8(number())), 10)
	case 0x05:
		return strconv.FormatInt(int64(int16(number())), 10)
	case 0x07:
		return strconv.FormatInt(int64(int32(number())), 10)
	case 0x09:
		return strconv.FormatInt(int64(number()), 10)
	case 0x04, 0x06, 0x08, 0x0a, 0x0d, 0x10:
		return strconv.FormatUint(number(), 10)
	case 0x14, 0x15:
		return "0x" + strconv.FormatUint(number(), 16)
	case 0x11:
		if at := fileTime(number()); at != 0 {
			return at.Std().Format(time.RFC3339Nano)
		}
	case 0x12:
		if len(b) >= 16 {
			part := func(i int) int { return int(le.Uint16(b[2*i:])) }
			return time.Date(part(0), time.Month(part(1)), part(3), part(4), part(5), part(6), part(7)*1e6, time.UTC).
				Format(time.RFC3339Nano)
		}
	}
	return ""
}
