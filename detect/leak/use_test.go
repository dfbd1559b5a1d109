package leak_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestLeakTellsUse wants the use of the ports held to be told: idle ones speak
// for a leak, ones in use for a pool.
func TestLeakTellsUse(t *testing.T) {
	for _, c := range []struct {
		name     string
		activity func(held int, age time.Duration) model.PortActivity
		contains []string
		lacks    []string
	}{
		{"idle", func(_ int, age time.Duration) model.PortActivity {
			return model.PortActivity{Activity: model.ActivityIdle, Dur: age}
		}, []string{"not a pool in use: 400 of 400 held ports idle, half of them for 3", "held ports of which the use is " +
			"known", "of them idle for 10 s or longer", "median idle time of those"}, []string{"speaks for a pool"}},
		{"in use", func(i int, age time.Duration) model.PortActivity {
			if i%4 == 0 {
				return model.PortActivity{Activity: model.ActivityIdle, Dur: age}
			}
			return model.PortActivity{Activity: model.ActivityInUse}
		}, []string{"300 of 400 held ports were used within the last 10 s: that speaks for a " +
			"pool"}, []string{"not a pool in use"}},
		{"half of them idle: neither", func(i int, age time.Duration) model.PortActivity {
			if i%2 == 0 {
				return model.PortActivity{Activity: model.ActivityIdle, Dur: age}
			}
			return model.PortActivity{Activity: model.ActivityInUse}
		}, []string{"held ports of which the use is known"}, []string{"not a pool in use", "speaks for a pool"}},
		{"not watched", nil, nil, []string{"idle", "speaks for a pool"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.Ports()
			port := uint16(33000)
			var held []detecttest.Socket
			var taken []model.Time
			s.Seconds(20, func(int) {
				for _, k := range s.Take(detecttest.Leaker(), 20, &port) {
					held, taken = append(held, k), append(taken, s.Now())
				}
			})
			s.Seconds(20, func(second int) {
				s.Quiet()
				if c.activity == nil || second != 10 {
					return
				}
				for i, k := range held {
					v := c.activity(i, s.Now().Sub(taken[i]))
					v.Time, v.PID, v.TID, v.Cookie, v.Protocol, v.LocalPort = s.Now(), k.PID, -1, k.Cookie, k.Protocol, k.LPort
					s.Builder().AddPortActivity(v)
				}
			})
			detecttest.Check(
				t,
				s.Batch(),
				detecttest.Start,
				want{Detector: "port-leak", Severity: model.SeverityWarning, Contains: c.contains, Lacks: c.lacks},
			)
		})
	}
}

// TestLeakKeepsUse wants the use of the ports to be told after they were given
// back, too.
func TestLeakKeepsUse(t *testing.T) {
	s := detecttest.Ports()
	port := uint16(33000)
	var held []detecttest.Socket
	s.Seconds(30, func(second int) {
		held = append(held, s.Take(detecttest.Leaker(), 20, &port)...)
		if second == 25 {
			for _, k := range held[:400] {
				s.Builder().
					AddPortActivity(model.PortActivity{
						Time: s.Now().Add(time.Second / 2), Dur: 20 * time.Second, PID: k.PID, TID: -1, Cookie: k.Cookie,
						Protocol: k.Protocol, LocalPort: k.LPort, Activity: model.ActivityIdle,
					})
			}
		}
	})
	for i, k := range held {
		s.Release(time.Duration(i)*time.Millisecond, k)
	}
	s.Seconds(40, func(int) { s.Quiet() })
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "port-leak", Severity: model.SeverityWarning, Closed: true,
		Contains: []string{"by now they are free again", "not a pool in use: ", " held ports idle, half of them for 2"}})
}
