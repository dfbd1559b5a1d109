package etw

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lostbeat/model"
)

// registeredEndpoint is an endpoint that the endpoint mapper has.
type registeredEndpoint struct {
	// Interface and Version are whose it is, Binding where: "ncacn_ip_tcp:10.0.0.1[49664]".
	Interface GUID
	Version   uint16
	Binding   string
}

// errNoMore ends the endpoints.
var errNoMore = errors.New("there are no more endpoints")

// maxEndpoints is how many endpoints are read; a domain controller has some hundred.
const maxEndpoints = 1 << 14

// readEndpoints calls each with the endpoints that next returns, until it returns errNoMore.
func readEndpoints(next func() (registeredEndpoint, error), each func(registeredEndpoint)) error {
	for range maxEndpoints {
		m, err := next()
		if errors.Is(err, errNoMore) {
			return nil
		}
		if err != nil {
			return err
		}
		each(m)
	}
	return fmt.Errorf("the endpoint mapper has more than %d endpoints", maxEndpoints)
}

// endpoint returns the event for an endpoint that is there at time t; ok is false where the binding is none.
func (m *registeredEndpoint) endpoint(t model.Time) (v model.RPCEndpoint, ok bool) {
	// A binding is [UUID@]SEQUENCE:ADDRESS[ENDPOINT,OPTIONS]; an IPv6 address has colons, and no brackets.
	_, binding, object := strings.Cut(m.Binding, "@")
	if !object {
		binding = m.Binding
	}
	sequence, rest, found := strings.Cut(binding, ":")
	open, end := strings.LastIndexByte(rest, '['), strings.LastIndexByte(rest, ']')
	if !found || sequence == "" || open < 0 || end < open {
		return v, false
	}
	endpoint, _, _ := strings.Cut(rest[open+1:end], ",")
	v = model.RPCEndpoint{
		Time: t, PID: -1, TID: -1, Version: int64(m.Version), Interface: m.Interface.String(), Endpoint: endpoint,
	}
	switch strings.ToLower(sequence) {
	case "ncacn_ip_tcp", "ncacn_http":
		v.Protocol = model.ProtocolTCP
	case "ncadg_ip_udp":
		v.Protocol = model.ProtocolUDP
	default:
		v.Protocol, v.Endpoint = model.ProtocolOther, sequence+"["+endpoint+"]"
		return v, true
	}
	port, err := strconv.ParseUint(endpoint, 10, 16)
	v.LocalPort = uint16(port)
	return v, err == nil
}
