package hostcounters_test

import (
	"slices"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// sar is n samples of 1 s of one CPU's softirq share, usual but for high at the marks, at which a counter has a rate.
func sar(n int, usual, high float64, name, instance string, rate float64, marks ...int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Seconds(n, func(i int) {
			value, lost := usual, 0.0
			if slices.Contains(marks, i) {
				value, lost = high, rate
			}
			add := func(name, instance string, cpu int32, mode model.CounterMode, v float64) {
				s.Builder().AddCounter(model.Counter{
					Time: s.End(), Dur: time.Second, CPU: cpu, Name: name, Instance: instance, Mode: mode, Value: v,
				})
			}
			add("cpu/softirq", "", 0, model.CounterShare, value)
			if name == "softnet/dropped" {
				add(name, instance, 0, model.CounterRate, lost)
			} else if name != "" {
				add(name, instance, -1, model.CounterRate, lost)
			}
		})
		return s.Batch()
	}
}

// bundles is two bundles, between which a total has grown.
func bundles(name, instance string, cpu int32, grown float64) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Seconds(60, func(i int) {
			if i == 0 || i == 59 {
				s.Builder().AddCounter(model.Counter{
					Time: s.End(), CPU: cpu, Name: name, Instance: instance, Mode: model.CounterTotal, Value: 5000 +
						float64(i)/59*grown,
				})
			}
		})
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	const (
		behind  = "did not keep up"
		warning = "closed warning host-counters"
	)
	detecttest.Boundaries(t, "hostcounters", []detecttest.Boundary{
		{Setting: "hostcounters.min_samples", At: 40, Says: behind,
			Stream: sar(40, 0, 1, "softnet/dropped", "", 500, 20, 21)},
		{Setting: "hostcounters.min_samples", At: 40, Says: "which show whether packets were dropped",
			Stream: sar(40, 0, 1, "", "", 0, 20, 21)},
		{Setting: "hostcounters.busy_share", At: 0.375, Says: behind,
			Stream: sar(200, 0, 0.375, "softnet/dropped", "", 500, 100, 101)},
		{Setting: "hostcounters.robust_z", At: 37.5, Says: behind,
			Stream: sar(200, 0, 0.375, "softnet/dropped", "", 500, 100, 101)},
		{Setting: "hostcounters.robust_z", At: 100.0, Says: "which show whether packets were dropped",
			Stream: sar(40, 0, 1, "", "", 0, 20, 21)},
		{Setting: "hostcounters.significance", At: 0.015625, Upper: true, Says: "closed critical",
			Stream: sar(64, 0, 0.75, "softnet/dropped", "", 500, 20, 21)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning,
			Stream: sar(64, 0, 0, "softnet/dropped", "", 60, 20, 21)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning, Stream: sar(64, 0, 0, "udp/errors", "", 60, 20, 21)},
		{Setting: "hostcounters.min_samples", At: 40, Says: "sockets in use grew", Stream: func() *model.Batch {
			return level(40, "sockets/udp", "", model.CounterGauge, func(i int) float64 { return float64(100 * i) })
		}},
		{Setting: "hostcounters.robust_z", At: 100.0, Says: "eth0 dropped",
			Stream: sar(64, 0, 0, "device/rx_dropped", "eth0", 100, 20, 21)},
		{Setting: "hostcounters.least_lost", At: 120, Says: "eth0 dropped",
			Stream: sar(64, 0, 0, "device/rx_dropped", "eth0", 60, 20, 21)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning,
			Stream: sar(64, 0, 0, "device/rx_fifo", "eth0", 60, 20, 21)},
		{Setting: "hostcounters.least_lost", At: 120, Says: "eth0 dropped",
			Stream: bundles("device/rx_dropped", "eth0", -1, 120)},
		{Setting: "hostcounters.least_lost", At: 120, Says: "with errors",
			Stream: bundles("device/rx_errors", "eth0", -1, 120)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning, Stream: bundles("softnet/dropped", "", 0, 120)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning, Stream: bundles("udp/buffer_errors", "", -1, 120)},
		{Setting: "hostcounters.least_lost", At: 120, Says: warning,
			Stream: bundles("device/rx_missed_errors", "eth0", -1, 120)},
	})
}
