package starvation_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

func TestWindowsTrace(t *testing.T) {
	s := detecttest.NewWindows()
	s.Seconds(20, func(i int) {
		run := model.Histogram{}
		for range 1000 {
			run.Observe(30_000)
		}
		run.Observe(3_200_000)
		s.Builder().
			AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Count: run.Count,
				Busy: time.Duration(run.Sum), MaxRun: time.Duration(run.Max), Name: "ndis.sys!ndisInterruptDpc",
				Driver: "ndis.sys", RunHist: &run,
			})
	})
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityInfo,
			Contains: []string{
				"ndis.sys ran a DPC for 3.2 ms on CPU 0, where the guideline is 100 µs",
				"only wraps other drivers",
			},
		},
	)
}

func TestWindowsStarvation(t *testing.T) {
	stream := func(discards uint64) *model.Batch {
		s := detecttest.NewWindows()
		s.Seconds(12, func(int) {
			for _, routine := range []string{"nic.sys!a", "nic.sys!b"} {
				s.Builder().
					AddDeferredHist(model.DeferredHist{
						Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 9000, Busy: 440 * time.Millisecond,
						MaxRun: 80 * time.Microsecond, Name: routine, Driver: "nic.sys",
					})
			}
			if discards > 0 {
				s.Drop(
					model.Drop{
						CPU:    -1,
						Place:  model.PlaceRing,
						Count:  discards,
						Device: "Ethernet",
						Reason: "Packets Received Discarded",
					},
				)
			}
		})
		return s.Batch()
	}
	detecttest.Check(
		t,
		stream(900),
		detecttest.Start,
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityWarning,
			Within:   5 * time.Second,
			Contains: []string{
				"CPU 2 spends 88 % of its time in nic.sys and does not keep up",
				`"driver": "nic.sys"`,
				"RSS keeps a flow on one CPU",
			},
			Lacks: []string{"rps_cpus"},
		},
	)
	detecttest.Check(
		t,
		stream(0),
		detecttest.Start,
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityInfo,
			Contains: []string{"no data that would show what it delayed"},
		},
	)
}

// longRuns is a second in which each driver ran one long DPC and one long ISR
// on each of two CPUs.
func longRuns(s *detecttest.Stream, worst time.Duration, drivers ...string) {
	for i, driver := range drivers {
		for cpu := range int32(2) {
			run := model.Histogram{}
			longest := worst - time.Duration(i)*10*time.Microsecond - time.Duration(cpu)*time.Microsecond
			run.Observe(uint64(longest))
			s.Builder().
				AddDeferredHist(model.DeferredHist{
					Time: s.End(), Dur: time.Second, CPU: cpu, Class: model.ClassTimerDPC, Count: 1, Busy: longest,
					MaxRun: longest, Name: driver + "+0x10", Driver: driver, RunHist: &run,
				})
			s.Builder().
				AddInterruptHist(model.InterruptHist{
					Time: s.End(), Dur: time.Second, CPU: cpu, Class: model.ClassISRMSI, Count: 1, Busy: longest,
					MaxRun: longest, Name: driver + "+0x20", Driver: driver, RunHist: &run,
				})
		}
	}
}

func TestDeferredRunsAreOneFindingPerClass(t *testing.T) {
	s := detecttest.NewWindows()
	longRuns(
		s,
		2*time.Millisecond,
		"e1d.sys",
		"ndis.sys",
		"ntoskrnl.exe",
		"<unknown>",
		"a.sys",
		"b.sys",
		"c.sys",
		"d.sys",
		"e.sys",
		"f.sys",
		"g.sys",
		"h.sys",
	)
	one := []string{
		"on CPU 0",
		"11 other drivers exceeded it too",
		"longest of ndis.sys",
		`"value": 24`,
		`"value": 2`,
		"further drivers",
		"Update or remove e1d.sys",
	}
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityInfo,
			Closed:   true,
			Contains: append(one, "e1d.sys ran a DPC for 2 ms", "longest DPC: e1d.sys+0x10 on CPU 0"),
		},
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityInfo,
			Closed:   true,
			Contains: append(one, "e1d.sys ran an ISR for 2 ms", "longest ISR: e1d.sys+0x20 on CPU 0"),
		},
	)
}

