package all_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// emission is one finding as it was emitted.
type emission struct {
	at model.Time
	f  model.Finding
}

// run gives the stream to a new engine in batches of the given size (0: one batch).
func run(t *testing.T, b *model.Batch, size int) []emission {
	t.Helper()
	e := detect.New(all.Settings(), detect.Options{})
	var out []emission
	emit := func(at model.Time, f model.Finding) { out = append(out, emission{at, f}) }
	if size == 0 {
		size = len(b.Events)
	}
	for from := 0; from < len(b.Events); from += size {
		part := *b
		part.Events = b.Events[from:min(from+size, len(b.Events))]
		e.Apply(&part, emit)
	}
	e.Finish(emit)
	return out
}

// latest returns the last state of each finding, in order of first emission.
func latest(out []emission) []model.Finding {
	var list []model.Finding
	index := make(map[string]int)
	for _, e := range out {
		if i, ok := index[e.f.ID]; ok {
			list[i] = e.f
			continue
		}
		index[e.f.ID] = len(list)
		list = append(list, e.f)
	}
	return list
}

func dump(out []emission) string {
	var b strings.Builder
	for _, e := range out {
		body, _ := json.Marshal(e.f)
		fmt.Fprintf(&b, "%v %s\n", e.at, body)
	}
	return b.String()
}

// want says which finding a scenario must give, and what it must contain.
type want struct {
	detector string
	severity model.Severity
	// within is the longest time from the fault's start to the verdict, 0 unchecked.
	within time.Duration
	// contains are parts of the finding's JSON.
	contains []string
	// lacks are parts that it must not have.
	lacks []string
	// closed says that the finding must have been closed by the end.
	closed bool
}

func check(t *testing.T, b *model.Batch, fault model.Time, wants ...want) {
	t.Helper()
	out := run(t, b, 0)
	if again := dump(run(t, b, 7)); again != dump(out) {
		t.Errorf("other batches, other findings:\n%s\n%s", dump(out), again)
	}
	got := latest(out)
	if len(got) != len(wants) {
		t.Fatalf("got %d findings, want %d:\n%s", len(got), len(wants), dump(out))
	}
	for i, w := range wants {
		f := got[i]
		body, err := json.MarshalIndent(f, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		if f.Detector != w.detector || f.Severity != w.severity {
			t.Errorf("got %s %s, want %s %s:\n%s", f.Detector, f.Severity, w.detector, w.severity, text)
		}
		if f.Ongoing == w.closed {
			t.Errorf("ongoing is %v:\n%s", f.Ongoing, text)
		}
		for _, part := range w.contains {
			if !strings.Contains(text, part) {
				t.Errorf("finding lacks %q:\n%s", part, text)
			}
		}
		for _, part := range w.lacks {
			if strings.Contains(text, part) {
				t.Errorf("finding has %q:\n%s", part, text)
			}
		}
		for _, e := range out {
			if e.f.ID == f.ID && w.within > 0 && e.at.Sub(fault) > w.within {
				t.Errorf("first verdict after %v, want %v", e.at.Sub(fault), w.within)
			}
			if e.f.ID == f.ID {
				break
			}
		}
		for _, e := range f.Evidence {
			if e.Value != e.Value || e.Unit == "" || e.Name == "" {
				t.Errorf("bad evidence %+v", e)
			}
		}
	}
}

func seconds(s *detecttest.Stream, n int, each func(i int)) {
	for i := range n {
		each(i)
		s.Next()
	}
}

func TestQuietHost(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "")
	s.Pool("ephemeral-udp", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
	seconds(s, 120, func(i int) {
		s.Quiet()
		k := s.Acquire(
			time.Millisecond,
			detecttest.Socket{
				PID:      40,
				Process:  "dns",
				Protocol: model.ProtocolUDP,
				LPort:    uint16(33000 + i),
				How:      model.HowConnect,
			},
		)
		s.Release(20*time.Millisecond, k)
	})
	check(t, s.Batch(), 0)
}

func starved(s *detecttest.Stream) {
	s.CPU(0, detecttest.Load{NetRX: 0.996, Packets: 35_000, Dropped: 300_000, Squeezes: 1})
	s.CPU(1, detecttest.Load{NetRX: 0.02, User: 0.01, Packets: 100})
	s.Builder().
		AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 335_000})
	s.Drop(
		model.Drop{CPU: 1, Place: model.PlaceBacklog, Count: 300_000, Ifindex: 2, Device: "eth0", Reason: "CPU_BACKLOG"},
	)
}

