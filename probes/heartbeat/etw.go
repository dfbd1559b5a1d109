// Package heartbeat owns the signal of single packets of chosen flows: their
// cadence, and the stages that they pass.
package heartbeat

import (
	"net/netip"

	"lostbeat/etw"
	"lostbeat/model"
)

// flow is what an opcode or event id says about its payload.
type flow struct {
	protocol  model.Protocol
	direction model.Direction
	v6        bool
}

// Opcodes of the classes TcpIp and UdpIp, and event ids of Kernel-Network.
var (
	etwClassic = map[uint16]flow{
		10: {direction: model.DirectionTX},
		11: {direction: model.DirectionRX},
		26: {direction: model.DirectionTX, v6: true},
		27: {direction: model.DirectionRX, v6: true},
	}
	etwEvents = map[uint16]flow{
		10: {
			model.ProtocolTCP,
			model.DirectionTX,
			false,
		},
		11: {model.ProtocolTCP, model.DirectionRX, false},
		26: {model.ProtocolTCP, model.DirectionTX, true},
		27: {model.ProtocolTCP, model.DirectionRX, true},
		42: {
			model.ProtocolUDP,
			model.DirectionTX,
			false,
		},
		43: {model.ProtocolUDP, model.DirectionRX, false},
		58: {model.ProtocolUDP, model.DirectionTX, true},
		59: {model.ProtocolUDP, model.DirectionRX, true},
	}
)

// etwEventFlows and etwClassicFlows are etwEvents and etwClassic by index.
var (
	etwEventFlows   = byIndex[[64]flow](etwEvents)
	etwClassicFlows = byIndex[[256]flow](etwClassic)
)

func byIndex[T [64]flow | [256]flow](m map[uint16]flow) (t T) {
	for id, f := range m {
		t[id] = f
	}
	return t
}

// etwProbe decodes what the network stack of Windows sends and receives for
// processes.
type etwProbe struct {
	d *etw.Decoder
	// texts are the addresses seen, in text.
	texts map[netip.Addr]string
	// recent remembers texts by the last byte of their addresses, each with its address.
	recent [1 << 8]struct {
		addr netip.Addr
		text model.Interned
	}
}

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{texts: make(map[netip.Addr]string)} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "heartbeat" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind { return []model.Kind{model.KindPacket} }

func etwKeys() []etw.Key {
	var keys []etw.Key
	for id := range etwEvents {
		keys = append(keys, etw.Event(etw.ProviderKernelNetwork, id))
	}
	for op := range etwClassic {
		keys = append(keys, etw.Opcode(etw.ClassTCPIP, uint8(op)), etw.Opcode(etw.ClassUDPIP, uint8(op)))
	}
	return keys
}

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	if c.Has(etwKeys()...) {
		return []model.Probe{{Name: p.Name(), State: model.ProbeOn}}
	}
	return []model.Probe{
		{
			Name:   p.Name(),
			State:  model.ProbeOff,
			Reason: "no network events in the capture: cannot tell when packets arrived",
			Hint:   "record with: logman start lostbeat -ets -p Microsoft-Windows-Kernel-Network -o C:\\lostbeat.etl",
		},
	}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	d.HandlePassing(p.packet, etwKeys()...)
}

// describe returns what r's kind says about its payload.
func describe(r *etw.Record) flow {
	if !r.Classic() {
		if int(r.ID) < len(etwEventFlows) {
			return etwEventFlows[r.ID]
		}
		return flow{}
	}
	f := etwClassicFlows[r.ID&0xff]
	f.protocol = model.ProtocolTCP
	if r.Class == etw.ClassUDPIP {
		f.protocol = model.ProtocolUDP
	}
	return f
}

// ends are the parties of a packet as the record gives them.
type ends struct {
	pid                 int32
	size                uint32
	source, destination netip.AddrPort
}

// parse decodes the layouts of versions 0 to 2. Addresses and ports are in
// network byte order.
func parse(r *etw.Record, fl flow) (e ends, ok bool) {
	f := r.Fields()
	addr := f.IPv4
	if fl.v6 {
		addr = f.IPv6
	}
	var saddr, daddr netip.Addr
	var sport, dport uint16
	switch {
	case r.Version > 0 || !r.Classic():
		e.pid, e.size = f.PID(), f.U32()
		daddr, saddr = addr(), addr()
		dport, sport = f.U16BE(), f.U16BE()
	case fl.protocol == model.ProtocolUDP:
		f.Pointer()
		e.pid = -1
		saddr, sport = addr(), f.U16BE()
		e.size = uint32(f.U16())
		daddr, dport = addr(), f.U16BE()
	default:
		daddr, saddr = addr(), addr()
		dport, sport = f.U16BE(), f.U16BE()
		e.size, e.pid = f.U32(), f.PID()
	}
	e.source, e.destination = netip.AddrPortFrom(saddr, sport), netip.AddrPortFrom(daddr, dport)
	return e, !f.Short()
}

// packet emits one packet. For TCP the record's source is always the local
// end; for UDP it is the sender of the datagram, so that a received one has
// the local end as its destination.
func (p *etwProbe) packet(r *etw.Record, t model.Time) bool {
	fl := describe(r)
	e, ok := parse(r, fl)
	if !ok {
		return false
	}
	local, remote := e.source, e.destination
	if fl.protocol == model.ProtocolUDP && fl.direction == model.DirectionRX {
		local, remote = remote, local
	}
	out := p.d.Out
	process := p.d.Process(e.pid, t) // which may add an event of its own
	v := out.Append(model.KindPacket)
	v.Time, v.CPU, v.PID = t, r.CPU, e.pid
	v.Args[model.ArgPacketProtocol] = uint64(fl.protocol)
	v.Args[model.ArgPacketLocalPort] = uint64(local.Port())
	v.Args[model.ArgPacketRemotePort] = uint64(remote.Port())
	v.Args[model.ArgPacketDirection] = uint64(fl.direction)
	v.Args[model.ArgPacketSizeBytes] = uint64(e.size)
	v.Str[model.StrPacketLocalAddr] = out.ID(p.text(local.Addr()))
	v.Str[model.StrPacketRemoteAddr] = out.ID(p.text(remote.Addr()))
	v.Str[model.StrPacketProcess] = out.Intern(process)
	return true
}

// maxTexts limits the addresses that are kept in text.
const maxTexts = 1 << 14

func (p *etwProbe) text(a netip.Addr) *model.Interned {
	last := a.As16()
	place := &p.recent[last[15]]
	if place.addr != a {
		place.addr, place.text = a, model.NewInterned(p.known(a))
	}
	return &place.text
}

// known returns an address in text, from those that were seen where it is one of them.
func (p *etwProbe) known(a netip.Addr) string {
	s, ok := p.texts[a]
	if !ok {
		if len(p.texts) >= maxTexts {
			clear(p.texts)
		}
		s = etw.AddrText(a)
		p.texts[a] = s
	}
	return s
}
