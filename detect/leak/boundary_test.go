package leak_test

import (
	"slices"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// growth is a stream of a process that takes so many ports a second for a time.
func growth(k detecttest.Socket, perSecond, long int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.Ports()
		port := uint16(33000)
		s.Seconds(long, func(int) {
			s.Quiet()
			s.Take(k, perSecond, &port)
		})
		return s.Batch()
	}
}

// bounded is growth in a pool of 100 ports.
func bounded(perSecond, long int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.Ports()
		s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
		port := uint16(5000)
		s.Seconds(long, func(int) {
			s.Quiet()
			s.Take(detecttest.Leaker(), perSecond, &port)
		})
		return s.Batch()
	}
}

// taking is a stream of a process that takes kept ports in each second and keeps
// them, and takes others and gives them back at once.
func taking(kept, given []int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.Ports()
		port, others := uint16(33000), uint16(50000)
		s.Seconds(len(kept), func(i int) {
			s.Quiet()
			s.Take(detecttest.Leaker(), kept[i], &port)
			s.Churn(detecttest.Leaker(), given[i], 10*time.Millisecond, &others)
		})
		return s.Batch()
	}
}

// resting is a stream of a pool whose ports all come to rest, it is not said for
// how long.
func resting(begin func() *detecttest.Stream) func() *model.Batch {
	return func() *model.Batch {
		s := begin()
		s.Pool("svc", model.ProtocolTCP, model.PoolConfigured, 5000, 5063)
		port := uint16(5000)
		s.Seconds(40, func(i int) {
			s.Quiet()
			if i > 0 {
				return
			}
			k := detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolTCP, How: model.HowBindPort}
			for _, k := range s.Take(k, 64, &port) {
				s.Rest(990*time.Millisecond, 0, k)
			}
		})
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "leak", append(boundaries, vanishBoundaries()...))
}

var boundaries = []detecttest.Boundary{
	{Setting: "leak.min_ports", At: 40, With: map[string]string{"leak.slow_note": "1000"}, Says: "port-leak",
		Stream: growth(detecttest.Leaker(), 2, 30)},
	{Setting: "leak.min_ports_fast", At: 70, Says: "port-leak", Stream: growth(detecttest.Leaker(), 10, 9)},
	{Setting: "leak.min_connections", At: 180, With: map[string]string{"leak.min_connections_fast": "10000"},
		Says: "port-leak", Stream: growth(detecttest.Dialer(), 3, 90)},
	{Setting: "leak.slow_note", At: 30, Says: "port-leak", Stream: growth(detecttest.Leaker(), 1, 30)},
	{Setting: "leak.slow_ports", At: 60, Says: "warning port-leak", Stream: growth(detecttest.Leaker(), 1, 60)},
	{Setting: "leak.min_connections_fast", At: 210, Says: "port-leak", Stream: growth(detecttest.Dialer(), 30, 9)},
	{Setting: "leak.min_ports_bounded", At: 14, With: map[string]string{"leak.bounded_share": "0.01"},
		Says: "port-leak", Stream: bounded(2, 9)},
	{Setting: "leak.bounded_share", At: 0.14, Next: 0.15, With: map[string]string{"leak.min_ports_bounded": "1"},
		Says: "port-leak", Stream: bounded(2, 9)},
	// Judged once, at the end: the steps of the last seven whole seconds.
	{Setting: "leak.evenness", At: 0.6, With: map[string]string{"leak.min_ports_fast": "70"}, Says: "port-leak",
		Stream: taking([]int{6, 10, 10, 10, 10, 10, 14, 10}, make([]int, 8))},
	{Setting: "leak.given_back", At: 0.0625, Upper: true, With: map[string]string{"leak.min_ports_fast": "65"},
		Says:   "port-leak",
		Stream: taking([]int{10, 9, 9, 9, 9, 9, 10, 10}, []int{0, 1, 1, 1, 1, 1, 0, 0})},
	{Setting: "leak.early_churn", At: 20, Says: "port-leak",
		Stream: taking([]int{2, 2, 2, 2, 2, 2}, []int{40, 40, 40, 40, 40, 40})},
	{Setting: "leak.keep_for", At: 20 * time.Second, Upper: true, Says: "until 30",
		Stream: taking(append(slices.Repeat([]int{10}, 10), make([]int, 40)...), make([]int, 50))},
	// 880 ports of 1,000 are left at the end, and go at 10 a second.
	{Setting: "leak.critical_within", At: 88 * time.Second, Upper: true, Says: "critical port-leak",
		Stream: func() *model.Batch {
			s := detecttest.Ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5999)
			port := uint16(5000)
			s.Seconds(12, func(int) { s.Quiet(); s.Take(detecttest.Leaker(), 10, &port) })
			return s.Batch()
		}},
	// At rest from 0.99 s on.
	{Setting: "leak.rest_linux", At: 20010 * time.Millisecond, Says: "until 20,", Stream: resting(detecttest.New)},
	{Setting: "leak.rest_windows", At: 20010 * time.Millisecond, Says: "until 20,",
		Stream: resting(detecttest.NewWindows)},
	{Setting: "leak.vanished_ports", At: 337, Says: "RPC reports no free port", Stream: func() *model.Batch {
		return boundedStream(400, 900)
	}},
	// Its growth stops for want of ports after 5 s; it is judged last at 19.999 s.
	{Setting: "leak.proof_after", At: 19_999*time.Millisecond - 83_333_333, Says: "critical port-leak",
		Stream: func() *model.Batch {
			s := detecttest.Ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5049)
			port := uint16(5000)
			s.Seconds(20, func(i int) {
				s.Quiet()
				if i < 5 {
					s.Take(detecttest.Leaker(), 10, &port)
					return
				}
				none := detecttest.Leaker()
				none.LPort = 5000
				none.How = model.HowBindPort
				s.Fail(900*time.Millisecond, none, 98, "EADDRINUSE")
			})
			return s.Batch()
		}},
	{Setting: "leak.proof_after", At: 7 * time.Second, Says: "warning port-leak",
		Stream: growth(detecttest.Leaker(), 10, 8)},
}
