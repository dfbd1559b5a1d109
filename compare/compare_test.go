package compare

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

const second = model.Time(time.Second)

// host says how a capture that is made up behaves.
type host struct {
	seconds int
	// netRX is the share of CPU 0 that NET_RX takes, wait how long it waits, drops how many packets a second a full
	// receive queue loses, leak how many ports a second a process takes and keeps.
	netRX, wait, drops, leak float64
	// windows names the deferred work as Windows does, without is a probe that is off.
	windows bool
	without string
	// from and until bound the seconds in which the above holds; outside, the host is calm.
	from, until int
}

func calm(seconds int) host { return host{seconds: seconds, netRX: 0.03, wait: 20e3} }

// stream makes up a capture: CPUs whose loads resemble those of the second before, a few drops of packets that nobody
// wants, and programs that take and give back ports.
func (h host) stream(seed uint64) (start, end model.Time, batch *model.Batch) {
	random := rand.New(rand.NewPCG(seed, 7))
	start = 1_795_000_000 * second
	var b model.Builder
	b.AddMeta(model.Meta{Time: start, Key: "host", Value: "web-07"})
	for _, name := range []string{"deferred", "interrupt", "drop", "port"} {
		p := model.Probe{Time: start, State: model.ProbeOn, Name: name}
		if name == h.without {
			p.State, p.Reason = model.ProbeOff, "no tracepoint"
		}
		b.AddProbe(p)
	}
	b.AddPortPool(model.PortPool{
		Time: start, Protocol: model.ProtocolUDP, Low: 40000, High: 59999, Size: 20000, Source: model.PoolConfigured,
		Name: "dyn",
	})
	level := [4]float64{}
	port, leaked := uint16(40000), uint16(50000)
	for i := range h.seconds {
		at := start + model.Time(i+1)*second
		now := h
		if h.until > 0 && (i < h.from || i >= h.until) {
			now = calm(h.seconds)
		}
		for cpu := range int32(4) {
			level[cpu] = 0.5*level[cpu] + 0.866*random.NormFloat64()
			noise := math.Exp(0.5 * level[cpu])
			share := 0.03 * noise
			if cpu == 0 {
				share = min(now.netRX*noise, 0.97)
			}
			add := func(name string, share, wait float64) {
				var waits model.Histogram
				for range 40 {
					waits.Observe(uint64(wait * math.Exp(0.4*random.NormFloat64())))
				}
				d := model.DeferredHist{
					Time: at, Dur: time.Second, CPU: cpu, Count: 40, Busy: time.Duration(share * 1e9), Name: name,
					WaitHist: &waits, Class: model.ClassSoftirq,
				}
				if h.windows {
					d.Class, d.Driver = model.ClassDPC, "ndis.sys"
				}
				b.AddDeferredHist(d)
			}
			wait := 20e3
			if cpu == 0 {
				wait = now.wait
			}
			add("NET_RX", share, wait)
			add("TIMER", 0.01*noise, 15e3)
			b.AddCPUTime(model.CPUTime{
				Time: at, Dur: time.Second, CPU: cpu, User: time.Duration(2e8 * noise / (1 + noise) * 2),
			})
		}
		if random.IntN(5) == 0 && h.without != "drop" {
			b.AddDrop(model.Drop{
				Time: at, CPU: 1, Queue: -1, PID: -1, TID: -1, Place: model.PlaceProtocol, Count: uint64(1 + random.IntN(3)),
				Reason: "NO_SOCKET",
			})
		}
		if now.drops > 0 && h.without != "drop" {
			b.AddDrop(model.Drop{
				Time: at, CPU: 0, Queue: -1, PID: -1, TID: -1, Place: model.PlaceSocket,
				Count: uint64(now.drops * (0.5 + random.Float64())), Reason: "SOCKET_RCVBUFF",
			})
		}
		take := func(port uint16, name string) {
			b.AddPortAcquire(model.PortAcquire{
				Time: at, PID: int32(len(name)), TID: int32(len(name)), Cookie: uint64(port), Protocol: model.ProtocolUDP,
				LocalPort: port, LocalAddr: "0.0.0.0", Process: name,
			})
		}
		for range random.IntN(5) {
			take(port, "resolver")
			b.AddPortRelease(model.PortRelease{
				Time: at, PID: 8, TID: 8, Cookie: uint64(port), Protocol: model.ProtocolUDP, LocalPort: port,
				LocalAddr: "0.0.0.0", Process: "resolver",
			})
			port++
		}
		for range int(now.leak) {
			take(leaked, "leaker")
			leaked++
		}
	}
	return start, start + model.Time(h.seconds)*second, b.Take()
}

func (h host) side(seed uint64, findings ...model.Finding) *Side {
	start, end, b := h.stream(seed)
	s := NewSide("x", start, end)
	s.Apply(b)
	s.Finish(findings)
	return s
}

// Two calm captures of one kind differ in nothing, whatever their lengths.
func TestCalm(t *testing.T) {
	reported := 0
	for seed := range uint64(40) {
		a, b := calm(30+int(seed)*2).side(2*seed), calm(40+int(seed)).side(2*seed+1)
		r := Compare(a, b)
		if len(r.Differences) > 0 {
			reported++
			t.Logf("seed %d: %s", seed, r.Differences[0].Text)
		}
		if r.Compared < 5 || r.Short || len(r.NotCompared) > 0 || len(r.Bursts) > 0 {
			t.Errorf("seed %d: %d compared, %v, %v", seed, r.Compared, r.NotCompared, r.Bursts)
		}
	}
	if reported > 1 {
		t.Errorf("%d of 40 pairs of calm captures differ", reported)
	}
}

