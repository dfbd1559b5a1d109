package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// block is where a block stands and what is in it.
type block struct {
	frame
	outline
}

// input is one recording file being read.
type input struct {
	path   string
	r      io.ReaderAt
	close  func() error
	size   int64
	header *recordpb.Header
	blocks []block
	// closed says that the file ends as its writer meant it to.
	closed bool
	// torn is the number of bytes after the last whole frame.
	torn int64
	// kinds counts the events of all blocks of the index by kind, nil without an index.
	kinds map[model.Kind]uint64
	// notes say what is to be known of the file, damage what is wrong with it.
	notes, damage []string
	*unpacker
}

// unpacker decompresses frames, of one file after the other.
type unpacker struct {
	// zstd decompresses whole frames, heads the beginnings of frames: a decoder
	// that is in the middle of a frame cannot serve another.
	zstd, heads *zstd.Decoder
	// stored and raw are buffers.
	stored, raw []byte
}

func newUnpacker() (*unpacker, error) {
	dec, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	heads, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	return &unpacker{zstd: dec, heads: heads}, nil
}

func (u *unpacker) close() {
	u.zstd.Close()
	u.heads.Close()
}

// openInput opens one file, which is read with u.
func openInput(path string, u *unpacker) (*input, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, wrap("open", path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrNotRecording)
	}
	if err == nil {
		var in *input
		if in, err = newInput(path, f, info.Size(), u); err == nil {
			in.close = f.Close
			return in, nil
		}
	}
	f.Close()
	return nil, wrap("open", path, err)
}

// newInput reads the header and finds the blocks.
func newInput(path string, r io.ReaderAt, size int64, u *unpacker) (*input, error) {
	if beginsRing(r, size) {
		return newRingInput(path, r, size, u)
	}
	header, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	in := &input{
		path:     path,
		r:        r,
		size:     size,
		header:   header,
		unpacker: u,
		close:    func() error { return nil },
	}
	if header.FormatMinor > FormatMinor {
		in.note(
			"written in format %d.%d: what is newer than %d.%d is not shown",
			header.FormatMajor,
			header.FormatMinor,
			FormatMajor,
			FormatMinor,
		)
	}
	frames, err := readSeekTable(r, size)
	if err == nil {
		err = in.indexed(frames)
	}
	if err == nil {
		in.closed = true
		return in, nil
	}
	if !errors.Is(err, errNoSeekTable) {
		in.wrong("%v: the file was scanned", err)
	}
	return in, in.scan()
}

func (in *input) note(format string, args ...any) {
	in.notes = append(in.notes, fmt.Sprintf(format, args...))
}

// wrong notes what is damaged or missing.
func (in *input) wrong(format string, args ...any) {
	in.note(format, args...)
	in.damage = append(in.damage, in.notes[len(in.notes)-1])
}

// readHeader reads the first frame of a recording.
func readHeader(r io.ReaderAt, size int64) (*recordpb.Header, error) {
	if size == 0 {
		return nil, ErrEmpty
	}
	w := &window{r: r, size: size}
	if start, err := w.at(0, 4); err != nil {
		return nil, err
	} else if !bytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}[:len(start)]) {
		return nil, ErrNotRecording
	}
	length, skippable, err := w.frameLength(0)
	switch {
	case errors.Is(err, errTorn) && size < maxHead:
		return nil, ErrEmpty
	case err != nil || skippable || length > maxHead:
		return nil, ErrNotRecording
	}
	stored, err := w.at(0, int(length))
	if err != nil {
		return nil, err
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(stored, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrNotRecording, err)
	}
	if len(raw) > maxHeader {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrNotRecording, len(raw))
	}
	body, err := find(raw, envelopeHeader)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrNotRecording, err)
	}
	h := new(recordpb.Header)
	if err := proto.Unmarshal(body, h); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrNotRecording, err)
	}
	if h.FormatMajor != FormatMajor {
		return h, fmt.Errorf("%w: %d.%d, this version reads %d", ErrNewerFormat, h.FormatMajor, h.FormatMinor, FormatMajor)
	}
	return h, nil
}

