package hostcounters_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// judged returns the findings of a stream, each in a line.
func judged(t *testing.T, b *model.Batch) (lines []string) {
	t.Helper()
	for _, f := range detecttest.Latest(detecttest.Run(b, 0)) {
		lines = append(lines, f.Severity.String()+" "+f.Title+"; "+strings.Join(append(f.Causes, f.RuledOut...), "; "))
	}
	return lines
}

// one wants one finding that says all of the texts and none of those behind a "!".
func one(t *testing.T, b *model.Batch, texts ...string) {
	t.Helper()
	got := judged(t, b)
	if len(got) != 1 {
		t.Fatalf("%d findings, want one:\n%s", len(got), strings.Join(got, "\n"))
	}
	for _, text := range texts {
		without, not := strings.CutPrefix(text, "!")
		if strings.Contains(got[0], without) == not {
			t.Errorf("%q in %s", text, got[0])
		}
	}
}

// TestOneBundle gives a note, with no time and no present tense.
func TestOneBundle(t *testing.T) {
	s := detecttest.New()
	s.Seconds(1, func(int) {
		for cpu, n := range []float64{7661376, 0} {
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), CPU: int32(cpu), Name: "softnet/dropped", Mode: model.CounterTotal, Value: n,
			})
		}
	})
	one(t, s.Batch(), "info Since boot CPU 0 dropped 7,661,376 packets", "time unknown", "!CPU 1", "! is dropping")
}

// TestTwoBundles gives the exact difference with its interval, and adds nothing up.
func TestTwoBundles(t *testing.T) {
	s := detecttest.New()
	s.Seconds(48, func(i int) {
		if i != 0 && i != 47 {
			return
		}
		for name, n := range map[string][2]float64{"softnet/dropped": {4294000000, 4294967295}, "softnet/squeezed": {5, 5},
			"cpu/softirq": {10, 29}} {
			s.Builder().AddCounter(model.Counter{Time: s.End(), CPU: 3, Name: name, Mode: model.CounterTotal, Value: n[min(i,
				1)]})
		}
		s.Builder().AddCounter(model.Counter{Time: s.End(), CPU: -1, Name: "device/rx_dropped", Instance: "eth0",
			Mode: model.CounterTotal, Value: float64(min(i, 1)) * 967294})
	})
	one(t, s.Batch(), "warning CPU 3 dropped 967,295 packets", "between two bundles",
		"rx_dropped of eth0 grew by 967,294: these are the same",
		"Softirqs took 40 % of that CPU", "time_squeeze did not rise", "!1,934")
}

// TestChanceManyCPUs corrects the chance for the CPUs that lost packets, and not for all others of a large host.
func TestChanceManyCPUs(t *testing.T) {
	s := detecttest.New()
	s.Seconds(60, func(i int) {
		for cpu := range int32(256) {
			share, lost := 0.02, 0.0
			if cpu == 200 && i >= 30 && i < 33 {
				share, lost = 0.95, 1000
			}
			for name, v := range map[string]float64{"cpu/softirq": share, "softnet/dropped": lost} {
				mode := model.CounterShare
				if name == "softnet/dropped" {
					mode = model.CounterRate
				}
				s.Builder().AddCounter(model.Counter{
					Time: s.End(), Dur: time.Second, CPU: cpu, Name: name, Mode: mode, Value: v,
				})
			}
		}
	})
	one(t, s.Batch(), "NET_RX on CPU 200 did not keep up", "chance alone in 1 of 60 cases")
}

// TestWrap takes the counters of /proc/net/softnet_stat for those of 32 bits that they are, and a restart for one.
func TestWrap(t *testing.T) {
	between := func(before, after float64, name string) *model.Batch {
		s := detecttest.New()
		s.Seconds(60, func(i int) {
			if i == 0 || i == 59 {
				s.Builder().AddCounter(model.Counter{Time: s.End(), CPU: 0, Name: "softnet/dropped", Mode: model.CounterTotal,
					Value: map[bool]float64{true: before, false: after}[i == 0]})
				s.Builder().AddCounter(model.Counter{Time: s.End(), CPU: 0, Name: name, Mode: model.CounterTotal,
					Value: float64(i + 1)})
			}
		})
		return s.Batch()
	}
	one(t, between(1<<32-1000, 500, "cpu/softirq"), "dropped 1,500 packets")
	if got := judged(t, between(5000, 500, "cpu/softirq")); len(got) != 0 {
		t.Errorf("a counter that began anew: %q", got)
	}
	if got := judged(t, between(1<<32-1000, 500, "softirq/NET_RX")); len(got) != 0 {
		t.Errorf("nothing shows that the host was not restarted: %q", got)
	}
}

