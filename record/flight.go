package record

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// FlightOptions configures a Flight.
type FlightOptions struct {
	// Options are those of the files. Each window is a file of its own, named as in a rotated
	// recording; TotalCap bounds all of them. MaxSize and the rotation of files do not apply.
	Options
	// Window is how much is kept in memory, and so the longest pre-roll; 0 means 5 minutes.
	Window time.Duration
	// After is how long recording goes on after the last trigger; 0 means 30 s.
	After time.Duration
	// MaxBytes bounds the memory for what is kept, compressed; 0 means 16 MiB.
	MaxBytes int
}

// Flight is a flight recorder: it keeps the last minutes of a stream in memory
// and writes them to a file, with what follows, when something has happened.
// Its methods may be called from any goroutine, one at a time takes effect.
type Flight struct {
	opts  FlightOptions
	files *rotation

	// turn is held across disk operations, by whoever uses the fields below.
	turn    turn
	enc     *blockEncoder
	session []byte
	// kept are the blocks in memory, the first of them with a keyframe.
	kept  []sealed
	bytes int
	// out is the file being written, nil between windows; until is when it ends.
	out    *file
	until  model.Time
	number uint32
	closed bool
	stats  Stats

	// mu guards shown, the stats as they were before the present disk operation.
	mu    sync.Mutex
	shown Stats
}

