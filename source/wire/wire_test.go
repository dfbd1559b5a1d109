package wire_test

import (
	"net/netip"
	"testing"
	"time"

	"lostbeat/internal/frame"
	"lostbeat/internal/frame/frametest"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/wire"
)

// A segment that resets a followed connection is told where it came from the peer and neither end had closed before.
func TestResets(t *testing.T) {
	const here, peer = "10.0.0.1:2380", "10.0.0.2:41000"
	data := frametest.Segment(peer, here, 100, frame.ACK, []byte("beat"))
	more := frametest.Segment(peer, here, 104, frame.ACK, []byte("beat"))
	fin := frametest.Segment(here, peer, 9, frame.FIN|frame.ACK, nil)
	syn := frametest.Segment(peer, here, 99, frame.SYN, nil)
	from, by := frametest.Segment(peer, here, 108, frame.RST, nil), frametest.Segment(here, peer, 9, frame.RST, nil)
	for name, tt := range map[string]struct {
		segments []frametest.Packet
		want     int
		unknown  bool // which way they go
	}{
		"reset":                    {segments: []frametest.Packet{data, more, from}, want: 1},
		"reset twice":              {segments: []frametest.Packet{data, more, from, from}, want: 1},
		"reset, and once more":     {segments: []frametest.Packet{data, from, syn, more, from}, want: 2},
		"closed before":            {segments: []frametest.Packet{data, fin, from}},
		"by this host":             {segments: []frametest.Packet{data, by, from}},
		"closed, either way":       {segments: []frametest.Packet{data, fin, from}, unknown: true},
		"a connection without any": {segments: []frametest.Packet{from}},
	} {
		t.Run(name, func(t *testing.T) {
			flows := wire.NewFlows(func(p model.Protocol, local, _ netip.AddrPort) (source.Follow, bool) {
				return source.Follow{}, p == model.ProtocolTCP && local.Port() == 2380
			})
			var b model.Builder
			at := model.Time(1e18)
			for _, s := range tt.segments {
				p := frame.Packet{}
				if data := s.IP(); !frame.IP(data, len(data), &p) {
					t.Fatal("no packet")
				}
				switch {
				case tt.unknown:
				case p.SourcePort == 2380:
					p.Direction = frame.Out
				default:
					p.Direction = frame.In
				}
				at = at.Add(time.Second)
				flows.Add(&b, at, &p, 1)
			}
			out, resets := b.Take(), 0
			if err := model.Validate(out); err != nil {
				t.Error(err)
			}
			for i := range out.Events {
				if v, ok := out.FlowStall(&out.Events[i]); ok {
					resets++
					if v.What != model.StallReset || v.LocalPort != 2380 || v.RemotePort != 41000 || v.RemoteAddr != "10.0.0.2" ||
						v.Cookie == 0 {
						t.Errorf("%+v", v)
					}
				}
			}
			if resets != tt.want {
				t.Errorf("%d resets, want %d", resets, tt.want)
			}
		})
	}
}
