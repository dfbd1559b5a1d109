package leak_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

func TestPortLeak(t *testing.T) {
	for _, how := range []model.How{model.HowBindAny, model.HowConnect, model.HowSend} {
		t.Run(how.String(), func(t *testing.T) {
			s := detecttest.Ports()
			s.Seconds(5, func(int) { s.Quiet() })
			fault := s.Now()
			port := uint16(33000)
			k := detecttest.Leaker()
			k.How = how
			if how != model.HowBindAny {
				k.Remote, k.RPort = "10.0.0.9", 53
			}
			s.Seconds(20, func(int) { s.Take(k, 20, &port) })
			detecttest.Check(t, s.Batch(), fault, want{
				Detector: "port-leak", Severity: model.SeverityWarning, Within: 5 * time.Second,
				Contains: []string{
					"rpc-client[4312] took 400 udp ports",
					"pool exhausted in about 23 min",
					"churn",
					"ports in TIME_WAIT",
					`"pid": 4312`,
				}})
		})
	}
}

// TestLeakOfSmallPool wants a leak in a pool of 100 ports to be called one
// while most of the pool is free still.
func TestLeakOfSmallPool(t *testing.T) {
	s := detecttest.Ports()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	k := detecttest.Leaker()
	k.How = model.HowBindPort
	port := uint16(5000)
	s.Seconds(8, func(int) { s.Take(k, 8, &port) })
	s.Seconds(3, func(int) { s.Quiet() })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityCritical,
			Within:   6 * time.Second,
			Contains: []string{"of pool rpc (udp 5000-5099)", "bind to ports of its choice"},
		},
	)
}

// TestLeakInNamespace wants the namespace of the pool to be named, also after
// it has gone together with the process.
func TestLeakInNamespace(t *testing.T) {
	s := detecttest.Ports()
	pool := model.PortPool{
		Time:      s.Now(),
		Protocol:  model.ProtocolUDP,
		Low:       2000,
		High:      2999,
		Size:      1000,
		Source:    model.PoolEphemeral,
		Netns:     9,
		NetnsName: "blue",
		Name:      "ephemeral",
	}
	s.Builder().AddPortPool(pool)
	port := uint16(2000)
	var held []model.PortAcquire
	s.Seconds(12, func(i int) {
		for n := range 20 {
			a := model.PortAcquire{
				Time:      s.Now().Add(time.Duration(n+1) * 40 * time.Millisecond),
				PID:       7,
				TID:       7,
				Cookie:    uint64(port),
				Protocol:  model.ProtocolUDP,
				LocalPort: port,
				How:       model.HowBindAny,
				Netns:     9,
				LocalAddr: "0.0.0.0",
				Process:   "leaky",
			}
			port++
			s.Builder().AddPortAcquire(a)
			held = append(held, a)
		}
	})
	for _, a := range held {
		s.Builder().
			AddPortRelease(model.PortRelease{
				Time: s.Now(), PID: 7, TID: 7, Cookie: a.Cookie, Protocol: a.Protocol, LocalPort: a.LocalPort,
				How: model.HowClose, Netns: 9, LocalAddr: a.LocalAddr, Process: a.Process,
			})
	}
	s.Builder().
		AddPortPool(model.PortPool{
			Time: s.Now(), Protocol: model.ProtocolUDP, Source: model.PoolEphemeral, Netns: 9, Name: "ephemeral",
		})
	s.Seconds(40, func(int) { s.Quiet() })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Closed:   true,
			Contains: []string{
				"pool ephemeral (udp 2000-2999, netns blue)",
				"until it released all at once",
				`"netns": "blue"`,
			},
		},
	)
}

func TestListenerLeak(t *testing.T) {
	s := detecttest.Ports()
	port := uint16(20000)
	k := detecttest.Socket{PID: 9, Process: "srv", Protocol: model.ProtocolTCP, How: model.HowListen}
	s.Seconds(12, func(int) { s.Take(k, 15, &port) })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Within:   6 * time.Second,
			Contains: []string{"listener ports", "by listen"},
		},
	)
}

