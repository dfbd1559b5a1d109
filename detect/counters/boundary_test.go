package counters_test

import (
	"fmt"
	"slices"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// samples is a log of n samples of a core's DPC time, usual but for high at the
// marks, at which packets are lost when lossy.
func samples(n int, usual, high float64, lossy bool, marks ...int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		lost := 0.0
		s.Seconds(n, func(i int) {
			value, pages := usual, 10.0
			if slices.Contains(marks, i) {
				value, pages = high, 500
				if lossy {
					lost += 40
				}
			}
			for _, c := range []model.Counter{
				{CPU: 0, Name: "Processor/% DPC Time", Instance: "0", Value: value},
				{CPU: -1, Name: "Network Interface/Packets Received Discarded", Instance: "nic", Value: lost},
				{CPU: -1, Name: "Memory/Pages/sec", Value: pages},
			} {
				c.Time = s.End()
				s.Builder().AddCounter(c)
			}
		})
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	const (
		coincides = "no time for other queued work while DPCs run"
		unproven  = "chance alone"
		always    = "no evidence of a link"
	)
	detecttest.Boundaries(t, "counters", []detecttest.Boundary{
		{Setting: "counters.min_samples", At: 40, Says: "no loss that the log shows",
			Stream: samples(40, 0, 1, false, 20, 21)},
		{Setting: "counters.min_samples", At: 40, With: map[string]string{"counters.significance": "0.5"},
			Says: always, Stream: samples(40, 0.5, 0.5, true, 20, 21)},
		{Setting: "counters.busy_share", At: 0.375, Says: coincides,
			Stream: samples(200, 0, 0.375, true, 100, 101)},
		{Setting: "counters.busy_share", At: 0.375, Says: unproven, Stream: samples(40, 0, 0.375, true, 20, 21)},
		{Setting: "counters.robust_z", At: 37.5, Says: coincides, Stream: samples(200, 0, 0.375, true, 100, 101)},
		{Setting: "counters.robust_z", At: 100.0, Says: "no loss that the log shows",
			Stream: samples(40, 0, 1, false, 20, 21)},
		{Setting: "counters.significance", At: 0.005, Upper: true, Says: coincides,
			Stream: samples(200, 0, 0.375, true, 100, 101)},
		{Setting: "counters.significance", At: 0.015625, Upper: true, Says: always,
			Stream: samples(64, 0.5, 0.5, true, 20, 21)},
		{Setting: "counters.significance", At: 0.003125, Upper: true, Says: "closed warning",
			Stream: samples(64, 0, 0.375, true, 20, 21)},
		{Setting: "counters.significance", At: 0.015625, Upper: true, Says: "It rises too: Memory/Pages/sec",
			Stream: samples(64, 0.5, 0.5, true, 20, 21)},
		// CPU 1 is as unusually busy as CPU 0, which has a little more.
		{Setting: "counters.busy_share", At: 0.375, Says: "CPUs 0 and 1", Stream: together},
		{Setting: "counters.robust_z", At: 37.5, Says: "CPUs 0 and 1", Stream: together},
		{Setting: "counters.max_samples", At: 64, Upper: true, Says: "in 64 samples",
			Stream: samples(64, 0, 0.375, true, 20, 21)},
	})
}

// together is a log of two CPUs that are busy with DPCs when packets are lost.
func together() *model.Batch {
	s := detecttest.NewWindows()
	lost := 0.0
	s.Seconds(200, func(i int) {
		high := [2]float64{}
		if i == 100 || i == 101 {
			high = [2]float64{0.385, 0.375}
			lost += 40
		}
		for cpu, v := range high {
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), CPU: int32(cpu), Name: "Processor/% DPC Time", Instance: fmt.Sprint(cpu), Value: v,
			})
		}
		s.Builder().AddCounter(model.Counter{
			Time: s.End(), CPU: -1, Name: "Network Interface/Packets Received Discarded", Instance: "nic", Value: lost,
		})
	})
	return s.Batch()
}
