package xca

// Sizes of LZ77 with Huffman codes: 512 symbols with code lengths of up to 15
// bits, given as nibbles in front of each block of 64 KiB.
const (
	symbols   = 512
	tableSize = symbols / 2
	maxCode   = 15
	blockSize = 1 << 16
)

// decoding is a lookup table from the next 15 bits to a symbol and its length.
type decoding [1 << maxCode]uint16

// build fills the table from the code lengths; canonical codes are assigned by
// length, then by symbol.
func (d *decoding) build(lengths []byte) bool {
	next := 0
	for bits := 1; bits <= maxCode; bits++ {
		for s := range symbols {
			length := int(lengths[s/2] >> (4 * (s & 1)) & 15)
			if length != bits {
				continue
			}
			n := 1 << (maxCode - bits)
			if next+n > len(d) {
				return false
			}
			entry := uint16(s<<4 | bits)
			for i := range n {
				d[next+i] = entry
			}
			next += n
		}
	}
	clear(d[next:]) // codes that are not assigned have length 0
	return next == len(d)
}

// bitReader reads bits, most significant first, from little-endian 16-bit
// words; bytes between the words are read directly.
type bitReader struct {
	src  []byte
	pos  int
	bits uint32
	// extra is the number of bits in hand beyond the 16 that are always there.
	extra int
}

func (b *bitReader) word() uint32 {
	var w uint32
	if b.pos+2 <= len(b.src) {
		w = uint32(b.src[b.pos]) | uint32(b.src[b.pos+1])<<8
	}
	b.pos += 2
	return w
}

func (b *bitReader) start() {
	b.bits = b.word() << 16
	b.bits |= b.word()
	b.extra = 16
}

func (b *bitReader) skip(n int) {
	b.bits <<= n
	b.extra -= n
	if b.extra < 0 {
		b.bits |= b.word() << -b.extra
		b.extra += 16
	}
}

func (b *bitReader) take(n int) int {
	if n == 0 {
		return 0
	}
	v := int(b.bits >> (32 - n))
	b.skip(n)
	return v
}

func (b *bitReader) raw(n int) (v int, ok bool) {
	if b.pos+n > len(b.src) {
		return 0, false
	}
	for i := range n {
		v |= int(b.src[b.pos+i]) << (8 * i)
	}
	b.pos += n
	return v, true
}

// huffman decompresses LZ77 with Huffman codes (MS-XCA 2.2).
func huffman(dst, src []byte, want int) ([]byte, error) {
	table := new(decoding)
	b := bitReader{src: src}
	for len(dst) < want {
		if b.pos+tableSize > len(src) {
			return dst, errInput
		}
		if !table.build(src[b.pos : b.pos+tableSize]) {
			return dst, errCode
		}
		b.pos += tableSize
		b.start()
		var err error
		if dst, err = huffmanBlock(dst, &b, table, min(want, len(dst)+blockSize), want); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// huffmanBlock decompresses until dst has end bytes; a match may go on beyond
// the block, up to want bytes.
func huffmanBlock(dst []byte, b *bitReader, table *decoding, end, want int) ([]byte, error) {
	for len(dst) < end {
		entry := table[b.bits>>(32-maxCode)]
		if entry&15 == 0 {
			return dst, errCode
		}
		// The bits in hand were read ahead: only what lies before them is used up.
		if b.pos-4 > len(b.src) {
			return dst, errInput
		}
		b.skip(int(entry & 15))
		symbol := int(entry >> 4)
		if symbol < 256 {
			dst = append(dst, byte(symbol))
			continue
		}
		if symbol == 256 && b.pos >= len(b.src) {
			return dst, nil
		}
		symbol -= 256
		length, distanceBits := symbol&15, symbol>>4
		if length == 15 {
			var ok bool
			if length, ok = b.raw(1); !ok {
				return dst, errInput
			}
			if length == 255 {
				if length, b.pos, ok = escaped(b.src, b.pos); !ok || length < 15 {
					return dst, errInput
				}
			} else {
				length += 15
			}
		}
		distance := 1<<distanceBits | b.take(distanceBits)
		if distance > len(dst) {
			return dst, errDistance
		}
		dst = copyMatch(dst, distance, min(length+3, want-len(dst)))
	}
	return dst, nil
}
