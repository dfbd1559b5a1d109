package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// residentPeak is the largest resident size of this process so far, in bytes, 0 where it is not known.
func residentPeak() (bytes uint64) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}

// TestLarge writes a recording of 1 GiB, seeks in it and reads it, and holds all
// of that against the budgets. It takes a minute, and runs when LOSTBEAT_LARGE is 1.
func TestLarge(t *testing.T) {
	testutil.Nightly(t, "a recording of 1 GiB takes a minute")
	const (
		size     = 1 << 30
		maxRSS   = 64 << 20
		maxSeek  = 100 * time.Millisecond
		minSpeed = 5e6
	)
	path := filepath.Join(testutil.TempDir(t), "large.lostbeat")
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := newTrace(300_000)
	began := time.Now()
	var writing time.Duration
	for w.Stats().Bytes < size {
		b := g.batch(4000)
		at := time.Now()
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		writing += time.Since(at)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	t.Logf(
		"written: %d events, %d bytes, %.2f bytes/event, %.0f ns/event in %v of %v, peak RSS %d MiB",
		s.Events,
		s.Bytes,
		float64(s.Bytes)/float64(s.Events),
		float64(writing.Nanoseconds())/float64(s.Events),
		writing.Round(time.Millisecond),
		time.Since(began).Round(time.Second),
		residentPeak()>>20,
	)
	if peak := residentPeak(); peak > maxRSS {
		t.Errorf("peak RSS %d MiB", peak>>20)
	}
	runtime.GC()
	debug.FreeOSMemory()

	at := time.Now()
	r := open(t, path)
	opening := time.Since(at)
	first, last := r.Span()
	var worst time.Duration
	stop := errors.New("seen enough")
	for i := range model.Time(50) {
		moment := first + (last-first)/50*i
		at := time.Now()
		err := r.RunFrom(t.Context(), moment, func(b *model.Batch) error {
			if b.Events[len(b.Events)-1].Time >= moment {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		worst = max(worst, time.Since(at))
	}
	t.Logf("open %v, worst of 50 seeks %v", opening, worst)
	if opening+worst > maxSeek {
		t.Errorf("open and seek take %v", opening+worst)
	}
	at = time.Now()
	events := uint64(0)
	if err := r.Run(t.Context(), func(b *model.Batch) error { events += uint64(len(b.Events)); return nil }); err != nil ||
		events != s.Events {
		t.Fatalf("%d events of %d, %v", events, s.Events, err)
	}
	speed := float64(events) / time.Since(at).Seconds()
	t.Logf("read: %.1f M events/s, peak RSS %d MiB", speed/1e6, residentPeak()>>20)
	if speed < minSpeed {
		t.Errorf("%.1f M events/s", speed/1e6)
	}

	// Without its index the file is scanned.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-100); err != nil {
		t.Fatal(err)
	}
	at = time.Now()
	torn := open(t, path)
	opening = time.Since(at)
	at = time.Now()
	if err := torn.RunFrom(t.Context(), (first+last)/2, func(*model.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	seek := time.Since(at)
	at = time.Now()
	torn.Stat()
	t.Logf("torn: open %v, seek %v, info %v, peak RSS %d MiB", opening, seek, time.Since(at), residentPeak()>>20)
	if peak := residentPeak(); peak > maxRSS {
		t.Errorf("peak RSS %d MiB", peak>>20)
	}
}
