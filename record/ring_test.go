package record

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/record/recordpb"
)

const sector = 512

// powerDisk is a disk that keeps what is not synced apart: a loss of power leaves any part of it, in any order.
type powerDisk struct {
	mu sync.Mutex
	// durable is what survives, cache what is read back.
	durable, cache []byte
	// pending are the sectors written since the last sync, in the order of the writes.
	pending []sectorWrite
	syncs   int
	// block, when set, is waited for by Sync.
	block chan struct{}
	err   error
	gone  bool
}

type sectorWrite struct {
	offset int64
	data   []byte
}

func newPowerDisk(size int64) *powerDisk {
	return &powerDisk{durable: make([]byte, size), cache: make([]byte, size)}
}

func (d *powerDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.NewReader(d.cache).ReadAt(p, off)
}

func (d *powerDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off%sector != 0 || len(p)%sector != 0 {
		return 0, fmt.Errorf("a write of %d bytes at %d touches a part of a sector", len(p), off)
	}
	copy(d.cache[off:], p)
	for i := 0; i < len(p); i += sector {
		d.pending = append(d.pending, sectorWrite{off + int64(i), bytes.Clone(p[i : i+sector])})
	}
	return len(p), nil
}

// synced returns how many syncs have ended.
func (d *powerDisk) synced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

