package all_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/fold"
	"lostbeat/model"
)

// ports is a stream with the usual pools.
func ports() *detecttest.Stream {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 32768, 60999)
	return s
}

// take makes a process take n ports in this second, evenly.
func take(s *detecttest.Stream, k detecttest.Socket, n int, port *uint16) (taken []detecttest.Socket) {
	for i := range n {
		k.LPort = *port
		*port++
		taken = append(taken, s.Acquire(time.Duration(i+1)*time.Second/time.Duration(n+2), k))
	}
	return taken
}

// churn takes and gives back n ports in this second.
func churn(s *detecttest.Stream, k detecttest.Socket, n int, hold time.Duration, port *uint16) {
	for i := range n {
		if *port > 60000 {
			*port = 50000
		}
		k.LPort = *port
		*port++
		at := time.Duration(i+1) * (time.Second - hold) / time.Duration(n+2)
		s.Release(at+hold, s.Acquire(at, k))
	}
}

var (
	leaker = detecttest.Socket{PID: 4312, Process: "rpc-client", Protocol: model.ProtocolUDP, How: model.HowBindAny}
	dialer = detecttest.Socket{
		PID:      77,
		Process:  "app",
		Protocol: model.ProtocolTCP,
		How:      model.HowConnect,
		Local:    "10.0.0.1",
		Remote:   "10.0.0.9",
		RPort:    5432,
	}
)

func TestPortLeak(t *testing.T) {
	for _, how := range []model.How{model.HowBindAny, model.HowConnect, model.HowSend} {
		t.Run(how.String(), func(t *testing.T) {
			s := ports()
			seconds(s, 5, func(int) { s.Quiet() })
			fault := s.Now()
			port := uint16(33000)
			k := leaker
			k.How = how
			if how != model.HowBindAny {
				k.Remote, k.RPort = "10.0.0.9", 53
			}
			seconds(s, 20, func(int) { take(s, k, 20, &port) })
			check(t, s.Batch(), fault, want{detector: "port-leak", severity: model.SeverityWarning, within: 5 * time.Second,
				contains: []string{
					"rpc-client[4312] took 400 udp ports of pool ephemeral (udp 32768-60999) in 20 s and gave none back",
					"the pool will be exhausted in about 23 min",
					"not churn",
					"not rest",
					`"pid": 4312`,
				}})
		})
	}
}

// TestLeakOfSmallPool wants a leak in a pool of 100 ports to be called one
// while most of the pool is free still.
func TestLeakOfSmallPool(t *testing.T) {
	s := ports()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	k := leaker
	k.How = model.HowBindPort
	port := uint16(5000)
	seconds(s, 8, func(int) { take(s, k, 8, &port) })
	seconds(s, 3, func(int) { s.Quiet() })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityCritical,
			within:   6 * time.Second,
			contains: []string{"of pool rpc (udp 5000-5099)", "bind to ports of its choice"},
		},
	)
}

// TestLeakInNamespace wants the namespace of the pool to be named, also after
// it has gone together with the process.
func TestLeakInNamespace(t *testing.T) {
	s := ports()
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
	seconds(s, 12, func(i int) {
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
	seconds(s, 40, func(int) { s.Quiet() })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityWarning,
			closed:   true,
			contains: []string{
				"of pool ephemeral (udp 2000-2999) in network namespace blue",
				"by now they are free again",
				`"netns": "blue"`,
			},
		},
	)
}

func TestListenerLeak(t *testing.T) {
	s := ports()
	port := uint16(20000)
	k := detecttest.Socket{PID: 9, Process: "srv", Protocol: model.ProtocolTCP, How: model.HowListen}
	seconds(s, 12, func(int) { take(s, k, 15, &port) })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityWarning,
			within:   6 * time.Second,
			contains: []string{"listener ports", "by listen"},
		},
	)
}

func TestSlowLeakAmongChurn(t *testing.T) {
	s := ports()
	busy, slow := uint16(50000), uint16(34000)
	seconds(s, 90, func(int) {
		churn(s, leaker, 200, 20*time.Millisecond, &busy)
		take(s, leaker, 1, &slow)
	})
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityWarning,
			within:   30 * time.Second,
			contains: []string{"not churn: ports that it does give back are held for"},
		},
	)
}

func TestLeakStops(t *testing.T) {
	s := ports()
	port := uint16(33000)
	var held []detecttest.Socket
	seconds(s, 10, func(int) { held = append(held, take(s, leaker, 20, &port)...) })
	seconds(s, 5, func(int) { s.Quiet() })
	for i, k := range held {
		s.Release(time.Duration(i)*time.Millisecond, k)
	}
	seconds(s, 40, func(int) { s.Quiet() })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityWarning,
			closed:   true,
			contains: []string{"by now they are free again"},
		},
	)
}

