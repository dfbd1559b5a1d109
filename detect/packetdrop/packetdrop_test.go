package packetdrop_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// host is a stream of a quiet host of which a device carries packets in each second.
func host(seconds int, received, sent uint64, each func(s *detecttest.Stream, i int)) *model.Batch {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	s.Seconds(seconds, func(i int) {
		s.Quiet()
		s.Builder().AddDeviceStats(model.DeviceStats{
			Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: received, TXPackets: sent,
		})
		each(s, i)
	})
	return s.Batch()
}

// onEth0 adds a loss of the device.
func onEth0(s *detecttest.Stream, d model.Drop) {
	d.CPU, d.Ifindex, d.Device = 0, 2, "eth0"
	if d.Reason == "" {
		d.Reason = "NOT_SPECIFIED"
	}
	s.Drop(d)
}

// event says what becomes of the device, at the end of the second.
func event(s *detecttest.Stream, what string) {
	s.Builder().AddDeviceEvent(model.DeviceEvent{Time: s.End(), Ifindex: 2, Device: "eth0", What: what})
}

// TestShare wants what is lost after its reception not to count twice, what is lost before it is sent to count, and
// both numbers to be of the same seconds.
func TestShare(t *testing.T) {
	for _, tt := range []struct {
		name     string
		drop     model.Drop
		rx, tx   uint64
		share    string
		critical bool
	}{
		{"after reception", model.Drop{Place: model.PlaceProtocol, Reason: "IP_CSUM", Count: 240}, 1000, 0, "0.24", false},
		{"after reception, critical", model.Drop{Place: model.PlaceProtocol, Reason: "IP_CSUM", Count: 260}, 1000, 0, "0.26",
			true},
		{"all that was received", model.Drop{Place: model.PlaceProtocol, Reason: "IP_CSUM", Count: 1000}, 1000, 0, "1", true},
		{"before it is sent", model.Drop{
			Place: model.PlaceProtocol, Reason: "IP_OUTNOROUTES", Count: 250, Flags: model.FlagTransmit,
		}, 9, 750, "0.25", true},
		{"a bridge counts first", model.Drop{
			Place: model.PlaceDevice, Reason: "NO_TX_TARGET", Location: "br_dev_xmit", Count: 200, Flags: model.FlagTransmit,
		}, 9, 1000, "0.2", false},
		{"the other end of a veth", model.Drop{Place: model.PlaceDevice, Location: "veth_xmit", Count: 100}, 9, 900, "0.1",
			false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := host(12, tt.rx, tt.tx, func(s *detecttest.Stream, i int) {
				if i >= 4 && i < 8 {
					onEth0(s, tt.drop)
				}
			})
			severity := model.SeverityWarning
			switch {
			case tt.critical:
				severity = model.SeverityCritical
			case tt.drop.Reason == "NO_TX_TARGET":
				severity = model.SeverityInfo
			}
			detecttest.Check(t, b, 0, detecttest.Want{
				Detector: "packet-drop", Severity: severity,
				Contains: []string{`"value": ` + tt.share + ",\n   \"unit\": \"ratio\""},
			})
		})
	}
}

