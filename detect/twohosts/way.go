package twohosts

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// How packets of two recordings are taken for the same.
const (
	// leastPairs is how many packets must be recognised for two flows to be the two ends of one.
	leastPairs = 8
	// together is how far a packet's delay may be from the median of all: a drift of the clocks over a long recording.
	together = time.Minute
	// agreeing is the share of the recognised packets that must be.
	agreeing = 0.8
	// apart is how far apart packets must be that look the same for them to be told apart by their times, where others of
	// the flow are unique; wrapped the same where none is, as identifications of IPv4 begin anew after 65,536.
	apart   = 10 * time.Second
	wrapped = 10 * time.Minute
	// maxGroups bounds the groups of packets that look the same and are looked at.
	maxGroups = 1 << 18
	// maxAlike bounds the pairs of packets of one group that are looked at.
	maxAlike = 1 << 14
)

// What sent and arrived have of a packet without another end.
const (
	notSeen   = -1
	ambiguous = -2
)

// way is a flow as both hosts have it: what one sends, and what of it reaches the other.
type way struct {
	from, to *Recording
	// hosts has all flows of the two.
	hosts  *between
	tx, rx *flow
	// arrived is where a sent packet is in rx, sent where a received one is in tx; notSeen and ambiguous where it is not.
	arrived, sent []int32
	pairs         int
	// alike says that the packets of the flow cannot be told apart, assumed that they were by taking the clocks to differ
	// by less than within.
	alike, assumed bool
	within         time.Duration
}

// candidate is two flows that have packets in common.
type candidate struct {
	tx, rx uint32
	pairs  [][2]uint32
	// groups are packets that look the same: ranges of both sides' entries.
	groups [][4]uint32
}

// ways returns the flows that one host sends and the other receives.
func ways(a, b *Recording) []*way {
	if a.sent == nil {
		a.sent = a.entries(model.DirectionTX, false)
	}
	if b.received == nil {
		b.received = b.entries(model.DirectionRX, false)
	}
	out := match(a, b, a.sent, b.received)
	if slices.ContainsFunc(out, func(w *way) bool { return !w.alike }) || len(a.sent) == 0 || len(b.received) == 0 {
		return out
	}
	// A translator of addresses may have changed the identification, or the sequence number.
	byContent := match(a, b, a.entries(model.DirectionTX, true), b.entries(model.DirectionRX, true))
	if slices.ContainsFunc(byContent, func(w *way) bool { return !w.alike }) {
		return byContent
	}
	return out
}

// match finds the flows whose packets are recognised on both sides.
func match(a, b *Recording, sent, received []entry) []*way {
	found := map[[2]uint32]*candidate{}
	groups := 0
	for i, j := 0, 0; i < len(sent) && j < len(received); {
		switch key := sent[i].key; {
		case key < received[j].key:
			i++
		case key > received[j].key:
			j++
		default:
			i0, j0 := i, j
			for i < len(sent) && sent[i].key == key {
				i++
			}
			for j < len(received) && received[j].key == key {
				j++
			}
			// The parts of a group that are of one flow each.
			for x := i0; x < i; {
				x1 := x
				for x1 < i && sent[x1].flow == sent[x].flow {
					x1++
				}
				for y := j0; y < j; {
					y1 := y
					for y1 < j && received[y1].flow == received[y].flow {
						y1++
					}
					k := [2]uint32{sent[x].flow, received[y].flow}
					c := found[k]
					if c == nil && len(found) < maxFlows {
						c = &candidate{tx: k[0], rx: k[1]}
						found[k] = c
					}
					switch {
					case c == nil:
					case x1-x == 1 && y1-y == 1:
						c.pairs = append(c.pairs, [2]uint32{sent[x].index, received[y].index})
					case groups < maxGroups:
						groups++
						c.groups = append(c.groups, [4]uint32{uint32(x), uint32(x1), uint32(y), uint32(y1)})
					}
					y = y1
				}
				x = x1
			}
		}
	}
	list := make([]*candidate, 0, len(found))
	for _, c := range found {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.tx, b.tx), cmp.Compare(a.rx, b.rx))
	})
	var out []*way
	for _, c := range list {
		if w := newWay(a, b, c, sent, received); w != nil {
			out = append(out, w)
		}
	}
	return out
}

// newWay decides whether two flows are the two ends of one; nil when they are not.
func newWay(a, b *Recording, c *candidate, sent, received []entry) *way {
	w := &way{from: a, to: b, tx: a.flows[c.tx], rx: b.flows[c.rx]}
	pairs := c.pairs
	if len(pairs) < leastPairs {
		if pairs = w.wrap(c, sent, received); len(pairs) < leastPairs {
			// Nothing tells them apart but addresses, which say whether they may be the same.
			w.alike = len(c.groups) > 0 && w.tx.protocol == w.rx.protocol && w.tx.key.Port == w.rx.port &&
				(w.rx.key.Port == w.tx.port || w.rx.key.Port == 0)
			if !w.alike {
				return nil
			}
			return w
		}
		w.assumed = true
	}
	delays := make([]time.Duration, len(pairs))
	for i, p := range pairs {
		delays[i] = w.delay(p[0], p[1])
	}
	slices.Sort(delays)
	median := delays[len(delays)/2]
	kept := pairs[:0]
	for _, p := range pairs {
		if (w.delay(p[0], p[1]) - median).Abs() <= together {
			kept = append(kept, p)
		}
	}
	if len(kept) < leastPairs || float64(len(kept)) < agreeing*float64(len(delays)) {
		return nil
	}
	w.arrived, w.sent = filled(len(w.tx.packets)), filled(len(w.rx.packets))
	for _, p := range kept {
		w.pair(p[0], p[1])
	}
	w.tell(c, sent, received)
	return w
}

