package all_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// boundary is a stream in which something measures exactly At: with the setting
// at that value a finding says so, with the next value beyond it none does.
type boundary struct {
	setting string
	// at is the value with which it just holds.
	at any
	// next is the next value beyond at where that is not the one after it: for settings that are rounded.
	next any
	// upper says that the setting is an upper limit: the values below at are beyond it.
	upper bool
	// with are other settings that must not decide, as text.
	with map[string]string
	// says is what a finding says, as in line, while it holds.
	says   string
	stream func() *model.Batch
}

// line is a finding in one line: what a boundary may look for.
func line(f model.Finding, times int) string {
	state := "closed"
	if f.Ongoing {
		state = "ongoing"
	}
	return fmt.Sprintf(
		"%s %s %s until %d, emitted %d times: %s; %s", state, f.Severity, f.Detector,
		f.End.Sub(detecttest.Start)/time.Second, times, f.Title,
		strings.Join(append(append(append([]string{}, f.Causes...), f.RuledOut...), f.Advice...), "; "),
	)
}

// beyond returns the next value of a setting that does not hold.
func (b *boundary) beyond() any {
	if b.next != nil {
		return b.next
	}
	step := 1
	if b.upper {
		step = -1
	}
	switch v := b.at.(type) {
	case int:
		return v + step
	case time.Duration:
		return v + time.Duration(step)
	case float64:
		return math.Nextafter(v, v+float64(step))
	}
	panic("no kind of setting")
}

func set(t *testing.T, s detect.Settings, name string, value any) {
	t.Helper()
	for _, f := range s.Fields() {
		if f.Name != name {
			continue
		}
		switch p := f.Value.(type) {
		case *uint64:
			*p = uint64(value.(int))
		case *float64:
			*p = value.(float64)
		case *detect.Duration:
			*p = detect.Duration(value.(time.Duration))
		}
		return
	}
	t.Fatalf("no setting %s", name)
}

func (b *boundary) judged(t *testing.T, value any) (lines []string) {
	t.Helper()
	s := all.Settings()
	for name, text := range b.with {
		for _, f := range s.Fields() {
			if f.Name == name {
				if err := f.Set(text); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	set(t, s, b.setting, value)
	var out []emission
	emit := func(at model.Time, f model.Finding) { out = append(out, emission{at, f}) }
	e := detect.New(s, detect.Options{})
	e.Apply(b.stream(), emit)
	e.Finish(emit)
	times := make(map[string]int)
	for _, e := range out {
		times[e.f.ID]++
	}
	list := latest(out)
	lines = append(lines, fmt.Sprintf("%d findings", len(list)))
	for _, f := range list {
		lines = append(lines, line(f, times[f.ID]))
	}
	return lines
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	tested := make(map[string]bool)
	for _, b := range boundaries {
		tested[b.setting] = true
		t.Run(b.setting, func(t *testing.T) {
			for _, holds := range []bool{true, false} {
				value := b.at
				if !holds {
					value = b.beyond()
				}
				lines := b.judged(t, value)
				if got := strings.Contains(strings.Join(lines, "\n"), b.says); got != holds {
					t.Errorf("with %s = %v, %q is said: %v; findings:\n%s", b.setting, value, b.says, got,
						strings.Join(lines, "\n"))
				}
			}
		})
	}
	for _, f := range all.Settings().Fields() {
		if tested[f.Name] == untried[f.Name] {
			t.Errorf("setting %s: tried %v, listed as untried %v", f.Name, tested[f.Name], untried[f.Name])
		}
	}
}

// pool is a stream of a pool of n ports, size of which the holder takes in the
// first second.
func pool(size, taken int, more func(s *detecttest.Stream, i int)) *model.Batch {
	s := ports()
	s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, uint16(5000+size-1))
	port := uint16(5000)
	seconds(s, 30, func(i int) {
		s.Quiet()
		if i == 0 {
			take(s, detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolUDP, How: model.HowBindPort},
				taken, &port)
		}
		if more != nil {
			more(s, i)
		}
	})
	return s.Batch()
}

// growth is a stream of a process that takes so many ports a second for a time.
func growth(k detecttest.Socket, perSecond, long int) func() *model.Batch {
	return func() *model.Batch {
		s := ports()
		port := uint16(33000)
		seconds(s, long, func(int) {
			s.Quiet()
			take(s, k, perSecond, &port)
		})
		return s.Batch()
	}
}

// bounded is growth in a pool of 100 ports.
func bounded(perSecond, long int) func() *model.Batch {
	return func() *model.Batch {
		s := ports()
		s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5099)
		port := uint16(5000)
		seconds(s, long, func(int) {
			s.Quiet()
			take(s, leaker, perSecond, &port)
		})
		return s.Batch()
	}
}