func TestSlowLeakAmongChurn(t *testing.T) {
	s := detecttest.Ports()
	busy, slow := uint16(50000), uint16(34000)
	s.Seconds(90, func(int) {
		s.Churn(detecttest.Leaker(), 200, 20*time.Millisecond, &busy)
		s.Take(detecttest.Leaker(), 1, &slow)
	})
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Within:   30 * time.Second,
			Contains: []string{"churn: the ports that it releases had been held for"},
		},
	)
}

func TestLeakStops(t *testing.T) {
	s := detecttest.Ports()
	port := uint16(33000)
	var held []detecttest.Socket
	s.Seconds(10, func(int) { held = append(held, s.Take(detecttest.Leaker(), 20, &port)...) })
	s.Seconds(5, func(int) { s.Quiet() })
	for i, k := range held {
		s.Release(time.Duration(i)*time.Millisecond, k)
	}
	s.Seconds(40, func(int) { s.Quiet() })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Closed:   true,
			Contains: []string{"kept them"},
		},
	)
}

// TestSuspicion wants what may be a leak or not to be a note, which says how it
// ended, or becomes the verdict under the same identity.
func TestSuspicion(t *testing.T) {
	stream := func(hold time.Duration) *model.Batch {
		s := detecttest.Ports()
		p := detecttest.Process(7, "prog", detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny})
		s.Seconds(40, func(int) { s.Quiet(); p.Second(s, 25, hold) })
		return s.Batch()
	}
	detecttest.Check(
		t,
		stream(5*time.Second),
		detecttest.Start,
		want{Detector: "port-leak", Severity: model.SeverityInfo, Within: 5 * time.Second, Closed: true,
			Contains: []string{
				"no leak: it released each of them, half within 4.8 s",
				"a leak: as many ports are released as are taken",
			}, Lacks: []string{"give them back", "still rises"}},
	)
	detecttest.Check(
		t,
		stream(0),
		detecttest.Start,
		want{Detector: "port-leak", Severity: model.SeverityWarning, Within: 5 * time.Second, Lacks: []string{"too early"}},
	)
	out := detecttest.Run(stream(0), 0)
	if f := out[0].Finding; f.Severity != model.SeverityInfo ||
		!strings.Contains(f.Title, "has released none so far; too early to call it a leak") {
		t.Errorf("the first word was %s: %s", f.Severity, f.Title)
	}
}

func TestNoLeak(t *testing.T) {
	for _, tt := range []struct {
		name string
		live func(s *detecttest.Stream)
	}{
		{"fifty ports at the start", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Take(detecttest.Leaker(), 50, &port)
			s.Seconds(60, func(int) { s.Quiet() })
		}},
		{"twenty ports of a small pool at the start", func(s *detecttest.Stream) {
			s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
			port := uint16(5000)
			s.Take(detecttest.Leaker(), 20, &port)
			s.Seconds(60, func(int) { s.Quiet() })
		}},
		{"twenty ports of a small pool over the first seconds", func(s *detecttest.Stream) {
			s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
			port := uint16(5000)
			s.Seconds(60, func(i int) {
				s.Quiet()
				if i < 4 {
					s.Take(detecttest.Leaker(), 5, &port)
				}
			})
		}},
		{"fifty ports over the first seconds", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(60, func(i int) {
				s.Quiet()
				if i < 3 {
					s.Take(detecttest.Leaker(), 17, &port)
				}
			})
		}},
		{"churn", func(s *detecttest.Stream) {
			port := uint16(50000)
			s.Seconds(120, func(int) { s.Churn(detecttest.Leaker(), 300, 30*time.Millisecond, &port) })
		}},
		{"churn that holds ports for long", func(s *detecttest.Stream) {
			var held []detecttest.Socket
			port := uint16(33000)
			s.Seconds(120, func(i int) {
				held = append(held, s.Take(detecttest.Leaker(), 3, &port)...)
				if i >= 6 {
					for j := range 3 {
						s.Release(900*time.Millisecond+time.Duration(j), held[j])
					}
					held = held[3:]
				}
			})
		}},
		{"connection pool that grows and settles", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(120, func(i int) {
				s.Quiet()
				if i < 8 {
					s.Take(detecttest.Dialer(), 15, &port)
				}
			})
		}},
		{"connect storm that leaves TIME_WAIT", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(40, func(int) {
				for i, k := range s.Take(detecttest.Dialer(), 300, &port) {
					s.Rest(998*time.Millisecond+time.Duration(i), time.Minute, k)
				}
			})
		}},
		{"ports present at the start", func(s *detecttest.Stream) {
			for i := range 500 {
				s.Builder().AddPortActive(model.PortActive{
					Time: s.Now(), PID: 5, TID: 5, Cookie: uint64(9000 + i), Protocol: model.ProtocolUDP,
					LocalPort: uint16(40000 + i), How: model.HowPresent, LocalAddr: "0.0.0.0", Process: "old",
				})
			}
			s.Seconds(60, func(int) { s.Quiet() })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.Ports()
			tt.live(s)
			detecttest.Check(t, s.Batch(), 0)
		})
	}
}

