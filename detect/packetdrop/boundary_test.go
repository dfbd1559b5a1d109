package packetdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// lost is a stream of a host that loses packets at a place for a reason.
func lost(d model.Drop, received uint64) func() *model.Batch {
	return detecttest.Once(func(s *detecttest.Stream) {
		s.Builder().AddDeviceStats(model.DeviceStats{
			Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: received,
		})
		d.CPU, d.Ifindex, d.Device = -1, 2, "eth0"
		s.Drop(d)
	})
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "packet-drop", boundaries)
}

var boundaries = []detecttest.Boundary{
	{Setting: "packet-drop.min_drops", At: 120, Says: "packet-drop", Stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 120, Reason: "PROTO_MEM"}, 1000)},
	{Setting: "packet-drop.min_refused", At: 12, Says: "The accept queue of tcp/8080", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(30, func(i int) {
			s.Quiet()
			if i > 5 {
				s.Drop(model.Drop{
					CPU: -1, Place: model.PlaceSocket, Count: 4, Reason: "TCP_LISTEN_OVERFLOW", Protocol: model.ProtocolTCP,
					LocalPort: 8080,
				})
			}
		})
		return s.Batch()
	}},
	{Setting: "packet-drop.min_drops", At: 120, Says: "packet-drop", With: map[string]string{
		"packet-drop.min_refused": "1000",
	}, Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(30, func(i int) {
			s.Quiet()
			total := 7.0
			if i > 5 {
				total += 120
			}
			s.Builder().AddCounter(model.Counter{
				Time: s.End(), Dur: time.Second, CPU: -1, Mode: model.CounterTotal, Name: "TcpExt.ListenOverflows", Value: total,
			})
		})
		return s.Batch()
	}},
	{Setting: "packet-drop.min_healthy", At: 220, Says: "packet-drop", Stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 220, Reason: "IP_INNOROUTES"}, 1000)},
	{Setting: "packet-drop.min_unknown", At: 720, Says: "packet-drop", Stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 720, Reason: "NEW_IN_2031"}, 1000)},
	{Setting: "packet-drop.filter_share", At: 0.25, Says: "packet-drop", Stream: lost(
		model.Drop{Place: model.PlaceFilter, Count: 1000, Reason: "NETFILTER_DROP"}, 4000)},
	{Setting: "packet-drop.critical_share", At: 0.5, Says: "critical packet-drop", Stream: lost(
		model.Drop{Place: model.PlaceProtocol, Count: 1000, Reason: "IP_CSUM"}, 2000)},
	{Setting: "packet-drop.min_rest", At: 1200, Says: "packet-drop", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(20, func(i int) {
			s.CPU(0, detecttest.Load{NetRX: 0.3, Packets: 600_000, Dropped: uint64(i/10) * 120})
		})
		return s.Batch()
	}},
	// What 120 ports lose, each of them too little.
	{Setting: "packet-drop.min_rest", At: 1200, Says: "packet-drop", Stream: detecttest.Once(func(s *detecttest.Stream) {
		for port := range uint16(120) {
			s.Drop(model.Drop{
				CPU: -1, Ifindex: 2, Device: "eth0", Place: model.PlaceProtocol, Count: 10, Reason: "NO_SOCKET",
				Protocol: model.ProtocolUDP, LocalPort: 7000 + port,
			})
		}
	})},
	// One port loses 40 packets in each second, of a window of three.
	{Setting: "packet-drop.min_drops", At: 120, Says: "a regular flow",
		With: map[string]string{"packet-drop.min_healthy": "10"}, Stream: func() *model.Batch {
			s := detecttest.New()
			s.Device(2, "eth0", 1, "0")
			s.Seconds(30, func(int) {
				s.Quiet()
				s.Drop(model.Drop{
					CPU: -1, Ifindex: 2, Device: "eth0", Place: model.PlaceProtocol, Count: 40, Reason: "NO_SOCKET",
					Protocol: model.ProtocolUDP, LocalPort: 7000,
				})
			})
			return s.Batch()
		}},
	{Setting: "packet-drop.sustained_seconds", At: 40, Says: "packet-drop", Stream: func() *model.Batch {
		s := detecttest.New()
		s.Seconds(40, func(int) { s.CPU(0, detecttest.Load{NetRX: 0.3, Packets: 600_000, Dropped: 1}) })
		return s.Batch()
	}},
	{Setting: "packet-drop.table_full", At: 0.875, Says: "The neighbour table was full",
		Stream: detecttest.Once(func(s *detecttest.Stream) {
			s.Builder().AddReading(model.Reading{Time: s.Now(), Name: "neighbours", Value: 896, Limit: 1024, Unit: "entries"})
			s.Drop(model.Drop{CPU: -1, Ifindex: 2, Device: "eth0", Place: model.PlaceProtocol, Count: 1000,
				Reason: "NEIGH_FAILED"})
		})},
}
