package exhaustion_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// pool is a stream of a pool of n ports, size of which the holder takes in the
// first second.
func pool(size, taken int, more func(s *detecttest.Stream, i int)) *model.Batch {
	s := detecttest.Ports()
	s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, uint16(5000+size-1))
	port := uint16(5000)
	s.Seconds(30, func(i int) {
		s.Quiet()
		if i == 0 {
			s.Take(detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolUDP, How: model.HowBindPort},
				taken, &port)
		}
		if more != nil {
			more(s, i)
		}
	})
	return s.Batch()
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "exhaustion", append(boundaries, targetBoundaries()...))
}

var boundaries = []detecttest.Boundary{
	{Setting: "exhaustion.warn_share", At: 0.8125, Says: "port-exhaustion",
		Stream: func() *model.Batch { return pool(64, 52, nil) }},
	{Setting: "exhaustion.clear_share", At: 0.75, Says: "ongoing warning port-exhaustion",
		Stream: func() *model.Batch {
			s := detecttest.Ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5063)
			port := uint16(5000)
			k := detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolUDP, How: model.HowBindPort}
			s.Seconds(30, func(i int) {
				s.Quiet()
				switch i {
				case 0:
					s.Take(k, 48, &port)
				case 2, 3:
					for _, k := range s.Take(k, 12, &port) {
						s.Release(990*time.Millisecond, k)
					}
				case 1:
					for _, k := range s.Take(k, 12, &port) { // full for two seconds
						s.Builder().AddPortRelease(model.PortRelease{
							Time: s.Now().Add(3 * time.Second), PID: k.PID, TID: k.PID, Cookie: k.Cookie, Protocol: k.Protocol,
							LocalPort: k.LPort, How: model.HowClose, LocalAddr: k.Local, Process: k.Process,
						})
					}
					port = 5048 + 0
				}
			})
			return s.Batch()
		}},
	{Setting: "exhaustion.full_share", At: 0.9375, With: map[string]string{"exhaustion.warn_share": "0.99"},
		Says: "critical port-exhaustion", Stream: func() *model.Batch {
			return pool(64, 60, func(s *detecttest.Stream, i int) {
				if i >= 10 {
					s.Fail(time.Millisecond, detecttest.Socket{
						PID: 10, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5001,
					}, 98, "EADDRINUSE")
				}
			})
		}},
	// The only refusal is from 10.001 s.
	{Setting: "exhaustion.failures_for", At: 5999 * time.Millisecond, Upper: true, Says: "until 16",
		With: map[string]string{
			"exhaustion.warn_share": "0.99", "exhaustion.clear_share": "0.98", "exhaustion.full_share": "0.9",
		},
		Stream: func() *model.Batch {
			return pool(64, 60, func(s *detecttest.Stream, i int) {
				if i == 10 {
					s.Fail(time.Millisecond, detecttest.Socket{
						PID: 10, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5001,
					}, 98, "EADDRINUSE")
				}
			})
		}},
	{Setting: "exhaustion.min_ports", At: 20, Says: "port-exhaustion",
		Stream: func() *model.Batch { return pool(20, 20, nil) }},
}
