package etw

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Events of Packet Monitor. Components and counters are written when the
// session stops, behind all packets: a survey has to find them.
const (
	PktMonDriverFailed   = 10
	PktMonComponent      = 20
	PktMonNumber         = 30
	PktMonIPv4           = 65
	PktMonIPv6           = 66
	PktMonBytes          = 70
	PktMonDropCounters   = 80
	PktMonFilter         = 100
	PktMonFilterExtended = 110
	PktMonPacket         = 160
	PktMonDropped        = 170
)

// Bounds of what is remembered of Packet Monitor.
const (
	maxMonitorComponents = 1 << 12
	maxMonitorAddresses  = 1 << 10
	maxMonitorFilters    = 32
	maxMonitorFilter     = 4 << 10
)

// Monitor is what a capture says of Packet Monitor: its components, whose names packets do not have, and its settings.
type Monitor struct {
	// Components are the places that packets pass, by number; none in a capture that was cut off.
	Components map[uint16]*MonitorComponent
	// Counted says that there are counters of drops: that there is no drop event means that there was no drop.
	Counted bool
	// Drops is what they count: reports, of which one packet may have several.
	Drops uint64
	// Reported and Dropped are the reports of packets and of drops that were surveyed; Logged is the most that was kept of
	// a packet that was cut, 0 where none was.
	Reported, Dropped uint64
	Logged            uint16
	// Filters were set: only what they match was recorded.
	Filters []string
	// Failed is the status with which its driver failed to start, 0 none.
	Failed uint32

	filters []Record
	// edges are the packets at the first edge of each component, first those that passed their first component.
	edges map[uint16]uint64
	first uint64
}

// MonitorComponent is a driver or a protocol that packets pass.
type MonitorComponent struct {
	// Type is its kind as the capture has it in words: Miniport, Filter, Protocol, ...; empty for a number without a word.
	Type string
	// Name is the file of its driver, Description what it is called; either may be empty.
	Name, Description string
	// Ifindex is its interface, 0 unknown.
	Ifindex uint32
	// MAC is its hardware address, empty unknown.
	MAC []byte
	// Addresses are those of its interface.
	Addresses []netip.Addr
	// Drops are the reports of drops that it counts.
	Drops uint64
	// Packets are the packets at its lower edge that were surveyed.
	Packets uint64

	kind  uint16
	index [3]uint32 // by what it is: its own, the miniport's, that of IP
}

// Adapter says that packets on the wire are those at its lower edge.
func (c *MonitorComponent) Adapter() bool { return c.Type == "Miniport" || c.Type == "NetCx" }

// Text names it for people.
func (c *MonitorComponent) Text() string {
	for _, s := range []string{c.Description, c.Name} {
		if s != "" && s != "NULL" {
			return s
		}
	}
	return ""
}

func (m *Monitor) component(id uint16) *MonitorComponent {
	if c := m.Components[id]; c != nil {
		return c
	}
	if len(m.Components) >= maxMonitorComponents {
		return nil
	}
	c := new(MonitorComponent)
	m.Components[id] = c
	return c
}

