package record

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// FlightOptions configures a Flight.
type FlightOptions struct {
	// Options are those of the files. Each window begins a file, named as in a rotated recording;
	// TotalCap bounds all of them, and a window longer than a quarter of it takes several files.
	// MaxSize and the rotation of files do not apply.
	Options
	// Window is how much is kept, and so the longest pre-roll; 0 means 5 minutes.
	Window time.Duration
	// After is how long recording goes on after the last trigger; 0 means 30 s.
	After time.Duration
	// MaxBytes bounds the memory for what is kept, compressed; 0 means 16 MiB. It is half of
	// TotalCap at most. With a ring, it is for what the disk has not taken yet.
	MaxBytes int
	// Ring is the size of the ring file, which keeps the last minutes over the end of the process and of the host: from
	// LeastRing to MostRing, a quarter of TotalCap at most, of which it is a part. 0 keeps them in memory, as is done when
	// the file cannot be made.
	Ring int64
	// BootID tells one boot of the host from the next, empty unknown. It says how an earlier recorder ended.
	BootID string
	// Say is told what becomes of the ring while it is written, nil nobody. It must not block.
	Say func(line string)

	// ring replaces createRing, now the clock, in tests; byHand leaves writing and syncing the ring to them.
	ring   func(path string, size int64) (ringStorage, error)
	now    func() time.Time
	byHand bool
}

