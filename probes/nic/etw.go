package nic

import (
	"fmt"

	"lostbeat/etw"
	"lostbeat/model"
)

// Events of NDIS and TCPIP about adapters.
const (
	ndisReset           = 10400
	tcpipRSSPort        = 1231
	tcpipRSSCapability  = 1233
	tcpipRSSBindRundown = 1245
)

// etwProbe decodes adapter resets and what the stack says about receive-side
// scaling.
type etwProbe struct {
	d *etw.Decoder
	// interfaces are the interface indexes of adapters.
	interfaces map[uint32]uint32
}

// NewETW returns the Windows half of the probe.
func NewETW() etw.Probe { return &etwProbe{interfaces: make(map[uint32]uint32)} }

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return "nic" }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind {
	return []model.Kind{model.KindDeviceEvent, model.KindDeviceConfig}
}

// Status implements etw.Probe. A capture without resets is the normal case, so
// nothing can be said about whether they would have been recorded.
func (p *etwProbe) Status(etw.Census) []model.Probe {
	return []model.Probe{
		{
			Name:   p.Name(),
			State:  model.ProbeDegraded,
			Reason: "captures have no adapter statistics: ring discards are not seen",
			Hint:   "also record a performance counter log of the Network Interface object",
		},
	}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	d.HandlePassing(p.reset, etw.Event(etw.ProviderNDIS, ndisReset))
	d.Handle(p.port, etw.Event(etw.ProviderTCPIP, tcpipRSSPort), etw.Event(etw.ProviderTCPIP, tcpipRSSBindRundown))
	d.Handle(p.capability, etw.Event(etw.ProviderTCPIP, tcpipRSSCapability))
}

// reset decodes IfGuid, IfIndex, IfLuid, AdapterName, ResetReason, ResetCount.
func (p *etwProbe) reset(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	f.Skip(16)
	index := f.U32()
	f.Skip(8)
	name := f.UTF16()
	reason, count := f.U32(), f.U32()
	if f.Short() {
		return false
	}
	p.d.Out.AddDeviceEvent(
		model.DeviceEvent{
			Time:    t,
			Ifindex: int64(index),
			Device:  name,
			What:    model.DeviceReset,
			Detail:  fmt.Sprintf("NDIS reason %d, reset %d", reason, count),
		},
	)
	return true
}

// maxInterfaces limits the adapters that are remembered.
const maxInterfaces = 1 << 12

// port decodes which interface an adapter serves.
func (p *etwProbe) port(r *etw.Record, _ model.Time) bool {
	f := r.Fields()
	adapter, index := f.U32(), f.U32()
	if r.ID == tcpipRSSBindRundown {
		adapter, index = index, adapter
	}
	if f.Short() {
		return false
	}
	if len(p.interfaces) < maxInterfaces {
		p.interfaces[adapter] = index
	}
	return true
}

// capability decodes AdapterIndex, CapabilitiesFlags,
// NumberOfInterruptMessages, NumberOfReceiveQueues.
func (p *etwProbe) capability(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	adapter := f.U32()
	f.Skip(8)
	queues := f.U32()
	if f.Short() {
		return false
	}
	index, ok := p.interfaces[adapter]
	if !ok {
		return true // which interface it serves is not known
	}
	name := fmt.Sprintf("interface %d", index)
	for _, a := range p.d.State.Host.Adapters {
		if a.Index == index {
			name = a.Description
		}
	}
	p.d.Out.AddDeviceConfig(
		model.DeviceConfig{
			Time:       t,
			Ifindex:    int64(index),
			RXQueues:   uint64(queues),
			Device:     name,
			RingSource: "not in the capture",
		},
	)
	return true
}
