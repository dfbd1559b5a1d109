package port

import (
	"net/netip"

	"lostbeat/etw"
	"lostbeat/model"
)

// Opcodes of TcpIp and event ids of Kernel-Network, which are the same; 16
// more for IPv6.
const (
	kernelConnect    = 12
	kernelDisconnect = 13
	kernelAccept     = 15
	kernelV6         = 16
)

// kernelMaxConnections limits the connections that are followed.
const kernelMaxConnections = 1 << 17

// connection identifies a TCP connection.
type connection struct{ local, remote netip.AddrPort }

func kernelKeys() []etw.Key {
	var keys []etw.Key
	for _, op := range []uint16{kernelConnect, kernelDisconnect, kernelAccept} {
		for _, id := range []uint16{op, op + kernelV6} {
			keys = append(keys, etw.Opcode(etw.ClassTCPIP, uint8(id)), etw.Event(etw.ProviderKernelNetwork, id))
		}
	}
	return keys
}

// registerKernel takes TCP connections from the kernel's network events when
// the capture has nothing better: other providers report the same sockets.
func (p *etwProbe) registerKernel() {
	census := p.d.State.Census
	if census == nil || census.Has(afdBinds()...) || census.Has(transportPorts()...) {
		return
	}
	p.d.Handle(p.kernelConnection, kernelKeys()...)
}

// kernelConnection decodes PID, size, destination, source and their ports. The
// source is the local end.
func (p *etwProbe) kernelConnection(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	pid := f.PID()
	f.Skip(4)
	addr, op := f.IPv4, r.ID
	if op >= kernelV6+kernelConnect {
		addr, op = f.IPv6, op-kernelV6
	}
	remote, local := addr(), addr()
	c := connection{remote: netip.AddrPortFrom(remote, f.U16BE()), local: netip.AddrPortFrom(local, f.U16BE())}
	if f.Short() || r.Classic() && r.Version == 0 {
		return false
	}
	s := p.connections[c]
	if op == kernelDisconnect {
		p.release(t, 0, s, r)
		delete(p.connections, c)
		return true
	}
	p.release(t, 0, s, r)
	if len(p.connections) >= kernelMaxConnections {
		clear(p.connections)
	}
	s = &etw.Socket{PID: pid, Protocol: model.ProtocolTCP, Local: c.local, Remote: c.remote, How: model.HowConnect}
	if op == kernelAccept {
		s.How = model.HowAccept
	}
	p.connections[c] = s
	p.acquire(t, 0, s, r)
	return true
}
