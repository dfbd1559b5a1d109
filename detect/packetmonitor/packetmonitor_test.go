package packetmonitor_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// drops is a stream of what a capture reports, one a second.
func drops(list ...model.CaptureDrop) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.NewWindows()
		for i, v := range list {
			v.Time, v.Dur = detecttest.Start.Add(time.Duration(i+1)*time.Second), time.Second
			if v.Reports == 0 {
				v.Reports = 2 * v.Count
			}
			s.Builder().AddPacket(model.Packet{Time: v.Time, CPU: 0, PID: -1, Protocol: model.ProtocolUDP})
			s.Builder().AddCaptureDrop(v)
		}
		return s.Batch()
	}
}

func query(n uint64) model.CaptureDrop {
	return model.CaptureDrop{
		Verdict: model.CaptureLost, Reason: "Address resolution timeout", Count: n, Protocol: model.ProtocolUDP,
		LocalPort: 50000, RemotePort: 53, RemoteAddr: "fe80::53", Flags: model.FlagTransmit, Ifindex: 20,
		Component: "TCP/IPv6 - L3/L4", Location: "TCPIP_NL_SEND_NEIGHBOR_QUEUE3",
	}
}

func unwanted(n uint64, local, remote uint16) model.CaptureDrop {
	return model.CaptureDrop{
		Verdict: model.CaptureUnwanted, Reason: "INET: transport endpoint was not found", Count: n,
		Protocol: model.ProtocolUDP, LocalPort: local, RemotePort: remote, RemoteAddr: "10.0.0.2", Ifindex: 7,
	}
}

func noise(n uint64) model.CaptureDrop {
	return model.CaptureDrop{
		Verdict: model.CaptureNoise, Reason: "INET: session state error", Count: n, Reports: 5 * n,
		Protocol: model.ProtocolUDP, LocalPort: 5353, RemotePort: 5353, RemoteAddr: "10.0.0.9", Ifindex: 7,
	}
}

// TestFindings: what is said of what a capture reports.
func TestFindings(t *testing.T) {
	ring := query(12)
	ring.Reason, ring.Flags, ring.LocalPort, ring.RemotePort = "Receive queue full", 0, 3343, 3343
	ring.RemoteAddr, ring.Component, ring.Location = "10.0.0.2", "Ethernet Adapter", ""
	other := ring
	other.LocalPort, other.RemoteAddr, other.Count = 445, "10.0.0.3", 11
	rule := ring
	rule.Verdict, rule.Reason, rule.Component = model.CaptureFiltered, "INET: receive inspection", "TCP/IPv4 - L3/L4"
	strange := ring
	strange.Verdict, strange.Reason = model.CaptureUnknown, "reason 4999"
	for _, c := range []struct {
		name   string
		stream func() *model.Batch
		want   []string // severity and title of each
	}{
		{"queries that are lost", drops(query(35), noise(100), query(24)), []string{
			"warning 59 DNS queries to fe80::53 were lost inside this host: Address resolution timeout (TCP/IPv6 - L3/L4 on " +
				"interface 20)",
			"info No fault: Packet Monitor reports 100 packets as dropped that nobody on this host wanted",
		}},
		{"several services at one ring", drops(ring, other), []string{
			"warning 23 packets were lost inside this host: Receive queue full (Ethernet Adapter on interface 20)",
		}},
		{"one packet", drops(query(1)), []string{
			"info 1 DNS query to fe80::53 was lost inside this host: Address resolution timeout (TCP/IPv6 - L3/L4 on " +
				"interface 20)",
		}},
		{"a rule", drops(rule), []string{
			"info A filter or policy dropped 12 cluster heartbeat (UDP 3343) packets from 10.0.0.2: INET: receive " +
				"inspection (TCP/IPv4 - L3/L4 on interface 20)",
		}},
		{"nobody listens", drops(unwanted(12, 5405, 40000)), []string{
			"info Nothing listened for 12 UDP 5405 packets from 10.0.0.2: INET: transport endpoint was not found " +
				"(on interface 7)",
		}},
		{"answers that came late", drops(unwanted(1, 50000, 53)), []string{
			"info No fault: Packet Monitor reports 1 packet as dropped that nobody on this host wanted",
		}},
		{"many answers that came late", drops(unwanted(50, 50000, 53)), []string{
			"info No fault: Packet Monitor reports 50 packets as dropped that nobody on this host wanted",
		}},
		{"a reason that nobody knows", drops(strange), []string{
			"info 12 cluster heartbeat (UDP 3343) packets from 10.0.0.2 were dropped for a reason unknown to lostbeat: " +
				"reason 4999 (Ethernet Adapter on interface 20)",
		}},
		{"nothing", drops(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range detecttest.Latest(detecttest.Run(c.stream(), 1<<20)) {
				said := f.Title
				if len(f.Causes) > 0 && strings.HasPrefix(f.Causes[0], said[:10]) {
					said = f.Causes[0] // the whole of a title that is longer than a line
				}
				got = append(got, f.Severity.String()+" "+said)
				if f.Detector != "packet-monitor" || f.Ongoing {
					t.Errorf("%+v", f)
				}
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
		})
	}
}

// TestHeartbeat: a filter that drops a heartbeat is a warning.
func TestHeartbeat(t *testing.T) {
	for _, followed := range []bool{false, true} {
		s := detecttest.NewWindows()
		s.Seconds(5, func(i int) {
			at := s.End()
			if followed {
				s.Builder().AddFlow(model.Flow{
					Time: at, PID: -1, Cookie: 1, Protocol: model.ProtocolUDP, LocalPort: 3343, State: model.FlowCaptured,
				})
				s.Builder().AddPacket(model.Packet{
					Time: at, CPU: 0, PID: -1, Cookie: 1, Protocol: model.ProtocolUDP, LocalPort: 3343, RemotePort: 3343,
					RemoteAddr: "10.0.0.2",
				})
			}
			s.Builder().AddCaptureDrop(model.CaptureDrop{
				Time: at, Dur: time.Second, Verdict: model.CaptureFiltered, Reason: "INET: receive inspection", Count: 4,
				Reports: 4, Protocol: model.ProtocolUDP, LocalPort: 3343, RemotePort: 3343, RemoteAddr: "10.0.0.2",
			})
		})
		want := model.SeverityInfo
		if followed {
			want = model.SeverityWarning
		}
		out := detecttest.Latest(detecttest.Run(s.Batch(), 1<<20))
		if len(out) != 1 || out[0].Severity != want || !strings.Contains(out[0].Title, "cluster heartbeat (UDP 3343)") {
			t.Errorf("followed %t: %+v", followed, out)
		}
	}
}

// TestAlone: no other detector speaks of the same packets.
func TestAlone(t *testing.T) {
	s := detecttest.NewWindows()
	s.Seconds(8, func(int) {
		at := s.End()
		for _, place := range []model.Place{model.PlaceRing, model.PlaceDevice, model.PlaceFilter, model.PlaceProtocol} {
			s.Builder().AddDrop(model.Drop{
				Time: at, Dur: time.Second, CPU: -1, PID: -1, TID: -1, Place: place, Count: 5000, Queue: -1, Ifindex: 7,
				Device: "Ethernet Adapter", Reason: "Receive queue full", Location: model.CaptureLocation,
			})
		}
	})
	if out := detecttest.Latest(detecttest.Run(s.Batch(), 1<<20)); len(out) > 0 {
		t.Errorf("%+v", out)
	}
}
