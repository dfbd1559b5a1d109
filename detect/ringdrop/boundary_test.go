package ringdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// ring is a second in which a ring loses packets.
func ring(s *detecttest.Stream, received, dropped uint64) {
	s.Builder().AddDeviceStats(model.DeviceStats{
		Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: received,
	})
	s.Drop(model.Drop{
		CPU: -1, Place: model.PlaceRing, Count: dropped, Ifindex: 2, Device: "eth0", Reason: "rx_missed_errors",
	})
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "ring", boundaries)
}

var boundaries = []detecttest.Boundary{
	{Setting: "ring.min_drops", At: 60, Says: "ring-drop",
		Stream: detecttest.Once(func(s *detecttest.Stream) { ring(s, 100, 60) })},
	{Setting: "ring.busy_share", At: 0.75, With: map[string]string{"starvation.busy_share": "0.99"},
		Says: "The ring fills because CPU 0", Stream: func() *model.Batch {
			return ringStream(detecttest.Load{NetRX: 0.75, Packets: 30_000}, 5, 800)
		}},
	{Setting: "ring.full_poll_share", At: 0.5, Says: "The ring fills because CPU 0", Stream: func() *model.Batch {
		return ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 500, 800)
	}},
	{Setting: "ring.drop_share", At: 0.25, Says: "ring-drop", Stream: detecttest.Once(func(s *detecttest.Stream) {
		ring(s, 3000, 1000)
	})},
}