// TestRestart takes what was counted after a restart for that, by the time of the boot, or by a total that cannot wrap.
func TestRestart(t *testing.T) {
	const second, unknown = time.Second, -1 << 40
	between := func(boots [2]time.Duration, dropped, errors [2]float64) []string {
		s := detecttest.New()
		first := s.End()
		s.Seconds(3600, func(i int) {
			if i != 0 && i != 3599 {
				return
			}
			n := min(i, 1)
			add := func(name string, cpu int32, mode model.CounterMode, value float64) {
				s.Builder().AddCounter(model.Counter{Time: s.End(), CPU: cpu, Name: name, Mode: mode, Value: value})
			}
			add("softnet/dropped", 0, model.CounterTotal, dropped[n])
			add("udp/buffer_errors", -1, model.CounterTotal, errors[n])
			if boots[n] != unknown {
				add("host/boot_time", -1, model.CounterGauge, float64(first.Add(boots[n]).Std().Unix()))
			}
		})
		return judged(t, s.Batch())
	}
	const day = -24 * 3600 * second
	same, wrapped := [2]float64{1000, 1000}, [2]float64{3_000_000_000, 8}
	for name, test := range map[string]struct {
		boots           [2]time.Duration
		dropped, errors [2]float64
		want            []string
	}{
		"no restart": {[2]time.Duration{day, day}, [2]float64{300, 5300}, same, []string{"5,000 packets at its backlog " +
			"(softnet) between two bundles"}},
		"wrapped": {[2]time.Duration{day, day}, wrapped, same, []string{"1,294,967,304"}},
		"restarted, a total that grew": {[2]time.Duration{day, 1800 * second}, [2]float64{300, 4000},
			[2]float64{300, 6000}, []string{"4,000 packets", "6,000 datagrams", "restarted at about"}},
		"no wrap by a restart": {[2]time.Duration{day, 1800 * second}, wrapped, [2]float64{0, 0},
			[]string{"dropped 8 packets at its backlog (softnet) since the host was restarted", "restarted"}},
		"restarted, by the second boot": {[2]time.Duration{unknown, 1800 * second}, wrapped, [2]float64{0, 0},
			[]string{"dropped 8 packets", "restarted"}},
		"restarted, by a total": {[2]time.Duration{unknown, unknown}, [2]float64{900000, 80000},
			[2]float64{900000, 70000}, []string{"80,000 packets", "70,000 datagrams since the host was restarted between",
				"restarted between"}},
		"minutes of uptime": {[2]time.Duration{day, day + 119*second}, [2]float64{300, 5300}, same,
			[]string{"5,000 packets"}},
		"a clock that was set": {[2]time.Duration{day, day + 3600*second}, [2]float64{300, 5300}, same,
			[]string{"5,000 packets"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := between(test.boots, test.dropped, test.errors)
			if len(got) != len(test.want) {
				t.Fatalf("%d findings, want %d: %q", len(got), len(test.want), got)
			}
			slices.Sort(got)
			for _, want := range test.want {
				if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, want) }) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
		})
	}
}

// TestCoarse says of samples of ten minutes that they hide a burst.
func TestCoarse(t *testing.T) {
	s := detecttest.New()
	for i := range 60 {
		soft, lost := 0.01, 0.0
		if i == 40 {
			soft, lost = 0.04, 20
		}
		at := detecttest.Start.Add(time.Duration(i+1) * 10 * time.Minute)
		for _, c := range []model.Counter{{Name: "cpu/softirq", Mode: model.CounterShare, Value: soft},
			{Name: "softnet/dropped", Mode: model.CounterRate, Value: lost}} {
			c.Time, c.Dur = at, 10*time.Minute
			s.Builder().AddCounter(c)
		}
	}
	one(t, s.Batch(), "warning CPU 0 dropped about 12,000 packets", "!did not keep up", "mean of 10 min", "looks small")
}

// TestSparseLosses gives a note for a few packets now and then, however many that is in a day, and a warning for many
// within an hour.
func TestSparseLosses(t *testing.T) {
	every := func(n int) *model.Batch {
		s := detecttest.New()
		for i := range 144 {
			lost := 0.0
			if i%n == 0 {
				lost = 0.05
			}
			for _, c := range []model.Counter{{Name: "cpu/softirq", Mode: model.CounterShare, Value: 0.01},
				{Name: "softnet/dropped", Mode: model.CounterRate, Value: lost}} {
				c.Time, c.Dur = detecttest.Start.Add(time.Duration(i+1)*10*time.Minute), 10*time.Minute
				s.Builder().AddCounter(c)
			}
		}
		return s.Batch()
	}
	one(t, every(12), "info CPU 0 dropped about 30 packets", "about 330 packets in 11 bursts more")
	one(t, every(1), "warning CPU 0 dropped about 4,320 packets")
}

