package all_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/fold"
	"lostbeat/internal/words"
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

// TestOneForecast wants title and evidence of each finding of a leak and the screen
// to say the same of its pool in the same second, and the screen to say it without
// detectors, too.
func TestOneForecast(t *testing.T) {
	const size = 1000
	for name, second := range map[string]func(s *detecttest.Stream, port *uint16, i int){
		"steady": func(s *detecttest.Stream, port *uint16, _ int) { s.Take(detecttest.Leaker(), 4, port) },
		"faster and faster": func(s *detecttest.Stream, port *uint16, i int) {
			s.Take(detecttest.Leaker(), 4+i/8, port)
		},
		"two processes, one of which is a leak": func(s *detecttest.Stream, port *uint16, i int) {
			s.Take(detecttest.Leaker(), 4, port)
			k := detecttest.Leaker()
			k.PID, k.Process = 7, "other"
			if i%4 == 0 {
				s.Take(k, 1, port)
			}
		},
		"beside ports at rest": func(s *detecttest.Stream, port *uint16, _ int) {
			k := detecttest.Leaker()
			s.Take(k, 4, port)
			for i, k := range s.Take(k, 3, port) {
				s.Rest(900*time.Millisecond+time.Duration(i), time.Minute, k)
			}
		},
		"workers of one program": func(s *detecttest.Stream, port *uint16, _ int) {
			for n := range 4 {
				k := detecttest.Leaker()
				k.PID += int32(n)
				s.Take(k, 2, port)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := detecttest.Ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5000+size-1)
			port := uint16(5000)
			s.Seconds(45, func(i int) { s.Quiet(); second(s, &port, i) })
			b := s.Batch()
			shared, own := fold.NewHistory(), fold.NewHistory()
			e := detect.New(all.Settings(), detect.Options{})
			e.Show(shared)
			var out []detecttest.Emission
			shared.Begin()
			e.Apply(b, func(at model.Time, f model.Finding) {
				out = append(out, detecttest.Emission{At: at,
					Finding: detecttest.Blanks(f)})
			})
			shared.End()
			own.Apply(b)
			shown, showsAlone := forecasts(shared), forecasts(own)
			compared := 0
			for _, e := range out {
				f := e.Finding
				left := evidenceOf(f, "time until the pool is exhausted")
				if left < 0 {
					continue
				}
				compared++
				screen, alone := shown(e.At-1), showsAlone(e.At-1)
				want := detect.Evidence("", screen.Left.Seconds(), "s").Value
				if left != want || f.Severity > model.SeverityInfo && !strings.Contains(f.Title, words.Span(screen.Left)) {
					t.Errorf("the screen says %s (%v s), the finding %v s: %s", words.Span(screen.Left), want, left, f.Title)
				}
				if screen != alone {
					t.Errorf("with detectors the screen says %+v, without %+v", screen, alone)
				}
			}
			if compared < 4 {
				t.Errorf("%d findings with a forecast: %s", compared, detecttest.Dump(out))
			}
		})
	}
}

// forecasts returns what a screen says of pool svc at a time.
func forecasts(h *fold.History) func(at model.Time) fold.Forecast {
	snap := h.Publish()
	return func(at model.Time) (f fold.Forecast) {
		for _, p := range snap.Frame(snap.At(at)).Pools {
			if p.Key.Name == "svc" {
				f = p.Value.Filling
			}
		}
		return f
	}
}
