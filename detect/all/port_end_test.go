package all_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// said returns what the findings of a detector said last up to a moment.
func said(
	out []detecttest.Emission, detector string, until model.Time,
) (title, text string, f model.Finding, times int) {
	for _, e := range out {
		if e.Finding.Detector == detector && e.At <= until {
			f = e.Finding
			times++
		}
	}
	return f.Title, strings.Join(append(append(append([]string{f.Title}, f.Causes...), f.RuledOut...), f.Advice...), "\n"),
		f, times
}

// evidenceOf returns a number of a finding, -1 without it.
func evidenceOf(f model.Finding, name string) float64 {
	for _, e := range f.Evidence {
		if e.Name == name {
			return e.Value
		}
	}
	return -1
}

// TestLeakEndsWithItsProcess wants a process that filled a pool and ended to
// have leaked all the same: in the past tense, with the numbers of its worst
// moment, and without advice that comes too late.
func TestLeakEndsWithItsProcess(t *testing.T) {
	for _, c := range []struct {
		name string
		// seen says that the end of the process is in the stream, tcp that its
		// connections are closed one after the other and rest, churn that it gives
		// back other ports meanwhile.
		seen, tcp, churn bool
		until            string
	}{
		{"seen", true, false, false, "kept them until it exited"},
		{"not seen", false, false, false, "kept them until it released all at once"},
		{"bound connections", false, true, false, "most now in TIME_WAIT"},
		{"beside churn", true, false, true, "kept them until it exited"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.New()
			k, protocol := detecttest.Leaker(), model.ProtocolUDP
			if c.tcp {
				k.Protocol, k.Local, protocol = model.ProtocolTCP, "10.0.0.1", model.ProtocolTCP
			}
			s.Pool("ephemeral", protocol, model.PoolEphemeral, 40000, 40999)
			port, busy := uint16(40000), uint16(50000)
			var held []detecttest.Socket
			s.Seconds(20, func(i int) {
				s.Quiet()
				if c.churn {
					s.Churn(k, 30, 10*time.Millisecond, &busy)
				}
				if i < 10 {
					held = append(held, s.Take(k, 100, &port)...)
				} else {
					none := k
					none.LPort = 0
					s.Fail(500*time.Millisecond, none, 98, "EADDRINUSE")
				}
			})
			end := s.Now().Add(650 * time.Millisecond)
			for i, k := range held {
				if after := 650*time.Millisecond + time.Duration(i)*20*time.Microsecond; c.tcp {
					s.Rest(after+time.Duration(i)*time.Millisecond, time.Minute, k)
				} else {
					s.Release(after, k)
				}
			}
			if c.seen {
				s.Builder().AddProcess(model.Process{
					Time: s.Now().Add(time.Second), PID: k.PID, TID: k.PID, State: model.ProcessExited, Name: k.Process,
				})
			}
			s.Seconds(90, func(int) { s.Quiet() })
			out := detecttest.Run(s.Batch(), 0)
			if title, _, f, _ := said(out, "port-leak", end); f.Severity != model.SeverityCritical || !f.Ongoing ||
				!strings.Contains(title, "took 1,000") || !strings.Contains(title, "released none") && !c.churn {
				t.Errorf("while it lasts: %s %s", f.Severity, title)
			}
			title, text, f, _ := said(out, "port-leak", end.Add(6*time.Second))
			if f.Ongoing || f.Severity != model.SeverityWarning || !strings.Contains(title, "took 1,000") ||
				!strings.Contains(title, "in 10 s and "+c.until) && !strings.Contains(title, c.until) {
				t.Errorf("just after: ongoing %v, %s: %s", f.Ongoing, f.Severity, title)
			}
			for _, never := range []string{"restart", "vanish", "no leak", "takes", "still", "opens"} {
				if strings.Contains(text, never) {
					t.Errorf("it has ended, and %q is said:\n%s", never, text)
				}
			}
			for name, want := range map[string]float64{
				"ports taken and kept": 1000, "ports of the pool in use": 1000, "size of the pool": 1000,
				"held by the process in this pool at the peak": 1000, "held now": 0,
			} {
				if got := evidenceOf(f, name); got != want && (!c.tcp || name != "held now") {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			}
			if _, _, last, _ := said(out, "port-leak", 1<<62); last.Title != f.Title {
				t.Errorf("it changes: %s", last.Title)
			}
			title, text, f, _ = said(out, "port-exhaustion", 1<<62)
			if f.Ongoing || !strings.Contains(title, "was exhausted: 1,000 of 1,000 ports in use, 10 allocations refused") ||
				strings.Contains(text, "Most of them") || !strings.Contains(text, "held 1,000 of them (100 %)") {
				t.Errorf("exhaustion, ongoing %v: %s\n%s", f.Ongoing, title, text)
			}
			if list := detecttest.Latest(out); len(list) != 2 {
				t.Errorf("%d findings: %s", len(list), detecttest.Dump(out))
			}
		})
	}
}