// TestSuspicion wants what may be a leak or not to be a note, which says how it
// ended, or becomes the verdict under the same identity.
func TestSuspicion(t *testing.T) {
	stream := func(hold time.Duration) *model.Batch {
		s := ports()
		p := process(7, "prog", detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny})
		seconds(s, 40, func(int) { s.Quiet(); p.second(s, 25, hold) })
		return s.Batch()
	}
	check(
		t,
		stream(5*time.Second),
		detecttest.Start,
		want{detector: "port-leak", severity: model.SeverityInfo, within: 5 * time.Second, closed: true,
			contains: []string{
				"no leak: it gives each back, half of them within 4.8 s",
				"not a leak: as many ports come back as are taken",
			}, lacks: []string{"give them back", "still rises"}},
	)
	check(
		t,
		stream(0),
		detecttest.Start,
		want{detector: "port-leak", severity: model.SeverityWarning, within: 5 * time.Second, lacks: []string{"too early"}},
	)
	out := run(t, stream(0), 0)
	if f := out[0].f; f.Severity != model.SeverityInfo ||
		!strings.Contains(f.Title, "has given none back so far; too early to call it a leak") {
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
			take(s, leaker, 50, &port)
			seconds(s, 60, func(int) { s.Quiet() })
		}},
		{"twenty ports of a small pool at the start", func(s *detecttest.Stream) {
			s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
			port := uint16(5000)
			take(s, leaker, 20, &port)
			seconds(s, 60, func(int) { s.Quiet() })
		}},
		{"twenty ports of a small pool over the first seconds", func(s *detecttest.Stream) {
			s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
			port := uint16(5000)
			seconds(s, 60, func(i int) {
				s.Quiet()
				if i < 4 {
					take(s, leaker, 5, &port)
				}
			})
		}},
		{"fifty ports over the first seconds", func(s *detecttest.Stream) {
			port := uint16(33000)
			seconds(s, 60, func(i int) {
				s.Quiet()
				if i < 3 {
					take(s, leaker, 17, &port)
				}
			})
		}},
		{"churn", func(s *detecttest.Stream) {
			port := uint16(50000)
			seconds(s, 120, func(int) { churn(s, leaker, 300, 30*time.Millisecond, &port) })
		}},
		{"churn that holds ports for long", func(s *detecttest.Stream) {
			var held []detecttest.Socket
			port := uint16(33000)
			seconds(s, 120, func(i int) {
				held = append(held, take(s, leaker, 3, &port)...)
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
			seconds(s, 120, func(i int) {
				s.Quiet()
				if i < 8 {
					take(s, dialer, 15, &port)
				}
			})
		}},
		{"connect storm that leaves TIME_WAIT", func(s *detecttest.Stream) {
			port := uint16(33000)
			seconds(s, 40, func(int) {
				for i, k := range take(s, dialer, 300, &port) {
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
			seconds(s, 60, func(int) { s.Quiet() })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ports()
			tt.live(s)
			check(t, s.Batch(), 0)
		})
	}
}

func TestLeakWithLossWaitsForTheAudit(t *testing.T) {
	s := ports()
	port := uint16(33000)
	s.Builder().AddPortAudit(model.PortAudit{Time: s.Now()})
	seconds(s, 8, func(i int) {
		s.Builder().AddLoss(model.Loss{Time: s.End(), Dur: time.Second, CPU: -1, Lost: 20, Origin: "ringbuf"})
		take(s, leaker, 20, &port)
	})
	check(t, s.Batch(), 0)
}

func TestExhaustedForOneDestination(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("destination known %v", known), func(t *testing.T) { exhaustedForOneDestination(t, known) })
	}
}

func exhaustedForOneDestination(t *testing.T, known bool) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40199)
	other := dialer
	other.Remote = "10.0.0.8"
	open := func(k detecttest.Socket) {
		port := uint16(40000)
		for i := range 200 {
			k.LPort = port + uint16(i)
			s.Acquire(time.Duration(i)*time.Millisecond, k)
		}
	}
	open(dialer)
	s.Acquire(
		time.Millisecond,
		detecttest.Socket{
			PID:      78,
			Process:  "other",
			Protocol: model.ProtocolTCP,
			How:      model.HowConnect,
			Local:    "10.0.0.1",
			Remote:   other.Remote,
			RPort:    80,
			LPort:    40007,
		},
	)
	fault := s.Now()
	seconds(s, 10, func(int) {
		s.Quiet()
		k := dialer
		k.LPort = 0
		if !known {
			k.Remote, k.RPort = "", 0
		}
		s.Fail(500*time.Millisecond, k, 99, "EADDRNOTAVAIL")
	})
	check(
		t,
		s.Batch(),
		fault,
		want{detector: "port-exhaustion", severity: model.SeverityCritical, within: 3 * time.Second,
			contains: []string{
				"towards 10.0.0.9 port 5432 is exhausted",
				"EADDRNOTAVAIL",
				"app[77] holds 200",
				"other destinations are not affected",
			}},
	)
}

