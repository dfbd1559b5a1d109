// Package wire turns captured frames into packet and flow events. It serves
// every input that has frames: pcap files, Packet Monitor, NDIS packet capture.
//
// Flows that may be heartbeats are followed as probes/heartbeat follows them on
// a running host, but on the wire only: when a socket or a program got a packet
// is not known (model.FlowCaptured).
package wire

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"lostbeat/internal/frame"
	"lostbeat/model"
	"lostbeat/source"
)

// Bounds of what is remembered.
const (
	maxTexts   = 1 << 14
	maxSockets = 1 << 12
	maxPeers   = 1 << 14
	// again is how often a followed flow is named again.
	again = 10 * time.Second
)

// Flows follows the flows of one capture.
type Flows struct {
	follow  source.FollowRule
	texts   map[netip.Addr]string
	sockets map[socketKey]*socket
	// ends are the sequence numbers behind the last segments of followed connections.
	ends map[wayKey]uint32
	// closed are connections that one of their ends has closed, or that were reset.
	closed map[wayKey]bool
	// rules remembers what the rule says of a pair of ports.
	rules map[ruleKey]followed
}

type socketKey struct {
	protocol model.Protocol
	local    netip.AddrPort
}

type socket struct {
	cookie uint64
	told   model.Time
}

type wayKey struct{ from, to netip.AddrPort }

type ruleKey struct {
	protocol      model.Protocol
	local, remote netip.AddrPort
}

type followed struct {
	source.Follow
	ok bool
}

// NewFlows returns a follower of the flows that a rule names.
func NewFlows(rule source.FollowRule) *Flows {
	return &Flows{
		follow: rule, texts: map[netip.Addr]string{}, sockets: map[socketKey]*socket{}, ends: map[wayKey]uint32{},
		closed: map[wayKey]bool{}, rules: map[ruleKey]followed{},
	}
}

// Text returns an address in text.
func (f *Flows) Text(a netip.Addr) string {
	if s, ok := f.texts[a]; ok {
		return s
	}
	if !a.IsValid() {
		return ""
	}
	s := a.Unmap().WithZone("").String()
	if len(f.texts) < maxTexts {
		f.texts[a] = s
	}
	return s
}

// Protocol returns the transport protocol of a packet.
func Protocol(p *frame.Packet) model.Protocol {
	switch p.Protocol {
	case frame.TCP:
		return model.ProtocolTCP
	case frame.UDP:
		return model.ProtocolUDP
	}
	if !p.Source.IsValid() {
		return model.ProtocolUnknown
	}
	return model.ProtocolOther
}

// Ends returns the local and the remote end of a packet. Where its direction is not known it is taken as received: by
// its destination.
func Ends(p *frame.Packet) (local, remote netip.AddrPort, direction model.Direction) {
	from := netip.AddrPortFrom(p.Source, p.SourcePort)
	to := netip.AddrPortFrom(p.Destination, p.DestinationPort)
	if p.Direction == frame.Out {
		return from, to, model.DirectionTX
	}
	return to, from, model.DirectionRX
}

// Add adds the events of a packet that was captured at time t on a CPU, -1 unknown. One without IP has no ends.
func (f *Flows) Add(out *model.Builder, t model.Time, p *frame.Packet, cpu int32) {
	local, remote, direction := Ends(p)
	v := model.Packet{
		Time: t, CPU: cpu, PID: -1, TID: -1, Protocol: Protocol(p), LocalPort: local.Port(), RemotePort: remote.Port(),
		Direction: direction, SizeBytes: uint64(p.Size), LocalAddr: f.Text(local.Addr()), RemoteAddr: f.Text(remote.Addr()),
	}
	if s := f.socket(out, t, p, local, remote); s != nil {
		v.Cookie = s.cookie
		if p.Marked {
			v.Mark = p.Mark
		}
	}
	out.AddPacket(v)
}

// socket returns the end of a followed flow to which a packet belongs, nil for other packets.
func (f *Flows) socket(out *model.Builder, t model.Time, p *frame.Packet, local, remote netip.AddrPort) *socket {
	if f.follow == nil || p.Later {
		return nil
	}
	protocol := Protocol(p)
	switch {
	case protocol == model.ProtocolUnknown, protocol == model.ProtocolOther && p.Protocol != frame.VRRP:
		return nil
	case protocol == model.ProtocolTCP && p.TCPFlags&(frame.SYN|frame.FIN|frame.RST) != 0:
		f.turns(out, t, p, local, remote)
	}
	if protocol == model.ProtocolTCP && (p.Size == 0 || p.TCPFlags&(frame.SYN|frame.RST) != 0) {
		return nil // an acknowledgement: nobody reads it
	}
	key := ruleKey{protocol, local, remote}
	rule, ok := f.rules[key]
	if !ok {
		rule.Follow, rule.ok = f.follow(protocol, local, remote)
		if len(f.rules) < maxPeers {
			f.rules[key] = rule
		}
	}
	if !rule.ok || protocol == model.ProtocolTCP && f.repeated(p) {
		return nil
	}
	k := socketKey{protocol, local}
	s := f.sockets[k]
	if s == nil {
		if len(f.sockets) >= maxSockets {
			return nil
		}
		s = &socket{cookie: cookie(k)}
		f.sockets[k] = s
	}
	if s.told == 0 || t.Sub(s.told) >= again {
		s.told = t
		flow := model.Flow{
			Time: t, PID: -1, TID: -1, Cookie: s.cookie, Protocol: protocol, LocalPort: local.Port(),
			Timeout: rule.Timeout, State: model.FlowCaptured, LocalAddr: f.Text(local.Addr()), KnownAs: rule.KnownAs,
		}
		if protocol == model.ProtocolTCP && local.Port() >= model.FirstEphemeral {
			flow.RemotePort, flow.RemoteAddr = remote.Port(), f.Text(remote.Addr())
		}
		out.AddFlow(flow)
	}
	return s
}

