package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// Reader reads a recording: one file, or several as one. It implements
// source.Seekable. Its methods are not safe for concurrent use.
type Reader struct {
	inputs   []*input
	unpacker *unpacker
	// unread is what the last whole Run could not read.
	unread *source.Integrity
}

// Open opens a recording. path may also be the name that was given to a
// recorder that rotates its files, or a directory of recordings: all their
// files are then read as one.
func Open(path string) (*Reader, error) {
	paths, err := Files(path)
	if err != nil {
		return nil, err
	}
	return OpenFiles(paths...)
}

// Files returns the files that Open reads for path; whether they are
// recordings is not looked at.
func Files(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		paths, err := filepath.Glob(filepath.Join(globEscape(path), "*"+Extension))
		if err != nil || len(paths) == 0 {
			return nil, wrap(
				"open",
				path,
				cmp.Or(err, fmt.Errorf("%w: no %s files in the directory", ErrNotRecording, Extension)),
			)
		}
		return paths, nil
	case errors.Is(err, os.ErrNotExist):
		files, _ := newRotation(path, 0, os.Remove).list() // what cannot be listed has none
		if len(files) == 0 {
			return nil, wrap("open", path, err)
		}
		var paths []string
		for _, f := range files {
			paths = append(paths, f.path)
		}
		return paths, nil
	}
	return []string{path}, nil
}

