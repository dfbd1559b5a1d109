package all_test

import (
	"slices"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/fold"
	"lostbeat/model"
)

type verdict = detecttest.Verdict

func TestQuietHost(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "")
	s.Pool("ephemeral-udp", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
	s.Seconds(120, func(i int) {
		s.Quiet()
		k := s.Acquire(
			time.Millisecond,
			detecttest.Socket{
				PID:      40,
				Process:  "dns",
				Protocol: model.ProtocolUDP,
				LPort:    uint16(33000 + i),
				How:      model.HowConnect,
			},
		)
		s.Release(20*time.Millisecond, k)
	})
	detecttest.Check(t, s.Batch(), 0)
}

// TestHealthyLoads are hosts at work without a fault of the kind.
func TestHealthyLoads(t *testing.T) {
	for _, tt := range []struct {
		name string
		each func(s *detecttest.Stream, i int)
	}{
		{"a build on every CPU", func(s *detecttest.Stream, i int) {
			for cpu := range int32(2) {
				s.CPU(cpu, detecttest.Load{NetRX: 0.01, User: 0.97, Packets: 200, MaxWait: 12 * time.Millisecond})
			}
			// ksoftirqd waits for its turn now and then: nothing is to blame but the tasks.
			for j := range 4 {
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: s.Now().Add(time.Duration(j+1) * 200 * time.Millisecond), Dur: 40 * time.Microsecond,
					CPU: int32(j % 2), PID: -1, TID: -1, Class: model.ClassSoftirq, Name: "RCU", Wait: 12 * time.Millisecond,
					Before: "TIMER",
				})
			}
		}},
		{
			"a small buffer whose reader is fine",
			func(s *detecttest.Stream, i int) { s.Quiet(); s.Queue(0, 190_000, time.Millisecond) },
		},
		{"a TCP reader that has stopped: nothing is lost", func(s *detecttest.Stream, i int) {
			s.Quiet()
			s.Builder().AddSocketQueue(model.SocketQueue{
				Time: s.End(), Dur: time.Second, PID: 812, TID: 812, Cookie: 9, Protocol: model.ProtocolTCP, LocalPort: 80,
				QueuedBytes: 6 << 20, LimitBytes: 6 << 20, Idle: time.Duration(i) * time.Second, Process: "web",
			})
		}},
		{"a UDP reader that has stopped while nothing comes", func(s *detecttest.Stream, i int) {
			s.Quiet()
			s.Queue(0, 190_000, time.Duration(i)*time.Second)
		}},
		{"a few drops an hour in a ring", func(s *detecttest.Stream, i int) {
			s.Quiet()
			s.Builder().AddDeviceStats(model.DeviceStats{
				Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 30_000,
			})
			if i%20 == 0 {
				s.Drop(model.Drop{
					CPU: -1, Place: model.PlaceRing, Count: 8, Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
				})
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Seconds(60, func(i int) { tt.each(s, i) })
			detecttest.Judge(t, s.Batch(), 0, verdict{})
		})
	}
}

// TestOneForecast wants the finding of a leak and the screen to say the same of
// its pool, and the screen to say it without detectors, too.
func TestOneForecast(t *testing.T) {
	s := detecttest.Ports()
	s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5999)
	port := uint16(5000)
	s.Seconds(30, func(int) { s.Quiet(); s.Take(detecttest.Leaker(), 4, &port) })
	b := s.Batch()
	shared, own := fold.NewHistory(), fold.NewHistory()
	e := detect.New(all.Settings(), detect.Options{})
	e.Show(shared)
	var last model.Finding
	shared.Begin()
	e.Apply(b, func(_ model.Time, f model.Finding) { last = f })
	shared.End()
	own.Apply(b)
	for name, h := range map[string]*fold.History{"shared": shared, "own": own} {
		snap := h.Publish()
		found := false
		for _, p := range snap.Frame(snap.At(last.End - 1)).Pools {
			if p.Key.Name != "svc" {
				continue
			}
			found = true
			left := p.Value.Filling.Left
			if p.Value.Filling.PerSecond != 4 || left < 200*time.Second || left > 250*time.Second {
				t.Errorf("%s: %+v", name, p.Value.Filling)
			}
			want := detect.Evidence("pool exhausted in", left.Seconds(), "s")
			if name == "shared" && !slices.Contains(last.Evidence, want) {
				t.Errorf("the screen says %v, the finding %q %+v", left, last.Title, last.Evidence)
			}
		}
		if !found {
			t.Errorf("%s: no pool", name)
		}
	}
}