func TestStarvation(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 20, func(int) { s.Quiet() })
	fault := s.Now()
	seconds(s, 12, func(int) { starved(s) })
	check(t, s.Batch(), fault, want{detector: "dpc-starvation", severity: model.SeverityCritical, within: 5 * time.Second,
		contains: []string{
			"CPU 0 spends 99.6 % of its time in NET_RX for eth0",
			"3.6 M packets lost in 12 s",
			`"device": "eth0"`,
			`"vector": "NET_RX"`,
			"rps_cpus",
			"not RSS: the device has one queue",
			"do not raise netdev_budget",
			"CPU 1 is 3.0 % busy",
			"proves nothing",
			"not the ring",
		}})
}

func TestStarvationCloses(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 12, func(int) { starved(s) })
	seconds(s, 30, func(int) { s.Quiet() })
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{detector: "dpc-starvation", severity: model.SeverityCritical, closed: true, contains: []string{"CPU 0 spent"}},
	)
}

// TestStarvationTellsOfTheFault lets a fault end slowly: what is said is what it
// was, not what was left of it. Waits that nothing is blamed for are no evidence.
func TestStarvationTellsOfTheFault(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 12, func(int) {
		starved(s)
		s.Builder().
			AddDeferredRun(model.DeferredRun{
				Time: s.End(), Dur: time.Microsecond, CPU: 0, PID: -1, TID: -1, Class: model.ClassSoftirq,
				Wait: 20 * time.Millisecond, Name: "TIMER",
			})
	})
	seconds(s, 5, func(int) {
		s.CPU(0, detecttest.Load{NetRX: 0.45, User: 0.55, Packets: 3000, Dropped: 5000})
		s.CPU(1, detecttest.Load{NetRX: 0.02, User: 0.01, Packets: 100})
	})
	seconds(s, 30, func(int) { s.Quiet() })
	check(t, s.Batch(), detecttest.Start, want{detector: "dpc-starvation", severity: model.SeverityCritical, closed: true,
		contains: []string{
			"CPU 0 spent 9",
			"not a program: user code has 0 %",
		}, lacks: []string{"no time left", "longest wait", "softirqs that waited"}})
}

// TestStarvationDoesNotFlap lets the fault come and go.
func TestStarvationDoesNotFlap(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 120, func(i int) {
		if i%15 < 6 {
			starved(s)
		} else {
			s.Quiet()
		}
	})
	b := s.Batch()
	out := run(t, b, 0)
	if got := latest(out); len(got) != 1 {
		t.Fatalf("%d findings for one fault that comes and goes:\n%s", len(got), dump(out))
	}
	if len(out) > 40 {
		t.Errorf("%d emissions in 120 s", len(out))
	}
}

func TestNotStarvation(t *testing.T) {
	for _, tt := range []struct {
		name string
		load [2]detecttest.Load
	}{
		{"busy without victim", [2]detecttest.Load{{NetRX: 0.9, Packets: 300_000}, {User: 0.1}}},
		{"flood that the CPU can bear", [2]detecttest.Load{{NetRX: 0.45, Packets: 600_000, Dropped: 2000}, {User: 0.9}}},
		{"squeezes alone", [2]detecttest.Load{{NetRX: 0.3, Packets: 300_000, Squeezes: 800, Runs: 1000}, {User: 0.1}}},
		{"CPU hog in user space", [2]detecttest.Load{{NetRX: 0.01, User: 0.99, Packets: 1000}, {User: 0.1}}},
		{"hog and a few drops", [2]detecttest.Load{{NetRX: 0.1, User: 0.9, Packets: 50_000, Dropped: 200}, {User: 0.1}}},
		{"spread over the CPUs", [2]detecttest.Load{{NetRX: 0.62, Packets: 20_000}, {NetRX: 0.6, Packets: 20_000}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Device(2, "eth0", 1, "")
			seconds(s, 30, func(int) {
				s.CPU(0, tt.load[0])
				s.CPU(1, tt.load[1])
			})
			check(t, s.Batch(), 0)
		})
	}
}

func TestBudgetTooSmall(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 12, func(int) {
		s.CPU(0, detecttest.Load{NetRX: 0.45, User: 0.55, Packets: 160_000, Dropped: 90_000, Squeezes: 18_000, Runs: 20_000})
		s.CPU(1, detecttest.Load{User: 0.2})
	})
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{detector: "dpc-starvation", severity: model.SeverityCritical, within: 5 * time.Second,
			contains: []string{
				"yields after 8 packets per run: netdev_budget is too small",
				"raise net.core.netdev_budget",
				"not when tasks on that CPU already wait",
			}, lacks: []string{"proves nothing"}},
	)
}

