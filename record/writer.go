package record

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// overdueAfter is how long an event waits for the end of its block, by the wall
// clock. With the time that events take from the kernel to the recorder it keeps
// what a kill costs below a second, for 1 to 12 % larger files than a whole second.
const overdueAfter = 500 * time.Millisecond

// originRecorder is the origin of loss events for what could not be written.
const originRecorder = "recorder"

// Options configures a Writer. Its zero value writes one file without bounds.
type Options struct {
	// MaxSize ends the recording when its file would grow beyond that many
	// bytes, 0 never. With rotation it bounds the sum of all files ever written.
	MaxSize int64
	// RotateSize begins a new file when the present one has about that many bytes, 0 never.
	RotateSize int64
	// RotateEvery begins a new file when the present one spans that much event time, 0 never.
	RotateEvery time.Duration
	// TotalCap deletes the oldest files of a rotated recording, earlier runs
	// under the same name included, so that all together stay below that many
	// bytes, 0 never. It implies rotation at a quarter of its size at most. The
	// newest file is never deleted; a block for which no room can be made is lost.
	TotalCap int64
	// Overwrite replaces an existing file.
	Overwrite bool
	// Mode is the mode of new files, 0600 when 0: a recording names processes, peers and ports.
	Mode fs.FileMode
	// Interval is the longest time of events in a block; 0 means 1 s. Live, a block is
	// written half a second after its first event came, so that a kill costs less.
	Interval time.Duration
	// Tool is the name and version of the program, for the header.
	Tool string
	// CloseTimeout is how long Create and Close wait for a disk that does not respond; 0 means 5 s.
	CloseTimeout time.Duration

	// create replaces createFile, remove os.Remove, session the random number, in tests.
	create  func(path string) (storage, error)
	remove  func(path string) error
	session []byte
}

func (o *Options) rotates() bool { return o.RotateSize > 0 || o.RotateEvery > 0 || o.TotalCap > 0 }

// Stats is what a Writer has done so far.
type Stats struct {
	// Path is the file being written.
	Path string
	// Files, Events and Bytes are what this run has written and is on disk, all
	// files together: what the total cap has deleted is no part of it.
	Files         int
	Events, Bytes uint64
	// Blocks have been written, those of deleted files included.
	Blocks int
	// Deleted is the number of files that the total cap has deleted, earlier
	// runs' included; DeletedEvents were in those of this run.
	Deleted       int
	DeletedEvents uint64
	// Lost is the number of events that could not be written.
	Lost uint64
	// Err is why the last attempt to write failed, nil when it did not.
	Err error
	// Fault is the last failure of the disk, nil when there was none: unlike Err
	// it stays when the disk works again.
	Fault error
	// Ring is the ring file of a flight recorder.
	Ring RingStats
}

// failed notes a failure of the disk.
func (s *Stats) failed(err error) { s.Err, s.Fault = err, err }

// Writer writes a recording. Its methods may be called from any goroutine, one
// at a time takes effect. Write encodes and, about once a second or once to a
// MiB of encoded events, compresses and writes a block: that takes some
// milliseconds, and as long as the disk takes to accept the data. It never waits
// for a disk that is full or refuses the data: such a block is given up,
// counted, and reported in the recording by a loss event as soon as a write
// succeeds. While a disk does not respond at all, Write and Flush wait for it;
// Create and Close give up after Options.CloseTimeout, and Stats never waits.
// Nothing is synced to the disk: a killed process loses the open block at
// most, a crash of the host what its page cache held.
type Writer struct {
	path string
	opts Options

	// turn is held across disk operations, by whoever uses the fields below.
	turn    turn
	enc     *blockEncoder
	session []byte
	lock    *lock // nil where there is none
	file    *file // nil while none could be created
	files   *rotation
	fileNo  uint32
	begun   model.Time // when the present file's first event happened
	total   int64      // bytes of the files before the present one
	largest int        // of the blocks so far
	timer   *time.Timer
	closed  bool
	full    bool
	// broken is a panic beside Write, which returns it.
	broken error
	stats  Stats
	// pending is what was lost and has not been reported in the recording.
	pending struct {
		events uint64
		since  model.Time
		err    error
	}

	// mu guards shown, the stats as they were before the present disk operation.
	mu    sync.Mutex
	shown Stats
}

