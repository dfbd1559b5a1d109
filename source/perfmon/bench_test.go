package perfmon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/source/perfmon/perfmontest"
)

// wide returns a text log of a host with 20 cores and thousands of columns that
// lostbeat does not interpret, like those of a data collector set with "*".
func wide(columns, samples int) *perfmontest.Text {
	s := perfmontest.Scenario{Machine: "BIG", Start: start, Samples: samples, Cores: 20, Seed: 3}
	text := s.Text(perfmontest.Text{Zone: " (x)(0)"})
	known := len(text.Paths)
	for i := range columns - known {
		text.Paths = append(text.Paths, fmt.Sprintf(`\\BIG\Process(svchost#%d)\Handle Count %d`, i/20, i%20))
	}
	for i := range text.Rows {
		for j := range columns - known {
			text.Rows[i].Values = append(text.Rows[i].Values, float64(i*j)/7)
		}
	}
	return text
}

// wideBinary returns a binary log of whole objects with thousands of counters.
func wideBinary(processes, samples int) []byte {
	l := &perfmontest.BLG{Start: start}
	names := append(perfmontest.Indexes(), [2]string{"230", "Process"}, [2]string{"784", "ID Process"})
	var counters []perfmontest.BlockCounter
	counters = append(counters, perfmontest.BlockCounter{Index: 784, Type: uint32(RawCount), Size: 4})
	for i := range uint32(27) {
		names = append(names, [2]string{fmt.Sprint(3000 + i), fmt.Sprintf("Counter %d", i)})
		counters = append(counters, perfmontest.BlockCounter{Index: 3000 + i, Type: uint32(BulkCount), Size: 8})
	}
	l.Names(start, "BIG", names)
	l.Catalogue(start, perfmontest.Entry{Form: 16, Machine: "BIG", Object: "Process", Instance: "*", Counter: "*"})
	for i := range samples {
		at := start.Add(time.Duration(i) * time.Second)
		b := perfmontest.Block{
			Machine:   "BIG",
			Object:    230,
			Time:      perfmontest.FileTime(at),
			Frequency: 1e7,
			UTC:       at,
			Counters:  counters,
		}
		for p := range processes {
			in := perfmontest.BlockInstance{Name: fmt.Sprintf("process%d", p%50), Values: []int64{int64(p)}}
			for c := range 27 {
				in.Values = append(in.Values, int64(i*c*p))
			}
			b.Instances = append(b.Instances, in)
		}
		l.Sample(at, b.Record())
	}
	return l.Bytes()
}

func benchmark(b *testing.B, data []byte, options Options) {
	l := open(b, data, options)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		if err := l.Run(b.Context(), func(batch *model.Batch) error { events += len(batch.Events); return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkCSV(b *testing.B) {
	data := wide(2633, 200).Bytes()
	b.Run("judged", func(b *testing.B) { benchmark(b, data, Options{}) })
	b.Run("all", func(b *testing.B) { benchmark(b, data, Options{AllCounters: true}) })
}

func BenchmarkBLG(b *testing.B) {
	data := wideBinary(200, 100)
	b.Run("judged", func(b *testing.B) { benchmark(b, data, Options{}) })
	b.Run("all", func(b *testing.B) { benchmark(b, data, Options{AllCounters: true}) })
}

// TestMemory checks that a log's size does not show in memory: a file of 60 MB
// with 2,600 columns is read and searched in a small part of it.
func TestMemory(t *testing.T) {
	name := filepath.Join(testutil.TempDir(t), "big.csv")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	part := wide(2600, 25)
	head, _, _ := bytes.Cut(part.Bytes(), []byte("\n"))
	rows := part.Bytes()[len(head)+1:]
	if _, err := f.Write(append(head, '\n')); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		// The same rows at later times: the minutes stand at a fixed place.
		next := bytes.ReplaceAll(rows, []byte(" 19:36:"), fmt.Appendf(nil, " %02d:%02d:", 20+i/60, i%60))
		next = bytes.ReplaceAll(next, []byte(" 19:37:"), fmt.Appendf(nil, " %02d:%02d:", 20+i/60, i%60))
		if _, err := f.Write(next); err != nil {
			t.Fatal(err)
		}
	}
	size, _ := f.Seek(0, io.SeekCurrent)
	f.Close()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := Open(name, Options{AllCounters: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var most uint64
	events := 0
	measure := func(b *model.Batch) error {
		if events/100_000 != (events+len(b.Events))/100_000 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		events += len(b.Events)
		return nil
	}
	if err := l.Run(t.Context(), measure); err != nil {
		t.Fatal(err)
	}
	_, end := l.Span()
	if err := l.RunFrom(t.Context(), end-model.Time(time.Minute), measure); err != nil {
		t.Fatal(err)
	}
	used := int64(most) - int64(before.HeapAlloc)
	t.Logf("%d MB, %d events, %d KiB of memory", size/1e6, events, used>>10)
	if used > 12<<20 {
		t.Errorf("%d KiB in use for a file of %d MB", used>>10, size/1e6)
	}
}
