package record

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// faulty is a file in memory whose writes can be made to fail.
type faulty struct {
	data  []byte
	limit int   // bytes that fit; 0 all
	fail  error // of every write
	stuck bool  // cannot be truncated either
}

func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.fail != nil {
		return 0, f.fail
	}
	n := len(p)
	var err error
	if f.limit > 0 && int(off)+n > f.limit {
		n, err = max(0, f.limit-int(off)), &fs.PathError{Op: "write", Path: "x", Err: errDiskFull}
	}
	if grow := int(off) + n - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	copy(f.data[off:], p[:n])
	return n, err
}

func (f *faulty) Truncate(size int64) error {
	if f.stuck {
		return syscall.EIO
	}
	f.data = f.data[:min(int(size), len(f.data))]
	return nil
}

func (f *faulty) Close() error { return nil }

// TestDiskFull fills the disk, makes room again, and counts.
func TestDiskFull(t *testing.T) {
	for name, spoil := range map[string]func(*faulty){
		"no space":                func(f *faulty) { f.limit = len(f.data) + 100 },
		"no space, no truncation": func(f *faulty) { f.limit, f.stuck = len(f.data)+100, true },
		"read-only":               func(f *faulty) { f.fail = syscall.EROFS },
		"input/output error":      func(f *faulty) { f.fail = syscall.EIO },
	} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{}
			w, err := Create("x", Options{create: func(string) (storage, error) { return f, nil }})
			if err != nil {
				t.Fatal(err)
			}
			g := newTrace(1000)
			written := 0
			write := func() {
				b := g.batch(3000)
				written += len(b.Events)
				if err := w.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			write()
			spoil(f)
			write()
			write()
			s := w.Stats()
			var fault *Error
			if s.Lost == 0 || !errors.As(s.Err, &fault) || fault.Hint() == "" {
				t.Errorf("stats %+v", s)
			}
			f.limit, f.fail = 0, nil
			write()
			write()
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if s := w.Stats(); s.Err != nil {
				t.Errorf("error remains: %v", s.Err)
			}
			got, losses, err := readAll(t, f.data)
			if err != nil || losses != nil {
				t.Fatalf("losses %v, error %v", losses, err)
			}
			recorded, reports := uint64(0), 0
			for line := range strings.Lines(got.String()) {
				if strings.Contains(line, "origin=recorder") {
					reports++
					var lost uint64
					if _, err := fmt.Sscanf(line[strings.Index(line, "lost="):], "lost=%d", &lost); err != nil {
						t.Fatal(err)
					}
					recorded += lost
				}
			}
			if recorded != w.Stats().Lost || got.n-got.keyframes-reports+int(recorded) != written {
				t.Errorf(
					"%d events read, %d reported as lost in %d events, Stats says %d, of %d",
					got.n,
					recorded,
					reports,
					w.Stats().Lost,
					written,
				)
			}
			if got.keyframes > 0 {
				t.Error("keyframes handed on where no block is missing")
			}
		})
	}
}

func TestDiskFullAtTheEnd(t *testing.T) {
	f := &faulty{}
	w, err := Create("x", Options{create: func(string) (storage, error) { return f, nil }})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(1000)
	if err := w.Write(g.batch(3000)); err != nil {
		t.Fatal(err)
	}
	f.limit = len(f.data)
	if err := w.Close(); !errors.Is(err, errDiskFull) {
		t.Errorf("Close: %v", err)
	}
	got, _, err := readAll(t, f.data)
	if err != nil || got.n == 0 {
		t.Errorf("%v", err)
	}
}

func TestFullFileSystem(t *testing.T) {
	testutil.Privileged(t) // to mount a small file system
	dir := testutil.TempDir(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "lbrecord", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := exec.Command("umount", dir).Run(); err != nil {
			t.Errorf("umount: %v", err)
		}
	})
	path := filepath.Join(dir, "rec.lostbeat")
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(20000)
	for range 10 {
		if err := w.Write(g.batch(10000)); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.Stats(); s.Lost == 0 || !errors.Is(s.Err, errDiskFull) {
		t.Errorf("stats %+v", s)
	}
	if err := w.Close(); err != nil && !errors.Is(err, errDiskFull) {
		t.Errorf("Close: %v", err)
	}
	r := open(t, path)
	if err := r.Run(t.Context(), (&text{t: t}).emit); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	_, err = Create(filepath.Join(dir, "other.lostbeat"), Options{})
	var fault *Error
	if !errors.As(err, &fault) || !errors.Is(err, syscall.EROFS) || !strings.Contains(fault.Hint(), "read-only") {
		t.Errorf("read-only file system: %v", err)
	}
}

