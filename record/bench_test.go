package record

import (
	"os"
	"path/filepath"
	"testing"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// discard is a file that keeps nothing.
type discard struct{ size int64 }

func (d *discard) WriteAt(p []byte, off int64) (int, error) {
	d.size = max(d.size, off+int64(len(p)))
	return len(p), nil
}
func (d *discard) Truncate(int64) error { return nil }
func (d *discard) Close() error         { return nil }

// benchTrace is two seconds of every softirq run at 300,000 a second.
func benchTrace() (batches []*model.Batch, events int) {
	g := newTrace(300_000)
	for range 150 {
		b := g.batch(4000)
		batches = append(batches, b)
		events += len(b.Events)
	}
	return batches, events
}

// BenchmarkWrite reports the cost of an event in time and in bytes on disk.
func BenchmarkWrite(b *testing.B) {
	batches, events := benchTrace()
	out := &discard{}
	b.ReportAllocs()
	for b.Loop() {
		w, err := Create("bench.lostbeat", Options{create: func(string) (storage, error) { return out, nil }})
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			if err := w.Write(batch); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
	b.ReportMetric(float64(out.size)/float64(events), "disk-B/event")
}

// BenchmarkRead reports how many events a second one reader gives.
func BenchmarkRead(b *testing.B) {
	batches, events := benchTrace()
	path := filepath.Join(testutil.TempDir(b), "bench.lostbeat")
	w, err := Create(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := r.Run(b.Context(), func(batch *model.Batch) error { n += len(batch.Events); return nil }); err != nil ||
			n != events {
			b.Fatalf("%d events of %d, error %v", n, events, err)
		}
	}
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

// BenchmarkRingSync writes a block of 100 events to a ring in the folder of temporary files and syncs it.
func BenchmarkRingSync(b *testing.B) {
	path := filepath.Join(b.TempDir(), "fault.lostbeat")
	f, err := NewFlight(path, FlightOptions{Ring: 32 << 20, byHand: true})
	if err != nil || f.RingError() != nil {
		b.Fatal(err, f.RingError())
	}
	g := newTrace(200)
	for b.Loop() {
		if err := f.Write(g.batch(100)); err != nil {
			b.Fatal(err)
		}
		f.flush()
		f.ring.sync()
	}
	s := f.Stats().Ring
	b.ReportMetric(float64(s.SyncTime.Microseconds())/float64(s.Syncs), "µs/sync")
	b.ReportMetric(float64(s.SyncLongest.Microseconds()), "µs/longest")
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
