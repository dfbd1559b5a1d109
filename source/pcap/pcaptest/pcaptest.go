// Package pcaptest writes captures of packets for tests.
package pcaptest

import (
	"encoding/binary"
	"time"
)

// Start is when the captures begin.
var Start = time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC)

// Order is a byte order.
type Order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Classic writes pcap files.
type Classic struct {
	// Order is the byte order, little endian where it is nil; Nano makes times of nanoseconds.
	Order Order
	Nano  bool
	// Link is the type of link, Snap the most that is kept of a packet, 0 all.
	Link uint32
	Snap int
	data []byte
}

func (c *Classic) begin() {
	if c.Order == nil {
		c.Order = binary.LittleEndian
	}
	if c.data != nil {
		return
	}
	magic := uint32(0xa1b2c3d4)
	if c.Nano {
		magic = 0xa1b23c4d
	}
	snap := uint32(262144)
	if c.Snap > 0 {
		snap = uint32(c.Snap)
	}
	c.data = c.Order.AppendUint32(nil, magic)
	c.data = c.Order.AppendUint16(c.data, 2)
	c.data = c.Order.AppendUint16(c.data, 4)
	c.data = append(c.data, 0, 0, 0, 0, 0, 0, 0, 0)
	c.data = c.Order.AppendUint32(c.data, snap)
	c.data = c.Order.AppendUint32(c.data, c.Link)
}

// Packet adds a packet.
func (c *Classic) Packet(at time.Duration, data []byte) {
	c.begin()
	t := Start.Add(at)
	fraction := t.Nanosecond()
	if !c.Nano {
		fraction /= 1000
	}
	kept := data
	if c.Snap > 0 {
		kept = data[:min(c.Snap, len(data))]
	}
	c.data = c.Order.AppendUint32(c.data, uint32(t.Unix()))
	c.data = c.Order.AppendUint32(c.data, uint32(fraction))
	c.data = c.Order.AppendUint32(c.data, uint32(len(kept)))
	c.data = c.Order.AppendUint32(c.data, uint32(len(data)))
	c.data = append(c.data, kept...)
}

// Bytes returns the file.
func (c *Classic) Bytes() []byte {
	c.begin()
	return c.data
}

// NG writes pcapng files.
type NG struct {
	// Order is the byte order, little endian where it is nil.
	Order Order
	data  []byte
	// resolutions are the powers of ten of the interfaces.
	resolutions []int
}

// Option is an option of a block.
type Option struct {
	Code  uint16
	Value []byte
}

// Block adds a block of any type.
func (n *NG) Block(kind uint32, fixed []byte, options ...Option) {
	for len(fixed)%4 != 0 {
		fixed = append(fixed, 0)
	}
	var list []byte
	for _, o := range options {
		list = n.Order.AppendUint16(list, o.Code)
		list = n.Order.AppendUint16(list, uint16(len(o.Value)))
		list = append(list, o.Value...)
		for len(list)%4 != 0 {
			list = append(list, 0)
		}
	}
	if len(options) > 0 {
		list = append(list, 0, 0, 0, 0)
	}
	size := uint32(12 + len(fixed) + len(list))
	n.data = n.Order.AppendUint32(n.data, kind)
	n.data = n.Order.AppendUint32(n.data, size)
	n.data = append(append(n.data, fixed...), list...)
	n.data = n.Order.AppendUint32(n.data, size)
}

// Section begins a section.
func (n *NG) Section() {
	if n.Order == nil {
		n.Order = binary.LittleEndian
	}
	fixed := n.Order.AppendUint32(nil, 0x1a2b3c4d)
	fixed = n.Order.AppendUint16(fixed, 1)
	fixed = n.Order.AppendUint16(fixed, 0)
	n.Block(0x0a0d0d0a, append(fixed, 255, 255, 255, 255, 255, 255, 255, 255), Option{4, []byte("pcaptest")})
	n.resolutions = nil
}

// Interface adds an interface whose times are of the given power of ten; filter is empty for none.
func (n *NG) Interface(link uint16, name, filter string, resolution int) {
	fixed := n.Order.AppendUint16(nil, link)
	fixed = append(fixed, 0, 0, 0, 0, 4, 0)
	options := []Option{{2, []byte(name)}, {9, []byte{byte(resolution)}}}
	if filter != "" {
		options = append(options, Option{11, append([]byte{0}, filter...)})
	}
	n.Block(1, fixed, options...)
	n.resolutions = append(n.resolutions, resolution)
}

// Packet adds a packet of an interface, of which so much is kept, 0 all. Its direction is 0 unknown, 1 in, 2 out.
func (n *NG) Packet(iface int, at time.Duration, data []byte, kept, direction int) {
	if kept == 0 {
		kept = len(data)
	}
	ticks := uint64(Start.Add(at).UnixNano())
	for i := n.resolutions[iface]; i < 9; i++ {
		ticks /= 10
	}
	fixed := n.Order.AppendUint32(nil, uint32(iface))
	fixed = n.Order.AppendUint32(fixed, uint32(ticks>>32))
	fixed = n.Order.AppendUint32(fixed, uint32(ticks))
	fixed = n.Order.AppendUint32(fixed, uint32(kept))
	fixed = n.Order.AppendUint32(fixed, uint32(len(data)))
	var options []Option
	if direction != 0 {
		options = []Option{{1, []byte("a comment")}, {2, n.Order.AppendUint32(nil, uint32(direction))}}
	}
	n.Block(6, append(fixed, data[:kept]...), options...)
}

// Dropped adds the statistics of an interface that dropped packets.
func (n *NG) Dropped(iface int, count uint64) {
	fixed := n.Order.AppendUint32(nil, uint32(iface))
	n.Block(5, append(fixed, 0, 0, 0, 0, 0, 0, 0, 0), Option{5, n.Order.AppendUint64(nil, count)})
}

// Bytes returns the file.
func (n *NG) Bytes() []byte { return n.data }
