package all_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// verdict is what a variant must bring: one finding above severity info, or
// none where detector is empty. Notes of severity info may come as well.
type verdict struct {
	detector string
	// first is the longest time to the first word of it, sure to the first above info.
	first, sure time.Duration
	contains    []string
}

func judge(t *testing.T, b *model.Batch, fault model.Time, v verdict) {
	t.Helper()
	out := run(t, b, 0)
	var sure []model.Finding
	for _, f := range latest(out) {
		if f.Severity > model.SeverityInfo {
			sure = append(sure, f)
		}
	}
	if v.detector == "" {
		if len(sure) > 0 {
			t.Errorf("false alarm:\n%s", dump(out))
		}
		return
	}
	if len(sure) != 1 || sure[0].Detector != v.detector {
		t.Fatalf("got %d findings, want one of %s:\n%s", len(sure), v.detector, dump(out))
	}
	f := sure[0]
	text := strings.Join(append(append([]string{f.Title, f.Subject.Process}, f.Causes...), f.RuledOut...), "\n")
	for _, part := range v.contains {
		if !strings.Contains(text, part) {
			t.Errorf("the finding lacks %q:\n%s", part, text)
		}
	}
	var first, proof time.Duration
	for _, e := range out {
		if e.f.ID != f.ID {
			continue
		}
		if first == 0 {
			first = e.at.Sub(fault)
		}
		if e.f.Severity > model.SeverityInfo {
			proof = e.at.Sub(fault)
			break
		}
	}
	if v.first > 0 && first > v.first {
		t.Errorf("the first word came after %v, want %v", first, v.first)
	}
	if v.sure > 0 && proof > v.sure {
		t.Errorf("the verdict came after %v, want %v", proof, v.sure)
	}
}

// holding takes rate ports a second, one after the other, and gives each back
// after hold; 0 never.
type holding struct {
	socket detecttest.Socket
	port   uint16
	open   []heldSocket
	carry  float64
}

type heldSocket struct {
	k     detecttest.Socket
	until model.Time
}

func (h *holding) second(s *detecttest.Stream, rate float64, hold time.Duration) {
	h.carry += rate
	n := int(h.carry)
	h.carry -= float64(n)
	for i := range n {
		if h.port < 33000 || h.port > 60000 {
			h.port = 33000
		}
		k := h.socket
		k.LPort = h.port
		h.port++
		after := time.Duration(2*i+1) * time.Second / time.Duration(2*n)
		k = s.Acquire(after, k)
		if hold > 0 {
			h.open = append(h.open, heldSocket{k, s.Now().Add(after + hold)})
		}
	}
	end := s.Now().Add(time.Second)
	kept := h.open[:0]
	for _, o := range h.open {
		if o.until < end {
			s.Release(o.until.Sub(s.Now()), o.k)
		} else {
			kept = append(kept, o)
		}
	}
	h.open = kept
}