// once is a stream that is quiet but for its sixth second.
func once(each func(s *detecttest.Stream)) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		seconds(s, 40, func(i int) {
			s.Quiet()
			if i == 5 {
				each(s)
			}
		})
		return s.Batch()
	}
}

// ring is a second in which a ring loses packets.
func ring(s *detecttest.Stream, received, dropped uint64) {
	s.Builder().AddDeviceStats(model.DeviceStats{
		Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: received,
	})
	s.Drop(model.Drop{
		CPU: -1, Place: model.PlaceRing, Count: dropped, Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
	})
}

// loaded is a stream of a host whose first CPU has a load in each second.
func loaded(l detecttest.Load) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		seconds(s, 12, func(int) {
			s.CPU(0, l)
			s.CPU(1, detecttest.Load{User: 0.01})
			if l.Dropped > 0 {
				s.Drop(model.Drop{
					CPU: 0, Place: model.PlaceBacklog, Count: l.Dropped, Ifindex: 2, Device: "eth0", Reason: "CPU_BACKLOG",
				})
			}
		})
		return s.Batch()
	}
}

// waits is a stream in which other softirqs wait for HRTIMER.
func waits(n int, run, wait time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(i int) {
			s.Quiet()
			s.Builder().AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassSoftirq, Count: 8,
				Busy: 240 * time.Millisecond, MaxRun: run, Name: "HRTIMER",
			})
			for j := range n {
				if i%3 > 0 {
					break // once in a window
				}
				at := s.Now().Add(time.Duration(j+1) * 110 * time.Millisecond)
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at, Dur: run, CPU: 0, PID: -1, TID: -1, Class: model.ClassSoftirq, Name: "HRTIMER",
				})
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at.Add(20 * time.Microsecond), Dur: 8 * time.Microsecond, CPU: 0, PID: -1, TID: -1,
					Class: model.ClassSoftirq, Name: "NET_RX", Wait: wait,
				})
			}
		})
		return s.Batch()
	}
}

// routine is a Windows host on which one DPC or ISR ran for long.
func routine(isr bool, longest time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		seconds(s, 15, func(int) {
			run := model.Histogram{}
			run.Observe(uint64(longest))
			if isr {
				s.Builder().AddInterruptHist(model.InterruptHist{
					Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassISRMSI, Count: 1, Busy: longest,
					MaxRun: longest, Name: "a.sys+0x20", Driver: "a.sys", RunHist: &run,
				})
				return
			}
			s.Builder().AddDeferredHist(model.DeferredHist{
				Time: s.End(), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Count: 1, Busy: longest,
				MaxRun: longest, Name: "a.sys+0x10", Driver: "a.sys", RunHist: &run,
			})
		})
		return s.Batch()
	}
}

// faults is a stream in which a CPU starves, is quiet, and so on, for so many
// seconds each.
func faults(lengths ...int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		for i, n := range lengths {
			seconds(s, n, func(int) {
				if i%2 == 0 {
					starved(s)
				} else {
					s.Quiet()
				}
			})
		}
		return s.Batch()
	}
}

