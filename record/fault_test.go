package record

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// A fault is what a call of the disk does instead of its work.
type fault struct {
	name string
	// err is returned, part says that half of a write is done before.
	err  error
	part bool
	// calls is how many calls in a row fail, 0 all from the first on.
	calls int
	// harmless says that nothing may be lost for it.
	harmless bool
}

var faults = []fault{
	{name: "disk full", err: errDiskFull, calls: 1},
	{name: "EIO", err: syscall.EIO, calls: 1},
	{name: "EACCES", err: syscall.EACCES, calls: 1},
	{name: "torn by a full disk", err: errDiskFull, part: true, calls: 1},
	{name: "torn, and not truncated", err: syscall.EIO, part: true, calls: 2},
	{name: "full for a while", err: errDiskFull, part: true, calls: 7},
	{name: "full from then on", err: errDiskFull, part: true},
	{name: "dead from then on", err: syscall.EIO},
	{name: "short write", err: io.ErrShortWrite, part: true, calls: 1, harmless: true},
	{name: "short write without an error", part: true, calls: 1, harmless: true},
	{name: "EINTR", err: syscall.EINTR, calls: 1, harmless: true},
	{name: "slow", calls: 1, harmless: true},
}

// faultyDisk is a directory one call of which fails, or several in a row.
type faultyDisk struct {
	fault
	dir string
	// at is the number of the first call that fails, 0 for none; calls have been made.
	at, calls int
	struck    bool
}

// strikes counts a call and says whether it fails.
func (d *faultyDisk) strikes() bool {
	d.calls++
	now := d.at > 0 && d.calls >= d.at && (d.fault.calls == 0 || d.calls < d.at+d.fault.calls)
	d.struck = d.struck || now && d.fault.err != nil && !d.harmless
	return now
}

