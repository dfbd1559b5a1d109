package export

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// flow is a followed flow as a trace shows it.
type flow struct {
	group *trackGroup
	// last is when its last packet was read, arrived or was sent; reads says that they are seen to be read.
	last  model.Time
	reads bool
	// late is the last gap that was too long, ID 0 for none: it may grow.
	late fold.Gap
}

// flowOf returns the flow of a followed socket and a peer, nil when it is not followed or there is no room for it.
func (p *process) flowOf(key fold.BeatKey) (f *flow, b *fold.Beat) {
	if b = p.facts.Beat(key); b == nil {
		return nil, nil
	}
	if f = p.flows[key]; f != nil {
		return f, b
	}
	if len(p.flows) == maxFlows {
		p.t.done.LeftOut++
		return nil, nil
	}
	s := b.Socket
	way := "from"
	if key.Direction == model.DirectionTX {
		way = "to"
	}
	name := fmt.Sprintf("%s/%d %s %s:%d", s.Protocol, s.Port, way, key.Remote, key.Port)
	if s.KnownAs != "" {
		name += " (" + s.KnownAs + ")"
	}
	if netns, ok := p.names[name]; ok && netns != key.Netns {
		name += fmt.Sprintf(" netns %d", key.Netns)
	} else {
		p.names[name] = key.Netns
	}
	doc := fmt.Sprintf("socket cookie %#x", key.Cookie)
	if s.Process != "" {
		doc = s.Process + ", " + doc
	}
	f = &flow{group: p.t.group(p.heartbeats(), name, 0, doc)}
	p.flows[key] = f
	return f, b
}

// Order of the tracks of a flow.
const (
	rankLate = iota
	rankLateness
	rankPackets
)

// showPacket shows an event of a followed flow, and reports whether it is one.
func (p *process) showPacket(b *model.Batch, e *model.Event) bool {
	switch e.Kind {
	case model.KindPacket:
		v, _ := b.Packet(e)
		f, beat := p.flowOf(fold.PacketKey(&v))
		if f == nil {
			return false
		}
		what := "sent"
		if v.Direction == model.DirectionRX {
			what = "received"
		}
		notes := []note{{"bytes", int64(v.SizeBytes)}}
		if v.Mark != 0 {
			notes = append(notes, note{"mark", fmt.Sprintf("%#x", v.Mark)})
		}
		p.t.slice(p.packets(f), e.Start(), e.Time, what, "packet", notes...)
		if !f.reads {
			p.lateness(f, beat, e.Start())
		}
	case model.KindPacketRead:
		v, _ := b.PacketRead(e)
		f, beat := p.flowOf(fold.ReadKey(&v))
		if f == nil {
			return false
		}
		f.reads = true
		p.t.slice(p.packets(f), e.Start(), e.Time, "in the queue of its socket", "packet",
			note{"bytes", int64(v.SizeBytes)}, note{"packets_left", int64(v.Left)}, note{"tid", int64(v.TID)})
		p.lateness(f, beat, e.Time)
	case model.KindPacketQdisc:
		v, _ := b.PacketQdisc(e)
		if !v.Left {
			return true // it is shown when it leaves
		}
		name := fmt.Sprintf("%s/%d to %s:%d", v.Protocol, v.LocalPort, v.RemoteAddr, v.RemotePort)
		p.beside(name, "in the queueing discipline", e, note{"qdisc", v.Qdisc}, note{"device", v.Device},
			note{"backlog", int64(v.Backlog)})
	case model.KindPacketReturn:
		v, _ := b.PacketReturn(e)
		p.beside(fmt.Sprintf("%s/%d", v.Protocol, v.LocalPort), "read, but without a CPU then: "+v.State.String(), e,
			note{"process", v.Process}, note{"tid", int64(v.TID)})
	case model.KindFlowStall:
		v, _ := b.FlowStall(e)
		key := stallKey{v.NetnsInode, v.Cookie, v.What}
		if v.Ongoing {
			if _, ok := p.stalls[key]; ok || len(p.stalls) < maxStalls {
				p.stalls[key] = v
			} else {
				p.t.done.LeftOut++
			}
			return true
		}
		delete(p.stalls, key)
		p.stalled(&v)
	}
	return true
}

// heartbeats is the group of all followed flows.
func (p *process) heartbeats() *trackGroup {
	return p.t.group(p.top(), "heartbeats", rankBeats, "packets of the sockets that are followed")
}

// packets are the packets of a flow on their way.
func (p *process) packets(f *flow) *lanes {
	return p.t.lanesOf(f.group, "packets", rankPackets, "received: from the arrival at the host to the socket")
}

// beside shows what happened to a socket's packets, of which several flows may be.
func (p *process) beside(socket, what string, e *model.Event, notes ...note) {
	p.t.slice(p.t.lanesOf(p.heartbeats(), socket, 1, ""), e.Start(), e.Time, what, "packet", notes...)
}

