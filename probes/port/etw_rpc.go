package port

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lostbeat/etw"
	"lostbeat/model"
)

// Events of Microsoft-Windows-RPC and -RPCSS.
const (
	rpcError        = 1
	rpcClientStart  = 5
	rpcServerStart  = 6
	rpcClientStop   = 7
	rpcServerStop   = 8
	rpcUseProtocol  = 16
	rpcUsedProtocol = 17

	rpcssRegister   = 2
	rpcssUnregister = 3
)

// rpcMaxCalls limits the calls that are remembered until they end.
const rpcMaxCalls = 1 << 16

// rpcCallKey identifies a call: its activity, or its thread where it has none.
type rpcCallKey struct {
	activity etw.GUID
	tid      int32
	server   bool
}

type rpcCall struct {
	start               model.Time
	iface               etw.GUID
	procedure, protocol uint32
	address, endpoint   string
	process             string
	pid, tid            int32
	server              bool
}

// rpcRegistration is a RpcServerUseProtseq under way on a thread.
type rpcRegistration struct {
	protocol, endpoint string
}

func rpcKeys() []etw.Key {
	var keys []etw.Key
	for _, id := range []uint16{rpcError, rpcClientStart, rpcServerStart, rpcClientStop, rpcServerStop, rpcUseProtocol} {
		keys = append(keys, etw.Event(etw.ProviderRPC, id))
	}
	return keys
}

func (p *etwProbe) registerRPC() {
	on := func(h etw.Handler, ids ...uint16) {
		for _, id := range ids {
			p.d.Handle(h, etw.Event(etw.ProviderRPC, id))
		}
	}
	on(p.callStart, rpcClientStart, rpcServerStart)
	on(p.callStop, rpcClientStop, rpcServerStop)
	on(p.callError, rpcError)
	on(p.useProtocol, rpcUseProtocol)
	on(p.usedProtocol, rpcUsedProtocol)
	p.d.AtEnd(p.openCalls)
	p.d.Handle(p.endpoint, etw.Event(etw.ProviderRPCSS, rpcssRegister), etw.Event(etw.ProviderRPCSS, rpcssUnregister))
}

// keyOf pairs starts and stops.
func keyOf(r *etw.Record) rpcCallKey {
	k := rpcCallKey{activity: r.Activity, server: r.ID == rpcServerStart || r.ID == rpcServerStop}
	if r.Activity == (etw.GUID{}) {
		k.tid = r.TID
	}
	return k
}

// callStart decodes InterfaceUuid, ProcNum, Protocol, NetworkAddress, Endpoint.
func (p *etwProbe) callStart(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	c := rpcCall{
		start:     t,
		iface:     f.GUID(),
		procedure: f.U32(),
		protocol:  f.U32(),
		address:   f.UTF16(),
		endpoint:  f.UTF16(),
		pid:       r.PID,
		tid:       r.TID,
		server:    r.ID == rpcServerStart,
	}
	if f.Short() {
		return false
	}
	c.process = p.d.Process(r.PID, t)
	if len(p.calls) >= rpcMaxCalls {
		for k := range p.calls {
			delete(p.calls, k)
			break
		}
	}
	p.calls[keyOf(r)] = c
	return true
}

// callStop decodes Status.
func (p *etwProbe) callStop(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	status := f.U32()
	if f.Short() {
		return false
	}
	k := keyOf(r)
	c, ok := p.calls[k]
	delete(p.calls, k)
	v := model.RPCCall{
		Time:    t,
		PID:     r.PID,
		TID:     r.TID,
		Status:  int64(status),
		Server:  k.server,
		Process: p.d.Process(r.PID, t),
	}
	if ok {
		v.Dur = max(t.Sub(c.start), 0)
		v.Procedure, v.Transport, v.Interface, v.Endpoint, v.Address = int64(
			c.procedure,
		), int64(
			c.protocol,
		), c.iface.String(), c.endpoint, c.address
		v.PID, v.TID = c.pid, c.tid
	}
	p.d.Out.AddRPCCall(v)
	return true
}

