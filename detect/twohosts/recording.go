// Package twohosts joins what recordings of several hosts have of the same
// followed flows: which packets that one host sent have reached the other, how
// their clocks differ, and so which of them, or the way between them, is at
// fault for a late heartbeat.
//
// Packets are recognised by their marks (packet.mark) alone, so that addresses
// may be translated on the way. The clocks are compared by the packets of both
// directions: none arrives before it was sent.
package twohosts

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/detect/heartbeatloss"
	"lostbeat/fold"
	"lostbeat/model"
)

// Room is how many packets are kept of all recordings together: 40 bytes each.
const Room = 2 << 20

// Bounds of what is kept of a recording beside its packets.
const (
	maxFlows  = 1024
	maxLosses = 4096
	maxDrops  = 16384
	maxProbes = 64
	// maxShares bounds the flows that are told apart in one drop.
	maxShares = 64
)

// Recording is what one recording has of followed flows.
type Recording struct {
	// Host is the host's name, File the recording's, Boot the identity of the boot, empty unknown.
	Host, File, Boot string
	// Start and End are those of the stream.
	Start, End model.Time
	// Findings are the findings about followed flows, Judged what the detector knows of them.
	Findings []model.Finding
	Judged   map[string]heartbeatloss.Judged

	flows []*flow
	byKey map[fold.BeatKey]*flow
	// room is how many packets more may be kept, left how many were not.
	room, left int
	losses     []span
	// drops are packets that the host dropped on their way out, lostIn those that had come for a port.
	drops  []hostDrop
	lostIn []hostDrop
	// waits are the times in which received packets waited for NET_RX.
	waits []netWait
	// captured says that it is a capture of packets, On which host it was made, as far as it says.
	captured bool
	on       string
	// probes are those of which the stream has the state, and whether any part of each was on.
	probes map[string]bool
	index  int
	name   string
	// sent and received are the packets of all flows, by key.
	sent, received []entry
}

// flow is what was seen of a flow in one direction.
type flow struct {
	key      fold.BeatKey
	protocol model.Protocol
	port     uint16
	// local is its local address as the last packet had it.
	local   string
	pid     int32
	process string
	packets []packet
	// marked says that its packets have marks; ended is when its socket was closed, 0 never.
	marked bool
	ended  model.Time
}

// packet is one packet: when it reached the host, or was sent.
type packet struct {
	at   model.Time
	mark uint64
	size uint32
}

// span is a time in which events were lost.
type span struct{ from, to model.Time }

// hostDrop is packets that a host dropped.
type hostDrop struct {
	span
	port     uint16
	protocol model.Protocol
	netns    uint32
	count    uint64
	where    string
	// flows are those of which followed flow they were, as far as that is known.
	flows []flowShare
}

// flowShare is how many of dropped packets were of one followed flow, or of none.
type flowShare struct {
	flow  fold.BeatKey
	count uint64
}

// of returns how many of the packets were a flow's, or may have been.
func (d *hostDrop) of(k *fold.BeatKey) uint64 {
	n := d.count
	for i := range d.flows {
		if s := &d.flows[i]; !s.flow.IsOf(k, true) {
			n -= min(n, s.count)
		}
	}
	return n
}

// netWait is how long NET_RX waited for its turn on a CPU.
type netWait struct {
	span
	wait time.Duration
	cpu  int32
}

// longWait is from where on it is kept.
const longWait = 20 * time.Millisecond

// entry is the place of a packet that has a key.
type entry struct {
	key         uint64
	flow, index uint32
}

// New returns a recording of which so many packets may be kept.
func New(room int) *Recording {
	return &Recording{byKey: map[fold.BeatKey]*flow{}, room: room, probes: map[string]bool{}}
}

