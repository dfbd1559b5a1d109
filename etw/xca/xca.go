// Package xca decompresses the three formats of Microsoft's Xpress compression
// algorithm specification (MS-XCA): plain LZ77, LZ77 with Huffman codes, and
// LZNT1.
package xca

import (
	"errors"
	"fmt"
)

// Format is a compression format, numbered as COMPRESSION_FORMAT_*.
type Format uint16

// Compression formats.
const (
	// None is not compressed.
	None Format = 0
	// LZNT1 is LZ77 in chunks of 4096 bytes.
	LZNT1 Format = 2
	// Xpress is plain LZ77.
	Xpress Format = 3
	// XpressHuffman is LZ77 with Huffman codes in blocks of 64 KiB.
	XpressHuffman Format = 4
)

var formatNames = map[Format]string{None: "none", LZNT1: "lznt1", Xpress: "xpress", XpressHuffman: "xpress-huffman"}

// String returns none, lznt1, xpress, xpress-huffman, or the number.
func (f Format) String() string {
	if name, ok := formatNames[f]; ok {
		return name
	}
	return fmt.Sprintf("format(%d)", uint16(f))
}

// Errors of malformed input.
var (
	errInput    = errors.New("compressed data ends early")
	errDistance = errors.New("match starts before the beginning of the data")
	errCode     = errors.New("invalid Huffman code")
	errChunk    = errors.New("invalid LZNT1 chunk")
)

// Decompress returns exactly want bytes decompressed from src, in dst's memory
// where that suffices. It never produces more than want bytes.
func Decompress(dst, src []byte, want int, f Format) ([]byte, error) {
	if cap(dst) < want {
		dst = make([]byte, 0, want)
	}
	dst = dst[:0]
	var err error
	switch f {
	case None:
		dst = append(dst, src[:min(len(src), want)]...)
	case Xpress:
		dst, err = plain(dst, src, want)
	case XpressHuffman:
		dst, err = huffman(dst, src, want)
	case LZNT1:
		dst, err = lznt1(dst, src, want)
	default:
		return dst, fmt.Errorf("decompress: unknown %v", f)
	}
	if err == nil && len(dst) != want {
		err = fmt.Errorf("%d bytes instead of %d", len(dst), want)
	}
	if err != nil {
		return dst, fmt.Errorf("decompress %v: %w", f, err)
	}
	return dst, nil
}

// copyMatch appends length bytes from distance back, which may overlap what is
// being appended.
func copyMatch(dst []byte, distance, length int) []byte {
	from := len(dst) - distance
	for length > distance {
		dst = append(dst, dst[from:from+distance]...)
		length -= distance
		distance *= 2
	}
	return append(dst, dst[from:from+length]...)
}

// plain decompresses plain LZ77 (MS-XCA 2.4).
func plain(dst, src []byte, want int) ([]byte, error) {
	var flags uint32
	var left int
	nibble := -1 // position of a byte whose high nibble is still to be used
	i := 0
	for len(dst) < want {
		if left == 0 {
			if i+4 > len(src) {
				return dst, errInput
			}
			flags = uint32(src[i]) | uint32(src[i+1])<<8 | uint32(src[i+2])<<16 | uint32(src[i+3])<<24
			i += 4
			left = 32
		}
		left--
		if flags>>left&1 == 0 {
			if i >= len(src) {
				return dst, errInput
			}
			dst = append(dst, src[i])
			i++
			continue
		}
		if i == len(src) {
			return dst, nil // the flag that marks the end
		}
		if i+2 > len(src) {
			return dst, errInput
		}
		match := int(src[i]) | int(src[i+1])<<8
		i += 2
		length, distance := match&7, match>>3+1
		if length == 7 {
			var ok bool
			if length, i, nibble, ok = longLength(src, i, nibble); !ok {
				return dst, errInput
			}
		}
		length += 3
		if distance > len(dst) {
			return dst, errDistance
		}
		dst = copyMatch(dst, distance, min(length, want-len(dst)))
	}
	return dst, nil
}

// longLength reads the length of a match that does not fit into three bits:
// first a nibble, two of which share a byte.
func longLength(src []byte, i, nibble int) (length, next, open int, ok bool) {
	if nibble < 0 {
		if i >= len(src) {
			return 0, i, nibble, false
		}
		length, nibble = int(src[i]&15), i
		i++
	} else {
		length, nibble = int(src[nibble]>>4), -1
	}
	if length < 15 {
		return length + 7, i, nibble, true
	}
	if i >= len(src) {
		return 0, i, nibble, false
	}
	length = int(src[i])
	i++
	if length < 255 {
		return length + 15 + 7, i, nibble, true
	}
	length, i, ok = escaped(src, i)
	if length < 15+7 {
		return 0, i, nibble, false
	}
	return length, i, nibble, ok
}

// escaped reads a length of 16 bits, or of 32 when those are 0.
func escaped(src []byte, i int) (length, next int, ok bool) {
	if i+2 > len(src) {
		return 0, i, false
	}
	length = int(src[i]) | int(src[i+1])<<8
	i += 2
	if length != 0 {
		return length, i, true
	}
	if i+4 > len(src) {
		return 0, i, false
	}
	length = int(uint32(src[i]) | uint32(src[i+1])<<8 | uint32(src[i+2])<<16 | uint32(src[i+3])<<24&0x7fffffff)
	return length, i + 4, true
}
