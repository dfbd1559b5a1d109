package etl_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes"
	"lostbeat/source"
)

func benchmarkRun(b *testing.B, data []byte, o etl.Options) {
	b.Helper()
	f := openBytes(b, data, o)
	v, err := f.Inventory(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Run(b.Context(), func(*model.Batch) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(v.EventsTotal)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

// BenchmarkReplay decodes a mixture of records into the model, from every kind
// of buffer.
func BenchmarkReplay(b *testing.B) {
	for _, format := range []xca.Format{xca.None, xca.Xpress, xca.LZNT1, xca.XpressHuffman} {
		b.Run(format.String(), func(b *testing.B) {
			data := etltest.Mixture(etltest.Options{BufferSize: 64 << 10, Compression: format}, 400_000)
			benchmarkRun(b, data, etl.Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: true}})
		})
	}
}

// BenchmarkFollow reads 10 s of the mixture, 100,000 records a second, as a file that is followed, through the merger,
// the decoder of live sessions, with and without the state that the UI shows, and as one that is read whole.
func BenchmarkFollow(b *testing.B) {
	const seconds, rate = 10, 100_000
	one := etltest.Mixture(etltest.Options{BufferSize: 64 << 10}, rate)
	var data bytes.Buffer
	if err := etltest.Repeat(&data, one, seconds, 10_000_000); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(testutil.TempDir(b), "mixture.etl")
	if err := os.WriteFile(path, data.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	o := etl.Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: true}}
	followed := func() source.Source { return etl.Follow(path, o) }
	none := func(*model.Batch) error { return nil }
	for _, c := range []struct {
		name string
		src  func() source.Source
		emit source.Emit
	}{
		{"followed", followed, none},
		{"followed and folded", followed, fold.NewHistory().Write},
		{"whole", func() source.Source { return openBytes(b, data.Bytes(), o) }, none},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			began := testutil.CPUTime(b)
			for b.Loop() {
				if err := c.src().Run(b.Context(), c.emit); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((testutil.CPUTime(b)-began).Nanoseconds())/float64(b.N)/seconds/rate, "cpu-ns/record")
		})
	}
}

// BenchmarkInventory counts the records of the same mixture.
func BenchmarkInventory(b *testing.B) {
	data := etltest.Mixture(etltest.Options{BufferSize: 64 << 10}, 400_000)
	f := openBytes(b, data, etl.Options{})
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := f.Inventory(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecords walks the records without decoding their payloads.
func BenchmarkRecords(b *testing.B) {
	data := etltest.Mixture(etltest.Options{BufferSize: 64 << 10}, 400_000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for _, err := range etl.Records(bytes.NewReader(data), int64(len(data))) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkRealFiles replays the two largest real captures; raw records
// included and not.
func BenchmarkRealFiles(b *testing.B) {
	for _, name := range []string{"net.4.5.2.x64.etl", "ShutdownPerfDiagLogger.etl"} {
		for _, skip := range []bool{true, false} {
			b.Run(name+"/raw="+strconv.FormatBool(!skip), func(b *testing.B) {
				data, err := os.ReadFile(filepath.Join(testutil.DataDir(b), "etl", name))
				if err != nil {
					b.Fatal(err)
				}
				benchmarkRun(b, data, etl.Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: skip}})
			})
		}
	}
}

// TestLargeFile replays the file LOSTBEAT_LARGE_FILE, and writes it before with
// LOSTBEAT_LARGE_MIB MiB when it does not exist. Run it under GNU time for the
// resident set.
func TestLargeFile(t *testing.T) {
	path := os.Getenv("LOSTBEAT_LARGE_FILE")
	if path == "" {
		t.Skip("LOSTBEAT_LARGE_FILE is not set")
	}
	if _, err := os.Stat(path); err != nil {
		writeLarge(t, path)
		return
	}
	began := time.Now()
	f := open(t, path, etl.Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: true}})
	var first time.Duration
	events := 0
	start, end := f.Span()
	err := f.Run(t.Context(), func(b *model.Batch) error {
		if events == 0 {
			first = time.Since(began)
		}
		events += len(b.Events)
		end = b.Events[len(b.Events)-1].Time // the header, repeated from a short session, says less
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	all := time.Since(began)
	t.Logf(
		"%d MiB in %v: %.0f MB/s, %d events out, the first batch after %v",
		info.Size()>>20,
		all,
		float64(info.Size())/1e6/all.Seconds(),
		events,
		first,
	)
	for _, share := range []model.Time{10, 50, 99, 98} {
		began := time.Now()
		stop := errors.New("seen")
		if err := f.RunFrom(t.Context(), start+(end-start)*share/100, func(b *model.Batch) error {
			if b.Events[0].Flags&model.FlagKeyframe == 0 {
				return stop
			}
			return nil
		}); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		t.Logf("jump to %d %% in %v", share, time.Since(began))
	}
}

func writeLarge(t *testing.T, path string) {
	mib, err := strconv.Atoi(os.Getenv("LOSTBEAT_LARGE_MIB"))
	if err != nil {
		t.Fatalf("LOSTBEAT_LARGE_MIB: %v", err)
	}
	data := etltest.Mixture(etltest.Options{BufferSize: 64 << 10, Processors: 8}, 400_000)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := etltest.Repeat(file, data, (mib<<20)/len(data)+1, 11_000_000); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRepeat checks the generator of large files: nothing in them is late.
func TestRepeat(t *testing.T) {
	data := etltest.Mixture(etltest.Options{BufferSize: 16 << 10}, 4000)
	var out bytes.Buffer
	if err := etltest.Repeat(&out, data, 3, 11_000_000); err != nil {
		t.Fatal(err)
	}
	_, loss := times(t, out.Bytes())
	if n := inventory(t, out.Bytes()); n != 3*(inventory(t, data)-1)+1 || loss != 0 {
		t.Errorf("%d events, %d late", n, loss)
	}
	if err := etltest.Repeat(io.Discard, data, 1, 1); err != nil {
		t.Error(err)
	}
}
