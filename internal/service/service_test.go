package service

import (
	"strings"
	"testing"

	"lostbeat/model"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		protocol      model.Protocol
		local, remote uint16
		want          string
	}{
		{model.ProtocolTCP, 443, 50000, "https"},
		{model.ProtocolUDP, 50000, 443, "quic"},
		{model.ProtocolUDP, 53, 0, "dns"},
		{model.ProtocolTCP, 50000, 53, "dns"},
		{model.ProtocolTCP, 5405, 0, ""}, // corosync has ports of UDP only
		{model.ProtocolTCP, 40000, 40001, ""},
		{model.ProtocolOther, 443, 443, ""},
		{model.ProtocolUDP, 0, 0, ""},
	} {
		if got := Between(c.protocol, c.local, c.remote); got != c.want {
			t.Errorf("%v %d %d: %q, want %q", c.protocol, c.local, c.remote, got, c.want)
		}
	}
}

// A name stands in one table: a port with names for both protocols would hide the one in the other.
func TestTables(t *testing.T) {
	for port, name := range both {
		if tcp[port] != "" || udp[port] != "" {
			t.Errorf("port %d is %s, and named again for one protocol", port, name)
		}
	}
	for _, table := range []map[uint16]string{both, tcp, udp} {
		for port, name := range table {
			if name == "" || len(name) > 14 || strings.ToLower(name) != name || strings.Contains(name, " ") {
				t.Errorf("port %d: %q", port, name)
			}
		}
	}
}