// TestRemoved puts down to a device's end only what was lost by it.
func TestRemoved(t *testing.T) {
	closed := model.Drop{
		Place: model.PlaceProtocol, Reason: "NO_SOCKET", Location: "__udp4_lib_rcv", Count: 150,
		Protocol: model.ProtocolUDP, LocalPort: 7000,
	}
	full := model.Drop{Place: model.PlaceDevice, Location: "veth_xmit", Count: 150}
	for _, tt := range []struct {
		name string
		drop model.Drop
		// first and last are the seconds with losses; the device goes at the end of the sixth.
		first, last int
		what        string
		want        detecttest.Want
	}{
		{"a closed port before", closed, 2, 5, model.DeviceRemoved, detecttest.Want{
			Severity: model.SeverityWarning, Contains: []string{"Nothing listens on udp/7000"}, Lacks: []string{"removed"},
		}},
		{"a full ring before", full, 2, 5, model.DeviceRemoved, detecttest.Want{
			Severity: model.SeverityWarning, Contains: []string{"Packets sent through eth0"}, Lacks: []string{"was removed at"},
		}},
		{"by its removal", full, 5, 9, model.DeviceRemoved, detecttest.Want{
			Severity: model.SeverityWarning, Contains: []string{"eth0 was removed while packets went to it: 750 in"},
			Lacks: []string{"ring was full"},
		}},
		{"what was in its queue", model.Drop{
			Place: model.PlaceQdisc, Location: "__rtnl_unlock", Count: 900, Flags: model.FlagTransmit,
		}, 5, 5, model.DeviceRemoved, detecttest.Want{
			Severity: model.SeverityInfo, Contains: []string{"eth0 was removed while packets went to it: 900 in"},
		}},
		{"by its link", full, 5, 9, model.DeviceLinkDown, detecttest.Want{
			Severity: model.SeverityWarning, Contains: []string{"The link of eth0 is down: 750 packets lost in"},
			Lacks: []string{"ring was full", "removed"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := host(12, 1000, 1000, func(s *detecttest.Stream, i int) {
				if i == 5 {
					event(s, tt.what)
				}
				if i >= tt.first && i <= tt.last {
					onEth0(s, tt.drop)
				}
			})
			tt.want.Detector = "packet-drop"
			detecttest.Check(t, b, 0, tt.want)
		})
	}
}

// TestLinkDown has the other end of a veth taken down: this end notices 2 s later. All of it is one fault.
func TestLinkDown(t *testing.T) {
	b := host(20, 0, 10, func(s *detecttest.Stream, i int) {
		switch i {
		case 3, 4:
			onEth0(s, model.Drop{
				Place: model.PlaceDevice, Location: "__dev_forward_skb2", Count: 500, Flags: model.FlagTransmit,
			})
		case 5:
			event(s, model.DeviceLinkDown)
		case 15:
			event(s, model.DeviceRemoved)
		}
		if i >= 4 && i < 15 {
			onEth0(s, model.Drop{
				Place: model.PlaceQdisc, Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Count: 500, Flags: model.FlagTransmit,
			})
		}
	})
	detecttest.Check(t, b, 0, detecttest.Want{
		Detector: "packet-drop", Severity: model.SeverityWarning,
		Contains: []string{"The link of eth0 is down: 6,500 packets lost in"}, Lacks: []string{"queueing discipline"},
	})
}

// TestLinkDownUnseen has a link down of which no event tells: the discipline that drops the packets is not the one that
// is set up.
func TestLinkDownUnseen(t *testing.T) {
	b := host(20, 0, 10, func(s *detecttest.Stream, i int) {
		onEth0(s, model.Drop{
			Place: model.PlaceQdisc, Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Count: 500, Flags: model.FlagTransmit,
		})
		if i == 5 {
			s.Builder().AddReading(model.Reading{Time: s.End(), Name: "qdisc", Ifindex: 2, Instance: "eth0 noqueue root",
				Unit: "packets"})
		}
	})
	detecttest.Check(t, b, 0, detecttest.Want{
		Detector: "packet-drop", Severity: model.SeverityWarning,
		Contains: []string{"The link of eth0 is down: 10,000 packets lost in", "noqueue"}, Lacks: []string{"shaper"},
	})
}

// TestNextHop has a next hop that does not answer: what waits for it and what is given up is one fault, of sending.
func TestNextHop(t *testing.T) {
	b := host(12, 5, 5, func(s *detecttest.Stream, i int) {
		onEth0(s, model.Drop{
			Place: model.PlaceProtocol, Reason: "NEIGH_QUEUEFULL", Location: "__neigh_event_send", Count: 800,
		})
		if i%3 == 2 {
			onEth0(s, model.Drop{Place: model.PlaceProtocol, Reason: "NEIGH_FAILED", Location: "neigh_invalidate", Count: 100})
		}
	})
	detecttest.Check(t, b, 0, detecttest.Want{
		Detector: "packet-drop", Severity: model.SeverityWarning,
		Contains: []string{"A next hop on eth0 does not answer (NEIGH_FAILED): 10,000 packets lost in", "sent by eth0"},
		Lacks:    []string{"received"},
	})
}

// TestNoise wants what healthy hosts show to be a note, unless it hits a regular flow.
func TestNoise(t *testing.T) {
	flow := func(s *detecttest.Stream) {
		for n := range 10 {
			s.Builder().AddPacket(model.Packet{
				Time: s.Now().Add(time.Duration(n) * 100 * time.Millisecond), CPU: 0, PID: 812, TID: -1,
				Protocol: model.ProtocolUDP, LocalPort: 7000, RemotePort: 7000, Direction: model.DirectionRX,
				RemoteAddr: "10.0.0.2",
			})
		}
	}
	bridge := model.Drop{
		Place: model.PlaceDevice, Reason: "NO_TX_TARGET", Location: "br_dev_xmit", Count: 200, Flags: model.FlagTransmit,
	}
	port := model.Drop{
		Place: model.PlaceProtocol, Reason: "NO_SOCKET", Location: "__udp4_lib_rcv", Protocol: model.ProtocolUDP,
		LocalPort: 7000,
	}
	for _, tt := range []struct {
		name     string
		each     func(s *detecttest.Stream, i int)
		severity model.Severity
		// contains is in the only finding, empty when there is none.
		contains string
	}{
		{
			"a bridge without ports", func(s *detecttest.Stream, i int) { onEth0(s, bridge) }, model.SeverityInfo,
			"NO_TX_TARGET",
		},
		{"few packets for a closed port", func(s *detecttest.Stream, i int) {
			port.Count = 20
			onEth0(s, port)
		}, 0, ""},
		{"a burst for a closed port", func(s *detecttest.Stream, i int) {
			if port.Count = 500; i == 5 {
				onEth0(s, port)
			}
		}, model.SeverityInfo, "Nothing list"},
		{"a steady flow to a closed port", func(s *detecttest.Stream, i int) {
			port.Count = 100
			onEth0(s, port)
		}, model.SeverityWarning, "a regular flow, not background noise"},
		{"a flow that was seen before", func(s *detecttest.Stream, i int) {
			if i < 6 {
				flow(s)
			} else if port.Count = 20; i < 12 {
				onEth0(s, port)
			}
		}, model.SeverityWarning, "Nothing list"},
		{"forwarded packets without a route", func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{Place: model.PlaceProtocol, Reason: "IP_INNOROUTES", Location: "ip_error", Count: 100})
		}, model.SeverityWarning, "a regular flow, not background noise"},
		{"a routing loop", func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{Place: model.PlaceProtocol, Reason: "IP_INHDR", Location: "ip_forward", Count: 100})
		}, model.SeverityWarning, "The time to live of packets received on eth0 runs out (IP_INHDR)"},
		{"fragments are missing", func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{
				Place: model.PlaceProtocol, Reason: "FRAG_REASM_TIMEOUT", Location: "ip_expire", Count: 100,
			})
		}, model.SeverityWarning, "Fragmented packets received on eth0 are dropped because other fragments are missing"},
		{"fragments are missing, now and then", func(s *detecttest.Stream, i int) {
			if i%5 == 0 {
				onEth0(s, model.Drop{
					Place: model.PlaceProtocol, Reason: "FRAG_REASM_TIMEOUT", Location: "ip_expire", Count: 20,
				})
			}
		}, 0, ""},
		{"a scan", func(s *detecttest.Stream, i int) {
			for p := range uint16(50) {
				port := port
				port.Count, port.LocalPort = 10, 2000+p
				onEth0(s, port)
			}
		}, model.SeverityInfo, "many closed ports on eth0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := host(12, 1000, 1000, tt.each)
			if tt.contains == "" {
				detecttest.Check(t, b, 0)
				return
			}
			detecttest.Check(t, b, 0, detecttest.Want{
				Detector: "packet-drop", Severity: tt.severity, Contains: []string{tt.contains},
			})
		})
	}
}

