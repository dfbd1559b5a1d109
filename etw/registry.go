package etw

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/source"
)

// maxRegistryText is the size of the largest export of the registry that is read: one key is a few hundred bytes.
const maxRegistryText = 1 << 20

// ParseRPCInternet reads the configuration of the ports of RPC from what `reg export` or `reg query` writes of
// HKLM\Software\Microsoft\Rpc\Internet, in UTF-16 or as ANSI text. Values of another type than Windows wants are left
// out, as Windows does: Ranges reports them as missing.
func ParseRPCInternet(r io.Reader) (c RPCInternet, err error) {
	data, err := io.ReadAll(io.LimitReader(source.UTF8Reader(r), maxRegistryText+1))
	if err != nil {
		return c, err
	}
	if len(data) > maxRegistryText {
		return c, hint.New("it is larger than 1 MiB",
			`export the key alone: reg export HKLM\Software\Microsoft\Rpc\Internet FILE`)
	}
	// A value that reg export continues ends in a backslash.
	text := strings.NewReplacer("\\\r\n", "", "\\\n", "", "\r\n", "\n").Replace(string(data))
	found, inside := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		key, bracket := strings.CutPrefix(line, "[")
		if bracket || strings.HasPrefix(strings.ToUpper(line), "HKEY_LOCAL_MACHINE\\") {
			key = strings.ToUpper(strings.TrimSuffix(strings.TrimSpace(key), "]"))
			inside = key == `HKEY_LOCAL_MACHINE\SOFTWARE\MICROSOFT\RPC\INTERNET`
			found = found || inside
			continue
		}
		if !inside {
			continue
		}
		name, kind, value, ok := exportedValue(line)
		if !ok {
			if name, kind, value, ok = queriedValue(line); !ok {
				continue
			}
		}
		switch {
		case strings.EqualFold(name, "Ports") && kind == "REG_MULTI_SZ":
			for text := range strings.SplitSeq(value, "\x00") {
				if text != "" {
					c.Ports = append(c.Ports, text)
				}
			}
		case strings.EqualFold(name, "PortsInternetAvailable") && kind == "REG_SZ":
			c.PortsAvailable = value
		case strings.EqualFold(name, "UseInternetPorts") && kind == "REG_SZ":
			c.UsePorts = value
		}
	}
	if !found {
		return c, hint.New(`it does not have the key HKLM\Software\Microsoft\Rpc\Internet`,
			`write it with: reg export HKLM\Software\Microsoft\Rpc\Internet FILE; where the key does not exist, RPC `+
				"uses the dynamic range: omit the flag")
	}
	return c, nil
}

// exportedValue reads a line of reg export: "Name"="text" or "Name"=hex(7):35,00,...
func exportedValue(line string) (name, kind, value string, ok bool) {
	rest, quoted := strings.CutPrefix(strings.TrimSpace(line), `"`)
	name, rest, ok = strings.Cut(rest, `"=`)
	if !quoted || !ok {
		return "", "", "", false
	}
	if text, is := strings.CutPrefix(rest, `"`); is {
		return name, "REG_SZ", strings.TrimSuffix(text, `"`), true
	}
	digits, is := strings.CutPrefix(rest, "hex(7):")
	if !is {
		return name, "", "", true
	}
	digits = strings.NewReplacer(",", "", " ", "", "\t", "").Replace(digits)
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return name, "", "", true
	}
	return name, "REG_MULTI_SZ", string(source.AppendUTF16(nil, raw, false)), true
}

// queriedValue reads a line of reg query, which separates the strings of a REG_MULTI_SZ with a backslash and a zero.
func queriedValue(line string) (name, kind, value string, ok bool) {
	fields := bytes.SplitN(bytes.TrimSpace([]byte(line)), []byte("    "), 3)
	if len(fields) < 2 || !bytes.HasPrefix(fields[1], []byte("REG_")) {
		return "", "", "", false
	}
	name, kind = string(fields[0]), string(fields[1])
	if len(fields) == 3 {
		value = strings.TrimSpace(string(fields[2]))
	}
	return name, kind, strings.ReplaceAll(value, `\0`, "\x00"), true
}

// String writes the configuration as it is shown.
func (c RPCInternet) String() string {
	return fmt.Sprintf("Ports %s, PortsInternetAvailable %s, UseInternetPorts %s",
		strings.Join(c.Ports, " "), c.PortsAvailable, c.UsePorts)
}
