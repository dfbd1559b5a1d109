package heartbeat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

// Auto names the flows that are found: those whose owner and port are those of a known protocol are followed, others
// are proposed.
const Auto = "auto"

// Names lists the protocols that a flow may be named by.
func Names() []string {
	var names []string
	for i := range known {
		if (known[i].low != 0 || known[i].protocol == vrrp) && !slices.Contains(names, known[i].name) {
			names = append(names, known[i].name)
		}
	}
	return names
}

// ErrFlow is the error of a text that names no flow.
var ErrFlow = errors.New("not a flow")

// ParseFlow reads "udp:5405", "tcp:10.0.0.2:2380", "vrrp", the name of a known
// protocol, or "auto", each with "=TIMEOUT" behind it where the silence after
// which the protocol gives its peer up is to be taken from there. One text may
// stand for several flows.
func ParseFlow(text string) ([]ebpf.Heartbeat, error) {
	flow, timeout, timed := strings.Cut(text, "=")
	var limit time.Duration
	if timed {
		var err error
		if limit, err = time.ParseDuration(timeout); err != nil || limit <= 0 {
			return nil, fmt.Errorf("%w: %q is not a duration such as 1s or 500ms", ErrFlow, timeout)
		}
	}
	flows, err := parseFlow(strings.ToLower(flow))
	if err != nil {
		return nil, err
	}
	for i := range flows {
		flows[i].Timeout = limit
	}
	return flows, nil
}

func parseFlow(text string) ([]ebpf.Heartbeat, error) {
	if text == Auto {
		return []ebpf.Heartbeat{{Auto: true}}, nil
	}
	var named []ebpf.Heartbeat
	for i := range known {
		if known[i].name == text {
			named = append(named, known[i].flows()...)
		}
	}
	if len(named) > 0 {
		return named, nil
	}
	protocol, address, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("%w: %q is not one of %s", ErrFlow, text, strings.Join(Names(), ", "))
	}
	var f ebpf.Heartbeat
	switch protocol {
	case "udp":
		f.Protocol = model.ProtocolUDP
	case "tcp":
		f.Protocol = model.ProtocolTCP
	default:
		return nil, fmt.Errorf("%w: the protocol %q is neither udp nor tcp", ErrFlow, protocol)
	}
	port := address
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		port = address[i+1:]
		host, err := netip.ParseAddr(strings.Trim(address[:i], "[]"))
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not an IP address", ErrFlow, address[:i])
		}
		f.Peer = host.Unmap()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%w: %q is not a port from 1 to 65535", ErrFlow, port)
	}
	f.Port = uint16(n)
	return []ebpf.Heartbeat{f}, nil
}
