package port

import (
	"fmt"
	"net/netip"

	"lostbeat/etw"
	"lostbeat/model"
)

// etwProbe decodes what Windows says about local ports and about RPC. Ports
// come from Winsock (AFD), where the process is known; from the transports
// only when the capture has no Winsock events, because both report the same
// socket. Failures are taken from both. Where neither is there, the kernel's
// network events show TCP connections.
type etwProbe struct {
	d *etw.Decoder
	// transport says that ports are taken from the TCPIP provider.
	transport bool
	calls     map[rpcCallKey]rpcCall
	registers map[int32]rpcRegistration
	// connections are those that the kernel's network events show.
	connections map[connection]*etw.Socket
	// pooled says that the pools have been emitted.
	pooled bool
	texts  map[netip.Addr]string
}

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe {
	return &etwProbe{
		calls:       make(map[rpcCallKey]rpcCall),
		registers:   make(map[int32]rpcRegistration),
		texts:       make(map[netip.Addr]string),
		connections: make(map[connection]*etw.Socket),
	}
}

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "port" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind {
	return []model.Kind{
		model.KindPortAcquire,
		model.KindPortRelease,
		model.KindPortFail,
		model.KindPortPool,
		model.KindRPCCall,
		model.KindRPCActive,
		model.KindRPCEndpoint,
	}
}

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	part := func(name string, state model.ProbeState, reason, hint string) model.Probe {
		return model.Probe{Name: p.Name(), Part: name, State: state, Reason: reason, Hint: hint}
	}
	sockets := part("sockets", model.ProbeOn, "", "")
	switch {
	case c.Has(afdBinds()...):
	case c.Has(transportPorts()...):
		sockets = part(
			"sockets",
			model.ProbeDegraded,
			"ports are known from the transports only: some have no process",
			"record with: logman start lostbeat -ets -p Microsoft-Windows-Winsock-AFD -o C:\\lostbeat.etl",
		)
	case c.Has(kernelKeys()...):
		sockets = part(
			"sockets",
			model.ProbeDegraded,
			"only TCP connections are known (kernel network events): binds, UDP and failures are not seen",
			"record with: logman start lostbeat -ets -p Microsoft-Windows-Winsock-AFD -o C:\\lostbeat.etl",
		)
	default:
		sockets = part(
			"sockets",
			model.ProbeOff,
			"no socket events in the capture",
			"record with: logman start lostbeat -ets -p Microsoft-Windows-Winsock-AFD -o C:\\lostbeat.etl",
		)
	}
	rpc := part("rpc", model.ProbeOn, "", "")
	if !c.Has(rpcKeys()...) {
		rpc = part(
			"rpc",
			model.ProbeOff,
			"no RPC events in the capture",
			"record with: logman start lostbeat -ets -p Microsoft-Windows-RPC -o C:\\lostbeat.etl",
		)
	}
	return []model.Probe{sockets, rpc}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	p.registerAFD()
	p.registerTransport()
	p.registerKernel()
	p.registerRPC()
}

// The dynamic port range of Windows since Vista, unless netsh has changed it.
const (
	dynamicLow  = 49152
	dynamicHigh = 65535
)

// pools emits the dynamic ranges before the first port. A capture does not
// have them: those of a fresh Windows are assumed, which the events say.
func (p *etwProbe) pools(t model.Time) {
	if p.pooled || p.d.State.Pooled {
		return
	}
	p.pooled = true
	for _, protocol := range []model.Protocol{model.ProtocolTCP, model.ProtocolUDP} {
		p.d.Out.AddPortPool(
			model.PortPool{
				Time:     t,
				Flags:    model.FlagSecondary,
				Protocol: protocol,
				Low:      dynamicLow,
				High:     dynamicHigh,
				Size:     dynamicHigh - dynamicLow + 1,
				Source:   model.PoolEphemeral,
				Name:     "dynamic (assumed default)",
			},
		)
	}
}