func filled(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = notSeen
	}
	return list
}

// back are the flows of the other direction.
func (w *way) back() []*way {
	if w.from == w.hosts.a {
		return w.hosts.ba
	}
	return w.hosts.ab
}

func (w *way) pair(tx, rx uint32) {
	w.arrived[tx], w.sent[rx] = int32(rx), int32(tx)
	w.pairs++
}

// delay is how much later a packet arrived than it was sent, by the two clocks.
func (w *way) delay(tx, rx uint32) time.Duration { return w.rx.packets[rx].at.Sub(w.tx.packets[tx].at) }

// wrap pairs packets of which each looks like others, where those are far apart, by taking the clocks to differ by much
// less than that.
func (w *way) wrap(c *candidate, sent, received []entry) (pairs [][2]uint32) {
	least := time.Duration(1 << 62)
	for _, g := range c.groups {
		for i := g[0] + 1; i < g[1]; i++ {
			least = min(least, w.tx.packets[sent[i].index].at.Sub(w.tx.packets[sent[i-1].index].at))
		}
		for i := g[2] + 1; i < g[3]; i++ {
			least = min(least, w.rx.packets[received[i].index].at.Sub(w.rx.packets[received[i-1].index].at))
		}
	}
	if least < wrapped {
		return nil
	}
	w.within = least / 4
	pairs = slices.Clone(c.pairs)
	for _, g := range c.groups {
		if uint64(g[1]-g[0])*uint64(g[3]-g[2]) > maxAlike {
			continue
		}
		for y := g[2]; y < g[3]; y++ {
			for x := g[0]; x < g[1]; x++ {
				if w.delay(sent[x].index, received[y].index).Abs() < w.within {
					pairs = append(pairs, [2]uint32{sent[x].index, received[y].index})
				}
			}
		}
	}
	return pairs
}

// tell pairs packets that look the same, as far as their times tell them apart.
func (w *way) tell(c *candidate, sent, received []entry) {
	usual := w.usual()
	for _, g := range c.groups {
		for x := g[0]; x < g[1]; x++ {
			if i := sent[x].index; w.arrived[i] == notSeen {
				w.arrived[i] = ambiguous
			}
		}
		if uint64(g[1]-g[0])*uint64(g[3]-g[2]) > maxAlike {
			continue
		}
		for y := g[2]; y < g[3]; y++ {
			j := received[y].index
			if w.sent[j] >= 0 {
				continue
			}
			w.sent[j] = ambiguous
			least, ok := usual(w.rx.packets[j].at)
			if !ok {
				continue
			}
			best, others := -1, 0
			for x := g[0]; x < g[1]; x++ {
				i := sent[x].index
				late := w.delay(i, j) - least
				if late < -time.Millisecond || late > apart || w.arrived[i] >= 0 {
					continue
				}
				// Of segments that were sent again, the last one before it arrived is meant.
				best, others = int(i), others+1
			}
			if best >= 0 && (others == 1 || w.tx.protocol == model.ProtocolTCP) {
				w.pair(uint32(best), j)
			}
		}
		for x := g[0]; x < g[1]; x++ {
			// What has no like in reach was lost, or is a segment that was sent again.
			if i := sent[x].index; w.arrived[i] == ambiguous && !w.couldBe(sent[x], received[g[2]:g[3]]) {
				w.arrived[i] = notSeen
			}
		}
	}
}

// couldBe reports whether one of the received packets that look like a sent one may be it, and is not known to be
// another.
func (w *way) couldBe(tx entry, received []entry) bool {
	usual := w.usual()
	for _, r := range received {
		if w.sent[r.index] >= 0 {
			continue
		}
		least, ok := usual(w.rx.packets[r.index].at)
		if late := w.delay(tx.index, r.index) - least; !ok || late >= -time.Millisecond && late <= apart {
			return true
		}
	}
	return false
}

// usual returns a function that says what the least delay was about the time of an arrival, where it is known.
func (w *way) usual() func(at model.Time) (time.Duration, bool) {
	return func(at model.Time) (time.Duration, bool) { return w.least(at.Add(-around), at.Add(around)) }
}

// around is how far around a moment packets are looked at to know the usual delay, or the clocks.
const around = time.Minute

// least returns the shortest delay of packets that arrived within a time, by the two clocks.
func (w *way) least(from, to model.Time) (least time.Duration, ok bool) {
	for i := w.firstRX(from); i < len(w.rx.packets) && w.rx.packets[i].at <= to; i++ {
		if tx := w.sent[i]; tx >= 0 {
			if d := w.delay(uint32(tx), uint32(i)); !ok || d < least {
				least, ok = d, true
			}
		}
	}
	return least, ok
}

// firstRX is the first received packet at or after a time.
func (w *way) firstRX(at model.Time) int { return firstAt(w.rx.packets, at) }

func firstAt(list []packet, at model.Time) int {
	i, _ := slices.BinarySearchFunc(list, at, func(p packet, t model.Time) int { return cmp.Compare(p.at, t) })
	return i
}
