package heartbeatloss_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// stall is what TCP did to the flow of these streams, at a time and for as long before it.
func stall(s *detecttest.Stream, what model.Stall, at, dur time.Duration, ongoing bool) {
	s.Builder().AddFlowStall(model.FlowStall{
		Time: detecttest.Start.Add(at), Dur: dur, CPU: 1, NetnsInode: detecttest.BeatNetns, Cookie: 31, LocalPort: 5405,
		RemotePort: 5405, What: what, Ongoing: ongoing, Segments: 2, LocalAddr: "0.0.0.0", RemoteAddr: "10.0.0.2",
	})
}

// once adds something in the second in which the fault begins.
func once(add func(s *detecttest.Stream)) func(s *detecttest.Stream, i int) {
	return func(s *detecttest.Stream, i int) {
		if i == int(fault/time.Second) {
			add(s)
		}
	}
}

// early is a connection in which the segment that is due when the fault begins comes 800 ms later, and those behind it
// in time.
func early(s *detecttest.Stream) {
	const filled = fault + 800*ms
	b := s.Builder()
	for n := 121; n <= 128; n++ {
		at := time.Duration(n) * 100 * ms
		if n == 128 {
			at = filled
			stall(s, model.StallMissing, at, at-fault-100*ms, false)
		} else {
			stall(s, model.StallMissing, at, at-fault-100*ms, true)
		}
		p := model.Packet{
			Time: detecttest.Start.Add(at), Dur: 20 * time.Microsecond, CPU: 1, PID: 812, TID: -1,
			NetnsInode: detecttest.BeatNetns, Cookie: 31, Protocol: model.ProtocolTCP, LocalPort: 5405, RemotePort: 5405,
			Direction: model.DirectionRX, SizeBytes: 100, LocalAddr: "0.0.0.0", RemoteAddr: "10.0.0.2", Process: "corosync",
		}
		b.AddPacket(p)
		b.AddPacketRead(model.PacketRead{
			Time: detecttest.Start.Add(filled + 30*time.Microsecond), Dur: 30 * time.Microsecond, CPU: 1, PID: 812, TID: 812,
			NetnsInode: detecttest.BeatNetns, Cookie: 31, Protocol: model.ProtocolTCP, LocalPort: 5405, RemotePort: 5405,
			Host: p.Dur, SizeBytes: 100, Left: uint64(128 - n), LocalAddr: "0.0.0.0", RemoteAddr: "10.0.0.2",
			Process: "corosync",
		})
	}
}

// vethGone has two devices in the namespace of a flow, which has a name unless it is the host's own, one of which, a
// veth, is removed when the fault begins.
func vethGone(netns string) func(s *detecttest.Stream, i int) {
	return func(s *detecttest.Stream, i int) {
		b := s.Builder()
		if i == 0 {
			b.AddDeviceConfig(model.DeviceConfig{Time: detecttest.Start, NetnsInode: detecttest.BeatNetns, Ifindex: 7,
				Device: "veth7", Driver: "veth", Netns: netns})
		}
		for ifindex, name := range map[int64]string{3: "eth1", 7: "veth7"} {
			if name == "eth1" || detecttest.Start.Add(fault) > s.End() {
				b.AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, NetnsInode: detecttest.BeatNetns,
					Ifindex: ifindex, Device: name, RXPackets: 1000})
			}
		}
		once(func(s *detecttest.Stream) {
			b.AddDeviceEvent(model.DeviceEvent{Time: detecttest.Start.Add(fault + 300*ms), NetnsInode: detecttest.BeatNetns,
				Ifindex: 7, Device: "veth7", What: model.DeviceRemoved})
		})(s, i)
	}
}

// over is the device of a flow, and all those below it.
func over(name string, ifindex int64, below ...string) *model.FlowDevice {
	return &model.FlowDevice{Device: name, Ifindex: ifindex, Below: strings.Join(below, ","), Complete: true}
}