// Apply takes the events of a batch.
func (r *Recording) Apply(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Time > 0 {
			if r.Start == 0 || e.Time < r.Start {
				r.Start = e.Time
			}
			r.End = max(r.End, e.Time)
		}
		switch e.Kind {
		case model.KindPacket:
			if v, ok := b.Packet(e); ok && v.Cookie != 0 {
				r.packet(&v)
			}
		case model.KindFlow:
			if v, ok := b.Flow(e); ok && v.State == model.FlowEnded {
				r.ended(v.NetnsInode, v.Cookie, v.Time)
			} else if ok && v.State == model.FlowCaptured {
				r.captured = true
			}
		case model.KindProcess:
			if v, ok := b.Process(e); ok && v.State == model.ProcessExited && v.PID == v.TID {
				for _, f := range r.flows {
					if f.pid == v.PID && f.ended == 0 {
						f.ended = v.Time
					}
				}
			}
		case model.KindLoss:
			if v, ok := b.Loss(e); ok && v.Origin != model.OriginMemory && len(r.losses) < maxLosses {
				r.losses = addSpan(r.losses, span{v.Time.Add(-v.Dur), v.Time})
			}
		case model.KindDrop:
			if v, ok := b.Drop(e); ok {
				r.drop(&v)
			}
		case model.KindFlowDrop:
			if v, ok := b.FlowDrop(e); ok {
				r.dropOf(&v)
			}
		case model.KindDeferredHist:
			if v, ok := b.DeferredHist(e); ok && v.Name == "NET_RX" && v.MaxWait >= longWait && len(r.waits) < maxDrops {
				r.waits = append(r.waits, netWait{span{v.Time.Add(-v.Dur), v.Time}, v.MaxWait, v.CPU})
			}
		case model.KindProbe:
			if v, ok := b.Probe(e); ok && len(r.probes) < maxProbes {
				r.probes[v.Name] = r.probes[v.Name] || v.State != model.ProbeOff
			}
		case model.KindMeta:
			if v, ok := b.Meta(e); ok {
				switch v.Key {
				case "host":
					r.Host = cmp.Or(r.Host, v.Value)
				case "boot_id":
					r.Boot = cmp.Or(r.Boot, v.Value)
				case model.MetaCapturedOn:
					r.on = cmp.Or(r.on, v.Value)
				}
			}
		}
	}
}

func addSpan(list []span, s span) []span {
	if n := len(list); n > 0 && s.from <= list[n-1].to.Add(time.Second) && s.to >= list[n-1].from {
		list[n-1].from, list[n-1].to = min(list[n-1].from, s.from), max(list[n-1].to, s.to)
		return list
	}
	return append(list, s)
}

// dropsFor returns where packets are kept that the host dropped on their way out, or that had come for a port, nil for
// others.
func (r *Recording) dropsFor(flags model.Flags, port uint16) *[]hostDrop {
	switch {
	case flags&model.FlagTransmit != 0:
		return &r.drops
	case port != 0:
		return &r.lostIn
	}
	return nil
}

// droppedAt says where packets were dropped, and why.
func droppedAt(place model.Place, device, reason string) string {
	where := place.String()
	if device != "" {
		where += " of " + fold.Printable(device)
	}
	if reason != "" {
		where += " (" + fold.Printable(reason) + ")"
	}
	return where
}

// drop keeps what the host dropped; of each direction no more than maxDrops.
func (r *Recording) drop(v *model.Drop) {
	if list := r.dropsFor(v.Flags, v.LocalPort); list != nil && len(*list) < maxDrops {
		*list = append(*list, hostDrop{
			span: span{v.Time.Add(-v.Dur), v.Time}, port: v.LocalPort, protocol: v.Protocol, netns: v.NetnsInode,
			count: v.Count, where: droppedAt(v.Place, v.Device, v.Reason),
		})
	}
}

// dropOf notes of which followed flow dropped packets were: an event about them is behind that of the drop.
func (r *Recording) dropOf(v *model.FlowDrop) {
	list := r.dropsFor(v.Flags, v.LocalPort)
	if list == nil {
		return
	}
	where := droppedAt(v.Place, v.Device, v.Reason)
	for i := len(*list) - 1; i >= 0 && (*list)[i].to == v.Time; i-- {
		d := &(*list)[i]
		if d.port == v.LocalPort && d.protocol == v.Protocol && d.netns == v.NetnsInode && d.where == where &&
			len(d.flows) < maxShares {
			d.flows = append(d.flows, flowShare{fold.DroppedOf(v), v.Count})
			return
		}
	}
}

