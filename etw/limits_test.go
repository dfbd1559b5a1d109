package etw

import (
	"slices"
	"strings"
	"testing"
)

func TestParseDynamicRange(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want PortRange
		ok   bool
	}{
		"English": {"\r\nProtocol udp Dynamic Port Range\r\n---------------------------------\r\n" +
			"Start Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n", PortRange{49152, 65535}, true},
		"German": {"\r\nDynamischer Portbereich für Protokoll \"udp\"\r\n-----------\r\n" +
			"Startport       : 1025\r\nAnzahl von Ports: 3976\r\n", PortRange{1025, 5000}, true},
		"nothing":    {"", PortRange{}, false},
		"one number": {"Start Port : 49152\r\n", PortRange{}, false},
		"beyond":     {"Start Port : 60000\r\nNumber of Ports : 10000\r\n", PortRange{}, false},
		"none":       {"Start Port : 60000\r\nNumber of Ports : 0\r\n", PortRange{}, false},
		"an error":   {"The requested operation requires elevation: 5\r\n", PortRange{}, false},
	} {
		if got, ok := ParseDynamicRange(test.text); got != test.want || ok != test.ok {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}

func TestRPCInternet(t *testing.T) {
	for name, test := range map[string]struct {
		config RPCInternet
		ranges []PortRange
		used   bool
		err    string
	}{
		"valid": {
			RPCInternet{[]string{"5000-5100", "6000"}, "Y", "Y"}, []PortRange{{5000, 5100}, {6000, 6000}}, true, "",
		},
		"lower case":     {RPCInternet{[]string{" 5000 - 5100 "}, "y", "y"}, []PortRange{{5000, 5100}}, true, ""},
		"others use it":  {RPCInternet{[]string{"5000-5100"}, "N", "Y"}, []PortRange{{5000, 5100}}, false, ""},
		"no ports":       {RPCInternet{nil, "Y", "Y"}, nil, false, "Ports is missing"},
		"no flag":        {RPCInternet{[]string{"5000-5100"}, "", "Y"}, nil, false, "PortsInternetAvailable is missing"},
		"a wrong flag":   {RPCInternet{[]string{"5000-5100"}, "Y", "1"}, nil, false, `UseInternetPorts is "1"`},
		"backwards":      {RPCInternet{[]string{"5100-5000"}, "Y", "Y"}, nil, false, "no range"},
		"no number":      {RPCInternet{[]string{"5000-x"}, "Y", "Y"}, nil, false, "no port number"},
		"beyond":         {RPCInternet{[]string{"5000-70000"}, "Y", "Y"}, nil, false, "no port number"},
		"an empty entry": {RPCInternet{[]string{""}, "Y", "Y"}, nil, false, "no port number"},
	} {
		ranges, used, err := test.config.Ranges()
		if !slices.Equal(ranges, test.ranges) || used != test.used || (err != nil) != (test.err != "") {
			t.Errorf("%s: %v, %v, %v", name, ranges, used, err)
		}
		if err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
