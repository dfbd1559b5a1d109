package perfmon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"lostbeat/etw/etl"
	"lostbeat/model"
	"lostbeat/source"
)

// Options are how a log is to be read. The zero Options is useful.
type Options struct {
	// UTCOffset is local time minus UTC on the machine when the log was made. It takes precedence over what
	// the log says; nil takes that, and fails with an OffsetError where the log says nothing.
	UTCOffset *time.Duration
	// CodePage is the ANSI code page of a text log's header, for example "cp1251"; empty finds it from the names.
	CodePage string
	// Names are counters whose names lostbeat does not know in the log's language: "Object\Counter" as it stands in the
	// log to
	// the English "Object/Counter".
	Names map[string]string
	// AllCounters makes a counter event of every value in the log, rather than of those that bear on lost heartbeats.
	AllCounters bool
	// Progress is told how far the log has been read; nil tells nobody.
	Progress source.Progress
}

// Format is the form of a log's file.
type Format string

// Forms of logs.
const (
	FormatCSV Format = "PDH CSV"
	FormatTSV Format = "PDH TSV"
	FormatBLG Format = "BLG"
)

// Log is an open performance log. It implements [source.Seekable].
type Log struct {
	name    string
	file    io.Closer
	size    int64
	options Options
	format  Format
	reader  reader
	text    *textLog   // nil for BLG
	binary  *binaryLog // nil for text
	// start and end are the times of the first and the last sample.
	start, end model.Time
	// first are the columns of the first sample.
	first *columnSet
	// notes are those of the last run, nil before one has ended.
	notes atomic.Pointer[[]string]
	// integrity is that of the last whole run.
	integrity atomic.Pointer[source.Integrity]
}

var _ source.Seekable = (*Log)(nil)

// Detect reports whether a file that begins with b is a performance log. For a
// binary log, which is an event trace log with events of one class, b must
// reach into the second buffer (128 KiB suffice); with less, Detect goes by the
// file name in the log header.
func Detect(b []byte) bool {
	if detectText(b) {
		return true
	}
	if !etl.Detect(b) {
		return false
	}
	r := bytes.NewReader(b)
	if isBinary(r, r.Size()) {
		return true
	}
	header, err := etl.ReadHeader(r, r.Size())
	return err == nil && len(header.LogFileName) > 4 && fold(header.LogFileName[len(header.LogFileName)-4:]) == ".blg"
}

// Open opens the performance log at path. Errors of its contents do not name
// the file.
func Open(path string, options Options) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	l, err := New(f, info.Size(), path, options)
	if err != nil {
		f.Close()
		return nil, err
	}
	l.file = f
	return l, nil
}

// New reads a log of the given size from r; name is what it is called in the
// stream.
func New(r io.ReaderAt, size int64, name string, options Options) (*Log, error) {
	l := &Log{name: name, size: size, options: options}
	start := make([]byte, min(size, 512))
	if _, err := r.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	n := newNames(options.Names)
	if detectText(start) {
		t, err := openText(r, size, &l.options, n)
		if err != nil {
			return nil, err
		}
		l.text, l.reader, l.format = t, t, FormatCSV
		if t.header.sep == '\t' {
			l.format = FormatTSV
		}
	} else {
		b, err := openBinary(r, size, &l.options, n)
		if err != nil {
			return nil, err
		}
		l.binary, l.reader, l.format = b, b, FormatBLG
	}
	l.first = &columnSet{}
	if err := l.reader.read(context.Background(), 0, l.first, func(int64) {}); err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	if l.first.at == 0 {
		return nil, fmt.Errorf("%w: it has no samples", ErrFormat)
	}
	l.start = l.first.at
	last, err := l.reader.last()
	if err != nil {
		return nil, fmt.Errorf("find the last sample: %w", err)
	}
	l.end = max(l.start, last)
	return l, nil
}

// errStop ends a pass that has seen enough.
var errStop = errors.New("stop")

// columnSet is a sink that keeps the columns of the first sample.
type columnSet struct {
	at   model.Time
	list []*column
	ids  map[int]bool
	// text says that list was given by a header.
	text bool
}

func (s *columnSet) columns(list []*column) error {
	s.list, s.text = nil, true
	for i, c := range list {
		if c != nil {
			c.id = i
			s.list = append(s.list, c)
		}
	}
	return nil
}

func (s *columnSet) begin(at model.Time) (bool, error) {
	s.at = at
	return !s.text, s.stop()
}

func (s *columnSet) stop() error {
	if s.text {
		return errStop
	}
	return nil
}

// wants is how a binary log tells its columns: each reading asks.
func (s *columnSet) wants(c *column) bool {
	if s.ids == nil {
		s.ids = map[int]bool{}
	}
	if !s.text && !s.ids[c.id] {
		s.ids[c.id] = true
		s.list = append(s.list, c)
	}
	return false
}

func (s *columnSet) value(*column, float64, float64) {}
func (s *columnSet) end() error                      { return errStop }
func (s *columnSet) note(note, int)                  {}

// Close closes the file.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Span returns the times of the first and the last sample.
func (l *Log) Span() (start, end model.Time) { return l.start, l.end }

// Run emits the whole log.
func (l *Log) Run(ctx context.Context, emit source.Emit) error {
	return l.run(ctx, 0, emit)
}

// RunFrom emits what the log says of itself as a keyframe and then the samples
// from t on. The first interval begins at the last sample before t.
func (l *Log) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	if t <= l.start {
		t = 0
	}
	return l.run(ctx, t, emit)
}

func (l *Log) run(ctx context.Context, from model.Time, emit source.Emit) error {
	c := newConverter(l, from, emit)
	err := l.reader.read(ctx, from, c, l.progress)
	if err != nil && ctx.Err() == nil {
		// What was decoded so far is good.
		return errors.Join(c.finish(), fmt.Errorf("%s: %w", l.name, err))
	}
	return c.finish()
}

func (l *Log) progress(done int64) {
	if l.options.Progress != nil {
		l.options.Progress(done, l.size)
	}
}