func (r *Recording) packet(v *model.Packet) {
	k := fold.PacketKey(v)
	f := r.byKey[k]
	if f == nil {
		if len(r.flows) >= maxFlows {
			r.left++
			return
		}
		f = &flow{key: k, protocol: v.Protocol, port: v.LocalPort, pid: -1}
		r.byKey[k] = f
		r.flows = append(r.flows, f)
	}
	if v.PID > 0 {
		f.pid, f.process = v.PID, cmp.Or(v.Process, f.process)
	}
	if r.room == 0 {
		r.left++
		return
	}
	r.room--
	p := packet{at: v.Time, mark: v.Mark, size: uint32(v.SizeBytes)}
	if v.Direction == model.DirectionRX {
		p.at = v.Time.Add(-v.Dur)
	}
	f.local, f.marked = v.LocalAddr, f.marked || p.mark != 0
	n := len(f.packets)
	f.packets = append(f.packets, p)
	for ; n > 0 && f.packets[n-1].at > p.at; n-- { // softirqs of several CPUs
		f.packets[n], f.packets[n-1] = f.packets[n-1], f.packets[n]
	}
}

func (r *Recording) ended(netns uint32, cookie uint64, at model.Time) {
	for _, f := range r.flows {
		if f.key.Netns == netns && f.key.Cookie == cookie && f.ended == 0 {
			f.ended = at
		}
	}
}

// lossIn reports whether events were lost within a time, or just before it.
func (r *Recording) lossIn(from, to model.Time) bool {
	return slices.ContainsFunc(r.losses, func(s span) bool { return s.to >= from.Add(-time.Second) && s.from <= to })
}

// blindTo returns which probe was not there to see packets that the host drops, empty none. A stream without the state
// of a probe is taken to have all.
func (r *Recording) blindTo() string {
	if r.captured {
		return "" // it is of the wire: what the host drops is not between two captures
	}
	for _, probe := range []string{"drop", "nic"} {
		if len(r.probes) > 0 && !r.probes[probe] {
			return probe
		}
	}
	return ""
}

// waitedIn returns the longest wait of NET_RX in a time.
func (r *Recording) waitedIn(from, to model.Time) (longest netWait) {
	for _, w := range r.waits {
		if w.to >= from && w.from <= to && w.wait > longest.wait {
			longest = w
		}
	}
	return longest
}

// dropped returns what the host dropped of what it sent in a time: with the flow's port, and whose is not known.
func (r *Recording) dropped(f *flow, from, to model.Time) (exact, others uint64, where string) {
	var most uint64
	for i := range r.drops {
		d := &r.drops[i]
		if d.to < from || d.from > to {
			continue
		}
		n := d.count
		switch {
		case d.port != 0 && d.port == f.port && d.protocol == f.protocol && (d.netns == 0 || d.netns == f.key.Netns):
			n = d.of(&f.key)
			exact += n
		case d.port == 0:
			others += d.count
		default:
			continue
		}
		if n > most {
			most, where = n, d.where
		}
	}
	return exact, others, where
}

// entries returns the packets of one direction, by key; content leaves out what a translator of addresses may change.
func (r *Recording) entries(d model.Direction, content bool) []entry {
	var list []entry
	for i, f := range r.flows {
		if f.key.Direction != d || !f.marked {
			continue
		}
		list = slices.Grow(list, len(f.packets))
		for n := range f.packets {
			list = append(list, entry{f.packets[n].key(f.protocol, content), uint32(i), uint32(n)})
		}
	}
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.flow, b.flow), cmp.Compare(a.index, b.index))
	})
	return list
}

// key mixes what a packet is recognised by.
func (p *packet) key(protocol model.Protocol, content bool) uint64 {
	mark := p.mark
	if content {
		mark &= 0xffff_ffff
	}
	h := (mark ^ uint64(p.size)<<17 ^ uint64(protocol)<<56) * 0x9e37_79b9_7f4a_7c15
	h ^= h >> 32
	return h * 0xd6e8_feb8_6659_fd93
}
