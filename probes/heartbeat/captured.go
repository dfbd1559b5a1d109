package heartbeat

import (
	"net/netip"

	"lostbeat/ebpf"
	"lostbeat/model"
	"lostbeat/source"
)

// FollowCaptured returns the rule for captured packets: the given flows are followed, and those that use the port of a
// protocol of heartbeats. Nobody's name confirms a port there, so that ports count which are hardly used for anything
// else: those of datagrams, and of connections between the servers of one cluster.
func FollowCaptured(flows []ebpf.Heartbeat) source.FollowRule {
	return func(protocol model.Protocol, local, remote netip.AddrPort) (source.Follow, bool) {
		for i := range flows {
			f := &flows[i]
			if f.Auto || f.Protocol != protocol || f.Port != 0 && f.Port != local.Port() && f.Port != remote.Port() {
				continue
			}
			if f.Peer.IsValid() && f.Peer != remote.Addr().Unmap() && f.Peer != local.Addr().Unmap() {
				continue
			}
			follow := source.Follow{Timeout: f.Timeout}
			if k := captured(protocol, local.Port(), remote.Port(), true); k != nil {
				follow.KnownAs = k.name
			}
			return follow, true
		}
		k := captured(protocol, local.Port(), remote.Port(), false)
		if k == nil {
			return source.Follow{}, false
		}
		return source.Follow{KnownAs: k.name}, true
	}
}

// captured returns the protocol whose port a packet has; nil for none, or, unless it was asked for, for one whose port
// many others use.
func captured(protocol model.Protocol, local, remote uint16, asked bool) *knownProtocol {
	if protocol == vrrp {
		for i := range known {
			if known[i].name == "vrrp" {
				return &known[i]
			}
		}
	}
	k := byPort(protocol, local, remote)
	if k == nil || !asked && protocol == tcp && k.programs == nil {
		return nil
	}
	return k
}