// indexed takes the blocks from the index, which is the last of frames.
func (in *input) indexed(frames []frame) error {
	if len(frames) < 2 {
		return errors.New("seek table has no index")
	}
	raw, err := in.read(frames[len(frames)-1])
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	body, err := find(raw, envelopeIndex)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	frames = frames[1 : len(frames)-1]
	blocks := make([]block, 0, len(frames))
	kinds := map[model.Kind]uint64{}
	differ := errors.New("index and seek table differ")
	err = eachField(body, func(v field) error {
		n := len(blocks)
		if v.num != indexBlocks {
			return nil
		}
		if n == len(frames) {
			return differ
		}
		b := block{frame: frames[n]}
		offset, size, err := parseIndexEntry(v.bytes, &b.outline, kinds)
		if err != nil {
			return err
		}
		if offset != uint64(b.offset) || size != uint64(b.size) || !b.known {
			return differ
		}
		blocks = append(blocks, b)
		return nil
	})
	if err == nil && len(blocks) != len(frames) {
		err = differ
	}
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	in.blocks, in.kinds = blocks, kinds
	return nil
}

// Fields of Index and IndexEntry.
const (
	indexBlocks  = 1
	entryOffset  = 1
	entrySize    = 2
	entrySummary = 3
)

// parseIndexEntry reads an entry of the index into o and adds its events to kinds.
func parseIndexEntry(msg []byte, o *outline, kinds map[model.Kind]uint64) (offset, size uint64, err error) {
	err = eachField(msg, func(v field) error {
		switch v.num {
		case entryOffset:
			offset = v.number
		case entrySize:
			size = v.number
		case entrySummary:
			return parseOutline(v.bytes, o, kinds)
		}
		return nil
	})
	return offset, size, err
}

// Fields of Summary and KindCount.
const (
	summarySeq      = 1
	summaryStart    = 2
	summaryEnd      = 3
	summaryEvents   = 4
	summaryLost     = 5
	summaryKeyframe = 6
	summaryKinds    = 7
	countKind       = 1
	countEvents     = 2
)

// parseOutline reads a Summary into o, and adds its events to kinds unless that is nil.
func parseOutline(msg []byte, o *outline, kinds map[model.Kind]uint64) error {
	o.known = true
	return eachField(msg, func(v field) error {
		switch v.num {
		case summarySeq:
			o.seq = v.number
		case summaryStart:
			o.start = model.Time(v.number)
		case summaryEnd:
			o.end = model.Time(v.number)
		case summaryEvents:
			o.events = v.number
		case summaryLost:
			o.lost = v.number
		case summaryKeyframe:
			o.keyframe = v.number != 0
		case summaryKinds:
			if kinds == nil {
				return nil
			}
			var kind, n uint64
			if err := eachField(v.bytes, func(v field) error {
				switch v.num {
				case countKind:
					kind = v.number
				case countEvents:
					n = v.number
				}
				return nil
			}); err != nil {
				return err
			}
			kinds[model.Kind(kind)] += n
		}
		return nil
	})
}

// scan finds the blocks of a file that was not closed, or that is damaged.
func (in *input) scan() error {
	frames, gaps, torn, err := scan(in.r, in.size, func(f frame) bool { _, err := in.head(f); return err == nil })
	if err != nil {
		return err
	}
	in.torn = in.size - torn
	if gaps > 0 {
		in.wrong("%d damaged stretches between the blocks", gaps)
	}
	in.blocks = nil
	frames = frames[min(1, len(frames)):]
	in.blocks = make([]block, len(frames))
	for i, f := range frames {
		in.blocks[i].frame = f
	}
	if in.torn > 0 && len(frames) >= maxBlocks {
		in.wrong("more than %d blocks: %d bytes after them are not read", maxBlocks, in.torn)
		return nil
	}
	// What is at the end may be an index that has lost its seek table.
	if n := len(in.blocks); n > 0 && in.summary(n-1) == nil {
		if raw, err := in.read(in.blocks[n-1].frame); err == nil {
			if _, err := find(raw, envelopeIndex); err == nil {
				in.blocks = in.blocks[:n-1]
			}
		}
	}
	if in.torn > 0 {
		in.wrong("torn: %d bytes after the last whole block are not readable", in.torn)
	} else {
		in.wrong("not closed: the recorder was killed, or is still running")
	}
	return nil
}