// NewFlight returns a flight recorder whose windows become files beside path,
// named after it, the time and a number.
func NewFlight(path string, opts FlightOptions) (*Flight, error) {
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	if opts.Window == 0 {
		opts.Window = 5 * time.Minute
	}
	if opts.After == 0 {
		opts.After = 30 * time.Second
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 16 << 20
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.CloseTimeout == 0 {
		opts.CloseTimeout = closeTimeout
	}
	if opts.create == nil {
		opts.create = func(path string) (storage, error) { return createFile(path, opts.Mode, opts.Overwrite) }
	}
	// Memory is given back from keyframe to keyframe: there have to be several in a window.
	enc, err := newBlockEncoder(min(keyframeEvery, opts.Window/8))
	if err != nil {
		return nil, err
	}
	f := &Flight{opts: opts, turn: newTurn(), enc: enc, session: newSession()}
	err = within(opts.CloseTimeout, "create", path, func() error {
		f.take()
		defer f.give()
		f.files = newRotation(path, opts.TotalCap)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// take waits for the recorder's turn; give ends it and shows what was done.
func (f *Flight) take() { f.turn.take() }

func (f *Flight) give() {
	f.show()
	f.turn.give()
}

// show makes the present stats those that Stats returns.
func (f *Flight) show() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shown = f.stats
}

// Write adds a batch to what is kept, and to the file while there is one.
func (f *Flight) Write(b *model.Batch) error {
	f.take()
	defer f.give()
	if f.closed {
		return wrap("write", f.stats.Path, ErrClosed)
	}
	f.enc.batch(b)
	for i := range b.Events {
		e := &b.Events[i]
		if !f.enc.empty() && (e.Time.Sub(f.enc.start()) >= f.opts.Interval || f.enc.size() >= blockSize) {
			f.flush()
			f.enc.batch(b)
		}
		f.enc.add(b, e)
	}
	return nil
}

// flush ends the open block, keeps it, and writes it while there is a file.
func (f *Flight) flush() {
	if f.enc.empty() {
		return
	}
	b, err := f.enc.seal()
	if err != nil {
		f.stats.Err = err
		f.stats.Lost += b.summary.Events
		f.enc.force = true
		return
	}
	b.frame = slices.Clone(b.frame)
	f.keep(b)
	if f.out == nil {
		return
	}
	f.put(b)
	if model.Time(b.summary.EndNs) >= f.until {
		f.end()
	}
}

// keep adds a block to memory and gives back what is too old or too much, up to a keyframe.
func (f *Flight) keep(b sealed) {
	f.kept = append(f.kept, b)
	f.bytes += len(b.frame)
	now := model.Time(b.summary.EndNs)
	for {
		// The next block that can stand first.
		next := slices.IndexFunc(f.kept[min(1, len(f.kept)):], func(b sealed) bool { return b.summary.Keyframe }) + 1
		if next == 0 {
			f.enc.force = f.enc.force || f.bytes > f.opts.MaxBytes
			return
		}
		tooOld := now.Sub(model.Time(f.kept[next].summary.StartNs)) >= f.opts.Window
		if !tooOld && f.bytes <= f.opts.MaxBytes {
			return
		}
		for i := range next {
			f.bytes -= len(f.kept[i].frame)
		}
		f.kept = slices.Delete(f.kept, 0, next)
	}
}

// Trigger asks for the window around time at, when something was found: what
// is kept from before-at on is written at once, what follows until
// Options.After past at. While a window is being written, it is made longer.
// before is at most Options.Window; 0 means all that is kept.
func (f *Flight) Trigger(at model.Time, before time.Duration) error {
	f.take()
	defer f.give()
	if f.closed {
		return wrap("write", f.stats.Path, ErrClosed)
	}
	f.until = max(f.until, at.Add(f.opts.After))
	if f.out != nil {
		return nil
	}
	f.flush()
	first := 0
	for i, b := range f.kept {
		if before > 0 && b.summary.Keyframe && model.Time(b.summary.StartNs) <= at.Add(-before) {
			first = i
		}
	}
	f.number++
	path, out, err := f.files.create(f.number, f.opts.create)
	f.stats.Path = path
	if err == nil {
		h := &recordpb.Header{
			FormatMajor: FormatMajor,
			FormatMinor: FormatMinor,
			Tool:        f.opts.Tool,
			Session:     f.session,
			File:        f.number - 1,
			CreatedNs:   uint64(f.enc.state.Now),
			Meta:        headerMeta(f.enc.state),
		}
		if f.out, err = startFile(out, path, h, f.enc.zstd); err != nil {
			out.Close()
			f.out = nil
		}
	}
	if err != nil {
		f.stats.Err = wrap("create", path, err)
		return f.stats.Err
	}
	f.stats.Files++
	f.stats.Err = nil
	for _, b := range f.kept[first:] {
		f.put(b)
	}
	return f.stats.Err
}

// put writes a block to the present file. One that cannot be written is counted
// here, and by readers, which see the gap in the blocks' numbers.
func (f *Flight) put(b sealed) {
	if err := f.out.block(b); err != nil {
		f.stats.Lost += b.summary.Events
		f.stats.Err = wrap("write", f.out.path, err)
		return
	}
	f.stats.Blocks++
	f.stats.Events += b.summary.Events
	f.stats.Bytes += uint64(len(b.frame))
}

// end closes the present file.
func (f *Flight) end() {
	if err := f.out.finish(); err != nil {
		f.stats.Err = wrap("close", f.out.path, err)
	}
	f.files.add(f.out.path, f.out.size)
	if err := f.files.shrink(0); err != nil {
		f.stats.Err = err
	}
	f.out = nil
}

// Close ends the present window, if there is one, and forgets what is kept. As
// for a Writer, it gives up after Options.CloseTimeout.
func (f *Flight) Close() error { return f.CloseWithin(f.opts.CloseTimeout) }

// CloseWithin is Close with a timeout of its own.
func (f *Flight) CloseWithin(limit time.Duration) error {
	return within(limit, "close", f.Stats().Path, f.close)
}

func (f *Flight) close() error {
	f.take()
	defer f.give()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.out != nil {
		f.flush()
		if f.out != nil {
			f.end()
		}
	}
	f.kept = nil
	if f.stats.Lost > 0 && f.stats.Err == nil {
		return wrap("close", f.stats.Path, fmt.Errorf("%d events could not be written", f.stats.Lost))
	}
	return f.stats.Err
}

// Stats returns what was written so far, all windows together. Path is the last
// file. It does not wait for the disk.
func (f *Flight) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shown
}
