package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"

	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/source"
)

// textFile is the text form of a stream, as `lostbeat events` prints it, as
// a file to read.
type textFile struct {
	path       string
	start, end model.Time
}

// openText reads the whole file once, for its bounds and to report what is
// wrong with it.
func openText(path string) (*textFile, error) {
	c := &textFile{path: path}
	err := c.Run(context.Background(), func(b *model.Batch) error {
		for _, e := range b.Events {
			if c.start == 0 {
				c.start = e.Time
			}
			c.end = max(c.end, e.Time)
		}
		return nil
	})
	return c, err
}

// Run implements source.Source.
func (c *textFile) Run(ctx context.Context, emit source.Emit) error {
	f, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = ReadText(f, func(b *model.Batch) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return emit(b)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Span implements source.Seekable.
func (c *textFile) Span() (start, end model.Time) { return c.start, c.end }

// RunFrom implements source.Seekable: a text has no index, so it is read from
// its start.
func (c *textFile) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	before := state.New()
	passed := t <= c.start
	return c.Run(ctx, func(b *model.Batch) error {
		if passed {
			return emit(b)
		}
		if b.Events[len(b.Events)-1].Time < t {
			before.Apply(b)
			return nil
		}
		passed = true
		var key model.Builder
		before.Snapshot(b.Events[0].Time, &key)
		if err := emit(key.Take()); err != nil {
			return err
		}
		return emit(b)
	})
}

// Close implements io.Closer.
func (c *textFile) Close() error { return nil }

// looksLikeText says whether the first line of a file parses as an event.
func looksLikeText(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	var b model.Builder
	return len(line) > 0 && model.ParseText(&b, string(line)) == nil && b.Len() == 1
}

// looksLikeRecording says whether a file begins with a Zstandard or a
// skippable frame, or as the ring of a flight recorder.
func looksLikeRecording(head []byte) bool {
	if isRing(head) {
		return true
	}
	if len(head) < 4 {
		return false
	}
	magic := binary.LittleEndian.Uint32(head)
	return magic == 0xFD2FB528 || magic&^0xF == 0x184D2A50
}

// IsRecording reports whether a file that begins with head is a recording, rather than another zstd file: whether its
// header is one. A header that does not fit into head is none.
func IsRecording(head []byte) bool {
	if !looksLikeRecording(head) {
		return false
	}
	if isRing(head) {
		return true
	}
	_, err := readHeader(bytes.NewReader(head), int64(len(head)))
	return err == nil || errors.Is(err, ErrNewerFormat)
}

// hasRecordings says that a directory holds recordings, or that path is the
// name that a recorder whose files rotate was given.
func hasRecordings(path string) bool {
	files, _ := Files(path)
	return len(files) > 0
}

// Recordings is the format of recordings, as a Writer writes them.
func Recordings() source.Format {
	return source.Format{
		Name:           "lostbeat",
		Sniff:          looksLikeRecording,
		Claims:         hasRecordings,
		BytesPerSecond: 4 << 20,
		Open: func(path string, _ source.OpenOptions) (source.File, error) {
			r, err := Open(path)
			if err != nil {
				return nil, err
			}
			return r, nil
		},
		Extension: Extension,
		Follow:    func(path string, _ source.OpenOptions) source.Source { return Follow(path) },
	}
}

// Text is the format of the text form of a stream.
func Text() source.Format {
	return source.Format{
		Name:           "lostbeat text",
		Sniff:          looksLikeText,
		BytesPerSecond: 4 << 20,
		OwnProgress:    true, // it is short
		Open: func(path string, _ source.OpenOptions) (source.File, error) {
			c, err := openText(path)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
}
