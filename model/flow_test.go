package model

import "testing"

func TestFlowName(t *testing.T) {
	for _, c := range []struct {
		protocol      Protocol
		local, remote uint16
		want          string
	}{
		{ProtocolUDP, 7000, 0, "udp:7000"},
		{ProtocolUDP, 7000, 41234, "udp:7000"},
		{ProtocolTCP, 41234, 2380, "tcp:2380"},
		{ProtocolTCP, FirstEphemeral - 1, 2380, "tcp:32767"},
		{ProtocolUDP, 41234, 0, "udp:41234"},
		{ProtocolOther, 0, 0, "vrrp"},
	} {
		f := Flow{Protocol: c.protocol, LocalPort: c.local, RemotePort: c.remote}
		if got := f.Name(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
