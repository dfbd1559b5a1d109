package otlp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lostbeat/model"
	"lostbeat/record"
)

// brokenDisk fails while full is set.
type brokenDisk struct {
	mu   sync.Mutex
	full bool
	// part is how many bytes of a write reach the disk before it fails.
	part int
	// block blocks all calls while it is set.
	block chan struct{}
}

func (d *brokenDisk) set(full bool, part int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.part = full, part
}

func (d *brokenDisk) state() (full bool, part int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full, d.part
}

func (d *brokenDisk) Create(path string) (diskFile, error) {
	if full, _ := d.state(); full {
		if _, err := os.Stat(path); err != nil {
			return nil, syscall.ENOSPC
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return brokenFile{f, d}, err
}

func (d *brokenDisk) Remove(path string) error { return os.Remove(path) }

type brokenFile struct {
	*os.File
	disk *brokenDisk
}

func (f brokenFile) WriteAt(p []byte, at int64) (int, error) {
	if f.disk.block != nil {
		<-f.disk.block
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	full, part := f.disk.state()
	if full && at+int64(len(p)) > info.Size() { // what has its place can be written
		n, err := f.File.WriteAt(p[:min(part, len(p))], at)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(p, at)
}

// down is a receiver's answer while it is away.
func down(w http.ResponseWriter, _ int) bool {
	w.WriteHeader(http.StatusServiceUnavailable)
	return false
}

// The agent is killed again and again, in the middle of writes and of deliveries, while the collector is up and down.
// Nothing that was written is lost; after de-duplication by the key nothing is there twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	r, folder, to := newReceiver(t), t.TempDir(), &said{}
	written := 0
	for round := range 12 {
		r.set(nil)
		if round%3 == 1 {
			r.set(down)
		}
		copied := filepath.Join(t.TempDir(), "journal")
		e := start(t, options(t, r.URL, folder, to))
		for range 20 {
			write(t, e, one(written, model.SeverityCritical, true))
			written++
		}
		eventually(t, "that all is on disk or sent", func() bool {
			e.journal.mu.Lock()
			defer e.journal.mu.Unlock()
			for _, m := range e.journal.memory {
				if !m.onDisk {
					return false
				}
			}
			return true
		})
		// What the disk has at this moment is what a process leaves that is killed: the next one starts with a copy.
		// A segment that was sent may be removed between the listing and the copy.
		eventually(t, "a copy", func() bool {
			err := os.CopyFS(copied, os.DirFS(folder))
			if err == nil {
				return true
			}
			if !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := os.RemoveAll(copied); err != nil {
				t.Fatal(err)
			}
			return false
		})
		r.set(func(http.ResponseWriter, int) bool { return false }) // what the dead one still sends is not kept
		e.Close(0)
		folder = copied
	}
	r.set(nil)
	e := start(t, options(t, r.URL, folder, to))
	eventually(t, "delivery", func() bool { _, waiting, _ := e.journal.State(); return waiting == 0 })
	e.Close(5 * time.Second)
	at, _, _ := e.journal.State()
	if r.found() != written || len(r.stored) != written || at.lost != 0 {
		t.Errorf("%d of %d findings, %d keys, %d lost; said %s", r.found(), written, len(r.stored), at.lost, to.all())
	}
	t.Logf("%d findings, %d records with repetitions", written, r.records)
}

// The collector is away for an hour's worth of pauses: what was found meanwhile arrives when it is back, once.
func TestOutage(t *testing.T) {
	t.Parallel()
	r, to := newReceiver(t), &said{}
	r.set(down)
	o := options(t, r.URL, t.TempDir(), to)
	o.pace.MaxPause = 2 * time.Millisecond
	e := start(t, o)
	const findings = 1500 // more than the memory takes
	for n := range findings {
		write(t, e, one(n, model.SeverityWarning, true))
		if n%100 == 99 {
			eventually(t, "that it is on disk", func() bool {
				e.journal.mu.Lock()
				defer e.journal.mu.Unlock()
				return len(e.journal.memory) == 0 || e.journal.memory[len(e.journal.memory)-1].onDisk
			})
		}
	}
	eventually(t, "60 attempts", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.requests > 60 })
	if e.journal.bytes > maxWaitingBytes || len(e.journal.memory) > maxWaiting {
		t.Errorf("%d records of %d bytes in memory", len(e.journal.memory), e.journal.bytes)
	}
	r.set(nil)
	eventually(t, "delivery", func() bool { return r.found() == findings })
	e.Close(5 * time.Second)
	at, waiting, _ := e.journal.State()
	if at.delivered != findings || at.lost != 0 || waiting != 0 || r.records != findings {
		t.Errorf("%+v, %d wait, %d records", at, waiting, r.records)
	}
	if n := strings.Count(to.all(), "findings wait in"); n != 1 || !strings.Contains(to.all(), "delivered again") {
		t.Errorf("said %s", to.all())
	}
}

// A journal that has reached its size loses the oldest records: the store is told how many.
func TestLargestSize(t *testing.T) {
	t.Parallel()
	r, to := newReceiver(t), &said{}
	r.set(down)
	o := options(t, r.URL, t.TempDir(), to)
	o.MaxBytes = leastSize
	e := start(t, o)
	const findings = 2000
	for n := range findings {
		write(t, e, one(n, model.SeverityWarning, true))
		if n%50 == 49 {
			eventually(t, "that it is on disk", func() bool { return e.journal.Flush() == nil })
		}
	}
	size := int64(0)
	for _, s := range e.journal.files {
		size += s.size
	}
	if size > leastSize+leastSize/segments+maxFrame {
		t.Errorf("%d bytes on disk", size)
	}
	r.set(nil)
	eventually(t, "the count of losses", func() bool { return r.lost() > 0 })
	e.Close(5 * time.Second)
	at, _, _ := e.journal.State()
	if got := r.found() + int(r.lost()); got != findings || r.found() == 0 || int64(at.lost) != r.lost() {
		t.Errorf("%d found and %d lost of %d, the cursor says %+v", r.found(), r.lost(), findings, at)
	}
	if !strings.Contains(to.all(), "largest size") {
		t.Errorf("said %s", to.all())
	}
}

// What is removed while it is being sent counts once: as delivered when it arrives, as lost when it does not. A
// recorder that is killed meanwhile has counted it as lost.
func TestRemovedWhileSent(t *testing.T) {
	t.Parallel()
	for _, arrives := range []bool{true, false} {
		j, err := openJournal(t.TempDir(), nil, leastSize, realDisk{})
		if err != nil {
			t.Fatal(err)
		}
		const records = 100
		payload := make([]byte, leastSize/20)
		add := func() {
			for range records / 2 {
				if !j.Add(frameFinding, payload) || j.Flush() != nil {
					t.Fatal("a record was not written")
				}
			}
		}
		add()
		b := j.Next(10, leastSize)
		sent := uint64(len(b.records))
		add()
		if at, waiting, _ := j.State(); at.lost+sent+waiting != records || j.saved.lost != at.lost+sent {
			t.Errorf("%d lost, %d being sent, %d wait, of %d; on disk %d", at.lost, sent, waiting, records, j.saved.lost)
		}
		if arrives {
			j.Confirm(b.next, sent, 0, "")
		} else {
			j.GiveBack()
		}
		at, waiting, _ := j.State()
		if at.delivered+at.lost+waiting != records || arrives != (at.delivered == sent) {
			t.Errorf("arrives %v: %d delivered, %d lost, %d wait, of %d", arrives, at.delivered, at.lost, waiting, records)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The disk is full, for a while or from the start, also in the middle of a write: findings are sent from memory, later
// ones are written, and what finds no room is counted.
func TestFullDisk(t *testing.T) {
	for _, part := range []int{0, 1, 7, 100} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			r, to, d, folder := newReceiver(t), &said{}, &brokenDisk{}, t.TempDir()
			r.set(down)
			o := options(t, r.URL, folder, to)
			o.disk = d
			e := start(t, o)
			write(t, e, one(0, model.SeverityWarning, true))
			eventually(t, "that it is on disk", func() bool { return e.journal.Flush() == nil })
			d.set(true, part)
			const more = maxWaiting + 100
			for n := range more {
				write(t, e, one(n+1, model.SeverityWarning, true))
			}
			eventually(t, "the report of the full disk", func() bool { return strings.Contains(to.all(), "no space") })
			r.set(nil)
			eventually(t, "delivery from memory", func() bool { return r.found()+int(r.lost()) == more+1 })
			d.set(false, 0)
			write(t, e, one(more+1, model.SeverityWarning, true))
			eventually(t, "that it is on disk", func() bool { return e.journal.Flush() == nil })
			e.Close(5 * time.Second)
			if r.found() < maxWaiting || r.lost() == 0 || r.found()+int(r.lost()) != more+2 {
				t.Errorf("%d found, %d lost of %d; said %s", r.found(), r.lost(), more+2, to.all())
			}
			// The next process finds nothing to send, and no other count.
			e = start(t, options(t, r.URL, folder, to))
			at, waiting, _ := e.journal.State()
			e.Close(5 * time.Second)
			if waiting != 0 || int64(at.lost) != r.lost() {
				t.Errorf("%d wait, %d lost", waiting, at.lost)
			}
		})
	}
}

// The disk does not respond: findings leave the host all the same, and the end comes.
func TestBlockedDisk(t *testing.T) {
	t.Parallel()
	r, to, d := newReceiver(t), &said{}, &brokenDisk{}
	o := options(t, r.URL, t.TempDir(), to)
	o.disk = d
	e := start(t, o)
	e.journal.flushing.Lock()
	d.block = make(chan struct{})
	e.journal.flushing.Unlock()
	for n := range 10 {
		write(t, e, one(n, model.SeverityCritical, true))
	}
	eventually(t, "delivery", func() bool { return r.found() == 10 })
	began := time.Now()
	e.Close(50 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second || !strings.Contains(to.all(), "does not respond") {
		t.Errorf("the end took %v, said %s", took, to.all())
	}
	close(d.block)
	e.work.Wait()
	eventually(t, "the lock's end", func() bool {
		unlock, err := record.Lock(filepath.Join(o.Folder, "journal"))
		if err == nil {
			unlock()
		}
		return err == nil
	})
}

// lazyDisk does not sync.
type lazyDisk struct{ realDisk }

type lazyFile struct{ diskFile }

func (d lazyDisk) Create(path string) (diskFile, error) {
	f, err := d.realDisk.Create(path)
	return lazyFile{f}, err
}

func (lazyFile) Sync() error { return nil }

// A journal that is cut at any byte, or has a wrong one, gives what is whole; what is missing is counted.
func TestDamage(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	j, err := openJournal(source, []byte("resource"), leastSize, realDisk{})
	if err != nil {
		t.Fatal(err)
	}
	const records = 5
	for n := range records {
		j.Add(frameFinding, bytes.Repeat([]byte{byte(n)}, 10+n))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(j.files[0].path)
	whole, err := os.ReadFile(filepath.Join(source, name))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, text []byte) {
		t.Helper()
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(folder, nil, leastSize, lazyDisk{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer j.Close()
		got := 0
		for b := j.Next(2, maxBody); b != nil; b = j.Next(2, maxBody) {
			for _, e := range b.records {
				if !bytes.Equal(e.payload, bytes.Repeat([]byte{e.payload[0]}, 10+int(e.payload[0]))) {
					t.Errorf("%s: record %d has another content", what, e.seq)
				}
				got++
			}
			if string(b.resource) != "resource" {
				t.Errorf("%s: resource %q", what, b.resource)
			}
			j.Confirm(b.next, 0, 0, "")
		}
		if at, _, _ := j.State(); got > records || got < records && len(text) > 0 && at.lost == 0 && !atFrame(text) {
			t.Errorf("%s: %d records, %d counted as lost", what, got, at.lost)
		}
	}
	for n := range len(whole) + 1 {
		check(fmt.Sprintf("cut at %d", n), whole[:n])
	}
	for n := range whole {
		wrong := slices.Clone(whole)
		wrong[n] ^= 0x41
		check(fmt.Sprintf("byte %d", n), wrong)
	}
}

// atFrame reports whether a text ends where a frame does.
func atFrame(text []byte) bool {
	for len(text) > 0 {
		_, n, ok := parseFrame(text)
		if !ok {
			return false
		}
		text = text[n:]
	}
	return true
}

// Of a cursor, the last slot that is whole counts; without one everything is sent again.
func TestCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), cursorName)
	older, newer := appendSlot(nil, cursor{5, 4, 1}, 7), appendSlot(nil, cursor{9, 8, 1}, 8)
	damaged := slices.Clone(newer)
	damaged[20]++
	for _, test := range []struct {
		text []byte
		want cursor
	}{
		{nil, cursor{}},
		{slices.Concat(newer, older), cursor{9, 8, 1}},
		{slices.Concat(older, newer), cursor{9, 8, 1}},
		{slices.Concat(damaged, older), cursor{5, 4, 1}},
		{newer[:100], cursor{}},
	} {
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := readCursor(path); got != test.want {
			t.Errorf("%+v, want %+v", got, test.want)
		}
	}
}

// Two processes do not write one journal.
func TestJournalIsLocked(t *testing.T) {
	folder := t.TempDir()
	j, err := openJournal(folder, nil, leastSize, realDisk{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := openJournal(folder, nil, leastSize, realDisk{}); !errors.Is(err, record.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

// Any bytes may be a frame, a slot of the cursor, or the answer of a receiver.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, entry{seq: 1, kind: frameFinding, payload: []byte("x")}))
	f.Add(appendSlot(nil, cursor{1, 2, 3}, 4))
	f.Add([]byte("\x0a\x0b\x08\x01\x12\x07too old"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, n, ok := parseFrame(b); ok && !bytes.Equal(appendFrame(nil, e), b[:n]) {
			t.Errorf("%v does not come back", e)
		}
		if c, g, ok := parseSlot(b); ok && !bytes.Equal(appendSlot(nil, c, g)[:slotUsed+4], b[:slotUsed+4]) {
			t.Errorf("%v does not come back", c)
		}
		if rejected, message := partialSuccess(b); rejected < 0 || len(message) > 3*maxMessage {
			t.Errorf("%d, %q", rejected, message)
		}
	})
}