// process returns the ports of a process.
func process(pid int32, name string, base detecttest.Socket) *holding {
	base.PID, base.Process = pid, name
	return &holding{socket: base}
}

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
	connect := dialer
	leaks := func(first, sure int, parts ...string) verdict { // in seconds
		return verdict{"port-leak", time.Duration(first) * time.Second, time.Duration(sure) * time.Second, parts}
	}
	steady := func(base detecttest.Socket, rate float64, hold time.Duration, length int) func(s *detecttest.Stream) {
		return func(s *detecttest.Stream) {
			p := process(7, "prog", base)
			seconds(s, length, func(int) { s.Quiet(); p.second(s, rate, hold) })
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
		{"one in 5 s", steady(udp, 0.2, 0, 400), leaks(310, 310)},
		{"UDP over IPv6", steady(udp6, 25, 0, 15), leaks(5, 9, "connect")},
		{"listeners", steady(listen, 25, 0, 15), leaks(5, 9, "listener port")},
		{"connections that are never closed", steady(connect, 30, 0, 40), leaks(30, 30, "connection port")},
		{"10 every two seconds", func(s *detecttest.Stream) {
			p := process(7, "prog", udp)
			seconds(s, 40, func(i int) {
				s.Quiet()
				p.second(s, float64(10*((i+1)%2)), 0)
			})
		}, leaks(25, 25)},
		{"30 every ten seconds", func(s *detecttest.Stream) {
			p := process(7, "prog", udp)
			seconds(s, 150, func(i int) {
				s.Quiet()
				if i%10 == 0 {
					p.second(s, 30, 0)
				}
			})
		}, leaks(100, 100)},
		{"one a second among churn", func(s *detecttest.Stream) {
			leak, busy := process(7, "prog", udp), process(7, "prog", udp)
			busy.port = 45000
			seconds(s, 30, func(int) { s.Quiet(); leak.second(s, 1, 0); busy.second(s, 300, 2*time.Millisecond) })
		}, leaks(5, 15, "not churn")},
		{"one in five seconds among ports that are held for 5 s", func(s *detecttest.Stream) {
			leak, busy := process(7, "prog", udp), process(7, "prog", udp)
			busy.port = 45000
			seconds(s, 400, func(int) { s.Quiet(); leak.second(s, 0.2, 0); busy.second(s, 20, 5*time.Second) })
		}, leaks(0, 370)},
		{"one in ten ports is kept", func(s *detecttest.Stream) {
			leak, busy := process(7, "prog", udp), process(7, "prog", udp)
			busy.port = 45000
			seconds(s, 30, func(int) { s.Quiet(); leak.second(s, 3, 0); busy.second(s, 30, 30*time.Millisecond) })
		}, leaks(14, 14)},
		{"beside a process that churns", func(s *detecttest.Stream) {
			leak, busy := process(7, "prog", udp), process(8, "prog", udp)
			busy.port = 45000
			seconds(s, 20, func(int) { s.Quiet(); leak.second(s, 25, 0); busy.second(s, 300, 20*time.Millisecond) })
		}, leaks(5, 9, "prog[7]")},
		{"four processes of one name", func(s *detecttest.Stream) {
			var all []*holding
			for i := range 4 {
				all = append(all, process(int32(20+i), "worker", udp))
				all[i].port = uint16(33000 + 5000*i)
			}
			seconds(s, 20, func(int) {
				s.Quiet()
				for _, p := range all {
					p.second(s, 10, 0)
				}
			})
		}, leaks(5, 9, "4 processes of worker")},
		{"a server whose children keep a port each", func(s *detecttest.Stream) {
			port := uint16(33000)
			seconds(s, 80, func(i int) {
				s.Quiet()
				for j := range 3 {
					k := udp
					k.PID, k.Process = int32(1000+3*i+j), "forker"
					take(s, k, 1, &port)
				}
			})
		}, leaks(75, 75, "processes of forker")},
		{"a slow leak that is restarted every 30 s", func(s *detecttest.Stream) {
			port := uint16(33000)
			var held []detecttest.Socket
			seconds(s, 120, func(i int) {
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
					held = append(held, take(s, k, 4, &port)...)
				}
			})
		}, leaks(14, 14, "3 processes of that name leaked before it")},
		// Healthy loads that look like one.
		{"held for 3 s, 50 a second", steady(udp, 50, 3*time.Second, 60), verdict{}},
		{"held for 5 s, 50 a second", steady(udp, 50, 5*time.Second, 60), verdict{}},
		{"held for 5 s, 500 a second", steady(udp, 500, 5*time.Second, 60), verdict{}},
		{"held for 6 s, 10 a second", steady(udp, 10, 6*time.Second, 60), verdict{}},
		{"held for 10 s, 4 a second", steady(udp, 4, 10*time.Second, 60), verdict{}},
		{"connections held for 10 s, 20 a second", steady(connect, 20, 10*time.Second, 60), verdict{}},
		{"200 ports at the start", func(s *detecttest.Stream) {
			p := process(7, "prog", udp)
			p.second(s, 200, 0)
			seconds(s, 60, func(int) { s.Quiet() })
		}, verdict{}},
		{"200 ports within the first five seconds", func(s *detecttest.Stream) {
			p := process(7, "prog", udp)
			seconds(s, 60, func(i int) {
				s.Quiet()
				if i < 5 {
					p.second(s, 40, 0)
				}
			})
		}, verdict{}},
		{"a server with a socket of its own port for each client", func(s *detecttest.Stream) {
			k := udp
			k.PID, k.Process, k.How, k.LPort = 7, "quic", model.HowBindPort, 40443
			seconds(s, 60, func(int) {
				s.Quiet()
				for i := range 20 {
					k.Remote, k.RPort = "10.0.0.9", k.RPort+1
					s.Acquire(time.Duration(i)*40*time.Millisecond, k)
				}
			})
		}, verdict{}},
		{"a bursty resolver", func(s *detecttest.Stream) {
			p := process(7, "resolver", udp6)
			seconds(s, 120, func(i int) {
				s.Quiet()
				rate := 2.0
				if i%10 == 3 {
					rate = 300
				}
				p.second(s, rate, time.Duration(30+i%7*200)*time.Millisecond)
			})
		}, verdict{}},
		{"a resolver some of whose answers take 5 s", func(s *detecttest.Stream) {
			quick, slow := process(7, "resolver", udp), process(7, "resolver", udp)
			slow.port = 45000
			seconds(s, 60, func(int) {
				s.Quiet()
				quick.second(s, 300, 5*time.Millisecond)
				slow.second(s, 1, 5*time.Second)
			})
		}, verdict{}},
		{"churn that begins a pool of four sockets", func(s *detecttest.Stream) {
			quick, pool := process(7, "prog", udp), process(7, "prog", udp)
			pool.port = 45000
			seconds(s, 60, func(i int) {
				s.Quiet()
				quick.second(s, 300, 5*time.Millisecond)
				if i < 6 {
					pool.second(s, 1, 0)
				}
			})
		}, verdict{}},
		{"children that take a port each and exit", func(s *detecttest.Stream) {
			var all []*holding
			seconds(s, 60, func(i int) {
				s.Quiet()
				all = append(all, process(int32(1000+i), "forker", udp))
				all[i].port = uint16(33000 + i)
				for j, p := range all {
					rate := 0.0
					if j == i {
						rate = 1
					}
					p.second(s, rate, 3*time.Second)
				}
			})
		}, verdict{}},
		{"ten workers that start with ten ports each", func(s *detecttest.Stream) {
			port := uint16(33000)
			seconds(s, 60, func(i int) {
				s.Quiet()
				if i < 5 {
					for w := range 2 {
						k := udp
						k.PID, k.Process = int32(100+2*i+w), "worker"
						take(s, k, 10, &port)
					}
				}
			})
		}, verdict{}},
		{"programs of one interpreter that start with six ports each for forty seconds", func(s *detecttest.Stream) {
			port := uint16(33000)
			seconds(s, 120, func(i int) {
				s.Quiet()
				if i < 40 {
					k := udp
					k.PID, k.Process = int32(100+i), "java"
					take(s, k, 6, &port)
				}
			})
		}, verdict{}},
		{"a pool of 150 connections over ten seconds", func(s *detecttest.Stream) {
			p := process(7, "app", connect)
			seconds(s, 90, func(i int) {
				s.Quiet()
				if i < 10 {
					p.second(s, 15, 0)
				}
			})
		}, verdict{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ports()
			seconds(s, 3, func(int) { s.Quiet() })
			fault := s.Now()
			tt.live(s)
			judge(t, s.Batch(), fault, tt.want)
		})
	}
}

