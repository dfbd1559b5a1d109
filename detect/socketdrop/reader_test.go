package socketdrop_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// thread is one second of a watched thread of hbd, in the given states. For the rest of it thread 812 waits for input
// of the socket, and another one computes.
func thread(s *detecttest.Stream, tid int32, states ...model.SchedStateEvent) {
	rest := time.Second
	for i := range states {
		rest -= states[i].Total
	}
	switch {
	case rest > 0 && tid != 812:
		states = append(states, model.SchedStateEvent{State: model.SchedRunning, Total: rest, Longest: rest})
	case rest > 0:
		states = append(states, model.SchedStateEvent{State: model.SchedInput, Total: rest, Longest: rest / 100, Cookie: 7})
	}
	for _, v := range states {
		v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = s.End(), time.Second, 1, 812, tid, "hbd"
		s.Builder().AddSchedStateEvent(v)
	}
}

// stay is a stay that takes the most of a second.
func stay(state model.SchedState, detail string, cookie uint64) model.SchedStateEvent {
	return model.SchedStateEvent{
		State: state, Total: 950 * time.Millisecond, Longest: 900 * time.Millisecond, Count: 1, Detail: detail,
		Cookie: cookie,
	}
}

// unread is one second of the queue, whose reader was seen to be the given thread, -1 not seen.
func unread(s *detecttest.Stream, reader int32, flags model.Flags, queued uint64, idle time.Duration) {
	s.Builder().AddSocketQueue(model.SocketQueue{
		Time: s.End(), Dur: time.Second, Flags: flags, PID: 812, TID: reader, Cookie: 7, Protocol: model.ProtocolUDP,
		LocalPort: 7000, QueuedBytes: queued, LimitBytes: 200_000, Dropped: 300, Idle: idle, Process: "hbd",
	})
}

