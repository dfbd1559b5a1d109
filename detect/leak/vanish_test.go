package leak_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// told returns how often a finding opened and closed, and how it was told last.
func told(t *testing.T, b *model.Batch) (opened, closed int, last model.Finding) {
	t.Helper()
	open := false
	for _, e := range detecttest.Run(b, 0) {
		if e.Finding.Ongoing && !open {
			opened++
		}
		if !e.Finding.Ongoing && open {
			closed++
		}
		open, last = e.Finding.Ongoing, e.Finding
	}
	return opened, closed, last
}

// TestVanishedStayOpen wants ports that are missing to be one finding for as long
// as they are: until they are used again, or their process ends.
func TestVanishedStayOpen(t *testing.T) {
	const minutes = 8
	if opened, closed, f := told(t, turns(60*minutes, 60*minutes, true)()); opened != 1 || closed != 0 || !f.Ongoing {
		t.Errorf("opened %d times, closed %d times: %s", opened, closed, f.Title)
	}
	// The process rests, and lives: its ports are still missing.
	if opened, closed, f := told(t, turns(120, 60*minutes, true)()); opened != 1 || closed != 0 || !f.Ongoing {
		t.Errorf("at rest: opened %d times, closed %d times: %s", opened, closed, f.Title)
	}
}

// bursts is a stream of a process that takes 20 of 100 ports at once in each
// second, in turn, holds them for 300 ms, and passes every fifth over from one minute
// on; at second until it does what then says.
func bursts(until, length int, then func(s *detecttest.Stream, k detecttest.Socket)) *model.Batch {
	s := detecttest.New()
	s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	k := detecttest.Leaker()
	s.Builder().AddProcess(model.Process{Time: s.Now(), PID: k.PID, TID: k.PID, Name: k.Process})
	s.Seconds(length, func(i int) {
		s.Quiet()
		if i == until && then != nil {
			then(s, k)
		}
		if i >= until {
			return
		}
		for n := range 20 {
			port := 20*(i%5) + n
			if i >= 60 && port%5 == 0 {
				continue
			}
			k := k
			k.LPort = uint16(5000 + port)
			at := time.Duration(n) * time.Millisecond
			s.Release(at+300*time.Millisecond, s.Acquire(at, k))
		}
	})
	return s.Batch()
}

// TestLivesBetweenBursts wants a process that gives back all of its ports at once,
// again and again, to be alive: what it has lost has vanished.
func TestLivesBetweenBursts(t *testing.T) {
	_, closed, f := told(t, bursts(100, 100, nil))
	if closed != 0 || !strings.HasPrefix(f.Title, "20 ports of pool svc (udp 5000-5099) have vanished: rpc-client[4312]") {
		t.Errorf("while it goes on, closed %d times: %s", closed, f.Title)
	}
	// Nothing is seen of it any more: nothing is said of its end.
	_, closed, f = told(t, bursts(100, 200, nil))
	if closed != 1 || !strings.Contains(f.Title, "had vanished") || strings.Contains(f.Title, "ended") {
		t.Errorf("afterwards, closed %d times: %s", closed, f.Title)
	}
	_, closed, f = told(t, bursts(100, 200, func(s *detecttest.Stream, k detecttest.Socket) {
		s.Builder().AddProcess(model.Process{
			Time: s.Now(), PID: k.PID, TID: k.PID, State: model.ProcessExited, Name: k.Process,
		})
	}))
	if closed != 1 || !strings.HasSuffix(f.Title, "no socket held them before it exited") ||
		f.End.Sub(detecttest.Start) > 101*time.Second {
		t.Errorf("after its end, closed %d times: %s", closed, f.Title)
	}
	// They are used after all.
	_, closed, f = told(t, bursts(100, 140, func(s *detecttest.Stream, k detecttest.Socket) {
		for n := range 20 {
			k.LPort = uint16(5000 + 5*n)
			s.Acquire(time.Duration(n)*time.Millisecond, k)
		}
	}))
	if closed != 1 || f.Severity != model.SeverityInfo || !strings.Contains(f.Title, "they had not vanished") {
		t.Errorf("after they were used, closed %d times, %s: %s", closed, f.Severity, f.Title)
	}
}

