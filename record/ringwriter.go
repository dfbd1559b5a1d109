package record

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/record/recordpb"
)

// Times of a ring writer.
const (
	// syncSeldom is how often a ring is synced while nothing is wrong, syncOften the least time between two syncs while
	// something is: it is then synced with each block, about twice a second.
	syncSeldom = 30 * time.Second
	syncOften  = 400 * time.Millisecond
	// suspicionLasts is how long a ring is synced often after the last sign that something is wrong.
	suspicionLasts = 30 * time.Second
	// retryRing is when a disk that refuses a block is tried again.
	retryRing = time.Second
	// slowSync is how long a sync may take before it is reported.
	slowSync = 2 * time.Second
)

// RingStats is what has become of the ring file of a flight recorder. The zero RingStats is that of one without.
type RingStats struct {
	// Path is the file, Size its length in bytes; Path is empty where the last minutes are kept in memory.
	Path string
	Size int64
	// Syncs is the number of syncs, SyncTime how long they took together, SyncLongest the longest.
	Syncs                 int
	SyncTime, SyncLongest time.Duration
	// Often says that the ring is synced with each block at present.
	Often bool
	// Unsynced is how many bytes are written and not synced, Waiting how many are not written yet; Oldest is since when
	// the oldest of them waits, zero when there is none.
	Unsynced, Waiting int64
	Oldest            time.Time
	// Lost is the number of events that the ring has never held.
	Lost uint64
	// Err is why the disk does not take the ring now, Fault the last such failure.
	Err, Fault error
}

// keptBlock is a block of the last minutes.
type keptBlock struct {
	sealed
	// since is when it was handed over, for the age of what is not synced.
	since time.Time
}

// ringWriter writes blocks to a ring file and syncs it, in goroutines of its own: a disk that blocks delays nobody.
// Blocks that the ring does not have yet stay in memory.
type ringWriter struct {
	path string
	size int64
	open func(path string, size int64) (ringStorage, error)
	// remove deletes a file that could not be made a ring.
	remove func(path string) error
	say    func(line string)
	now    func() time.Time
	// byHand is for tests, which call step themselves.
	byHand bool

	// storage is held for reading while it is used, for writing while it is replaced.
	storage sync.RWMutex

	mu     sync.Mutex
	ring   *ring
	header *recordpb.Header
	// queue are the blocks that the ring does not have yet; one without a frame is not waited for any more. memory is the
	// size of all frames in memory.
	queue  []*keptBlock
	memory int
	// unsynced are the times of blocks in the ring that are not synced.
	unsynced []unsyncedBlock
	// often is until when the ring is synced with each block, lastSync when the last sync began; urgent asks for one at
	// once, removed for another file.
	often, lastSync time.Time
	urgent, removed bool
	slow, closed    bool
	stats           RingStats

	wakeWriter, wakeSyncer chan struct{}
	running                guard.Background
}

// unsyncedBlock is a block in the ring that is not synced, and since when it waits.
type unsyncedBlock struct {
	seq   uint64
	since time.Time
}

// start creates the ring file and begins to write to it.
func (w *ringWriter) start() error {
	s, err := w.open(w.path, w.size)
	if err != nil {
		return err
	}
	if w.ring, err = startRing(s, w.size, w.header); err != nil {
		return errors.Join(err, s.Close(), w.remove(w.path))
	}
	w.stats.Path, w.stats.Size = w.path, w.size
	w.wakeWriter, w.wakeSyncer = make(chan struct{}, 1), make(chan struct{}, 1)
	if !w.byHand {
		w.running.Go("the ring's writer", w.runWriter)
		w.running.Go("the ring's syncer", w.runSyncer)
	}
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add hands over a block.
func (w *ringWriter) add(b *keptBlock) {
	w.running.Rethrow()
	w.mu.Lock()
	b.since = w.now()
	w.queue = append(w.queue, b)
	w.memory += len(b.frame)
	wake(w.wakeWriter)
	w.mu.Unlock()
	if w.byHand {
		w.step()
	}
}

// step does what the goroutines would do now.
func (w *ringWriter) step() {
	for w.write() {
	}
	w.mu.Lock()
	due := w.due() <= 0
	w.mu.Unlock()
	if due && w.sync() {
		for w.write() {
		}
	}
}

// drop says that nobody waits for a block any more.
func (w *ringWriter) drop(b *keptBlock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.frame == nil {
		return
	}
	w.memory -= len(b.frame)
	b.frame = nil
	w.stats.Lost += b.summary.Events
}

// inMemory is the size of the blocks in memory.
func (w *ringWriter) inMemory() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.memory
}