// Create begins a recording at path. With rotation, the files are
// named after path, the time and a number: rec-20261122T140309Z-0001.lostbeat.
// A lock file beside it keeps the name for this recorder until Close or its
// end: another fails with ErrLocked.
func Create(path string, opts Options) (*Writer, error) {
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.TotalCap > 0 && (opts.RotateSize == 0 || opts.RotateSize > opts.TotalCap/capShare) {
		opts.RotateSize = max(opts.TotalCap/capShare, 1)
	}
	if opts.CloseTimeout == 0 {
		opts.CloseTimeout = closeTimeout
	}
	locks := opts.create == nil
	if opts.create == nil {
		opts.create = func(path string) (storage, error) { return createFile(path, opts.Mode, opts.Overwrite) }
	}
	if opts.session == nil {
		opts.session = newSession()
	}
	if opts.remove == nil {
		opts.remove = os.Remove
	}
	enc, err := newBlockEncoder(keyframeEvery)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, opts: opts, turn: newTurn(), enc: enc, session: opts.session}
	w.timer = time.AfterFunc(overdueAfter, w.overdue)
	w.timer.Stop()
	err = within(opts.CloseTimeout, "create", path, func() error {
		w.take()
		defer w.give()
		if locks {
			var err error
			if w.lock, err = lockName(path); err != nil {
				return wrap("create", path, err)
			}
		}
		if opts.rotates() {
			w.files = newRotation(path, opts.TotalCap, opts.remove)
		}
		err := w.open()
		if err != nil {
			w.lock.release()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// take waits for the writer's turn; give ends it and shows what was done.
func (w *Writer) take() { w.turn.take() }

func (w *Writer) give() {
	w.show()
	w.turn.give()
}

// show makes the present stats those that Stats returns.
func (w *Writer) show() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = w.stats
}

// sessionSize is the length of a session's number.
const sessionSize = 16

// newSession returns a number that no other recording has.
func newSession() []byte {
	session := make([]byte, sessionSize)
	rand.Read(session)
	return session
}

// open begins the next file.
func (w *Writer) open() error {
	var s storage
	var err error
	path := w.path
	if w.files != nil {
		path, s, err = w.files.create(w.fileNo+1, w.opts.create)
	} else {
		s, err = w.opts.create(path)
	}
	if err != nil {
		return wrap("create", path, err)
	}
	h := &recordpb.Header{
		FormatMajor: FormatMajor,
		FormatMinor: FormatMinor,
		Tool:        w.opts.Tool,
		Session:     w.session,
		File:        w.fileNo,
		CreatedNs:   uint64(w.enc.state.Now),
		Meta:        headerMeta(w.enc.state),
	}
	f, err := startFile(s, path, h, w.enc.zstd)
	if err != nil {
		return wrap("create", path, errors.Join(err, s.Close(), w.opts.remove(path)))
	}
	w.stats.Path = path
	w.file, w.begun = f, 0
	w.fileNo++
	w.stats.Files++
	w.stats.Bytes += uint64(f.size)
	return nil
}

// Write adds a batch. It returns ErrMaxSize when the recording is complete and
// ErrClosed after Close. That the disk did not take a block is no error of Write, see
// Stats.
func (w *Writer) Write(b *model.Batch) error {
	w.take()
	defer w.give()
	switch {
	case w.broken != nil:
		return w.broken
	case w.closed:
		return wrap("write", w.path, ErrClosed)
	case w.full:
		return wrap("write", w.path, ErrMaxSize)
	}
	w.enc.batch(b)
	for i := range b.Events {
		e := &b.Events[i]
		if !w.enc.empty() && (e.Time.Sub(w.enc.start()) >= w.opts.Interval || w.enc.size() >= w.opts.blockLimit()) {
			w.flush()
			if w.full {
				return wrap("write", w.path, ErrMaxSize)
			}
		}
		if w.enc.empty() {
			w.timer.Reset(min(w.opts.Interval, overdueAfter))
			if w.pending.events > 0 {
				w.reportLoss(e.Time)
				w.enc.batch(b)
			}
		}
		w.enc.add(b, e)
	}
	return nil
}

// reportLoss puts what could not be written into the block that begins at time t.
func (w *Writer) reportLoss(t model.Time) {
	var builder model.Builder
	builder.AddLoss(
		model.Loss{
			Time:   t,
			Dur:    max(0, t.Sub(w.pending.since)),
			CPU:    -1,
			Lost:   w.pending.events,
			Origin: originRecorder,
			Detail: cause(w.pending.err).Error(),
		},
	)
	b := builder.Take()
	w.enc.batch(b)
	w.enc.add(b, &b.Events[0])
}

// overdue writes a block that has waited for its end for long enough.
func (w *Writer) overdue() {
	w.take()
	defer w.give()
	err := guard.Do("the recorder", func() error {
		if !w.closed {
			w.flush()
		}
		return nil
	})
	if err != nil {
		w.broken = err
		w.stats.failed(err)
	}
}

// Flush writes the open block, if it holds anything.
func (w *Writer) Flush() error {
	w.take()
	defer w.give()
	if w.closed {
		return wrap("flush", w.path, ErrClosed)
	}
	w.flush()
	return w.stats.Err
}

// flush ends the open block and writes it.
func (w *Writer) flush() {
	w.timer.Stop()
	if w.enc.empty() || w.full {
		return
	}
	b, err := w.enc.seal()
	if err == nil && w.opts.MaxSize > 0 && w.total+w.file.present()+int64(len(b.frame)) > w.opts.MaxSize {
		w.full = true
		return
	}
	if err == nil && w.file == nil {
		err = w.open()
	}
	if err == nil && w.files != nil {
		err = w.files.room(w.file.present(), int64(len(b.frame)), &w.stats)
	}
	if err == nil {
		err = w.file.block(b)
	}
	if err != nil {
		w.failed(b, err)
		return
	}
	if w.begun == 0 {
		w.begun = model.Time(b.summary.StartNs)
	}
	w.largest = max(w.largest, len(b.frame))
	w.stats.Blocks++
	w.stats.Events += b.summary.Events
	w.stats.Bytes += uint64(len(b.frame))
	w.stats.Err = nil
	w.pending.events, w.pending.since, w.pending.err = 0, 0, nil
	w.rotate(model.Time(b.summary.EndNs))
}

// failed counts a block that was given up.
func (w *Writer) failed(b sealed, err error) {
	// A loss event of ours that was lost with the block is still pending.
	events := b.summary.Events
	if w.pending.events > 0 {
		events--
	}
	if w.pending.since == 0 {
		w.pending.since = model.Time(b.summary.StartNs)
	}
	w.pending.events += events
	w.pending.err = err
	w.stats.Lost += events
	w.stats.failed(wrap("write", w.stats.Path, err))
	w.enc.force = true
	w.enc.again() // its loss is reported, a gap in the numbers would report it twice
}

// rotate ends the present file, whose last event happened at time now, when it
// is long enough.
func (w *Writer) rotate(now model.Time) {
	if w.files == nil {
		return
	}
	bySize := w.opts.RotateSize > 0 && w.file.size+w.file.closing()+int64(w.largest) > w.opts.RotateSize
	byTime := w.opts.RotateEvery > 0 && now.Sub(w.begun) >= w.opts.RotateEvery
	if bySize || byTime {
		w.finish()
	}
}

// finish closes the present file.
func (w *Writer) finish() {
	f := w.file
	// The next file is begun with the next block, which has to stand first.
	w.file, w.enc.force = nil, true
	before := f.size
	if f.blocks == 0 && w.files != nil && w.stats.Lost > 0 {
		w.discard(f)
		return
	}
	if err := f.finish(); err != nil {
		w.stats.failed(wrap("close", f.path, err))
	}
	w.stats.Bytes += uint64(f.size - before)
	w.total += f.size
	if w.files == nil {
		return
	}
	w.files.add(f.done())
	if err := w.files.shrink(0, 1, &w.stats); err != nil {
		w.stats.failed(err)
	}
}

// discard removes a file that holds no event.
func (w *Writer) discard(f *file) {
	if err := errors.Join(f.Close(), w.opts.remove(f.path)); err != nil {
		w.stats.failed(wrap("delete", f.path, err))
		return
	}
	w.fileNo--
	w.stats.Files--
	w.stats.Bytes -= uint64(f.size)
}

// Close writes what is open and ends the file. Its error says why the last
// events could not be written, if so, or how many were lost before; ErrBlocked
// says that the disk has not responded within Options.CloseTimeout.
func (w *Writer) Close() error { return w.CloseWithin(w.opts.CloseTimeout) }

// CloseWithin is Close with a timeout of its own.
func (w *Writer) CloseWithin(limit time.Duration) error {
	return within(limit, "close", w.Stats().Path, w.close)
}

func (w *Writer) close() error {
	w.take()
	defer w.give()
	if w.closed {
		return nil
	}
	w.flush()
	w.closed = true
	w.timer.Stop()
	if w.file != nil {
		w.finish()
	}
	w.lock.release()
	switch {
	case w.stats.Err != nil:
		return w.stats.Err
	case w.pending.events > 0:
		return wrap("close", w.stats.Path, fmt.Errorf("%d events could not be written: %w", w.pending.events, w.pending.err))
	}
	return nil
}

// Stats returns what the writer has done so far. It does not wait for the disk.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown
}