// TestEndOfOneBurst wants a process that gave back all of its ports at once, and
// of which nothing is seen since, to have ended with them where nothing speaks
// against it, and to have lost them where the stream reports ends, and none of its own.
func TestEndOfOneBurst(t *testing.T) {
	for _, c := range []struct {
		name string
		// ends says that the stream reports the end of another process, refused that
		// the process is refused a port afterwards.
		ends, refused, vanished bool
	}{
		{"nothing known", false, false, false},
		{"ends are told", true, false, true},
		{"refused since", false, true, true},
	} {
		s := detecttest.New()
		s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
		s.Builder().AddProcess(model.Process{Time: s.Now(), PID: 7, TID: 7, Name: "once"})
		next := 0
		s.Seconds(150, func(i int) {
			s.Quiet()
			once := detecttest.Socket{PID: 7, Process: "once", Protocol: model.ProtocolUDP, How: model.HowBindPort}
			if i == 20 {
				for n := range 20 {
					k := once
					k.LPort = uint16(5000 + 5*n)
					s.Release(time.Duration(n)*time.Millisecond+300*time.Millisecond, s.Acquire(time.Duration(n)*time.Millisecond, k))
				}
				if c.ends {
					s.Builder().AddProcess(model.Process{Time: s.End(), PID: 99, TID: 99, State: model.ProcessExited, Name: "other"})
				}
			}
			if c.refused && i > 20 && i%2 == 0 {
				once.LPort = 80
				s.Fail(time.Millisecond, once, 13, "EACCES")
			}
			for range 10 { // another program uses the others in turn
				next++
				if next%5 == 0 {
					next++
				}
				k := detecttest.Leaker()
				k.LPort = uint16(5000 + next%100)
				at := time.Duration(next%100) * 5 * time.Millisecond
				s.Release(at+20*time.Millisecond, s.Acquire(at, k))
			}
		})
		_, _, f := told(t, s.Batch())
		got := strings.Contains(f.Title, "20 ports of pool svc (udp 5000-5099) have vanished: once[7]")
		if got != c.vanished {
			t.Errorf("%s: %v: %s", c.name, got, f.Title)
		}
	}
}

// TestRefusedBeforeItsEnd wants a process that the RPC runtime has just refused a
// port, and which ends then, to have no loss.
func TestRefusedBeforeItsEnd(t *testing.T) {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	k := detecttest.Leaker()
	port := uint16(5000)
	held := s.Take(k, 100, &port)
	s.Next()
	s.Seconds(5, func(i int) {
		none := k
		none.How = model.HowRPC
		for n := range 14 {
			s.Fail(time.Duration(n+1)*20*time.Millisecond, none, 1721, "RPC_S_OUT_OF_RESOURCES")
		}
		if i == 4 {
			for n, k := range held {
				s.Release(300*time.Millisecond+time.Duration(n), k)
			}
			none.PID, none.Process = 8, "other"
			s.Fail(350*time.Millisecond, none, 1721, "RPC_S_OUT_OF_RESOURCES")
		}
	})
	s.Seconds(30, func(int) { s.Quiet() })
	for _, e := range detecttest.Run(s.Batch(), 0) {
		if strings.Contains(e.Finding.Title, "vanished") {
			t.Fatal(e.Finding.Title)
		}
	}
}

// TestFewerIdleThanVanished wants RPC to have no port left while fewer ports are idle than had vanished before: some of
// those were taken after all.
func TestFewerIdleThanVanished(t *testing.T) {
	s := detecttest.New()
	s.Pool("rpc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
	k := detecttest.Leaker()
	k.Protocol = model.ProtocolUDP
	s.Builder().AddProcess(model.Process{Time: s.Now(), PID: k.PID, TID: k.PID, Name: k.Process})
	s.Seconds(130, func(i int) {
		s.Quiet()
		take := func(port int) detecttest.Socket {
			k := k
			k.LPort = uint16(5000 + port)
			return s.Acquire(time.Duration(port)*time.Millisecond, k)
		}
		switch {
		case i < 110:
			for port := 20 * (i % 5); port < 20*(i%5+1); port++ {
				if i < 60 || port%5 != 0 {
					s.Release(time.Duration(port+300)*time.Millisecond, take(port))
				}
			}
		case i == 110:
			for port := range 100 {
				if port%5 != 0 || port < 15 {
					take(port)
				}
			}
		default:
			k := k
			k.How = model.HowRPC
			s.Fail(0, k, 1721, "RPC_S_OUT_OF_RESOURCES")
		}
	})
	var last model.Finding
	for _, e := range detecttest.Run(s.Batch(), 0) {
		if strings.Contains(e.Finding.Title, "ports of the range rpc") {
			last = e.Finding
		}
	}
	if !strings.HasPrefix(last.Title, "RPC reports no free port while 17 of 100 ports") {
		t.Errorf("%q", last.Title)
	}
}
