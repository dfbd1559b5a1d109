package socketdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

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
		model.SchedSleeping:  {"slept for 400 ms"},
	} {
		t.Run(state.String(), func(t *testing.T) {
			for _, longest := range []time.Duration{49 * time.Millisecond, 50 * time.Millisecond, 400 * time.Millisecond} {
				s := detecttest.New()
				s.Seconds(12, func(i int) {
					s.Quiet()
					s.Held(state, longest, 0)
					s.Builder().AddSchedRival(model.SchedRival{
						Time: s.End(), Dur: time.Second, CPU: 1, PID: 900, TID: 900, Run: longest, VictimTID: 812,
						VictimPid: 812, Policy: model.SchedPolicyFIFO, Priority: 50, Task: "hog", Victim: "hbd",
					})
					s.Queue(300, 0, 2*time.Millisecond)
				})
				want := want{Detector: "socket-drop", Severity: model.SeverityWarning, Lacks: []string{"too small"}}
				switch longest {
				case 400 * time.Millisecond:
					want.Contains = w
				case 49 * time.Millisecond:
					want.Contains, want.Lacks = []string{"too small"}, nil
				}
				detecttest.Check(t, s.Batch(), detecttest.Start, want)
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
		{"stopped", func(s *detecttest.Stream, i int) { s.Queue(10, 199_000, time.Duration(i+1)*time.Second) },
			want{Detector: "socket-drop", Severity: model.SeverityCritical, Contains: []string{"hbd[812] has not read " +
				"udp/7000 for", "Do not enlarge SO_RCVBUF"}, Lacks: []string{"Enlarge the buffer"}}},
		{"stopped, on a host with too many sockets to read each second", func(s *detecttest.Stream, i int) {
			s.QueueRead(model.FlagSecondary, 10, 199_000, time.Duration(i+1)*time.Second)
		},
			want{Detector: "socket-drop", Severity: model.SeverityCritical, Contains: []string{"hbd[812] has not read " +
				"udp/7000 for"}}},
		{"not read", func(s *detecttest.Stream, i int) {
			s.QueueRead(model.FlagSecondary, 300, 199_000, 2*time.Millisecond)
		},
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"lost at its full receive " +
				"queue", "was not observed"}, Lacks: []string{"more slowly", "too small"}}},
		{"not read, after a pause of the sender", func(s *detecttest.Stream, i int) {
			s.QueueRead(model.FlagSecondary, 300, 199_000, 800*time.Millisecond)
		},
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"lost at its full receive " +
				"queue", "was not observed"}, Lacks: []string{"while data waited"}}},
		{"slow", func(s *detecttest.Stream, i int) { s.Queue(300, 190_000, 2*time.Millisecond) },
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"hbd[812] reads udp/7000 more " +
				"slowly than packets arrive", "does not help in the long run"}, Lacks: []string{"Enlarge the buffer"}}},
		{"not watched", func(s *detecttest.Stream, i int) { s.Queue(300, 0, 2*time.Millisecond) },
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"lost at its full receive " +
				"queue", "whether its reader had the CPU when packets came and read in time " +
				"was not watched"}, Lacks: []string{"too small"}}},
		{"late", func(s *detecttest.Stream, i int) { s.Queue(300, uint64(i%2)*199_000, 400*time.Millisecond) },
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{
				"udp/7000 (hbd[812]) was not read for 400 ms while data waited", "Cause unknown: its reader was not watched",
			}, Lacks: []string{"too small"}}},
		{"small", func(s *detecttest.Stream, i int) { s.Reads(); s.Queue(300, 0, 2*time.Millisecond) },
			want{Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"The receive buffer of " +
				"udp/7000 (hbd[812]) is too small", "Enlarge the buffer"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Seconds(12, func(i int) {
				s.Quiet()
				tt.each(s, i)
			})
			tt.want.Within = 5 * time.Second
			detecttest.Check(t, s.Batch(), detecttest.Start, tt.want)
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
			Contains: []string{"hbd[812] had not read udp/7000 for 8 s", "the buffer size"},
			Lacks:    []string{"too small", "more slowly"},
			Severity: model.SeverityCritical,
		}},
		{"3 s, of which 2 looked otherwise", 3, 3, want{
			Contains: []string{"hbd[812] had not read udp/7000 for 3 s"},
			Lacks:    []string{"too small", "more slowly"},
			Severity: model.SeverityCritical,
		}},
		{"3 s, and then a buffer that is too small", 3, 4000, want{
			Contains: []string{"The receive buffer of udp/7000 (hbd[812])", "too small"},
			Lacks:    []string{"not read"},
			Severity: model.SeverityWarning,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Seconds(40, func(i int) {
				s.Quiet()
				switch i -= 3; {
				case i < 0:
					s.Queue(0, 0, time.Millisecond)
				case i < tt.stopped:
					s.Queue(1000, 199_000, time.Duration(i+1)*time.Second)
				case i < 2*tt.stopped:
					s.Reads()
					s.Queue(tt.after, 0, time.Millisecond)
				default:
					s.Queue(0, 0, time.Millisecond)
				}
			})
			tt.want.Detector, tt.want.Closed = "socket-drop", true
			detecttest.Check(t, s.Batch(), detecttest.Start.Add(3*time.Second), tt.want)
		})
	}
}

func TestNoSocketDrop(t *testing.T) {
	t.Run("one burst", func(t *testing.T) {
		s := detecttest.New()
		s.Seconds(30, func(i int) {
			s.Quiet()
			if i == 10 {
				s.Queue(15, 0, time.Millisecond)
			}
		})
		detecttest.Check(t, s.Batch(), 0)
	})
	t.Run("full but in time", func(t *testing.T) {
		s := detecttest.New()
		s.Seconds(30, func(i int) { s.Quiet(); s.Queue(0, 150_000, time.Millisecond) })
		detecttest.Check(t, s.Batch(), 0)
	})
	t.Run("lost on transmission", func(t *testing.T) { // the socket's counter covers both ways
		s := detecttest.New()
		s.Seconds(30, func(i int) {
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
		detecttest.Check(t, s.Batch(), detecttest.Start, want{
			Detector: "packet-drop", Severity: model.SeverityInfo, Lacks: []string{"receive"},
			Contains: []string{"lost by udp/7000 (hbd[812])"},
		})
	})
	t.Run("a starved CPU is to blame", func(t *testing.T) {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		s.Seconds(12, func(i int) {
			s.Starved()
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
		detecttest.Check(
			t,
			s.Batch(),
			0,
			want{
				Detector: "dpc-starvation",
				Severity: model.SeverityCritical,
				Contains: []string{"dropped at the receive queue of udp/7000 hbd[812]"},
			},
		)
	})
}
