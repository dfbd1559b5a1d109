package leak_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type verdict = detecttest.Verdict

func TestLeakVariants(t *testing.T) {
	udp := detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny}
	udp6 := detecttest.Socket{
		Protocol: model.ProtocolUDP,
		How:      model.HowConnect,
		Local:    "::1",
		Remote:   "2001:db8::9",
		RPort:    53,
	}
	listen := detecttest.Socket{Protocol: model.ProtocolTCP, How: model.HowListen}
	connect := detecttest.Dialer()
	leaks := func(first, sure int, parts ...string) verdict { // in seconds
		return verdict{
			Detector: "port-leak", First: time.Duration(first) * time.Second,
			Sure: time.Duration(sure) * time.Second, Contains: parts,
		}
	}
	steady := func(base detecttest.Socket, rate float64, hold time.Duration, length int) func(s *detecttest.Stream) {
		return func(s *detecttest.Stream) {
			p := detecttest.Process(7, "prog", base)
			s.Seconds(length, func(int) { s.Quiet(); p.Second(s, rate, hold) })
		}
	}
	for _, tt := range []struct {
		name string
		live func(s *detecttest.Stream)
		want verdict
	}{
		// Leaks at other rates, ways and protocols.
		{"1,000 a second", steady(udp, 1000, 0, 15), leaks(5, 9)},
		{"100 a second", steady(udp, 100, 0, 15), leaks(5, 9)},
		{"12 a second", steady(udp, 12, 0, 15), leaks(6, 9)},
		{"5 a second", steady(udp, 5, 0, 30), leaks(14, 14)},
		{"2 a second", steady(udp, 2, 0, 40), leaks(25, 25)},
		{"1 a second", steady(udp, 1, 0, 60), leaks(15, 52)},
		{"one in 2 s", steady(udp, 0.5, 0, 120), leaks(30, 105)},
		{"one in 5 s", steady(udp, 0.2, 0, 400), leaks(75, 260)},
		{"one connection a second", steady(connect, 1, 0, 110), leaks(30, 105)},
		{"one connection in 5 s", steady(connect, 0.2, 0, 400), leaks(150, 320)},
		{"UDP over IPv6", steady(udp6, 25, 0, 15), leaks(5, 9, "connect")},
		{"listeners", steady(listen, 25, 0, 15), leaks(5, 9, "listener port")},
		{"connections that are never closed", steady(connect, 30, 0, 40), leaks(30, 30, "connection port")},
		{"10 every two seconds", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "prog", udp)
			s.Seconds(40, func(i int) {
				s.Quiet()
				p.Second(s, float64(10*((i+1)%2)), 0)
			})
		}, leaks(25, 25)},
		{"30 every ten seconds", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "prog", udp)
			s.Seconds(150, func(i int) {
				s.Quiet()
				if i%10 == 0 {
					p.Second(s, 30, 0)
				}
			})
		}, leaks(100, 100)},
		{"one a second among churn", func(s *detecttest.Stream) {
			leak, busy := detecttest.Process(7, "prog", udp), detecttest.Process(7, "prog", udp)
			busy.Port = 45000
			s.Seconds(30, func(int) { s.Quiet(); leak.Second(s, 1, 0); busy.Second(s, 300, 2*time.Millisecond) })
		}, leaks(5, 15, "churn")},
		{"one in five seconds among ports that are held for 5 s", func(s *detecttest.Stream) {
			leak, busy := detecttest.Process(7, "prog", udp), detecttest.Process(7, "prog", udp)
			busy.Port = 45000
			s.Seconds(400, func(int) { s.Quiet(); leak.Second(s, 0.2, 0); busy.Second(s, 20, 5*time.Second) })
		}, leaks(0, 370)},
		{"one in ten ports is kept", func(s *detecttest.Stream) {
			leak, busy := detecttest.Process(7, "prog", udp), detecttest.Process(7, "prog", udp)
			busy.Port = 45000
			s.Seconds(30, func(int) { s.Quiet(); leak.Second(s, 3, 0); busy.Second(s, 30, 30*time.Millisecond) })
		}, leaks(14, 14)},
		{"beside a process that churns", func(s *detecttest.Stream) {
			leak, busy := detecttest.Process(7, "prog", udp), detecttest.Process(8, "prog", udp)
			busy.Port = 45000
			s.Seconds(20, func(int) { s.Quiet(); leak.Second(s, 25, 0); busy.Second(s, 300, 20*time.Millisecond) })
		}, leaks(5, 9, "prog[7]")},
		{"four processes of one name", func(s *detecttest.Stream) {
			var all []*detecttest.Holding
			for i := range 4 {
				all = append(all, detecttest.Process(int32(20+i), "worker", udp))
				all[i].Port = uint16(33000 + 5000*i)
			}
			s.Seconds(20, func(int) {
				s.Quiet()
				for _, p := range all {
					p.Second(s, 10, 0)
				}
			})
		}, leaks(5, 9, "4 processes of worker")},
		{"a server whose children keep a port each", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(80, func(i int) {
				s.Quiet()
				for j := range 3 {
					k := udp
					k.PID, k.Process = int32(1000+3*i+j), "forker"
					s.Take(k, 1, &port)
				}
			})
		}, leaks(75, 75, "processes of forker")},
		{"a slow leak that is restarted every 30 s", func(s *detecttest.Stream) {
			port := uint16(33000)
			var held []detecttest.Socket
			s.Seconds(120, func(i int) {
				s.Quiet()
				if i%30 == 0 {
					for j, k := range held {
						s.Release(time.Duration(j)*time.Microsecond, k)
					}
					held = nil
				}
				k := udp
				k.PID, k.Process = int32(100+i/30), "service"
				if i%30 > 0 {
					held = append(held, s.Take(k, 4, &port)...)
				}
			})
		}, leaks(14, 14, "3 processes of that name leaked before this one")},
		// Healthy loads that look like one.
		{"held for 3 s, 50 a second", steady(udp, 50, 3*time.Second, 60), verdict{}},
		{"held for 5 s, 50 a second", steady(udp, 50, 5*time.Second, 60), verdict{}},
		{"held for 5 s, 500 a second", steady(udp, 500, 5*time.Second, 60), verdict{}},
		{"held for 6 s, 10 a second", steady(udp, 10, 6*time.Second, 60), verdict{}},
		{"held for 10 s, 4 a second", steady(udp, 4, 10*time.Second, 60), verdict{}},
		{"connections held for 10 s, 20 a second", steady(connect, 20, 10*time.Second, 60), verdict{}},
		{"200 ports at the start", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "prog", udp)
			p.Second(s, 200, 0)
			s.Seconds(60, func(int) { s.Quiet() })
		}, verdict{}},
		{"200 ports within the first five seconds", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "prog", udp)
			s.Seconds(60, func(i int) {
				s.Quiet()
				if i < 5 {
					p.Second(s, 40, 0)
				}
			})
		}, verdict{}},
		{"a server with a socket of its own port for each client", func(s *detecttest.Stream) {
			k := udp
			k.PID, k.Process, k.How, k.LPort = 7, "quic", model.HowBindPort, 40443
			s.Seconds(60, func(int) {
				s.Quiet()
				for i := range 20 {
					k.Remote, k.RPort = "10.0.0.9", k.RPort+1
					s.Acquire(time.Duration(i)*40*time.Millisecond, k)
				}
			})
		}, verdict{}},
		{"a bursty resolver", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "resolver", udp6)
			s.Seconds(120, func(i int) {
				s.Quiet()
				rate := 2.0
				if i%10 == 3 {
					rate = 300
				}
				p.Second(s, rate, time.Duration(30+i%7*200)*time.Millisecond)
			})
		}, verdict{}},
		{"a resolver some of whose answers take 5 s", func(s *detecttest.Stream) {
			quick, slow := detecttest.Process(7, "resolver", udp), detecttest.Process(7, "resolver", udp)
			slow.Port = 45000
			s.Seconds(60, func(int) {
				s.Quiet()
				quick.Second(s, 300, 5*time.Millisecond)
				slow.Second(s, 1, 5*time.Second)
			})
		}, verdict{}},
		{"churn that begins a pool of four sockets", func(s *detecttest.Stream) {
			quick, pool := detecttest.Process(7, "prog", udp), detecttest.Process(7, "prog", udp)
			pool.Port = 45000
			s.Seconds(60, func(i int) {
				s.Quiet()
				quick.Second(s, 300, 5*time.Millisecond)
				if i < 6 {
					pool.Second(s, 1, 0)
				}
			})
		}, verdict{}},
		{"children that take a port each and exit", func(s *detecttest.Stream) {
			var all []*detecttest.Holding
			s.Seconds(60, func(i int) {
				s.Quiet()
				all = append(all, detecttest.Process(int32(1000+i), "forker", udp))
				all[i].Port = uint16(33000 + i)
				for j, p := range all {
					rate := 0.0
					if j == i {
						rate = 1
					}
					p.Second(s, rate, 3*time.Second)
				}
			})
		}, verdict{}},
		{"ten workers that start with ten ports each", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(60, func(i int) {
				s.Quiet()
				if i < 5 {
					for w := range 2 {
						k := udp
						k.PID, k.Process = int32(100+2*i+w), "worker"
						s.Take(k, 10, &port)
					}
				}
			})
		}, verdict{}},
		{"programs of one interpreter that start with six ports each for forty seconds", func(s *detecttest.Stream) {
			port := uint16(33000)
			s.Seconds(120, func(i int) {
				s.Quiet()
				if i < 40 {
					k := udp
					k.PID, k.Process = int32(100+i), "java"
					s.Take(k, 6, &port)
				}
			})
		}, verdict{}},
		{"a pool of 150 connections over ten seconds", func(s *detecttest.Stream) {
			p := detecttest.Process(7, "app", connect)
			s.Seconds(90, func(i int) {
				s.Quiet()
				if i < 10 {
					p.Second(s, 15, 0)
				}
			})
		}, verdict{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.Ports()
			s.Seconds(3, func(int) { s.Quiet() })
			fault := s.Now()
			tt.live(s)
			detecttest.Judge(t, s.Batch(), fault, tt.want)
		})
	}
}

