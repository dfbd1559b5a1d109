package frame

import (
	"bytes"
	"net/netip"
	"testing"

	"lostbeat/internal/frame/frametest"
	"lostbeat/internal/testutil/fuzztest"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// TestDecode reads the same packets from frames of every link.
func TestDecode(t *testing.T) {
	payload := bytes.Repeat([]byte("heartbeat "), 20)
	packets := map[string]frametest.Packet{
		"udp4": frametest.UDP("10.0.0.2:5405", "10.0.0.1:5406", 77, payload),
		"udp6": frametest.UDP("[fd00::2]:5405", "[fd00::1]:5406", 77, payload),
		"tcp4": frametest.Segment("10.0.0.2:2380", "10.0.0.1:40000", 1000, 0x18, payload),
		"tcp6": frametest.Segment("[fd00::2]:2380", "[fd00::1]:40000", 1000, 0x18, payload),
	}
	null := func(p *frametest.Packet) []byte { return append([]byte{2, 0, 0, 0}, p.IP()...) }
	links := []struct {
		name  string
		link  Link
		build func(p *frametest.Packet) []byte
		vlan  uint16
		way   Direction
	}{
		{"ethernet", LinkEthernet, func(p *frametest.Packet) []byte { return p.Ethernet(1, 2, 0) }, 0, Unknown},
		{"vlan", LinkEthernet, func(p *frametest.Packet) []byte { return p.Ethernet(1, 2, 300) }, 300, Unknown},
		{"raw", LinkRaw, (*frametest.Packet).IP, 0, Unknown},
		{"null", LinkNull, null, 0, Unknown},
		{"wifi", LinkWiFi, func(p *frametest.Packet) []byte { return p.WiFi(false) }, 0, Unknown},
		{"wifi between systems", LinkWiFi, func(p *frametest.Packet) []byte { return p.WiFi(true) }, 0, Unknown},
		{"radiotap", LinkRadiotap, func(p *frametest.Packet) []byte {
			return append([]byte{0, 0, 12, 0, 0, 0, 0, 0, 1, 2, 3, 4}, p.WiFi(false)...)
		}, 0, Unknown},
		{"cooked in", LinkCooked, func(p *frametest.Packet) []byte { return p.Cooked(1, 0) }, 0, In},
		{"cooked out", LinkCooked, func(p *frametest.Packet) []byte { return p.Cooked(1, 4) }, 0, Out},
		{"cooked 2 out", LinkCooked2, func(p *frametest.Packet) []byte { return p.Cooked(2, 4) }, 0, Out},
		{"cooked 2 other", LinkCooked2, func(p *frametest.Packet) []byte { return p.Cooked(2, 3) }, 0, Other},
	}
	for name, p := range packets {
		marks := map[uint64]bool{}
		for _, l := range links {
			data := l.build(&p)
			var got Packet
			if !Decode(l.link, data, len(data), &got) {
				t.Errorf("%s over %s: no IP", name, l.name)
				continue
			}
			if from, to := netip.AddrPortFrom(got.Source, got.SourcePort), netip.AddrPortFrom(got.Destination,
				got.DestinationPort); from != p.Source || to != p.Destination || got.Size != len(payload) ||
				got.VLAN != l.vlan || got.Direction != l.way || got.Fragment || !bytes.Equal(got.IP, p.IP()) {
				t.Errorf("%s over %s: %+v", name, l.name, got)
			}
			if marks[got.Mark] = true; !got.Marked {
				t.Errorf("%s over %s has no mark", name, l.name)
			}
			// Cut anywhere: what is left is read, and the mark is not made up.
			for n := range data {
				var cut Packet
				if Decode(l.link, data[:n], len(data), &cut); cut.Marked && cut.Mark != got.Mark {
					t.Errorf("%s over %s, cut after %d bytes: mark %x", name, l.name, n, cut.Mark)
				}
			}
		}
		if len(marks) != 1 {
			t.Errorf("%s has the marks %v", name, marks)
		}
	}
}

func TestFragments(t *testing.T) {
	for _, from := range []string{"10.0.0.2:5405", "[fd00::2]:5405"} {
		to := "10.0.0.1:5405"
		if from[0] == '[' {
			to = "[fd00::1]:5405"
		}
		first := frametest.UDP(from, to, 9, make([]byte, 1000))
		first.More = true
		later := first
		later.Offset = 1008
		for i, p := range []frametest.Packet{first, later} {
			var got Packet
			data := p.Ethernet(1, 2, 0)
			if !Decode(LinkEthernet, data, len(data), &got) || !got.Fragment || got.Later != (i == 1) || got.Marked ||
				(got.DestinationPort == 5405) != (i == 0) {
				t.Errorf("fragment %d from %s: %+v", i, from, got)
			}
		}
	}
}

// TestPadding takes what a short frame is filled up with for no payload.
func TestPadding(t *testing.T) {
	p := frametest.Segment("10.0.0.2:2380", "10.0.0.1:40000", 1000, ACK, nil)
	data := append(p.Ethernet(1, 2, 0), make([]byte, 20)...)
	var got Packet
	if !Decode(LinkEthernet, data, len(data), &got) || got.Size != 0 || len(got.IP) != 52 {
		t.Errorf("%+v", got)
	}
}

// TestMark: the high half of a mark is the identification of IPv4, the low half a hash of the payload.
func TestMark(t *testing.T) {
	p := frametest.UDP("10.0.0.2:5405", "10.0.0.1:5405", 0x1234, []byte("beat"))
	var got Packet
	data := p.IP()
	IP(data, len(data), &got)
	if got.Mark>>32 != 0x1234 || uint32(got.Mark) == 0 {
		t.Errorf("mark %x", got.Mark)
	}
}

// FuzzDecode compares with gopacket where both read a frame of Ethernet, and looks for panics in all others.
func FuzzDecode(f *testing.F) {
	fuzztest.Quick(f)
	for _, p := range []frametest.Packet{
		frametest.UDP("10.0.0.2:5405", "10.0.0.1:5405", 1, []byte("beat")),
		frametest.Segment("[fd00::2]:2380", "[fd00::1]:40000", 1, 0x18, []byte("beat")),
	} {
		f.Add(uint16(LinkEthernet), p.Ethernet(1, 2, 7))
		f.Add(uint16(LinkWiFi), p.WiFi(true))
		f.Add(uint16(LinkCooked), p.Cooked(1, 4))
		f.Add(uint16(LinkCooked2), p.Cooked(2, 4))
		f.Add(uint16(LinkRaw), p.IP())
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		var p Packet
		ok := Decode(Link(link), data, len(data), &p)
		if ok != p.Source.IsValid() || ok && p.IP == nil || p.Size < 0 {
			t.Errorf("%t with %+v", ok, p)
		}
		if Link(link) != LinkEthernet || !ok || p.Later || p.Protocol != UDP || len(data) < 14 ||
			be16(data[12:]) != TypeIPv4 {
			return
		}
		other := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if u, ok := other.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && other.ErrorLayer() == nil &&
			(uint16(u.SrcPort) != p.SourcePort || uint16(u.DstPort) != p.DestinationPort) {
			t.Errorf("gopacket reads %v", u)
		}
	})
}
