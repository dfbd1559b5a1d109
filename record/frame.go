package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxRaw is the largest frame, decompressed, that the reader accepts and the
	// writer makes.
	maxRaw = 32 << 20
	// maxStored is the largest frame as it stands in the file.
	maxStored = maxRaw + maxRaw/128 + 1024
	// maxHead is how much of a frame is decompressed to see its first message.
	maxHead = 64 << 10

	zstdMagic      = 0xFD2FB528
	skippableMagic = 0x184D2A50 // to ...5F
	seekTableMagic = 0x184D2A5E
	seekableMagic  = 0x8F92EAB1
	seekFooterSize = 9
)

// newEncoder returns a compressor of whole frames: with their size and a
// checksum, in one goroutine, and with a window that keeps memory small.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(
		nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(1<<20),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(true),
	)
}

// newDecoder returns a decompressor that refuses frames beyond maxRaw.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(
		nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(maxRaw),
		zstd.WithDecoderMaxWindow(8<<20),
		zstd.WithDecoderLowmem(true),
	)
}

// frame is where a frame stands in a file.
type frame struct {
	offset int64
	size   int
	// raw is its decompressed size where that is known, 0 otherwise.
	raw uint32
}

// appendSeekTable writes the seek table: a skippable frame in which each frame
// has its compressed and its decompressed size.
func appendSeekTable(dst []byte, frames []frame) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, seekTableMagic)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(8*len(frames)+seekFooterSize))
	for _, f := range frames {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(f.size))
		dst = binary.LittleEndian.AppendUint32(dst, f.raw)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(frames)))
	dst = append(dst, 0) // the descriptor: no checksums of its own, the frames carry theirs
	return binary.LittleEndian.AppendUint32(dst, seekableMagic)
}

// seekTableSize is the length of the seek table of n frames.
func seekTableSize(n int) int64 { return 8 + 8*int64(n) + seekFooterSize }

var errNoSeekTable = errors.New("no seek table")

// readSeekTable reads the seek table at the end of a file of the given size. It
// accepts it only when the frames fill the file exactly.
func readSeekTable(r io.ReaderAt, size int64) ([]frame, error) {
	if size < 8+seekFooterSize {
		return nil, errNoSeekTable
	}
	var footer [seekFooterSize]byte
	if _, err := r.ReadAt(footer[:], size-seekFooterSize); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(footer[5:]) != seekableMagic {
		return nil, errNoSeekTable
	}
	n := int64(binary.LittleEndian.Uint32(footer[:]))
	entry := int64(8)
	if footer[4]&0x80 != 0 {
		entry = 12 // with checksums, which are not needed
	}
	length := n*entry + seekFooterSize
	if footer[4]&0x7f != 0 || length+8 > size {
		return nil, errors.New("seek table is larger than the file")
	}
	if n > maxBlocks+2 {
		return nil, fmt.Errorf("seek table of %d frames: at most %d blocks of a file are read", n, maxBlocks)
	}
	table := make([]byte, length+8)
	if _, err := r.ReadAt(table, size-int64(len(table))); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(table) != seekTableMagic || int64(binary.LittleEndian.Uint32(table[4:])) != length {
		return nil, errors.New("seek table is not a skippable frame")
	}
	frames := make([]frame, n)
	var offset int64
	for i := range frames {
		at := table[8+int64(i)*entry:]
		frames[i] = frame{offset, int(binary.LittleEndian.Uint32(at)), binary.LittleEndian.Uint32(at[4:])}
		if frames[i].size < 1 || frames[i].size > maxStored || frames[i].raw > maxRaw {
			return nil, fmt.Errorf("seek table: frame %d of %d bytes", i, frames[i].size)
		}
		offset += int64(frames[i].size)
	}
	if offset != size-int64(len(table)) {
		return nil, errors.New("seek table does not fit the file")
	}
	return frames, nil
}

// window reads a file through a buffer, for many small reads in rising order.
type window struct {
	r     io.ReaderAt
	size  int64
	start int64
	buf   []byte
}

// at returns n bytes from offset, fewer at the end of the file.
func (w *window) at(offset int64, n int) ([]byte, error) {
	if offset >= w.size {
		return nil, nil
	}
	n = int(min(int64(n), w.size-offset))
	if i := offset - w.start; i >= 0 && i+int64(n) <= int64(len(w.buf)) {
		return w.buf[i : i+int64(n)], nil
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, 64<<10)
	}
	w.start = offset
	w.buf = w.buf[:min(int64(cap(w.buf)), w.size-offset)]
	got, err := w.r.ReadAt(w.buf, offset)
	w.buf = w.buf[:got]
	if got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return w.buf[:n], nil
}

