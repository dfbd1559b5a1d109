package ebpf_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// BenchmarkRead measures what the engine spends on a record: reading,
// decoding, ordering and handing on. It fills the ringbuf while the engine is
// held up, then counts the processor time until everything has come out.
func BenchmarkRead(b *testing.B) {
	testutil.Privileged(b)
	flood := &ebpftest.Flood{}
	live, err := ebpf.New(ebpf.Options{}, []ebpf.Probe{flood})
	if err != nil {
		b.Fatal(err)
	}
	const bursts = 40 // of 4096 records of 48 bytes: 7.5 MiB of 8
	hold, held, out := make(chan chan struct{}), make(chan struct{}), make(chan int)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() {
		done <- live.Run(ctx, func(batch *model.Batch) error {
			n := 0
			for i := range batch.Events {
				if batch.Events[i].Kind == model.KindDeferredRun {
					n++
				}
			}
			batch.Release()
			if n > 0 {
				select {
				case out <- n:
				case <-ctx.Done():
				}
				return nil
			}
			select {
			case release := <-hold:
				held <- struct{}{}
				<-release
			default:
			}
			return nil
		})
	}()
	var spent time.Duration
	var events int
	for b.Loop() {
		release := make(chan struct{})
		hold <- release
		<-held
		for range bursts {
			if err := flood.Burst(); err != nil {
				b.Fatal(err)
			}
		}
		before := cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)
		close(release)
		for got := 0; got < bursts*ebpftest.FloodBurst; {
			got += <-out
		}
		spent += cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID) - before
		events += bursts * ebpftest.FloodBurst
	}
	b.ReportMetric(float64(spent)/float64(events), "ns/event")
	b.ReportMetric(0, "ns/op")
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// BenchmarkSustained writes records from all processors at once and measures
// what reading them takes and what is lost: at the rate of the budget, and as
// fast as they can be written. An operation is three seconds of the engine and,
// in turn, of the library's reader, with ringbufs of the same size. The
// engine reads, decodes and orders, and every event is looked at; the library
// only reads. The processor time is that of the whole process without the
// threads that write.
func BenchmarkSustained(b *testing.B) {
	testutil.Privileged(b)
	cpus, err := platform.OnlineCPUs()
	if err != nil {
		b.Fatal(err)
	}
	pause := time.Second * time.Duration(ebpftest.FloodBurst*len(cpus)) / 3_000_000
	for _, rate := range []struct {
		name  string
		pause time.Duration
	}{{"3M", pause}, {"unpaced", 0}} {
		b.Run(rate.name, func(b *testing.B) {
			w := writers{cpus, rate.pause}
			var engine, library usage
			for b.Loop() {
				readWithEngine(b, w, &engine)
				readWithLibrary(b, w, &library)
			}
			b.ReportMetric(0, "ns/op")
			engine.report(b, "")
			library.report(b, "library-")
			b.ReportMetric(engine.perRecord()/library.perRecord(), "ratio")
		})
	}
}

// usage is what readers have done.
type usage struct {
	written, read uint64
	reading, took time.Duration
}

func (u *usage) perRecord() float64 { return float64(u.reading) / float64(u.read) }

func (u *usage) report(b *testing.B, prefix string) {
	b.ReportMetric(float64(u.written)/u.took.Seconds()/1e6, prefix+"Mrecords/s")
	b.ReportMetric(u.perRecord(), prefix+"ns/record")
	b.ReportMetric(u.reading.Seconds()/u.took.Seconds(), prefix+"cpus")
	b.ReportMetric(float64(u.written-u.read)/float64(u.written)*100, prefix+"lost-%")
}

// writers write on all processors, each a burst per pause.
type writers struct {
	cpus  []int
	pause time.Duration
}

// round writes for about three seconds; then it calls finish, which returns when all
// that was written has been read. It adds what the rest of the process used meanwhile.
func (w writers) round(b *testing.B, flood *ebpftest.Flood, u *usage, finish func()) {
	var wg sync.WaitGroup
	var writing, bursts atomic.Int64
	before, start := cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID), time.Now()
	for _, cpu := range w.cpus {
		wg.Go(func() {
			n := unpacedBursts
			if w.pause > 0 {
				n = int(sustainedTime / w.pause)
			}
			writing.Add(int64(burst(b, flood, cpu, n, w.pause)))
			bursts.Add(int64(n))
		})
	}
	wg.Wait()
	u.took += time.Since(start)
	finish()
	u.reading += cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID) - before - time.Duration(writing.Load())
	u.written += uint64(bursts.Load()) * ebpftest.FloodBurst
}

// readWithEngine is a round of the engine.
func readWithEngine(b *testing.B, w writers, u *usage) {
	flood := &ebpftest.Flood{}
	live, err := ebpf.New(ebpf.Options{RingBytes: sustainedRing}, []ebpf.Probe{flood})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	started, done := make(chan struct{}), make(chan error, 1)
	var read uint64
	go func() {
		first := true
		done <- live.Run(ctx, func(batch *model.Batch) error {
			if first {
				first = false
				close(started)
			}
			for i := range batch.Events {
				if batch.Events[i].Kind == model.KindDeferredRun {
					read++
				}
			}
			batch.Release()
			return nil
		})
	}()
	select {
	case <-started:
	case err := <-done:
		b.Fatal(err)
	}
	w.round(b, flood, u, func() {
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	})
	u.read += read
}

// readWithLibrary is a round of the library's reader, which polls as often as
// the engine does.
func readWithLibrary(b *testing.B, w writers, u *usage) {
	flood, ring, err := ebpftest.NewFlood(sustainedRing)
	if err != nil {
		b.Fatal(err)
	}
	defer flood.Close()
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	var stop atomic.Bool
	var read uint64
	done := make(chan error, 1)
	go func() {
		var record ringbuf.Record
		for {
			last := stop.Load()
			reader.SetDeadline(time.Now().Add(10 * time.Millisecond))
			err := reader.ReadInto(&record)
			for ; err == nil; err = reader.ReadInto(&record) {
				read++
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				done <- err
				return
			}
			if last {
				done <- nil
				return
			}
		}
	}()
	w.round(b, flood, u, func() {
		stop.Store(true)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	})
	u.read += read
}

const (
	// sustainedRing is the engine's own default.
	sustainedRing = 8 << 20
	sustainedTime = 3 * time.Second
	// unpacedBursts are the bursts of a processor without pauses.
	unpacedBursts = 3000
)