// TestReaderIsProven wants the thread that reads the socket to be judged, and no
// other one, and no verdict where it is not known.
func TestReaderIsProven(t *testing.T) {
	const inTime = time.Millisecond
	var (
		running  = model.SchedStateEvent{State: model.SchedRunning, Total: time.Second, Longest: time.Second}
		idleWork = stay(model.SchedLock, "futex: futex_do_wait", 0)
		epoll    = stay(model.SchedInput, "epoll_wait fd 4 eventpoll: ep_poll", 0)
		ownEpoll = stay(model.SchedInput, "epoll_wait fd 4 eventpoll [eventfd, udp:7000]: ep_poll", 0)
		other    = stay(model.SchedInput, "epoll_wait fd 4 eventpoll [eventfd, udp:700]: ep_poll", 0)
		socket   = stay(model.SchedInput, "recvfrom fd 5 udp:9: __skb_wait_for_more_packets", 9)
		own      = stay(model.SchedInput, "recvfrom fd 3 udp:7000: __skb_wait_for_more_packets", 7)
		pipe     = stay(model.SchedInput, "read fd 6 pipe: anon_pipe_read", 0)
		starved  = stay(model.SchedWaiting, "", 0)
	)
	for _, tt := range []struct {
		name     string
		each     func(s *detecttest.Stream, i int)
		contains []string
		lacks    []string
	}{
		{
			"it waits for another socket",
			func(s *detecttest.Stream, _ int) { thread(s, 812, socket); unread(s, 812, 0, 0, inTime) },
			[]string{"hbd[812] waited for something else for 900 ms and did not read udp/7000", "udp:9"},
			[]string{"too small"},
		},
		{
			"it waits for a pipe",
			func(s *detecttest.Stream, _ int) { thread(s, 812, pipe); unread(s, 812, 0, 0, inTime) },
			[]string{"waited for something else for 900 ms", "fd 6 pipe"},
			[]string{"too small"},
		},
		{
			"it waits for its sender, which pauses",
			func(s *detecttest.Stream, _ int) { thread(s, 812, own); unread(s, 812, 0, 0, inTime) },
			[]string{"too small"}, []string{"waited for something else"},
		},
		{
			"it polls, and reads in time",
			func(s *detecttest.Stream, _ int) { thread(s, 812, epoll); unread(s, 812, 0, 0, inTime) },
			[]string{"too small"}, []string{"waited for something else"},
		},
		{
			"it polls its socket and another one",
			func(s *detecttest.Stream, _ int) { thread(s, 812, ownEpoll); unread(s, 812, 0, 0, inTime) },
			[]string{"too small"}, []string{"waited for something else"},
		},
		{
			"it polls others only",
			func(s *detecttest.Stream, _ int) { thread(s, 812, other); unread(s, 812, 0, 0, inTime) },
			[]string{"waited for something else for 900 ms", "[eventfd, udp:700]"}, []string{"too small"},
		},
		{
			"it polls, and its queue is full",
			func(s *detecttest.Stream, _ int) { thread(s, 812, epoll); unread(s, 812, 0, 199_000, inTime) },
			[]string{"lost at its full receive queue", "more than half full in 12 of 12 readings; the thread that reads it " +
				"was waiting for input for 900 ms (epoll_wait"},
			[]string{"too small", "slowly"},
		},
		{
			"its queue is full, and reads are not seen",
			func(s *detecttest.Stream, _ int) { thread(s, 812, idleWork); unread(s, -1, 0, 199_000, 0) },
			[]string{"lost at its full receive queue", "more than half full in 12 of 12 readings; whether the program was " +
				"reading is not seen on this host; one of its threads was waiting for lock for 900 ms"},
			[]string{"too small", "slowly", "stopped program"},
		},
		{
			"its queue is full, and it is read",
			func(s *detecttest.Stream, _ int) { unread(s, -1, 0, 199_000, inTime) },
			[]string{"reads udp/7000 more slowly than packets arrive"}, []string{"too small"},
		},
		{
			"it polls, and data waits meanwhile",
			func(s *detecttest.Stream, i int) {
				thread(s, 812, epoll)
				unread(s, 812, 0, uint64(i%3)*50_000, 800*time.Millisecond)
			},
			[]string{"udp/7000 (hbd[812]) was not read for 800 ms while data waited", "Cause unknown",
				"it was waiting for input for 900 ms (epoll_wait fd 4 eventpoll: ep_poll)"},
			[]string{"too small", "waited for something else"},
		},
		{
			"an idle thread of a pool is not the reader",
			func(s *detecttest.Stream, _ int) {
				thread(s, 813, idleWork)
				thread(s, 812, own)
				unread(s, 812, 0, 0, inTime)
			},
			[]string{"too small"}, []string{"lock"},
		},
		{
			"a thread that waits for the CPU is not the reader",
			func(s *detecttest.Stream, _ int) {
				thread(s, 813, starved)
				thread(s, 812, own)
				unread(s, 812, 0, 0, inTime)
			},
			[]string{"too small"}, []string{"got no CPU"},
		},
		{
			"which thread reads is unknown",
			func(s *detecttest.Stream, _ int) {
				thread(s, 813, idleWork, running)
				thread(s, 812, epoll)
				unread(s, -1, 0, 0, inTime)
			},
			nil, []string{"waited for a lock"},
		},
		{
			"which thread reads is unknown, and none waits for the socket",
			func(s *detecttest.Stream, _ int) {
				for tid := int32(812); tid < 815; tid++ {
					starved := starved
					starved.Total = time.Second
					thread(s, tid, starved)
				}
				unread(s, -1, 0, 0, inTime)
			},
			[]string{"lost at its full receive queue", "of the 3 threads watched, none was seen to read it; one of them was " +
				"waiting for a CPU for 900 ms"},
			[]string{"too small", "got no CPU"},
		},
		{
			"a thread that a runtime lends out waits in futex while another reads",
			func(s *detecttest.Stream, i int) {
				thread(s, 812, idleWork)
				thread(s, 813, own)
				unread(s, 812+int32(i%2), 0, 0, inTime)
			},
			[]string{"too small"}, []string{"futex"},
		},
		{
			"the reader waits in futex, and data waits meanwhile",
			func(s *detecttest.Stream, _ int) {
				thread(s, 812, idleWork)
				unread(s, 812, 0, 50_000, 800*time.Millisecond)
			},
			[]string{"waited for another thread (futex: a lock or a condition) for 900 ms"}, []string{"too small"},
		},
		{
			"the reader waits in futex for a thread that is throttled",
			func(s *detecttest.Stream, _ int) {
				throttled := stay(model.SchedThrottled, "", 0)
				throttled.Longest = 90 * time.Millisecond
				thread(s, 812, idleWork)
				thread(s, 813, throttled)
				unread(s, 812, 0, 50_000, 800*time.Millisecond)
			},
			[]string{"hbd[812] has been throttled for 90 ms and did not read udp/7000", "used up its CPU quota"},
			[]string{"futex", "too small"},
		},
		{
			"the reader waits in futex, and another thread was throttled for a moment",
			func(s *detecttest.Stream, _ int) {
				throttled := stay(model.SchedThrottled, "", 0)
				throttled.Longest, throttled.Total = 20*time.Millisecond, 20*time.Millisecond
				thread(s, 812, idleWork)
				thread(s, 813, throttled)
				unread(s, 812, 0, 50_000, 800*time.Millisecond)
			},
			[]string{"waited for another thread (futex: a lock or a condition) for 900 ms"}, []string{"throttled"},
		},
		{
			"several processes hold it",
			func(s *detecttest.Stream, _ int) {
				asleep := stay(model.SchedSleeping, "wait4: do_wait", 0)
				asleep.Total = time.Second
				thread(s, 812, asleep)
				unread(s, -1, model.FlagShared, 50_000, 800*time.Millisecond)
			},
			[]string{"was not read for 800 ms", "several processes hold the socket, and which one reads it was not observed"},
			[]string{"too small", "slept"},
		},
		{
			"several processes hold it, and nobody reads",
			func(s *detecttest.Stream, i int) {
				unread(s, -1, model.FlagShared, 199_000, time.Duration(i+1)*time.Second)
			},
			[]string{"udp/7000 (held by hbd[812] and others) has not been read for 12 s", "which one reads"},
			[]string{"hbd[812] has not"},
		},
		{
			"it computes, and data waits",
			func(s *detecttest.Stream, _ int) {
				thread(s, 812, running)
				unread(s, 812, 0, 50_000, 800*time.Millisecond)
			},
			[]string{"hbd[812] was busy with other work for 1 s and did not read udp/7000"},
			[]string{"too small", "slowly"},
		},
		{
			"it polls without a pause, and reads in time",
			func(s *detecttest.Stream, _ int) { thread(s, 812, running); unread(s, 812, 0, 0, inTime) },
			[]string{"too small"}, []string{"slowly", "busy"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Seconds(12, func(i int) {
				s.Quiet()
				tt.each(s, i)
			})
			severity := model.SeverityWarning
			if strings.Contains(tt.name, "nobody") {
				severity = model.SeverityCritical
			}
			detecttest.Check(t, s.Batch(), detecttest.Start, want{
				Detector: "socket-drop", Severity: severity, Contains: tt.contains, Lacks: tt.lacks,
			})
		})
	}
}

