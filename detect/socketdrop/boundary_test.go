package socketdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "socket", boundaries)
}

var boundaries = []detecttest.Boundary{
	{Setting: "socket.min_drops", At: 25, Says: "socket-drop", Stream: detecttest.Once(func(s *detecttest.Stream) {
		s.Queue(25, 190_000, time.Millisecond)
	})},
	{Setting: "socket.stopped_idle", At: 3 * time.Second, Says: "has not read", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(int) { s.Quiet(); s.Queue(300, 190_000, 3*time.Second) })
		return s.Batch()
	}},
	{Setting: "socket.full_share", At: 1.0, Says: "more slowly", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(int) { s.Quiet(); s.Queue(300, 190_000, time.Millisecond) })
		return s.Batch()
	}},
	{Setting: "socket.slow_share", At: 0.75, Says: "more slowly", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(int) { s.Quiet(); s.Queue(300, 150_000, time.Millisecond) })
		return s.Batch()
	}},
	{Setting: "socket.late_idle", At: 400 * time.Millisecond, Says: "got no CPU for", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(int) {
			s.Quiet()
			s.Held(model.SchedWaiting, 400*time.Millisecond, 0)
			s.Queue(300, 0, time.Millisecond)
		})
		return s.Batch()
	}},
	{Setting: "socket.late_idle", At: 400 * time.Millisecond, Says: "was not read for", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(i int) { s.Quiet(); s.Queue(300, uint64(i%2)*199_000, 400*time.Millisecond) })
		return s.Batch()
	}},
	// Its reader waits for another socket for as long at a time, while this one is full.
	{Setting: "socket.late_idle", At: 20 * time.Millisecond, Says: "lost at its full receive queue",
		Stream: func() *model.Batch {
			s := detecttest.New()
			s.Seconds(12, func(int) {
				s.Quiet()
				s.Held(model.SchedRunning, time.Millisecond, 0)
				s.Queue(300, 199_000, time.Millisecond)
			})
			return s.Batch()
		}},
	// Its reader runs for as long at a time; what is queued has waited for longer.
	{Setting: "socket.late_idle", At: 400 * time.Millisecond, Says: "was busy with other work",
		Stream: func() *model.Batch {
			s := detecttest.New()
			s.Seconds(12, func(int) {
				s.Quiet()
				for _, v := range []model.SchedStateEvent{
					{State: model.SchedRunning, Total: 900 * time.Millisecond, Longest: 400 * time.Millisecond},
					{State: model.SchedInput, Total: 100 * time.Millisecond, Longest: time.Millisecond, Cookie: 7},
				} {
					v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = s.End(), time.Second, 1, 812, 812, "hbd"
					s.Builder().AddSchedStateEvent(v)
				}
				s.Queue(300, 199_000, time.Second)
			})
			return s.Batch()
		}},
	{Setting: "socket.busy_share", At: 0.75, Next: 0.7500001, Says: "more slowly", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(12, func(i int) {
			s.Quiet()
			for _, v := range []model.SchedStateEvent{
				{State: model.SchedRunning, Total: 750 * time.Millisecond, Longest: time.Millisecond},
				{State: model.SchedInput, Total: 250 * time.Millisecond, Longest: time.Millisecond, Cookie: 7},
			} {
				v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = s.End(), time.Second, 1, 812, 812, "hbd"
				s.Builder().AddSchedStateEvent(v)
			}
			s.Queue(300, uint64(i%4)*100_000, time.Millisecond)
		})
		return s.Batch()
	}},
}