// acquire marks a socket as holding its local port and says so.
func (p *etwProbe) acquire(t model.Time, key uint64, s *etw.Socket, r *etw.Record) {
	if s.Local.Port() == 0 {
		return
	}
	if s.Since != 0 {
		p.release(t, key, s, r) // the end of its last life was not seen
	}
	s.Since = t
	p.pools(t)
	p.d.Out.AddPortAcquire(
		model.PortAcquire{
			Time:       t,
			PID:        s.PID,
			TID:        threadOf(r, s.PID),
			Cookie:     key,
			Protocol:   s.Protocol,
			LocalPort:  s.Local.Port(),
			RemotePort: s.Remote.Port(),
			How:        s.How,
			LocalAddr:  p.text(s.Local.Addr()),
			RemoteAddr: p.text(s.Remote.Addr()),
			Process:    p.d.Process(s.PID, t),
		},
	)
}

// release says that a socket gives its port back, if it holds one.
func (p *etwProbe) release(t model.Time, key uint64, s *etw.Socket, r *etw.Record) {
	if s == nil || s.Since == 0 {
		return
	}
	p.d.Out.AddPortRelease(
		model.PortRelease{
			Time:       t,
			Dur:        t.Sub(s.Since),
			PID:        s.PID,
			TID:        threadOf(r, s.PID),
			Cookie:     key,
			Protocol:   s.Protocol,
			LocalPort:  s.Local.Port(),
			RemotePort: s.Remote.Port(),
			How:        model.HowClose,
			LocalAddr:  p.text(s.Local.Addr()),
			RemoteAddr: p.text(s.Remote.Addr()),
			Process:    p.d.Process(s.PID, t),
		},
	)
	s.Since = 0
}

// fail says that a port could not be taken.
func (p *etwProbe) fail(t model.Time, key uint64, s etw.Socket, r *etw.Record, status uint32) {
	p.pools(t)
	p.d.Out.AddPortFail(
		model.PortFail{
			Time:       t,
			PID:        s.PID,
			TID:        threadOf(r, s.PID),
			Cookie:     key,
			Protocol:   s.Protocol,
			LocalPort:  s.Local.Port(),
			RemotePort: s.Remote.Port(),
			How:        s.How,
			Error:      int64(status),
			LocalAddr: p.text(
				s.Local.Addr(),
			),
			RemoteAddr: p.text(s.Remote.Addr()),
			Process:    p.d.Process(s.PID, t),
			ErrorName:  ntStatusName(status),
		},
	)
}

// threadOf returns the thread that logged r when it is one of the process: the
// transports complete requests on any thread.
func threadOf(r *etw.Record, pid int32) int32 {
	if r.PID != pid {
		return -1
	}
	return r.TID
}

// etwMaxTexts limits the addresses that are kept in text.
const etwMaxTexts = 1 << 14

func (p *etwProbe) text(a netip.Addr) string {
	s, ok := p.texts[a]
	if !ok {
		if len(p.texts) >= etwMaxTexts {
			clear(p.texts)
		}
		s = etw.AddrText(a)
		p.texts[a] = s
	}
	return s
}

// statusPending is the status of a request that has not completed.
const statusPending = 0x103

// ntStatusNames are the statuses with which ports fail.
var ntStatusNames = map[uint32]string{
	0xc0000022: "STATUS_ACCESS_DENIED",
	0xc000009a: "STATUS_INSUFFICIENT_RESOURCES",
	0xc0000043: "STATUS_SHARING_VIOLATION",
	0xc0000141: "STATUS_INVALID_ADDRESS_COMPONENT",
	0xc0000207: "STATUS_INVALID_ADDRESS_WILDCARD",
	0xc0000209: "STATUS_TOO_MANY_ADDRESSES",
	0xc000020a: "STATUS_ADDRESS_ALREADY_EXISTS",
	0xc0000236: "STATUS_CONNECTION_REFUSED",
}

// ntStatusName returns the name of an NTSTATUS or RPC status, its number in
// hexadecimal when it has none here.
func ntStatusName(status uint32) string {
	if name, ok := ntStatusNames[status]; ok {
		return name
	}
	if name := model.RPCStatusName(int64(status)); name != "" {
		return name
	}
	return fmt.Sprintf("0x%08x", status)
}
