package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Types of blocks of pcapng that are used.
const (
	blockSection    = magicSection
	blockInterface  = 1
	blockPacketOld  = 2
	blockSimple     = 3
	blockStatistics = 5
	blockPacket     = 6
)

// blocks hands on the blocks of a pcapng file that are used, each checked, with the options that are used. What is
// damaged is left out, and reported.
type blocks struct {
	file io.ReaderAt
	size int64
	r    *bufio.Reader
	// at is where the next block begins.
	at      int64
	order   byteOrder
	ifaces  int
	out     []byte // what is left of the block that is handed on
	block   []byte
	made    []byte // the memory of out
	tries   int    // how often the next block was looked for
	damaged func(damage)
	// lost is what the capture itself says it has dropped, by interface: the last statistics count.
	lost map[int]uint64
	// simple are packets without a time.
	simple uint64
	failed error
}

// byteOrder is that of a section.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func newBlocks(file io.ReaderAt, size int64, damaged func(damage)) *blocks {
	b := &blocks{file: file, size: size, order: binary.LittleEndian, damaged: damaged, lost: map[int]uint64{}}
	b.seek(0)
	return b
}

func (b *blocks) seek(at int64) {
	b.at = at
	b.r = bufio.NewReaderSize(io.NewSectionReader(b.file, at, b.size-at), bufferBytes)
}

// Read implements io.Reader.
func (b *blocks) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// next reads a block, and hands it on if it is used.
func (b *blocks) next() error {
	left := b.size - b.at
	if left == 0 {
		return io.EOF
	}
	head, err := b.r.Peek(12)
	if err != nil {
		b.damaged(damage{fmt.Sprintf("the file ends within the block at offset %d", b.at), left})
		b.at = b.size
		return io.EOF
	}
	order := b.order
	if binary.BigEndian.Uint32(head) == magicSection {
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == magicOrder:
			order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == magicOrder:
			order = binary.BigEndian
		}
	}
	kind, size := order.Uint32(head), int64(order.Uint32(head[4:]))
	size = (size + 3) &^ 3 // some writers leave out the padding of the length
	switch {
	case size < 12 || size > left:
		return b.resync()
	case !used(kind):
		trailer := make([]byte, 4)
		if _, err := b.file.ReadAt(trailer, b.at+size-4); err != nil || order.Uint32(trailer) != order.Uint32(head[4:]) {
			return b.resync()
		}
		if size <= bufferBytes {
			if _, err := b.r.Discard(int(size)); err != nil {
				return b.fail(err)
			}
			b.at += size
			return nil
		}
		b.seek(b.at + size)
		return nil
	case size > maxPacket+1<<16:
		return b.resync()
	}
	if int64(cap(b.block)) < size {
		b.block = make([]byte, size)
	}
	b.block = b.block[:size]
	if _, err := io.ReadFull(b.r, b.block); err != nil {
		return b.fail(err)
	}
	if order.Uint32(b.block[size-4:]) != order.Uint32(b.block[4:]) {
		return b.resync()
	}
	b.order = order
	if !b.take(kind) {
		b.damaged(damage{fmt.Sprintf("the block at offset %d contradicts itself", b.at), size})
	}
	b.at += size
	return nil
}

func (b *blocks) fail(err error) error {
	b.failed = fmt.Errorf("read the capture: %w", err)
	return b.failed
}

func used(kind uint32) bool {
	switch kind {
	case blockSection, blockInterface, blockPacketOld, blockSimple, blockStatistics, blockPacket:
		return true
	}
	return false
}

// take hands on the block in b.block; false when its content is not possible.
func (b *blocks) take(kind uint32) bool {
	body := b.block[8 : len(b.block)-4]
	switch kind {
	case blockSection:
		if len(body) < 16 {
			return false
		}
		b.ifaces = 0
		b.hand(kind, body[:16], b.options(body[16:], 0))
	case blockInterface:
		if len(body) < 8 || b.ifaces >= maxIfaces {
			return false
		}
		b.ifaces++
		b.hand(kind, body[:8], b.options(body[8:], 14))
	case blockStatistics:
		const drops, osDrops = 5, 7
		if len(body) < 12 {
			return false
		}
		var lost uint64
		b.each(body[12:], func(code uint16, value []byte) {
			if (code == drops || code == osDrops) && len(value) == 8 {
				if n := b.order.Uint64(value); n <= 1<<40 {
					lost = max(lost, n)
				}
			}
		})
		if n := int(b.order.Uint32(body)); len(b.lost) < maxIfaces || b.lost[n] > 0 {
			b.lost[n] = lost
		}
	case blockPacket, blockPacketOld:
		if len(body) < 20 {
			return false
		}
		iface := b.order.Uint32(body)
		if kind == blockPacketOld {
			iface = uint32(b.order.Uint16(body))
		}
		kept := int64(b.order.Uint32(body[12:]))
		if int(iface) >= b.ifaces || kept > int64(len(body)-20) || b.order.Uint32(body[16:]) > 16*maxPacket {
			return false
		}
		data := min((kept+3)&^3, int64(len(body)-20))
		options := b.options(body[20+data:], 2)
		if kind == blockPacketOld {
			options = nil
		}
		b.hand(kind, body[:20+data], options)
	case blockSimple:
		b.simple++ // it has no time
	}
	return true
}

