package etw

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// PortRange are ports from Low to High.
type PortRange struct{ Low, High uint16 }

// ParseDynamicRange reads what `netsh int ipv4 show dynamicport udp` prints. Its words are in the language of the
// system: the range is its first two numbers that stand at the end of a line, the first port and how many there are.
func ParseDynamicRange(text string) (r PortRange, ok bool) {
	var numbers []int
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(line, ":") {
			continue
		}
		if n, err := strconv.Atoi(fields[len(fields)-1]); err == nil {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) != 2 {
		return r, false
	}
	low, n := numbers[0], numbers[1]
	if low < 1 || n < 1 || low+n-1 > 0xffff {
		return r, false
	}
	return PortRange{uint16(low), uint16(low + n - 1)}, true
}

// RPCInternet are the values of HKLM\Software\Microsoft\Rpc\Internet.
type RPCInternet struct {
	// Ports are the ranges, "5000-5100" or "6000"; nil where the value is missing.
	Ports []string
	// PortsAvailable and UsePorts are PortsInternetAvailable and UseInternetPorts: "Y", "N", or "" where one is missing.
	PortsAvailable, UsePorts string
}

// Ranges returns the ports of the configuration, and whether they are those that RPC servers get by default. Windows
// takes all of it or nothing: where a value is missing or wrong, servers that ask for a port of their own choice get
// none, and that is the error.
func (c RPCInternet) Ranges() (ranges []PortRange, used bool, err error) {
	wrong := func(format string, args ...any) ([]PortRange, bool, error) {
		return nil, false, fmt.Errorf(`HKLM\Software\Microsoft\Rpc\Internet is not valid: `+format, args...)
	}
	for _, flag := range []struct{ name, value string }{
		{"PortsInternetAvailable", c.PortsAvailable}, {"UseInternetPorts", c.UsePorts},
	} {
		switch strings.ToUpper(flag.value) {
		case "Y", "N":
		case "":
			return wrong("%s is missing", flag.name)
		default:
			return wrong("%s is %q, neither Y nor N", flag.name, flag.value)
		}
	}
	if len(c.Ports) == 0 {
		return wrong("Ports is missing or empty")
	}
	for _, text := range c.Ports {
		r, err := parseRange(text)
		if err != nil {
			return wrong("Ports has %q: %v", text, err)
		}
		ranges = append(ranges, r)
	}
	// The list is of the ports for servers that ask for Internet ports, or of those for the others.
	return ranges, strings.EqualFold(c.PortsAvailable, c.UsePorts), nil
}

func parseRange(text string) (r PortRange, err error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(text), "-")
	low, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	if err != nil {
		return r, errors.New("no port number")
	}
	high := low
	if isRange {
		if high, err = strconv.ParseUint(strings.TrimSpace(last), 10, 16); err != nil {
			return r, errors.New("no port number")
		}
	}
	if low == 0 || high < low {
		return r, errors.New("no range of ports")
	}
	return PortRange{uint16(low), uint16(high)}, nil
}