func TestCreateFaults(t *testing.T) {
	dir := testutil.TempDir(t)
	path := filepath.Join(dir, "rec.lostbeat")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	var fault *Error
	if _, err := Create(path, Options{}); !errors.Is(err, fs.ErrExist) || !errors.As(err, &fault) || fault.Hint() == "" {
		t.Errorf("existing file: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the existing file is %q, %v", data, err)
	}
	w, err := Create(path, Options{Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	private(t, path)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Write(newTrace(1).batch(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := Create(filepath.Join(dir, "no", "dir"), Options{}); !errors.Is(err, fs.ErrNotExist) ||
		!errors.As(err, &fault) ||
		fault.Hint() == "" {
		t.Errorf("missing directory: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skipf("links need a privilege on Windows: %v", err)
		}
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); err != nil {
		testutil.Wine(t, "version 8 says that it has made a link, and has not")
	}
	if _, err := Create(link, Options{Overwrite: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a link is followed: %v", err)
	}
}

// TestOverdueBlock checks that a block is written although nothing follows it.
func TestOverdueBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{}
		w, err := Create("x", Options{create: func(string) (storage, error) { return f, nil }})
		if err != nil {
			t.Fatal(err)
		}
		b := newTrace(1000).batch(100)
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if w.Stats().Blocks != 0 {
			t.Error("a block was written at once")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := w.Stats(); s.Blocks != 1 || s.Events != uint64(len(b.Events)) {
			t.Errorf("after a second: %+v", s)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestMaxSize(t *testing.T) {
	const limit = 50_000
	path := filepath.Join(testutil.TempDir(t), "rec.lostbeat")
	w, err := Create(path, Options{MaxSize: limit})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(5000)
	for err == nil && g.now < start+model.Time(time.Minute) {
		err = w.Write(g.batch(500))
	}
	if !errors.Is(err, ErrMaxSize) {
		t.Errorf("error %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	info := stat(t, path)
	if info.Bytes > limit || info.Bytes < limit/4 || !info.Closed {
		t.Errorf("%+v", info)
	}
	if uint64(info.Bytes) != w.Stats().Bytes {
		t.Errorf("the file has %d bytes, Stats says %d", info.Bytes, w.Stats().Bytes)
	}
}

func TestRotation(t *testing.T) {
	dir := testutil.TempDir(t)
	path := filepath.Join(dir, "rec.lostbeat")
	other := filepath.Join(dir, "rec-20200101T000000Z-0001.lostbeat") // named like ours, but no recording
	foreign := filepath.Join(dir, "rec-notes.lostbeat")
	for _, p := range []string{other, foreign} {
		if err := os.WriteFile(p, bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Create(path, Options{RotateSize: 150_000})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(5000)
	all := &text{t: t}
	for range 120 {
		b := g.batch(1000)
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := all.emit(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Files < 5 || s.Lost != 0 {
		t.Errorf("stats %+v", s)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	// All files read as one are the whole stream.
	got := &text{t: t}
	r := open(t, path)
	if err := r.Run(t.Context(), got.emit); err != nil {
		t.Fatal(err)
	}
	compare(t, got.String(), all.String())
	if got.keyframes != 0 {
		t.Errorf("%d keyframe events between the files", got.keyframes)
	}
	for _, in := range r.inputs {
		if in.size > 150_000 {
			t.Errorf("%s has %d bytes", in.path, in.size)
		}
	}
	whole := holds(t, r, 0)

	// Each file alone can be read, and the last gives the state at the end.
	last := open(t, r.inputs[len(r.inputs)-1].path)
	compare(t, holds(t, last, 0), whole)
	// A file in the middle is missing: a loss, a keyframe, and the same state at the end. Windows removes no file that is
	// open.
	missing := r.inputs[2].path
	if err := errors.Join(r.Close(), last.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	gap := open(t, path)
	losses := 0
	if err := gap.Run(t.Context(), func(b *model.Batch) error {
		if loss, ok := b.Loss(&b.Events[0]); ok && strings.Contains(loss.Detail, "missing") {
			losses++
		}
		return nil
	}); err != nil || losses != 1 {
		t.Errorf("%d losses, error %v", losses, err)
	}
	compare(t, holds(t, gap, 0), whole)

	// The next run keeps all files together below the cap, and deletes no others.
	if err := gap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	const total = 300_000
	if w, err = Create(path, Options{TotalCap: total}); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if err := w.Write(g.batch(1000)); err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		files, err := newRotation(path, 0, os.Remove).list()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.path != other {
				sum += f.size
			}
		}
		if w.Stats().Blocks > 0 && sum > total {
			t.Fatalf("%d bytes in all, cap %d", sum, total)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range []string{other, foreign} {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("a file that is not ours: %v", err)
		}
	}
}

func TestRotateEvery(t *testing.T) {
	path := filepath.Join(testutil.TempDir(t), "rec.lostbeat")
	w, err := Create(path, Options{RotateEvery: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(1000)
	for g.now < start+model.Time(10*time.Second) {
		if err := w.Write(g.batch(100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Files < 3 || s.Files > 4 {
		t.Errorf("%d files", s.Files)
	}
}

func TestOverlap(t *testing.T) {
	a, _ := recording(t, Options{}, newTrace(1000).batch(3000))
	b, _ := recording(t, Options{}, newTrace(1000).batch(3000))
	if _, err := OpenFiles(a, b); !errors.Is(err, ErrOverlap) {
		t.Errorf("error %v", err)
	}
}

// TestTwoRuns reads two runs of a recorder, one after the other: no state goes over.
func TestTwoRuns(t *testing.T) {
	first := newTrace(1000)
	a, _ := recording(t, Options{}, first.batch(3000))
	second := newTrace(1000)
	var b model.Builder
	second.now = first.now + model.Time(time.Hour)
	second.second = second.now
	second.head(&b)
	c, _ := recording(t, Options{}, b.Take(), second.batch(3000))
	r, err := OpenFiles(c, a)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := holds(t, r, 0), holds(t, open(t, c), 0); strings.ReplaceAll(
		got,
		" ",
		"",
	) != strings.ReplaceAll(
		want,
		" ",
		"",
	) {
		compare(t, got, want)
	}
}

func TestFlight(t *testing.T) {
	dir := testutil.TempDir(t)
	f, err := NewFlight(
		filepath.Join(dir, "flight.lostbeat"),
		FlightOptions{Window: 20 * time.Second, After: 5 * time.Second, MaxBytes: 4 << 20},
	)
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(1000)
	run := func(d time.Duration) {
		for end := g.now.Add(d); g.now < end; {
			if err := f.Write(g.batch(100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(100 * time.Second)
	if s := f.Stats(); s.Files != 0 || f.bytes == 0 {
		t.Errorf("before a trigger: %+v", s)
	}
	at := g.now
	if err := f.Trigger(at, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	run(3 * time.Second)
	if err := f.Trigger(g.now, 10*time.Second); err != nil { // makes the window longer
		t.Fatal(err)
	}
	until := g.now
	run(60 * time.Second)
	s := f.Stats()
	if s.Files != 1 || s.Err != nil {
		t.Errorf("stats %+v", s)
	}
	r := open(t, s.Path)
	first, last := r.Span()
	if d := at.Sub(first); d < 10*time.Second || d > 15*time.Second {
		t.Errorf("the window begins %v before the trigger", d)
	}
	if d := last.Sub(until); d < 5*time.Second || d > 7*time.Second {
		t.Errorf("the window ends %v after the last trigger", d)
	}
	got := &text{t: t}
	if err := r.Run(t.Context(), got.emit); err != nil || got.keyframes == 0 {
		t.Errorf("%d keyframe events, error %v", got.keyframes, err)
	}
	if info := r.Stat(); !info.Closed || info.Meta["kernel"] != "6.18.0" {
		t.Errorf("%+v", info)
	}

	// Another window; both files read as one give its state.
	if err := f.Trigger(g.now, 0); err != nil {
		t.Fatal(err)
	}
	run(2 * time.Second)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	both := open(t, filepath.Join(dir, "flight.lostbeat"))
	if len(both.inputs) != 2 {
		t.Fatalf("%d files", len(both.inputs))
	}
	if a, b := holds(t, both, 0), holds(t, open(t, f.Stats().Path), 0); a != b {
		compare(t, a, b)
	}
	if err := f.Write(g.batch(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestFlightMemory(t *testing.T) {
	const limit = 200_000
	f, err := NewFlight(filepath.Join(testutil.TempDir(t), "flight.lostbeat"), FlightOptions{MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(20000)
	most := 0
	for range 300 {
		if err := f.Write(g.batch(1000)); err != nil {
			t.Fatal(err)
		}
		most = max(most, f.bytes)
	}
	if most > limit || most < limit/4 {
		t.Errorf("kept %d bytes, limit %d", most, limit)
	}
}