// surveyMonitor takes what a record says of Packet Monitor.
func (s *State) surveyMonitor(r *Record) {
	if s.Monitor == nil {
		s.Monitor = &Monitor{Components: map[uint16]*MonitorComponent{}, edges: map[uint16]uint64{}}
	}
	m := s.Monitor
	f := r.Fields()
	switch r.ID {
	case PktMonDriverFailed:
		m.Failed = f.U32()
	case PktMonComponent:
		id, kind := f.U16(), f.U16()
		name, description := f.UTF16(), f.UTF16()
		if c := m.component(id); c != nil {
			c.kind, c.Name, c.Description = kind, name, description
		}
	case PktMonNumber:
		id, kind, value := f.U16(), f.U16(), f.U32()
		c := m.component(id)
		if f.Short() || c == nil {
			return
		}
		switch s.monitorProperty(kind) {
		case "IfIndex":
			c.index[0] = value
		case "MiniportIfIndex":
			c.index[1] = value
		case "IpIfIndex":
			c.index[2] = value
		}
	case PktMonIPv4, PktMonIPv6:
		id := f.U16()
		f.Skip(2)
		address := f.IPv4
		if r.ID == PktMonIPv6 {
			address = f.IPv6
		}
		a := address()
		if c := m.component(id); c != nil && !f.Short() && len(c.Addresses) < maxMonitorAddresses {
			c.Addresses = append(c.Addresses, a)
		}
	case PktMonBytes:
		id := f.U16()
		f.Skip(2)
		mac := f.Bytes(int(min(f.U32(), 1<<16)))
		if c := m.component(id); c != nil && len(mac) == 6 {
			c.MAC = bytes.Clone(mac)
		}
	case PktMonDropCounters:
		id := f.U16()
		f.Skip(2)
		in := f.U64()
		f.Skip(10)
		if out := f.U64(); !f.Short() {
			m.Counted = true
			m.Drops += in + out
			if c := m.component(id); c != nil {
				c.Drops += in + out
			}
		}
	case PktMonPacket, PktMonDropped:
		if r.ID == PktMonPacket {
			m.Reported++
		} else {
			m.Dropped++
		}
		f.Skip(10)
		appearance := f.U16()
		f.Skip(4)
		id, edge := f.U16(), f.U16()
		switch {
		case r.ID != PktMonPacket || f.Short():
		case appearance == 1:
			m.first++
		case appearance == 0 && edge == 1:
			if _, ok := m.edges[id]; ok || len(m.edges) < maxMonitorComponents {
				m.edges[id]++
			}
		}
		f.Skip(10)
		if original, logged := f.U16(), f.U16(); !f.Short() && logged < original {
			m.Logged = max(m.Logged, logged)
		}
	case PktMonFilter, PktMonFilterExtended:
		if len(m.filters) < maxMonitorFilters && len(r.Payload) <= maxMonitorFilter {
			kept := *r
			kept.Payload, kept.Extended = bytes.Clone(r.Payload), nil
			m.filters = append(m.filters, kept)
		}
	}
}

// monitorProperties are the types of properties by number, for a capture without their names.
var monitorProperties = map[uint16]string{1: "IfIndex", 2: "MiniportIfIndex"}

func (s *State) monitorProperty(kind uint16) string {
	if name := s.Values(ProviderPktMon, PktMonNumber, "Type")[uint32(kind)]; name != "" {
		return name
	}
	return monitorProperties[kind]
}

// settleMonitor names the components, once the schemas are known.
func (s *State) settleMonitor() {
	m := s.Monitor
	if m == nil {
		return
	}
	types := s.Values(ProviderPktMon, PktMonComponent, "Type")
	for id, c := range m.Components {
		c.Type = types[uint32(c.kind)]
		if c.Adapter() {
			c.Packets = m.edges[id]
		}
		for _, index := range c.index {
			if c.Ifindex == 0 {
				c.Ifindex = index
			}
		}
	}
	var w renderer
	for i := range m.filters {
		r := &m.filters[i]
		m.Filters = append(m.Filters, filterText(w.payload(r, s.schemas.find(r), false)))
	}
	m.filters = nil
}

// filterText says in words what the fields of a filter say, without those that are not set.
func filterText(payload string) string {
	decoder := json.NewDecoder(strings.NewReader(payload))
	decoder.UseNumber()
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return "a filter with unknown fields"
	}
	var parts []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			break
		}
		var value any
		if decoder.Decode(&value) != nil {
			break
		}
		text := strings.TrimSpace(fmt.Sprint(value))
		switch {
		case strings.Trim(text, "0:.") == "", text == "<nil>", text == "false":
		default:
			parts = append(parts, fmt.Sprint(name, " ", text))
		}
	}
	if len(parts) == 0 {
		return "a filter without conditions"
	}
	return strings.Join(parts, ", ")
}