// TestExhaustedByRest wants the words and the numbers to agree when no port is
// held any more and all of them rest.
func TestExhaustedByRest(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40199)
	port := uint16(40000)
	held := take(s, dialer, 200, &port)
	for _, k := range held {
		s.Rest(999*time.Millisecond, time.Minute, k)
	}
	seconds(s, 10, func(int) { s.Quiet() })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{detector: "port-exhaustion", severity: model.SeverityWarning, within: 5 * time.Second,
			contains: []string{
				"towards 10.0.0.9 port 5432 is nearly exhausted: 200 of 200 ports at rest (TIME_WAIT), none in use",
			}},
	)
}

func TestExplicitPoolExhausted(t *testing.T) {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	for i := range 100 {
		s.Acquire(
			time.Duration(i)*time.Millisecond,
			detecttest.Socket{
				PID:      50 + int32(i%3),
				Process:  "rpc",
				Protocol: model.ProtocolUDP,
				How:      model.HowBindPort,
				LPort:    uint16(5000 + i),
			},
		)
	}
	seconds(s, 10, func(int) {
		s.Quiet()
		s.Fail(
			500*time.Millisecond,
			detecttest.Socket{PID: 60, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
			98,
			"EADDRINUSE",
		)
	})
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{detector: "port-exhaustion", severity: model.SeverityCritical, within: 3 * time.Second,
			contains: []string{
				"Pool rpc (udp 5000-5099) is exhausted: 100 of 100 ports in use",
				"rpc[50] holds 34",
				"refused to late[60]",
			}},
	)
}

func TestNotExhausted(t *testing.T) {
	s := ports()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	s.Acquire(
		0,
		detecttest.Socket{PID: 50, Process: "a", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
	)
	seconds(s, 10, func(int) { // a conflict over one port is no exhaustion
		s.Fail(
			500*time.Millisecond,
			detecttest.Socket{PID: 60, Process: "b", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5050},
			98,
			"EADDRINUSE",
		)
	})
	check(t, s.Batch(), 0)
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
	check(t, boundedStream(400, 0), 0)
	check(t, boundedStream(400, 900), detecttest.Start, want{detector: "port-leak", severity: model.SeverityCritical,
		contains: []string{"vanished", "caller[900] last held them", "allocations fail", "KB 814622", "not rest"}})
}

func TestNeverReuses(t *testing.T) {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5399)
	order := make([]uint16, 400)
	for i := range order {
		order[i] = uint16(5000 + i*137%400)
	}
	seconds(s, 350, func(i int) {
		k := leaker
		k.LPort = order[i]
		s.Release(100*time.Millisecond, s.Acquire(time.Millisecond, k))
		s.Quiet()
	})
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "port-leak",
			severity: model.SeverityWarning,
			contains: []string{"never takes a port again", "rpc-client[4312]"},
		},
	)
}

// TestRefuted wants a verdict on ports that come back after all to be withdrawn
// under its identity.
func TestRefuted(t *testing.T) {
	for _, base := range []detecttest.Socket{leaker, dialer} {
		s := ports()
		p := process(7, "prog", base)
		seconds(s, 60, func(int) { s.Quiet(); p.second(s, 40, 9*time.Second) })
		check(
			t,
			s.Batch(),
			detecttest.Start,
			want{
				detector: "port-leak",
				severity: model.SeverityInfo,
				closed:   true,
				contains: []string{"no leak: it gives each back, half of them within 9"},
				lacks:    []string{"give them back"},
			},
		)
	}
}

// TestOneForecast wants the finding of a leak and the screen to say the same of
// its pool, and the screen to say it without detectors, too.
func TestOneForecast(t *testing.T) {
	s := ports()
	s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5999)
	port := uint16(5000)
	seconds(s, 30, func(int) { s.Quiet(); take(s, leaker, 4, &port) })
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