// What TCP and the devices of the host do to a flow, and the host's own pauses: one finding each.
func TestStalls(t *testing.T) {
	device := func(s *detecttest.Stream, what string, at time.Duration) {
		s.Builder().AddDeviceEvent(model.DeviceEvent{
			Time: detecttest.Start.Add(at), NetnsInode: detecttest.BeatNetns, Ifindex: 3, Device: "eth1", What: what,
		})
	}
	downFor2s := once(func(s *detecttest.Stream) {
		device(s, model.DeviceLinkDown, fault+600*ms)
		device(s, model.DeviceLinkUp, fault+2600*ms)
	})
	pause := func(what model.Pause, at, length, wrong time.Duration) func(s *detecttest.Stream) {
		return func(s *detecttest.Stream) {
			s.Builder().AddHostPause(model.HostPause{
				Time: detecttest.Start.Add(at), Dur: time.Second, What: what, Paused: length, Error: wrong,
				Clock: "real-time clock",
			})
		}
	}
	silence := missing(fault, fault+900*ms, false)
	for _, tt := range []struct {
		name     string
		beat     detecttest.Heartbeat
		each     func(s *detecttest.Stream, i int)
		severity model.Severity
		says     []string
	}{
		{
			name: "sent again while new ones go out", beat: detecttest.Heartbeat{Sends: true, TCP: true},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallResent, fault+220*ms, 210*ms, false)
				stall(s, model.StallResent, fault+640*ms, 630*ms, false)
			}),
			says: []string{
				"tcp/5405 of corosync[812] (knet to 10.0.0.2) was late: TCP lost a segment and retransmitted it 630 ms after it " +
					"was first sent",
				"TCP retransmitted 2 segments", "the program: its data had left it", "segments retransmitted",
			},
		},
		{
			name: "sent again, and nothing new meanwhile", beat: detecttest.Heartbeat{Sends: true, TCP: true, At: silence},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallResent, fault+220*ms, 220*ms, false)
				stall(s, model.StallResent, fault+840*ms, 840*ms, false)
			}),
			says: []string{"TCP lost a segment and retransmitted it 840 ms after it was first sent"},
		},
		{
			name: "sent again, as this host drops it", beat: detecttest.Heartbeat{Sends: true, TCP: true, At: silence},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallResent, fault+840*ms, 840*ms, false)
				d := drop(model.PlaceQdisc, 3, 5405, "QDISC_DROP", "tbf_enqueue", "")
				d.Protocol, d.Flags = model.ProtocolTCP, model.FlagTransmit
				s.Drop(d)
			}),
			says: []string{"did not leave this host for", "this host dropped 3 packets from its port at qdisc"},
		},
		{
			name: "sent again, as this host drops the answers", beat: detecttest.Heartbeat{Sends: true, TCP: true, At: silence},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallResent, fault+840*ms, 840*ms, false)
				d := drop(model.PlaceFilter, 3, 5405, "NETFILTER_DROP", "nf_hook_slow", "")
				d.Protocol = model.ProtocolTCP
				s.Drop(d)
			}),
			says: []string{
				"was late: this host dropped 3 packets for it at filter (NETFILTER_DROP in nf_hook_slow), including " +
					"acknowledgements", "the peer or the network: its packets reached this host",
			},
		},
		{
			name: "the peer's window is closed", beat: detecttest.Heartbeat{Sends: true, TCP: true, At: silence},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallWindow, fault+20*ms, 1, true)
				stall(s, model.StallWindow, fault+890*ms, 870*ms, false)
			}),
			says: []string{
				"was sent 800 ms late: its peer's receive window was closed for 870 ms",
				"The program on 10.0.0.2 did not read what it was sent", "the network: the peer's host answered",
			},
		},
		{
			name: "the peer's window is closed for good",
			beat: detecttest.Heartbeat{Sends: true, TCP: true, At: missing(fault, time.Hour, false)},
			each: once(func(s *detecttest.Stream) { stall(s, model.StallWindow, fault+20*ms, 1, true) }),
			says: []string{"its peer's receive window", "closed for"},
		},
		{
			name: "the window was closed for a moment only, and the program stopped",
			beat: detecttest.Heartbeat{Sends: true, TCP: true, At: silence, Held: held(model.SchedStopped, 890*ms)},
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallWindow, fault+20*ms, 1, true)
				stall(s, model.StallWindow, fault+200*ms, 180*ms, false)
			}),
			says: []string{"was sent 800 ms late: the program was stopped for 890 ms"},
		},
		{
			name: "a segment is missing",
			beat: detecttest.Heartbeat{TCP: true, At: missing(fault, fault+900*ms, false)}, each: once(early),
			says: []string{
				"tcp/5405 of corosync[812] (knet from 10.0.0.2) was read 700 ms late: TCP lost a segment on the way; it arrived " +
					"700 ms after it was due",
				"waiting for a missing segment (100 %)", "the peer: it continued to send",
			},
		},
		{
			name: "a segment is missing, which a router on this host may have dropped",
			beat: detecttest.Heartbeat{TCP: true, At: missing(fault, fault+900*ms, false)},
			each: once(func(s *detecttest.Stream) {
				early(s)
				s.Drop(routed(1))
			}),
			says: []string{
				"TCP lost a segment on the way", "Perhaps lost in this host: 1 packet was dropped at protocol of veth0 " +
					"(IP_INNOROUTES in ip_error) in network namespace 7",
			},
		},
		{
			name: "a segment is missing, which this host has dropped",
			beat: detecttest.Heartbeat{TCP: true, At: missing(fault, fault+900*ms, false)},
			each: once(func(s *detecttest.Stream) {
				early(s)
				d := drop(model.PlaceFilter, 1, 5405, "NETFILTER_DROP", "nft_do_chain", "")
				d.Protocol = model.ProtocolTCP
				s.Drop(d)
			}),
			says: []string{"this host dropped 1 packet for it at filter"},
		},
		{
			name: "dropped by this host, which TCP sends again ever later",
			beat: detecttest.Heartbeat{TCP: true, At: missing(fault, fault+1500*ms, true)},
			each: once(func(s *detecttest.Stream) {
				d := drop(model.PlaceFilter, 4, 5405, "NETFILTER_DROP", "nft_do_chain", "")
				d.Protocol = model.ProtocolTCP
				s.Drop(d)
			}),
			says: []string{"this host dropped 4 packets for it at filter"},
		},
		{
			name: "what TCP drops since it has it already is no loss",
			beat: detecttest.Heartbeat{TCP: true, At: missing(fault, fault+1500*ms, true)},
			each: once(func(s *detecttest.Stream) {
				d := drop(model.PlaceProtocol, 20, 5405, "TCP_OLD_DATA", "tcp_data_queue", "")
				d.Protocol = model.ProtocolTCP
				s.Drop(d)
			}),
			says: []string{"no packet reached this host, peer or network fault"},
		},
		{
			name: "dropped on its way out", beat: detecttest.Heartbeat{Sends: true, At: silence},
			each: once(func(s *detecttest.Stream) {
				d := drop(model.PlaceFilter, 8, 5405, "NETFILTER_DROP", "nft_do_chain", "")
				d.Flags = model.FlagTransmit
				s.Drop(d)
			}),
			says: []string{
				"udp/5405 of corosync[812] (knet to 10.0.0.2) did not leave this host for 900 ms: this host dropped 8 packets " +
					"from its port at filter (NETFILTER_DROP in nft_do_chain)", "the program: it sent them",
			},
		},
		{
			name: "held in a queueing discipline", beat: detecttest.Heartbeat{Sends: true, Timeout: time.Second},
			each: once(func(s *detecttest.Stream) { queuedOut(s, fault, fault+800*ms, fault+800*ms) }),
			says: []string{
				"udp/5405 of corosync[812] (knet to 10.0.0.2) was sent 800 ms late: held in the queueing " +
					"discipline (tbf) of eth1 (90 % of the timeout)",
				"in the queueing discipline (100 %)", "behind 6 other packets",
				"the program: its packet reached the IP layer when it was due",
			},
		},
		{
			name: "held in a queueing discipline for good", beat: detecttest.Heartbeat{Sends: true},
			each: once(func(s *detecttest.Stream) { queuedOut(s, fault, 40*time.Second, 0) }),
			says: []string{"this host for ", "held in the queueing discipline (tbf) of eth1"},
		},
		{
			name: "dropped in a queueing discipline", beat: detecttest.Heartbeat{Sends: true},
			each: once(func(s *detecttest.Stream) {
				queuedOut(s, fault, fault+800*ms, fault+800*ms)
				d := drop(model.PlaceQdisc, 7, 5405, "QDISC_DROP", "tbf_enqueue", "")
				d.Flags = model.FlagTransmit
				s.Drop(d)
			}),
			says: []string{"did not leave this host for", "this host dropped 7 packets from its port at qdisc"},
		},
		{
			name: "its device was removed", beat: detecttest.Heartbeat{At: missing(fault, time.Hour, false)},
			each: once(func(s *detecttest.Stream) { device(s, model.DeviceRemoved, fault+700*ms) }),
			says: []string{"received nothing for", "eth1 of this host was removed"},
		},
		{
			name: "its link went down and came back", beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false)},
			each: once(func(s *detecttest.Stream) {
				device(s, model.DeviceLinkDown, fault+600*ms)
				device(s, model.DeviceLinkUp, fault+2600*ms)
			}),
			says: []string{"received nothing for 2 s: eth1 of this host went down", "and was up again after 2 s"},
		},
		{
			name: "the link over which it comes went down",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false), Over: over("eth1", 3)},
			each: downFor2s,
			says: []string{"received nothing for 2 s: eth1 of this host went down", "came over it", "(journalctl -k, ip link)"},
		},
		{
			name: "a link went down over which it does not come",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false), Over: over("docker0", 5, "veth7")},
			each: downFor2s,
			says: []string{"peer or network fault"},
		},
		{
			name: "a port of the bridge over which it comes went down",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false), Over: over("br0", 5, "eth0", "eth1")},
			each: downFor2s,
			says: []string{
				"received nothing for 2 s: eth1 of this host went down", "came over br0, which is above it",
				"unless the flow used another device below br0",
			},
		},
		{
			name: "a link went down and it comes over a tunnel",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false), Over: &model.FlowDevice{
				Ifindex: 9, Device: "wg0",
			}},
			each: downFor2s,
			says: []string{"eth1 of this host went down", "unless the flow used another device"},
		},
		{
			name: "a link went down over which it is not sent",
			beat: detecttest.Heartbeat{Sends: true, At: missing(fault, fault+2*time.Second, false), Over: over("eth0", 2)},
			each: downFor2s,
			says: []string{"was sent 1.9 s late: the cause in its sender is unknown"},
		},
		{
			name: "a container was removed meanwhile",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false)},
			each: vethGone(""),
			says: []string{"peer or network fault"},
		},
		{
			name: "the veth over which it comes was removed",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false), Over: over("veth7", 7)},
			each: vethGone(""),
			says: []string{"received nothing for 2 s: veth7 of this host was removed", "came over it"},
		},
		{
			name: "the veth of a container of several devices was removed",
			beat: detecttest.Heartbeat{At: missing(fault, fault+2*time.Second, false)},
			each: vethGone("web"),
			says: []string{"received nothing for 2 s: veth7 of this host was removed"},
		},
		{
			name: "another link went down long after it began", beat: detecttest.Heartbeat{At: missing(fault, time.Hour, false)},
			each: func(s *detecttest.Stream, i int) {
				if i == 30 {
					device(s, model.DeviceLinkDown, 30*time.Second)
				}
			},
			says: []string{"peer or network fault"},
		},
		{
			name: "the link of a sender went down and came back",
			beat: detecttest.Heartbeat{Sends: true, At: missing(fault, fault+2*time.Second, false)},
			each: once(func(s *detecttest.Stream) {
				device(s, model.DeviceLinkDown, fault+600*ms)
				device(s, model.DeviceLinkUp, fault+2600*ms)
			}),
			says: []string{"was not sent for 2 s: eth1 of this host went down", "no packet from"},
		},
		{
			name: "the link of a sender that is stopped went down", beat: detecttest.Heartbeat{Sends: true, At: silence,
				Held: held(model.SchedStopped, 890*ms)},
			each: once(func(s *detecttest.Stream) { device(s, model.DeviceLinkDown, fault+50*ms) }),
			says: []string{"was sent 800 ms late: the program was stopped for 890 ms"},
		},
		{
			name: "another link went down in the middle of it",
			beat: detecttest.Heartbeat{At: missing(fault, fault+4*time.Second, false)},
			each: once(func(s *detecttest.Stream) {
				device(s, model.DeviceLinkDown, fault+2*time.Second)
				device(s, model.DeviceLinkUp, fault+3*time.Second)
			}),
			says: []string{"peer or network fault"},
		},
		{
			name: "sender busy itself",
			beat: detecttest.Heartbeat{Sends: true, At: silence, Held: held(model.SchedRunning, 890*ms)},
			says: []string{"was sent 800 ms late: its sender was busy with other work for 890 ms"},
		},
		{
			name: "sender that is always busy",
			beat: detecttest.Heartbeat{Sends: true, At: silence, Held: []detecttest.Held{
				{From: 0, To: 40 * time.Second, State: model.SchedRunning, Slice: 10 * ms},
			}},
			says: []string{"was sent 800 ms late: the cause in its sender is unknown"},
		},
		{
			name: "sender stopped", beat: detecttest.Heartbeat{Sends: true, At: silence, Held: held(model.SchedStopped, 890*ms)},
			says: []string{"was sent 800 ms late: the program was stopped for 890 ms"},
		},
		{
			name: "sender throttled", beat: detecttest.Heartbeat{Sends: true, At: silence,
				Held: held(model.SchedThrottled, 890*ms, func(h *detecttest.Held) { h.Slice = 90 * ms })},
			says: []string{"was sent 800 ms late: the program was throttled for 800 ms"},
		},
		{
			name: "The hypervisor took the CPU", beat: detecttest.Heartbeat{Held: held(model.SchedRunning, 900*ms)},
			each: once(func(s *detecttest.Stream) { s.CPU(1, detecttest.Load{Steal: 0.8}) }),
			says: []string{"its reader had no CPU: the hypervisor took it for 800 ms"},
		},
		{
			name: "The hypervisor took a little", beat: detecttest.Heartbeat{Held: held(model.SchedRunning, 900*ms)},
			each: once(func(s *detecttest.Stream) { s.CPU(1, detecttest.Load{Steal: 0.3}) }),
			says: []string{"its reader was busy with other work"},
		},
		{
			name: "the virtual machine was stopped", beat: detecttest.Heartbeat{Timeout: time.Second},
			severity: model.SeverityCritical,
			each:     once(pause(model.PauseStopped, fault+500*ms, 4*time.Second, time.Second)),
			says: []string{
				"This host was paused for about 4 s: its virtual machine was stopped; its peers received nothing from 1 " +
					"followed flow", flow[:len(flow)-1],
			},
		},
		{
			name: "the virtual machine was stopped for less than the timeout",
			beat: detecttest.Heartbeat{Timeout: 10 * time.Second},
			each: once(pause(model.PauseStopped, fault+500*ms, 4*time.Second, time.Second)),
			says: []string{"This host was paused for about 4 s"},
		},
		{
			name: "a firewall and a stopped reader at once",
			beat: detecttest.Heartbeat{
				Dropped: during(fault, fault+2*time.Second), Held: held(model.SchedStopped, 1500*ms, later),
			},
			each: once(func(s *detecttest.Stream) {
				s.Drop(drop(model.PlaceFilter, 20, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
			}),
			says: []string{"this host dropped 20 packets for it at filter"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := detecttest.Flowing(40, tt.each, tt.beat)
			f, _ := only(t, b)
			if want := cmp.Or(tt.severity, model.SeverityWarning); f.Severity != want {
				t.Errorf("severity %v, want %v", f.Severity, want)
			}
			says(t, f, tt.says)
		})
	}
}