var (
	errTorn     = errors.New("the frame is cut off")
	errNotFrame = errors.New("not a zstd frame")
)

// frameLength returns the length of the zstd or skippable frame at offset,
// found by its headers alone. errTorn says that the file ends before the frame.
func (w *window) frameLength(offset int64) (length int64, skippable bool, err error) {
	head, err := w.at(offset, zstd.HeaderMaxSize)
	if err != nil {
		return 0, false, err
	}
	var h zstd.Header
	switch err := h.Decode(head); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, false, errTorn
	case err != nil || h.DictionaryID != 0:
		return 0, false, errNotFrame
	}
	if h.Skippable {
		length = int64(h.HeaderSize) + int64(h.SkippableSize)
		if offset+length > w.size {
			return 0, true, errTorn
		}
		return length, true, nil
	}
	if h.HasFCS && h.FrameContentSize > maxRaw {
		return 0, false, errNotFrame
	}
	at := offset + int64(h.HeaderSize)
	// A frame of the largest size has 256 blocks; a chain of empty ones is no recording.
	for range maxRaw / (128 << 10) * 2 {
		block, err := w.at(at, 3)
		if err != nil {
			return 0, false, err
		}
		if len(block) < 3 {
			return 0, false, errTorn
		}
		bits := uint32(block[0]) | uint32(block[1])<<8 | uint32(block[2])<<16
		size := int64(bits >> 3)
		switch bits >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3:
			return 0, false, errNotFrame
		}
		if at += 3 + size; at > w.size {
			return 0, false, errTorn
		}
		if bits&1 == 0 {
			continue
		}
		if h.HasCheckSum {
			at += 4
		}
		switch length = at - offset; {
		case at > w.size:
			return 0, false, errTorn
		case length > maxStored:
			return 0, false, errNotFrame
		}
		return length, false, nil
	}
	return 0, false, errNotFrame
}

// nextMagic returns the offset of the next zstd frame's magic number from
// offset on, w.size when there is none.
func (w *window) nextMagic(offset int64) (int64, error) {
	for offset < w.size {
		chunk, err := w.at(offset, 32<<10)
		if err != nil {
			return 0, err
		}
		for i := 0; i+4 <= len(chunk); i++ {
			if binary.LittleEndian.Uint32(chunk[i:]) == zstdMagic {
				return offset + int64(i), nil
			}
		}
		offset += int64(max(1, len(chunk)-3))
	}
	return w.size, nil
}

// scan finds the frames of a file without a usable seek table. Stretches that
// are no frames are skipped and returned as gaps. torn is where the last, incomplete frame begins,
// the file's size when there is none.
func scan(r io.ReaderAt, size int64, check func(frame) bool) (frames []frame, gaps int, torn int64, err error) {
	w := &window{r: r, size: size}
	var offset int64
	lost := false // whether frames were lost just before offset
	tornAt := size
	for offset < size {
		if len(frames) > maxBlocks || gaps > maxBlocks {
			return frames, gaps, offset, nil
		}
		length, skippable, err := w.frameLength(offset)
		if err == nil {
			f := frame{offset: offset, size: int(min(length, maxStored))}
			if skippable || !lost || check(f) {
				if !skippable {
					frames = append(frames, f)
				}
				lost = false
				offset += length
				tornAt = size
				continue
			}
			err = errNotFrame
		}
		if !errors.Is(err, errTorn) && !errors.Is(err, errNotFrame) {
			return nil, 0, 0, err
		}
		if !lost {
			lost, tornAt = true, offset
			gaps++
		}
		if offset, err = w.nextMagic(offset + 1); err != nil {
			return nil, 0, 0, err
		}
	}
	if lost {
		gaps-- // it is the torn end
	}
	return frames, gaps, tornAt, nil
}

// find returns the body of the first envelope with the given content.
func find(raw []byte, num protowire.Number) (body []byte, err error) {
	for len(raw) > 0 {
		x, err := parseEnvelope(raw)
		if err != nil {
			return nil, err
		}
		if x.num == num {
			return x.body, nil
		}
		raw = raw[x.length:]
	}
	return nil, malformed("message %d is missing", num)
}
