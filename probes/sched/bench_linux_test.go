package sched

import (
	"math"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// trips is how often a byte goes there and back in one measurement.
const trips = 100000

// pipeNS is the CPU time of one round trip over a pipe between two processes,
// which switches twice, in nanoseconds: other load does not show in it.
func pipeNS(b *testing.B) float64 {
	b.Helper()
	// On one CPU: where the scheduler places the two is worth more than what is measured.
	command := exec.Command("taskset", "-c", "0", "perf", "bench", "sched", "pipe", "-l", strconv.Itoa(trips))
	if out, err := command.CombinedOutput(); err != nil {
		testutil.Unavailable(b, "perf: %v: %s", err, out)
	}
	return float64(command.ProcessState.SystemTime()+command.ProcessState.UserTime()) / trips
}

// BenchmarkOtherThreads measures what switches of threads that are not watched
// cost: without the probe, with it while nothing is watched, and while another
// process is. The rounds are interleaved; of each the best counts.
func BenchmarkOtherThreads(b *testing.B) {
	c := newChild(b, "sleep")
	c.begin()
	best := [3]float64{math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}
	for range max(b.N, 3) {
		none := pipeNS(b)
		s := ebpftest.Start(b, ebpf.Options{}, New())
		idle := pipeNS(b)
		r := processOf(c)
		r.Kind, r.For = model.RequestSched, 30*time.Second
		s.Request(r)
		s.WaitFor(10*time.Second, "request", func(b *model.Batch, e *model.Event) bool {
			r, ok := b.RequestEvent(e)
			return ok && r.State == model.RequestOn
		})
		on := pipeNS(b)
		s.Stop()
		b.Logf("no probe %.0f, nothing watched %.0f, another process watched %.0f", none, idle, on)
		for i, ns := range []float64{none, idle, on} {
			best[i] = min(best[i], ns)
		}
	}
	for i, name := range []string{"none", "idle", "watching"} {
		b.ReportMetric(best[i], name+"-ns/trip")
	}
}

// BenchmarkPrograms reports the time of each program, while a thread that
// switches as often as it can is watched.
func BenchmarkPrograms(b *testing.B) {
	costs := ebpftest.Costs(b, "sched_")
	s := ebpftest.Start(b, ebpf.Options{}, New())
	command := exec.Command("perf", "bench", "sched", "pipe", "-l", "200000")
	if err := command.Start(); err != nil {
		testutil.Unavailable(b, "perf: %v", err)
	}
	s.Request(model.Request{
		Kind: model.RequestSched, PID: int32(command.Process.Pid), TID: -1, CPU: -1, For: 30 * time.Second,
	})
	if err := command.Wait(); err != nil {
		b.Error(err)
	}
	ebpftest.ReportCosts(b, costs(), "sched_")
}