func TestDeferredRunAdvice(t *testing.T) {
	for driver, advice := range map[string]want{
		"NDIS.SYS": {Contains: []string{"Find the driver behind NDIS.SYS"}, Lacks: []string{"update NDIS.SYS", "remove"}},
		"Wdf01000.sys": {Contains: []string{"Find the driver behind " +
			"Wdf01000.sys", "KMDF"}, Lacks: []string{"update", "remove"}},
		"ntoskrnl.exe": {Contains: []string{"part of Windows", "symbols"}, Lacks: []string{"update ntoskrnl.exe", "remove"}},
		"hal.dll":      {Contains: []string{"part of Windows"}, Lacks: []string{"update hal.dll", "remove"}},
		"<unknown>":    {Contains: []string{"LOADER"}, Lacks: []string{"remove"}},
		"rtwlane.sys":  {Contains: []string{"Update or remove rtwlane.sys"}},
	} {
		t.Run(driver, func(t *testing.T) {
			s := detecttest.NewWindows()
			s.Seconds(15, func(int) { longRuns(s, 2*time.Millisecond, driver) })
			advice.Detector, advice.Severity = "dpc-starvation", model.SeverityInfo
			detecttest.Check(t, s.Batch(), detecttest.Start, advice, advice)
		})
	}
}

// TestWatchdogFinding has a DPC near the watchdog's limit as the last thing
// that a capture shows: the verdict's severity outlives the end of the stream.
func TestWatchdogFinding(t *testing.T) {
	s := detecttest.NewWindows()
	longRuns(s, 12*time.Second, "stuck.sys")
	critical := want{
		Detector: "dpc-starvation",
		Severity: model.SeverityCritical,
		Closed:   true,
		Contains: []string{"bug check 0x133"},
	}
	detecttest.Check(t, s.Batch(), detecttest.Start, critical, critical)
}

// TestSilentFlow has a CPU that is busy with DPCs for six seconds, in which a
// flow falls silent. It is a victim only where that CPU handled it, and where it
// was regular before.
func TestSilentFlow(t *testing.T) {
	stream := func(cpu int32, regular, silent bool) *model.Batch {
		s := detecttest.NewWindows()
		s.Seconds(30, func(i int) {
			busy := i >= 6 && i < 12
			share := 10 * time.Millisecond
			if busy {
				share = 900 * time.Millisecond
			}
			s.Builder().
				AddDeferredHist(model.DeferredHist{
					Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 9000, Busy: share,
					MaxRun: 80 * time.Microsecond, Name: "nic.sys!a", Driver: "nic.sys",
				})
			for n := range 10 {
				if busy && silent || !regular && n%5 > 0 && i%3 > 0 {
					continue
				}
				s.Builder().
					AddPacket(model.Packet{Time: s.Now().Add(
						time.Duration(n) * 100 * time.Millisecond,
					), CPU: cpu, PID: 500, TID: -1, Protocol: model.ProtocolUDP, LocalPort: 5405, RemotePort: 5405,
						Direction: model.DirectionRX, SizeBytes: 64,
						LocalAddr: "10.0.0.1", RemoteAddr: "10.0.0.2", Process: "heartbeatd.exe"})
			}
		})
		return s.Batch()
	}
	nothing := want{
		Detector: "dpc-starvation",
		Severity: model.SeverityInfo,
		Closed:   true,
		Contains: []string{"no data that would show what it delayed"},
		Lacks:    []string{"regular flow"},
	}
	for name, c := range map[string]struct {
		cpu             int32
		regular, silent bool
		want            want
	}{
		"silent": {2, true, true, want{
			Detector: "dpc-starvation", Severity: model.SeverityWarning, Closed: true,
			Contains: []string{
				"CPU 2 spent 90 % of its time in DPCs of nic.sys; heartbeatd.exe[500] (udp/5405 from 10.0.0.2) " +
					"received nothing for 6.1 s (normally a packet every 100 ms)",
				"CPU 2 handled the packets", "Compare with the sender's log",
			},
		}},
		"on another CPU": {1, true, true, nothing},
		"not silent": {2, true, false, want{
			Detector: "dpc-starvation", Severity: model.SeverityInfo, Closed: true,
			Contains: []string{"nothing was seen to be delayed", "1 regular flow through CPU 2 continued"},
		}},
		"never regular":    {2, false, true, nothing},
		"where is unknown": {-1, true, true, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			detecttest.Check(t, stream(c.cpu, c.regular, c.silent), detecttest.Start.Add(6*time.Second), c.want)
		})
	}
}
