// Package xcatest compresses data for tests and for generators of test files.
package xcatest

import (
	"encoding/binary"

	"lostbeat/etw/xca"
)

const (
	chunkSize = 4096
	blockSize = 1 << 16
	tableSize = 256
)

// Compress writes data in the given format. It finds matches with one hash
// probe and uses a fixed Huffman code: it serves generators of test files,
// which need valid data rather than small data.
func Compress(data []byte, f xca.Format) []byte {
	switch f {
	case xca.Xpress:
		return compressPlain(data)
	case xca.LZNT1:
		return compressLZNT1(data)
	case xca.XpressHuffman:
		return compressHuffman(data)
	}
	return append([]byte(nil), data...)
}

// matcher finds earlier occurrences of the next four bytes.
type matcher struct {
	data  []byte
	heads map[uint32]int
}

// find returns the distance and length of a match at i, 0 when there is none;
// it also makes i known to later calls.
func (m *matcher) find(i, from, maxDistance, maxLength int) (distance, length int) {
	if i+4 > len(m.data) {
		return 0, 0
	}
	word := binary.LittleEndian.Uint32(m.data[i:])
	at, ok := m.heads[word]
	m.heads[word] = i
	if !ok || at < from || i-at > maxDistance {
		return 0, 0
	}
	for length < maxLength && i+length < len(m.data) && m.data[at+length] == m.data[i+length] {
		length++
	}
	if length < 4 {
		return 0, 0
	}
	return i - at, length
}

func compressPlain(data []byte) []byte {
	m := matcher{data, make(map[uint32]int)}
	var out []byte
	flagsAt, bit, nibble := -1, 0, -1
	flag := func(set bool) {
		if bit == 0 {
			flagsAt = len(out)
			out = append(out, 0, 0, 0, 0)
			bit = 32
		}
		bit--
		if set {
			binary.LittleEndian.PutUint32(out[flagsAt:], binary.LittleEndian.Uint32(out[flagsAt:])|1<<bit)
		}
	}
	for i := 0; i < len(data); {
		distance, length := m.find(i, 0, 1<<13, 1<<16)
		if length == 0 {
			flag(false)
			out = append(out, data[i])
			i++
			continue
		}
		flag(true)
		i += length
		length -= 3
		out = binary.LittleEndian.AppendUint16(out, uint16((distance-1)<<3|min(length, 7)))
		if length < 7 {
			continue
		}
		rest := min(length-7, 15)
		if nibble < 0 {
			nibble = len(out)
			out = append(out, byte(rest))
		} else {
			out[nibble] |= byte(rest << 4)
			nibble = -1
		}
		if rest < 15 {
			continue
		}
		if length-22 < 255 {
			out = append(out, byte(length-22))
			continue
		}
		out = binary.LittleEndian.AppendUint16(append(out, 255), uint16(length))
	}
	flag(true)
	return out
}

func compressLZNT1(data []byte) []byte {
	m := matcher{data, make(map[uint32]int)}
	var out []byte
	for start := 0; start < len(data); start += chunkSize {
		end := min(start+chunkSize, len(data))
		header := len(out)
		out = append(out, 0, 0)
		flagsAt, bit := 0, 8
		for i := start; i < end; bit++ {
			if bit == 8 {
				flagsAt, bit = len(out), 0
				out = append(out, 0)
			}
			lengthBits := 12
			for position := i - start - 1; position >= 16; position >>= 1 {
				lengthBits--
			}
			distance, length := m.find(i, start, 1<<(16-lengthBits), min(end-i, 1<<lengthBits+2))
			if length == 0 {
				out = append(out, data[i])
				i++
				continue
			}
			out[flagsAt] |= 1 << bit
			out = binary.LittleEndian.AppendUint16(out, uint16((distance-1)<<lengthBits|(length-3)))
			i += length
		}
		if len(out)-header-2 > end-start {
			out = append(out[:header+2], data[start:end]...)
			binary.LittleEndian.PutUint16(out[header:], uint16(0x3000|(end-start-1)))
			continue
		}
		binary.LittleEndian.PutUint16(out[header:], uint16(0xb000|(len(out)-header-3)))
	}
	return append(out, 0, 0)
}

// bitWriter is the reverse of bitReader: 16-bit words, each written where the
// reader will read it, two words ahead of the bits in use.
type bitWriter struct {
	out  []byte
	slot [2]int
	bits uint32
	n    int
}

func (b *bitWriter) reserve() int {
	at := len(b.out)
	b.out = append(b.out, 0, 0)
	return at
}

func (b *bitWriter) put(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		if b.n == 16 {
			b.flush()
		}
		b.bits = b.bits<<1 | v>>i&1
		b.n++
	}
}

// flush writes a full word and reserves the place of the next but one.
func (b *bitWriter) flush() {
	binary.LittleEndian.PutUint16(b.out[b.slot[0]:], uint16(b.bits<<(16-b.n)))
	b.slot[0], b.slot[1] = b.slot[1], b.reserve()
	b.bits, b.n = 0, 0
}

// compressHuffman gives every symbol a code of 9 bits.
func compressHuffman(data []byte) []byte {
	m := matcher{data, make(map[uint32]int)}
	b := &bitWriter{}
	for i := 0; i < len(data); {
		for range tableSize {
			b.out = append(b.out, 0x99)
		}
		b.slot = [2]int{b.reserve(), b.reserve()}
		b.bits, b.n = 0, 0
		for end := min(len(data), (i/blockSize+1)*blockSize); i < end; {
			distance, length := m.find(i, 0, 1<<15, end-i)
			if length == 0 {
				b.put(uint32(data[i]), 9)
				i++
				continue
			}
			i += length
			length -= 3
			bits := 0
			for distance>>(bits+1) != 0 {
				bits++
			}
			b.put(uint32(256+bits<<4+min(length, 15)), 9)
			switch {
			case length >= 15+255:
				b.out = binary.LittleEndian.AppendUint16(append(b.out, 255), uint16(length))
			case length >= 15:
				b.out = append(b.out, byte(length-15))
			}
			b.put(uint32(distance)&(1<<bits-1), bits)
		}
		binary.LittleEndian.PutUint16(b.out[b.slot[0]:], uint16(b.bits<<(16-b.n)))
	}
	return b.out
}