// read decompresses a frame; the bytes hold until the next read.
func (in *input) read(f frame) ([]byte, error) {
	if cap(in.stored) < f.size || cap(in.stored) > maxSpare && cap(in.stored) > 4*f.size {
		in.stored = nil // for the collector, before there is another
		in.stored = make([]byte, f.size)
	}
	in.stored = in.stored[:f.size]
	if n, err := in.r.ReadAt(in.stored, f.offset); n < f.size {
		return nil, fmt.Errorf("read %d bytes at %d: %w", f.size, f.offset, err)
	}
	if cap(in.raw) > maxSpare && cap(in.raw) > 4*int(f.raw) {
		in.raw = nil
	}
	raw, err := in.zstd.DecodeAll(in.stored, in.raw[:0])
	in.raw = raw
	return raw, err
}

// maxSpare is how large a buffer may be that stays for frames that need a quarter of it or less.
const maxSpare = 4 << 20

// head decompresses the beginning of a frame.
func (in *input) head(f frame) ([]byte, error) {
	if err := in.heads.Reset(io.NewSectionReader(in.r, f.offset, int64(f.size))); err != nil {
		return nil, err
	}
	// A summary is some hundred bytes; its length stands in front of it.
	raw := make([]byte, 10, 1024)
	n, err := io.ReadFull(in.heads, raw)
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	raw = raw[:n]
	size, width := protowire.ConsumeVarint(raw)
	if width < 0 {
		return nil, malformed("length")
	}
	rest := int(min(size+uint64(width), maxHead)) - n
	if rest <= 0 {
		return raw, nil
	}
	raw = append(raw, make([]byte, rest)...)
	more, err := io.ReadFull(in.heads, raw[n:])
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return raw[:n+more], err
}

// summary returns what block i says about itself, nil when that is unreadable.
func (in *input) summary(i int) *outline {
	b := &in.blocks[i]
	if !b.known && !b.bad {
		raw, err := in.head(b.frame)
		var o outline
		if err == nil {
			o, err = parseSummary(raw, nil)
		}
		if b.outline = o; err != nil {
			b.outline = outline{bad: true}
		}
	}
	if b.bad {
		return nil
	}
	return &b.outline
}

// parseSummary reads the message at the front of a block, and adds its events
// to kinds unless that is nil.
func parseSummary(raw []byte, kinds map[model.Kind]uint64) (o outline, err error) {
	x, err := parseEnvelope(raw)
	if err == nil && x.num != envelopeSummary {
		err = malformed("message %d instead of a summary", x.num)
	}
	if err == nil {
		err = parseOutline(x.body, &o, kinds)
	}
	return o, err
}

// span returns the times of the first and the last event, ok false when there are none.
func (in *input) span() (start, end model.Time, ok bool) {
	for i := range in.blocks {
		if s := in.summary(i); s != nil {
			start, ok = s.start, true
			break
		}
	}
	for i := len(in.blocks) - 1; i >= 0 && ok; i-- {
		if s := in.summary(i); s != nil {
			return start, s.end, true
		}
	}
	return start, end, ok
}

// at returns the block to begin with in order to read from time t on: the
// nearest one before t that can be read without those before it.
func (in *input) at(t model.Time) int {
	i := sort.Search(len(in.blocks), func(i int) bool {
		// A block that cannot be read takes the place of the next one that can.
		for ; i < len(in.blocks); i++ {
			if s := in.summary(i); s != nil {
				return s.start > t
			}
		}
		return true
	}) - 1
	for ; i > 0; i-- {
		if s := in.summary(i); s != nil && s.keyframe {
			break
		}
	}
	return max(i, 0)
}
