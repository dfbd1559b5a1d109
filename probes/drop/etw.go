package drop

import (
	"fmt"

	"lostbeat/etw"
	"lostbeat/model"
)

// Events of Winsock-AFD and TCPIP that report lost packets.
const (
	afdDrop4            = 33
	afdDrop6            = 34
	afdDropWithAddress  = 1033
	tcpipTransportDrops = 1214
	tcpipNetworkDrops   = 1215
	tcpipFramingDrops   = 1478
)

// tcpipDropsOnly are the keyword and level of TCPIP's drops: all of its events
// are very many.
const tcpipDropsOnly = " 0x10000000000 5"

// etwProbe decodes the drop events of Windows.
type etwProbe struct{ d *etw.Decoder }

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "drop" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind { return []model.Kind{model.KindDrop} }

// Status implements etw.Probe. That no drop event is in a capture does not
// tell whether their provider was on: any event of it does.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	status := func(part string, provider etw.GUID, name, filter string) model.Probe {
		v := model.Probe{Name: p.Name(), Part: part, State: model.ProbeOn}
		if !hasProvider(c, provider) {
			v.State = model.ProbeOff
			v.Reason = "no events of " + name + " in the capture: drops there are not seen"
			v.Hint = "record with: logman start lostbeat -ets -p " + name + filter + " -o C:\\lostbeat.etl"
		}
		return v
	}
	return []model.Probe{
		status("socket", etw.ProviderAFD, "Microsoft-Windows-Winsock-AFD", ""),
		status("protocol", etw.ProviderTCPIP, "Microsoft-Windows-TCPIP", tcpipDropsOnly),
	}
}

func hasProvider(c etw.Census, provider etw.GUID) bool {
	if c == nil {
		return true
	}
	for k := range c {
		if k.Class == provider {
			return true
		}
	}
	return false
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	d.HandlePassing(p.oldDatagram, etw.Event(etw.ProviderAFD, afdDrop4), etw.Event(etw.ProviderAFD, afdDrop6))
	d.HandlePassing(p.datagram, etw.Event(etw.ProviderAFD, afdDropWithAddress))
	d.HandlePassing(p.transport, etw.Event(etw.ProviderTCPIP, tcpipTransportDrops))
	d.HandlePassing(p.network, etw.Event(etw.ProviderTCPIP, tcpipNetworkDrops))
	d.HandlePassing(p.framing, etw.Event(etw.ProviderTCPIP, tcpipFramingDrops))
}

// socket reports a datagram that a socket's queue did not take. The record has
// the sender's address only, and an arbitrary process: the owner is known when
// the socket was created while recording.
func (p *etwProbe) socket(r *etw.Record, t model.Time, endpoint uint64, reason uint32) {
	v := model.Drop{
		Time:     t,
		CPU:      r.CPU,
		PID:      -1,
		TID:      -1,
		Cookie:   endpoint,
		Place:    model.PlaceSocket,
		Count:    1,
		Protocol: model.ProtocolUDP,
		Queue:    -1,
		Reason:   fmt.Sprintf("AFD reason %d", int32(reason)),
		Location: "afd.sys",
	}
	if s := p.d.Sockets.Find(endpoint); s != nil {
		v.PID, v.LocalPort = s.PID, s.Local.Port()
		v.Process = p.d.Process(s.PID, t)
	}
	p.d.Out.AddDrop(v)
}

// oldDatagram decodes PacketSize, Address, Port, Reason.
func (p *etwProbe) oldDatagram(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	f.Skip(4)
	if r.ID == afdDrop6 {
		f.Skip(16)
	} else {
		f.Skip(4)
	}
	f.Skip(2)
	reason := f.U32()
	if f.Short() {
		return false
	}
	p.socket(r, t, endpoint, reason)
	return true
}

// datagram decodes Buffer, BufferLength, AddressLength, Address, Reason.
func (p *etwProbe) datagram(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	f.Pointer()
	f.Skip(4)
	f.SockAddr()
	reason := f.U32()
	if f.Short() {
		return false
	}
	p.socket(r, t, endpoint, reason)
	return true
}

// transport decodes IPTransportProtocol, AddressFamily, LocalSockAddr,
// RemoteSockAddr, Reason, PacketCount.
func (p *etwProbe) transport(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	protocol := f.U32()
	f.Skip(4)
	local := f.SockAddr()
	f.SockAddr()
	reason, count := f.U32(), f.U32()
	if f.Short() {
		return false
	}
	p.d.Out.AddDrop(
		model.Drop{
			Time:      t,
			CPU:       r.CPU,
			PID:       -1,
			TID:       -1,
			Place:     model.PlaceProtocol,
			Count:     uint64(count),
			Protocol:  etw.Protocol(protocol),
			LocalPort: local.Port(),
			Queue:     -1,
			Reason:    fmt.Sprintf("TCPIP transport reason %d", reason),
			Location:  "tcpip.sys",
		},
	)
	return true
}

// network decodes IPTransportProtocol, AddressFamily, IPv4 addresses, IPv6
// addresses with their lengths, Reason, PacketCount, IPProtocol and, since
// version 1, two SOCKADDRs and the interface.
func (p *etwProbe) network(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	protocol := f.U32()
	f.Skip(12)
	for range 2 {
		f.Skip(int(min(f.U32(), 1<<16)))
	}
	reason, count := f.U32(), f.U32()
	f.Skip(4)
	if f.Short() {
		return false
	}
	v := model.Drop{
		Time:     t,
		CPU:      r.CPU,
		PID:      -1,
		TID:      -1,
		Place:    model.PlaceProtocol,
		Count:    uint64(count),
		Protocol: etw.Protocol(protocol),
		Queue:    -1,
		Reason:   fmt.Sprintf("TCPIP network reason %d", reason),
		Location: "tcpip.sys",
	}
	if r.Version >= 1 {
		f.SockAddr()
		f.SockAddr()
		if index := f.U32(); !f.Short() {
			v.Ifindex = int64(index)
		}
	}
	p.d.Out.AddDrop(v)
	return true
}

// framing decodes PathDirection, AddressFamily, Interface, PacketCount, Reason.
func (p *etwProbe) framing(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	f.Skip(8)
	index, count, reason := f.U32(), f.U32(), f.U32()
	if f.Short() {
		return false
	}
	p.d.Out.AddDrop(
		model.Drop{
			Time:     t,
			CPU:      r.CPU,
			PID:      -1,
			TID:      -1,
			Place:    model.PlaceDevice,
			Count:    uint64(count),
			Ifindex:  int64(index),
			Queue:    -1,
			Reason:   fmt.Sprintf("TCPIP framing reason %d", reason),
			Location: "tcpip.sys",
		},
	)
	return true
}
