package heartbeatloss_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// gapped is a flow in which one gap is exactly so long, and is seen to have gone by on the way.
func gapped(gap time.Duration) func() *model.Batch {
	return func() *model.Batch {
		return detecttest.Flowing(40, nil, detecttest.Heartbeat{At: func(n int) time.Duration {
			if n > 120 {
				return 12*time.Second + gap + time.Duration(n-121)*100*ms
			}
			return time.Duration(n) * 100 * ms
		}})
	}
}

// ended is a flow of which nothing comes any more, in a stream that ends so long after its last packet.
func ended(after time.Duration) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		detecttest.Heartbeat{Unwatched: true, At: func(n int) time.Duration {
			if n > 120 {
				return -1
			}
			return time.Duration(n) * 100 * ms
		}}.Add(s, 12)
		s.Builder().AddMeta(model.Meta{Time: detecttest.Start.Add(11900*ms + after), Key: "end", Value: "1"})
		return s.Batch()
	}
}

func TestBoundaries(t *testing.T) {
	const silent = "no packet reached this host"
	detecttest.Boundaries(t, "heartbeat", []detecttest.Boundary{
		{
			// The gap is from one arrival to the next read, 50 µs after its own: the setting is rounded.
			Setting: "heartbeat.late_periods", At: 4, Says: silent, Stream: gapped(400 * ms),
		},
		{Setting: "heartbeat.least_late", At: 500 * ms, Says: silent, Stream: gapped(500 * ms)},
		{
			// Two periods of the four that it takes otherwise.
			Setting: "heartbeat.timeout_share", At: 0.5, Says: "50 % of the token timeout",
			With: map[string]string{"heartbeat.late_periods": "4"},
			Stream: func() *model.Batch {
				return detecttest.Flowing(40, nil, detecttest.Heartbeat{
					Period: 200 * ms, Timeout: time.Second, KnownAs: "corosync",
					Stack: func(time.Duration) time.Duration { return 0 },
					Held:  []detecttest.Held{{From: 12 * time.Second, To: 12*time.Second + 300*ms, State: model.SchedDisk}},
				})
			},
		},
		{
			Setting: "heartbeat.silent_periods", At: 8, Says: "has received nothing", Stream: ended(820 * ms),
			With: map[string]string{"heartbeat.least_silent": "1ms"},
		},
		{
			Setting: "heartbeat.least_silent", At: 1100 * ms, Says: "has received nothing", Stream: ended(1100 * ms),
			With: map[string]string{"heartbeat.silent_periods": "1"},
		},
		{
			Setting: "heartbeat.lost_share", At: 0.8, Says: "this host dropped 8 packets",
			Stream: func() *model.Batch {
				return detecttest.Flowing(40, func(s *detecttest.Stream, i int) {
					if i == 12 {
						s.Drop(drop(model.PlaceFilter, 8, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
					}
				}, detecttest.Heartbeat{At: missing(fault, fault+1100*ms, false)})
			},
		},
		{
			Setting: "heartbeat.held_share", At: 0.75, Says: "waited for the disk", Stream: func() *model.Batch {
				// Half a second of the delay of a second is something else.
				h := held(model.SchedDisk, 750*ms)
				h = append(h, detecttest.Held{From: fault + 750*ms, To: fault + 1000*ms, State: model.SchedUnknown})
				return detecttest.Flowing(40, nil, detecttest.Heartbeat{
					Held: h, Stack: func(time.Duration) time.Duration { return 0 },
				})
			},
		},
		{
			Setting: "heartbeat.busy_share", At: 0.51, Says: "was busy with other work", Stream: func() *model.Batch {
				h := held(model.SchedRunning, 490*ms, func(h *detecttest.Held) { h.Slice = 50 * ms })
				h = append(h, detecttest.Held{From: fault + 490*ms, To: fault + 1000*ms, State: model.SchedUnknown})
				return detecttest.Flowing(40, nil, detecttest.Heartbeat{
					Held: h, Stack: func(time.Duration) time.Duration { return 0 },
				})
			},
		},
	})
}