// has says whether a block is in memory or in the ring.
func (w *ringWriter) has(b *keptBlock) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.frame != nil {
		return true
	}
	return b.summary.Seq >= w.ring.oldest()
}

// frame returns the bytes of a block, from memory or from the ring.
func (w *ringWriter) frame(b *keptBlock) ([]byte, error) {
	w.storage.RLock()
	defer w.storage.RUnlock()
	w.mu.Lock()
	frame, s, session := b.frame, w.ring.storage, w.ring.session
	at, ok := w.ring.find(b.summary.Seq)
	w.mu.Unlock()
	switch {
	case frame != nil:
		return frame, nil
	case !ok:
		return nil, fmt.Errorf("block %d is no longer in %s", b.summary.Seq, w.path)
	}
	return readSlot(s, session, at)
}

// suspect has the ring synced with each block from now on, as long as something may be wrong. It returns whether it was
// not before.
func (w *ringWriter) suspect() (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	first = !now.Before(w.often)
	w.urgent = w.urgent || first
	w.often = now.Add(suspicionLasts)
	if first {
		wake(w.wakeSyncer)
	}
	return first
}

// runWriter writes blocks until the writer is closed.
func (w *ringWriter) runWriter() {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		for w.write() {
		}
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return
		}
		retry.Reset(retryRing)
		select {
		case <-w.wakeWriter:
		case <-retry.C:
		}
	}
}

// write writes the next block; false says that there is none, or that it has to wait.
func (w *ringWriter) write() bool {
	w.mu.Lock()
	if w.removed {
		w.mu.Unlock()
		return w.replace()
	}
	for len(w.queue) > 0 && w.queue[0].frame == nil {
		w.queue = w.queue[1:]
	}
	if len(w.queue) == 0 {
		w.queue = nil
		w.mu.Unlock()
		return false
	}
	b := w.queue[0]
	data, to, err := w.ring.place(b, w.now().Before(w.often))
	s := w.ring.storage
	w.mu.Unlock()
	if err == nil {
		err = writeAll(s, data, to.offset)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, errRingUnsynced):
		w.urgent = true
		wake(w.wakeSyncer)
		return false
	case errors.Is(err, errRingSlot):
		w.queue = w.queue[1:] // it stays in memory
		return true
	case err != nil:
		w.failed("write", err)
		return false
	}
	w.works()
	w.ring.took(to)
	w.queue = w.queue[1:]
	w.memory -= len(b.frame)
	b.frame = nil
	w.unsynced = append(w.unsynced, unsyncedBlock{to.seq, b.since})
	wake(w.wakeSyncer)
	return true
}

// failed notes a failure of the disk. It is said once, until the disk works again.
func (w *ringWriter) failed(op string, err error) {
	err = wrap(op, w.path, err)
	if w.stats.Err == nil {
		w.say(fmt.Sprintf("%v: what is not in the ring stays in memory, and is lost if this process or the host ends", err))
	}
	w.stats.Err, w.stats.Fault = err, err
}

// works notes that the disk does what it is asked for.
func (w *ringWriter) works() {
	if w.stats.Err != nil {
		w.stats.Err = nil
		w.say(fmt.Sprintf("%s is written again", w.path))
	}
}

// runSyncer syncs the ring when it is due, until the writer is closed.
func (w *ringWriter) runSyncer() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.mu.Lock()
		due := w.due()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return
		}
		if due <= 0 {
			if w.sync() {
				continue
			}
			due = retryRing
		}
		timer.Reset(due)
		select {
		case <-w.wakeSyncer:
		case <-timer.C:
		}
	}
}

// due is in how long the ring is to be synced.
func (w *ringWriter) due() time.Duration {
	if len(w.unsynced) == 0 {
		w.urgent = false
		return time.Hour
	}
	now := w.now()
	every := syncSeldom
	switch {
	case w.urgent || w.ring.synced == 0:
		return 0
	case now.Before(w.often):
		every = syncOften
	}
	return every - now.Sub(w.lastSync)
}