func (d *powerDisk) Sync() error {
	d.mu.Lock()
	block, n := d.block, len(d.pending)
	d.mu.Unlock()
	if block != nil {
		<-block
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	for _, w := range d.pending[:n] {
		copy(d.durable[w.offset:], w.data)
	}
	d.pending = d.pending[n:]
	d.syncs++
	return nil
}

func (d *powerDisk) Close() error  { return nil }
func (d *powerDisk) Removed() bool { return d.gone }

// after is what a loss of power leaves when the sectors are on disk that kept reports.
func (d *powerDisk) after(kept func(i int) bool) []byte {
	image := bytes.Clone(d.durable)
	for i, w := range d.pending {
		if kept(i) {
			copy(image[w.offset:], w.data)
		}
	}
	return image
}

// ringOf is a ring of blocks of random bytes on a disk.
type ringOf struct {
	*ringWriter
	disk   *powerDisk
	random *rand.Rand
	blocks map[uint64][]byte
	seq    uint64
	fresh  int64
}

func newRingOf(t testing.TB, pageCount int, seed uint64) *ringOf {
	t.Helper()
	size := int64(pageCount) * ringPage
	r := &ringOf{disk: newPowerDisk(size), random: rand.New(rand.NewPCG(seed, 1)), blocks: map[uint64][]byte{}}
	r.ringWriter = &ringWriter{
		path: "x.ring", size: size, byHand: true, remove: os.Remove, now: time.Now, say: func(string) {},
		open:   func(string, int64) (ringStorage, error) { return r.disk, nil },
		header: &recordpb.Header{FormatMajor: FormatMajor, Session: bytes.Repeat([]byte{7}, sessionSize)},
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// next writes the next block without syncing it, unless it has to be.
func (r *ringOf) next() {
	data := make([]byte, 1+r.random.IntN(int(r.size-ringPage)/slotShare-slotHeader))
	for i := range data {
		data[i] = byte(r.random.Uint32())
	}
	keyframe := r.seq == 0 || r.fresh >= r.size/ringKeyframes
	if r.fresh += pages(len(data)); keyframe {
		r.fresh = pages(len(data))
	}
	r.blocks[r.seq] = data
	b := &keptBlock{sealed: sealed{frame: data, summary: &recordpb.Summary{Seq: r.seq, Keyframe: keyframe}}}
	r.seq++
	r.queue = append(r.queue, b)
	for len(r.queue) > 0 {
		if !r.write() && len(r.queue) > 0 {
			r.sync()
		}
	}
}

// check opens what a loss of power has left. Everything that was synced and not given up for newer blocks is there.
func (r *ringOf) check(t *testing.T, image []byte, how string) (slots int) {
	t.Helper()
	c, err := readRing(bytes.NewReader(image), int64(len(image)))
	if err != nil || !c.known {
		t.Fatalf("%s: the ring does not open: %v", how, err)
	}
	there := map[uint64]bool{}
	for _, s := range c.slots {
		there[s.seq] = true
		data := image[s.offset+slotHeader:][:s.length]
		if !bytes.Equal(data, r.blocks[s.seq]) {
			t.Fatalf("%s: block %d is not what was written", how, s.seq)
		}
	}
	if r.ring.synced == 0 {
		return len(c.slots)
	}
	if len(c.slots) == 0 || !c.slots[0].keyframe {
		t.Fatalf("%s: nothing can be read of a ring that was synced", how)
	}
	started := false
	for _, s := range r.ring.held {
		if s.seq >= r.ring.synced {
			break
		}
		if started = started || s.keyframe; started && !there[s.seq] {
			t.Fatalf("%s: block %d was synced and is missing; there are %d to %d", how, s.seq, c.slots[0].seq,
				c.slots[len(c.slots)-1].seq)
		}
	}
	if !started {
		t.Fatalf("%s: no keyframe is synced", how)
	}
	return len(c.slots)
}

// However few of the sectors that were not synced are on disk, and whichever: the ring opens, at each moment of several
// laps, and nothing that was synced is missing.
func TestRingLosesPower(t *testing.T) {
	states := 0
	for seed := range uint64(3) {
		r := newRingOf(t, 33, seed)
		for range 40 {
			r.next()
			if r.random.IntN(3) == 0 {
				r.sync()
			}
			n := len(r.disk.pending)
			try := func(how string, kept func(i int) bool) {
				states++
				r.check(t, r.disk.after(kept), fmt.Sprintf("seed %d, block %d, %s", seed, r.seq, how))
			}
			try("all", func(int) bool { return true })
			try("none", func(int) bool { return false })
			for cut := 1; cut < n; cut += 1 + n/6 {
				try(fmt.Sprint("the first ", cut), func(i int) bool { return i < cut })
				try(fmt.Sprint("all but the first ", cut), func(i int) bool { return i >= cut })
				try(fmt.Sprint("all but ", cut), func(i int) bool { return i != cut })
				try(fmt.Sprint("only ", cut), func(i int) bool { return i == cut })
			}
			for range 6 {
				share := r.random.Float64()
				try("any", func(int) bool { return r.random.Float64() < share })
			}
		}
	}
	t.Logf("%d losses of power", states)
}

// A write that ends at any sector or at any byte of its beginning costs nothing that was synced, nor does a sector that
// was under way and is garbage.
func TestRingTornAtEachByte(t *testing.T) {
	r := newRingOf(t, 17, 9)
	for range 12 {
		r.next()
		r.sync()
	}
	r.next()
	var offset int64
	var data []byte
	for _, w := range r.disk.pending {
		if len(data) == 0 {
			offset = w.offset
		}
		data = append(data, w.data...)
	}
	image := bytes.Clone(r.disk.durable)
	torn := 0
	for cut := range data {
		image[offset+int64(cut)] = data[cut]
		if cut > 2*sector && (cut+2)%sector > 3 {
			continue
		}
		torn++
		r.check(t, image, fmt.Sprintf("%d of %d bytes", cut+1, len(data)))
	}
	for i, w := range r.disk.pending {
		image := r.disk.after(func(j int) bool { return j < i })
		copy(image[w.offset:], bytes.Repeat([]byte{0xff}, sector))
		torn++
		r.check(t, image, fmt.Sprintf("sector %d is garbage", i))
	}
	t.Logf("%d torn writes", torn)
}

// A sync that has failed may have thrown away what was written: it is written and synced again.
func TestRingSyncFails(t *testing.T) {
	r := newRingOf(t, 33, 3)
	r.next()
	r.sync()
	r.next()
	r.disk.err = errDiskFull
	if r.sync() || r.stats.Err == nil {
		t.Error("a failed sync is taken for one")
	}
	// The system has dropped the pages and takes them for clean.
	r.disk.pending = r.disk.pending[len(r.disk.pending)/2:]
	r.disk.err = nil
	if !r.sync() || r.stats.Err != nil || r.stats.Fault == nil {
		t.Errorf("%+v", r.stats)
	}
	if n := r.check(t, r.disk.after(func(int) bool { return false }), "after the second sync"); n != 2 {
		t.Errorf("%d blocks", n)
	}
}

// flightOn returns a flight recorder whose ring is on disk.
func flightOn(t *testing.T, path string, disk *powerDisk, o FlightOptions) *Flight {
	t.Helper()
	o.ring = func(string, int64) (ringStorage, error) { return disk, nil }
	o.Ring = int64(len(disk.durable))
	f, err := NewFlight(path, o)
	if err != nil || f.RingError() != nil {
		t.Fatal(err, f.RingError())
	}
	return f
}

// The ring is synced seldom while nothing is wrong and with each block while something may be: what is older than 1.2 s
// survives then. A disk that blocks delays nobody.
func TestRingIsSyncedInTime(t *testing.T) {
	dir := testutil.TempDir(t)
	synctest.Test(t, func(t *testing.T) {
		disk := newPowerDisk(LeastRing)
		f := flightOn(t, filepath.Join(dir, "fault.lostbeat"), disk, FlightOptions{})
		g := newTrace(1000)
		g.now, g.second = model.Time(time.Now().UnixNano()), model.Time(time.Now().UnixNano())
		worst := time.Duration(0)
		run := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(100 * time.Millisecond)
				if err := f.Write(g.batch(100)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if s := f.Stats().Ring; !s.Oldest.IsZero() {
					worst = max(worst, time.Since(s.Oldest))
				}
			}
		}
		run(100 * time.Second)
		// One for the header, one for the first block, three in 100 s.
		if n := disk.synced(); n < 4 || n > 6 || worst < 20*time.Second {
			t.Errorf("%d syncs in 100 s while nothing is wrong, the oldest waited %v", n, worst)
		}
		f.Suspect()
		synctest.Wait()
		if s := f.Stats().Ring; !s.Often {
			t.Errorf("after a suspicion: %+v", s)
		}
		run(time.Second)
		worst = 0
		before := disk.synced()
		run(20 * time.Second)
		if n := disk.synced() - before; n < 19 || n > 45 || worst > 700*time.Millisecond {
			t.Errorf("%d syncs in 20 s under suspicion, the oldest block waited %v", n, worst)
		}
		run(time.Minute)
		if s := f.Stats().Ring; s.Often || s.Lost > 0 || s.Fault != nil {
			t.Errorf("a minute after the suspicion: %+v", s)
		}

		// The disk does not respond for 20 s: nobody waits, and nothing is lost.
		f.Suspect()
		disk.mu.Lock()
		disk.block = make(chan struct{})
		disk.mu.Unlock()
		run(20 * time.Second)
		if s := f.Stats().Ring; time.Since(s.Oldest) < 19*time.Second {
			t.Errorf("while the disk blocks: %+v", s)
		}
		close(disk.block)
		synctest.Wait()
		disk.mu.Lock()
		disk.block = nil
		disk.mu.Unlock()
		run(2 * time.Second)
		s := f.Stats().Ring
		if s.Lost > 0 || !s.Oldest.IsZero() && time.Since(s.Oldest) > time.Second || s.SyncLongest < 19*time.Second {
			t.Errorf("after it: %+v", s)
		}
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// The windows of a recorder with a ring are those of one that keeps everything in memory.
func TestWindowsFromTheRing(t *testing.T) {
	windows := func(ring int64) (text string) {
		path := filepath.Join(testutil.TempDir(t), "fault.lostbeat")
		f, err := NewFlight(path, FlightOptions{
			Ring: ring, Window: 10 * time.Second, After: 2 * time.Second,
			Options: Options{session: bytes.Repeat([]byte{1}, sessionSize)},
		})
		if err != nil || f.RingError() != nil {
			t.Fatal(err, f.RingError())
		}
		g := newTrace(1000)
		for i := range 200 {
			if err := f.Write(g.batch(200)); err != nil {
				t.Fatal(err)
			}
			if i%60 == 59 {
				if err := f.Trigger(g.now, 5*time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		if f.ring != nil {
			eventually(t, func() bool { return f.ring.inMemory() == 0 })
			r := open(t, RingPath(path))
			if len(r.Stat().Kinds) == 0 {
				t.Error("the ring is empty while it is written")
			}
			if err := r.Close(); err != nil { // Windows removes no file that is open
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(RingPath(path)); err == nil {
			t.Error("the ring is there after a close without a loss")
		}
		return holds(t, open(t, path), 0)
	}
	if a, b := windows(0), windows(LeastRing); a != b || a == "" {
		compare(t, a, b)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not happened within 10 s")
		}
	}
}

// crashed returns the path of a recorder that was killed in a boot of the host, with a finding open, and how many
// events it had been given.
func crashed(t *testing.T, boot string, cap int64) (path string, events uint64) {
	t.Helper()
	path = filepath.Join(testutil.TempDir(t), "fault.lostbeat")
	f, err := NewFlight(path, FlightOptions{Ring: LeastRing, BootID: boot, byHand: true, Options: Options{TotalCap: cap}})
	if err != nil || f.RingError() != nil {
		t.Fatal(err, f.RingError())
	}
	g := newTrace(300)
	for i := range 40 {
		b := g.batch(100)
		var add model.Builder
		switch i {
		case 10, 20:
			add.AddFinding(g.now, model.Finding{
				ID: "ended", Title: "a fault that has ended", Severity: model.SeverityCritical, Start: g.now, Ongoing: i == 10,
			})
		case 30:
			for _, v := range []model.Finding{
				{ID: "warn", Title: "a queue overflows", Severity: model.SeverityWarning},
				{ID: "crit", Title: "a heartbeat is lost", Severity: model.SeverityCritical},
				{ID: "note", Title: "a note", Severity: model.SeverityInfo},
			} {
				v.Start, v.Ongoing = g.now, true
				add.AddFinding(g.now, v)
			}
		}
		batches := []*model.Batch{b}
		if add.Len() > 0 {
			batches = append(batches, add.Take())
		}
		for _, b := range batches {
			events += uint64(len(b.Events))
			if err := f.Write(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.take()
	f.flush()
	f.give()
	f.ring.sync()
	f.timer.Stop()
	f.lock.release() // as the system does
	f.ring.ring.storage.Close()
	return path, events
}

// What a recorder leaves behind that was killed becomes a recording at the next start.
func TestRecover(t *testing.T) {
	for _, c := range []struct {
		name, before, now string
		want              Ending
	}{
		{"host", "boot-1", "boot-2", EndHost},
		{"process", "boot-1", "boot-1", EndProcess},
		{"unknown", "", "boot-1", EndUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, events := crashed(t, c.before, 0)
			f, err := NewFlight(path, FlightOptions{Ring: LeastRing, BootID: c.now})
			if err != nil || f.RingError() != nil {
				t.Fatal(err, f.RingError())
			}
			r := f.Recovered()
			if r == nil || r.Err != nil || r.Ended != c.want || r.Events != events || r.Missing > 0 || r.Damage != nil {
				t.Fatalf("%+v, %d events", r, events)
			}
			if got := strings.Join(r.Open, "; "); got != "a heartbeat is lost; a queue overflows" {
				t.Errorf("open were %q", got)
			}
			info := stat(t, r.Path)
			if !info.Closed || info.Meta["ended"] != c.want.String() || info.End != r.End || info.Events != events {
				t.Errorf("%+v", info)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			if err != nil || len(left) != 1 || left[0] != r.Path {
				t.Errorf("left behind: %q", left)
			}
			again, err := NewFlight(path, FlightOptions{Ring: LeastRing})
			if err != nil || again.Recovered() != nil {
				t.Errorf("%v: after an end in order, %+v is recovered", err, again.Recovered())
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A ring that is damaged gives what can be read, and says what is missing.
func TestRecoverDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(data []byte)
		says   func(r *Recovered) bool
	}{
		{"header", func(data []byte) { clear(data[:100]) }, func(r *Recovered) bool {
			return len(r.Damage) == 1 && r.Ended == EndUnknown && r.Events > 4000
		}},
		{"a block", func(data []byte) { data[10*ringPage+500] ^= 1 }, func(r *Recovered) bool { return r.Missing >= 1 }},
		{"the first half", func(data []byte) { clear(data[ringPage : 12*ringPage]) }, func(r *Recovered) bool {
			return r.Events > 0 && r.Events < 4000
		}},
		{"all blocks", func(data []byte) { clear(data[ringPage:]) }, func(r *Recovered) bool {
			return r.Err == nil && r.Path == "" && r.Ended == EndHost && r.Events == 0
		}},
		{"all of it", func(data []byte) { copy(data, bytes.Repeat([]byte("other"), len(data)/5)) }, func(r *Recovered) bool {
			return errors.Is(r.Err, errNotRing) && r.Path == ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := crashed(t, "boot-1", 0)
			data, err := os.ReadFile(RingPath(path))
			if err != nil {
				t.Fatal(err)
			}
			c.damage(data)
			if err := os.WriteFile(RingPath(path), data, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := NewFlight(path, FlightOptions{Ring: LeastRing, BootID: "boot-2"})
			if err != nil {
				t.Fatal(err)
			}
			if r := f.Recovered(); r == nil || !c.says(r) {
				t.Errorf("%+v", r)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(RingPath(path)); (err == nil) != (f.Recovered().Err != nil) {
				t.Errorf("the ring afterwards: %v", err)
			}
		})
	}
}

// A disk that has no room for what was found leaves the ring as it is.
func TestRecoverToAFullDisk(t *testing.T) {
	path, events := crashed(t, "boot-1", 0)
	refused := FlightOptions{Ring: LeastRing, BootID: "boot-2"}
	refused.remove = func(string) error { return &os.PathError{Op: "remove", Path: path, Err: errDiskFull} }
	f, err := NewFlight(path, refused)
	if err != nil {
		t.Fatal(err)
	}
	if r := f.Recovered(); r == nil || r.Err == nil || f.RingError() == nil {
		t.Errorf("%+v, %v", r, f.RingError())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if info := stat(t, RingPath(path)); info.Events != events {
		t.Errorf("the ring has %d of %d events", info.Events, events)
	}
}

// A ring counts to the total cap, and what is made of it as well.
func TestRingAndTotalCap(t *testing.T) {
	const limit = 6 << 20
	path, _ := crashed(t, "boot-1", limit)
	f, err := NewFlight(path, FlightOptions{Ring: 32 << 20, Options: Options{TotalCap: limit}})
	if err != nil || f.RingError() != nil {
		t.Fatal(err, f.RingError())
	}
	d := &faultyDisk{dir: filepath.Dir(path)}
	if sum, _ := d.size(t); sum > limit || f.ring.size > limit/4 {
		t.Errorf("%d bytes, a ring of %d, cap %d", sum, f.ring.size, limit)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	small, err := NewFlight(path, FlightOptions{Ring: LeastRing, Options: Options{TotalCap: LeastRing}})
	if err != nil || small.RingError() == nil {
		t.Errorf("a cap without room for a ring: %v, %v", err, small.RingError())
	}
	if err := small.Close(); err != nil {
		t.Error(err)
	}
}

// A ring that is removed while it is written is there again, with what it held.
func TestRingIsRemoved(t *testing.T) {
	path := filepath.Join(testutil.TempDir(t), "fault.lostbeat")
	var said []string
	f, err := NewFlight(path, FlightOptions{
		Ring: LeastRing, byHand: true, Say: func(line string) { said = append(said, line) },
	})
	if err != nil || f.RingError() != nil {
		t.Fatal(err, f.RingError())
	}
	g := newTrace(300)
	write := func() {
		for range 10 {
			if err := f.Write(g.batch(100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	if err := os.Remove(RingPath(path)); err != nil {
		testutil.Unavailable(t, "an open file cannot be removed here: %v", err)
	}
	f.ring.sync()
	write()
	f.ring.sync()
	info := stat(t, RingPath(path))
	if info.Events < 1500 || len(said) != 1 || !strings.Contains(said[0], "was removed") {
		t.Errorf("%d events, said %q", info.Events, said)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzRing opens any bytes as a ring, and plays what it finds.
func FuzzRing(f *testing.F) {
	fuzztest.Quick(f)
	r := newRingOf(f, 9, 5)
	for range 6 {
		r.next()
	}
	f.Add(bytes.Clone(r.disk.cache))
	g := newTrace(300)
	path := filepath.Join(testutil.TempDir(f), "fault.lostbeat")
	flight, err := NewFlight(path, FlightOptions{Ring: LeastRing, byHand: true})
	if err != nil {
		f.Fatal(err)
	}
	for range 4 {
		if err := flight.Write(g.batch(100)); err != nil {
			f.Fatal(err)
		}
	}
	if whole, err := os.ReadFile(RingPath(path)); err == nil {
		f.Add(whole[:16*ringPage])
		f.Add(whole[:3*ringPage+100])
	}
	if err := flight.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := newUnpacker()
		if err != nil {
			t.Fatal(err)
		}
		defer u.close()
		in, err := newRingInput("x.ring", bytes.NewReader(data), int64(len(data)), u)
		if err != nil {
			return
		}
		p := newPass(func(*model.Batch) error { return nil })
		if err := p.file(t.Context(), in, 0); err != nil {
			t.Error(err)
		}
		in.openFindings()
		for i := range in.blocks {
			_, _ = in.sealed(i)
		}
	})
}
