package etw

import (
	"encoding/hex"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"lostbeat/model"
)

// Limits of one rendered payload: more is cut and marked.
const (
	maxRendered = 16 << 10
	maxHex      = 1 << 10
)

// raw adds a record that no probe takes, or one that is too short for the
// probe that would.
func (d *Decoder) raw(r *Record, t model.Time, partial bool) {
	sch := d.State.schemas.find(r)
	provider := r.Class.String()
	if r.Header == HeaderMessage {
		provider = "wpp:" + provider
	}
	name := classicName(r)
	if sch != nil {
		name = sch.name
	}
	if n := r.ProviderName(); n != "" && !strings.HasPrefix(name, n+"/") {
		name = join(n, name)
	}
	d.Out.AddRaw(
		model.Raw{
			Time:     t,
			CPU:      r.CPU,
			PID:      r.PID,
			TID:      r.TID,
			ID:       int64(r.ID),
			Version:  int64(r.Version),
			Level:    int64(r.Level),
			Keyword:  r.Keyword,
			Classic:  r.Classic(),
			Provider: provider,
			Name:     name,
			Payload:  d.render.payload(r, sch, partial || r.Truncated),
		},
	)
}

// renderer writes payloads as JSON objects, or as hexadecimal text where no
// schema is known. Its buffers are used again.
type renderer struct {
	out    []byte
	values []uint64
}

// payload returns the text of r's payload.
func (w *renderer) payload(r *Record, sch *schema, partial bool) string {
	w.out = w.out[:0]
	f := r.Fields()
	if r.Flags&FlagStringOnly != 0 && r.Header == HeaderEvent {
		w.out = append(w.out, `{"message":`...)
		w.text(f.UTF16())
		w.out = append(w.out, '}')
		return string(w.out)
	}
	if sch == nil && partial {
		return `{"_partial":true,"_rest":"` + hexText(r.Payload) + `"}`
	}
	if sch == nil {
		return hexText(r.Payload)
	}
	w.out = append(w.out, '{')
	w.values = append(w.values[:0], make([]uint64, len(sch.fields))...)
	for i := 0; i < len(sch.fields) && len(w.out) < maxRendered; i += 1 + skipped(sch, i) {
		if memberOf(sch, i) {
			continue
		}
		if i > 0 && len(w.out) > 1 {
			w.out = append(w.out, ',')
		}
		w.field(&f, sch, i)
		if f.Short() {
			break
		}
	}
	if f.Short() || partial {
		w.mark("_partial", "true")
	}
	if n := f.Len(); n > 0 && !f.Short() && len(sch.fields) > 0 {
		w.mark("_rest", strconv.Quote(hexText(f.Rest())))
	}
	w.out = append(w.out, '}')
	return string(w.out)
}

// skipped returns how many fields behind i belong to it.
func skipped(sch *schema, i int) int {
	if f := &sch.fields[i]; f.in == inStruct && f.length.n == 0 {
		return min(f.members, len(sch.fields)-i-1)
	}
	return 0
}

// memberOf reports whether field i belongs to a structure whose members stand
// behind all top-level fields, as in TRACE_EVENT_INFO.
func memberOf(sch *schema, i int) bool {
	for j := range i {
		if f := &sch.fields[j]; f.in == inStruct && f.length.n != 0 && i >= int(f.length.n) &&
			i < int(f.length.n)+f.members {
			return true
		}
	}
	return false
}

