package heartbeat

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

func TestParseFlow(t *testing.T) {
	udp := func(port uint16) ebpf.Heartbeat { return ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: port} }
	timed := udp(5405)
	timed.Timeout = 1500 * time.Millisecond
	peer := ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 2380, Peer: netip.MustParseAddr("10.0.0.2")}
	peer6 := ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 7, Peer: netip.MustParseAddr("fe80::1")}
	for text, want := range map[string][]ebpf.Heartbeat{
		"udp:5405":          {udp(5405)},
		"UDP:5405=1.5s":     {timed},
		"tcp:10.0.0.2:2380": {peer},
		"udp:[fe80::1]:7":   {peer6},
		"vrrp":              {{Protocol: model.ProtocolOther}},
		"heartbeat":         {udp(694)},
	} {
		got, err := ParseFlow(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "udp", "udp:", "udp:0", "udp:65536", "sctp:7", "udp:host:7", "udp:5405=", "udp:5405=0s", "udp:5405=soon",
	} {
		if got, err := ParseFlow(text); !errors.Is(err, ErrFlow) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	all, err := ParseFlow(Auto)
	if err != nil || len(all) != 1 || !all[0].Auto {
		t.Errorf("auto: %+v, %v", all, err)
	}
	for _, name := range Names() {
		if flows, err := ParseFlow(name); err != nil || len(flows) == 0 {
			t.Errorf("%s: %+v, %v", name, flows, err)
		}
	}
}
