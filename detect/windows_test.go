package detect_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

func TestWindowsTrace(t *testing.T) {
	s := detecttest.NewWindows()
	seconds(s, 20, func(i int) {
		run := model.Histogram{}
		for range 1000 {
			run.Observe(30_000)
		}
		run.Observe(3_200_000)
		s.Builder().AddDeferredHist(model.DeferredHist{Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Count: run.Count, Busy: time.Duration(run.Sum), MaxRun: time.Duration(run.Max), Name: "ndis.sys!ndisInterruptDpc", Driver: "ndis.sys", RunHist: &run})
	})
	check(t, s.Batch(), detecttest.Start, want{detector: "dpc-starvation", severity: model.SeverityInfo, contains: []string{"ndis.sys ran a DPC for 3.2 ms on CPU 0, where the guideline is 100 µs", "only wraps other drivers"}})
}

func TestWindowsStarvation(t *testing.T) {
	stream := func(discards uint64) *model.Batch {
		s := detecttest.NewWindows()
		seconds(s, 12, func(int) {
			for _, routine := range []string{"nic.sys!a", "nic.sys!b"} {
				s.Builder().AddDeferredHist(model.DeferredHist{Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 9000, Busy: 440 * time.Millisecond, MaxRun: 80 * time.Microsecond, Name: routine, Driver: "nic.sys"})
			}
			if discards > 0 {
				s.Drop(model.Drop{CPU: -1, Place: model.PlaceRing, Count: discards, Device: "Ethernet", Reason: "Packets Received Discarded"})
			}
		})
		return s.Batch()
	}
	check(t, stream(900), detecttest.Start, want{detector: "dpc-starvation", severity: model.SeverityWarning, within: 5 * time.Second, contains: []string{"CPU 2 spends 88 % of its time in nic.sys and drops", `"driver": "nic.sys"`, "RSS keeps a flow on one CPU"}, lacks: []string{"rps_cpus"}})
	check(t, stream(0), detecttest.Start, want{detector: "dpc-starvation", severity: model.SeverityInfo, contains: []string{"nothing that could show a victim"}})
}
