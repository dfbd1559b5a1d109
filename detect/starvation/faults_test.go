package starvation_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

func TestStarvation(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(20, func(int) { s.Quiet() })
	fault := s.Now()
	s.Seconds(12, func(int) { s.Starved() })
	detecttest.Check(t, s.Batch(), fault, want{
		Detector: "dpc-starvation", Severity: model.SeverityCritical, Within: 5 * time.Second,
		Contains: []string{
			"CPU 0 spends 99.6 % of its time in NET_RX for eth0",
			"3.6 M packets lost in 12 s",
			`"device": "eth0"`,
			`"vector": "NET_RX"`,
			"rps_cpus",
			"not RSS: the device has one queue",
			"Do not raise netdev_budget",
			"CPU 1 is 3.0 % busy",
			"proves nothing",
			"the ring",
		}})
}

func TestStarvationCloses(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(12, func(int) { s.Starved() })
	s.Seconds(30, func(int) { s.Quiet() })
	detecttest.Check(
		t,
		s.Batch(),
		detecttest.Start,
		want{Detector: "dpc-starvation", Severity: model.SeverityCritical, Closed: true, Contains: []string{"CPU 0 spent"}},
	)
}

// TestStarvationTellsOfTheFault lets a fault end slowly: what is said is what it
// was, not what was left of it. Waits that nothing is blamed for are no evidence.
func TestStarvationTellsOfTheFault(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(12, func(int) {
		s.Starved()
		s.Builder().
			AddDeferredRun(model.DeferredRun{
				Time: s.End(), Dur: time.Microsecond, CPU: 0, PID: -1, TID: -1, Class: model.ClassSoftirq,
				Wait: 20 * time.Millisecond, Name: "TIMER",
			})
	})
	s.Seconds(5, func(int) {
		s.CPU(0, detecttest.Load{NetRX: 0.45, User: 0.55, Packets: 3000, Dropped: 5000})
		s.CPU(1, detecttest.Load{NetRX: 0.02, User: 0.01, Packets: 100})
	})
	s.Seconds(30, func(int) { s.Quiet() })
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "dpc-starvation", Severity: model.SeverityCritical, Closed: true,
		Contains: []string{
			"CPU 0 spent 9",
			"a program: user code has 0 %",
		}, Lacks: []string{"saturated:", "longest wait", "softirqs that waited"}})
}

// TestStarvationDoesNotFlap lets the fault come and go.
func TestStarvationDoesNotFlap(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(120, func(i int) {
		if i%15 < 6 {
			s.Starved()
		} else {
			s.Quiet()
		}
	})
	b := s.Batch()
	out := detecttest.Run(b, 0)
	if got := detecttest.Latest(out); len(got) != 1 {
		t.Fatalf("%d findings for one fault that comes and goes:\n%s", len(got), detecttest.Dump(out))
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
		{"flood that the CPU sustains", [2]detecttest.Load{{NetRX: 0.45, Packets: 600_000, Dropped: 2000}, {User: 0.9}}},
		{"squeezes alone", [2]detecttest.Load{{NetRX: 0.3, Packets: 300_000, Squeezes: 800, Runs: 1000}, {User: 0.1}}},
		{"CPU hog in user space", [2]detecttest.Load{{NetRX: 0.01, User: 0.99, Packets: 1000}, {User: 0.1}}},
		{"hog and a few drops", [2]detecttest.Load{{NetRX: 0.1, User: 0.9, Packets: 50_000, Dropped: 200}, {User: 0.1}}},
		{"spread over the CPUs", [2]detecttest.Load{{NetRX: 0.62, Packets: 20_000}, {NetRX: 0.6, Packets: 20_000}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Device(2, "eth0", 1, "")
			s.Seconds(30, func(int) {
				s.CPU(0, tt.load[0])
				s.CPU(1, tt.load[1])
			})
			detecttest.Judge(t, s.Batch(), 0, detecttest.Verdict{}) // a note at most
		})
	}
}

func TestBudgetTooSmall(t *testing.T) {
	for _, tt := range []struct {
		squeezes uint64
		said     string
	}{
		{18_000, "18,000 of 20,000 runs NET_RX used up its budget, after 8 packets on average"},
		{20_010, "In all 20,000 runs NET_RX"}, // the kernel's counter is read later
	} {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		s.Seconds(12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.45, User: 0.55, Packets: 160_000, Dropped: 90_000, Squeezes: tt.squeezes,
				Runs: 20_000})
			s.CPU(1, detecttest.Load{User: 0.2})
		})
		detecttest.Check(
			t,
			s.Batch(),
			detecttest.Start,
			want{Detector: "dpc-starvation", Severity: model.SeverityCritical, Within: 5 * time.Second,
				Contains: []string{
					"yields after 8 packets per run: netdev_budget is too small",
					tt.said,
					"Raise net.core.netdev_budget",
					"unless tasks on that CPU already wait",
				}, Lacks: []string{"proves nothing"}},
		)
	}
}

func TestDeferredRunsDelayOthers(t *testing.T) {
	detecttest.Check(
		t,
		blockedBy(0, 0)(),
		detecttest.Start,
		want{Detector: "dpc-starvation", Severity: model.SeverityWarning, Within: 5 * time.Second,
			Contains: []string{"Long runs of NET_RX on CPU 0 delay its other softirqs", "longest 15 ms (TIMER)"}},
	)
	// On a real machine, programs that run between two ticks are missing in the times.
	detecttest.Check(
		t,
		blockedBy(0, 0.3)(),
		detecttest.Start,
		want{Detector: "dpc-starvation", Severity: model.SeverityWarning, Within: 5 * time.Second,
			Contains: []string{"Long runs of NET_RX on CPU 0 delay its other softirqs"}},
	)
	// A virtual CPU that is stopped delays everything, whether the hypervisor says so or not.
	detecttest.Check(t, blockedBy(0.3, 0)(), 0)
	detecttest.Check(t, blockedBy(0.01, 0.3)(), 0)
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
		s.Seconds(12, func(int) {
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
	detecttest.Check(
		t,
		stream(200_000),
		detecttest.Start,
		want{Detector: "dpc-starvation", Severity: model.SeverityCritical, Within: 5 * time.Second,
			Contains: []string{
				"NAPI thread of veth1",
				"while NET_RX looks idle (1.0 %)",
				"2.4 M packets lost in 12 s",
				"not NET_RX",
			}},
	)
	detecttest.Check(t, stream(0), 0)
}

// TestThreadedNAPITellsOfTheFault lets the load of a thread that moves between
// CPUs end: what is said is what the whole fault was, and its worst window.
func TestThreadedNAPITellsOfTheFault(t *testing.T) {
	s := detecttest.New()
	s.Builder().
		AddDeviceConfig(model.DeviceConfig{
			Time: s.Now(), Ifindex: 5, Device: "eth5", Driver: "virtio_net", RXQueues: 1, Threaded: true,
		})
	s.Seconds(60, func(i int) {
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
	detecttest.Check(t, b, detecttest.Start, want{
		Detector: "dpc-starvation", Severity: model.SeverityCritical, Closed: true,
		Contains: []string{"NAPI thread of eth5 on CPU 1 did not keep up", "1.5 M packets", "most packets lost within 3 s"}})
	f := detecttest.Latest(detecttest.Run(b, 0))[0]
	for name, least := range map[string]float64{"polls that used their whole budget": 0.9, "polls by the NAPI " +
		"thread": 12_000, "packets handled in that time": 12 * 64_000, "most packets lost within 3 s": 600_000} {
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