// TestRests wants a note of what stays below the thresholds of the other detectors and lasts, and nothing of what they
// report.
func TestRests(t *testing.T) {
	for _, tt := range []struct {
		name     string
		each     func(s *detecttest.Stream, i int)
		contains string // of the note, empty none
	}{
		{"a ring", func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{Place: model.PlaceRing, Reason: "rx_missed_errors", Count: 10})
		}, "eth0 loses a small part of its packets in its ring"},
		{"a ring, now and then", func(s *detecttest.Stream, i int) {
			if i%3 == 0 {
				onEth0(s, model.Drop{Place: model.PlaceRing, Reason: "rx_missed_errors", Count: 10})
			}
		}, ""},
		{"a transmit ring", func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{Place: model.PlaceRing, Reason: "tx_dropped", Count: 10, Flags: model.FlagTransmit})
		}, "in its transmit ring"},
		{"a receive queue", func(s *detecttest.Stream, i int) {
			s.Drop(model.Drop{
				CPU: 0, PID: 812, TID: 812, Cookie: 7, Place: model.PlaceSocket, Reason: "SOCKET_RCVBUFF", Count: 2,
				Protocol: model.ProtocolUDP, LocalPort: 7000, Process: "hbd",
			})
		}, "udp/7000 hbd[812] loses a small part of its packets at its receive queue"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := host(50, 1_000_000, 1_000_000, tt.each)
			if tt.contains == "" {
				detecttest.Check(t, b, 0)
				return
			}
			detecttest.Check(t, b, 0, detecttest.Want{
				Detector: "packet-drop", Severity: model.SeverityInfo, Contains: []string{tt.contains},
			})
		})
	}
	t.Run("reported elsewhere", func(t *testing.T) {
		b := host(90, 1000, 1000, func(s *detecttest.Stream, i int) {
			onEth0(s, model.Drop{Place: model.PlaceRing, Reason: "rx_missed_errors", Count: 100})
			s.Drop(model.Drop{
				CPU: 0, PID: 812, TID: 812, Cookie: 7, Place: model.PlaceSocket, Reason: "SOCKET_RCVBUFF", Count: 30,
				Protocol: model.ProtocolUDP, LocalPort: 7000, Process: "hbd",
			})
		})
		for _, f := range detecttest.Latest(detecttest.Run(b, 0)) {
			if f.Detector == "packet-drop" {
				t.Errorf("found %s", f.Title)
			}
		}
	})
}

