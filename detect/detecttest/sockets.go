package detecttest

import (
	"time"

	"lostbeat/model"
)

// Queue is one second of a socket's receive queue that drops packets.
func (s *Stream) Queue(dropped, queued uint64, idle time.Duration) {
	s.QueueRead(0, dropped, queued, idle)
}

// QueueRead is the same with the reading's flags.
func (s *Stream) QueueRead(flags model.Flags, dropped, queued uint64, idle time.Duration) {
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

// Reads is one second of a reader that is watched and waits for its socket most of the time.
func (s *Stream) Reads() {
	s.Held(model.SchedInput, 0, 7)
}

// Held is one second of the watched reader, which was in the given state for so long at a time.
func (s *Stream) Held(state model.SchedState, longest time.Duration, cookie uint64) {
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