func TestDeferredRunsDelayOthers(t *testing.T) {
	stream := func(steal float64) *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.2, Packets: 640, Runs: 10, Steal: steal})
			s.CPU(1, detecttest.Load{User: 0.1})
			for i := range 5 {
				at := s.Now().Add(time.Duration(i) * 150 * time.Millisecond)
				s.Builder().
					AddDeferredRun(model.DeferredRun{
						Time: at.Add(20 * time.Millisecond), Dur: 18 * time.Millisecond, CPU: 0, Class: model.ClassSoftirq,
						Name: "NET_RX", Vector: 3,
					})
				s.Builder().
					AddDeferredRun(model.DeferredRun{
						Time: at.Add(20*time.Millisecond + 10*time.Microsecond), Dur: 8 * time.Microsecond, CPU: 0,
						Class: model.ClassSoftirq, Name: "TIMER", Vector: 1, Wait: 15 * time.Millisecond, Before: "NET_RX",
					})
			}
		})
		return s.Batch()
	}
	check(
		t,
		stream(0),
		detecttest.Start,
		want{detector: "dpc-starvation", severity: model.SeverityWarning, within: 5 * time.Second,
			contains: []string{"Long runs of NET_RX on CPU 0 delay its other softirqs", "the worst by 15 ms (TIMER)"}},
	)
	check(t, stream(0.3), 0) // a virtual CPU that is stopped delays everything
}

func TestThreadedNAPI(t *testing.T) {
	stream := func(drops uint64) *model.Batch {
		s := detecttest.New()
		s.Builder().
			AddDeviceConfig(model.DeviceConfig{
				Time: s.Now(), Ifindex: 5, Device: "veth1", Driver: "veth", Netns: "lb", RXQueues: 1, Threaded: true,
			})
		s.Builder().
			AddDeviceConfig(model.DeviceConfig{
				Time: s.Now(), Ifindex: 6, Device: "veth0", Driver: "veth", Netns: "lb2", RXQueues: 1,
			})
		seconds(s, 12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.01, Packets: 100})
			s.CPU(1, detecttest.Load{NetRX: 0.01, User: 0.3})
			s.Builder().
				AddNAPI(model.NAPI{
					Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 5, Device: "veth1", Polls: 1000, Packets: 64_000,
					FullPolls: 995, ThreadedPolls: 1000, MaxPackets: 64,
				})
			if drops > 0 {
				s.Drop(
					model.Drop{
						CPU:      1,
						Place:    model.PlaceDevice,
						Count:    drops,
						Ifindex:  6,
						Device:   "veth0",
						Reason:   "NOT_SPECIFIED",
						Location: "veth_xmit",
					},
				)
			}
		})
		return s.Batch()
	}
	check(
		t,
		stream(200_000),
		detecttest.Start,
		want{detector: "dpc-starvation", severity: model.SeverityCritical, within: 5 * time.Second,
			contains: []string{
				"NAPI thread of veth1",
				"while NET_RX looks idle (1.0 %)",
				"2.4 M packets lost in 12 s",
				"not NET_RX",
			}},
	)
	check(t, stream(0), 0)
}

// TestThreadedNAPITellsOfTheFault lets the load of a thread that moves between
// CPUs end: what is said is what the whole fault was, and its worst window.
func TestThreadedNAPITellsOfTheFault(t *testing.T) {
	s := detecttest.New()
	s.Builder().
		AddDeviceConfig(model.DeviceConfig{
			Time: s.Now(), Ifindex: 5, Device: "eth5", Driver: "virtio_net", RXQueues: 1, Threaded: true,
		})
	seconds(s, 60, func(i int) {
		cpu, polls, full, drops := int32(i/4%2), uint64(1000), uint64(990), uint64(100_000)
		switch {
		case i == 5:
			drops = 400_000
		case i >= 12:
			polls, full, drops = 10, 0, 0
		}
		s.CPU(0, detecttest.Load{NetRX: 0.01, Packets: 100})
		s.CPU(1, detecttest.Load{NetRX: 0.01, User: 0.3})
		s.Builder().
			AddNAPI(model.NAPI{
				Time: s.End(), Dur: time.Second, CPU: cpu, Ifindex: 5, Device: "eth5", Polls: polls, Packets: 64 * polls,
				FullPolls: full, ThreadedPolls: polls, MaxPackets: 64,
			})
		if drops > 0 {
			s.Drop(model.Drop{CPU: -1, Place: model.PlaceRing, Count: drops, Ifindex: 5, Device: "eth5", Reason: "rx_drops"})
		}
	})
	b := s.Batch()
	check(t, b, detecttest.Start, want{detector: "dpc-starvation", severity: model.SeverityCritical, closed: true,
		contains: []string{"NAPI thread of eth5 on CPU 1 did not keep up", "1.5 M packets", "most packets lost within 3 s"}})
	f := latest(run(t, b, 0))[0]
	for name, least := range map[string]float64{"polls that used their whole budget": 0.9, "polls by the NAPI " +
		"thread": 12_000, "packets handled meanwhile": 12 * 64_000, "most packets lost within 3 s": 600_000} {
		found := false
		for _, e := range f.Evidence {
			if e.Name == name {
				found = true
				if e.Value < least || e.Value > least*1.1 {
					t.Errorf("%s: %v, want about %v", name, e.Value, least)
				}
			}
		}
		if !found {
			t.Errorf("no evidence %q", name)
		}
	}
}