// Options that are used: their end, and those of interfaces up to the offset of times; 2 of a packet is its flags.
const (
	optionEnd   = 0
	optionFlags = 2
)

// each calls f with the options of a block.
func (b *blocks) each(list []byte, f func(code uint16, value []byte)) {
	for len(list) >= 4 {
		code, size := b.order.Uint16(list), int(b.order.Uint16(list[2:]))
		if code == optionEnd || size > len(list)-4 {
			return
		}
		f(code, list[4:4+size])
		list = list[min(4+(size+3)&^3, len(list)):]
	}
}

// maxOption is the longest option that is handed on.
const maxOption = 1 << 10

// options returns the options of a block that are used, up to the code most; of a packet, its flags alone.
func (b *blocks) options(list []byte, most uint16) (out []byte) {
	b.each(list, func(code uint16, value []byte) {
		if code > most || len(value) > maxOption || most == optionFlags && (code != optionFlags || len(value) != 4) {
			return
		}
		out = b.order.AppendUint16(out, code)
		out = b.order.AppendUint16(out, uint16(len(value)))
		if most == optionFlags {
			// pcapgo reads flags in one byte order.
			out = binary.LittleEndian.AppendUint32(out, b.order.Uint32(value))
			return
		}
		out = append(out, value...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	})
	if len(out) > 0 {
		out = append(out, 0, 0, 0, 0)
	}
	return out
}

// hand makes a block of a fixed part and options.
func (b *blocks) hand(kind uint32, fixed, options []byte) {
	for len(fixed)%4 != 0 {
		fixed = append(fixed[:len(fixed):len(fixed)], 0)
	}
	size := uint32(12 + len(fixed) + len(options))
	out := b.order.AppendUint32(b.made[:0], kind)
	out = b.order.AppendUint32(out, size)
	out = append(out, fixed...)
	out = append(out, options...)
	b.made = b.order.AppendUint32(out, size)
	b.out = b.made
}

// resync looks for the next whole block behind one that is damaged.
func (b *blocks) resync() error {
	begin := b.at
	if b.tries++; b.tries <= maxResyncs {
		if i := search(b.file, begin, b.size, 4, b.blockAt); i > 0 {
			b.damaged(damage{fmt.Sprintf("the block at offset %d is damaged", begin), i})
			b.seek(begin + i)
			return nil
		}
	}
	what := fmt.Sprintf("the block at offset %d is damaged, and none is found behind it", begin)
	head := make([]byte, 8)
	if _, err := b.file.ReadAt(head, begin); err == nil && b.cut(head) {
		what = fmt.Sprintf("the file ends within the block at offset %d", begin)
	}
	b.damaged(damage{what, b.size - begin})
	b.at = b.size
	return io.EOF
}

// blockAt reports whether a whole block begins at the place in the file at which the window does.
func (b *blocks) blockAt(window []byte, at int64) bool {
	kind, size := b.order.Uint32(window), int64(b.order.Uint32(window[4:]))
	if !used(kind) || size < 12 || size%4 != 0 || size > maxPacket || size > b.size-at {
		return false
	}
	trailer := make([]byte, 4)
	_, err := b.file.ReadAt(trailer, at+size-4)
	return err == nil && int64(b.order.Uint32(trailer)) == size
}

// cut says that the file seems to end in the middle of a block.
func (b *blocks) cut(head []byte) bool {
	size := int64(b.order.Uint32(head[4:]))
	return used(b.order.Uint32(head)) && size >= 12 && size <= maxPacket+1<<16 && size > b.size-b.at
}