// TestSlowStart wants a pool that warms up, one port after the other, to be no
// leak: it stays a note of severity info that says what would tell.
func TestSlowStart(t *testing.T) {
	udp := detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny}
	for _, c := range []struct {
		name string
		base detecttest.Socket
		size int
		// every is the number of seconds between two ports.
		every int
		noted bool
	}{
		{"8 ports", udp, 8, 1, false},
		{"20 ports", udp, 20, 1, true},
		{"40 ports", udp, 40, 1, true},
		{"48 ports", udp, 48, 1, true},
		{"20 ports, one in 2 s", udp, 20, 2, true},
		{"20 connections", detecttest.Dialer(), 20, 1, false},
		{"60 connections", detecttest.Dialer(), 60, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.Ports()
			p := detecttest.Process(7, "pool", c.base)
			s.Seconds(c.size*c.every+200, func(i int) {
				s.Quiet()
				if i < c.size*c.every && i%c.every == 0 {
					p.Second(s, 1, 0)
				}
			})
			out := detecttest.Run(s.Batch(), 0)
			noted, doubt := false, false
			for _, e := range out {
				noted = true
				doubt = doubt || strings.Contains(strings.Join(e.Finding.Causes, "\n"), "a connection pool that is filling up")
				if e.Finding.Severity > model.SeverityInfo {
					t.Errorf("%v: %s: %s", e.At.Sub(detecttest.Start), e.Finding.Severity, e.Finding.Title)
				}
			}
			if noted != c.noted || noted != doubt {
				t.Errorf("noted %v, in doubt %v", noted, doubt)
			}
			if list := detecttest.Latest(out); noted && (len(list) != 1 || list[0].Ongoing ||
				!strings.Contains(list[0].Title, "no leak: the number stopped growing")) {
				t.Errorf("it ends with %s", detecttest.Dump(out))
			}
		})
	}
}

