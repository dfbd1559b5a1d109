// Package frame reads the headers of captured frames: addresses, ports, sizes,
// and the mark by which a packet is recognised in another capture or
// recording. It takes frames that are cut anywhere, and allocates nothing.
package frame

import (
	"encoding/binary"
	"net/netip"
)

// Link is how a frame begins, numbered as LINKTYPE_* of pcap files.
type Link uint16

// Links that are read.
const (
	LinkNull     Link = 0
	LinkEthernet Link = 1
	LinkPPP      Link = 9
	LinkRawBSD   Link = 12
	LinkRawBSD14 Link = 14
	LinkRaw      Link = 101
	LinkWiFi     Link = 105
	LinkLoop     Link = 108
	LinkCooked   Link = 113
	LinkRadiotap Link = 127
	LinkIPv4     Link = 228
	LinkIPv6     Link = 229
	LinkCooked2  Link = 276
)

var linkNames = map[Link]string{
	LinkNull:     "BSD loopback",
	LinkEthernet: "Ethernet",
	LinkPPP:      "PPP",
	LinkRawBSD:   "raw IP",
	LinkRawBSD14: "raw IP",
	LinkRaw:      "raw IP",
	LinkWiFi:     "802.11",
	LinkLoop:     "OpenBSD loopback",
	LinkCooked:   "Linux cooked v1",
	LinkRadiotap: "802.11 with radiotap",
	LinkIPv4:     "raw IPv4",
	LinkIPv6:     "raw IPv6",
	LinkCooked2:  "Linux cooked v2",
}

// String returns the link's name, empty for one that is not read.
func (l Link) String() string { return linkNames[l] }

// Direction is which way a frame went, where the capture says so.
type Direction uint8

// Directions.
const (
	Unknown Direction = iota
	In
	Out
	// Other is a frame between other hosts, which the interface saw.
	Other
)

// Protocols of IP that are used.
const (
	TCP  = 6
	UDP  = 17
	VRRP = 112
)

// Flags of TCP.
const (
	FIN = 1
	SYN = 2
	RST = 4
	ACK = 16
)

// Packet is what the headers of a frame say.
type Packet struct {
	// Source and Destination are the addresses, invalid where the frame has no IP.
	Source, Destination netip.Addr
	// SourcePort and DestinationPort are 0 where they are not known, as in later fragments.
	SourcePort, DestinationPort uint16
	// Protocol is that of IP.
	Protocol uint8
	// TCPFlags are those of a segment, End is the sequence number behind its last byte.
	TCPFlags uint8
	End      uint32
	// Size is the payload that the packet had, as its headers say: more than was captured, perhaps.
	Size int
	// Mark is what the packet is recognised by elsewhere, as packet.mark; Marked says that enough was captured for it.
	Mark   uint64
	Marked bool
	// Fragment says that it is a fragment, Later that it is not the first.
	Fragment, Later bool
	// VLAN is the outermost, 0 none.
	VLAN uint16
	// SourceMAC and DestinationMAC are set where HasMAC is.
	SourceMAC, DestinationMAC [6]byte
	HasMAC                    bool
	// Direction is what the frame's link says.
	Direction Direction
	// IP is the packet from its IP header on, nil for another one.
	IP []byte
}

