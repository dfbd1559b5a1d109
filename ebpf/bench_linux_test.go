package ebpf_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/model"

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

// BenchmarkSustained writes 3 million records per second from all processors
// and measures what reading them takes, as a share of one processor, and what
// is lost. An operation is a second.
func BenchmarkSustained(b *testing.B) {
	testutil.Privileged(b)
	cpus, err := platform.OnlineCPUs()
	if err != nil {
		b.Fatal(err)
	}
	const perSecond = 3_000_000
	pause := time.Second * time.Duration(ebpftest.FloodBurst*len(cpus)) / perSecond
	flood := &ebpftest.Flood{}
	live, err := ebpf.New(ebpf.Options{}, []ebpf.Probe{flood})
	if err != nil {
		b.Fatal(err)
	}
	var events, lost uint64
	started := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() {
		first := true
		done <- live.Run(ctx, func(batch *model.Batch) error {
			if first {
				first = false
				close(started)
			}
			for i := range batch.Events {
				switch e := &batch.Events[i]; e.Kind {
				case model.KindDeferredRun:
					events++
				case model.KindLoss:
					lost += e.Args[0]
				}
			}
			batch.Release()
			return nil
		})
	}()
	<-started
	var writing atomic.Int64
	before := cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID)
	for b.Loop() {
		var wg sync.WaitGroup
		for _, cpu := range cpus {
			wg.Go(func() { writing.Add(int64(burst(b, flood, cpu, int(time.Second/pause), pause))) })
		}
		wg.Wait()
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	reading := cpuTime(b, unix.CLOCK_PROCESS_CPUTIME_ID) - before - time.Duration(writing.Load())
	b.ReportMetric(float64(events+lost)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(reading.Seconds()/b.Elapsed().Seconds(), "cpus")
	b.ReportMetric(float64(reading)/float64(events), "ns/event")
}