// stalled shows what TCP did to the data of a connection; one that lasts is shown as far as it was seen.
func (p *process) stalled(v *model.FlowStall) {
	name := map[model.Stall]string{
		model.StallResent: "sent again", model.StallMissing: "a segment is missing",
		model.StallWindow: "the window is closed", model.StallReset: "reset from the peer",
	}[v.What]
	l := p.t.lanesOf(p.heartbeats(), fmt.Sprintf("tcp/%d with %s:%d", v.LocalPort, v.RemoteAddr, v.RemotePort), 1, "")
	p.t.slice(l, v.Time.Add(-v.Dur), v.Time, name, "tcp", note{"segments", int64(v.Segments)}, note{"lasts", v.Ongoing})
}

// lateness shows by how much a packet was later than usual.
func (p *process) lateness(f *flow, b *fold.Beat, at model.Time) {
	usual := b.Usual()
	if f.last > 0 && usual > 0 {
		c := p.t.counterOf(p, f.group, "later than usual", "ns", rankLateness,
			"the time since the packet before, without the usual period: read, or where that is not seen received or sent")
		p.t.sample(c, at, float64(max(at.Sub(f.last)-usual, 0)))
	}
	f.last = max(f.last, at)
}

// showLate shows the gaps of flows that have become certain; final says that the capture ends.
func (p *process) showLate(final bool) {
	if !p.beats {
		return
	}
	for _, b := range p.facts.SortedBeats() {
		open, lasts := fold.Gap{}, false
		if final {
			open, lasts = p.facts.Open(b)
		}
		if len(b.Fresh) == 0 && !final {
			continue
		}
		f, _ := p.flowOf(b.Key)
		if f == nil {
			continue
		}
		for _, g := range b.Fresh {
			p.late(f, b, g)
		}
		if lasts {
			if open.ID == 0 {
				open.ID = open.From
			}
			p.late(f, b, &open)
		}
		if final {
			p.late(f, b, &fold.Gap{})
		}
	}
}

// late takes up a gap, and shows the one before it: that one will not grow any more.
func (p *process) late(f *flow, b *fold.Beat, g *fold.Gap) {
	if old := &f.late; old.ID != 0 && old.ID != g.ID && !old.Changed && old.From <= p.until && old.To >= p.since {
		p.showGap(f, b, old)
	}
	f.late = *g
}

// stage is a part of a gap.
type stage struct {
	name string
	span
}

// showGap shows a gap from the time at which the packet was due, with its stages where they were measured.
func (p *process) showGap(f *flow, b *fold.Beat, g *fold.Gap) {
	start := min(g.From.Add(g.Period), g.To)
	notes := []note{
		{"delay_ns", int64(g.Delay())}, {"period_ns", int64(g.Period)}, {"packets_missed", int64(g.Missed)},
		{"packets_delayed", int64(g.Delayed)}, {"packets_never_read", int64(g.Vanished)},
		{"packets_waiting", int64(g.Waiting)}, {"lasts", g.Lasts}, {"stages_seen", !g.Blind},
	}
	if b.Socket.Timeout > 0 {
		notes = append(notes, note{"timeout_ns", int64(b.Socket.Timeout)})
	}
	if g.CPU >= 0 {
		notes = append(notes, note{"cpu", int64(g.CPU)})
	}
	l := p.t.lanesOf(f.group, "late", rankLate, "packets that were late by more than the flow's cadence allows")
	of := p.t.slice(l, start, g.To, lateName(b, g), "late", notes...)
	if of == nil {
		return
	}
	list := stages(g, b.Key.Direction)
	slices.SortStableFunc(list, func(a, b stage) int { return cmp.Compare(a.start, b.start) })
	for _, s := range list {
		from, to := max(s.start, start), min(s.end, g.To)
		if from < to {
			p.t.sliceInside(of, from, to, s.name, "stage", note{"measured_ns", int64(s.end.Sub(s.start))})
		}
	}
}

func lateName(b *fold.Beat, g *fold.Gap) string {
	if b.Key.Direction == model.DirectionTX {
		return "sent late"
	}
	if b.Reads > 0 {
		return "read late"
	}
	return "received late"
}

// stages are the parts of a gap, which do not overlap.
func stages(g *fold.Gap, way model.Direction) []stage {
	if g.Blind {
		return nil
	}
	var out []stage
	end := g.To
	back := func(name string, d time.Duration) {
		if d > 0 {
			out = append(out, stage{name, span{end.Add(-d), end}})
			end = end.Add(-d)
		}
	}
	if way == model.DirectionTX {
		back("in the queueing discipline", g.Qdisc)
		back("between first and last transmission", g.Resent)
		back("not sent", g.Absent)
		return out
	}
	back("read, but without a CPU then", g.Return)
	back("in the queue of its socket", g.Queue)
	back("softirq, backlog, filters", g.Stack)
	back("waiting for a missing segment", g.Missing)
	back("did not arrive", g.Absent)
	if g.Lost > 0 {
		out = append(out, stage{"lost at its socket", span{g.From, min(g.From.Add(g.Lost), end)}})
	}
	return out
}