// Flight is a flight recorder: it keeps the last minutes of a stream, in a ring
// file or in memory, and writes them to a file, with what follows, when
// something has happened. A ring that an earlier recorder has left behind, since
// it was killed or its host went down, becomes a recording first.
// Its methods may be called from any goroutine, one at a time takes effect.
type Flight struct {
	path  string
	opts  FlightOptions
	files *rotation
	// ring has the blocks on disk, nil where they are in memory; ringErr is then why, nil when none was asked for.
	ring    *ringWriter
	ringErr error
	// recovered is what an earlier recorder has left behind, nil nothing.
	recovered *Recovered

	// turn is held across disk operations, by whoever uses the fields below.
	turn    turn
	enc     *blockEncoder
	session []byte
	lock    *lock // nil where there is none
	// kept are the last blocks, the first of them with a keyframe; bytes is what they take without a ring.
	kept  []*keptBlock
	bytes int
	// fresh is the size of what was kept since the last keyframe, freshPages what it takes in the ring.
	fresh      int
	freshPages int64
	// out is the file being written, nil between windows; until is when it ends.
	out   *file
	until model.Time
	// wanted says that a window was asked for and has no file yet, from is when it begins.
	wanted bool
	from   model.Time
	number uint32
	// timer writes a block that is overdue while there is a file.
	timer  *time.Timer
	closed bool
	// broken is a panic beside Write, which returns it.
	broken error
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
	if opts.TotalCap > 0 {
		opts.MaxBytes = int(min(int64(opts.MaxBytes), max(1, opts.TotalCap/2)))
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.CloseTimeout == 0 {
		opts.CloseTimeout = closeTimeout
	}
	if opts.Say == nil {
		opts.Say = func(string) {}
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	if opts.ring == nil {
		opts.ring = func(path string, size int64) (ringStorage, error) { return createRing(path, size, opts.Mode) }
	}
	locks := opts.create == nil && path != ""
	if opts.create == nil {
		opts.create = func(path string) (storage, error) { return createFile(path, opts.Mode, opts.Overwrite) }
	}
	if opts.remove == nil {
		opts.remove = os.Remove
	}
	// Memory is given back from keyframe to keyframe: there have to be several in a window.
	enc, err := newBlockEncoder(min(keyframeEvery, opts.Window/8))
	if err != nil {
		return nil, err
	}
	f := &Flight{path: path, opts: opts, turn: newTurn(), enc: enc, session: newSession()}
	f.timer = time.AfterFunc(overdueAfter, f.overdue)
	f.timer.Stop()
	limit := opts.CloseTimeout
	if opts.Ring > 0 {
		limit += ringTimeout
	}
	err = within(limit, "create", path, func() error {
		f.take()
		defer f.give()
		if locks {
			var err error
			if f.lock, err = lockName(path); err != nil {
				return wrap("create", path, err)
			}
		}
		if opts.Ring > 0 {
			f.startRing()
		}
		f.files = newRotation(path, f.opts.TotalCap, opts.remove)
		if f.recovered != nil {
			if err := f.files.shrink(0, 1, &f.stats); err != nil {
				f.stats.failed(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// ringTimeout is how much longer a disk may take at the start to recover one ring and to make another.
const ringTimeout = time.Minute

// startRing recovers the ring of an earlier recorder and makes one for this. Where that cannot be, the last minutes are
// kept in memory.
func (f *Flight) startRing() {
	path := RingPath(f.path)
	size := f.opts.Ring / ringPage * ringPage
	if limit := f.opts.TotalCap; limit > 0 {
		size = min(size, limit/capShare/ringPage*ringPage)
	}
	if f.recovered = f.recoverRing(path, f.opts.TotalCap); f.recovered != nil && f.recovered.Err != nil {
		f.ringErr = fmt.Errorf("create %s: the file that is there is left as it is", path)
		return
	}
	switch {
	case size > MostRing || f.opts.Ring < LeastRing:
		f.ringErr = fmt.Errorf("create %s: a ring has %d to %d MiB", path, LeastRing>>20, MostRing>>20)
		return
	case size < LeastRing:
		f.ringErr = fmt.Errorf("create %s: the total cap is below %d MiB, which the smallest ring needs",
			path, LeastRing*capShare>>20)
		return
	}
	w := &ringWriter{
		path: path, size: size, open: f.opts.ring, remove: f.opts.remove,
		say: f.opts.Say, now: f.opts.now, byHand: f.opts.byHand,
		header: &recordpb.Header{
			FormatMajor: FormatMajor,
			FormatMinor: FormatMinor,
			Tool:        f.opts.Tool,
			Session:     f.session,
			Meta:        ringMeta(f.opts.BootID),
		},
	}
	if err := w.start(); err != nil {
		f.ringErr = wrap("create", path, err)
		return
	}
	f.ring = w
	if f.opts.TotalCap > 0 {
		f.opts.TotalCap -= size
	}
}

// Recovered returns what an earlier recorder has left behind, nil when it ended in order.
func (f *Flight) Recovered() *Recovered { return f.recovered }

// RingError returns why the last minutes are kept in memory although a ring was asked for, nil when they are not.
func (f *Flight) RingError() error { return f.ringErr }

// MemoryLimit is how many bytes of blocks are kept in memory at most.
func (f *Flight) MemoryLimit() int { return f.opts.MaxBytes }

// Suspect says that something may be wrong: for the next half minute the ring is synced with each block.
func (f *Flight) Suspect() {
	if f.ring == nil || !f.ring.suspect() {
		return
	}
	f.take()
	defer f.give()
	if !f.closed {
		f.flush()
	}
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
	if f.broken != nil {
		return f.broken
	}
	f.enc.batch(b)
	for i := range b.Events {
		e := &b.Events[i]
		if !f.enc.empty() && (e.Time.Sub(f.enc.start()) >= f.opts.Interval || f.enc.size() >= f.blockLimit()) {
			f.flush()
			f.enc.batch(b)
		}
		if f.written() && f.enc.empty() {
			f.timer.Reset(min(f.opts.Interval, overdueAfter))
		}
		f.enc.add(b, e)
	}
	return nil
}

// blockLimit is the encoded size at which a block ends.
func (f *Flight) blockLimit() int {
	limit := f.opts.blockLimit()
	if f.ring != nil {
		limit = min(limit, int(f.ring.size/blockShare))
	}
	return limit
}

// written says that blocks go to a disk at present.
func (f *Flight) written() bool { return f.out != nil || f.ring != nil }

// overdue writes a block that has waited for its end for long enough.
func (f *Flight) overdue() {
	f.take()
	defer f.give()
	err := guard.Do("the recorder", func() error {
		if !f.closed && f.written() {
			f.flush()
		}
		return nil
	})
	if err != nil {
		f.broken = err
		f.stats.failed(err)
	}
}

// flush ends the open block, keeps it, and writes it while there is a file.
func (f *Flight) flush() {
	if f.enc.empty() {
		return
	}
	block, err := f.enc.seal()
	if err != nil {
		f.stats.failed(err)
		f.stats.Lost += block.summary.Events
		f.enc.force = true
		return
	}
	block.frame = slices.Clone(block.frame)
	b := &keptBlock{sealed: block}
	f.keep(b)
	switch {
	case f.out != nil:
		f.put(b)
		f.endDue(b)
	case f.wanted:
		_ = f.begin() // in the stats; the next block tries it again
	}
}

// endDue ends the window when b is the last block of it.
func (f *Flight) endDue(b *keptBlock) {
	if f.out != nil && model.Time(b.summary.EndNs) >= f.until {
		f.end()
	}
}

// keep adds a block and gives back what is too old or too much, up to a keyframe.
func (f *Flight) keep(b *keptBlock) {
	size := len(b.frame)
	f.kept = append(f.kept, b)
	f.fresh += size
	if b.summary.Keyframe {
		f.fresh = size
		f.freshPages = 0
	}
	if f.ring != nil {
		if f.freshPages += pages(size); f.freshPages >= f.ring.size/ringKeyframes {
			f.enc.force = true
		}
		f.ring.add(b)
	} else {
		f.bytes += size
	}
	if limit := f.opts.TotalCap / (2 * capShare); limit > 0 && int64(f.fresh) >= limit {
		f.enc.force = true // a file begins with one
	}
	now := model.Time(b.summary.EndNs)
	for {
		// The next block that can stand first.
		next := slices.IndexFunc(f.kept[min(1, len(f.kept)):], func(b *keptBlock) bool { return b.summary.Keyframe }) + 1
		if next == 0 {
			f.enc.force = f.enc.force || f.inMemory() > f.opts.MaxBytes
			return
		}
		tooOld := now.Sub(model.Time(f.kept[next].summary.StartNs)) >= f.opts.Window
		if !tooOld && f.inMemory() <= f.opts.MaxBytes && (f.ring == nil || f.ring.has(f.kept[0])) {
			return
		}
		f.forget(next)
	}
}

// inMemory is the size of the blocks in memory.
func (f *Flight) inMemory() int {
	if f.ring != nil {
		return f.ring.inMemory()
	}
	return f.bytes
}

// frame returns the bytes of a block.
func (f *Flight) frame(b *keptBlock) ([]byte, error) {
	if f.ring != nil {
		return f.ring.frame(b)
	}
	return b.frame, nil
}

// forget gives back the oldest n blocks. What a window without a file still
// waits for is lost then.
func (f *Flight) forget(n int) {
	for _, b := range f.kept[:n] {
		if f.ring != nil {
			f.ring.drop(b)
		} else {
			f.bytes -= len(b.frame)
		}
		if f.wanted && f.inWindow(b) {
			f.stats.Lost += b.summary.Events
		}
	}
	f.kept = slices.Delete(f.kept, 0, n)
	f.wanted = f.wanted && slices.ContainsFunc(f.kept, f.inWindow)
}

// inWindow reports whether a block has a part of the window that was asked for.
func (f *Flight) inWindow(b *keptBlock) bool {
	return model.Time(b.summary.EndNs) >= f.from && model.Time(b.summary.StartNs) <= f.until
}

// Trigger asks for the window around time at, when something was found: what
// is kept from before-at on is written at once, what follows until
// Options.After past at. While a window is being written, it is made longer.
// before is at most Options.Window; 0 means all that is kept. Its error says why
// the window has no file yet: that is tried again until what was asked for is no
// longer kept, and counted as lost then.
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
	if f.out != nil {
		return nil // it was wanted before, and the disk has taken it now
	}
	from := model.Time(0)
	if before > 0 {
		from = at.Add(-before)
	}
	if !f.wanted || from < f.from {
		f.from = from
	}
	f.wanted = true
	return f.begin()
}

// begin begins the file of the window that was asked for and writes what is
// kept of it.
func (f *Flight) begin() error {
	first := 0
	for i, b := range f.kept {
		if b.summary.Keyframe && model.Time(b.summary.StartNs) <= f.from {
			first = i
		}
	}
	if err := f.open(); err != nil {
		return err
	}
	f.wanted = false
	for _, b := range f.kept[first:] {
		f.put(b)
		f.endDue(b)
		if f.out == nil {
			break
		}
	}
	return f.stats.Err
}

// open begins the next file.
func (f *Flight) open() error {
	path, out, err := f.files.create(f.number+1, f.opts.create)
	if err == nil {
		h := &recordpb.Header{
			FormatMajor: FormatMajor,
			FormatMinor: FormatMinor,
			Tool:        f.opts.Tool,
			Session:     f.session,
			File:        f.number,
			CreatedNs:   uint64(f.enc.state.Now),
			Meta:        headerMeta(f.enc.state),
		}
		if f.out, err = startFile(out, path, h, f.enc.zstd); err != nil {
			f.out = nil
			err = errors.Join(err, out.Close(), f.opts.remove(path))
		}
	}
	if err != nil {
		err = wrap("create", path, err)
		f.stats.failed(err)
		return err
	}
	f.number++
	f.stats.Path = path
	f.stats.Files++
	f.stats.Bytes += uint64(f.out.size)
	f.stats.Err = nil
	return nil
}

// put writes a block to the present file, or to the next when that has its
// share of the cap. One that cannot be written is counted here, and by readers,
// which see the gap in the blocks' numbers.
func (f *Flight) put(b *keptBlock) {
	frame, err := f.frame(b)
	if err != nil {
		f.stats.failed(wrap("read", f.ring.path, err))
		f.stats.Lost += b.summary.Events
		f.enc.force = true
		return
	}
	more := int64(len(frame))
	if share := f.opts.TotalCap / capShare; share > 0 {
		switch size := f.out.present() + more; {
		case f.out.blocks == 0:
		case size > share && b.summary.Keyframe, size > 2*share:
			f.endFile()
		case size+more > share:
			f.enc.force = true
		}
	}
	if f.out == nil && f.open() != nil {
		f.again(b)
		return
	}
	err = f.files.room(f.out.present(), more, &f.stats)
	if err == nil {
		err = f.out.block(sealed{frame, b.raw, b.summary})
	}
	if err != nil {
		f.enc.force = true
		f.stats.failed(wrap("write", f.stats.Path, err))
		if f.out.blocks == 0 {
			f.endFile()
			f.again(b)
			return
		}
		f.stats.Lost += b.summary.Events
		return
	}
	f.stats.Blocks++
	f.stats.Events += b.summary.Events
	f.stats.Bytes += uint64(len(frame))
	f.stats.Err = nil
}

// again asks for a new file for what is kept from b on, which has none now.
func (f *Flight) again(b *keptBlock) {
	f.wanted, f.from = true, model.Time(b.summary.StartNs)
	f.enc.force = true
}

// end ends the window.
func (f *Flight) end() {
	f.endFile()
	f.wanted = false
}

// endFile closes the present file, or removes it when nothing could be written to it.
func (f *Flight) endFile() {
	out := f.out
	f.out = nil
	before := out.size
	if out.blocks == 0 {
		if err := errors.Join(out.Close(), f.opts.remove(out.path)); err != nil {
			f.stats.failed(wrap("delete", out.path, err))
			return
		}
		f.number--
		f.stats.Files--
		f.stats.Bytes -= uint64(before)
		return
	}
	if err := out.finish(); err != nil {
		f.stats.failed(wrap("close", out.path, err))
	}
	f.stats.Bytes += uint64(out.size - before)
	f.files.add(out.done())
	if err := f.files.shrink(0, 1, &f.stats); err != nil {
		f.stats.failed(err)
	}
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
	f.timer.Stop()
	f.flush()
	if f.out != nil {
		f.end()
	}
	if f.wanted {
		f.forget(len(f.kept)) // the disk has not taken the window until now
	}
	f.kept = nil
	f.closeRing()
	f.lock.release()
	if f.stats.Lost > 0 && f.stats.Err == nil {
		return wrap("close", f.stats.Path, fmt.Errorf("%d events could not be written: %w", f.stats.Lost, f.stats.Fault))
	}
	return f.stats.Err
}

// closeRing removes the ring, unless it has what could not be written to a window: the next recorder makes a recording
// of it.
func (f *Flight) closeRing() {
	if f.ring == nil {
		return
	}
	keep := f.stats.Lost > 0 || f.stats.Err != nil
	err := f.ring.close(keep)
	if keep {
		f.opts.Say(fmt.Sprintf("the last minutes are in %s: the next start makes a recording of them", f.ring.path))
	} else {
		err = errors.Join(err, f.opts.remove(f.ring.path))
	}
	if err != nil {
		f.opts.Say(wrap("close", f.ring.path, err).Error())
	}
}

// Stats returns what was written so far, all windows together. Path is the last
// file. It does not wait for the disk.
func (f *Flight) Stats() Stats {
	f.mu.Lock()
	s := f.shown
	f.mu.Unlock()
	if f.ring != nil {
		s.Ring = f.ring.snapshot()
	}
	return s
}
