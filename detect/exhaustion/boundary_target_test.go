package exhaustion_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// connections is a stream of an ephemeral pool of 64 ports, or as many as are
// taken if those are fewer, in which connections to one destination take so many
// in each second; the others are given back.
func connections(size int, taken func(second int) int, more func(s *detecttest.Stream, i int)) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, uint16(40000+size-1))
		var held []detecttest.Socket
		s.Seconds(30, func(i int) {
			s.Quiet()
			for len(held) > taken(i) {
				s.Release(time.Millisecond, held[len(held)-1])
				held = held[:len(held)-1]
			}
			for len(held) < taken(i) {
				k := detecttest.Dialer()
				k.LPort = uint16(40000 + len(held))
				held = append(held, s.Acquire(time.Millisecond, k))
			}
			if more != nil {
				more(s, i)
			}
		})
		return s.Batch()
	}
}

// always is a number that stays as it is.
func always(n int) func(int) int { return func(int) int { return n } }

// targetBoundaries are those of settings that decide for a destination of
// connections as they do for a pool.
func targetBoundaries() []detecttest.Boundary {
	return []detecttest.Boundary{
		{Setting: "exhaustion.min_ports", At: 20, Says: "to 10.0.0.9", Stream: connections(20, always(20), nil)},
		// The pool is large enough, what is taken is not.
		{Setting: "exhaustion.min_ports", At: 20, Says: "to 10.0.0.9",
			With: map[string]string{"exhaustion.warn_share": "0.8"}, Stream: connections(24, always(20), nil)},
		{Setting: "exhaustion.warn_share", At: 0.8125, Says: "to 10.0.0.9", Stream: connections(64, always(52), nil)},
		{Setting: "exhaustion.clear_share", At: 0.75, Says: "ongoing warning port-exhaustion",
			Stream: connections(64, func(i int) int {
				if i < 4 {
					return 60
				}
				return 48
			}, nil)},
		{Setting: "exhaustion.full_share", At: 0.9375, Says: "critical port-exhaustion",
			With: map[string]string{"exhaustion.warn_share": "0.9375"},
			Stream: connections(64, always(60), func(s *detecttest.Stream, i int) {
				if i >= 10 {
					k := detecttest.Dialer()
					k.Remote, k.RPort = "", 0
					s.Fail(500*time.Millisecond, k, 99, "EADDRNOTAVAIL")
				}
			})},
		// Ports at rest are taken again: what says so must be as full, and hold less.
		{Setting: "exhaustion.full_share", At: math.Nextafter(0.9375, 1), Upper: true, Says: "to 10.0.0.9",
			Stream: reused(10, 50)},
		{Setting: "exhaustion.warn_share", At: 0.9375, Says: "to 10.0.0.9", Stream: reused(60, 4)},
		// 24 of 64 ports are left, half of the share that keeps a case open.
		{Setting: "exhaustion.clear_share", At: 0.75, Says: "ongoing warning port-exhaustion", Stream: func() *model.Batch {
			s := detecttest.New()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5063)
			port := uint16(5000)
			var held []detecttest.Socket
			s.Seconds(12, func(i int) {
				s.Quiet()
				switch i {
				case 0:
					held = s.Take(detecttest.Socket{
						PID: 9, Process: "holder", Protocol: model.ProtocolUDP, How: model.HowBindPort,
					}, 60, &port)
				case 5:
					for _, k := range held[24:] {
						s.Release(time.Millisecond, k)
					}
				}
			})
			return s.Batch()
		}},
		{Setting: "exhaustion.warn_share", At: 0.75, Says: "found no free port in tcp 665-712", Stream: searches(36,
			"unknown")},
		// What is refused last is refused at 10.00335 s.
		{Setting: "exhaustion.failures_for", At: 5996650 * time.Microsecond, Upper: true, Says: "until 16",
			Stream: searches(48, "EADDRINUSE")},
		// The only refusals are from 10.001 s.
		{Setting: "exhaustion.failures_for", At: 5999 * time.Millisecond, Upper: true, Says: "until 16",
			Stream: func() *model.Batch {
				s := detecttest.NewWindows()
				s.Pool("dynamic", model.ProtocolUDP, model.PoolEphemeral, 49152, 65535)
				s.Seconds(30, func(i int) {
					s.Acquire(0, detecttest.Socket{
						PID: 20, Process: "dns.exe", Protocol: model.ProtocolUDP, LPort: 50000 + uint16(i), How: model.HowBindAny,
					})
					for range 40 {
						if i == 10 {
							s.Fail(time.Millisecond, detecttest.Socket{
								PID: 900, Process: "cvp.exe", Protocol: model.ProtocolUDP, How: model.HowBindAny,
							}, 0xc0000209, "STATUS_TOO_MANY_ADDRESSES")
						}
					}
				})
				return s.Batch()
			}},
	}
}

// reused is a stream of a destination towards which so many of 64 ports are held and
// rest; in each second one is given back and another taken.
func reused(held, rest int) func() *model.Batch {
	var last detecttest.Socket
	return connections(64, always(held-1), func(s *detecttest.Stream, i int) {
		k := detecttest.Dialer()
		if i == 0 {
			k.Process, k.PID = "before", 78
			for n := range rest {
				k.LPort = 40000 + uint16(held+n)
				s.Rest(2*time.Millisecond, time.Hour, s.Acquire(time.Millisecond, k))
			}
			k = detecttest.Dialer()
		} else {
			s.Release(100*time.Millisecond, last)
		}
		k.LPort = uint16(40000 + held - 1)
		last = s.Acquire(200*time.Millisecond, k)
	})
}

// searches is a stream of a range of 48 ports of which so many are taken, and which
// a process searches once a second until 10 s.
func searches(taken int, why string) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.Ports()
		port := uint16(665)
		s.Take(detecttest.Socket{
			PID: 60, Process: "hoarder", Protocol: model.ProtocolTCP, How: model.HowBindPort,
		}, taken, &port)
		s.Next()
		s.Seconds(30, func(i int) {
			s.Quiet()
			for n := range 48 {
				if i > 9 {
					break
				}
				s.Fail(time.Millisecond+time.Duration(n)*50*time.Microsecond, detecttest.Socket{
					PID: 50, Process: "mount.nfs", Protocol: model.ProtocolTCP, How: model.HowBindPort, LPort: uint16(665 + n),
				}, 98, why)
			}
		})
		return s.Batch()
	}
}

// TestClearShareOfAPool has as many ports in use as keep a case open, most of
// them by connections, which share ports: too few are taken for everyone.
func TestClearShareOfAPool(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40063)
	bound := detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolTCP, How: model.HowBindPort}
	port := uint16(40000)
	var held []detecttest.Socket
	s.Seconds(40, func(i int) {
		s.Quiet()
		switch i {
		case 0:
			held = s.Take(bound, 60, &port)
		case 4:
			for _, k := range held[10:] {
				s.Release(time.Millisecond, k)
			}
			for n := range 38 { // 48 of 64 with the bound ones
				k := detecttest.Dialer()
				k.Remote, k.LPort = fmt.Sprintf("10.0.1.%d", n), uint16(40010+n)
				s.Acquire(2*time.Millisecond, k)
			}
		}
	})
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "port-exhaustion", Severity: model.SeverityWarning, Closed: true, Contains: []string{"holder[9]"},
	})
}
