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

// block is where a block stands and what is in it. summary is nil until it has been read.
type block struct {
	frame
	summary *recordpb.Summary
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
	// notes say what is wrong with the file.
	notes []string
	// zstd decompresses whole frames, heads the beginnings of frames: a decoder
	// that is in the middle of a frame cannot serve another.
	zstd, heads *zstd.Decoder
	// stored and raw are buffers.
	stored, raw []byte
}

// openInput opens one file.
func openInput(path string) (*input, error) {
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
		if in, err = newInput(path, f, info.Size()); err == nil {
			in.close = f.Close
			return in, nil
		}
	}
	f.Close()
	return nil, wrap("open", path, err)
}

// newInput reads the header and finds the blocks.
func newInput(path string, r io.ReaderAt, size int64) (*input, error) {
	header, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	heads, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	in := &input{
		path:   path,
		r:      r,
		size:   size,
		header: header,
		zstd:   dec,
		heads:  heads,
		close:  func() error { return nil },
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
		in.note("%v: the file was scanned", err)
	}
	return in, in.scan()
}

func (in *input) note(format string, args ...any) {
	in.notes = append(in.notes, fmt.Sprintf(format, args...))
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
	var index recordpb.Index
	if err := proto.Unmarshal(body, &index); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	frames = frames[1 : len(frames)-1]
	if len(index.Blocks) != len(frames) {
		return errors.New("index and seek table differ")
	}
	in.blocks = make([]block, len(frames))
	for i, e := range index.Blocks {
		if e.Summary == nil || int64(e.Offset) != frames[i].offset || int(e.Size) != frames[i].size {
			return errors.New("index and seek table differ")
		}
		in.blocks[i] = block{frames[i], e.Summary}
	}
	return nil
}

// scan finds the blocks of a file that was not closed, or that is damaged.
func (in *input) scan() error {
	frames, gaps, torn, err := scan(in.r, in.size, func(f frame) bool { _, err := in.head(f); return err == nil })
	if err != nil {
		return err
	}
	in.torn = in.size - torn
	if gaps > 0 {
		in.note("%d damaged stretches between the blocks", gaps)
	}
	in.blocks = nil
	for _, f := range frames[min(1, len(frames)):] {
		in.blocks = append(in.blocks, block{frame: f})
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
		in.note("torn: %d bytes after the last whole block are not readable", in.torn)
	} else {
		in.note("not closed: the recorder was killed, or is still running")
	}
	return nil
}

// read decompresses a frame; the bytes hold until the next read.
func (in *input) read(f frame) ([]byte, error) {
	if cap(in.stored) < f.size {
		in.stored = make([]byte, f.size)
	}
	in.stored = in.stored[:f.size]
	if n, err := in.r.ReadAt(in.stored, f.offset); n < f.size {
		return nil, fmt.Errorf("read %d bytes at %d: %w", f.size, f.offset, err)
	}
	raw, err := in.zstd.DecodeAll(in.stored, in.raw[:0])
	in.raw = raw
	return raw, err
}

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
func (in *input) summary(i int) *recordpb.Summary {
	b := &in.blocks[i]
	if b.summary != nil {
		return b.summary
	}
	raw, err := in.head(b.frame)
	if err != nil {
		return nil
	}
	b.summary = parseSummary(raw)
	return b.summary
}

func parseSummary(raw []byte) *recordpb.Summary {
	x, err := parseEnvelope(raw)
	if err != nil || x.num != envelopeSummary {
		return nil
	}
	s := new(recordpb.Summary)
	if proto.Unmarshal(x.body, s) != nil {
		return nil
	}
	return s
}

// span returns the times of the first and the last event, ok false when there are none.
func (in *input) span() (start, end model.Time, ok bool) {
	for i := range in.blocks {
		if s := in.summary(i); s != nil {
			start, ok = model.Time(s.StartNs), true
			break
		}
	}
	for i := len(in.blocks) - 1; i >= 0 && ok; i-- {
		if s := in.summary(i); s != nil {
			return start, model.Time(s.EndNs), true
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
				return model.Time(s.StartNs) > t
			}
		}
		return true
	}) - 1
	for ; i > 0; i-- {
		if s := in.summary(i); s != nil && s.Keyframe {
			break
		}
	}
	return max(i, 0)
}
