package pktmon

import (
	"fmt"
	"time"

	"lostbeat/etw"
	"lostbeat/internal/frame"
	"lostbeat/model"
	"lostbeat/source/wire"
)

// etwProbe decodes captured packets.
type etwProbe struct {
	d     *etw.Decoder
	flows *wire.Flows
	// seen are the packets that were counted at another adapter, or, without the names of components, anywhere.
	seen wire.Recent[uint32]
	// layers are the layers at which each adapter of NDIS packet capture is counted, parts the fragments of packets by
	// CPU.
	layers map[uint32]uint32
	parts  map[int32]*parts
	drops  drops
	packet frame.Packet
	// names are those of the values of fields, as the capture has them; nil before they were asked for.
	names *valueNames
}

// valueNames are the names of the values of fields.
type valueNames struct {
	directions, types, reasons, locations map[uint32]string
}

// NewETW returns the probe.
func NewETW() etw.Probe {
	return &etwProbe{layers: map[uint32]uint32{}, parts: map[int32]*parts{}}
}

// Name implements etw.Probe.
func (p *etwProbe) Name() string { return Definition().Name }

// Kinds implements etw.Probe.
func (p *etwProbe) Kinds() []model.Kind { return Definition().Kinds }

// Status implements etw.Probe.
func (p *etwProbe) Status(c etw.Census) []model.Probe {
	packets := model.Probe{Name: p.Name(), Part: "packets", State: model.ProbeOn}
	drops := model.Probe{Name: p.Name(), Part: "drops", State: model.ProbeOn}
	if !c.Has(etw.Event(etw.ProviderPktMon, etw.PktMonPacket), etw.Event(etw.ProviderNDISCapture, ndisFragment)) {
		packets.State = model.ProbeOff
		packets.Reason = "no captured packets in the capture"
		packets.Hint = "record with: pktmon start --capture --file-name C:\\lostbeat.etl"
	}
	switch {
	case c.Has(etw.Event(etw.ProviderPktMon, etw.PktMonDropped)):
	case c.Has(etw.Event(etw.ProviderPktMon, etw.PktMonDropCounters)):
		drops.Reason = "no drop was recorded by Packet Monitor"
	case c.Has(etw.Event(etw.ProviderPktMon, etw.PktMonPacket)):
		drops.State = model.ProbeOff
		drops.Reason = "drops were not recorded by Packet Monitor, or the capture was cut off before its counters"
		drops.Hint = "record with: pktmon start --capture --type all --file-name C:\\lostbeat.etl, and stop it before copying"
	default:
		drops.State = model.ProbeOff
		drops.Reason = "no Packet Monitor events in the capture: drops by drivers and protocols are not known"
		drops.Hint = "record with: pktmon start --capture --file-name C:\\lostbeat.etl"
	}
	return []model.Probe{packets, drops}
}

// Register implements etw.Probe.
func (p *etwProbe) Register(d *etw.Decoder) {
	p.d = d
	p.flows = wire.NewFlows(d.Options.Follow)
	d.HandlePassing(p.appearance, etw.Event(etw.ProviderPktMon, etw.PktMonPacket))
	d.HandlePassing(p.dropped, etw.Event(etw.ProviderPktMon, etw.PktMonDropped))
	d.HandlePassing(p.fragment, etw.Event(etw.ProviderNDISCapture, ndisFragment))
	d.EveryInterval(p.interval)
	d.AtEnd(p.end)
	if d.State.Monitor != nil {
		d.AtStart(p.introduce)
	}
}

// introduce says how the packets were captured.
func (p *etwProbe) introduce(t model.Time) {
	p.d.Out.AddMeta(model.Meta{Time: t, Key: model.MetaCapturedOn, Value: "the host of the trace"})
	for i, note := range p.d.State.Monitor.Notes() {
		p.d.Out.AddMeta(model.Meta{Time: t, Key: fmt.Sprint(model.MetaNote, i+1), Value: note})
	}
}

// values returns the names of the values of fields.
func (p *etwProbe) values() *valueNames {
	if p.names == nil {
		of := func(field string) map[uint32]string {
			if v := p.d.State.Values(etw.ProviderPktMon, etw.PktMonDropped, field); v != nil {
				return v
			}
			return p.d.State.Values(etw.ProviderPktMon, etw.PktMonPacket, field)
		}
		p.names = &valueNames{of("DirTag"), of("PacketType"), of("DropReason"), of("DropLocation")}
	}
	return p.names
}

// report is an event of Packet Monitor about one packet.
type report struct {
	group                               uint64
	number, appearance, direction, kind uint16
	component, edge                     uint16
	reason, location                    uint32
	original, logged                    int
	payload                             []byte
	way                                 frame.Direction
	link                                frame.Link
	hasLink                             bool
}

var (
	directionNames = map[uint32]string{1: "In", 2: "Out", 3: "Rx", 4: "Tx", 5: "Ingress", 6: "Egress"}
	typeNames      = map[uint32]string{1: "Ethernet", 2: "WiFi", 3: "IP"}
	ways           = map[string]frame.Direction{
		"In": frame.In, "Rx": frame.In, "Ingress": frame.In,
		"Out": frame.Out, "Tx": frame.Out, "Egress": frame.Out,
	}
	links = map[string]frame.Link{"Ethernet": frame.LinkEthernet, "WiFi": frame.LinkWiFi, "IP": frame.LinkRaw}
)

