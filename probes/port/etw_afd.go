package port

import (
	"net/netip"

	"lostbeat/etw"
	"lostbeat/model"
)

// Events of Winsock-AFD. Those below 1000 are of Windows Vista; the others are
// logged when a request enters and once more when it has completed.
const (
	afdOldCreate   = 1
	afdOldBind4    = 2
	afdOldBind6    = 3
	afdOldClose    = 13
	afdOldBindFail = 40
	afdCreate      = 1000
	afdClose       = 1001
	afdConnect     = 1018
	afdConnectEx   = 1021
	afdBind        = 1029
	afdBindAddress = 1030
)

func afdBinds() []etw.Key {
	return []etw.Key{
		etw.Event(etw.ProviderAFD, afdBindAddress),
		etw.Event(etw.ProviderAFD, afdBind),
		etw.Event(etw.ProviderAFD, afdOldBind4),
		etw.Event(etw.ProviderAFD, afdOldBind6),
	}
}

func (p *etwProbe) registerAFD() {
	on := func(h etw.Handler, ids ...uint16) {
		for _, id := range ids {
			p.d.Handle(h, etw.Event(etw.ProviderAFD, id))
		}
	}
	on(p.oldBind, afdOldBind4, afdOldBind6)
	on(p.oldBindFail, afdOldBindFail)
	on(p.create, afdOldCreate, afdCreate)
	on(p.bind, afdBind, afdBindAddress)
	on(p.close, afdOldClose, afdClose)
	on(p.connect, afdConnect, afdConnectEx)
}

// socketProtocol returns the protocol of a socket from what was asked for:
// a protocol number, or 0 and a type.
func socketProtocol(kind, protocol uint32) model.Protocol {
	const stream, datagram = 1, 2
	switch {
	case protocol == 0 && kind == stream:
		return model.ProtocolTCP
	case protocol == 0 && kind == datagram:
		return model.ProtocolUDP
	}
	return etw.Protocol(protocol)
}

// create decodes AddressFamily, SocketType, Protocol and the process's id.
func (p *etwProbe) create(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	f.Skip(4)
	kind, protocol := f.U32(), f.U32()
	pid := int32(f.Pointer())
	if f.Short() {
		return false
	}
	p.created(endpoint, pid, socketProtocol(kind, protocol), r, t)
	return true
}

// created begins the life of an endpoint. Its address may have been another
// socket's, whose end was not seen.
func (p *etwProbe) created(endpoint uint64, pid int32, protocol model.Protocol, r *etw.Record, t model.Time) {
	s := p.d.Sockets.Make(endpoint)
	if s.Since != 0 && s.PID == pid && s.Protocol == protocol {
		return // the second record of one request
	}
	p.release(t, endpoint, s, r)
	*s = etw.Socket{PID: pid, Protocol: protocol}
}

// bind decodes Status and, in one of the two events, AddressLength and SOCKADDR. The port that was asked for stands in
// the first record, the one that was given in the second.
func (p *etwProbe) bind(r *etw.Record, t model.Time) bool {
	f, step, endpoint := r.AFD()
	status := f.U32()
	var addr netip.AddrPort
	if r.ID == afdBindAddress {
		addr = f.SockAddr()
	}
	if f.Short() {
		return false
	}
	s := p.d.Sockets.Make(endpoint)
	if s.PID < 0 {
		s.PID = r.PID
	}
	if step == etw.AFDEnter {
		s.Asked = addr
		return true
	}
	if step == etw.AFDExit && status != statusPending {
		p.bound(endpoint, s, addr, status, r, t)
	}
	return true
}

// bound ends a bind that may have failed.
func (p *etwProbe) bound(
	endpoint uint64,
	s *etw.Socket,
	addr netip.AddrPort,
	status uint32,
	r *etw.Record,
	t model.Time,
) {
	how := model.HowBindPort
	if s.Asked.IsValid() && s.Asked.Port() == 0 {
		how = model.HowBindAny
	}
	if !addr.IsValid() || addr.Port() == 0 {
		addr = s.Asked
	}
	s.Asked = netip.AddrPort{}
	if status != 0 {
		failed := *s
		failed.Local, failed.How = addr, how
		p.fail(t, endpoint, failed, r, status)
		return
	}
	s.Local, s.How = addr, how
	p.acquire(t, endpoint, s, r)
}

// oldBind decodes Address, Port, Status. Whether the port
// was chosen is not said.
func (p *etwProbe) oldBind(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	addr := f.IPv4
	if r.ID == afdOldBind6 {
		addr = f.IPv6
	}
	local := netip.AddrPortFrom(addr(), f.U16BE())
	status := f.U32()
	if f.Short() {
		return false
	}
	s := p.d.Sockets.Make(endpoint)
	if s.PID < 0 {
		s.PID = r.PID
	}
	s.How = model.HowUnknown
	if status != 0 {
		failed := *s
		failed.Local = local
		p.fail(t, endpoint, failed, r, status)
		return true
	}
	s.Local = local
	p.acquire(t, endpoint, s, r)
	return true
}

// oldBindFail decodes Error.
func (p *etwProbe) oldBindFail(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	status := f.U32()
	if f.Short() {
		return false
	}
	s := etw.Socket{PID: r.PID}
	if known := p.d.Sockets.Find(endpoint); known != nil {
		s = *known
	}
	p.fail(t, endpoint, s, r, status)
	return true
}

// connect decodes Buffer, BufferLength, Status and the remote SOCKADDR, which
// belongs to the socket from then on.
func (p *etwProbe) connect(r *etw.Record, _ model.Time) bool {
	f, _, endpoint := r.AFD()
	f.Pointer()
	f.Skip(8)
	addr := f.SockAddr()
	if f.Short() {
		return false
	}
	if s := p.d.Sockets.Find(endpoint); s != nil && addr.IsValid() {
		s.Remote = addr
	}
	return true
}

// close gives the port back when the request enters.
func (p *etwProbe) close(r *etw.Record, t model.Time) bool {
	f, _, endpoint := r.AFD()
	if f.Short() {
		return false
	}
	p.closed(endpoint, r, t)
	return true
}

func (p *etwProbe) closed(endpoint uint64, r *etw.Record, t model.Time) {
	p.release(t, endpoint, p.d.Sockets.Find(endpoint), r)
	p.d.Sockets.Forget(endpoint)
}