// openCalls emits the calls that have not ended, the oldest first.
func (p *etwProbe) openCalls(t model.Time) {
	for _, c := range slices.SortedFunc(maps.Values(p.calls), func(a, b rpcCall) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.tid, b.tid), cmp.Compare(a.procedure, b.procedure))
	}) {
		p.d.Out.AddRPCActive(
			model.RPCActive{
				Time:      t,
				Dur:       max(t.Sub(c.start), 0),
				PID:       c.pid,
				TID:       c.tid,
				Procedure: int64(c.procedure),
				Transport: int64(c.protocol),
				Server:    c.server,
				Interface: c.iface.String(),
				Endpoint:  c.endpoint,
				Address:   c.address,
				Process:   c.process,
			},
		)
	}
}

// callError decodes the extended error record of a call: ImageName,
// ComputerName, ProcessID, TimeStamp, GeneratingComponent, Status. One failure
// makes several of them, so they are secondary to the call's own status.
func (p *etwProbe) callError(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	image := f.UTF16()
	f.UTF16()
	pid := f.PID()
	f.Skip(16 + 4)
	status := f.U32()
	if f.Short() {
		return false
	}
	name := etw.BaseName(image)
	if name == "" {
		name = p.d.Process(pid, t)
	}
	p.d.Out.AddRPCCall(
		model.RPCCall{Time: t, Flags: model.FlagSecondary, PID: pid, TID: r.TID, Status: int64(status), Process: name},
	)
	return true
}

// useProtocol decodes Protocol, Endpoint: a server asks for an endpoint.
func (p *etwProbe) useProtocol(r *etw.Record, _ model.Time) bool {
	f := r.Fields()
	v := rpcRegistration{protocol: f.UTF16(), endpoint: f.UTF16()}
	if f.Short() {
		return false
	}
	if len(p.registers) < rpcMaxCalls {
		p.registers[r.TID] = v
	}
	return true
}

// usedProtocol decodes RPCStatus: the answer to the thread's request. A
// failure is a port that could not be had.
func (p *etwProbe) usedProtocol(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	status := f.U32()
	if f.Short() {
		return false
	}
	v, ok := p.registers[r.TID]
	delete(p.registers, r.TID)
	if status == 0 || ok && sequenceProtocol(v.protocol) == model.ProtocolUnknown {
		return true
	}
	p.d.Out.AddPortFail(
		model.PortFail{
			Time:      t,
			PID:       r.PID,
			TID:       r.TID,
			Protocol:  sequenceProtocol(v.protocol),
			LocalPort: endpointPort(v.endpoint),
			How:       model.HowRPC,
			Error:     int64(status),
			Process:   p.d.Process(r.PID, t),
			ErrorName: ntStatusName(status),
		},
	)
	return true
}

// sequenceProtocol returns the transport of an RPC protocol sequence that uses
// ports, unknown for the others.
func sequenceProtocol(sequence string) model.Protocol {
	switch strings.ToLower(sequence) {
	case "ncacn_ip_tcp", "ncacn_http":
		return model.ProtocolTCP
	case "ncadg_ip_udp":
		return model.ProtocolUDP
	}
	return model.ProtocolUnknown
}

// endpointPort returns the port that an endpoint names, 0 when it names none.
func endpointPort(endpoint string) uint16 {
	n, err := strconv.ParseUint(endpoint, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// endpoint decodes InterfaceUUID, ObjectUUID, Protocol, EndPoint: the endpoint
// mapper takes or drops an endpoint.
func (p *etwProbe) endpoint(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	iface := f.GUID()
	f.Skip(16)
	sequence, endpoint := f.ANSI(), f.ANSI()
	if f.Short() {
		return false
	}
	protocol := sequenceProtocol(sequence)
	if protocol == model.ProtocolUnknown {
		protocol = model.ProtocolOther
		endpoint = sequence + "[" + endpoint + "]"
	}
	p.d.Out.AddRPCEndpoint(
		model.RPCEndpoint{
			Time:      t,
			PID:       r.PID,
			TID:       r.TID,
			Protocol:  protocol,
			LocalPort: endpointPort(endpoint),
			Removed:   r.ID == rpcssUnregister,
			Interface: iface.String(),
			Endpoint:  endpoint,
			Process:   p.d.Process(r.PID, t),
		},
	)
	return true
}