// TestOtherLoad says nothing of a CPU that programs keep busy, nor of softirq time that is usual.
func TestOtherLoad(t *testing.T) {
	if got := judged(t, sar(100, 0.5, 0.52, "softnet/dropped", "", 0, 50)()); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestSameAsDevice does not take a device's counter of the same packets for another loss.
func TestSameAsDevice(t *testing.T) {
	s := detecttest.New()
	s.Seconds(100, func(i int) {
		v := 0.0
		if i >= 50 && i < 70 {
			v = 1
		}
		for _, c := range []model.Counter{
			{Name: "cpu/softirq", Mode: model.CounterShare, Value: 0.01 + 0.97*v},
			{Name: "softnet/dropped", Mode: model.CounterRate, Value: 280_000 * v},
			{Name: "softnet/squeezed", Mode: model.CounterRate},
			{Name: "device/rx_dropped", Instance: "veth0", CPU: -1, Mode: model.CounterRate, Value: 280_000 * v},
			{Name: "udp/errors", CPU: -1, Mode: model.CounterRate, Value: 100_000 * v},
		} {
			c.Time, c.Dur = s.End(), time.Second
			s.Builder().AddCounter(c)
		}
	})
	got := judged(t, s.Batch())
	if len(got) != 2 || !strings.Contains(got[0], "about 5,600,000 packets dropped") ||
		!strings.Contains(got[0], "rx_dropped of veth0 counted as many in that time: these are the same packets") ||
		!strings.Contains(got[1], "UDP sockets lost about 2,000,000") || strings.Contains(strings.Join(got, ""),
		"7,600,000") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// level is a counter of n samples of a minute.
func level(n int, name, instance string, mode model.CounterMode, value func(i int) float64) *model.Batch {
	s := detecttest.New()
	for i := range n {
		v := model.Counter{
			Time: detecttest.Start.Add(time.Duration(i+1) * time.Minute), CPU: -1, Name: name, Instance: instance, Mode: mode,
			Value: value(i),
		}
		if mode == model.CounterRate {
			v.Dur = time.Minute
		}
		s.Builder().AddCounter(v)
	}
	return s.Batch()
}

// TestGrowth reports sockets that grow and are not closed, without an owner.
func TestGrowth(t *testing.T) {
	leak := func(i int) float64 { return 100 + 60*float64(i) }
	one(t, level(120, "sockets/udp", "", model.CounterGauge, leak), "warning UDP sockets in use grew from 100 to 7,240",
		"about 60 per minute", "does not say whose")
	for name, value := range map[string]func(i int) float64{
		"a level":     func(int) float64 { return 20000 },
		"up and down": func(i int) float64 { return 100 + 5000*float64(i%2) },
		"a day":       func(i int) float64 { return 100 + 60*float64(min(i, 120-i)) },
		"little":      func(i int) float64 { return 100 + float64(i) },
	} {
		if got := judged(t, level(120, "sockets/udp", "", model.CounterGauge, value)); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestWeek judges a week of samples without leaving out seconds: there is nothing to judge in each of them.
func TestWeek(t *testing.T) {
	b := level(7*1440, "sockets/udp", "", model.CounterGauge, func(i int) float64 { return float64(i) })
	found := detecttest.Latest(detecttest.Run(b, 0))
	if len(found) != 1 || found[0].Loss != 0 {
		t.Errorf("%+v", found)
	}
}

// TestDeviceDrops reports drops that are unusual for the device, and not those that are always there.
func TestDeviceDrops(t *testing.T) {
	burst := func(i int) float64 {
		if i == 50 {
			return 200
		}
		return 0.5
	}
	one(t, level(100, "device/rx_dropped", "eth0", model.CounterRate, burst),
		"info eth0 dropped about 12,000 received packets",
		"usually 0.5 a second")
	for packets, severity := range map[float64]string{20000: "warning", 20001: "info"} {
		s := detecttest.New()
		for i := range 100 {
			for name, v := range map[string]float64{"device/rx_dropped": burst(i), "device/rx_packets": packets} {
				s.Builder().AddCounter(model.Counter{
					Time: detecttest.Start.Add(time.Duration(i+1) * time.Minute), Dur: time.Minute, CPU: -1, Name: name,
					Instance: "eth0", Mode: model.CounterRate, Value: v,
				})
			}
		}
		one(t, s.Batch(), severity+" eth0 dropped about 12,000 received packets")
	}
	if got := judged(t, level(100, "device/rx_dropped", "eth0", model.CounterRate, func(i int) float64 {
		return 3 + float64(i%2)
	})); len(got) != 0 {
		t.Errorf("a device that always drops: %q", got)
	}
}