// A fault that lasts is a difference of what it changes, and of nothing else.
func TestFault(t *testing.T) {
	bad := calm(120)
	bad.netRX, bad.wait, bad.drops, bad.leak = 0.6, 3e6, 500, 10
	for seed := range uint64(10) {
		r := Compare(calm(90).side(seed), bad.side(seed+100))
		var got []string
		for _, d := range r.Differences {
			got = append(got, d.Text)
		}
		text := strings.Join(got, "\n")
		want := []string{
			"packets dropped at the socket for SOCKET_RCVBUFF: 0/s in A",
			"NET_RX on CPU 0 waited (99th percentile of a second): ",
			"NET_RX took CPU 0: ",
			"ports taken by leaker (udp): 0/s in A, 10/s in B (+10 to +10/s at 95 %)",
		}
		at := 0
		for _, w := range want {
			i := strings.Index(text[at:], w)
			if i < 0 {
				t.Fatalf("seed %d: %q is missing, or not in this order:\n%s", seed, w, text)
			}
			at += i
		}
		if len(r.Differences) != len(want) {
			t.Errorf("seed %d:\n%s", seed, text)
		}
		held := "ports held by leaker: 0 in the middle and at most 0 in A, 605 and 1,200 in B"
		if len(r.Levels) != 2 || r.Levels[0].Text != held {
			t.Errorf("seed %d: %+v", seed, r.Levels)
		}
		if first := r.Differences[0]; first.Low <= 0 || first.High < first.B || first.A != 0 {
			t.Errorf("%+v", first)
		}
	}
}

// A fault of a few seconds is no difference of the whole; its finding brings it up.
func TestBurst(t *testing.T) {
	bad := calm(60)
	bad.netRX, bad.wait, bad.drops, bad.from, bad.until = 0.9, 3e6, 500, 30, 34
	start := 1_795_000_000 * second
	f := model.Finding{
		ID: "socket-drop/1", Detector: "socket-drop", Severity: model.SeverityWarning, Title: "lost",
		Start: start + 30*second, End: start + 34*second, Subject: model.Subject{Kind: "socket", CPU: -1, PID: -1},
	}
	r := Compare(calm(60).side(1), bad.side(2, f))
	if len(r.Differences) != 0 || len(r.Findings) != 1 || r.Findings[0].Only != "b" || len(r.Bursts) < 2 {
		t.Fatalf("%+v\n%+v\n%+v", r.Differences, r.Findings, r.Bursts)
	}
	burst := r.Bursts[0]
	where := "in 4 of 60 values; at most 0/s in the other"
	if burst.In != "b" || burst.Above != 4 || !strings.Contains(burst.Text, where) {
		t.Errorf("%+v", burst)
	}
	f.Severity = model.SeverityInfo
	if r := Compare(calm(60).side(1), bad.side(2, f)); len(r.Bursts) != 0 || len(r.Findings) != 0 {
		t.Errorf("without a finding: %v", r.Bursts)
	}
	same := f
	f.Severity, same.Severity, same.Start = model.SeverityWarning, model.SeverityWarning, start
	if r := Compare(calm(60).side(1, same), bad.side(2, f)); r.Findings[0].Only != "both" || len(r.Bursts) != 0 {
		t.Errorf("with the finding in both: %+v", r.Findings)
	}
}

// What only one capture can show is not compared, and said.
func TestNotCompared(t *testing.T) {
	without := calm(60)
	without.without = "drop"
	lossy := calm(60).side(2)
	lossy.Lost = 12
	windows := calm(60)
	windows.windows = true
	drops := calm(60)
	drops.drops = 500
	finding := model.Finding{Detector: "packet-drop", Severity: model.SeverityWarning, ID: "p"}
	for name, c := range map[string]struct {
		a, b *Side
		want string
	}{
		"lost":    {calm(60).side(1), lossy, "B lacks 12 events: its counts may be too small"},
		"windows": {calm(60).side(1), windows.side(2), "one capture is of Linux, the other one of Windows"},
	} {
		r := Compare(c.a, c.b)
		if len(r.NotCompared) != 1 || !strings.Contains(r.NotCompared[0], c.want) || len(r.Differences) > 0 {
			t.Errorf("%s: %v %v", name, r.NotCompared, r.Differences)
		}
	}
	r := Compare(drops.side(1, finding), without.side(2))
	if len(r.Findings) != 1 || !strings.HasPrefix(r.Findings[0].Unjudged, "B has nothing of dropped packets") ||
		len(r.NotCompared) != 1 || r.NotCompared[0] != "dropped packets: B has nothing of that (no tracepoint)" {
		t.Errorf("%+v", r.Findings)
	}
	short := Compare(calm(11).side(1), drops.side(2))
	if !short.Short || len(short.Differences) > 0 {
		t.Errorf("eleven seconds: %+v", short.Differences)
	}
	text, err := json.Marshal(Compare(calm(12).side(1), drops.side(2)))
	if err != nil || !strings.HasPrefix(string(text), `{"a":{"file":"x"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// A capture may have any length and any number of series.
func TestBounds(t *testing.T) {
	s := NewSide("x", 0, 30*24*3600*second)
	if s.bins > maxBins || s.Bin != 720*time.Second {
		t.Errorf("%d values of %s", s.bins, s.Bin)
	}
	var b model.Builder
	for i := range 2 * maxSeries {
		b.AddDrop(model.Drop{Time: second, CPU: -1, Queue: -1, PID: -1, TID: -1, Count: 1, Reason: strings.Repeat("x", i)})
	}
	s.Apply(b.Take())
	if len(s.series) != maxSeries || s.left != maxSeries {
		t.Errorf("%d series, %d left out", len(s.series), s.left)
	}
}