// sync syncs what has been written; false says that the disk has refused it.
func (w *ringWriter) sync() bool {
	w.storage.RLock()
	defer w.storage.RUnlock()
	w.mu.Lock()
	s, written, unsynced := w.ring.storage, w.ring.written, w.ring.unsynced
	began := w.now()
	w.lastSync, w.urgent = began, false
	w.mu.Unlock()
	err := s.Sync()
	took := w.now().Sub(began)
	removed := s.Removed()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed = w.removed || removed
	if removed {
		wake(w.wakeWriter)
	}
	w.stats.Syncs++
	w.stats.SyncTime += took
	w.stats.SyncLongest = max(w.stats.SyncLongest, took)
	if err != nil {
		w.failed("sync", err)
		w.again(s)
		return false
	}
	w.works()
	if w.slow = took >= slowSync && !w.slow; w.slow {
		w.say(fmt.Sprintf("%s: the disk took %.1f s to sync it: what was newer would have been lost with the host",
			w.path, took.Seconds()))
	}
	w.ring.wasSynced(written, unsynced)
	for len(w.unsynced) > 0 && w.unsynced[0].seq < written {
		w.unsynced = w.unsynced[1:]
	}
	wake(w.wakeWriter) // it may wait for this
	return true
}

// again writes what is not synced once more: after a sync that has failed, the system may take it for written.
func (w *ringWriter) again(s ringStorage) {
	first, session := w.ring.synced, w.ring.session
	var slots []slot
	for _, at := range w.ring.held {
		if at.seq >= first {
			slots = append(slots, at)
		}
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	for _, at := range slots {
		if _, err := readSlot(s, session, at); err != nil {
			continue // the reader will find that it is damaged
		}
		page := make([]byte, at.end()-at.offset)
		if n, _ := s.ReadAt(page, at.offset); n == len(page) {
			_ = writeAll(s, page, at.offset) // the next sync says whether it is there
		}
	}
}

// replace makes a file in the place of one that was removed, with what that holds. false says that it has to be tried
// again.
func (w *ringWriter) replace() bool {
	old := w.ring.storage
	s, err := w.open(w.path, w.size)
	if err == nil {
		// The header last: without it, the slots are still found.
		err = errors.Join(copyRing(s, old, ringPage, w.size), s.Sync())
		if err == nil {
			err = errors.Join(copyRing(s, old, 0, ringPage), s.Sync())
		}
		if err != nil {
			err = errors.Join(err, s.Close(), w.remove(w.path))
		}
	}
	if err != nil {
		w.mu.Lock()
		w.failed("replace", err)
		w.mu.Unlock()
		return false
	}
	w.storage.Lock()
	w.mu.Lock()
	w.ring.storage, w.removed = s, false
	w.works()
	w.say(fmt.Sprintf("%s was removed while it was written: it is there again, with what it held", w.path))
	w.mu.Unlock()
	w.storage.Unlock()
	old.Close()
	return true
}

// copyRing copies the bytes from one place of a ring to another.
func copyRing(to io.WriterAt, from io.ReaderAt, start, end int64) error {
	buf := make([]byte, 256<<10)
	for at := start; at < end; at += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), end-at)]
		if n, err := from.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("read %d bytes at %d: %w", len(part), at, err)
		}
		if err := writeAll(to, part, at); err != nil {
			return err
		}
	}
	return nil
}

// snapshot returns the stats as they are now.
func (w *ringWriter) snapshot() RingStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Often = w.now().Before(w.often)
	s.Unsynced, s.Waiting = w.ring.unsynced, 0
	for _, b := range w.queue {
		s.Waiting += int64(len(b.frame))
	}
	switch {
	case len(w.unsynced) > 0:
		s.Oldest = w.unsynced[0].since
	case s.Waiting > 0:
		s.Oldest = w.queue[0].since
	}
	return s
}

// close ends the writer. keep says that all of it is to be in the ring, as far as the disk takes it.
func (w *ringWriter) close(keep bool) error {
	w.mu.Lock()
	w.closed = true
	wake(w.wakeWriter)
	wake(w.wakeSyncer)
	w.mu.Unlock()
	w.running.Wait()
	if keep {
		for w.write() {
		}
		w.sync()
	}
	return w.ring.storage.Close()
}