// Notes says what is to be known of how Packet Monitor captured, a sentence each.
func (m *Monitor) Notes() (notes []string) {
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if m.Failed != 0 {
		add("the driver of Packet Monitor failed to start: status 0x%x", m.Failed)
	}
	if m.Reported+m.Dropped == 0 && (len(m.Components) > 0 || m.Counted) {
		add("the capture holds no packets of Packet Monitor, and describes %d components: it was stopped at once, a filter "+
			"let nothing pass, or only counters were asked for", len(m.Components))
	}
	switch {
	case m.Dropped > 0:
	case m.Counted && m.Drops > 0:
		add("Packet Monitor counted %d drops and recorded none of them, so their packets and reasons are not known: %s",
			m.Drops, m.counters())
	case m.Counted:
		add("no drop was reported by Packet Monitor: its counters show none")
	case m.Reported > 0:
		add("drops were not recorded by Packet Monitor (pktmon start --capture --type all does), or the capture was cut off")
	}
	if len(m.Components) == 0 && m.Reported > 0 {
		add("the capture was cut off before Packet Monitor named its components: the places of drops have no names, " +
			"and the first report of a packet is taken as the one on the wire")
	}
	if len(m.Filters) > 0 {
		add("filters were set, and only packets that match one of them were recorded: %s", strings.Join(m.Filters, "; "))
	}
	if m.Logged > 0 {
		add("packets were cut after %d bytes (pktmon --pkt-size)", m.Logged)
	}
	return notes
}

// counters lists the components that count most drops.
func (m *Monitor) counters() string {
	const most = 5
	list := slices.Collect(maps.Values(m.Components))
	slices.SortFunc(list, func(a, b *MonitorComponent) int {
		return cmp.Or(cmp.Compare(b.Drops, a.Drops), cmp.Compare(a.Text(), b.Text()), cmp.Compare(a.Ifindex, b.Ifindex))
	})
	var parts []string
	for _, c := range list {
		if c.Drops > 0 && len(parts) < most {
			parts = append(parts, fmt.Sprintf("%s on interface %d %d", cmp.Or(c.Text(), "a component"), c.Ifindex, c.Drops))
		}
	}
	return strings.Join(parts, ", ")
}

// Adapters describes the adapters whose packets were captured, one in a sentence.
func (m *Monitor) Adapters() (list []string) {
	for _, c := range m.Components {
		if !c.Adapter() {
			continue
		}
		text := fmt.Sprintf("%s (interface %d", cmp.Or(c.Text(), "adapter"), c.Ifindex)
		if len(c.MAC) == 6 {
			text += ", " + net.HardwareAddr(c.MAC).String()
		}
		text += ")"
		if c.Packets > 0 {
			text += fmt.Sprintf(": %d packets", c.Packets)
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Packets is how many packets were captured on the wire, 0 where that is not known.
func (m *Monitor) Packets() (n uint64) {
	for _, c := range m.Components {
		n += c.Packets
	}
	return n + m.first
}

// layerKey is a layer of an adapter in NDIS packet capture.
type layerKey struct{ miniport, lower uint32 }

// maxLayers bounds the layers that are counted.
const maxLayers = 1 << 12

// surveyLayer counts the packets of a layer of NDIS packet capture.
func (s *State) surveyLayer(r *Record) {
	const fragment = 1001
	f := r.Fields()
	k := layerKey{f.U32(), f.U32()}
	if r.ID != fragment || f.Short() {
		return
	}
	if s.layers == nil {
		s.layers = make(map[layerKey]uint64)
	}
	if _, ok := s.layers[k]; ok || len(s.layers) < maxLayers {
		s.layers[k]++
	}
}

// CaptureLayer returns the layer of an adapter at which NDIS packet capture is counted: its lowest where packets were
// captured there, otherwise the one with the most; seen where nothing is known.
func (s *State) CaptureLayer(miniport, seen uint32) uint32 {
	if s.layers[layerKey{miniport, miniport}] > 0 {
		return miniport
	}
	best, most := seen, uint64(0)
	for k, n := range s.layers {
		if k.miniport == miniport && (n > most || n == most && k.lower < best) {
			best, most = k.lower, n
		}
	}
	return best
}

// Values returns the names of the values of a field, as the capture has them; nil where it has none.
func (s *State) Values(provider GUID, id uint16, name string) map[uint32]string {
	sch := s.schemas.byKey[schemaKey{class: provider, id: id}]
	if sch == nil {
		return nil
	}
	for i := range sch.fields {
		if f := &sch.fields[i]; f.name == name {
			if f.values == nil {
				for _, p := range s.schemas.pending { // not settled yet
					if p.field == f {
						return s.schemas.maps[p.key]
					}
				}
			}
			return f.values
		}
	}
	return nil
}