// named returns what the name of a value stands for: the name that the capture has, or the usual one of its number.
func named[T any](table map[string]T, n uint16, names, usual map[uint32]string) (v T, ok bool) {
	if v, ok = table[names[uint32(n)]]; ok {
		return v, true
	}
	v, ok = table[usual[uint32(n)]]
	return v, ok
}

// read decodes an event about a packet.
func (p *etwProbe) read(r *etw.Record) (e report, ok bool) {
	f := r.Fields()
	e.group = f.U64()
	e.number, e.appearance, e.direction, e.kind = f.U16(), f.U16(), f.U16(), f.U16()
	e.component, e.edge = f.U16(), f.U16()
	f.Skip(2)
	e.reason, e.location = f.U32(), f.U32()
	e.original, e.logged = int(f.U16()), int(f.U16())
	if f.Short() {
		return e, false
	}
	e.payload = f.Bytes(min(e.logged, f.Len()))
	names := p.values()
	e.way, _ = named(ways, e.direction, names.directions, directionNames)
	e.link, e.hasLink = named(links, e.kind, names.types, typeNames)
	return e, true
}

// decode reads the headers of the packet of a report into p.packet.
func (p *etwProbe) decode(e *report) bool {
	p.packet = frame.Packet{}
	ok := e.hasLink && frame.Decode(e.link, e.payload, e.original, &p.packet)
	p.packet.Direction = e.way
	return ok
}

// appearance takes a packet at one of the components that it passes.
func (p *etwProbe) appearance(r *etw.Record, t model.Time) bool {
	e, ok := p.read(r)
	if !ok {
		return false
	}
	m, adapter := p.d.State.Monitor, uint32(e.component)
	switch {
	case e.appearance > 1:
		return true
	case e.appearance == 1: // Windows before 11 24H2 numbers the appearances
	case m == nil || len(m.Components) == 0:
		adapter = 0 // a capture that was cut off has no components: the first of the same bytes counts
	default:
		c := m.Components[e.component]
		if c == nil || !c.Adapter() || e.edge != 1 {
			return true
		}
	}
	if !p.decode(&e) || !p.known(t, adapter) {
		p.add(t, r.CPU)
	}
	return true
}

// known reports whether a packet was counted a moment ago, at another adapter: a virtual one and its own pass it on.
// Adapter 0 stands for any.
func (p *etwProbe) known(t model.Time, adapter uint32) bool {
	p.seen.Expire(t.Add(-wire.SameWithin), nil)
	if p.packet.IP == nil {
		return false
	}
	if o := p.seen.Find(p.packet.IP); o != nil && (adapter == 0 || o.Data != adapter) {
		return true
	}
	if o := p.seen.Add(t, p.packet.IP); o != nil {
		o.Data = adapter
	}
	return false
}

// add emits the packet that was decoded last.
func (p *etwProbe) add(t model.Time, cpu int32) { p.flows.Add(p.d.Out, t, &p.packet, cpu) }

// Events of NDIS packet capture, and the keywords of its packets.
const (
	ndisFragment = 1001

	ndisWiFi  = 0x10000
	ndisStart = 0x40000000
	ndisEnd   = 0x80000000
	ndisSent  = 0x100000000
	ndisGot   = 0x200000000
	ndisWWAN  = 0x200
)

// parts are the fragments of a packet that is not complete.
type parts struct {
	data []byte
	size int
	at   model.Time
}

// Bounds of what is remembered of NDIS packet capture.
const (
	maxParts     = 1 << 10
	maxPart      = 64 << 10
	maxLayers    = 1 << 12
	partsTimeout = time.Second
)

// fragment takes a packet, or a part of one, at a layer of an adapter.
func (p *etwProbe) fragment(r *etw.Record, t model.Time) bool {
	f := r.Fields()
	miniport, lower, size := f.U32(), f.U32(), int(f.U32())
	if f.Short() {
		return false
	}
	layer, ok := p.layers[miniport]
	if !ok && len(p.layers) < maxLayers {
		layer = p.d.State.CaptureLayer(miniport, lower)
		p.layers[miniport] = layer
	}
	if lower != layer {
		return true
	}
	data := f.Bytes(min(size, f.Len()))
	whole := r.Keyword&(ndisStart|ndisEnd) == ndisStart|ndisEnd || r.Keyword&(ndisStart|ndisEnd) == 0
	if !whole {
		part := p.parts[r.CPU]
		if part == nil {
			if len(p.parts) >= maxParts {
				return true
			}
			part = new(parts)
			p.parts[r.CPU] = part
		}
		if r.Keyword&ndisStart != 0 || t.Sub(part.at) > partsTimeout {
			part.data, part.size = part.data[:0], 0
		}
		part.at = t
		part.size += size
		part.data = append(part.data, data[:min(len(data), maxPart-len(part.data))]...)
		if r.Keyword&ndisEnd == 0 {
			return true
		}
		data, size = part.data, part.size
	}
	link := frame.LinkEthernet
	switch {
	case r.Keyword&ndisWiFi != 0:
		link = frame.LinkWiFi
	case r.Keyword&ndisWWAN != 0:
		link = frame.LinkRaw
	}
	frame.Decode(link, data, size, &p.packet)
	switch r.Keyword & (ndisSent | ndisGot) {
	case ndisSent:
		p.packet.Direction = frame.Out
	case ndisGot:
		p.packet.Direction = frame.In
	}
	if !p.known(t, miniport|1<<31) {
		p.add(t, r.CPU)
	}
	return true
}