func (d *faultyDisk) options(o Options) Options {
	o.create = func(path string) (storage, error) {
		if d.strikes() && !d.harmless {
			return nil, &os.PathError{Op: "open", Path: path, Err: d.err}
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return &faultyFile{f, d}, err
	}
	o.remove = func(path string) error {
		if d.strikes() && !d.harmless {
			return &os.PathError{Op: "remove", Path: path, Err: d.err}
		}
		return os.Remove(path)
	}
	return o
}

// ring returns what makes a ring on the disk.
func (d *faultyDisk) ring(path string, _ int64) (ringStorage, error) {
	if d.strikes() && !d.harmless {
		return nil, &os.PathError{Op: "open", Path: path, Err: d.err}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return &faultyRing{faultyFile{f, d}, path}, err
}

// faultyRing is a ring on a faulty disk.
type faultyRing struct {
	faultyFile
	path string
}

func (f *faultyRing) Sync() error {
	if f.d.strikes() && !f.d.harmless {
		return f.d.err
	}
	return nil
}

func (f *faultyRing) Removed() bool {
	_, err := os.Lstat(f.path)
	return err != nil
}

type faultyFile struct {
	*os.File
	d *faultyDisk
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	switch {
	case !f.d.strikes():
	case f.d.part:
		n, err := f.File.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(f.d.err, err)
	case f.d.err != nil:
		return 0, f.d.err
	default:
		time.Sleep(2 * time.Millisecond)
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if f.d.strikes() && !f.d.harmless {
		return f.d.err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Close() error {
	err := f.File.Close()
	if f.d.strikes() && !f.d.harmless {
		return f.d.err
	}
	return err
}

// size is the sum of the files.
func (d *faultyDisk) size(t *testing.T) (sum int64, empty []string) {
	t.Helper()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
		if info.Size() == 0 {
			empty = append(empty, e.Name())
		}
	}
	return sum, empty
}

// writing is one way to write recordings.
type writing struct {
	name string
	opts Options
	// flight says that it is done by a flight recorder, ring that it keeps the last minutes on the disk.
	flight, ring bool
}

var writings = []writing{
	{name: "plain"},
	{name: "rotated by size", opts: Options{RotateSize: 30_000}},
	{name: "rotated by time", opts: Options{RotateEvery: 2 * time.Second}},
	{name: "total cap", opts: Options{TotalCap: 100_000}},
	{name: "flight", flight: true},
	{name: "flight, total cap", opts: Options{TotalCap: 100_000}, flight: true},
	{name: "flight, ring", flight: true, ring: true},
}

// outcome is what has become of a recording.
type outcome struct {
	Stats
	written uint64
	// asked is the number of events in the window that a flight recorder was asked for.
	asked   uint64
	created bool
	closed  error
}

// run writes ten seconds to the disk.
func (w *writing) run(t *testing.T, d *faultyDisk, trace []*model.Batch) (o outcome) {
	path := filepath.Join(d.dir, "rec.lostbeat")
	opts := d.options(w.opts)
	var to interface {
		Write(b *model.Batch) error
		Close() error
		Stats() Stats
	}
	var flight *Flight
	var err error
	if w.flight {
		o := FlightOptions{Options: opts, Window: 4 * time.Second, After: time.Second}
		if w.ring {
			o.Ring, o.ring, o.byHand = LeastRing, d.ring, true
		}
		flight, err = NewFlight(path, o)
		to = flight
	} else {
		to, err = Create(path, opts)
	}
	if err != nil {
		o.closed = err
		return o
	}
	o.created = true
	first, last := model.Time(0), model.Time(0)
	for i, b := range trace {
		if err := to.Write(b); err != nil {
			t.Fatalf("Write: %v", err)
		}
		o.written += uint64(len(b.Events))
		if w.flight && i >= len(trace)/3 && i < 2*len(trace)/3 {
			last = b.Events[len(b.Events)-1].Time
			_ = flight.Trigger(last, time.Second) // in the stats
			if first == 0 {
				first = last
			}
		}
		if sum, _ := d.size(t); w.opts.TotalCap > 0 && sum > w.opts.TotalCap && !torn(d) {
			t.Fatalf("%d bytes on disk, cap %d", sum, w.opts.TotalCap)
		}
	}
	for _, b := range trace {
		for i := range b.Events {
			if at := b.Events[i].Time; at >= first.Add(-time.Second) && at <= last.Add(time.Second) {
				o.asked++
			}
		}
	}
	o.closed = to.Close()
	o.Stats = to.Stats()
	return o
}

// torn says that a write may have left a part behind that could not be cut off.
func torn(d *faultyDisk) bool { return d.struck && d.part && d.fault.calls != 1 }

// onDisk reads what is on disk: the events that were recorded, the loss events
// of the recorder among them, and what those and the reader say is missing.
func onDisk(t *testing.T, d *faultyDisk) (events, reports, reported uint64, notes []string) {
	t.Helper()
	files, err := newRotation(filepath.Join(d.dir, "rec.lostbeat"), 0, os.Remove).list()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.path)
	}
	if len(paths) == 0 {
		paths = []string{filepath.Join(d.dir, "rec.lostbeat")}
		if _, err := os.Stat(paths[0]); err != nil {
			return 0, 0, 0, nil
		}
	}
	r, err := OpenFiles(paths...)
	if errors.Is(err, ErrEmpty) || errors.Is(err, ErrNotRecording) {
		return 0, 0, 0, []string{err.Error()}
	}
	if err != nil {
		t.Fatalf("what is on disk does not open: %v", err)
	}
	defer r.Close()
	err = r.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			loss, ok := b.Loss(e)
			switch {
			case e.Flags&model.FlagKeyframe != 0:
			case ok && loss.Origin == model.OriginFile:
				notes = append(notes, loss.Detail)
			case ok && loss.Origin == originRecorder:
				reports++
				reported += loss.Lost
				events++
			default:
				events++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("what is on disk cannot be read: %v", err)
	}
	return events, reports, reported, append(notes, r.Notes()...)
}

// TestFaultSweep lets each single call of the disk fail in turn, in every way,
// in every way of writing. Whatever fails, nothing is lost without a word: what
// is on disk opens, it and what the recorder says add up to what was written,
// and the cap is kept. With -short it is every tenth case.
func TestFaultSweep(t *testing.T) {
	g := newTrace(300)
	var trace []*model.Batch
	for end := g.now.Add(10 * time.Second); g.now < end; {
		trace = append(trace, g.batch(75))
	}
	for _, w := range writings {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			clean := &faultyDisk{dir: testutil.TempDir(t)}
			want := w.run(t, clean, trace)
			events, _, _, notes := onDisk(t, clean)
			if want.closed != nil || want.Fault != nil || want.Lost > 0 || events != want.Events {
				t.Fatalf("without a fault: %+v, %d events on disk, notes %q", want, events, notes)
			}
			if len(notes) > 0 && want.Deleted == 0 {
				t.Errorf("without a fault: %q", notes)
			}
			cases := 0
			for at := 1; at <= clean.calls; at++ {
				for _, f := range faults {
					if cases++; testing.Short() && cases%10 != 0 {
						continue
					}
					d := &faultyDisk{fault: f, dir: testutil.TempDir(t), at: at}
					if !t.Run(fmt.Sprintf("%s at call %d", f.name, at), func(t *testing.T) { w.check(t, d, trace, want) }) &&
						testing.Short() {
						return
					}
				}
			}
			t.Logf("%d calls of the disk, %d cases", clean.calls, cases)
		})
	}
}