// globEscape makes path a pattern that matches itself alone.
func globEscape(path string) string {
	var out []byte
	for _, c := range []byte(path) {
		if c == '*' || c == '?' || c == '[' || c == '\\' && os.PathSeparator != '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}

// OpenFiles opens several files as one recording, in the order of their times.
// An empty file among several is left out.
func OpenFiles(paths ...string) (*Reader, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	r := &Reader{unpacker: u}
	for _, path := range paths {
		in, err := openInput(path, u)
		if err != nil {
			if errors.Is(err, ErrEmpty) && len(paths) > 1 {
				continue
			}
			return nil, errors.Join(err, r.Close())
		}
		r.inputs = append(r.inputs, in)
	}
	if len(r.inputs) == 0 {
		return nil, errors.Join(wrap("open", filepath.Join(paths...), ErrEmpty), r.Close())
	}
	slices.SortStableFunc(r.inputs, func(a, b *input) int {
		if string(a.header.Session) == string(b.header.Session) {
			return cmp.Compare(a.header.File, b.header.File)
		}
		startA, _, _ := a.span()
		startB, _, _ := b.span()
		return cmp.Compare(startA, startB)
	})
	for i := 1; i < len(r.inputs); i++ {
		a, b := r.inputs[i-1], r.inputs[i]
		_, end, ok := a.span()
		start, _, ok2 := b.span()
		if ok && ok2 && end > start && string(a.header.Session) != string(b.header.Session) {
			return nil, errors.Join(wrap("open", b.path, ErrOverlap), r.Close())
		}
	}
	return r, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, in := range r.inputs {
		errs = append(errs, in.close())
	}
	r.inputs = nil
	r.unpacker.close()
	return errors.Join(errs...)
}

// Span implements source.Seekable.
func (r *Reader) Span() (start, end model.Time) {
	found := false
	for _, in := range r.inputs {
		s, e, ok := in.span()
		if !ok {
			continue
		}
		if !found {
			start, found = s, true
		}
		end = max(end, e)
	}
	return start, end
}

// Notes say what is wrong with the files, for people.
func (r *Reader) Notes() []string {
	var notes []string
	for _, in := range r.inputs {
		for _, n := range in.notes {
			notes = append(notes, filepath.Base(in.path)+": "+n)
		}
	}
	return notes
}

// Run implements source.Source. What cannot be read is left out and becomes a
// loss event; only a file that can no longer be read at all is an error.
func (r *Reader) Run(ctx context.Context, emit func(*model.Batch) error) error {
	return r.run(ctx, 0, 0, emit)
}

// RunFrom implements source.Seekable: it begins with the keyframe at or before
// t that is nearest, and goes on with all events after that keyframe.
func (r *Reader) RunFrom(ctx context.Context, t model.Time, emit func(*model.Batch) error) error {
	file := 0
	for i, in := range r.inputs {
		if start, _, ok := in.span(); ok && start <= t {
			file = i
		}
	}
	first := 0
	if len(r.inputs) > 0 {
		first = r.inputs[file].at(t)
	}
	return r.run(ctx, file, first, emit)
}

// pass is one way through a recording.
type pass struct {
	emit func(*model.Batch) error
	// last is the time of the newest event handed on.
	last model.Time
	// seq is the number of the next block, known once started.
	seq     uint64
	started bool
	session string
	// keyframe says that the next keyframe is to be handed on.
	keyframe bool
	// lost are events in blocks that could not be read, reported before the next that can.
	lost   uint64
	reason string
	// expands is what the file may still become.
	expands expansion
	// unread is what could not be read, with the number of blocks.
	unread source.Integrity
}

func newPass(emit func(*model.Batch) error) *pass { return &pass{emit: emit, expands: newExpansion()} }

func (r *Reader) run(ctx context.Context, file, first int, emit func(*model.Batch) error) error {
	p := newPass(emit)
	whole := file == 0 && first == 0
	for _, in := range r.inputs[min(file, len(r.inputs)):] {
		if err := p.file(ctx, in, first); err != nil || ctx.Err() != nil {
			return err
		}
		first = 0
	}
	if whole {
		r.unread = &p.unread
	}
	return p.reportLoss(p.last)
}

// Integrity implements source.Verified. Before a Run has reached the end it says
// what the outline of the files shows.
func (r *Reader) Integrity() source.Integrity {
	v := source.Integrity{Unit: "block"}
	for _, in := range r.inputs {
		v.Written += uint64(len(in.blocks))
		for _, what := range in.damage {
			v.Add(filepath.Base(in.path)+": "+what, 0)
		}
		v.Bytes += in.torn
	}
	v.Read = v.Written
	if r.unread != nil {
		v.Read -= min(v.Read, r.unread.Read)
		v.Join(*r.unread)
	}
	switch {
	case !v.Complete():
		v.Start, v.End = r.Span()
	case r.unread == nil:
		v.Unknown = "the index says so: the blocks themselves have not been read"
	}
	return v
}

// file hands on the blocks of one file.
func (p *pass) file(ctx context.Context, in *input, first int) error {
	if p.session != string(in.header.Session) || !p.started {
		if p.started {
			// Another run of the recorder: nothing of the state goes over.
			if err := p.reportLoss(p.last); err != nil {
				return err
			}
		}
		p.session, p.started, p.keyframe = string(in.header.Session), false, true
	}
	for i := first; i < len(in.blocks) && ctx.Err() == nil; i++ {
		if err := p.block(in, i); err != nil {
			return err
		}
	}
	if in.torn > 0 && len(in.blocks) >= maxBlocks {
		p.lose(1, fmt.Sprintf("%s has more than %d blocks: the %d bytes after them are not read",
			filepath.Base(in.path), maxBlocks, in.torn))
	} else if !in.closed && in.torn > 0 {
		p.lose(1, fmt.Sprintf("torn: %d bytes at the end of %s are not a whole block", in.torn, filepath.Base(in.path)))
	}
	return nil
}

// miss notes events that cannot be read.
func (p *pass) miss(events uint64, reason string) {
	p.unread.Add(reason, 0)
	p.lose(events, reason)
}

// lose is miss for what the outline of the file says already.
func (p *pass) lose(events uint64, reason string) {
	if p.lost == 0 {
		p.reason = reason
	}
	p.lost += events
	p.keyframe = true
}

// reportLoss hands on a loss event for what was missed.
func (p *pass) reportLoss(now model.Time) error {
	if p.lost == 0 {
		return nil
	}
	var b model.Builder
	b.AddLoss(
		model.Loss{
			Time: max(now, p.last), Dur: p.since(now), CPU: -1, Lost: p.lost, Origin: model.OriginFile, Detail: p.reason,
		},
	)
	p.lost = 0
	return p.emit(b.Take())
}

// since is the time between the last event handed on and now.
func (p *pass) since(now model.Time) time.Duration {
	if p.last == 0 {
		return 0
	}
	return max(0, now.Sub(p.last))
}

// block hands on block i of a file.
func (p *pass) block(in *input, i int) error {
	p.expands.stored(in.blocks[i].size)
	raw, err := in.read(in.blocks[i].frame)
	if err == nil {
		err = p.expands.decompressed(len(raw))
	}
	var body []byte
	var summary outline
	if err == nil {
		if summary, err = parseSummary(raw, nil); err == nil {
			body, err = find(raw, envelopeBlock)
		}
	}
	if err != nil {
		events := uint64(1)
		s := &summary
		if !s.known {
			s = in.summary(i)
		}
		if s != nil {
			events = max(1, s.events)
			p.seq, p.started = s.seq+1, true
		} else {
			p.seq++
		}
		p.miss(events, fmt.Sprintf("block %d of %s: %v", i, filepath.Base(in.path), err))
		p.unread.Read++
		return nil
	}
	if p.started && summary.seq < p.seq {
		// The windows of a flight recorder overlap: this block was in the file before.
		return nil
	}
	if p.started && summary.seq > p.seq {
		p.miss(1, fmt.Sprintf("%d blocks before block %d of %s are missing", summary.seq-p.seq, i, filepath.Base(in.path)))
	}
	p.seq, p.started = summary.seq+1, true
	if err := p.reportLoss(summary.start); err != nil {
		return err
	}
	if err := p.decode(in, i, body, summary.keyframe); err != nil {
		return err
	}
	if summary.keyframe {
		p.keyframe = false
	}
	return nil
}

// errReceiver marks an error of emit, so that it is told from those of the file.
type errReceiver struct{ error }

// decode hands on what a block's message holds. independent says that the block
// needs none before it.
func (p *pass) decode(in *input, i int, body []byte, independent bool) error {
	keyframe := p.keyframe
	handed, left := uint64(0), uint64(0) // left out
	err := eachField(body, func(v field) error {
		if v.num == blockEvents && keyframe && independent && handed == 0 && p.last != 0 {
			// Nothing was known when the block began: what was read before no longer holds.
			keyframe = false
			var b model.Builder
			b.AddMeta(model.Meta{Time: p.last, Flags: model.FlagKeyframe, Key: "keyframe", Value: "begin"})
			if err := p.emit(b.Take()); err != nil {
				return errReceiver{err}
			}
		}
		if v.num != blockEvents && (v.num != blockKeyframe || !keyframe) {
			return nil
		}
		var x eventsReader
		if err := x.parse(v.bytes); err != nil {
			return err
		}
		for {
			b, err := x.next()
			if err != nil || b == nil {
				return err
			}
			if n := p.expands.emitted(len(b.Events)); n < len(b.Events) {
				left += uint64(len(b.Events) - n + x.left)
				if b.Events = b.Events[:n]; n == 0 {
					return nil
				}
			}
			handed += uint64(len(b.Events))
			p.last = max(p.last, b.Events[len(b.Events)-1].Time)
			if err := p.emit(b); err != nil {
				return errReceiver{err}
			}
		}
	})
	var receiver errReceiver
	if errors.As(err, &receiver) {
		return receiver.error
	}
	if left > 0 {
		p.miss(left, fmt.Sprintf("block %d of %s: %v: more than %d events to a byte of the file",
			i, filepath.Base(in.path), errExpands, eventsPerByte))
	}
	if err != nil {
		// The checksum was right, so it was written like this.
		p.miss(1, fmt.Sprintf("block %d of %s: %v after %d events", i, filepath.Base(in.path), err, handed))
	}
	return nil
}
