// Package frametest builds frames for tests.
package frametest

import (
	"encoding/binary"
	"net/netip"
)

// Packet is a packet to be built.
type Packet struct {
	Source, Destination netip.AddrPort
	// TCP makes a segment with the sequence number Seq and Flags; otherwise it is a datagram.
	TCP   bool
	Seq   uint32
	Flags byte
	// ID is the identification of IPv4, Offset and More make a fragment.
	ID, Offset uint16
	More       bool
	Payload    []byte
}

// UDP is a datagram between "1.2.3.4:5" and "[::1]:7".
func UDP(from, to string, id uint16, payload []byte) Packet {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return Packet{Source: source, Destination: destination, ID: id, Payload: payload}
}

// Segment is a segment of a connection.
func Segment(from, to string, seq uint32, flags byte, payload []byte) Packet {
	p := UDP(from, to, uint16(seq), payload)
	p.TCP, p.Seq, p.Flags = true, seq, flags
	return p
}

// IP builds the packet from its IP header on.
func (p *Packet) IP() []byte {
	be := binary.BigEndian
	var transport []byte
	if p.Offset == 0 {
		transport = be.AppendUint16(transport, p.Source.Port())
		transport = be.AppendUint16(transport, p.Destination.Port())
		if p.TCP {
			transport = be.AppendUint32(transport, p.Seq)
			transport = append(transport, 0, 0, 0, 0, 8<<4, p.Flags, 16, 0, 0, 0, 0, 0)
			transport = append(transport, make([]byte, 12)...) // options
		} else {
			transport = be.AppendUint16(transport, uint16(8+len(p.Payload)))
			transport = append(transport, 0, 0)
		}
	}
	transport = append(transport, p.Payload...)
	protocol := byte(17)
	if p.TCP {
		protocol = 6
	}
	fragment := p.Offset / 8
	if p.Source.Addr().Is4() {
		if p.More {
			fragment |= 0x2000
		}
		b := []byte{0x45, 0}
		b = be.AppendUint16(b, uint16(20+len(transport)))
		b = be.AppendUint16(b, p.ID)
		b = be.AppendUint16(b, fragment)
		b = append(b, 64, protocol, 0, 0)
		b = append(b, p.Source.Addr().AsSlice()...)
		b = append(b, p.Destination.Addr().AsSlice()...)
		return append(b, transport...)
	}
	next := protocol
	var extension []byte
	if fragment != 0 || p.More {
		next, extension = 44, []byte{protocol, 0}
		fragment *= 8
		if p.More {
			fragment |= 1
		}
		extension = be.AppendUint16(extension, fragment)
		extension = append(extension, 0, 0, 0, 1)
	}
	b := []byte{0x60, 0, 0, 0}
	b = be.AppendUint16(b, uint16(len(extension)+len(transport)))
	b = append(b, next, 64)
	b = append(b, p.Source.Addr().AsSlice()...)
	b = append(b, p.Destination.Addr().AsSlice()...)
	return append(append(b, extension...), transport...)
}

// etherType is that of the packet.
func (p *Packet) etherType() uint16 {
	if p.Source.Addr().Is4() {
		return 0x0800
	}
	return 0x86dd
}

// MAC is a hardware address that ends in n.
func MAC(n byte) []byte { return []byte{2, 0, 0, 0, 0, n} }

// Ethernet builds a frame from one hardware address to another, with the given VLAN where it is not 0.
func (p *Packet) Ethernet(from, to byte, vlan uint16) []byte {
	b := append(MAC(to), MAC(from)...)
	if vlan != 0 {
		b = append(b, 0x81, 0)
		b = binary.BigEndian.AppendUint16(b, vlan)
	}
	return append(binary.BigEndian.AppendUint16(b, p.etherType()), p.IP()...)
}

// WiFi builds a data frame of 802.11 with quality of service, marked as encrypted though it is not, between two
// distribution systems where both is set.
func (p *Packet) WiFi(both bool) []byte {
	flags := byte(0x42)
	if both {
		flags = 0x43
	}
	b := []byte{0x88, flags, 0, 0}
	b = append(b, MAC(1)...)
	b = append(b, MAC(2)...)
	b = append(b, MAC(3)...)
	b = append(b, 0, 0)
	if both {
		b = append(b, MAC(4)...)
	}
	b = append(b, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(b, p.etherType()), p.IP()...)
}

// Cooked builds a frame of Linux, of version 1 or 2; kind is 0 for a packet that was received, 4 for one that was sent.
func (p *Packet) Cooked(version int, kind uint16) []byte {
	be := binary.BigEndian
	if version == 2 {
		b := be.AppendUint16(nil, p.etherType())
		b = append(b, 0, 0, 0, 0, 0, 2, 0, 1, byte(kind), 6)
		b = append(b, MAC(1)...)
		return append(append(b, 0, 0), p.IP()...)
	}
	b := be.AppendUint16(nil, kind)
	b = append(b, 0, 1, 0, 6)
	b = append(b, MAC(1)...)
	b = append(b, 0, 0)
	return append(be.AppendUint16(b, p.etherType()), p.IP()...)
}