// mark adds a member about the payload itself.
func (w *renderer) mark(name, value string) {
	if w.out[len(w.out)-1] != '{' {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
	w.out = append(w.out, value...)
}

// resolve returns the value of a quantity.
func (w *renderer) resolve(q quantity) int {
	if !q.field {
		return int(q.n)
	}
	if int(q.n) < len(w.values) {
		return int(min(w.values[q.n], math.MaxInt32))
	}
	return 0
}

// field writes field i with its name.
func (w *renderer) field(f *Fields, sch *schema, i int) {
	fd := &sch.fields[i]
	w.text(fd.name)
	w.out = append(w.out, ':')
	var n int
	switch {
	case fd.counted:
		n = int(f.U16())
	case fd.count.known:
		n = w.resolve(fd.count)
	default:
		w.value(f, sch, i)
		return
	}
	w.out = append(w.out, '[')
	for k := range n {
		if f.Len() == 0 || len(w.out) > maxRendered {
			break
		}
		if k > 0 {
			w.out = append(w.out, ',')
		}
		w.value(f, sch, i)
	}
	w.out = append(w.out, ']')
}

// value writes one value of field i.
func (w *renderer) value(f *Fields, sch *schema, i int) {
	fd := &sch.fields[i]
	switch fd.in {
	case inStruct:
		w.structure(f, sch, i)
	case inUTF16, inRestUTF16:
		if fd.length.known {
			s, _ := decodeUTF16(f.Bytes(2 * w.resolve(fd.length)))
			w.text(s)
			return
		}
		w.text(f.UTF16())
	case inANSI, inRestANSI:
		if fd.length.known {
			w.text(decodeANSI(f.Bytes(w.resolve(fd.length))))
			return
		}
		w.text(f.ANSI())
	case inCountedUTF16, inCountedString:
		s, _ := decodeUTF16(f.Bytes(int(f.U16())))
		w.text(s)
	case inCountedANSI, inCountedString8:
		w.text(decodeANSI(f.Bytes(int(f.U16()))))
	case inCountedBinary:
		w.text(hexText(f.Bytes(int(f.U16()))))
	case inHexDump:
		w.text(hexText(f.Bytes(int(min(f.U32(), math.MaxInt32)))))
	case inBinary:
		n := f.Len()
		if fd.length.known {
			n = w.resolve(fd.length)
		}
		w.text(hexText(f.Bytes(n)))
	case inSockAddr:
		b := f.Bytes(w.resolve(fd.length))
		if addr, ok := parseSockAddr(b); ok {
			w.text(addr.String())
			return
		}
		w.text(hexText(b))
	case inIPv4:
		w.addr(f.IPv4())
	case inIPv6:
		w.addr(f.IPv6())
	case inGUID:
		w.text(f.GUID().String())
	case inSID:
		w.text(hexText(f.bareSID()))
	case inWBEMSID:
		f.SID()
		w.out = append(w.out, "null"...)
	case inSystemTime:
		w.systemTime(f)
	case inFloat:
		w.float(float64(math.Float32frombits(f.U32())))
	case inDouble:
		w.float(math.Float64frombits(f.U64()))
	default:
		w.number(f, fd, i)
	}
}

// structure writes the members of structure i as an object.
func (w *renderer) structure(f *Fields, sch *schema, i int) {
	fd := &sch.fields[i]
	first := i + 1
	if fd.length.n != 0 {
		first = int(fd.length.n)
	}
	w.out = append(w.out, '{')
	for j := first; j < first+fd.members && j < len(sch.fields); j += 1 + skipped(sch, j) {
		// Structures hold only fields that stand behind them: no cycles.
		if j <= i || f.Short() || len(w.out) > maxRendered {
			break
		}
		if j > first {
			w.out = append(w.out, ',')
		}
		w.field(f, sch, j)
	}
	w.out = append(w.out, '}')
}

func (w *renderer) systemTime(f *Fields) {
	b := f.Bytes(16)
	if b == nil {
		w.out = append(w.out, "null"...)
		return
	}
	w.out = append(w.out, '"')
	for i, part := range [7]struct {
		at, width int
		before    string
	}{{0, 4, ""}, {2, 2, "-"}, {6, 2, "-"}, {8, 2, "T"}, {10, 2, ":"}, {12, 2, ":"}, {14, 3, "."}} {
		if i > 0 {
			w.out = append(w.out, part.before...)
		}
		digits := strconv.Itoa(int(le16(b[part.at:])))
		for range part.width - len(digits) {
			w.out = append(w.out, '0')
		}
		w.out = append(w.out, digits...)
	}
	w.out = append(w.out, '"')
}

func (w *renderer) addr(a netip.Addr) {
	if !a.IsValid() {
		w.out = append(w.out, "null"...)
		return
	}
	w.text(a.String())
}

func (w *renderer) float(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.out = append(w.out, "null"...)
		return
	}
	w.out = strconv.AppendFloat(w.out, v, 'g', -1, 64)
}

// number writes an integer, by its name where it has one.
func (w *renderer) number(f *Fields, fd *field, i int) {
	var v uint64
	signed, hexadecimal := false, false
	switch fd.in {
	case inInt8:
		v, signed = uint64(int64(int8(f.U8()))), true
	case inUint8, inChar8:
		v = uint64(f.U8())
	case inInt16:
		v, signed = uint64(int64(int16(f.U16()))), true
	case inUint16, inChar16:
		v = uint64(f.U16())
	case inPort:
		v = uint64(f.U16BE())
	case inInt32:
		v, signed = uint64(int64(int32(f.U32()))), true
	case inUint32, inBool:
		v = uint64(f.U32())
	case inHex32:
		v, hexadecimal = uint64(f.U32()), true
	case inInt64:
		v, signed = f.U64(), true
	case inUint64:
		v = f.U64()
	case inHex64:
		v, hexadecimal = f.U64(), true
	case inPointer, inSize:
		v, hexadecimal = f.Pointer(), true
	case inFileTime:
		t := FileTime(f.U64())
		w.text(t.String())
		return
	default:
		// The size of an unknown type is unknown: nothing behind it can be read.
		w.text(hexText(f.Rest()))
		return
	}
	w.values[i] = v
	if name, ok := fd.values[uint32(v)]; ok {
		w.text(name)
		return
	}
	switch {
	case fd.in == inBool:
		w.out = strconv.AppendBool(w.out, v != 0)
	case hexadecimal:
		w.out = append(w.out, `"0x`...)
		w.out = strconv.AppendUint(w.out, v, 16)
		w.out = append(w.out, '"')
	case signed:
		w.out = strconv.AppendInt(w.out, int64(v), 10)
	default:
		w.out = strconv.AppendUint(w.out, v, 10)
	}
}

// text writes a JSON string.
func (w *renderer) text(s string) {
	const digits = "0123456789abcdef"
	w.out = append(w.out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				w.out = append(w.out, `\ufffd`...)
			} else {
				w.out = append(w.out, s[i:i+n]...)
			}
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			w.out = append(w.out, '\\', c)
		case c < ' ' || c == 0x7f:
			w.out = append(w.out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			w.out = append(w.out, c)
		}
		i++
	}
	w.out = append(w.out, '"')
}

func hexText(b []byte) string {
	if len(b) > maxHex {
		return hex.EncodeToString(b[:maxHex]) + "..."
	}
	return hex.EncodeToString(b)
}
