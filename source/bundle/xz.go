package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"math"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads .xz files: one or several streams of blocks, see "The .xz File Format", version 1.2.1. The LZMA2 data
// in the blocks is that of package lzma; the container is read here so that the memory of a block is bounded before it
// is taken, whatever its header asks for.
type xzReader struct {
	r     *bufio.Reader
	block io.Reader
	// start is the position of the block in its stream, modulo 4.
	pos   *positionReader
	sum   hash.Hash
	check byte
	err   error
	// out is how much was decompressed, dictionaries how much memory all blocks took one after the other.
	out, dictionaries int64
}

// Blocks may take the memory of so many of the largest dictionaries, and so many bytes for each that is decompressed.
const (
	freeDictionaries = 32
	dictionaryRatio  = 256
)

// positionReader counts the bytes of a stream: blocks are padded to four.
type positionReader struct {
	r *bufio.Reader
	n int64
}

func (p *positionReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	return n, err
}

func (p *positionReader) ReadByte() (byte, error) {
	c, err := p.r.ReadByte()
	if err == nil {
		p.n++
	}
	return c, err
}

var errXZ = errors.New("the xz data is damaged")

func newXZ(r io.Reader) io.Reader {
	b := bufio.NewReaderSize(r, 64<<10)
	return &xzReader{r: b, pos: &positionReader{r: b}, check: noStream}
}

// noStream is the check of a reader that is between two streams.
const noStream = 0xff

// checks are the sizes of the checksums by their number.
var checks = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			if x.err = x.next(); x.err != nil {
				break
			}
		}
		n, err := x.block.Read(p)
		x.sum.Write(p[:n])
		x.out += int64(n)
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		// Without data, too: who reads looks whether it is to go on, and ends when there are only empty blocks.
		if x.err = noEOF(err); n > 0 || x.err == nil {
			return n, nil
		}
	}
	return 0, x.err
}

// noEOF makes an end in the middle an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (x *xzReader) full(p []byte) error {
	_, err := io.ReadFull(x.pos, p)
	return noEOF(err)
}

// next goes to the next block; io.EOF at the end of the last stream.
func (x *xzReader) next() error {
	for {
		if x.check == noStream {
			if err := x.stream(); err != nil {
				return err
			}
		}
		size, err := x.pos.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		if size != 0 {
			return x.beginBlock(int(size))
		}
		if err := x.endStream(); err != nil {
			return err
		}
	}
}

// stream reads a stream's header, and the padding before it.
func (x *xzReader) stream() error {
	for first := x.pos.n == 0; !first; {
		pad, err := x.r.Peek(4)
		if len(pad) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		if len(pad) < 4 {
			return errXZ
		}
		if !bytes.Equal(pad, []byte{0, 0, 0, 0}) {
			break
		}
		if _, err := x.r.Discard(4); err != nil {
			return err
		}
	}
	x.pos.n = 0
	var h [12]byte
	if err := x.full(h[:]); err != nil {
		return err
	}
	if string(h[:6]) != "\xfd7zXZ\x00" || h[6] != 0 || h[7] > 15 ||
		crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errXZ
	}
	x.check = h[7]
	return nil
}

// beginBlock reads a block's header.
func (x *xzReader) beginBlock(size int) error {
	h := make([]byte, (size+1)*4)
	h[0] = byte(size)
	if err := x.full(h[1:]); err != nil {
		return err
	}
	if crc32.ChecksumIEEE(h[:len(h)-4]) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return errXZ
	}
	flags, rest := h[1], h[2:len(h)-4]
	const hasPacked, hasSize = 0x40, 0x80
	content := uint64(math.MaxInt64)
	for _, bit := range []byte{hasPacked, hasSize} {
		if flags&bit != 0 {
			v, n := binary.Uvarint(rest)
			if n <= 0 {
				return errXZ
			}
			if bit == hasSize {
				content = v
			}
			rest = rest[n:]
		}
	}
	const lzma2 = 0x21
	if flags&0x3f != 0 || len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return errors.New("the xz data uses filters other than LZMA2")
	}
	dictionary, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return errXZ
	}
	if dictionary > maxDictionary {
		return fmt.Errorf("the xz data needs a dictionary of %d MiB (at most %d MiB is read): unpack it with xz -d",
			dictionary>>20, maxDictionary>>20)
	}
	// No distance is longer than the block.
	dictionary = max(int64(min(uint64(dictionary), content)), lzma.MinDictCap)
	if x.dictionaries += dictionary; x.dictionaries > freeDictionaries*maxDictionary+dictionaryRatio*x.out {
		return errors.New("the xz data has many small blocks that each ask for a large dictionary: unpack it with xz -d")
	}
	x.block, err = lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(x.pos)
	if err != nil {
		return fmt.Errorf("read xz data: %w", noEOF(err))
	}
	switch x.check {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	default:
		x.sum = unchecked{}
	}
	return nil
}

// unchecked is the checksum of streams whose kind of checksum is not known.
type unchecked struct{ hash.Hash }

func (unchecked) Write(p []byte) (int, error) { return len(p), nil }

// endBlock reads a block's padding and checksum.
func (x *xzReader) endBlock() error {
	x.block = nil
	var tail [68]byte
	if n := (4 - x.pos.n%4) % 4; n > 0 {
		if err := x.full(tail[:n]); err != nil {
			return err
		}
	}
	want := tail[:checks[x.check]]
	if err := x.full(want); err != nil {
		return err
	}
	if _, ok := x.sum.(unchecked); ok {
		return nil
	}
	got := x.sum.Sum(nil)
	if x.check != 10 { // CRCs are little-endian
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	if !bytes.Equal(got, want) {
		return errXZ
	}
	return nil
}

// endStream passes over a stream's index and footer.
func (x *xzReader) endStream() error {
	records, err := binary.ReadUvarint(x.pos)
	if err != nil {
		return noEOF(err)
	}
	for range records {
		for range 2 {
			if _, err := binary.ReadUvarint(x.pos); err != nil {
				return noEOF(err)
			}
		}
	}
	var tail [3 + 4 + 12]byte
	rest := tail[:(4-x.pos.n%4)%4+4+12]
	if err := x.full(rest); err != nil {
		return err
	}
	if string(rest[len(rest)-2:]) != "YZ" {
		return errXZ
	}
	x.check = noStream
	return nil
}
