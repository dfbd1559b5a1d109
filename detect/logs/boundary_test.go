package logs_test

import (
	"fmt"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// silence is a stream of n samples of two CPUs, of which CPU 0 spends usual of its time in DPCs and high during the
// samples from 20 on in which a log is silent for that long; it expects so many silences of this length.
func silence(n int, usual, high float64, long time.Duration, expected float64) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		s.Seconds(n, func(i int) {
			share := usual
			end := 20 + int(long/time.Second)
			if i >= 20 && i < end {
				share = high
			}
			for cpu, v := range []float64{share, 0} {
				s.Builder().AddCounter(model.Counter{
					Time: s.End(), CPU: int32(cpu), Name: "Processor/% DPC Time", Instance: fmt.Sprint(cpu), Value: v,
				})
			}
			if i == end-1 {
				s.Builder().AddLogGap(model.LogGap{
					Time: s.End(), Dur: long, ExpectedCount: expected, Usual: time.Millisecond, Lines: 1000, Log: "x.log",
				})
			}
		})
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	const blamed = "which chance alone does in"
	detecttest.Boundaries(t, "logs", []detecttest.Boundary{
		{Setting: "logs.max_expected", At: 0.0078125, Upper: true, Says: "x.log has no line",
			Stream: silence(40, 0, 0, 4*time.Second, 0.0078125)},
		{Setting: "logs.least_gap", At: 4 * time.Second, Says: "x.log has no line",
			Stream: silence(40, 0, 0, 4*time.Second, 0)},
		{Setting: "logs.min_samples", At: 40, With: map[string]string{"logs.significance": "0.5"}, Says: blamed,
			Stream: silence(40, 0, 0.5, 4*time.Second, 0)},
		{Setting: "logs.busy_share", At: 0.375, Says: blamed, Stream: silence(200, 0, 0.375, 4*time.Second, 0)},
		{Setting: "logs.robust_z", At: 37.5, Says: blamed, Stream: silence(200, 0, 0.375, 4*time.Second, 0)},
		{Setting: "logs.significance", At: 0.005, Upper: true, Says: blamed,
			Stream: silence(200, 0, 0.375, 4*time.Second, 0)},
		{Setting: "logs.significance", At: 0.005, Upper: true, Says: "their time rises then",
			Stream: silence(200, 0, 0.125, 4*time.Second, 0)},
	})
}
