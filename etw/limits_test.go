package etw

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
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

// TestRPCInternetEvents wants the configuration of the ports of RPC as a reading, and as pools where it is valid.
func TestRPCInternetEvents(t *testing.T) {
	at := model.TimeOf(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		config RPCInternet
		there  bool
		want   []string
	}{
		"valid": {
			RPCInternet{[]string{"5000-5100"}, "Y", "y"}, true,
			[]string{
				"tcp 5000-5100 RPC Internet ports", "udp 5000-5100 RPC Internet ports",
				"valid 101: Ports 5000-5100, PortsInternetAvailable Y, UseInternetPorts y",
			},
		},
		"two ranges": {
			RPCInternet{[]string{"5000-5001", "6000"}, "N", "N"}, true,
			[]string{
				"tcp 5000-5001 RPC Internet ports 5000-5001", "udp 5000-5001 RPC Internet ports 5000-5001",
				"tcp 6000-6000 RPC Internet ports 6000-6000", "udp 6000-6000 RPC Internet ports 6000-6000",
				"valid 3: Ports 5000-5001 6000, PortsInternetAvailable N, UseInternetPorts N",
			},
		},
		"for others": {
			RPCInternet{[]string{"5000-5100"}, "Y", "N"}, true,
			[]string{"other 0: Ports 5000-5100, PortsInternetAvailable Y, UseInternetPorts N"},
		},
		"absent": {
			RPCInternet{}, false, []string{`absent 0: HKLM\Software\Microsoft\Rpc\Internet does not exist`},
		},
		"a value is missing": {
			RPCInternet{[]string{"5000-5100"}, "Y", ""}, true,
			[]string{`invalid 0: HKLM\Software\Microsoft\Rpc\Internet is not valid: UseInternetPorts is missing`},
		},
	} {
		var out model.Builder
		err := c.config.AddTo(&out, at, c.there)
		b := out.Take()
		if err := model.Validate(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for i := range b.Events {
			if v, ok := b.PortPool(&b.Events[i]); ok {
				got = append(got, fmt.Sprintf("%s %d-%d %s", v.Protocol, v.Low, v.High, v.Name))
			}
			if v, ok := b.Reading(&b.Events[i]); ok {
				got = append(got, fmt.Sprintf("%s %v: %s", v.Instance, v.Value, v.Detail))
			}
		}
		if !slices.Equal(got, c.want) || (err != nil) != strings.HasPrefix(got[len(got)-1], "invalid") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
		c.config.RemoveFrom(&out, at)
		gone, pools := 0, len(got)-1
		if b := out.Take(); b != nil {
			for i := range b.Events {
				if v, ok := b.PortPool(&b.Events[i]); ok && v.High == 0 {
					gone++
				}
			}
		}
		if gone != pools {
			t.Errorf("%s: %d of %d pools are removed", name, gone, pools)
		}
	}
}