// TestWorkersOnABusyHost wants the leak of several processes to be one finding
// though they begin one after the other and get no CPU for a second now and then.
func TestWorkersOnABusyHost(t *testing.T) {
	udp := detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny}
	for phase := range 4 {
		s := detecttest.Ports()
		var workers []*detecttest.Holding
		for i := range 3 {
			workers = append(workers, detecttest.Process(int32(40+i), "worker", udp))
			workers[i].Port = uint16(33000 + 5000*i)
		}
		fault := s.Now()
		s.Seconds(13, func(i int) {
			s.Quiet()
			for n, p := range workers {
				switch begun := i - n; {
				case begun < 0, (begun+phase)%4 == 3: // it begins later, or waits
				case (begun+phase)%4 == 0 && begun > 0:
					p.Second(s, 30, 0)
				default:
					p.Second(s, 15, 0)
				}
			}
		})
		out := detecttest.Run(s.Batch(), 0)
		sure := model.Time(0)
		for _, e := range out {
			if e.Finding.Severity > model.SeverityInfo && sure == 0 {
				sure = e.At
			}
		}
		list := detecttest.Latest(out)
		open := 0
		for _, f := range list {
			if f.Ongoing {
				open++
			}
		}
		if open != 1 || !strings.HasPrefix(list[0].Title, "3 processes of worker took") ||
			sure == 0 || sure.Sub(fault) > 12*time.Second {
			t.Errorf("phase %d: sure after %v:\n%s", phase, sure.Sub(fault), detecttest.Dump(out))
		}
	}
}

// TestStoppedByTheEnd wants a process whose growth stops because the pool has no
// port left to be a leak all the same, and one that asks for none to have stopped.
func TestStoppedByTheEnd(t *testing.T) {
	for _, refused := range []bool{true, false} {
		s := detecttest.New()
		s.Pool("ephemeral", model.ProtocolUDP, model.PoolEphemeral, 40000, 40299)
		k := detecttest.Socket{Protocol: model.ProtocolUDP, How: model.HowBindAny, PID: 7, Process: "filler"}
		port := uint16(40000)
		s.Seconds(20, func(i int) {
			s.Quiet()
			switch {
			case i < 5:
				s.Take(k, 60, &port)
			case refused:
				for j := range 10 {
					s.Fail(time.Duration(j)*time.Millisecond, k, 98, "EADDRINUSE")
				}
			}
		})
		for _, f := range detecttest.Latest(detecttest.Run(s.Batch(), 0)) {
			if f.Detector != "port-leak" {
				continue
			}
			stopped := strings.Contains(f.Title, "stopped growing")
			if stopped == refused || (f.Severity > model.SeverityInfo) != refused {
				t.Errorf("refused %v: %s: %s", refused, f.Severity, f.Title)
			}
		}
	}
}