// What the host or TCP does in a healthy way is not said.
func TestHealthyStalls(t *testing.T) {
	for _, tt := range []struct {
		name string
		beat detecttest.Heartbeat
		each func(s *detecttest.Stream, i int)
	}{
		{"sent again at once", detecttest.Heartbeat{Sends: true, TCP: true}, once(func(s *detecttest.Stream) {
			stall(s, model.StallResent, fault+150*ms, 150*ms, false)
		})},
		{"window closed for a moment", detecttest.Heartbeat{Sends: true, TCP: true}, once(func(s *detecttest.Stream) {
			stall(s, model.StallWindow, fault+10*ms, 1, true)
			stall(s, model.StallWindow, fault+60*ms, 50*ms, false)
		})},
		{"a sender that has ended, and a link that goes down later", detecttest.Heartbeat{
			Sends: true, At: missing(fault, time.Hour, false),
		}, func(s *detecttest.Stream, i int) {
			if i == 30 {
				s.Builder().AddDeviceEvent(model.DeviceEvent{Time: s.End(), NetnsInode: detecttest.BeatNetns, Ifindex: 3,
					Device: "eth1", What: model.DeviceLinkDown})
			}
		}},
		{"a sender that sleeps for longer, as it means to", detecttest.Heartbeat{
			Sends: true, At: missing(fault, fault+900*ms, false), Held: []detecttest.Held{
				{From: 0, To: fault, State: model.SchedSleeping, Slice: 100 * ms},
				{From: fault, To: fault + 890*ms, State: model.SchedSleeping},
				{From: fault + 890*ms, To: 40 * time.Second, State: model.SchedSleeping, Slice: 100 * ms},
			},
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if out := ours(detecttest.Run(detecttest.Flowing(40, tt.each, tt.beat), 0)); len(out) > 0 {
				t.Errorf("false alarm:\n%s", detecttest.Dump(out))
			}
		})
	}
}

