package run

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/frame"
	"lostbeat/internal/frame/frametest"
	"lostbeat/source/pcap/pcaptest"
)

// TestCaptures judges captures of packets as they come, each with one thing to say.
func TestCaptures(t *testing.T) {
	const ms = int64(time.Millisecond)
	// beats calls f with a heartbeat of 100 ms for 20 s, but for 3 s of silence.
	beats := func(f func(ns int64, p *frametest.Packet)) {
		for i := range int64(200) {
			if i >= 100 && i < 130 {
				continue
			}
			p := frametest.UDP("10.0.0.2:3343", "10.0.0.1:3343", uint16(i), []byte("a heartbeat of a cluster"))
			f(100*i*ms, &p)
		}
	}
	classic := pcaptest.Classic{Link: uint32(frame.LinkCooked2)}
	beats(func(ns int64, p *frametest.Packet) { classic.Packet(time.Duration(ns), p.Cooked(2, 0)) })
	sent := pcaptest.Classic{Link: uint32(frame.LinkCooked), Nano: true}
	beats(func(ns int64, p *frametest.Packet) { sent.Packet(time.Duration(ns), p.Cooked(1, 4)) })
	ndis := etltest.New(etltest.Options{})
	beats(func(ns int64, p *frametest.Packet) {
		data := p.Ethernet(2, 1, 0)
		ndis.NDISPacket(ns, 7, 7, 0x40000000|0x80000000|0x200000000, len(data), data)
		ndis.NDISPacket(ns+1000, 7, 12, 0x40000000|0x80000000|0x200000000, len(data), data)
	})
	monitor := etltest.New(etltest.Options{})
	beats(func(ns int64, p *frametest.Packet) {
		r := etltest.MonitorReport{
			Direction: etltest.MonitorRx, Kind: etltest.MonitorEthernet, Component: 1, Edge: 1, Payload: p.Ethernet(2, 1, 0),
		}
		monitor.MonitorPacket(ns, r)
		if ns >= 15_000*ms && ns < 16_000*ms {
			r.Kind, r.Payload, r.Component, r.Edge, r.Dropped = etltest.MonitorIP, p.IP(), 3, 0, true
			r.Reason, r.Location = etltest.MonitorReceiveInspection, 0xe0004600
			monitor.MonitorPacket(ns+10_000, r)
		}
	})
	monitor.MonitorSchemas(20_000 * ms)
	monitor.MonitorComponent(20_000*ms, 1, etltest.MonitorMiniport, "Ethernet Adapter", 7)
	monitor.MonitorComponent(20_000*ms, 3, etltest.MonitorTCPIP, "TCP/IPv4 - L3/L4", 7)
	monitor.MonitorCounters(20_000*ms, 3, 10)
	const gap = "warning udp/3343 of 10.0.0.1 (wsfc from 10.0.0.2): no packet on the wire for 3.1 s: sender or network " +
		"at fault"
	for _, c := range []struct {
		name, file string
		data       []byte
		want       []string
	}{
		{"received, Linux cooked", "a.pcap", classic.Bytes(), []string{gap}},
		{"sent", "b.pcap", sent.Bytes(), []string{
			"warning udp/3343 of 10.0.0.2 (wsfc to 10.0.0.1): this host put nothing on the wire for 3.1 s (normally every " +
				"100 ms)",
		}},
		{"NDIS packet capture", "net.etl", ndis.Bytes(), []string{gap}},
		{"Packet Monitor", "pk.etl", monitor.Bytes(), []string{gap,
			"warning A filter or policy dropped 10 cluster heartbeat (UDP 3343) packets from 10.0.0.2: INET: receive " +
				"inspection",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range judgementOf(t, opened(t, writeFile(t, c.file, c.data), OpenOptions{})).Findings {
				f = detecttest.Blanks(f)
				got = append(got, f.Severity.String()+" "+f.Title)
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
		})
	}
}
