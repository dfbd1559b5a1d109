package pktmon

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/frame"
	"lostbeat/internal/frame/frametest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"
)

const ms = int64(time.Millisecond)

// everything follows every flow.
func everything(model.Protocol, netip.AddrPort, netip.AddrPort) (source.Follow, bool) {
	return source.Follow{KnownAs: "test", Timeout: time.Second}, true
}

// replay returns the events of a capture.
func replay(t *testing.T, data []byte) (packets []model.Packet, drops []model.Drop, reported []model.CaptureDrop) {
	t.Helper()
	f, err := etl.New(bytes.NewReader(data), int64(len(data)), etl.Options{
		Options: etw.Options{SkipRaw: true, Follow: everything}, Probes: func() []etw.Probe { return []etw.Probe{NewETW()} },
	})
	if err != nil {
		t.Fatal(err)
	}
	var batches []*model.Batch
	if err := f.Run(t.Context(), func(b *model.Batch) error {
		batches = append(batches, b)
		for i := range b.Events {
			if v, ok := b.Packet(&b.Events[i]); ok {
				packets = append(packets, v)
			}
			if v, ok := b.Drop(&b.Events[i]); ok {
				drops = append(drops, v)
			}
			if v, ok := b.CaptureDrop(&b.Events[i]); ok {
				reported = append(reported, v)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	return packets, drops, reported
}

func udp(from, to string, id uint16, text string) *frametest.Packet {
	p := frametest.UDP(from, to, id, []byte(text))
	return &p
}

// described ends a capture with the descriptions of an adapter (1), a filter (2) and tcpip.sys (3).
func described(w *etltest.Writer, at int64) []byte {
	w.MonitorSchemas(at)
	w.MonitorComponent(at, 1, etltest.MonitorMiniport, "Ethernet Adapter", 7)
	w.MonitorComponent(at, 2, etltest.MonitorFilter, "Native Filter", 7)
	w.MonitorComponent(at, 3, etltest.MonitorTCPIP, "TCP/IPv4 - L3/L4", 7)
	w.MonitorCounters(at, 3, 99)
	return w.Bytes()
}

// TestOneEdge counts a packet at the lower edge of its adapter, at whichever of its components it is reported.
func TestOneEdge(t *testing.T) {
	w := etltest.New(etltest.Options{})
	for i := range int64(5) {
		data := udp("10.0.0.2:5405", "10.0.0.1:5405", uint16(i), "beat").Ethernet(2, 1, 100)
		for n, at := range []struct{ component, edge uint16 }{{1, 1}, {2, 1}, {2, 2}, {3, 1}} {
			w.MonitorPacket(100*i*ms+int64(n)*1000, etltest.MonitorReport{
				Group: uint64(10*i) + uint64(n), Direction: etltest.MonitorRx, Kind: etltest.MonitorEthernet,
				Component: at.component, Edge: at.edge, Payload: data,
			})
		}
		// A frame of another protocol than IP is a packet, too.
		w.MonitorPacket(100*i*ms+50*ms, etltest.MonitorReport{
			Direction: etltest.MonitorTx, Kind: etltest.MonitorEthernet, Component: 1, Edge: 1,
			Payload: append(append(frametest.MAC(1), frametest.MAC(2)...), 8, 6, 0, 1),
		})
	}
	packets, drops, _ := replay(t, described(w, 1000*ms))
	if len(packets) != 10 || len(drops) != 0 {
		t.Fatalf("%d packets, %d drops", len(packets), len(drops))
	}
	want := model.Packet{
		Time: packets[2].Time, CPU: 0, PID: -1, TID: -1, Cookie: packets[0].Cookie, Protocol: model.ProtocolUDP,
		LocalPort: 5405, RemotePort: 5405, Direction: model.DirectionRX, SizeBytes: 4, Mark: packets[2].Mark,
		LocalAddr: "10.0.0.1", RemoteAddr: "10.0.0.2",
	}
	if packets[2] != want || want.Mark>>32 != 1 || want.Cookie == 0 {
		t.Errorf("%+v", packets[2])
	}
	if p := packets[1]; p.Protocol != model.ProtocolUnknown || p.Direction != model.DirectionTX || p.Cookie != 0 {
		t.Errorf("%+v", p)
	}
}

// TestOldNumbers: Windows before 11 24H2 numbers the appearances of a packet.
func TestOldNumbers(t *testing.T) {
	w := etltest.New(etltest.Options{})
	for i := range int64(3) {
		data := udp("10.0.0.2:5405", "10.0.0.1:5405", uint16(i), "beat").WiFi(false)
		for n := range int64(4) {
			w.MonitorPacket(10*i*ms+n*1000, etltest.MonitorReport{
				Group: uint64(i), Appearance: uint16(n + 1), Direction: etltest.MonitorTx, Kind: etltest.MonitorWiFi,
				Component: uint16(3 - n%3), Edge: 1, Payload: data,
			})
		}
	}
	if packets, _, _ := replay(t, described(w, 1000*ms)); len(packets) != 3 || packets[0].LocalAddr != "10.0.0.2" {
		t.Errorf("%+v", packets)
	}
}

// TestCutOff: a capture that was cut off has no components.
func TestCutOff(t *testing.T) {
	w := etltest.New(etltest.Options{})
	for i := range int64(3) {
		p := udp("10.0.0.2:5405", "10.0.0.1:5405", 1, "the same each time")
		for n := range int64(4) {
			r := etltest.MonitorReport{
				Direction: etltest.MonitorRx, Kind: etltest.MonitorIP, Component: uint16(n), Edge: 1, Payload: p.IP(),
			}
			if n == 0 {
				r.Kind, r.Payload = etltest.MonitorEthernet, p.Ethernet(1, 2, 0)
			}
			w.MonitorPacket(100*i*ms+n*1000, r)
			r.Dropped, r.Reason = true, etltest.MonitorQueueFull
			w.MonitorPacket(100*i*ms+n*1000+500, r)
		}
	}
	packets, drops, reported := replay(t, w.Bytes())
	if len(packets) != 3 {
		t.Errorf("%d packets", len(packets))
	}
	var lost, reports uint64
	for i, v := range drops {
		lost, reports = lost+v.Count, reports+reported[i].Reports
	}
	if lost != 3 || reports != 12 || drops[0].Reason != "Receive queue full" ||
		drops[0].Place != model.PlaceRing {
		t.Errorf("%+v of %+v", drops, reported)
	}
}

// TestDrops: each report, its packets and what they are.
func TestDrops(t *testing.T) {
	const deliver, inspect, raw, neighbour = 0xE0004602, 0xE0004600, 0xE0004704, 0xE000413A
	multicast := udp("10.0.0.9:5353", "224.0.0.251:5353", 1, "a question")
	unicast := udp("10.0.0.9:4000", "10.0.0.1:5405", 1, "a heartbeat")
	query := udp("10.0.0.1:50000", "10.0.0.53:53", 1, "a question")
	rst := frametest.Segment("10.0.0.9:443", "10.0.0.1:50000", 1, frame.RST, nil)
	syn := frametest.Segment("10.0.0.9:50000", "10.0.0.1:81", 1, frame.SYN, nil)
	cut := udp("10.0.0.9:4000", "10.0.0.1:5405", 1, strings.Repeat("long ", 100))
	for _, c := range []struct {
		name string
		// reasons are those of the reports about each packet, places where they are from.
		reasons   []uint32
		places    []uint32
		component uint16
		way       uint16
		packet    *frametest.Packet
		cut       int
		verdict   model.CaptureVerdict
		reason    string
		place     model.Place
		device    string
	}{
		{
			"a group that no socket wants", []uint32{1204, 909, 1207, 1206, 1206}, []uint32{raw, 0, inspect, deliver, deliver},
			3, etltest.MonitorRx, multicast, 0, model.CaptureNoise, "INET: receive inspection", 0, "",
		},
		{
			"a rule", []uint32{1204, 1207}, []uint32{raw, inspect}, 3, etltest.MonitorRx, unicast, 0, model.CaptureFiltered,
			"INET: receive inspection", model.PlaceFilter, "",
		},
		{
			"nobody listens", []uint32{1204}, []uint32{0xE000460A}, 3, etltest.MonitorRx, unicast, 0, model.CaptureUnwanted,
			"INET: transport endpoint was not found", model.PlaceProtocol, "",
		},
		{
			"no raw socket", []uint32{1204}, []uint32{raw}, 3, etltest.MonitorRx, unicast, 0, model.CaptureNoise,
			"INET: transport endpoint was not found", 0, "",
		},
		{
			"a closed port", []uint32{1204}, []uint32{0xE0004500}, 3, etltest.MonitorRx, &syn, 0, model.CaptureUnwanted,
			"INET: transport endpoint was not found", model.PlaceProtocol, "",
		},
		{
			"a segment too late", []uint32{1204}, []uint32{0xE0004500}, 3, etltest.MonitorRx, &rst, 0, model.CaptureNoise,
			"INET: transport endpoint was not found", 0, "",
		},
		{
			"a neighbour that does not answer", []uint32{923, 922}, []uint32{neighbour, neighbour}, 3, etltest.MonitorTx, query,
			0, model.CaptureLost, "Address resolution timeout", model.PlaceProtocol, "",
		},
		{
			"a ring", []uint32{217}, []uint32{0}, 1, etltest.MonitorRx, unicast, 0, model.CaptureLost, "Receive queue full",
			model.PlaceRing, "Ethernet Adapter",
		},
		{
			"a ring, of a group", []uint32{1206, 217}, []uint32{deliver, 0}, 1, etltest.MonitorRx, multicast, 0,
			model.CaptureLost, "Receive queue full", model.PlaceRing, "Ethernet Adapter",
		},
		{
			"a number of 2018 that the capture names", []uint32{103}, []uint32{0}, 1, etltest.MonitorRx, unicast, 0,
			model.CaptureNoise, "Unsupported EtherType", 0, "",
		},
		{
			"a number of 2018 without a name", []uint32{102}, []uint32{0}, 1, etltest.MonitorRx, unicast, 0,
			model.CaptureLost, "Adapter reset in progress", model.PlaceDevice, "Ethernet Adapter",
		},
		{
			"a number that nobody knows", []uint32{etltest.MonitorUnknown}, []uint32{7}, 2, etltest.MonitorRx, unicast, 0,
			model.CaptureUnknown, "reason 4999", 0, "",
		},
		{
			"cut after 128 bytes", []uint32{217, 217}, []uint32{0, 0}, 1, etltest.MonitorRx, cut, 128, model.CaptureLost,
			"Receive queue full", model.PlaceRing, "Ethernet Adapter",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := etltest.New(etltest.Options{})
			for i := range int64(4) {
				for n, reason := range c.reasons {
					r := etltest.MonitorReport{
						Direction: c.way, Kind: etltest.MonitorIP, Component: c.component, Reason: reason, Location: c.places[n],
						Payload: c.packet.IP(), Dropped: true,
					}
					if n%2 == 0 { // the same packet with the header of its link
						r.Kind, r.Payload = etltest.MonitorEthernet, c.packet.Ethernet(9, 1, 0)
					}
					r.Original = len(r.Payload)
					if c.cut > 0 {
						r.Payload = r.Payload[:c.cut]
					}
					w.MonitorPacket(20*i*ms+int64(n)*20_000, r)
				}
			}
			_, drops, reported := replay(t, described(w, 1000*ms))
			if len(reported) != 1 {
				t.Fatalf("%+v", reported)
			}
			v := reported[0]
			if v.Count != 4 || v.Reports != uint64(4*len(c.reasons)) || v.Verdict != c.verdict || v.Reason != c.reason ||
				v.Ifindex != 7 || (v.Flags&model.FlagTransmit != 0) != (c.way == etltest.MonitorTx) {
				t.Errorf("%+v", v)
			}
			if c.verdict < model.CaptureUnwanted {
				if len(drops) > 0 {
					t.Errorf("drops %+v", drops)
				}
				return
			}
			if len(drops) != 1 || drops[0].Count != 4 || drops[0].Place != c.place || drops[0].Device != c.device ||
				!strings.HasPrefix(drops[0].Location, model.CaptureLocation) {
				t.Errorf("drops %+v", drops)
			}
		})
	}
}

// TestSameAgain: the same bytes after more than 5 ms are another packet.
func TestSameAgain(t *testing.T) {
	p := udp("10.0.0.9:1985", "224.0.0.102:1985", 1, "hello")
	for gap, want := range map[int64]uint64{5 * ms: 1, 5*ms + 1000: 2} {
		w := etltest.New(etltest.Options{})
		for i := range int64(2) {
			w.MonitorPacket(gap*i, etltest.MonitorReport{
				Direction: etltest.MonitorRx, Kind: etltest.MonitorIP, Component: 3, Reason: etltest.MonitorNotLocal,
				Payload: p.IP(), Dropped: true,
			})
		}
		if _, _, reported := replay(t, described(w, 1000*ms)); len(reported) != 1 || reported[0].Count != want {
			t.Errorf("%v apart: %+v", time.Duration(gap), reported)
		}
	}
}

// TestNotes: what a capture says of itself.
func TestNotes(t *testing.T) {
	packet := etltest.MonitorReport{
		Direction: etltest.MonitorRx, Kind: etltest.MonitorIP, Component: 1, Edge: 1, Original: 1000,
		Payload: udp("10.0.0.2:5405", "10.0.0.1:5405", 1, strings.Repeat("b", 80)).IP(),
	}
	for _, c := range []struct {
		name  string
		write func(w *etltest.Writer) []byte
		want  string
	}{
		{"no drop", func(w *etltest.Writer) []byte {
			w.MonitorPacket(0, packet)
			w.MonitorComponent(1, 1, etltest.MonitorMiniport, "Adapter", 7)
			w.MonitorCounters(1, 1, 0)
			return w.Bytes()
		}, "no drop was reported by Packet Monitor"},
		{"not recorded", func(w *etltest.Writer) []byte {
			w.MonitorPacket(0, packet)
			return w.Bytes()
		}, "drops were not recorded"},
		{"counters only", func(w *etltest.Writer) []byte {
			w.MonitorComponent(1, 1, etltest.MonitorMiniport, "Adapter", 7)
			w.MonitorCounters(1, 1, 41)
			return w.Bytes()
		}, "counted 41 drops and recorded none of them"},
		{"empty", func(w *etltest.Writer) []byte {
			w.MonitorComponent(1, 1, etltest.MonitorMiniport, "Adapter", 7)
			return w.Bytes()
		}, "holds no packets of Packet Monitor, and describes 1 components"},
		{"a filter", func(w *etltest.Writer) []byte {
			w.MonitorSchemas(0)
			w.MonitorFilterFor(0, 5405)
			w.MonitorPacket(1, packet)
			return w.Bytes()
		}, "only packets that match one of them were recorded: FilterId 1, Name beats, Port 5405"},
		{"cut packets", func(w *etltest.Writer) []byte {
			w.MonitorPacket(0, packet)
			return w.Bytes()
		}, "cut after 108 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.write(etltest.New(etltest.Options{}))
			f, err := etl.New(bytes.NewReader(data), int64(len(data)),
				etl.Options{Probes: func() []etw.Probe { return []etw.Probe{NewETW()} }})
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			if err := f.Run(t.Context(), func(b *model.Batch) error {
				for i := range b.Events {
					if v, ok := b.Meta(&b.Events[i]); ok && strings.HasPrefix(v.Key, model.MetaNote) {
						said = append(said, v.Value)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, c.want) {
				t.Errorf("said %q", text)
			}
		})
	}
}

// TestNDIS counts NDIS packet capture at one layer of each adapter, and joins the parts of packets.
func TestNDIS(t *testing.T) {
	const whole, got, sent = 0x40000000 | 0x80000000, 0x200000000, 0x100000000
	w := etltest.New(etltest.Options{})
	for i := range int64(3) {
		data := udp("10.0.0.2:5405", "10.0.0.1:5405", uint16(i), "beat").Ethernet(2, 1, 0)
		for n, lower := range []uint32{12, 7, 13} { // two filters above the adapter
			w.NDISPacket(100*i*ms+int64(n)*1000, 7, lower, whole|got, len(data), data)
		}
		// A packet in two parts, of an adapter that is captured above a filter only.
		data = udp("10.0.1.1:5405", "10.0.1.2:5405", uint16(i), "in two parts").Ethernet(2, 1, 0)
		w.NDISPacket(100*i*ms+50*ms, 8, 14, 0x40000000|sent, 20, data[:20])
		w.NDISPacket(100*i*ms+50*ms+1000, 8, 14, 0x80000000|sent, len(data)-20, data[20:])
	}
	packets, _, _ := replay(t, w.Bytes())
	var text []string
	for _, p := range packets {
		text = append(text, fmt.Sprintf("%s %s->%s %d", p.Direction, p.LocalAddr, p.RemoteAddr, p.SizeBytes))
	}
	if got := strings.Join(text[:2], ", "); len(packets) != 6 ||
		got != "rx 10.0.0.1->10.0.0.2 4, tx 10.0.1.1->10.0.1.2 12" {
		t.Errorf("%q", text)
	}
}

// FuzzReport decodes reports with any payload.
func FuzzReport(f *testing.F) {
	fuzztest.Quick(f)
	p := udp("10.0.0.2:5405", "10.0.0.1:5405", 1, "beat")
	f.Add(uint16(160), uint16(1), p.Ethernet(1, 2, 3))
	f.Add(uint16(170), uint16(2), p.WiFi(true))
	f.Add(uint16(1001), uint16(3), p.IP())
	f.Fuzz(func(t *testing.T, id, kind uint16, payload []byte) {
		if len(payload) > 1<<12 {
			return
		}
		w := etltest.New(etltest.Options{BufferSize: 64 << 10})
		for i := range int64(3) {
			switch id {
			case 1001:
				w.NDISPacket(i*ms, uint32(kind), 1, uint64(kind)<<30, len(payload)+int(i), payload)
			default:
				w.MonitorPacket(i*ms, etltest.MonitorReport{
					Kind: kind, Component: 1, Edge: 1, Reason: uint32(kind), Payload: payload, Dropped: id == 170,
					Original: int(kind),
				})
			}
		}
		w.Event(0, 4*ms, etw.ProviderPktMon, id, 0, 4, 8, etw.GUID{}, etltest.NewPayload(8).Raw(payload))
		_, drops, reported := replay(t, w.Bytes())
		for _, v := range drops {
			if v.Count == 0 || v.Count > 4 {
				t.Errorf("%+v", v)
			}
		}
		for _, v := range reported {
			if v.Reports < v.Count {
				t.Errorf("%+v", v)
			}
		}
	})
}
