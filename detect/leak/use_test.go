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
		}, []string{"a connection pool in use: 400 of 400 held ports are idle, half of them for 3",
			"held ports whose last use is " +
				"known", "of those, idle for 10 s or longer", "median idle time of those"}, []string{"suggests a growing " +
			"connection pool"}},
		{"in use", func(i int, age time.Duration) model.PortActivity {
			if i%4 == 0 {
				return model.PortActivity{Activity: model.ActivityIdle, Dur: age}
			}
			return model.PortActivity{Activity: model.ActivityInUse}
		}, []string{"300 of 400 held ports were used in the last 10 s: that suggests a " +
			"growing connection pool"}, []string{"a connection pool in use"}},
		{"half of them idle: neither", func(i int, age time.Duration) model.PortActivity {
			if i%2 == 0 {
				return model.PortActivity{Activity: model.ActivityIdle, Dur: age}
			}
			return model.PortActivity{Activity: model.ActivityInUse}
		}, []string{"held ports whose last use is known"}, []string{"a connection pool in use",
			"suggests a growing connection pool"}},
		{"not watched", nil, nil, []string{"idle", "suggests a growing connection pool"}},
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
		Contains: []string{"a connection pool in use: ", " held ports are idle, half of them for 2"}})
}

// TestLeakTellsOfTheConnection wants what keeps connections open to be named: a
// peer that has closed them, or a bind that came before the connection.
func TestLeakTellsOfTheConnection(t *testing.T) {
	t.Run("closed by the peer", func(t *testing.T) {
		s := detecttest.Ports()
		port := uint16(33000)
		var held []detecttest.Socket
		s.Seconds(30, func(i int) {
			s.Quiet()
			if i < 12 {
				held = append(held, s.Take(detecttest.Dialer(), 40, &port)...)
			}
			if i != 25 {
				return
			}
			for _, k := range held {
				s.Builder().AddPortActivity(model.PortActivity{
					Time: s.Now(), Dur: 15 * time.Second, PID: k.PID, TID: -1, Cookie: k.Cookie, Protocol: k.Protocol,
					LocalPort: k.LPort, RemotePort: k.RPort, LocalAddr: k.Local, RemoteAddr: k.Remote,
					Activity: model.ActivityPeerClosed,
				})
			}
		})
		detecttest.Check(t, s.Batch(), detecttest.Start, want{
			Detector: "port-leak", Severity: model.SeverityWarning,
			Contains: []string{
				"The peer has closed 480 of 480 connections (CLOSE_WAIT); the program never does",
				"closed by the peer (CLOSE_WAIT)", "a connection pool in use: 480 of 480", "end of file",
			},
			Lacks: []string{"IP_BIND_ADDRESS_NO_PORT"},
		})
	})
	t.Run("bound before they were connected", func(t *testing.T) {
		s := detecttest.New()
		s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40399)
		port := uint16(40000)
		s.Seconds(20, func(i int) {
			s.Quiet()
			k := detecttest.Socket{
				PID: 5, Process: "proxy", Protocol: model.ProtocolTCP, How: model.HowBindAny, Local: "10.0.0.1",
			}
			if i >= 10 {
				s.Fail(500*time.Millisecond, k, 98, "EADDRINUSE")
				return
			}
			for n, k := range s.Take(k, 40, &port) {
				s.Builder().AddPortActivity(model.PortActivity{
					Time: s.End(), PID: k.PID, TID: -1, Cookie: k.Cookie, Protocol: k.Protocol, LocalPort: k.LPort,
					RemotePort: uint16(9000 + n%10), LocalAddr: k.Local, RemoteAddr: "10.0.0.2",
					Activity: model.ActivityInUse,
				})
			}
		})
		const why = "400 of them were bound before connecting to 10 destinations"
		detecttest.Check(t, s.Batch(), detecttest.Start,
			want{Detector: "port-leak", Severity: model.SeverityCritical,
				Contains: []string{why, "Set IP_BIND_ADDRESS_NO_PORT"}, Lacks: []string{"CLOSE_WAIT"}},
			want{Detector: "port-exhaustion", Severity: model.SeverityCritical,
				Contains: []string{why, "Set IP_BIND_ADDRESS_NO_PORT", "400 of 400 ports in use"}, Lacks: []string{"CLOSE_WAIT"}},
		)
	})
}
