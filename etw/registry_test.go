package etw

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf16"

	"lostbeat/internal/testutil/fuzztest"

	"github.com/google/go-cmp/cmp"
)

// utf16Text is a text as reg export writes it.
func utf16Text(text string) []byte {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

const (
	exported = "Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet]\r\n" +
		"\"Ports\"=hex(7):35,00,30,00,30,00,30,00,2d,00,35,00,30,00,30,00,39,00,00,00,36,\\\r\n" +
		"  00,30,00,30,00,30,00,00,00,00,00\r\n\"PortsInternetAvailable\"=\"Y\"\r\n\"UseInternetPorts\"=\"N\"\r\n\r\n" +
		"[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc\\Internet\\Other]\r\n\"UseInternetPorts\"=\"Y\"\r\n"
	queried = "\r\nHKEY_LOCAL_MACHINE\\Software\\Microsoft\\Rpc\\Internet\r\n" +
		"    Ports    REG_MULTI_SZ    5000-5009\\06000\r\n" +
		"    PortsInternetAvailable    REG_SZ    Y\r\n    UseInternetPorts    REG_SZ    N\r\n\r\n"
)

func TestParseRPCInternet(t *testing.T) {
	want := RPCInternet{Ports: []string{"5000-5009", "6000"}, PortsAvailable: "Y", UsePorts: "N"}
	for name, c := range map[string]struct {
		text []byte
		want RPCInternet
		err  string
	}{
		"reg export":         {utf16Text(exported), want, ""},
		"reg export as ANSI": {[]byte(exported), want, ""},
		"reg query":          {[]byte(queried), want, ""},
		"a value of another type": {
			[]byte(strings.Replace(queried, "REG_MULTI_SZ", "REG_SZ", 1)), RPCInternet{PortsAvailable: "Y", UsePorts: "N"}, "",
		},
		"another key": {
			[]byte("[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Rpc]\n\"Ports\"=\"x\"\n"), RPCInternet{}, "does not have",
		},
		"nothing":      {nil, RPCInternet{}, "does not have"},
		"much too big": {bytes.Repeat([]byte("x"), maxRegistryText+1), RPCInternet{}, "larger than 1 MiB"},
	} {
		got, err := ParseRPCInternet(bytes.NewReader(c.text))
		failed := err != nil && strings.Contains(err.Error(), c.err)
		if d := cmp.Diff(c.want, got); d != "" || (err == nil) != (c.err == "") || (err != nil) != failed {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}

func FuzzParseRPCInternet(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(utf16Text(exported))
	f.Add([]byte(exported))
	f.Add([]byte(queried))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseRPCInternet(bytes.NewReader(data))
		if err != nil {
			return
		}
		if ranges, used, err := c.Ranges(); err == nil && used && len(ranges) == 0 {
			t.Errorf("%+v is valid without a range", c)
		}
	})
}
