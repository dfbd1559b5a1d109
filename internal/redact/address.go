package redact

import (
	"net/netip"
	"strings"

	"lostbeat/internal/lazyregexp"
)

// Addresses are replaced by those of ranges that no host has: 198.18.0.0/15 (RFC 2544) and 2001:db8::/32 (RFC 3849).
const (
	kindIPv4 = "IPv4"
	kindIPv6 = "IPv6"
	kindMAC  = "MAC"
)

// addressOnly says that a text is nothing but an address.
func addressOnly(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Address returns the pseudonym of an address in text; what is none is redacted as a text.
func (r *Redactor) Address(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return r.Text(s)
	}
	return r.address(a)
}

// stays says that an address tells nothing: it is that of no host, of the host itself, or of a protocol.
func stays(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (r *Redactor) address(a netip.Addr) string {
	zone := a.Zone()
	bare := a.WithZone("")
	if stays(bare.Unmap()) {
		return a.String()
	}
	if bare.Is4In6() {
		return "::ffff:" + r.address(bare.Unmap())
	}
	key := "\x00" + bare.String()
	out, ok := r.names[key]
	switch {
	case ok:
	case r.limit > 0 && r.counts[kindIPv4]+r.counts[kindIPv6] >= r.limit:
		if out = lastIPv6; bare.Is4() {
			out = lastIPv4
		}
	default:
		if bare.Is4() {
			r.counts[kindIPv4]++
			n := r.counts[kindIPv4]
			out = netip.AddrFrom4([4]byte{198, byte(18 + n>>16&1), byte(n >> 8), byte(n)}).String()
			if n >= 1<<17 {
				out = netip.AddrFrom4([4]byte{byte(240 + n>>24&15), byte(n >> 16), byte(n >> 8), byte(n)}).String()
			}
		} else {
			r.counts[kindIPv6]++
			n := r.counts[kindIPv6]
			out = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8),
				15: byte(n)}).String()
		}
		r.names[key] = out
	}
	if zone != "" {
		out += "%" + zone
	}
	return out
}

// lastIPv4 and lastIPv6 are the addresses of all for which there is no room.
const (
	lastIPv4 = "198.19.255.255"
	lastIPv6 = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
)

var (
	ipv4At = lazyregexp.New(`^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}`)
	ipv6At = lazyregexp.New(`^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:[0-9.]+)?`)
	macAt  = lazyregexp.New(`^[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:[:-][0-9A-Fa-f]{2}){4}`)
)

// addressAt returns the pseudonym of the address at a place of a text.
func (r *Redactor) addressAt(s string, i int) (n int, pseudonym string) {
	if !strings.ContainsRune("0123456789abcdefABCDEF:", rune(s[i])) || i > 0 && (s[i-1] == '.' || s[i-1] == ':') {
		return 0, ""
	}
	rest := s[i:]
	if len(rest) > 64 {
		rest = rest[:64]
	}
	ends := func(n int) bool { return !wordAt(rest, n) }
	if text := ipv4At.FindString(rest); text != "" && ends(len(text)) &&
		(len(text)+1 >= len(rest) || rest[len(text)] != '.' || !wordAt(rest, len(text)+1)) {
		if a, err := netip.ParseAddr(text); err == nil {
			return len(text), r.address(a)
		}
	}
	if text := macAt.FindString(rest); text != "" && ends(len(text)) {
		return len(text), r.mac(text)
	}
	for text := strings.TrimRight(ipv6At.FindString(rest), "."); strings.Count(text, ":") >= 2; {
		if a, err := netip.ParseAddr(text); err == nil && ends(len(text)) {
			return len(text), r.address(a)
		}
		text = text[:strings.LastIndexByte(text, ':')]
	}
	return 0, ""
}

// mac returns the pseudonym of a hardware address.
func (r *Redactor) mac(text string) string {
	key := "\x00" + lower(strings.ReplaceAll(text, "-", ":"))
	out, ok := r.names[key]
	if !ok && r.limit > 0 && r.counts[kindMAC] >= r.limit {
		return "02:ff:ff:ff:ff:ff"
	}
	if !ok {
		r.counts[kindMAC]++
		n := r.counts[kindMAC]
		const digits = "0123456789abcdef"
		b := []byte("02:00:00:00:00:00")
		for at, shift := len(b)-1, 0; shift < 24; at -= 3 {
			b[at], b[at-1] = digits[n>>shift&15], digits[n>>(shift+4)&15]
			shift += 8
		}
		out = string(b)
		r.names[key] = out
	}
	return out
}

var (
	unixPath    = lazyregexp.New(`^(?:/[\w.@%+~=-]+){2,}/?`)
	homePath    = lazyregexp.New(`^~[\w-]*/[\w.@%+~=/-]+`)
	windowsPath = lazyregexp.New(`^(?:[A-Za-z]:|\\\\[\w.$?-]+|\\(?:Device|\?\?|Users))\\[^\s"'<>|;,]*`)
	// publicPath are paths that every system has.
	publicPath = lazyregexp.New(`(?i)^(?:/(?:proc|sys|dev)(?:/|$)|` +
		`/etc/(?:sysctl|security|systemd|default|modprobe\.d|udev|corosync|keepalived|lostbeat|resolv)|` +
		`\\\\\.\\|(?:[a-z]:|\\\\\?|\\systemroot|\\device\\harddiskvolume\d+)\\` +
		`(?:windows|winnt)\\(?:system32|syswow64|inf)\\)`)
)

// pathAt returns the pseudonym of the path at a place of a text.
func (r *Redactor) pathAt(s string, i int) (n int, pseudonym string) {
	if i > 0 && (wordBefore(s, i) || s[i-1] == '.') {
		return 0, ""
	}
	var text string
	switch c := s[i]; {
	case c == '/':
		text = unixPath.FindString(s[i:])
	case c == '~':
		text = homePath.FindString(s[i:])
	case c == '\\' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		text = windowsPath.FindString(s[i:])
	}
	text = strings.TrimRight(text, ".")
	if text == "" {
		return 0, ""
	}
	if publicPath.MatchString(text) {
		return len(text), text
	}
	return len(text), r.name(kindPath, text)
}
