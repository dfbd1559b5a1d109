package all_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// queueOf is one second of a socket's receive queue that drops packets.
func queueOf(s *detecttest.Stream, dropped, queued uint64, idle time.Duration) {
	queueRead(s, 0, dropped, queued, idle)
}

// queueRead is the same with the reading's flags.
func queueRead(s *detecttest.Stream, flags model.Flags, dropped, queued uint64, idle time.Duration) {
	s.Builder().
		AddSocketQueue(model.SocketQueue{
			Time: s.End(), Dur: time.Second, Flags: flags, PID: 812, TID: 812, Cookie: 7, Protocol: model.ProtocolUDP,
			LocalPort: 7000, QueuedBytes: queued, LimitBytes: 200_000, Dropped: dropped, Idle: idle, Process: "hbd",
		})
	if dropped > 0 {
		s.Drop(
			model.Drop{
				CPU:       1,
				PID:       812,
				TID:       812,
				Cookie:    7,
				Place:     model.PlaceSocket,
				Count:     dropped,
				Protocol:  model.ProtocolUDP,
				LocalPort: 7000,
				Reason:    "SOCKET_RCVBUFF",
				Process:   "hbd",
			},
		)
	}
}

// reads is one second of a reader that is watched and waits for its socket most of the time.
func reads(s *detecttest.Stream) {
	held(s, model.SchedInput, 0, 7)
}

// held is one second of the watched reader, which was in the given state for so long at a time.
func held(s *detecttest.Stream, state model.SchedState, longest time.Duration, cookie uint64) {
	for _, v := range []model.SchedStateEvent{
		{State: model.SchedRunning, Total: 100 * time.Millisecond, Longest: time.Millisecond},
		{State: model.SchedInput, Total: 300 * time.Millisecond, Longest: 20 * time.Millisecond, Cookie: 7},
		{State: state, Total: 600 * time.Millisecond, Longest: longest, Cookie: cookie, Cgroup: "/batch",
			Limit: 10 * time.Millisecond, Period: 100 * time.Millisecond},
	} {
		v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = s.End(), time.Second, 1, 812, 812, "hbd"
		s.Builder().AddSchedStateEvent(v)
	}
}

// TestSocketDropHeldUp wants the reason for which a reader did not read, with
// stays just below and just above the threshold.
func TestSocketDropHeldUp(t *testing.T) {
	for state, w := range map[model.SchedState][]string{
		model.SchedWaiting: {"hbd[812] got no CPU for 400 ms and did not read udp/7000 in time", "hog[900] (SCHED_FIFO " +
			"50) had CPU 1"},
		model.SchedThrottled: {"throttled for 400 ms", "(/batch) had used up its CPU quota: 10 ms in each 100 ms"},
		model.SchedFrozen:    {"frozen for 400 ms", "(/batch) was frozen"},
		model.SchedStopped:   {"stopped for 400 ms", "a signal or a debugger"},
		model.SchedDisk:      {"waited for the disk for 400 ms"},
		model.SchedLock:      {"waited for a lock for 400 ms"},
		model.SchedMemory:    {"waited for memory for 400 ms"},
		model.SchedSleeping:  {"did something else for 400 ms"},
	} {
		t.Run(state.String(), func(t *testing.T) {
			for _, longest := range []time.Duration{49 * time.Millisecond, 50 * time.Millisecond, 400 * time.Millisecond} {
				s := detecttest.New()
				seconds(s, 12, func(i int) {
					s.Quiet()
					held(s, state, longest, 0)
					s.Builder().AddSchedRival(model.SchedRival{
						Time: s.End(), Dur: time.Second, CPU: 1, PID: 900, TID: 900, Run: longest, VictimTID: 812,
						VictimPid: 812, Policy: model.SchedPolicyFIFO, Priority: 50, Task: "hog", Victim: "hbd",
					})
					queueOf(s, 300, 0, 2*time.Millisecond)
				})
				want := want{detector: "socket-drop", severity: model.SeverityWarning, lacks: []string{"too small"}}
				switch longest {
				case 400 * time.Millisecond:
					want.contains = w
				case 49 * time.Millisecond:
					want.contains, want.lacks = []string{"too small"}, nil
				}
				check(t, s.Batch(), detecttest.Start, want)
			}
		})
	}
}

