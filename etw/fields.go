package etw

import (
	"net/netip"
	"unicode/utf16"
	"unicode/utf8"
)

// Fields reads a payload from front to back. Reading past its end returns zero
// values and sets Short, so that a layout is read without a check per field.
type Fields struct {
	data  []byte
	off   int
	ptr   int
	short bool
}

// Fields returns a reader of r's payload.
func (r *Record) Fields() Fields { return Fields{data: r.Payload, ptr: int(r.PointerSize)} }

// Short reports whether the payload ended before a field that was read.
func (f *Fields) Short() bool { return f.short }

// Len returns the number of bytes that are left.
func (f *Fields) Len() int { return len(f.data) - f.off }

// Bytes returns the next n bytes of the payload, or nil when they are not there.
func (f *Fields) Bytes(n int) []byte {
	if n < 0 || n > len(f.data)-f.off {
		f.short = true
		f.off = len(f.data)
		return nil
	}
	b := f.data[f.off : f.off+n]
	f.off += n
	return b
}

// Skip passes over n bytes.
func (f *Fields) Skip(n int) { f.Bytes(n) }

// SkipPointers passes over n pointers.
func (f *Fields) SkipPointers(n int) { f.Bytes(n * f.ptr) }

// Rest returns all bytes that are left.
func (f *Fields) Rest() []byte { return f.Bytes(f.Len()) }

// U8 reads an unsigned byte.
func (f *Fields) U8() uint8 {
	if b := f.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads a little-endian 16-bit number.
func (f *Fields) U16() uint16 {
	if b := f.Bytes(2); b != nil {
		return le16(b)
	}
	return 0
}

// U16BE reads a 16-bit number in network byte order: a port.
func (f *Fields) U16BE() uint16 {
	if b := f.Bytes(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

// U32 reads a little-endian 32-bit number.
func (f *Fields) U32() uint32 {
	if b := f.Bytes(4); b != nil {
		return le32(b)
	}
	return 0
}

// U64 reads a little-endian 64-bit number.
func (f *Fields) U64() uint64 {
	if b := f.Bytes(8); b != nil {
		return le64(b)
	}
	return 0
}

// Pointer reads a pointer of the record's size.
func (f *Fields) Pointer() uint64 {
	if f.ptr == 4 {
		return uint64(f.U32())
	}
	return f.U64()
}

// GUID reads a GUID.
func (f *Fields) GUID() (g GUID) {
	copy(g[:], f.Bytes(16))
	return g
}

// PID reads a process or thread id; 0xffffffff, which stands for none, is -1.
func (f *Fields) PID() int32 { return int32(f.U32()) }

// UTF16 reads a UTF-16 string up to its terminator or the end of the payload.
// A payload without any byte for it is short.
func (f *Fields) UTF16() string {
	if f.Len() == 0 {
		f.short = true
		return ""
	}
	s, n := decodeUTF16(f.data[f.off:])
	f.off += n
	return s
}

// ANSI reads a single-byte string up to its terminator or the end of the
// payload. Its code page is not recorded: what is not valid UTF-8 is read as
// Latin-1.
func (f *Fields) ANSI() string {
	if f.Len() == 0 {
		f.short = true
		return ""
	}
	rest := f.data[f.off:]
	n := 0
	for n < len(rest) && rest[n] != 0 {
		n++
	}
	f.off += min(n+1, len(rest))
	return decodeANSI(rest[:n])
}

// SID passes over the security identifier of a kernel event: four zero bytes
// for none, or TOKEN_USER followed by the SID.
func (f *Fields) SID() {
	if f.Len() < 4 {
		f.short = true
		f.off = len(f.data)
		return
	}
	if le32(f.data[f.off:]) == 0 {
		f.Skip(4)
		return
	}
	f.SkipPointers(2)
	f.bareSID()
}

// bareSID reads a SID without TOKEN_USER.
func (f *Fields) bareSID() []byte {
	if f.Len() < 8 {
		f.Skip(8)
		return nil
	}
	return f.Bytes(8 + 4*int(f.data[f.off+1]))
}

// IPv4 reads an IPv4 address.
func (f *Fields) IPv4() netip.Addr {
	if b := f.Bytes(4); b != nil {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.Addr{}
}

// IPv6 reads an IPv6 address.
func (f *Fields) IPv6() netip.Addr {
	if b := f.Bytes(16); b != nil {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.Addr{}
}

// SockAddr reads a SOCKADDR that follows its 32-bit length. An address of
// another family, or of length 0, is the zero AddrPort.
func (f *Fields) SockAddr() netip.AddrPort {
	n := f.U32()
	if n > uint32(f.Len()) {
		f.short = true
		f.off = len(f.data)
		return netip.AddrPort{}
	}
	addr, _ := parseSockAddr(f.Bytes(int(n)))
	return addr
}

// Address families of Winsock.
const (
	familyIPv4 = 2
	familyIPv6 = 23
)

func parseSockAddr(b []byte) (addr netip.AddrPort, ok bool) {
	if len(b) < 8 {
		return addr, false
	}
	port := uint16(b[2])<<8 | uint16(b[3])
	switch family := le16(b); {
	case family == familyIPv4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port), true
	case family == familyIPv6 && len(b) >= 24:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port), true
	}
	return addr, false
}

// decodeUTF16 decodes up to a terminator and returns how many bytes it took,
// the terminator included.
func decodeUTF16(b []byte) (s string, taken int) {
	n := 0
	ascii := true
	for n+1 < len(b) && (b[n] != 0 || b[n+1] != 0) {
		ascii = ascii && b[n+1] == 0 && b[n] < utf8.RuneSelf
		n += 2
	}
	taken = min(n+2, len(b))
	if ascii {
		text := make([]byte, n/2)
		for i := range text {
			text[i] = b[2*i]
		}
		return string(text), taken
	}
	units := make([]uint16, n/2)
	for i := range units {
		units[i] = le16(b[2*i:])
	}
	return string(utf16.Decode(units)), taken
}

func decodeANSI(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
