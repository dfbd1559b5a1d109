package pktmon

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"lostbeat/etw"
	"lostbeat/internal/frame"
	"lostbeat/model"
	"lostbeat/source/wire"
)

// drops are the packets that were dropped in the present interval.
type drops struct {
	// pending are those that more reports may follow about.
	pending wire.Recent[droppedPacket]
	counts  map[dropKey]*dropCount
}

// droppedPacket is what the reports about one packet say.
type droppedPacket struct {
	key     dropKey
	rank    int
	reports uint64
}

// dropKey is what the packets of one event have in common.
type dropKey struct {
	reason, component, device string
	location                  string
	place                     model.Place
	verdict                   model.CaptureVerdict
	protocol                  model.Protocol
	local, remote             uint16
	peer                      netip.Addr
	ifindex                   uint32
	flags                     model.Flags
}

type dropCount struct{ packets, reports uint64 }

// maxDropKeys bounds the kinds of drops that are told apart in one interval; those beyond are told apart by less.
const maxDropKeys = 1 << 12

// dropped takes a report that a packet was dropped.
func (p *etwProbe) dropped(r *etw.Record, t model.Time) bool {
	e, ok := p.read(r)
	if !ok {
		return false
	}
	p.decode(&e)
	p.drops.settle(t.Add(-wire.SameWithin))
	names := p.values()
	known := find(e.reason, names.reasons)
	where := location(e.location, names.locations)
	verdict := judge(&known, where, &p.packet)
	k := dropKey{reason: known.text, location: where, place: known.place, verdict: verdict}
	if e.way == frame.Out {
		k.flags = model.FlagTransmit
	}
	if p.packet.Source.IsValid() {
		local, remote, _ := wire.Ends(&p.packet)
		k.protocol, k.local, k.remote, k.peer = wire.Protocol(&p.packet), local.Port(), remote.Port(), remote.Addr()
	}
	if c := p.component(e.component); c != nil {
		k.component, k.ifindex = c.Text(), c.Ifindex
		switch {
		case c.Adapter():
			k.device = k.component
		case c.Type == "Filter" && k.place == model.PlaceProtocol:
			k.place = model.PlaceFilter
		}
		if k.place == model.PlaceRing && !c.Adapter() {
			k.place = model.PlaceDevice
		}
	}
	data := p.packet.IP
	if data == nil {
		data = e.payload
	}
	o := p.drops.pending.Find(data)
	if o == nil {
		if o = p.drops.pending.Add(t, data); o == nil {
			p.drops.count(k, 1, 1)
			return true
		}
	}
	d := &o.Data
	d.reports++
	// What somebody misses counts before what nobody does; of those, the reason that tells most.
	if rank := int(verdict)<<8 | int(known.rank); d.reports == 1 || rank > d.rank {
		d.rank, d.key = rank, k
	}
	return true
}

// component returns what is known of a component, nil where nothing is.
func (p *etwProbe) component(id uint16) *etw.MonitorComponent {
	if m := p.d.State.Monitor; m != nil {
		return m.Components[id]
	}
	return nil
}

// judge says what a packet is that was dropped for a reason at a place.
func judge(r *reason, where string, p *frame.Packet) model.CaptureVerdict {
	noticed := p.Group() && p.Direction != frame.Out
	switch r.class {
	case lost:
		return model.CaptureLost
	case ordinary:
		return model.CaptureNoise
	case refused:
		if noticed {
			return model.CaptureNoise
		}
		return model.CaptureFiltered
	case nobody:
		switch {
		case noticed, p.Protocol == frame.TCP && p.TCPFlags&(frame.SYN|frame.ACK) != frame.SYN,
			isRaw(where), p.Protocol != frame.TCP && p.Protocol != frame.UDP:
			return model.CaptureNoise
		}
		return model.CaptureUnwanted
	}
	if noticed {
		return model.CaptureNoise
	}
	return model.CaptureUnknown
}

// isRaw says that a place is where packets are offered to raw sockets, of which there are seldom any.
func isRaw(where string) bool { return strings.HasSuffix(where, "RAW_RECEIVE") }

// settle counts the packets that were reported first before t.
func (d *drops) settle(t model.Time) {
	d.pending.Expire(t, func(o *wire.Reported[droppedPacket]) { d.count(o.Data.key, 1, o.Data.reports) })
}

func (d *drops) count(k dropKey, packets, reports uint64) {
	if d.counts == nil {
		d.counts = map[dropKey]*dropCount{}
	}
	c := d.counts[k]
	if c == nil {
		if len(d.counts) >= maxDropKeys {
			k.peer, k.local, k.remote, k.location = netip.Addr{}, 0, 0, ""
			c = d.counts[k]
		}
		if c == nil {
			c = new(dropCount)
			d.counts[k] = c
		}
	}
	c.packets += packets
	c.reports += reports
}

// interval emits what was dropped in an interval.
func (p *etwProbe) interval(begin, end model.Time) {
	p.drops.settle(end.Add(-wire.SameWithin))
	p.emit(begin, end)
}

// end emits what is left.
func (p *etwProbe) end(t model.Time) {
	p.drops.settle(t + 1)
	p.emit(t.Add(-wire.SameWithin), t)
}

func (p *etwProbe) emit(begin, end model.Time) {
	for _, k := range slices.SortedFunc(maps.Keys(p.drops.counts), compareDrops) {
		c := p.drops.counts[k]
		p.d.Out.AddCaptureDrop(model.CaptureDrop{
			Time: end, Dur: end.Sub(begin), Flags: k.flags, Reports: c.reports, Protocol: k.protocol, LocalPort: k.local,
			RemotePort: k.remote, Count: c.packets, Verdict: k.verdict, Ifindex: int64(k.ifindex), Reason: k.reason,
			Component: k.component, RemoteAddr: p.flows.Text(k.peer), Location: k.location,
		})
		if k.verdict < model.CaptureUnwanted {
			continue
		}
		p.d.Out.AddDrop(model.Drop{
			Time: end, Dur: end.Sub(begin), Flags: k.flags, CPU: -1, PID: -1, TID: -1, Place: k.place, Count: c.packets,
			Protocol: k.protocol, LocalPort: k.local, Ifindex: int64(k.ifindex), Queue: -1, Reason: k.reason,
			Device: k.device, Location: model.CaptureLocation + k.location,
		})
	}
	clear(p.drops.counts)
}

func compareDrops(a, b dropKey) int {
	return cmp.Or(
		cmp.Compare(b.verdict, a.verdict), cmp.Compare(a.reason, b.reason), cmp.Compare(a.component, b.component),
		cmp.Compare(a.location, b.location), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.local, b.local),
		cmp.Compare(a.remote, b.remote), a.peer.Compare(b.peer), cmp.Compare(a.ifindex, b.ifindex),
		cmp.Compare(a.flags, b.flags), cmp.Compare(a.place, b.place), cmp.Compare(a.device, b.device),
	)
}
