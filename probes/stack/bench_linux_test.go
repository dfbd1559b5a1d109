package stack

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"
)

// spin counts on every CPU at once and returns how long the slowest took.
func spin() time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.NumCPU() {
		wg.Go(func() {
			x := uint64(1)
			for range 40_000_000 {
				x = x*6364136223846793005 + 1442695040888963407
			}
			runtime.KeepAlive(x)
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkSampling compares a computation on all CPUs without and with
// sampling, interleaved; the best of each counts.
func BenchmarkSampling(b *testing.B) {
	costs := ebpftest.Costs(b, "stack_")
	s := ebpftest.Start(b, ebpf.Options{}, New())
	without, with := time.Hour, time.Hour
	for b.Loop() {
		without = min(without, spin())
		s.Request(model.Request{Kind: model.RequestStacks, CPU: -1, PID: -1, TID: -1, For: 400 * time.Millisecond})
		time.Sleep(150 * time.Millisecond) // until it is taken
		with = min(with, spin())
		time.Sleep(500 * time.Millisecond) // until it is over
	}
	b.ReportMetric(float64(without.Microseconds()), "us-without")
	b.ReportMetric(float64(with.Microseconds()), "us-with")
	ebpftest.ReportCosts(b, costs(), "stack_")
}