// taking is a stream of a process that takes kept ports in each second and keeps
// them, and takes others and gives them back at once.
func taking(kept, given []int) func() *model.Batch {
	return func() *model.Batch {
		s := ports()
		port, others := uint16(33000), uint16(50000)
		seconds(s, len(kept), func(i int) {
			s.Quiet()
			take(s, leaker, kept[i], &port)
			churn(s, leaker, given[i], 10*time.Millisecond, &others)
		})
		return s.Batch()
	}
}

// resting is a stream of a pool whose ports all come to rest, it is not said for
// how long.
func resting(begin func() *detecttest.Stream) func() *model.Batch {
	return func() *model.Batch {
		s := begin()
		s.Pool("svc", model.ProtocolTCP, model.PoolConfigured, 5000, 5063)
		port := uint16(5000)
		seconds(s, 40, func(i int) {
			s.Quiet()
			if i > 0 {
				return
			}
			k := detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolTCP, How: model.HowBindPort}
			for _, k := range take(s, k, 64, &port) {
				s.Rest(990*time.Millisecond, 0, k)
			}
		})
		return s.Batch()
	}
}

// lost is a stream of a host that loses packets at a place for a reason.
func lost(d model.Drop, received uint64) func() *model.Batch {
	return once(func(s *detecttest.Stream) {
		s.Builder().AddDeviceStats(model.DeviceStats{
			Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: received,
		})
		d.CPU, d.Ifindex, d.Device = -1, 2, "eth0"
		s.Drop(d)
	})
}