// check runs one case of TestFaultSweep.
func (w *writing) check(t *testing.T, d *faultyDisk, trace []*model.Batch, want outcome) {
	got := w.run(t, d, trace)
	sum, empty := d.size(t)
	if !got.created {
		if d.harmless || !errors.Is(got.closed, d.err) || !strings.Contains(got.closed.Error(), d.dir) {
			t.Errorf("not created: %v", got.closed)
		}
		if sum > 0 && d.fault.calls == 1 {
			t.Errorf("not created, but %d bytes are left", sum)
		}
		return
	}
	events, reports, reported, notes := onDisk(t, d)
	if d.harmless {
		if got.Lost > 0 || got.Fault != nil || got.closed != nil || events != want.Events || got.Deleted != want.Deleted {
			t.Errorf("a fault that costs nothing: %+v, %d events on disk", got, events)
		}
		return
	}
	if len(empty) > 0 && d.fault.calls != 0 {
		t.Errorf("empty files: %q", empty)
	}
	if w.opts.TotalCap > 0 && sum > w.opts.TotalCap && !torn(d) {
		t.Errorf("%d bytes on disk, cap %d", sum, w.opts.TotalCap)
	}
	if events != got.Events {
		t.Errorf("%d events on disk, Stats says %d; notes %q", events, got.Events, notes)
	}
	if got.Lost > 0 && (got.Fault == nil || !errors.Is(got.Fault, d.err) || !strings.Contains(got.Fault.Error(), d.dir)) {
		t.Errorf("%d events lost, and the cause is %v", got.Lost, got.Fault)
	}
	if got.Lost > 0 && got.closed == nil && reported == 0 && !w.flight {
		t.Error("events are lost, neither Close nor the recording says so")
	}
	all := got.Events + got.Lost + got.DeletedEvents
	switch {
	case w.flight:
		// What was asked for is there, or counted.
		if all < got.asked {
			t.Errorf("%d on disk, %d lost, %d deleted, of %d", got.Events, got.Lost, got.DeletedEvents, got.asked)
		}
	case got.Deleted == 0 && all-reports != got.written:
		t.Errorf("%d on disk, %d of them reports, %d lost, of %d", got.Events, reports, got.Lost, got.written)
	case got.Deleted > 0 && (all < got.written || all > got.written+20):
		t.Errorf("%d on disk, %d lost, %d deleted, of %d", got.Events, got.Lost, got.DeletedEvents, got.written)
	}
	if len(notes) > 0 && got.Fault == nil && got.Deleted == 0 {
		t.Errorf("damage without a fault: %q", slices.Compact(notes))
	}
}

// TestSaveFaultSweep does the same to Save.
func TestSaveFaultSweep(t *testing.T) {
	g := newTrace(300)
	save := func(t *testing.T, d *faultyDisk) (path string, err error) {
		f, err := NewFlight("", FlightOptions{Options: d.options(Options{})})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := f.Write(g.batch(400)); err != nil {
				t.Fatal(err)
			}
		}
		path = filepath.Join(d.dir, "rec.lostbeat")
		err = f.Save(path)
		return path, errors.Join(err, f.Close())
	}
	clean := &faultyDisk{dir: testutil.TempDir(t)}
	if _, err := save(t, clean); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for at := 1; at <= clean.calls; at++ {
		for _, f := range faults {
			if cases++; testing.Short() && cases%10 != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s at call %d", f.name, at), func(t *testing.T) {
				d := &faultyDisk{fault: f, dir: testutil.TempDir(t), at: at}
				path, err := save(t, d)
				if d.harmless && err != nil || !d.harmless && (!errors.Is(err, f.err) || !strings.Contains(err.Error(), path)) {
					t.Errorf("%v", err)
				}
				if _, empty := d.size(t); len(empty) > 0 && f.calls != 0 {
					t.Errorf("left behind: %q", empty)
				}
				if events, _, _, _ := onDisk(t, d); err == nil && events == 0 {
					t.Error("nothing was saved")
				}
			})
		}
	}
}
