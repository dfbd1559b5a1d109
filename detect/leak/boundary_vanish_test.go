package leak_test

import (
	"slices"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// turns is a stream of a pool of 100 ports that a process takes in turn, ten in
// each second for 20 ms each, so that a port lies free for 9.98 s. From one minute
// on it passes every fifth of them over; it goes on until the given second. What keeps
// a port of its own lives.
func turns(until, length int, keeps bool) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
		own := detecttest.Leaker()
		own.LPort = 7000
		if keeps {
			s.Acquire(0, own)
		}
		s.Seconds(length, func(i int) {
			s.Quiet()
			for n := range 10 {
				port := 10*(i%10) + n
				if i >= until || i >= 60 && port%5 == 0 {
					continue
				}
				k := detecttest.Leaker()
				k.LPort = uint16(5000 + port)
				at := time.Duration(n) * 50 * time.Millisecond
				s.Release(at+20*time.Millisecond, s.Acquire(at, k))
			}
		})
		return s.Batch()
	}
}

// vanishBoundaries are those of settings that decide about ports that vanish.
func vanishBoundaries() []detecttest.Boundary {
	const free, usual = 40_729 * time.Millisecond, 9980 * time.Millisecond
	return []detecttest.Boundary{
		{Setting: "leak.vanished_ports", At: 20, Says: "vanished", Stream: turns(150, 150, true)},
		// The last of them is free from 59.27 s on, the last judgement from 99.999 s.
		{Setting: "leak.vanished_factor", At: float64(free-1) / float64(usual), Next: float64(free+1) / float64(usual),
			Says: "20 ports of pool", Stream: turns(100, 100, true)},
		// A slow leak: its five steps span 20 of the 30 s, and 20 ports; three others come back.
		{Setting: "leak.proof_after", At: 20 * time.Second, Says: "port-leak",
			With:   map[string]string{"leak.min_ports": "1000", "leak.min_ports_fast": "1000"},
			Stream: growth(detecttest.Leaker(), 1, 30)},
		{Setting: "leak.given_back", At: 0.15, Upper: true, Says: "port-leak",
			With:   map[string]string{"leak.min_ports": "1000", "leak.min_ports_fast": "1000"},
			Stream: taking(slices.Repeat([]int{1}, 30), append([]int{0, 1, 1, 1}, make([]int, 26)...))},
		// Nothing is seen of the process from 104 s on.
		{Setting: "leak.keep_for", At: 30 * time.Second, Upper: true, Says: "until 134",
			Stream: turns(100, 150, false)},
		{Setting: "leak.vanished_ports", At: 350, Says: "never reuses a port", Stream: neverReused},
	}
}

// neverReused is a stream of a process that takes 350 of 400 ports once each, in
// no order, and rests then.
func neverReused() *model.Batch {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5399)
	s.Seconds(370, func(i int) {
		s.Quiet()
		if i >= 350 {
			return
		}
		k := detecttest.Leaker()
		k.LPort = uint16(5000 + i*137%400)
		s.Release(100*time.Millisecond, s.Acquire(time.Millisecond, k))
	})
	return s.Batch()
}