var boundaries = []boundary{
	{setting: "lifecycle.window", at: 3 * time.Second, upper: true, says: "dpc-starvation",
		with:   map[string]string{"starvation.min_drops": "600"},
		stream: loaded(detecttest.Load{NetRX: 0.95, Packets: 2000, Dropped: 200})},
	{setting: "lifecycle.update_every", at: 2 * time.Second, says: "emitted 6 times", stream: faults(12, 0, 0, 0)},
	// The last sign is from 12 s, the last judgement from 24.999 s.
	{setting: "lifecycle.clear_after", at: 12999 * time.Millisecond, says: "closed", stream: faults(12, 13, 0, 0)},
	// The last sign is from 6 s; at 31 s there is one again.
	{setting: "lifecycle.reopen_within", at: 24 * time.Second, says: "2 findings", stream: faults(6, 24, 6, 0)},
	{setting: "socket.min_drops", at: 25, says: "socket-drop", stream: once(func(s *detecttest.Stream) {
		queueOf(s, 25, 190_000, time.Millisecond)
	})},
	{setting: "socket.stopped_idle", at: 3 * time.Second, says: "has not read", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) { s.Quiet(); queueOf(s, 300, 190_000, 3*time.Second) })
		return s.Batch()
	}},
	{setting: "socket.full_share", at: 1.0, says: "more slowly", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) { s.Quiet(); queueOf(s, 300, 190_000, time.Millisecond) })
		return s.Batch()
	}},
	{setting: "socket.slow_share", at: 0.75, says: "more slowly", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) { s.Quiet(); queueOf(s, 300, 150_000, time.Millisecond) })
		return s.Batch()
	}},
	{setting: "socket.late_idle", at: 400 * time.Millisecond, says: "got no CPU for", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) {
			s.Quiet()
			held(s, model.SchedWaiting, 400*time.Millisecond, 0)
			queueOf(s, 300, 0, time.Millisecond)
		})
		return s.Batch()
	}},
	{setting: "socket.busy_share", at: 0.75, next: 0.7500001, says: "more slowly", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) {
			s.Quiet()
			for _, v := range []model.SchedStateEvent{
				{State: model.SchedRunning, Total: 750 * time.Millisecond, Longest: time.Millisecond},
				{State: model.SchedInput, Total: 250 * time.Millisecond, Longest: time.Millisecond, Cookie: 7},
			} {
				v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = s.End(), time.Second, 1, 812, 812, "hbd"
				s.Builder().AddSchedStateEvent(v)
			}
			queueOf(s, 300, 0, time.Millisecond)
		})
		return s.Batch()
	}},
	{setting: "ring.min_drops", at: 60, says: "ring-drop", stream: once(func(s *detecttest.Stream) { ring(s, 100, 60) })},
	{setting: "ring.busy_share", at: 0.75, with: map[string]string{"starvation.busy_share": "0.99"},
		says: "the ring fills because CPU 0", stream: func() *model.Batch {
			return ringStream(detecttest.Load{NetRX: 0.75, Packets: 30_000}, 5, 800)
		}},
	{setting: "ring.full_poll_share", at: 0.5, says: "the ring fills because CPU 0", stream: func() *model.Batch {
		return ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 500, 800)
	}},
	{setting: "ring.drop_share", at: 0.25, says: "ring-drop", stream: once(func(s *detecttest.Stream) {
		ring(s, 3000, 1000)
	})},
	{setting: "exhaustion.warn_share", at: 0.8125, says: "port-exhaustion",
		stream: func() *model.Batch { return pool(64, 52, nil) }},
	{setting: "exhaustion.clear_share", at: 0.75, says: "ongoing warning port-exhaustion",
		stream: func() *model.Batch {
			s := ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5063)
			port := uint16(5000)
			k := detecttest.Socket{PID: 9, Process: "holder", Protocol: model.ProtocolUDP, How: model.HowBindPort}
			seconds(s, 30, func(i int) {
				s.Quiet()
				switch i {
				case 0:
					take(s, k, 48, &port)
				case 2, 3:
					for _, k := range take(s, k, 12, &port) {
						s.Release(990*time.Millisecond, k)
					}
				case 1:
					for _, k := range take(s, k, 12, &port) { // full for two seconds
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
	{setting: "exhaustion.full_share", at: 0.9375, with: map[string]string{"exhaustion.warn_share": "0.99"},
		says: "critical port-exhaustion", stream: func() *model.Batch {
			return pool(64, 60, func(s *detecttest.Stream, i int) {
				if i >= 10 {
					s.Fail(time.Millisecond, detecttest.Socket{
						PID: 10, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5001,
					}, 98, "EADDRINUSE")
				}
			})
		}},
	// The only refusal is from 10.001 s.
	{setting: "exhaustion.failures_for", at: 5999 * time.Millisecond, upper: true, says: "until 16",
		with: map[string]string{
			"exhaustion.warn_share": "0.99", "exhaustion.clear_share": "0.98", "exhaustion.full_share": "0.9",
		},
		stream: func() *model.Batch {
			return pool(64, 60, func(s *detecttest.Stream, i int) {
				if i == 10 {
					s.Fail(time.Millisecond, detecttest.Socket{
						PID: 10, Process: "late", Protocol: model.ProtocolUDP, How: model.HowBindPort, LPort: 5001,
					}, 98, "EADDRINUSE")
				}
			})
		}},
	{setting: "exhaustion.min_ports", at: 20, says: "port-exhaustion",
		stream: func() *model.Batch { return pool(20, 20, nil) }},
	{setting: "leak.min_ports", at: 40, says: "port-leak", stream: growth(leaker, 2, 30)},
	{setting: "leak.min_ports_fast", at: 70, says: "port-leak", stream: growth(leaker, 10, 10)},
	{setting: "leak.min_connections", at: 60, says: "port-leak", stream: growth(dialer, 1, 90)},
	{setting: "leak.min_connections_fast", at: 210, says: "port-leak", stream: growth(dialer, 30, 10)},
	{setting: "leak.min_ports_bounded", at: 14, with: map[string]string{"leak.bounded_share": "0.01"},
		says: "port-leak", stream: bounded(2, 10)},
	{setting: "leak.bounded_share", at: 0.14, next: 0.15, with: map[string]string{"leak.min_ports_bounded": "1"},
		says: "port-leak", stream: bounded(2, 10)},
	// Judged once, at the end: the steps of the last seven whole seconds.
	{setting: "leak.evenness", at: 0.6, with: map[string]string{"leak.min_ports_fast": "70"}, says: "port-leak",
		stream: taking([]int{6, 10, 10, 10, 10, 10, 14, 10}, make([]int, 8))},
	{setting: "leak.given_back", at: 0.0625, upper: true, with: map[string]string{"leak.min_ports_fast": "65"},
		says:   "port-leak",
		stream: taking([]int{10, 9, 9, 9, 9, 9, 10, 10}, []int{0, 1, 1, 1, 1, 1, 0, 0})},
	{setting: "leak.early_churn", at: 20, says: "port-leak",
		stream: taking([]int{2, 2, 2, 2, 2, 2}, []int{40, 40, 40, 40, 40, 40})},
	{setting: "leak.keep_for", at: 20 * time.Second, upper: true, says: "until 30",
		stream: taking(append(slices.Repeat([]int{10}, 10), make([]int, 40)...), make([]int, 50))},
	// 880 ports of 1,000 are left at the end, and go at 10 a second.
	{setting: "leak.critical_within", at: 88 * time.Second, upper: true, says: "critical port-leak",
		stream: func() *model.Batch {
			s := ports()
			s.Pool("svc", model.ProtocolUDP, model.PoolConfigured, 5000, 5999)
			port := uint16(5000)
			seconds(s, 12, func(int) { s.Quiet(); take(s, leaker, 10, &port) })
			return s.Batch()
		}},
	// At rest from 0.99 s on.
	{setting: "leak.rest_linux", at: 20010 * time.Millisecond, says: "until 20,", stream: resting(detecttest.New)},
	{setting: "leak.rest_windows", at: 20010 * time.Millisecond, says: "until 20,",
		stream: resting(detecttest.NewWindows)},
	{setting: "leak.vanished_ports", at: 338, says: "vanished", stream: func() *model.Batch {
		return boundedStream(400, 900)
	}},
	{setting: "leak.proof_after", at: 7 * time.Second, says: "warning port-leak", stream: growth(leaker, 10, 10)},
	{setting: "drops.min_drops", at: 120, says: "packet-drop", stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 120, Reason: "PROTO_MEM"}, 1000)},
	{setting: "drops.min_healthy", at: 220, says: "packet-drop", stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 220, Reason: "IP_INNOROUTES"}, 1000)},
	{setting: "drops.min_unknown", at: 720, says: "packet-drop", stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 720, Reason: "NEW_IN_2031"}, 1000)},
	{setting: "drops.filter_share", at: 0.25, says: "packet-drop", stream: lost(
		model.Drop{Place: model.PlaceFilter, Count: 1000, Reason: "NETFILTER_DROP"}, 3000)},
	{setting: "drops.critical_share", at: 0.5, says: "critical packet-drop", stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 1000, Reason: "PROTO_MEM"}, 1000)},
	{setting: "drops.table_full", at: 0.875, says: "The neighbour table was full",
		stream: once(func(s *detecttest.Stream) {
			s.Builder().AddReading(model.Reading{Time: s.Now(), Name: "neighbours", Value: 896, Limit: 1024, Unit: "entries"})
			s.Drop(model.Drop{CPU: -1, Ifindex: 2, Device: "eth0", Place: model.PlaceProtocol, Count: 1000,
				Reason: "NEIGH_FAILED"})
		})},
	{setting: "starvation.busy_share", at: 0.751, with: map[string]string{"starvation.burst_drops": "1000000"},
		says:   "of its time in NET_RX",
		stream: loaded(detecttest.Load{NetRX: 0.75, User: 0.05, Packets: 30_000, Dropped: 3000})},
	{setting: "starvation.burst_drops", at: 1200, says: "dpc-starvation", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 20, func(i int) {
			if i == 5 {
				s.CPU(0, detecttest.Load{NetRX: 0.5, Packets: 3000, Dropped: 1200})
			} else {
				s.CPU(0, detecttest.Load{NetRX: 0.3, Packets: 100_000})
			}
		})
		return s.Batch()
	}},
	{setting: "starvation.max_steal", at: 0.125, upper: true, says: "dpc-starvation", stream: func() *model.Batch {
		s := detecttest.New()
		seconds(s, 12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.2, Packets: 640, Runs: 10, Steal: 0.125})
			s.CPU(1, detecttest.Load{User: 0.1})
			for i := range 5 {
				at := s.Now().Add(time.Duration(i) * 150 * time.Millisecond)
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at.Add(20 * time.Millisecond), Dur: 18 * time.Millisecond, CPU: 0, Class: model.ClassSoftirq,
					Name: "NET_RX", Vector: 3,
				})
				s.Builder().AddDeferredRun(model.DeferredRun{
					Time: at.Add(20*time.Millisecond + 10*time.Microsecond), Dur: 8 * time.Microsecond, CPU: 0,
					Class: model.ClassSoftirq, Name: "TIMER", Vector: 1, Wait: 15 * time.Millisecond, Before: "NET_RX",
				})
			}
		})
		return s.Batch()
	}},
	{setting: "starvation.squeeze_share", at: 0.75, says: "netdev_budget is too small", stream: loaded(detecttest.Load{
		NetRX: 0.45, User: 0.55, Packets: 160_000, Dropped: 90_000, Squeezes: 15_000, Runs: 20_000,
	})},
	{setting: "starvation.dear_packet", at: 10 * time.Microsecond, says: "is expensive", stream: loaded(detecttest.Load{
		NetRX: 0.96, Packets: 96_000, Dropped: 50_000,
	})},
	{setting: "starvation.drop_share", at: 0.0625, says: "dpc-starvation",
		stream: loaded(detecttest.Load{NetRX: 0.95, Packets: 30_000, Dropped: 2000})},
	{setting: "starvation.min_drops", at: 600, says: "dpc-starvation",
		stream: loaded(detecttest.Load{NetRX: 0.95, Packets: 2000, Dropped: 200})},
	{setting: "starvation.interrupt_share", at: 0.625, says: "dpc-starvation",
		stream: loaded(detecttest.Load{NetRX: 0.1, IRQ: 0.625, Packets: 3000})},
	// After the fault, a share of 0.5 with a few losses keeps it open.
	{setting: "starvation.clear_share", at: 0.5, says: "ongoing", stream: func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		seconds(s, 8, func(int) { starved(s) })
		seconds(s, 30, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.499, Packets: 100_000, Dropped: 5})
			s.CPU(1, detecttest.Load{})
		})
		return s.Batch()
	}},
	{setting: "starvation.silent_gaps", at: 51, says: "received nothing for", stream: silent},
	{setting: "starvation.least_silence", at: 5100 * time.Millisecond, says: "received nothing for", stream: silent},
	{setting: "starvation.shared_busy_share", at: 0.5, says: "has no time left", stream: loaded(detecttest.Load{
		NetRX: 0.5, User: 0.5, Packets: 30_000, Dropped: 3000,
	})},
	{setting: "starvation.shallow_share", at: 0.25, says: "A burst brings", stream: loaded(detecttest.Load{
		NetRX: 0.25, User: 0.05, Packets: 30_000, Dropped: 3000,
	})},
	{setting: "starvation.small_backlog_share", at: 0.0078125, says: "Bursts exceed", stream: loaded(detecttest.Load{
		NetRX: 0.125, User: 0.05, Packets: 25400, Dropped: 200,
	})},
	{setting: "starvation.backlog_wait", at: 4 * time.Millisecond, says: "Programs hold CPU 0",
		stream: loaded(detecttest.Load{
			NetRX: 0.125, User: 0.8, Packets: 30_000, Dropped: 3000, MaxWait: 4 * time.Millisecond,
		})},
	{setting: "starvation.full_poll_share", at: 0.75, says: "dpc-starvation", stream: func() *model.Batch {
		s := detecttest.New()
		s.Builder().AddDeviceConfig(model.DeviceConfig{
			Time: s.Now(), Ifindex: 5, Device: "eth5", Driver: "virtio_net", RXQueues: 1, Threaded: true,
		})
		seconds(s, 12, func(int) {
			s.CPU(0, detecttest.Load{NetRX: 0.01, Packets: 100})
			s.CPU(1, detecttest.Load{NetRX: 0.01, User: 0.3})
			s.Builder().AddNAPI(model.NAPI{
				Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 5, Device: "eth5", Polls: 1000, Packets: 64_000,
				FullPolls: 750, ThreadedPolls: 1000, MaxPackets: 64,
			})
			s.Drop(model.Drop{
				CPU: 1, Place: model.PlaceDevice, Count: 30_000, Ifindex: 5, Device: "eth5", Reason: "NOT_SPECIFIED",
			})
		})
		return s.Batch()
	}},
	{setting: "starvation.late_wait", at: 15 * time.Millisecond, says: "dpc-starvation",
		stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{setting: "starvation.late_count", at: 6, says: "dpc-starvation",
		stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{setting: "starvation.long_run", at: 30 * time.Millisecond, says: "dpc-starvation",
		stream: waits(6, 30*time.Millisecond, 15*time.Millisecond)},
	{setting: "starvation.dpc_guideline", at: 300 * time.Microsecond, says: "ran a DPC",
		stream: routine(false, 3*time.Millisecond)},
	{setting: "starvation.isr_guideline", at: 300 * time.Microsecond, says: "ran an ISR",
		stream: routine(true, 3*time.Millisecond)},
	{setting: "starvation.guideline_factor", at: 32.0, next: 32.00001,
		says: "ran a DPC", stream: routine(false, 3200*time.Microsecond)},
	{setting: "starvation.watchdog", at: 24 * time.Second, next: 24*time.Second + 2, says: "critical dpc-starvation",
		stream: routine(false, 12*time.Second)},
}

// silent is a Windows host whose CPU 2 is busy with DPCs from 6 s to 12 s, in
// which a flow that it handles falls silent: the last packet is from 5.9 s, and
// the last judgement of the silence from 11 s.
func silent() *model.Batch {
	s := detecttest.NewWindows()
	seconds(s, 30, func(i int) {
		busy := i >= 6 && i < 12
		share := 10 * time.Millisecond
		if busy {
			share = 900 * time.Millisecond
		}
		s.Builder().AddDeferredHist(model.DeferredHist{
			Time: s.End(), Dur: time.Second, CPU: 2, Class: model.ClassDPC, Count: 9000, Busy: share,
			MaxRun: 80 * time.Microsecond, Name: "nic.sys!a", Driver: "nic.sys",
		})
		for n := range 10 {
			if busy {
				break
			}
			s.Builder().AddPacket(model.Packet{
				Time: s.Now().Add(time.Duration(n) * 100 * time.Millisecond), CPU: 2, PID: 500, TID: -1,
				Protocol: model.ProtocolUDP, LocalPort: 5405, RemotePort: 5405, Direction: model.DirectionRX,
				SizeBytes: 64, LocalAddr: "10.0.0.1", RemoteAddr: "10.0.0.2", Process: "heartbeatd.exe",
			})
		}
	})
	return s.Batch()
}

// untried are the settings without a boundary yet.
var untried = map[string]bool{
	"starvation.held_wait":  true,
	"leak.vanished_factor":  true,
	"counters.min_samples":  true,
	"counters.busy_share":   true,
	"counters.robust_z":     true,
	"counters.significance": true,
	"counters.max_samples":  true,
}