// TestReaderThatGoesOn has a reader be stopped for 8 s: one length, in the
// present tense until it goes on, in the past from then on, and one cause.
func TestReaderThatGoesOn(t *testing.T) {
	const stopped = 8
	s := detecttest.New()
	s.Seconds(30, func(i int) {
		s.Quiet()
		switch {
		case i < 2 || i > stopped+6:
			thread(s, 812)
			return
		case i < 2+stopped:
			v := model.SchedStateEvent{
				State: model.SchedStopped, Total: time.Second, Longest: time.Duration(i-1) * time.Second, Detail: "SIGSTOP",
			}
			thread(s, 812, v)
			unread(s, -1, 0, 199_000, time.Duration(i-1)*time.Second-100*time.Millisecond)
		default:
			thread(s, 812)
			s.Queue(0, 150_000, time.Millisecond)
		}
	})
	out := detecttest.Run(s.Batch(), 0)
	if len(out) < 3 {
		t.Fatalf("%d emissions", len(out))
	}
	end := detecttest.Start.Add((2 + stopped) * time.Second)
	for _, e := range out {
		text, err := json.Marshal(e.Finding)
		if err != nil {
			t.Fatal(err)
		}
		present := strings.Contains(e.Finding.Title, "has been stopped for")
		past := strings.Contains(e.Finding.Title, "was stopped for 8 s")
		if present == past || present != (e.At <= end) {
			t.Errorf("%v: %s", e.At, e.Finding.Title)
		}
		if e.At > end && strings.Contains(string(text), "is stopped") || strings.Contains(string(text), "too small") {
			t.Errorf("%v: %s", e.At, text)
		}
		if got := strings.Count(e.Finding.Title, " s "); got != 1 {
			t.Errorf("%d times in %q", got, e.Finding.Title)
		}
	}
}

// TestTwoSocketsOfAPort has two sockets of one process share a port: what one
// loses is not added to what the other one does.
func TestTwoSocketsOfAPort(t *testing.T) {
	s := detecttest.New()
	s.Seconds(12, func(i int) {
		s.Quiet()
		for cookie, lost := range []uint64{300, 50} {
			s.Builder().AddSocketQueue(model.SocketQueue{
				Time: s.End(), Dur: time.Second, PID: 812, TID: 812 + int32(cookie), Cookie: 7 + uint64(cookie),
				Protocol: model.ProtocolUDP, LocalPort: 7000, QueuedBytes: 199_000, LimitBytes: 200_000, Dropped: lost,
				Idle: time.Duration(i+1) * time.Second, Process: "hbd",
			})
		}
	})
	detecttest.Check(t, s.Batch(), detecttest.Start,
		want{Detector: "socket-drop", Severity: model.SeverityCritical, Contains: []string{"3,600 packets lost"}},
		want{Detector: "socket-drop", Severity: model.SeverityCritical, Contains: []string{"600 packets lost"},
			Lacks: []string{"3,600"}})
}

// TestReasonThatIsSeenLater has most of the loss come before the reader is
// watched: what is seen then explains more than that the queue was full.
func TestReasonThatIsSeenLater(t *testing.T) {
	s := detecttest.New()
	s.Seconds(6, func(i int) {
		s.Quiet()
		lost := uint64(3800)
		if i > 0 {
			thread(s, 812, stay(model.SchedSleeping, "clock_nanosleep: do_nanosleep", 0))
			lost = 900
		}
		s.Queue(lost, 190_000, 2*time.Millisecond)
	})
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "socket-drop", Severity: model.SeverityWarning, Contains: []string{"hbd[812] slept for 900 ms"},
	})
}