func TestLeakWithLossWaitsForTheAudit(t *testing.T) {
	s := detecttest.Ports()
	port := uint16(33000)
	s.Builder().AddPortAudit(model.PortAudit{Time: s.Now()})
	s.Seconds(8, func(i int) {
		s.Builder().AddLoss(model.Loss{Time: s.End(), Dur: time.Second, CPU: -1, Lost: 20, Origin: "ringbuf"})
		s.Take(detecttest.Leaker(), 20, &port)
	})
	detecttest.Check(t, s.Batch(), 0)
}

// boundedStream is a bounded pool whose ports rest for 240 s after their
// close, drawn in turn; from vanishFrom on, every fourth port never comes back.
func boundedStream(size int, vanishFrom int) *model.Batch {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolRPC, 5000, uint16(5000+size-1))
	const rest = 240 * time.Second
	next := 0
	gone := make(map[int]bool)
	freeAt := make(map[int]model.Time)
	for i := range 3600 {
		s.Quiet()
		if i%2 == 0 {
			tries := 0
			for tries < size && (gone[next%size] || freeAt[next%size] > s.Now()) {
				next++
				tries++
			}
			k := detecttest.Socket{PID: 900, Process: "caller", Protocol: model.ProtocolUDP, How: model.HowRPC}
			if tries == size {
				s.Fail(time.Millisecond, k, 1721, "RPC_S_OUT_OF_RESOURCES")
			} else {
				n := next % size
				next++
				k.LPort = uint16(5000 + n)
				k = s.Acquire(time.Millisecond, k)
				if vanishFrom > 0 && i >= vanishFrom && i%8 == 0 {
					gone[n] = true
					s.Release(500*time.Millisecond, k)
				} else {
					freeAt[n] = s.Now().Add(rest + time.Second)
					s.Rest(500*time.Millisecond, rest, k)
				}
			}
		}
		s.Next()
	}
	return s.Batch()
}

func TestPortsVanish(t *testing.T) {
	detecttest.Check(t, boundedStream(400, 0), 0)
	detecttest.Check(t, boundedStream(400, 900), detecttest.Start, want{
		Detector: "port-leak", Severity: model.SeverityCritical,
		Contains: []string{"RPC reports no free port (RPC_S_OUT_OF_RESOURCES) while",
			"last held by caller[900]", "KB 814622", "ports at rest"}})
}

func TestNeverReuses(t *testing.T) {
	detecttest.Check(
		t,
		neverReused(),
		detecttest.Start,
		want{
			Detector: "port-leak",
			Severity: model.SeverityWarning,
			Contains: []string{"never reuses a port", "rpc-client[4312]"},
		},
	)
}

// TestRefuted wants a verdict on ports that come back after all to be withdrawn
// under its identity.
func TestRefuted(t *testing.T) {
	for _, base := range []detecttest.Socket{detecttest.Leaker(), detecttest.Dialer()} {
		s := detecttest.Ports()
		p := detecttest.Process(7, "prog", base)
		s.Seconds(60, func(int) { s.Quiet(); p.Second(s, 40, 9*time.Second) })
		detecttest.Check(
			t,
			s.Batch(),
			detecttest.Start,
			want{
				Detector: "port-leak",
				Severity: model.SeverityInfo,
				Closed:   true,
				Contains: []string{"no leak: it released each of them, half within 9"},
				Lacks:    []string{"give them back"},
			},
		)
	}
}