// TestUnknownOnWindows wants a sentence for a reason that is only a number.
func TestUnknownOnWindows(t *testing.T) {
	s := detecttest.NewWindows()
	s.Seconds(12, func(i int) {
		s.Drop(model.Drop{
			CPU: 0, Place: model.PlaceProtocol, Count: 300, Reason: "TCPIP network reason 77", Location: "tcpip.sys",
		})
	})
	detecttest.Check(t, s.Batch(), 0, detecttest.Want{
		Detector: "packet-drop", Severity: model.SeverityInfo, Lacks: []string{"kernel", "ethtool"},
		Contains: []string{"TCPIP network reason 77", "does not know what this number means", "Get-NetAdapterStatistics"},
	})
}

// TestAndMore wants lists that are cut to say so.
func TestAndMore(t *testing.T) {
	for _, tt := range []struct {
		ports    int
		contains []string
	}{
		{4, []string{"lost by udp/2003"}},
		{5, []string{"lost by 1 more port or process"}},
		{30, []string{"lost by 26 more ports and processes", "__dev_queue_xmit3 and 26 more"}},
		{60, []string{"lost by 56 more ports and processes", "__dev_queue_xmit0, __dev_queue_xmit1, __dev_queue_xmit2, " +
			"__dev_queue_xmit3 and more than 28 more"}},
		{100, []string{"lost by more than 60 others", "__dev_queue_xmit3 and more than 28 more"}},
	} {
		b := host(12, 1000, 1000, func(s *detecttest.Stream, i int) {
			if i != 5 {
				return
			}
			for p := range tt.ports {
				onEth0(s, model.Drop{
					Place: model.PlaceProtocol, Reason: "PKT_TOO_BIG", Count: 100, Protocol: model.ProtocolUDP,
					LocalPort: uint16(2000 + p), Location: "__dev_queue_xmit" + string(rune('0'+p%40)),
					Flags: model.FlagTransmit,
				})
			}
		})
		detecttest.Check(t, b, 0, detecttest.Want{
			Detector: "packet-drop", Severity: model.SeverityWarning, Contains: tt.contains,
		})
	}
}

// TestDriverStatistics: what a driver counts in front of the kernel is explained by its own table, and is none of the
// packets that the device has received.
func TestDriverStatistics(t *testing.T) {
	for _, tt := range []struct {
		driver, reason, meaning, advice string
		severity                        model.Severity
	}{
		{"ixgbe", "rx_crc_errors", "Frames with a wrong checksum (CRC)", "ethtool -m eth0", model.SeverityWarning},
		{"ena", "conntrack_allowance_exceeded", "more tracked connections than its type allows", "larger instance type",
			model.SeverityCritical},
		{"virtio_net", "rx0_drops", "the driver dropped because it got no memory", "vm.min_free_kbytes",
			model.SeverityCritical},
	} {
		t.Run(tt.driver, func(t *testing.T) {
			b := host(12, 750, 0, func(s *detecttest.Stream, i int) {
				if i == 0 {
					s.Builder().AddDeviceConfig(model.DeviceConfig{Time: s.Now(), Ifindex: 2, Device: "eth0", Driver: tt.driver})
				}
				if i >= 4 && i < 8 {
					onEth0(s, model.Drop{Place: model.PlaceDevice, Reason: tt.reason, Count: 250})
				}
			})
			detecttest.Check(t, b, 0, detecttest.Want{
				Detector: "packet-drop", Severity: tt.severity,
				Contains: []string{tt.reason, tt.meaning, tt.advice, `"value": 0.25` + ",\n   \"unit\": \"ratio\""},
				Lacks:    []string{"DEV"},
			})
		})
	}
}
