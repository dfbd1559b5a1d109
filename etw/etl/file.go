package etl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"lostbeat/etw"
	"lostbeat/model"
	"lostbeat/source"
)

// Options configure a File; the zero value reads a file with the shared
// decoding only: pass Probes for the signals.
type Options struct {
	etw.Options
	// Probes makes the probes that decode the signals, fresh for each run.
	Probes func() []etw.Probe
	// Progress is told how far the file is read, at most every few megabytes.
	Progress source.Progress
}

// File is an event trace log. It implements source.Seekable.
type File struct {
	r       io.ReaderAt
	close   io.Closer
	size    int64
	name    string
	options Options
	header  Header
	outline
	start model.Time
	end   model.Time
	// advance is how many bytes are read in advance, see surveyBytes.
	advance int64
	// surveyed is what a survey has found, nil before one has ended.
	surveyed *etw.State
	// passed are the buffers that jumps need not read, see skip.
	passed map[int64]uint64
	// integrity is what the last whole reading found.
	integrity atomic.Pointer[source.Integrity]
}

var _ source.Seekable = (*File)(nil)

// Open opens an event trace log.
func Open(path string, o Options) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		var f *File
		if f, err = New(file, info.Size(), o); err == nil {
			f.close, f.name = file, path
			return f, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("open capture %s: %w", path, err), file.Close())
}

// New reads an event trace log of the given size from r. It reads the headers
// of the buffers only.
func New(r io.ReaderAt, size int64, o Options) (*File, error) {
	f := &File{r: r, size: size, options: o, advance: surveyBytes, passed: make(map[int64]uint64)}
	var err error
	if f.header, f.outline, err = index(context.Background(), r, size); err != nil {
		return nil, err
	}
	f.start, f.end = f.header.Start, f.header.End
	flushed := model.Time(0)
	for i := range f.buffers {
		if b := &f.buffers[i]; b.flushed > 0 {
			flushed = max(flushed, f.header.Clock.Time(uint64(b.flushed)))
		}
	}
	if f.header.End == 0 || f.cut() && flushed > f.start && flushed < f.end {
		f.end = flushed
	}
	f.end = max(f.end, f.start)
	f.verify(source.Integrity{})
	return f, nil
}

// Close closes the file that Open opened.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close.Close()
}

// Header returns the log header.
func (f *File) Header() Header { return f.header }

// Span returns when the session started and stopped. Records of a rundown may
// lie outside. For a file that was not finalised, or of which buffers are missing,
// the end is when its last buffer was flushed.
func (f *File) Span() (start, end model.Time) { return f.start, f.end }

// Run implements source.Source.
func (f *File) Run(ctx context.Context, emit source.Emit) error { return f.run(ctx, 0, emit) }

// RunFrom implements source.Seekable. The file has no keyframes: what held at t
// is computed from its beginning, but of what lies more than a few seconds
// before t only the records that last are decoded.
func (f *File) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	return f.run(ctx, t, emit)
}

// verify computes the integrity of the file from its outline and the damage that
// was found inside of buffers.
func (f *File) verify(inside source.Integrity) {
	h := &f.header
	v := &source.Integrity{Unit: "buffer", Read: uint64(len(f.buffers))}
	if h.LogFileMode&modeCircular == 0 {
		v.Written = uint64(h.BuffersWritten)
	}
	switch {
	case h.BuffersWritten == 0 || h.End == 0:
		v.Unknown = "the session was still running when the file was copied: it may have written more"
	case f.cut():
		v.Start, v.End = f.start, f.end
	}
	for _, d := range f.damage {
		v.Add(d.Error(), d.Bytes)
	}
	v.Join(inside)
	v.Bytes = min(v.Bytes, f.size)
	f.integrity.Store(v)
}

// cut reports whether buffers are missing that the log header counts.
func (f *File) cut() bool {
	return f.header.LogFileMode&modeCircular == 0 && len(f.buffers) < int(f.header.BuffersWritten)
}

// Integrity implements source.Verified.
func (f *File) Integrity() source.Integrity { return *f.integrity.Load() }

// surveyBytes is how much of a file is read in advance for the names that it
// contains: all of it up to this size, otherwise this much of its beginning
// and end. Rundowns stand there.
const surveyBytes = 256 << 20