// TestRestIsNoLeak uses up a pool by TIME_WAIT alone.
func TestRestIsNoLeak(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 32768, 33767)
	port := uint16(32768)
	seconds(s, 30, func(int) {
		s.Quiet()
		if port < 33700 {
			for i, k := range take(s, dialer, 40, &port) {
				s.Rest(990*time.Millisecond+time.Duration(i)*time.Microsecond, time.Minute, k)
			}
		}
	})
	judge(
		t,
		s.Batch(),
		detecttest.Start,
		verdict{detector: "port-exhaustion", contains: []string{"at rest (TIME_WAIT)", "most of them are at rest"}},
	)
}

// TestVectors has single runs of other vectors than NET_RX delay it, and other
// vectors take a CPU's time, on hosts of several sizes.
func TestVectors(t *testing.T) {
	for _, vector := range []string{"TIMER", "BLOCK", "TASKLET", "HRTIMER", "RCU"} {
		for cpus := range 4 {
			t.Run(fmt.Sprintf("%s, %d CPUs", vector, cpus+1), func(t *testing.T) {
				s := detecttest.New()
				s.CPUs = cpus + 1
				seconds(s, 3, func(int) { s.Quiet() })
				fault := s.Now()
				victim := int32(cpus)
				seconds(s, 10, func(int) {
					s.Quiet()
					for i := range 8 {
						at := s.Now().Add(time.Duration(i+1) * 110 * time.Millisecond)
						s.Builder().
							AddDeferredRun(model.DeferredRun{
								Time: at, Dur: 30 * time.Millisecond, CPU: victim, PID: -1, TID: -1, Class: model.ClassSoftirq,
								Name: vector,
							})
						s.Builder().
							AddDeferredRun(model.DeferredRun{
								Time: at.Add(20 * time.Microsecond), Dur: 8 * time.Microsecond, CPU: victim, PID: -1, TID: -1,
								Class: model.ClassSoftirq, Name: "NET_RX", Wait: 25 * time.Millisecond, Before: vector,
							})
					}
					s.Builder().
						AddDeferredHist(model.DeferredHist{
							Time: s.End(), Dur: time.Second, CPU: victim, Class: model.ClassSoftirq, Count: 8,
							Busy: 240 * time.Millisecond, MaxRun: 30 * time.Millisecond, Name: vector,
						})
				})
				judge(
					t,
					s.Batch(),
					fault,
					verdict{
						"dpc-starvation",
						5 * time.Second,
						5 * time.Second,
						[]string{
							fmt.Sprintf("Long runs of %s on CPU %d delay its other softirqs", vector, victim),
							"(NET_RX)",
							"NET_RX was raised and waited 25 ms for it",
						},
					},
				)
			})
		}
	}
	for _, vector := range []string{"HRTIMER", "BLOCK", "TASKLET"} {
		t.Run(vector+" takes the CPU", func(t *testing.T) {
			s := detecttest.New()
			seconds(s, 10, func(int) {
				s.CPU(0, detecttest.Load{NetRX: 0.03, Packets: 3000, Dropped: 0})
				s.CPU(1, detecttest.Load{NetRX: 0.01})
				s.Builder().
					AddDeferredHist(model.DeferredHist{
						Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 400,
						Busy: 900 * time.Millisecond, MaxRun: 3 * time.Millisecond, Name: vector,
					})
				for i := range 8 {
					s.Builder().
						AddDeferredRun(model.DeferredRun{
							Time: s.Now().Add(time.Duration(i+1) * 110 * time.Millisecond), Dur: 8 * time.Microsecond, CPU: 0,
							PID: -1, TID: -1, Class: model.ClassSoftirq, Name: "NET_RX", Wait: 15 * time.Millisecond, Before: vector,
						})
				}
			})
			judge(
				t,
				s.Batch(),
				detecttest.Start,
				verdict{
					"dpc-starvation",
					5 * time.Second,
					5 * time.Second,
					[]string{"CPU 0 spends 90 % of its time in " + vector, "delays", "(NET_RX)"},
				},
			)
		})
	}
}