// TestPoolsEmptiedWithRefusals wants a process that ends while a bounded pool
// refuses others to have lost no ports.
func TestPoolsEmptiedWithRefusals(t *testing.T) {
	for _, seen := range []bool{true, false} {
		s := detecttest.New()
		s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5199)
		port := uint16(5000)
		k, other := detecttest.Leaker(), detecttest.Leaker()
		k.How, other.How, other.PID, other.Process = model.HowBindPort, model.HowBindPort, 99, "victim"
		var held []detecttest.Socket
		s.Seconds(6, func(i int) {
			s.Quiet()
			if i < 4 {
				held = append(held, s.Take(k, 50, &port)...)
				return
			}
			for n := range 20 {
				f := other
				f.LPort = 0
				s.Fail(time.Duration(n+1)*40*time.Millisecond, f, 98, "EADDRINUSE")
			}
		})
		for i, k := range held {
			s.Release(100*time.Millisecond+time.Duration(i), k)
		}
		if seen {
			s.Builder().AddProcess(model.Process{
				Time: s.Now().Add(time.Second), PID: k.PID, TID: k.PID, State: model.ProcessExited, Name: k.Process,
			})
		}
		f := other
		s.Fail(200*time.Millisecond, f, 98, "EADDRINUSE")
		s.Seconds(40, func(int) { s.Quiet() })
		for _, e := range detecttest.Run(s.Batch(), 0) {
			if strings.Contains(e.Finding.Title, "vanish") {
				t.Fatalf("seen %v: %s", seen, e.Finding.Title)
			}
		}
	}
}

// TestDestinationKeepsItsCause wants open connections that used up the ports
// towards a destination to stay the cause when they rest after the process's end.
func TestDestinationKeepsItsCause(t *testing.T) {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40499)
	port := uint16(40000)
	var held []detecttest.Socket
	s.Seconds(12, func(i int) {
		s.Quiet()
		if i < 5 {
			held = append(held, s.Take(detecttest.Dialer(), 100, &port)...)
			return
		}
		none := detecttest.Dialer()
		none.LPort = 0
		s.Fail(500*time.Millisecond, none, 99, "EADDRNOTAVAIL")
	})
	for i, k := range held {
		s.Rest(300*time.Millisecond+time.Duration(i)*time.Microsecond, time.Minute, k)
	}
	s.Seconds(100, func(int) { s.Quiet() })
	out := detecttest.Run(s.Batch(), 0)
	title, text, f, _ := said(out, "port-exhaustion", 1<<62)
	if f.Ongoing || !strings.Contains(title, "were exhausted: 500 of 500 ports in use, 7 allocations refused") ||
		strings.Contains(text, "TIME_WAIT") || !strings.Contains(text, "app[77] held 500 of them") {
		t.Errorf("ongoing %v: %s\n%s", f.Ongoing, title, text)
	}
}

