package etltest

import "lostbeat/etw"

// Kinds of components of Packet Monitor, and of its packets, as the value maps of MonitorSchemas name them. Those of
// tcpip.sys have no name, as in Windows.
const (
	MonitorMiniport = 1
	MonitorFilter   = 2
	MonitorTCPIP    = 11

	MonitorEthernet = 1
	MonitorWiFi     = 2
	MonitorIP       = 3

	MonitorRx = 3
	MonitorTx = 4
)

// Reasons that MonitorSchemas names.
const (
	MonitorSessionState      = 1206
	MonitorReceiveInspection = 1207
	MonitorInspectionDrop    = 909
	MonitorNoEndpoint        = 1204
	MonitorNotLocal          = 902
	MonitorUnresolved        = 922
	MonitorUnresolvable      = 923
	MonitorQueueFull         = 217
	MonitorUnknown           = 4999
)

// MonitorReport is what Packet Monitor reports of a packet: that it passed a component, or was dropped.
type MonitorReport struct {
	Group            uint64
	Appearance       uint16
	Direction, Kind  uint16
	Component, Edge  uint16
	Reason, Location uint32
	Original         int // 0 is the length of Payload
	Payload          []byte
	Dropped          bool
	CPU              int32
}

func (w *Writer) monitor(cpu int32, ns int64, id uint16, p *Payload) {
	w.Event(cpu, ns, etw.ProviderPktMon, id, 0, 4, 8, etw.GUID{}, p)
}

// schema adds a description of an event, or a value map.
func (w *Writer) schema(ns int64, opcode uint16, payload []byte) {
	w.Add(etw.Record{
		Header: etw.HeaderFull, PointerSize: w.o.PointerSize, Class: etw.ClassEventInfo, ID: opcode, Time: w.Ticks(ns),
		Payload: payload,
	})
}

// MonitorSchemas adds the descriptions of the events of Packet Monitor, as it writes them when it stops.
func (w *Writer) MonitorSchemas(ns int64) {
	const u2, u4, text = 6, 8, 1
	info := func(id uint16, properties ...Property) {
		w.schema(ns, 32, EventInfo(etw.ProviderPktMon, id, 0, "Microsoft-Windows-PktMon", "", properties))
	}
	values := func(name string, values map[uint32]string) {
		w.schema(ns, 33, EventMap(etw.ProviderPktMon, name, values))
	}
	info(20, Property{Name: "Id", Type: u2}, Property{"Type", u2, "component"}, Property{Name: "Name", Type: text},
		Property{Name: "Description", Type: text})
	info(30, Property{Name: "ComponentId", Type: u2}, Property{"Type", u2, "property"}, Property{Name: "Value", Type: u4})
	info(100, Property{Name: "FilterId", Type: u2}, Property{Name: "Name", Type: text}, Property{Name: "Port", Type: u2})
	for _, id := range []uint16{160, 170} {
		info(id, Property{Name: "PktGroupId", Type: 10}, Property{Name: "PktNumber", Type: u2},
			Property{Name: "AppearanceCount", Type: u2}, Property{"DirTag", u2, "direction"},
			Property{"PacketType", u2, "type"}, Property{Name: "ComponentId", Type: u2}, Property{Name: "EdgeId", Type: u2},
			Property{Name: "FilterId", Type: u2}, Property{"DropReason", u4, "reason"},
			Property{Name: "DropLocation", Type: u4})
	}
	values("component", map[uint32]string{MonitorMiniport: "Miniport", MonitorFilter: "Filter"})
	values("property", map[uint32]string{1: "IfIndex", 2: "MiniportIfIndex", 15: "IpIfIndex"})
	values("direction", map[uint32]string{MonitorRx: "Rx", MonitorTx: "Tx"})
	values("type", map[uint32]string{MonitorEthernet: "Ethernet", MonitorWiFi: "WiFi", MonitorIP: "IP"})
	values("reason", map[uint32]string{
		MonitorSessionState: "INET: session state error", MonitorReceiveInspection: "INET: receive inspection",
		MonitorInspectionDrop: "Inspection drop", MonitorNoEndpoint: "INET: transport endpoint was not found",
		MonitorNotLocal: "Not locally destined", MonitorUnresolved: "Address resolution timeout",
		MonitorUnresolvable: "Address resolution failure", MonitorQueueFull: "Receive queue full",
		// A number that stood for something else in 2018.
		103: "Unsupported EtherType",
	})
}

// MonitorComponent describes a component.
func (w *Writer) MonitorComponent(ns int64, id, kind uint16, description string, ifindex uint32) {
	p := NewPayload(w.o.PointerSize)
	w.monitor(0, ns, etw.PktMonComponent, p.U16(id).U16(kind).UTF16("driver.sys").UTF16(description))
	property := uint16(2)
	switch kind {
	case MonitorMiniport:
		property = 1
	case MonitorTCPIP:
		property = 15
	}
	w.monitor(0, ns, etw.PktMonNumber, NewPayload(w.o.PointerSize).U16(id).U16(property).U32(ifindex))
}

// MonitorCounters adds the counter of drops of a component.
func (w *Writer) MonitorCounters(ns int64, id uint16, drops uint64) {
	w.monitor(0, ns, etw.PktMonDropCounters,
		NewPayload(w.o.PointerSize).U16(id).U16(MonitorRx).U64(drops).U64(0).U16(MonitorTx).U64(0).U64(0))
}

// MonitorFilterFor adds a filter that was set for a port.
func (w *Writer) MonitorFilterFor(ns int64, port uint16) {
	w.monitor(0, ns, etw.PktMonFilter, NewPayload(w.o.PointerSize).U16(1).UTF16("beats").U16(port))
}

// MonitorPacket adds a report about a packet.
func (w *Writer) MonitorPacket(ns int64, r MonitorReport) {
	id := uint16(etw.PktMonPacket)
	if r.Dropped {
		id = etw.PktMonDropped
	}
	if r.Original == 0 {
		r.Original = len(r.Payload)
	}
	w.monitor(r.CPU, ns, id, NewPayload(w.o.PointerSize).U64(r.Group).U16(1).U16(r.Appearance).U16(r.Direction).
		U16(r.Kind).U16(r.Component).U16(r.Edge).U16(0).U32(r.Reason).U32(r.Location).U16(uint16(r.Original)).
		U16(uint16(len(r.Payload))).Raw(r.Payload))
}

// NDISPacket adds a packet of NDIS packet capture at a layer of an adapter.
func (w *Writer) NDISPacket(ns int64, miniport, lower uint32, keyword uint64, size int, data []byte) {
	p := NewPayload(w.o.PointerSize).U32(miniport).U32(lower).U32(uint32(size)).Raw(data)
	w.Add(etw.Record{
		Header: etw.HeaderEvent, PointerSize: w.o.PointerSize, Class: etw.ProviderNDISCapture, ID: 1001,
		Time: w.Ticks(ns), Keyword: keyword, PID: 4, TID: 8, Flags: etw.FlagCPUIndex, Payload: p.Bytes(),
	})
}