// TestFloodOnLoopback wants the device of a flood that never leaves the host
// to be named, on one CPU as on four.
func TestFloodOnLoopback(t *testing.T) {
	for _, cpus := range []int{1, 2, 4} {
		s := detecttest.New()
		s.CPUs = cpus
		s.Builder().AddDeviceConfig(model.DeviceConfig{Time: s.Now(), Ifindex: 1, Device: "lo", RXQueues: 1})
		seconds(s, 12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.85, User: 0.1, Packets: 90_000, Dropped: 60_000})
			for cpu := 1; cpu < cpus; cpu++ {
				s.CPU(int32(cpu), detecttest.Load{User: 0.2})
			}
			s.Drop(
				model.Drop{CPU: 0, Place: model.PlaceBacklog, Count: 60_000, Ifindex: 1, Device: "lo", Reason: "CPU_BACKLOG"},
			)
		})
		judge(
			t,
			s.Batch(),
			detecttest.Start,
			verdict{
				"dpc-starvation",
				5 * time.Second,
				5 * time.Second,
				[]string{"CPU 0 spends 85 % of its time in NET_RX for lo"},
			},
		)
	}
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
			func(s *detecttest.Stream, i int) { s.Quiet(); queueOf(s, 0, 190_000, time.Millisecond) },
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
			queueOf(s, 0, 190_000, time.Duration(i)*time.Second)
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
			seconds(s, 60, func(i int) { tt.each(s, i) })
			judge(t, s.Batch(), 0, verdict{})
		})
	}
}