// survey reads names, schemas and the census in advance, as far as ctx lets
// it; what it returns belongs to the caller.
func (f *File) survey(ctx context.Context) (*etw.State, error) {
	if f.surveyed != nil {
		return f.surveyed.Clone(), nil
	}
	st := etw.NewState()
	buffers := f.buffers
	if f.size > f.advance {
		buffers = ends(buffers, f.advance)
	}
	each := func(r *etw.Record) bool {
		st.Survey(r, &f.header.Clock)
		return true
	}
	passed := func(b []byte, kind uint8) bool {
		switch kind {
		case typeEvent32, typeEvent64:
			return st.CountEvent(etw.GUID(b[24:40]), binary.LittleEndian.Uint16(b[40:]))
		}
		return fromKernel(kind) && st.CountGroup(uint16(groupOf(b)))
	}
	if err := f.scan(ctx, buffers, passed, each, func(*Damage) {}); err != nil && !errors.Is(err, ctx.Err()) {
		return nil, err
	}
	st.Settle()
	if !stopped(ctx) {
		f.surveyed = st
	}
	return st.Clone(), nil
}

// ends returns the buffers at the beginning and the end, by the time at which
// they were flushed, that together have about n bytes.
func ends(buffers []buffer, n int64) []buffer {
	sorted := slices.Clone(buffers)
	slices.SortStableFunc(sorted, func(a, b buffer) int {
		if a.flushed < b.flushed {
			return -1
		}
		if a.flushed > b.flushed {
			return 1
		}
		return 0
	})
	first, last := 0, len(sorted)
	for quarter := n / 4; first < last && quarter > 0; first++ {
		quarter -= int64(sorted[first].size)
	}
	for rest := n - n/4; last > first && rest > 0; last-- {
		rest -= int64(sorted[last-1].size)
	}
	kept := append(sorted[:first], sorted[last:]...)
	slices.SortFunc(kept, func(a, b buffer) int {
		if a.offset < b.offset {
			return -1
		}
		return 1
	})
	return kept
}

// stopped reports whether the user of a source has stopped it, which is no error.
func stopped(ctx context.Context) bool { return ctx.Err() != nil }

// replay is one run over a file.
type replay struct {
	f       *File
	seek    *source.Seek
	out     model.Builder
	decoder *etw.Decoder
	damage  []*Damage
	// inside is all damage within buffers.
	inside source.Integrity
	err    error
}

// leadIn is how many intervals before the one in which a jump ends everything
// is decoded: what ran on each processor, and what was nested in what, is known
// again after that time.
const leadIn = 2

// batchEvents is the size of a batch; events are put in order within it.
const batchEvents = 4096

func (f *File) run(ctx context.Context, from model.Time, emit source.Emit) error {
	st, err := f.survey(ctx)
	if err != nil {
		return fmt.Errorf("survey capture: %w", err)
	}
	if stopped(ctx) {
		return nil
	}
	r := &replay{f: f, seek: source.NewSeek(from, emit)}
	var probes []etw.Probe
	if f.options.Probes != nil {
		probes = f.options.Probes()
	}
	var done, reported int64
	entered := func(b *buffer) {
		done += int64(b.size)
		if f.options.Progress != nil && done-reported >= progressInterval {
			reported = done
			f.options.Progress(done, f.size)
		}
		if b.flags&(flagEventsLost|flagBufferLost) != 0 {
			r.flagged(b)
		}
	}
	r.decoder = etw.NewDecoder(f.options.Options, f.header.Clock, st, &r.out, probes...)
	m := &merger{
		r:       f.r,
		header:  &f.header,
		entered: entered,
		damaged: r.damaged,
		stopped: func() bool { return stopped(ctx) },
	}
	if from > 0 {
		// The log header's own record stays: it begins the stream.
		m.skip.until = f.header.Clock.Ticks((from/model.Time(source.Interval) - leadIn) * model.Time(source.Interval))
		m.skip.passed = f.passed
		m.skip.lasting = func(k etw.Key) bool { return k.Class == etw.ClassEventTrace || r.decoder.Lasting(k) }
	}
	m.start(streams(f.buffers))
	last := f.start
	for n := 0; ; n++ {
		record := m.Next()
		if record == nil {
			break
		}
		t := f.header.Clock.Time(record.Time)
		if n == 0 {
			f.header.introduce(&r.out, t, f.name, st, f.recorded(), probes)
		}
		if len(r.damage) > 0 {
			r.loseDamage(t)
		}
		r.decoder.DecodeAt(record, t)
		last = max(last, t)
		if r.out.Len() >= batchEvents {
			r.flush()
		}
		if r.err != nil {
			return r.err
		}
		if n&0xfff == 0 && stopped(ctx) {
			break
		}
	}
	r.decoder.Finish(last)
	r.finish(last, m.late)
	if from == 0 && !stopped(ctx) && r.err == nil {
		f.verify(r.inside)
	}
	if f.options.Progress != nil && !stopped(ctx) {
		f.options.Progress(f.size, f.size)
	}
	return r.err
}
