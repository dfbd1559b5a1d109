package ringdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

type want = detecttest.Want

func ringStream(load detecttest.Load, full uint64, drops uint64) *model.Batch {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "")
	s.Seconds(12, func(int) {
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
	detecttest.Check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 800),
		detecttest.Start,
		want{Detector: "ring-drop", Severity: model.SeverityWarning, Within: 5 * time.Second,
			Contains: []string{
				"eth0 loses packets in its ring",
				"Bursts fill the ring",
				"ethtool -G eth0 rx 1024 (now 256)",
				`"queue": "rx-3"`,
			}},
	)
	detecttest.Check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 900, 800),
		detecttest.Start,
		want{Detector: "ring-drop", Severity: model.SeverityWarning,
			Contains: []string{"The ring fills because CPU 0"}, Lacks: []string{"ethtool -G"}},
	)
	// A CPU that spends all its time in NET_RX is the cause: one finding, the cause's.
	detecttest.Check(
		t,
		ringStream(detecttest.Load{NetRX: 0.97, Packets: 30_000}, 900, 800),
		detecttest.Start,
		want{Detector: "dpc-starvation", Severity: model.SeverityWarning,
			Contains: []string{"dropped in the device's ring"}},
	)
	detecttest.Check(
		t,
		ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 20_000),
		detecttest.Start,
		want{Detector: "ring-drop", Severity: model.SeverityCritical, Contains: []string{"40 % of what arrived"}},
	)
	detecttest.Check(t, ringStream(detecttest.Load{NetRX: 0.2, Packets: 30_000}, 5, 1), detecttest.Start)
}

// TestRingLossWithoutArrivals has discards of an adapter and no count of what
// it received: the share that was lost is not known, and not all of it.
func TestRingLossWithoutArrivals(t *testing.T) {
	for received, w := range map[uint64]want{
		0: {Contains: []string{"Ethernet loses packets in its ring: 1,000 in", "the lost share is unknown"},
			Lacks: []string{"of what arrived"}, Severity: model.SeverityWarning},
		10_000: {Contains: []string{"1.0 % of what arrived"}, Lacks: []string{"is unknown"}, Severity: model.SeverityWarning},
		100:    {Contains: []string{"% of what arrived"}, Severity: model.SeverityCritical},
	} {
		s := detecttest.NewWindows()
		s.Seconds(10, func(int) {
			s.Builder().
				AddDeviceStats(model.DeviceStats{
					Time: s.End(), Dur: time.Second, Device: "Ethernet", RXPackets: received,
					Source: "perfmon Network Interface",
				})
			s.Drop(
				model.Drop{CPU: -1, Place: model.PlaceRing, Count: 100, Device: "Ethernet", Reason: "Packets Received Discarded"},
			)
		})
		w.Detector = "ring-drop"
		detecttest.Check(t, s.Batch(), detecttest.Start, w)
	}
}

// TestGone has a device lose packets because it is removed or its link goes down: its ring was not too small.
func TestGone(t *testing.T) {
	for what, contains := range map[string][]string{
		model.DeviceRemoved: {
			"eth0 was removed while packets were passing through it: 2,400 in", "emptied, not overrun",
		},
		model.DeviceLinkDown: {"eth0 lost packets while its link was down: 2,400 in", "its ring was not overrun"},
	} {
		t.Run(what, func(t *testing.T) {
			s := detecttest.New()
			s.Device(2, "eth0", 1, "")
			s.Seconds(12, func(i int) {
				s.Quiet()
				s.Builder().
					AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", TXPackets: 3000})
				if i == 4 {
					s.Builder().AddDeviceEvent(model.DeviceEvent{Time: s.End(), Ifindex: 2, Device: "eth0", What: what})
				}
				if i >= 4 && i < 7 {
					s.Drop(model.Drop{
						CPU: -1, Place: model.PlaceRing, Count: 800, Ifindex: 2, Device: "eth0", Reason: "tx_dropped",
						Flags: model.FlagTransmit,
					})
				}
			})
			detecttest.Check(t, s.Batch(), detecttest.Start, detecttest.Want{
				Detector: "ring-drop", Severity: model.SeverityWarning, Contains: contains,
				Lacks: []string{"was full", "ethtool"},
			})
		})
	}
}

// TestDriver says what the driver's statistics mean, and quotes what else it has counted.
func TestDriver(t *testing.T) {
	s := detecttest.New()
	s.Builder().AddDeviceConfig(model.DeviceConfig{Time: s.Now(), Ifindex: 2, Device: "eth0", Driver: "ixgbe",
		RXQueues: 1, RXRing: 256, RXRingMax: 1024, RingSource: "rx_no_dma_resources, rx_missed_errors"})
	s.Seconds(12, func(int) {
		s.Quiet()
		s.Builder().
			AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 30_000})
		for _, reason := range []string{"rx_missed_errors", "rx_no_dma_resources"} {
			s.Drop(model.Drop{CPU: -1, Place: model.PlaceRing, Count: 400, Ifindex: 2, Device: "eth0", Queue: -1,
				Reason: reason})
		}
		for name, rate := range map[string]float64{"tx_flow_control_xoff": 20, "rx_no_buffer_count": 700} {
			s.Builder().AddCounter(model.Counter{Time: s.End(), Dur: time.Second, CPU: -1, Ifindex: 2, Instance: "eth0",
				Name: model.DriverCounter + name, Value: rate, Mode: model.CounterRate, Unit: "events"})
		}
	})
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "ring-drop", Severity: model.SeverityWarning,
		Contains: []string{
			"eth0 loses packets in its ring: 9,600 in", // each of the two statistics, and no sign
			"rx_no_dma_resources: Packets lost because a receive queue had no free descriptor",
			"rx_missed_errors: Packets lost because the adapter's receive buffer was full",
			"tx_flow_control_xoff rose by 240: Pause frames that this device has sent",
			`"name": "rx_no_buffer_count"`, "ethtool -A eth0 rx on tx on",
		},
		Lacks: []string{"rx_no_buffer_count rose", "DEV"},
	})
}