// TestLastSecond ends the stream in the middle of things: a last second is
// judged when at least half of it has been seen. Less than that tells more of a
// fault that is known, and makes none.
func TestLastSecond(t *testing.T) {
	stream := func(whole int, last time.Duration, drops uint64) *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "")
		b := s.Builder()
		add := func(at model.Time, d time.Duration) {
			part := d.Seconds()
			b.AddCPUTime(model.CPUTime{Time: at, Dur: d, CPU: 0, Softirq: d / 10, Idle: d - d/10})
			b.AddDeferredHist(
				model.DeferredHist{Time: at, Dur: d, CPU: 0, Class: model.ClassSoftirq, Count: 100, Busy: d / 10, Name: "NET_RX"},
			)
			b.AddNAPI(model.NAPI{Time: at, Dur: d, CPU: 0, Ifindex: 2, Device: "eth0", Polls: 100, Packets: 1000, FullPolls: 1})
			b.AddDeviceStats(model.DeviceStats{Time: at, Dur: d, Ifindex: 2, Device: "eth0", RXPackets: 1000})
			b.AddDrop(
				model.Drop{
					Time:    at,
					Dur:     d,
					CPU:     -1,
					PID:     -1,
					TID:     -1,
					Place:   model.PlaceRing,
					Count:   uint64(part * float64(drops)),
					Ifindex: 2,
					Device:  "eth0",
					Queue:   -1,
					Reason:  "rx_missed_errors",
				},
			)
		}
		seconds(s, whole, func(int) { add(s.Now().Add(time.Second), time.Second) })
		if last > 0 {
			add(s.Now().Add(last), last)
		}
		return s.Batch()
	}
	ring := func(parts ...string) want {
		return want{detector: "ring-drop", severity: model.SeverityWarning, contains: parts}
	}
	check(t, stream(2, 0, 300), detecttest.Start)
	check(t, stream(2, 300*time.Millisecond, 300), detecttest.Start)
	check(t, stream(2, 600*time.Millisecond, 300), detecttest.Start, ring("780 in 2.6 s"))
	check(t, stream(3, 0, 300), detecttest.Start, ring("900 in 3 s"))
	check(t, stream(3, 300*time.Millisecond, 300), detecttest.Start, ring("990 in 3.3 s"))
}

func TestLossIsSaid(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	seconds(s, 12, func(i int) {
		starved(s)
		if i == 3 {
			s.Builder().AddLoss(model.Loss{Time: s.End(), Dur: time.Second, CPU: -1, Lost: 77, Origin: "ringbuf"})
		}
	})
	check(
		t,
		s.Batch(),
		detecttest.Start,
		want{
			detector: "dpc-starvation",
			severity: model.SeverityCritical,
			contains: []string{`"loss": 77`, "counts are lower bounds"},
		},
	)
}

func TestSettings(t *testing.T) {
	s := all.Settings()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Fields() {
		before := f.String()
		if err := f.Set(before); err != nil {
			t.Errorf("%s: its own text %q: %v", f.Name, before, err)
		}
		if f.String() != before {
			t.Errorf("%s: %q became %q", f.Name, before, f)
		}
		if f.Doc == "" || f.Reason == "" {
			t.Errorf("%s is not documented", f.Name)
		}
		if f.Set("-1") == nil || f.Set("x") == nil {
			t.Errorf("%s takes nonsense", f.Name)
		}
	}
}