// TestProgramsOfOneInterpreter wants processes of one name to be one leak only
// when they run the same program for the same parent.
func TestProgramsOfOneInterpreter(t *testing.T) {
	type process struct {
		cmdline string
		parent  int64
	}
	for _, c := range []struct {
		name string
		list []process
		// family says that they are one finding.
		family bool
	}{
		{"two scripts", []process{{"python3 a.py", 1}, {"python3 b.py", 1}}, false},
		{"one script of two parents", []process{{"python3 a.py", 10}, {"python3 a.py", 11}}, false},
		{"one script", []process{{"python3 a.py", 10}, {"python3 a.py", 10}}, true},
		{"workers by number", []process{{"python3 w.py --id=1 8001", 10}, {"python3 w.py --id=2 8002", 10}}, true},
		{"nothing known", []process{{}, {}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := detecttest.Ports()
			var next []uint16
			for i, p := range c.list {
				next = append(next, uint16(33000+10000*i))
				if p == (process{}) {
					continue
				}
				s.Builder().AddProcess(model.Process{
					Time: s.Now(), PID: int32(100 + i), TID: int32(100 + i), PPID: p.parent, Name: "python3", Cmdline: p.cmdline,
				})
			}
			s.Seconds(30, func(int) {
				s.Quiet()
				for i := range c.list {
					k := detecttest.Leaker()
					k.PID, k.Process = int32(100+i), "python3"
					s.Take(k, 12+i, &next[i])
				}
			})
			list := detecttest.Latest(detecttest.Run(s.Batch(), 0))
			if !c.family {
				if len(list) != 2 || list[0].Subject.PID+list[1].Subject.PID != 201 {
					t.Fatalf("%d findings: %+v", len(list), list)
				}
				for _, f := range list {
					if kept := evidenceOf(f, "ports taken and kept"); kept != 360 && kept != 390 {
						t.Errorf("%s: kept %v", f.Title, kept)
					}
				}
				return
			}
			if len(list) != 1 {
				t.Fatalf("%d findings: %+v", len(list), list)
			}
			f := list[0]
			text := strings.Join(f.Causes, "\n")
			sum := evidenceOf(f, "kept by python3[100]") + evidenceOf(f, "kept by python3[101]")
			if !strings.HasPrefix(f.Title, "2 processes of python3 took 750 udp ports") ||
				!strings.Contains(text, "PIDs 101, 100") || sum != 750 ||
				evidenceOf(f, "ports taken and kept") != 750 || evidenceOf(f, "ports taken since it was first seen") != 750 ||
				evidenceOf(f, "held by the process in this pool") != 750 {
				t.Errorf("%s\n%s\n%+v", f.Title, text, f.Evidence)
			}
		})
	}
}

// TestFormerProcessesAreNoFamily wants processes that took ports and ended to be
// none of a leak's later ones.
func TestFormerProcessesAreNoFamily(t *testing.T) {
	s := detecttest.Ports()
	port := uint16(33000)
	for i := range 3 {
		k := detecttest.Leaker()
		k.PID = int32(200 + i)
		var held []detecttest.Socket
		s.Seconds(4, func(int) { s.Quiet(); held = append(held, s.Take(k, 5, &port)...) })
		for i, k := range held {
			s.Release(time.Duration(i)*time.Microsecond, k)
		}
		s.Next()
	}
	for i := range 2 {
		_ = i
		s.Seconds(10, func(int) {
			s.Quiet()
			for n := range 2 {
				k := detecttest.Leaker()
				k.PID = int32(300 + n)
				s.Take(k, 12, &port)
			}
		})
	}
	list := detecttest.Latest(detecttest.Run(s.Batch(), 0))
	if len(list) != 1 || !strings.HasPrefix(list[0].Title, "2 processes of rpc-client took 480 ") ||
		evidenceOf(list[0], "ports taken since it was first seen") != 480 {
		t.Errorf("%s", fmt.Sprint(list))
	}
}