// Group says that the packet was sent to a group, or to all.
func (p *Packet) Group() bool {
	if p.HasMAC && p.DestinationMAC[0]&1 != 0 {
		return true
	}
	d := p.Destination
	return d.IsMulticast() || d == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Types of Ethernet.
const (
	TypeIPv4    = 0x0800
	TypeIPv6    = 0x86dd
	typeVLAN    = 0x8100
	typeQinQ    = 0x88a8
	typeQinQOld = 0x9100
	typePPPoE   = 0x8864
	typeMPLS    = 0x8847
)

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// Decode reads a frame of the given link, which had length bytes when it was
// captured. It reports whether the frame has IP; what it has is in p either way.
func Decode(link Link, data []byte, length int, p *Packet) bool {
	*p = Packet{}
	switch link {
	case LinkEthernet:
		return ethernet(data, length, p)
	case LinkRaw, LinkRawBSD, LinkRawBSD14, LinkIPv4, LinkIPv6:
		return IP(data, length, p)
	case LinkNull, LinkLoop:
		if len(data) < 4 {
			return false
		}
		// The family is in the byte order of the host, and its number depends on the system: IP says what it is.
		return IP(data[4:], length-4, p)
	case LinkPPP:
		return ppp(data, length, p)
	case LinkCooked:
		return cooked(data, length, p)
	case LinkCooked2:
		return cooked2(data, length, p)
	case LinkWiFi:
		return wifi(data, length, p)
	case LinkRadiotap:
		if len(data) < 8 {
			return false
		}
		n := int(binary.LittleEndian.Uint16(data[2:]))
		if n < 8 || n > len(data) {
			return false
		}
		return wifi(data[n:], length-n, p)
	}
	return false
}

func ethernet(data []byte, length int, p *Packet) bool {
	if len(data) < 14 {
		return false
	}
	copy(p.DestinationMAC[:], data)
	copy(p.SourceMAC[:], data[6:])
	p.HasMAC = true
	return typed(be16(data[12:]), data[14:], length-14, p)
}

// typed reads what follows a type of Ethernet.
func typed(kind uint16, data []byte, length int, p *Packet) bool {
	const maxTags = 4
	for range maxTags {
		switch kind {
		case typeVLAN, typeQinQ, typeQinQOld:
			if len(data) < 4 {
				return false
			}
			if p.VLAN == 0 {
				p.VLAN = be16(data) & 0xfff
			}
			kind, data, length = be16(data[2:]), data[4:], length-4
			continue
		case typePPPoE:
			if len(data) < 8 {
				return false
			}
			return ppp(data[6:], length-6, p)
		case typeMPLS:
			if len(data) < 4 {
				return false
			}
			bottom := data[2]&1 != 0
			data, length = data[4:], length-4
			if bottom {
				return IP(data, length, p)
			}
			continue
		case TypeIPv4, TypeIPv6:
			return IP(data, length, p)
		}
		if kind < 1536 { // a length: LLC
			return llc(data, length, p)
		}
		return false
	}
	return false
}

// llc reads a frame with a header of LLC and SNAP.
func llc(data []byte, length int, p *Packet) bool {
	if len(data) < 8 || data[0] != 0xaa || data[1] != 0xaa || data[2] != 3 {
		return false
	}
	kind := be16(data[6:])
	if kind < 1536 {
		return false
	}
	return typed(kind, data[8:], length-8, p)
}

func ppp(data []byte, length int, p *Packet) bool {
	if len(data) >= 2 && data[0] == 0xff && data[1] == 3 {
		data, length = data[2:], length-2
	}
	if len(data) < 2 {
		return false
	}
	switch be16(data) {
	case 0x21, 0x57:
		return IP(data[2:], length-2, p)
	}
	return false
}

// cookedDirection is what the type of a Linux cooked packet says.
func cookedDirection(kind uint16) Direction {
	switch kind {
	case 0, 1, 2:
		return In
	case 3:
		return Other
	case 4:
		return Out
	}
	return Unknown
}

func cooked(data []byte, length int, p *Packet) bool {
	if len(data) < 16 {
		return false
	}
	p.Direction = cookedDirection(be16(data))
	return typed(be16(data[14:]), data[16:], length-16, p)
}

func cooked2(data []byte, length int, p *Packet) bool {
	if len(data) < 20 {
		return false
	}
	p.Direction = cookedDirection(uint16(data[10]))
	return typed(be16(data), data[20:], length-20, p)
}

// wifi reads a data frame of 802.11. Whether it says that it is encrypted is not looked at: captures hold frames
// that were decrypted and still say so.
func wifi(data []byte, length int, p *Packet) bool {
	if len(data) < 24 || data[0]>>2&3 != 2 {
		return false
	}
	head := 24
	toDS, fromDS := data[1]&1 != 0, data[1]&2 != 0
	destination, source := data[4:10], data[10:16]
	switch {
	case toDS && fromDS:
		if len(data) < 30 {
			return false
		}
		destination, source = data[16:22], data[24:30]
		head += 6
	case toDS:
		destination = data[16:22]
	case fromDS:
		source = data[16:22]
	}
	copy(p.DestinationMAC[:], destination)
	copy(p.SourceMAC[:], source)
	p.HasMAC = true
	if data[0]&0x80 != 0 {
		head += 2
		if data[1]&0x80 != 0 { // HT control
			head += 4
		}
	}
	if head > len(data) {
		return false
	}
	if llc(data[head:], length-head, p) {
		return true
	}
	// Some drivers pad the header to four bytes.
	if pad := -head & 3; pad != 0 && head+pad <= len(data) {
		return llc(data[head+pad:], length-head-pad, p)
	}
	return false
}

// IP reads a packet from its IP header on, which had length bytes when it was captured.
func IP(data []byte, length int, p *Packet) bool {
	if len(data) < 1 {
		return false
	}
	switch data[0] >> 4 {
	case 4:
		return ipv4(data, length, p)
	case 6:
		return ipv6(data, length, p)
	}
	return false
}

func ipv4(data []byte, length int, p *Packet) bool {
	if len(data) < 20 {
		return false
	}
	head := int(data[0]&15) * 4
	if head < 20 {
		return false
	}
	p.Source = netip.AddrFrom4([4]byte(data[12:16]))
	p.Destination = netip.AddrFrom4([4]byte(data[16:20]))
	p.Protocol = data[9]
	total := int(be16(data[2:]))
	if total == 0 { // a segment that the adapter was to cut up
		total = length
	}
	fragment := be16(data[6:])
	p.Fragment = fragment&0x3fff != 0
	p.Later = fragment&0x1fff != 0
	p.IP = data
	if len(data) > total && total >= head {
		p.IP = data[:total]
	}
	transport(uint32(be16(data[4:])), head, total, p)
	return true
}

func ipv6(data []byte, length int, p *Packet) bool {
	if len(data) < 40 {
		return false
	}
	p.Source = netip.AddrFrom16([16]byte(data[8:24]))
	p.Destination = netip.AddrFrom16([16]byte(data[24:40]))
	p.Protocol = data[6]
	total := 40 + int(be16(data[4:]))
	if total == 40 {
		total = length
	}
	p.IP = data
	if len(data) > total {
		p.IP = data[:total]
	}
	head := 40
	const maxHeaders = 8
	for range maxHeaders {
		switch p.Protocol {
		case 0, 43, 60, 51, 135: // hop by hop, routing, destination, authentication, mobility
			if len(p.IP) < head+2 {
				return true
			}
			size := 8 + 8*int(p.IP[head+1])
			if p.Protocol == 51 {
				size = 8 + 4*int(p.IP[head+1])
			}
			p.Protocol = p.IP[head]
			head += size
			continue
		case 44:
			if len(p.IP) < head+8 {
				return true
			}
			fragment := be16(p.IP[head+2:])
			p.Fragment = fragment&0xfff9 != 0
			p.Later = fragment&0xfff8 != 0
			p.Protocol = p.IP[head]
			head += 8
			continue
		}
		break
	}
	transport(0, head, total, p)
	return true
}

// transport reads the header of the transport protocol, which begins at head of p.IP; total is the size of the packet.
func transport(id uint32, head, total int, p *Packet) {
	p.Size = max(total-head, 0)
	if p.Later || head > len(p.IP) {
		return
	}
	data := p.IP[head:]
	var size int
	switch p.Protocol {
	case UDP:
		if len(data) < 4 {
			return
		}
		size = 8
	case TCP:
		if len(data) < 14 {
			if len(data) >= 4 {
				p.SourcePort, p.DestinationPort = be16(data), be16(data[2:])
			}
			return
		}
		size = int(data[12]>>4) * 4
		p.TCPFlags = data[13]
	default:
		p.mark(id, data)
		return
	}
	p.SourcePort, p.DestinationPort = be16(data), be16(data[2:])
	p.Size = max(total-head-size, 0)
	if p.Protocol == TCP {
		p.End = binary.BigEndian.Uint32(data[4:]) + uint32(p.Size)
		id = p.End
	}
	if size <= len(data) {
		p.mark(id, data[size:])
	}
}

// hashed is how many bytes of the payload a mark knows.
const hashed = 128

// mark computes the mark as the probe heartbeat does in the kernel: FNV-1a, eight bytes at a time.
func (p *Packet) mark(id uint32, payload []byte) {
	n := min(p.Size, hashed)
	if len(payload) < n || p.Fragment {
		return
	}
	p.Marked = true
	var hash uint32
	if n > 0 {
		var words [hashed]byte
		copy(words[:], payload[:n])
		h := uint64(0xcbf29ce484222325) ^ uint64(p.Size)
		for i := 0; i < hashed; i += 8 {
			h = (h ^ binary.LittleEndian.Uint64(words[i:]) ^ h>>29) * 0x100000001b3
		}
		hash = uint32(h>>32) ^ uint32(h)
	}
	p.Mark = uint64(id)<<32 | uint64(hash)
}
