package etw

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lostbeat/model"
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

// rpcPoolName is the name of the pools of RPC.
const rpcPoolName = "RPC Internet ports"

// AddTo adds the configuration at time t: its reading, and the ports of RPC as pools where it is valid. there says
// whether the key exists at all. The error says what is wrong with the configuration.
func (c RPCInternet) AddTo(out *model.Builder, t model.Time, there bool) error {
	v := model.Reading{
		Time: t, Name: model.ReadingRPCPorts, Instance: model.RPCPortsAbsent, Unit: "ports",
		Detail: `HKLM\Software\Microsoft\Rpc\Internet does not exist`,
	}
	ranges, used, err := []PortRange(nil), false, error(nil)
	if there {
		ranges, used, err = c.Ranges()
		v.Instance = model.RPCPortsOther
		v.Detail = c.String()
	}
	switch {
	case err != nil:
		v.Instance, v.Detail = model.RPCPortsInvalid, err.Error()
	case used:
		v.Instance = model.RPCPortsValid
		for _, r := range ranges {
			v.Value += float64(r.size())
		}
		for _, pool := range rpcPools(t, ranges) {
			out.AddPortPool(pool)
		}
	}
	out.AddReading(v)
	return err
}

// RemoveFrom adds that the pools of the configuration are gone at time t.
func (c RPCInternet) RemoveFrom(out *model.Builder, t model.Time) {
	ranges, used, err := c.Ranges()
	if err != nil || !used {
		return
	}
	for _, pool := range rpcPools(t, ranges) {
		out.AddPortPool(model.PortPool{Time: t, Protocol: pool.Protocol, Name: pool.Name, Source: pool.Source})
	}
}

// rpcPools returns the ranges as pools at time t.
func rpcPools(t model.Time, ranges []PortRange) (pools []model.PortPool) {
	for _, r := range ranges {
		name := rpcPoolName
		if len(ranges) > 1 {
			name += fmt.Sprintf(" %d-%d", r.Low, r.High)
		}
		for _, protocol := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
			pool := r.pool(protocol, model.PoolRPC, name)
			pool.Time = t
			pools = append(pools, pool)
		}
	}
	return pools
}

// pool returns the range as a pool.
func (r PortRange) pool(protocol model.Protocol, source model.PoolSource, name string) model.PortPool {
	return model.PortPool{Protocol: protocol, Low: r.Low, High: r.High, Size: r.size(), Source: source, Name: name}
}

func (r PortRange) size() uint64 { return uint64(r.High-r.Low) + 1 }

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