// A pause of a host on which nothing is followed is a note.
func TestPauseAlone(t *testing.T) {
	b := detecttest.Flowing(30, once(func(s *detecttest.Stream) {
		s.Builder().AddHostPause(model.HostPause{
			Time: s.End(), Dur: 5 * time.Second, What: model.PauseStopped, Paused: 4 * time.Second, Clock: "real-time clock",
		})
	}))
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	if len(list) != 1 || list[0].Severity != model.SeverityInfo {
		t.Errorf("%+v", list)
	}
}

// While a host sleeps its flows are silent: that is said, and taken back when it is known.
func TestSuspended(t *testing.T) {
	b := detecttest.Flowing(40, func(s *detecttest.Stream, i int) {
		if i == 21 {
			s.Builder().AddHostPause(model.HostPause{
				Time: detecttest.Start.Add(fault + 9*time.Second), Dur: time.Second, What: model.PauseSuspended,
				Paused: 8900 * ms, Clock: "CLOCK_BOOTTIME",
			})
		}
	}, detecttest.Heartbeat{At: missing(fault, fault+9*time.Second, false)})
	severe := 0
	for _, f := range detecttest.Latest(ours(detecttest.Run(b, 0))) {
		if f.Severity > model.SeverityInfo {
			severe++
			if !strings.Contains(f.Title, "This host was paused for 8.9 s: it was suspended; its peers received nothing") {
				t.Errorf("got %s", text(f))
			}
		} else if !strings.Contains(text(f), "This host was suspended for 8.9 s of that time") {
			t.Errorf("got %s", text(f))
		}
	}
	if severe != 1 {
		t.Errorf("%d findings", severe)
	}
}

// TestAgainAndAgain wants one finding of a reader that loses its CPU every second, across the ends of seconds: what
// keeps it is known a second after its packets have become late.
func TestAgainAndAgain(t *testing.T) {
	var list []detecttest.Held
	for from := fault + 610*ms; from < fault+6*time.Second; from += time.Second {
		list = append(list, detecttest.Held{
			From: from, To: from + 855*ms, State: model.SchedWaiting, Rival: detecttest.Hog(),
		})
	}
	b := detecttest.Flowing(30, nil, detecttest.Heartbeat{Held: list})
	detecttest.Check(t, b, 0, detecttest.Want{
		Detector: "heartbeat-loss", Severity: model.SeverityWarning, Closed: true,
		Contains: []string{"no CPU behind rt-batch[900]", "(the longest of 6 delays)", "s watched: "},
	})
}
