package ebpf_test

import (
	"context"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
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
		before := processorTime(b)
		close(release)
		for got := 0; got < bursts*ebpftest.FloodBurst; {
			got += <-out
		}
		spent += processorTime(b) - before
		events += bursts * ebpftest.FloodBurst
	}
	b.ReportMetric(float64(spent)/float64(events), "ns/event")
	b.ReportMetric(0, "ns/op")
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

func processorTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