func TestSocketDrop(t *testing.T) {
	for _, tt := range []struct {
		name string
		each func(s *detecttest.Stream, i int)
		want want
	}{
		{"stopped", func(s *detecttest.Stream, i int) { queueOf(s, 10, 199_000, time.Duration(i+1)*time.Second) },
			want{detector: "socket-drop", severity: model.SeverityCritical, contains: []string{"hbd[812] has not read " +
				"udp/7000 for", "do not enlarge SO_RCVBUF"}, lacks: []string{"enlarge the buffer"}}},
		{"stopped, on a host with too many sockets to read each second", func(s *detecttest.Stream, i int) {
			queueRead(s, model.FlagSecondary, 10, 199_000, time.Duration(i+1)*time.Second)
		},
			want{detector: "socket-drop", severity: model.SeverityCritical, contains: []string{"hbd[812] has not read " +
				"udp/7000 for"}}},
		{"not read", func(s *detecttest.Stream, i int) {
			queueRead(s, model.FlagSecondary, 300, 199_000, 2*time.Millisecond)
		},
			want{detector: "socket-drop", severity: model.SeverityWarning, contains: []string{"lost at its full receive " +
				"queue", "was not observed"}, lacks: []string{"more slowly", "too small"}}},
		{"slow", func(s *detecttest.Stream, i int) { queueOf(s, 300, 190_000, 2*time.Millisecond) },
			want{detector: "socket-drop", severity: model.SeverityWarning, contains: []string{"hbd[812] reads udp/7000 more " +
				"slowly than packets arrive", "does not help in the long run"}, lacks: []string{"enlarge the buffer"}}},
		{"not watched", func(s *detecttest.Stream, i int) { queueOf(s, 300, 0, 2*time.Millisecond) },
			want{detector: "socket-drop", severity: model.SeverityWarning, contains: []string{"lost at its full receive " +
				"queue", "whether it had the CPU when packets came was not watched"}, lacks: []string{"too small"}}},
		{"late", func(s *detecttest.Stream, i int) { queueOf(s, 300, uint64(i%2)*199_000, 400*time.Millisecond) },
			want{detector: "socket-drop", severity: model.SeverityWarning, contains: []string{
				"hbd[812] reads udp/7000 late, up to 400 ms behind",
			}, lacks: []string{"too small"}}},
		{"small", func(s *detecttest.Stream, i int) { reads(s); queueOf(s, 300, 0, 2*time.Millisecond) },
			want{detector: "socket-drop", severity: model.SeverityWarning, contains: []string{"The receive buffer of " +
				"udp/7000 (hbd[812]) is too small", "enlarge the buffer"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			seconds(s, 12, func(i int) {
				s.Quiet()
				tt.each(s, i)
			})
			tt.want.within = 5 * time.Second
			check(t, s.Batch(), detecttest.Start, tt.want)
		})
	}
}

// TestSocketDropKeepsItsCause has a reader stop for some seconds and go on: the
// cause is that of the seconds in which most was lost, while the fault lasts,
// after it, and when its beginning looked otherwise.
func TestSocketDropKeepsItsCause(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stopped int
		after   uint64
		want    want
	}{
		{"8 s", 8, 3, want{
			contains: []string{"hbd[812] had not read udp/7000 for 8 s", "not the size of the buffer"},
			lacks:    []string{"too small", "more slowly"},
			severity: model.SeverityCritical,
		}},
		{"3 s, of which 2 looked otherwise", 3, 3, want{
			contains: []string{"hbd[812] had not read udp/7000 for 3 s"},
			lacks:    []string{"too small", "more slowly"},
			severity: model.SeverityCritical,
		}},
		{"3 s, and then a buffer that is too small", 3, 2000, want{
			contains: []string{"The receive buffer of udp/7000 (hbd[812])", "too small"},
			lacks:    []string{"not read"},
			severity: model.SeverityWarning,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			seconds(s, 40, func(i int) {
				s.Quiet()
				switch i -= 3; {
				case i < 0:
					queueOf(s, 0, 0, time.Millisecond)
				case i < tt.stopped:
					queueOf(s, 1000, 199_000, time.Duration(i+1)*time.Second)
				case i < 2*tt.stopped:
					reads(s)
					queueOf(s, tt.after, 0, time.Millisecond)
				default:
					queueOf(s, 0, 0, time.Millisecond)
				}
			})
			tt.want.detector, tt.want.closed = "socket-drop", true
			check(t, s.Batch(), detecttest.Start.Add(3*time.Second), tt.want)
		})
	}
}

