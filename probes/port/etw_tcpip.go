package port

import (
	"net/netip"

	"lostbeat/etw"
	"lostbeat/model"
)

// Events of Microsoft-Windows-TCPIP.
const (
	tcpBindPortFailure     = 1006
	tcpConnectComplete     = 1033
	tcpCloseRequest        = 1038
	tcpAbortRequest        = 1039
	tcpConnectFailedPort   = 1050
	tcpReservationFailed   = 1053
	tcpListenerPortFailure = 1122
	udpCreateComplete      = 1391
	udpBindPortFailure     = 1394
	udpBindComplete        = 1396
	udpCloseBound          = 1397
)

func transportPorts() []etw.Key {
	return []etw.Key{etw.Event(etw.ProviderTCPIP, udpBindComplete), etw.Event(etw.ProviderTCPIP, tcpConnectComplete)}
}

func (p *etwProbe) registerTransport() {
	census := p.d.State.Census
	p.transport = census == nil || !census.Has(afdBinds()...)
	on := func(h etw.Handler, ids ...uint16) {
		for _, id := range ids {
			p.d.Handle(h, etw.Event(etw.ProviderTCPIP, id))
		}
	}
	on(p.bindFailure, tcpBindPortFailure)
	on(p.udpBind, udpBindPortFailure, udpBindComplete, udpCloseBound)
	on(p.udpCreate, udpCreateComplete)
	on(p.tcpConnection, tcpConnectComplete, tcpCloseRequest, tcpAbortRequest, tcpConnectFailedPort)
	on(p.reservation, tcpReservationFailed)
	on(p.listenerFailure, tcpListenerPortFailure)
}

// bindFailure decodes [Endpoint,] LocalAddress, Status.
func (p *etwProbe) bindFailure(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	key := uint64(0)
	if r.Version >= 1 {
		key = f.Pointer()
	}
	local := f.SockAddr()
	status := f.U32()
	if f.Short() {
		return false
	}
	p.fail(t, key, etw.Socket{PID: r.PID, Protocol: model.ProtocolTCP, Local: local, How: bindHow(local)}, r, status)
	return true
}

// bindHow tells a bind to a port of the caller's choice from one to any.
func bindHow(local netip.AddrPort) model.How {
	if local.Port() == 0 {
		return model.HowBindAny
	}
	return model.HowBindPort
}

// udpCreate decodes Endpoint, Status, ProcessId.
func (p *etwProbe) udpCreate(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	key, status, pid := f.Pointer(), f.U32(), f.PID()
	if f.Short() {
		return false
	}
	if status == 0 {
		p.created(key, pid, model.ProtocolUDP, r, t)
	}
	return true
}

// udpBind decodes LocalAddress, Status, Endpoint and, since version 1, Pid.
func (p *etwProbe) udpBind(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	local := f.SockAddr()
	status := f.U32()
	key := f.Pointer()
	pid := int32(-1)
	if r.ID == udpBindComplete && r.Version >= 1 {
		pid = f.PID()
	}
	if f.Short() {
		return false
	}
	if r.ID == udpCloseBound {
		p.closed(key, r, t)
		return true
	}
	s := p.d.Sockets.Make(key)
	s.Protocol = model.ProtocolUDP
	if pid >= 0 {
		s.PID = pid
	} else if s.PID < 0 {
		s.PID = r.PID
	}
	if status != 0 || r.ID == udpBindPortFailure {
		failed := *s
		failed.Local, failed.How = local, bindHow(local)
		p.fail(t, key, failed, r, status)
		return true
	}
	s.Local = local
	// The event gives the port that was taken, not the one that was asked for.
	s.How = model.HowUnknown
	if p.transport {
		p.acquire(t, key, s, r)
	}
	return true
}

// tcpConnection decodes LocalAddress, RemoteAddress, Status, ProcessId,
// Compartment, Tcb.
func (p *etwProbe) tcpConnection(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	local, remote := f.SockAddr(), f.SockAddr()
	status, pid := f.U32(), f.PID()
	f.Skip(4)
	key := f.Pointer()
	if f.Short() {
		return false
	}
	s := etw.Socket{PID: pid, Protocol: model.ProtocolTCP, Local: local, Remote: remote, How: model.HowConnect}
	switch r.ID {
	case tcpConnectFailedPort:
		p.fail(t, key, s, r, status)
	case tcpConnectComplete:
		if p.transport && status == 0 {
			known := p.d.Sockets.Make(key)
			p.release(t, key, known, r)
			*known = s
			p.acquire(t, key, known, r)
		}
	default:
		p.closed(key, r, t)
	}
	return true
}

// reservation decodes ProcessId, Status, StartPort, NumberOfPorts.
func (p *etwProbe) reservation(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	pid, status, port := f.PID(), f.U32(), f.U16()
	if f.Short() {
		return false
	}
	p.fail(
		t,
		0,
		etw.Socket{
			PID:      pid,
			Protocol: model.ProtocolTCP,
			Local:    netip.AddrPortFrom(netip.Addr{}, port),
			How:      model.HowBindPort,
		},
		r,
		status,
	)
	return true
}

// listenerFailure decodes Listener, SocketAddress, Status, ProcessId.
func (p *etwProbe) listenerFailure(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	key := f.Pointer()
	local := f.SockAddr()
	status, pid := f.U32(), f.PID()
	if f.Short() {
		return false
	}
	p.fail(t, key, etw.Socket{PID: pid, Protocol: model.ProtocolTCP, Local: local, How: model.HowListen}, r, status)
	return true
}
