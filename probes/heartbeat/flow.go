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

// known are the protocols of heartbeats that have a name here, with the port
// that they use unless told otherwise, and the names of the programs that speak
// them. A port alone proves nothing, so "auto" follows one only where its owner
// is among them.
var known = []struct {
	name     string
	flow     ebpf.Heartbeat
	programs []string
}{
	{"corosync", ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 5405}, []string{"corosync"}},
	{"keepalived", ebpf.Heartbeat{Protocol: model.ProtocolOther}, []string{"keepalived"}},
	{"etcd", ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 2380}, []string{"etcd"}},
	{"consul", ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 8301}, []string{"consul"}},
	{"serf", ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 7946}, []string{"serf", "dockerd"}},
	{"heartbeat", ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 694}, []string{"heartbeat"}},
	{"zookeeper", ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 2888}, []string{"java"}},
	{"rabbitmq", ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 25672}, []string{"beam.smp"}},
	{"bfd", ebpf.Heartbeat{Protocol: model.ProtocolUDP, Port: 3784}, []string{"bfdd", "bird"}},
	{"redis", ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 16379}, []string{"redis-server"}},
	{"galera", ebpf.Heartbeat{Protocol: model.ProtocolTCP, Port: 4567}, []string{"mariadbd", "mysqld"}},
}

// Auto names the flows whose owner and port are those of a known protocol.
const Auto = "auto"

// Names lists the protocols that a flow may be named by.
func Names() []string {
	names := make([]string, 0, len(known)+1)
	for i := range known {
		names = append(names, known[i].name)
	}
	return append(names, "vrrp")
}

// ErrFlow is the error of a text that names no flow.
var ErrFlow = errors.New("it names no flow")

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
			return nil, fmt.Errorf("%w: %q is no time such as 1s or 500ms", ErrFlow, timeout)
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
		var all []ebpf.Heartbeat
		for i := range known {
			f := known[i].flow
			f.Programs = known[i].programs
			all = append(all, f)
		}
		return all, nil
	}
	if text == "vrrp" {
		return []ebpf.Heartbeat{{Protocol: model.ProtocolOther}}, nil
	}
	for i := range known {
		if known[i].name == text {
			return []ebpf.Heartbeat{known[i].flow}, nil
		}
	}
	protocol, address, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("%w: %q is none of %s", ErrFlow, text, strings.Join(Names(), ", "))
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
			return nil, fmt.Errorf("%w: %q is no IP address", ErrFlow, address[:i])
		}
		f.Peer = host.Unmap()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%w: %q is no port from 1 to 65535", ErrFlow, port)
	}
	f.Port = uint16(n)
	return []ebpf.Heartbeat{f}, nil
}

// knownAs names the protocol of a socket by its owner and one of its ports, "" unknown.
func knownAs(protocol model.Protocol, local, remote uint16, program string) string {
	for i := range known {
		k := &known[i]
		if k.flow.Protocol == protocol && slices.Contains(k.programs, program) &&
			(k.flow.Port == local || k.flow.Port == remote) {
			return k.name
		}
	}
	return ""
}
