package snapshot_test

import (
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	udp := func(h model.PortHolder, more ...model.PortHolder) func() *model.Batch {
		return func() *model.Batch {
			s := newTables(model.ProtocolUDP).holder(h)
			for _, m := range more {
				s.holder(m)
			}
			return s.end().batch()
		}
	}
	tcp := func(h model.PortHolder) func() *model.Batch {
		return func() *model.Batch { return newTables(model.ProtocolTCP).holder(h).end().batch() }
	}
	detecttest.Boundaries(t, "snapshot", []detecttest.Boundary{
		{
			Setting: "snapshot.warn_share",
			At:      0.75,
			Says:    "All processes together",
			With:    map[string]string{"snapshot.holder_share": "0.9"},
			Stream:  udp(model.PortHolder{Ports: 600}, model.PortHolder{PID: 8, Ports: 150}),
		},
		{Setting: "snapshot.warn_share", At: 0.75, Says: "for 198.51.100.1:443",
			Stream: func() *model.Batch { return newTables(model.ProtocolTCP).to(50, 700).end().batch() }},
		{Setting: "snapshot.full_share", At: 0.9375, Says: "critical port-snapshot",
			Stream: func() *model.Batch { return newTables(model.ProtocolTCP).to(0, 938).end().batch() }, Next: 0.9381},
		{Setting: "snapshot.holder_share", At: 0.5, Says: "warning port-snapshot", Stream: udp(model.PortHolder{Ports: 500})},
		{Setting: "snapshot.bound_share", At: 0.125, Says: "bound without a connection",
			With:   map[string]string{"snapshot.note_share": "0.9"},
			Stream: tcp(model.PortHolder{Ports: 130, Bound: 125})},
		{Setting: "snapshot.note_share", At: 0.125, Says: "info port-snapshot", Stream: udp(model.PortHolder{Ports: 125})},
		{Setting: "snapshot.min_growth", At: 60, Says: "has released none",
			Stream: func() *model.Batch { return series(model.ProtocolUDP, 0, 0, 20, 50, 80) }},
		{
			Setting: "snapshot.close_wait",
			At:      30,
			Says:    "CLOSE_WAIT",
			Stream:  tcp(model.PortHolder{CloseWait: 30, Connections: 40}),
		},
	})
}
