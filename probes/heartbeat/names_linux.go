package heartbeat

import (
	"errors"

	cebpf "github.com/cilium/ebpf"
)

// maxNamed bounds the flows of a socket that are named.
const maxNamed = 128

// flowNames say to the programs of all probes which flows are followed (lb_flows): whose packets were dropped.
type flowNames struct {
	table *cebpf.Map
	// last is the number of the flow that was named last.
	last uint32
	// full says that a flow had no room; missing that followed flows may have no name: what is dropped of a followed
	// port may then be theirs.
	full, missing bool
}

// name names the flow of a packet, and its peer alone, for packets of another port of the peer.
func (n *flowNames) name(s *socket, p *heartbeatPacket) {
	ends := heartbeatLbFlowEnds{
		Local: p.Local, Remote: p.Remote, LocalPort: p.LocalPort, RemotePort: p.RemotePort, Protocol: p.Protocol,
	}
	if _, named := s.named[ends]; named || n.table == nil {
		return
	}
	peer := ends
	peer.Local, peer.RemotePort, peer.Netns = [4]uint32{}, 0, s.netns
	n.put(s, ends)
	if _, named := s.named[peer]; !named {
		n.put(s, peer)
	}
}

// put names one flow.
func (n *flowNames) put(s *socket, ends heartbeatLbFlowEnds) {
	if s.named == nil {
		s.named = make(map[heartbeatLbFlowEnds]struct{})
	}
	if len(s.named) >= maxNamed {
		n.full = true
		n.forget(s)
	}
	n.last++
	flow := heartbeatLbFlow{Cookie: s.cookie, Id: n.last, Netns: s.netns}
	var other heartbeatLbFlow
	if n.table.Lookup(ends, &other) == nil && (other.Netns != s.netns || other.Id == 0) {
		flow.Cookie, flow.Id = 0, 0 // two network namespaces with the same addresses: it stays unknown whose a packet is
	}
	if n.table.Put(ends, flow) != nil {
		n.full = true
		return
	}
	s.named[ends] = struct{}{}
}

// forget takes the names of a socket's flows away, unless they are another one's by now.
func (n *flowNames) forget(s *socket) {
	for ends := range s.named {
		var flow heartbeatLbFlow
		if n.table.Lookup(ends, &flow) == nil && flow.Cookie == s.cookie {
			_ = n.table.Delete(ends) // it was there just now
		}
	}
	clear(s.named)
}

// close takes all names away: the programs of other probes look there, too.
func (n *flowNames) close() error {
	if n.table == nil {
		return nil
	}
	var errs []error
	for {
		var ends heartbeatLbFlowEnds
		switch err := n.table.NextKey(nil, &ends); {
		case errors.Is(err, cebpf.ErrKeyNotExist):
			return errors.Join(errs...)
		case err != nil:
			return errors.Join(append(errs, err)...)
		}
		if err := n.table.Delete(ends); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
}