func TestNoSocketDrop(t *testing.T) {
	t.Run("one burst", func(t *testing.T) {
		s := detecttest.New()
		seconds(s, 30, func(i int) {
			s.Quiet()
			if i == 10 {
				queueOf(s, 15, 0, time.Millisecond)
			}
		})
		check(t, s.Batch(), 0)
	})
	t.Run("full but in time", func(t *testing.T) {
		s := detecttest.New()
		seconds(s, 30, func(i int) { s.Quiet(); queueOf(s, 0, 150_000, time.Millisecond) })
		check(t, s.Batch(), 0)
	})
	t.Run("lost on the way out", func(t *testing.T) { // the socket's counter covers both ways
		s := detecttest.New()
		seconds(s, 30, func(i int) {
			s.Quiet()
			s.Builder().
				AddSocketQueue(model.SocketQueue{
					Time: s.End(), Dur: time.Second, PID: 812, TID: 812, Cookie: 7, Protocol: model.ProtocolUDP,
					LocalPort: 7000, LimitBytes: 200_000, Dropped: 5000, Process: "hbd",
				})
			s.Drop(
				model.Drop{
					CPU:       1,
					PID:       812,
					TID:       812,
					Cookie:    7,
					Place:     model.PlaceQdisc,
					Count:     5000,
					Protocol:  model.ProtocolUDP,
					LocalPort: 7000,
					Process:   "hbd",
				},
			)
		})
		check(t, s.Batch(), detecttest.Start, want{
			detector: "packet-drop", severity: model.SeverityInfo, lacks: []string{"receive"},
			contains: []string{"lost by udp/7000 (hbd[812])"},
		})
	})
	t.Run("a starved CPU is to blame", func(t *testing.T) {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		seconds(s, 12, func(i int) {
			starved(s)
			s.Drop(
				model.Drop{
					CPU:       0,
					PID:       812,
					TID:       812,
					Cookie:    7,
					Place:     model.PlaceSocket,
					Count:     4000,
					Protocol:  model.ProtocolUDP,
					LocalPort: 7000,
					Process:   "hbd",
				},
			)
		})
		check(
			t,
			s.Batch(),
			0,
			want{
				detector: "dpc-starvation",
				severity: model.SeverityCritical,
				contains: []string{"dropped at the receive queue of udp/7000 hbd[812]"},
			},
		)
	})
}

func ringStream(load detecttest.Load, full uint64, drops uint64) *model.Batch {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "")
	seconds(s, 12, func(int) {
		s.CPU(0, load)
		s.CPU(1, detecttest.Load{})
		s.Builder().
			AddNAPI(model.NAPI{
				Time: s.End(), Dur: time.Second, CPU: 0, Ifindex: 2, Device: "eth0", Polls: 1000, Packets: 30_000,
				FullPolls: full,
			})
		s.Builder().
			AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 30_000})
		if drops > 0 {
			s.Drop(
				model.Drop{
					CPU:     -1,
					Place:   model.PlaceRing,
					Count:   drops,
					Ifindex: 2,
					Device:  "eth0",
					Queue:   3,
					Reason:  "rx_missed_errors",
				},
			)
		}
	})
	return s.Batch()
}

func TestRingDrop(t *testing.T) {
	check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 800),
		detecttest.Start,
		want{detector: "ring-drop", severity: model.SeverityWarning, within: 5 * time.Second,
			contains: []string{
				"eth0 loses packets in its ring",
				"bursts fill the ring",
				"ethtool -G eth0 rx 1024 (now 256)",
				`"queue": "rx-3"`,
			}},
	)
	check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 900, 800),
		detecttest.Start,
		want{detector: "ring-drop", severity: model.SeverityWarning,
			contains: []string{"the ring fills because CPU 0"}, lacks: []string{"ethtool -G"}},
	)
	// A CPU that spends all its time in NET_RX is the cause: one finding, the cause's.
	check(
		t,
		ringStream(detecttest.Load{NetRX: 0.97, Packets: 30_000}, 900, 800),
		detecttest.Start,
		want{detector: "dpc-starvation", severity: model.SeverityWarning,
			contains: []string{"dropped in the device's ring"}},
	)
	check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 20_000),
		detecttest.Start,
		want{detector: "ring-drop", severity: model.SeverityCritical, contains: []string{"40 % of what arrived"}},
	)
	check(t, ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 1), detecttest.Start)
}
