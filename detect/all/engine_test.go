package all_test

import (
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

// TestLastSecond ends the stream in the middle of things: a last second is
// judged when at least half of it has been seen. Less than that tells more of a
// fault that is known, and makes none.
func TestLastSecond(t *testing.T) {
	stream := func(whole int, last time.Duration, drops uint64) *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "")
		b := s.Builder()
		add := func(at model.Time, d time.Duration) {
			part := d.Seconds()
			b.AddCPUTime(model.CPUTime{Time: at, Dur: d, CPU: 0, Softirq: d / 10, Idle: d - d/10})
			b.AddDeferredHist(
				model.DeferredHist{Time: at, Dur: d, CPU: 0, Class: model.ClassSoftirq, Count: 100, Busy: d / 10, Name: "NET_RX"},
			)
			b.AddNAPI(model.NAPI{Time: at, Dur: d, CPU: 0, Ifindex: 2, Device: "eth0", Polls: 100, Packets: 1000, FullPolls: 1})
			b.AddDeviceStats(model.DeviceStats{Time: at, Dur: d, Ifindex: 2, Device: "eth0", RXPackets: 1000})
			b.AddDrop(
				model.Drop{
					Time:    at,
					Dur:     d,
					CPU:     -1,
					PID:     -1,
					TID:     -1,
					Place:   model.PlaceRing,
					Count:   uint64(part * float64(drops)),
					Ifindex: 2,
					Device:  "eth0",
					Queue:   -1,
					Reason:  "rx_missed_errors",
				},
			)
		}
		s.Seconds(whole, func(int) { add(s.Now().Add(time.Second), time.Second) })
		if last > 0 {
			add(s.Now().Add(last), last)
		}
		return s.Batch()
	}
	ring := func(parts ...string) want {
		return want{Detector: "ring-drop", Severity: model.SeverityWarning, Contains: parts}
	}
	detecttest.Check(t, stream(2, 0, 300), detecttest.Start)
	detecttest.Check(t, stream(2, 300*time.Millisecond, 300), detecttest.Start)
	detecttest.Check(t, stream(2, 600*time.Millisecond, 300), detecttest.Start, ring("780 in 2.6 s"))
	detecttest.Check(t, stream(3, 0, 300), detecttest.Start, ring("900 in 3 s"))
	detecttest.Check(t, stream(3, 300*time.Millisecond, 300), detecttest.Start, ring("990 in 3.3 s"))
}

func TestLossIsSaid(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(12, func(i int) {
		s.Starved()
		if i == 3 {
			s.Builder().AddLoss(model.Loss{Time: s.End(), Dur: time.Second, CPU: -1, Lost: 77, Origin: "ringbuf"})
		}
	})
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "dpc-starvation",
			Severity: model.SeverityCritical,
			Contains: []string{`"loss": 77`, "counts are lower bounds"},
		},
	)
}

func TestSettings(t *testing.T) {
	s := all.Settings()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Fields() {
		before := f.String()
		if err := f.Set(before); err != nil {
			t.Errorf("%s: its own text %q: %v", f.Name, before, err)
		}
		if f.String() != before {
			t.Errorf("%s: %q became %q", f.Name, before, f)
		}
		if f.Doc == "" || f.Reason == "" {
			t.Errorf("%s is not documented", f.Name)
		}
		if f.Set("-1") == nil || f.Set("x") == nil {
			t.Errorf("%s takes nonsense", f.Name)
		}
	}
}
