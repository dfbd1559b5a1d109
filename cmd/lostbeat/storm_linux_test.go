package main

import (
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lostbeat/internal/stats"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// storm is datagrams over the loopback device of a namespace, from two threads as fast as they can.
type storm struct {
	sent atomic.Uint64
	stop func()
}

func startStorm(t *testing.T, ns *testutil.Netns) *storm {
	t.Helper()
	s := &storm{}
	var conns []*net.UDPConn
	ns.Do(t, func() error {
		to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		t.Cleanup(func() { to.Close() })
		for range 2 {
			from, err := net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
			if err != nil {
				return err
			}
			conns = append(conns, from)
		}
		return nil
	})
	var over atomic.Bool
	var wait sync.WaitGroup
	for _, from := range conns {
		wait.Go(func() {
			defer from.Close()
			payload := make([]byte, 64)
			for !over.Load() {
				if _, err := from.Write(payload); err == nil {
					s.sent.Add(1)
				}
			}
		})
	}
	s.stop = sync.OnceFunc(func() { over.Store(true); wait.Wait() })
	t.Cleanup(s.stop)
	return s
}

// rate is how many datagrams a second are sent: the best of some seconds, as others use the machine, too.
func (s *storm) rate(seconds int) (best float64) {
	for range seconds {
		from, began := s.sent.Load(), time.Now()
		time.Sleep(time.Second) // the storm goes on
		best = max(best, float64(s.sent.Load()-from)/time.Since(began).Seconds())
	}
	return best
}

// A storm with every run of deferred work traced, and a recorder that is stopped in it again and again: the storm is as
// fast as beside a recorder that reads, memory stays bounded, what was missed is counted, and the recorder goes on.
// It takes a minute.
func TestLongStuckInAStorm(t *testing.T) {
	if os.Getenv("LOSTBEAT_LARGE") == "" {
		t.Skip("LOSTBEAT_LARGE is not set")
	}
	testutil.Privileged(t)
	const rounds, seconds = 6, 3
	ns := testutil.NewNetns(t)
	rec := startRecorder(t, "--trace", "--max-cpu", "0")
	s := startStorm(t, ns)
	s.rate(1)
	pid := rec.cmd.Process.Pid
	var reads, stuck []float64
	most := 0
	for range rounds {
		reads = append(reads, s.rate(seconds))
		most = max(most, status(t, pid, "VmRSS"))
		rec.signal(syscall.SIGSTOP)
		stuck = append(stuck, s.rate(seconds))
		rec.signal(syscall.SIGCONT)
		most = max(most, status(t, pid, "VmRSS"))
	}
	reads = append(reads, s.rate(seconds))
	s.stop()
	batches := rec.stop()
	events, lost, last := stormEvents(batches)
	perSecond := make([]float64, 0, len(events))
	for _, n := range events {
		perSecond = append(perSecond, float64(n))
	}
	t.Logf("packets/s, median (and range): %.0f (%.0f to %.0f) beside a recorder that reads, %.0f (%.0f to %.0f) while "+
		"it is stopped; %d MiB at most; %d events lost, all counted; %.0f events/s at most",
		stats.Median(reads), slices.Min(reads), slices.Max(reads), stats.Median(stuck), slices.Min(stuck),
		slices.Max(stuck), most>>10, lost, slices.Max(perSecond))
	if got, want := stats.Median(stuck), stats.Median(reads); got < 0.8*want {
		t.Errorf("%.0f packets/s while the recorder is stopped, %.0f beside one that reads", got, want)
	}
	if most > 128<<10 {
		t.Errorf("the recorder takes %d MiB", most>>10)
	}
	if lost == 0 {
		t.Error("no loss is written")
	}
	if after := last.traced.Sub(last.loss); after < seconds*time.Second/2 {
		t.Errorf("runs are traced for %v after the last loss", after)
	}
}

// stormEnd is when the last run was traced, and the last loss of the ring began.
type stormEnd struct{ traced, loss model.Time }

// stormEvents returns how many runs were traced or lost in each second, how many were lost, and the last times.
func stormEvents(batches []*model.Batch) (perSecond map[model.Time]uint64, lost uint64, last stormEnd) {
	perSecond = make(map[model.Time]uint64)
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			if e.Kind == model.KindDeferredRun || e.Kind == model.KindInterruptRun {
				perSecond[e.Time/model.Time(time.Second)]++
				last.traced = max(last.traced, e.Time)
			} else if v, ok := b.Loss(e); ok && v.Origin == "ringbuf" {
				lost += v.Lost
				last.loss = max(last.loss, e.Time.Add(-v.Dur))
			}
		}
	}
	return perSecond, lost, last
}