// turns takes up a segment that begins or ends a connection: one that resets a followed connection, which neither end
// had closed, is told.
func (f *Flows) turns(out *model.Builder, t model.Time, p *frame.Packet, local, remote netip.AddrPort) {
	k := wayKey{local, remote}
	if remote.Compare(local) < 0 { // of a capture without directions, the local end is that of each segment
		k = wayKey{remote, local}
	}
	if p.TCPFlags&frame.SYN != 0 {
		delete(f.closed, k)
		return
	}
	s := f.sockets[socketKey{model.ProtocolTCP, local}]
	_, came := f.ends[wayKey{remote, local}]
	if _, went := f.ends[wayKey{local, remote}]; !came && !went || len(f.closed) >= maxPeers {
		return // nothing went over it, or whether it was closed is not known
	}
	if p.TCPFlags&frame.RST != 0 && p.Direction != frame.Out && s != nil && !f.closed[k] {
		out.AddFlowStall(model.FlowStall{
			Time: t, Dur: 1, CPU: -1, Cookie: s.cookie, LocalPort: local.Port(), RemotePort: remote.Port(),
			What: model.StallReset, LocalAddr: f.Text(local.Addr()), RemoteAddr: f.Text(remote.Addr()),
		})
	}
	f.closed[k] = true
}

// repeated says that a segment has been sent before: TCP repeats what it thinks was lost.
func (f *Flows) repeated(p *frame.Packet) bool {
	k := wayKey{netip.AddrPortFrom(p.Source, p.SourcePort), netip.AddrPortFrom(p.Destination, p.DestinationPort)}
	last, ok := f.ends[k]
	if ok && int32(p.End-last) <= 0 {
		return true
	}
	if ok || len(f.ends) < maxPeers {
		f.ends[k] = p.End
	}
	return false
}

// cookie stands for the socket's, which is not in a capture: the same for the same end in every capture.
func cookie(k socketKey) uint64 {
	h := fnv.New64a()
	addr := k.local.Addr().As16()
	_, _ = h.Write(append([]byte{byte(k.protocol)}, addr[:]...))
	_, _ = h.Write(binary.BigEndian.AppendUint16(nil, k.local.Port()))
	return h.Sum64() | 1<<63
}

// SameWithin is how far apart two reports of one packet are at most: its way through the stack of Windows takes less
// than 0.35 ms in 90 % of cases, and the same bytes are sent again after much longer.
const SameWithin = 5 * time.Millisecond

// Recent recognises packets that were reported before, by their bytes from the IP header on.
type Recent[T any] struct {
	seed  maphash.Seed
	index map[uint64][]*Reported[T] // nil before the first
	// order are all of them, the oldest first.
	order []*Reported[T]
}

// Reported is a packet that was reported.
type Reported[T any] struct {
	// First is when it was reported first, Bytes what was captured of it.
	First model.Time
	Bytes []byte
	Data  T
	key   uint64
}

const (
	// keyBytes is how much of a packet its place in the index depends on: captures of 64 bytes a frame have as much.
	keyBytes = 48
	// maxRecent bounds the packets that are remembered at a time; those beyond are taken for new ones.
	maxRecent = 1 << 16
	// maxBytes is how much is kept of each.
	maxBytes = 256
)

// Find returns the report of the same packet, nil where there is none.
func (r *Recent[T]) Find(data []byte) *Reported[T] {
	if r.index == nil {
		return nil
	}
	for _, o := range r.index[r.key(data)] {
		if n := min(len(data), len(o.Bytes)); bytes.Equal(data[:n], o.Bytes[:n]) {
			return o
		}
	}
	return nil
}

func (r *Recent[T]) key(data []byte) uint64 {
	return maphash.Bytes(r.seed, data[:min(len(data), keyBytes)])
}

// Add remembers a packet; nil when there are too many.
func (r *Recent[T]) Add(t model.Time, data []byte) *Reported[T] {
	if r.index == nil {
		r.seed, r.index = maphash.MakeSeed(), map[uint64][]*Reported[T]{}
	}
	if len(r.order) >= maxRecent {
		return nil
	}
	o := &Reported[T]{First: t, Bytes: bytes.Clone(data[:min(len(data), maxBytes)]), key: r.key(data)}
	r.order = append(r.order, o)
	r.index[o.key] = append(r.index[o.key], o)
	return o
}

// Expire forgets the packets that were reported first before t, and hands each to f.
func (r *Recent[T]) Expire(t model.Time, f func(*Reported[T])) {
	n := 0
	for n < len(r.order) && r.order[n].First < t {
		o := r.order[n]
		list := slices.DeleteFunc(r.index[o.key], func(other *Reported[T]) bool { return other == o })
		if len(list) == 0 {
			delete(r.index, o.key)
		} else {
			r.index[o.key] = list
		}
		if f != nil {
			f(o)
		}
		n++
	}
	clear(r.order[:n])
	r.order = r.order[n:]
}
