package heartbeatloss

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/packetdrop"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// dropped are packets that the host has lost.
type dropped struct {
	fold.DropKey
	process string
	count   uint64
	// exact says that they had the flow's local port; elsewhere that they were lost in another network namespace of this
	// host, or for a port on which nothing listens, and which flow they were of is not known.
	exact, elsewhere bool
	// namespace is the name of another namespace, empty for the flow's own.
	namespace string
}

// explaining returns packets that the host has dropped where they explain why TCP sent again and again, nil where they
// are too few: each segment that arrives is acknowledged.
func (m *moment) explaining(list []dropped) []dropped {
	var n uint64
	for _, o := range list {
		n += o.count
	}
	if n < max(m.gap.Resends, 1) {
		return nil
	}
	return list
}

// drops returns what the host has lost in the given seconds that may have been the flow's; before is what was lost
// earlier in the gap, nil where it is judged for the first time.
func (d *heartbeatLoss) drops(w *detect.Tick, b *fold.Beat, g *fold.Gap, slots []int, before []dropped) []dropped {
	captured := b.Socket.State == model.FlowCaptured
	list := dropsOf(w, b.Socket, b.Key.Direction, slots, func(o *fold.Drop) bool {
		if (o.Key.Place == model.PlaceRing || o.Key.Place == model.PlaceDevice) && !b.MayUse(o.Key.Device) {
			return false
		}
		return captured || isQueue(o.Key.Place) || explains(w, o, g, before)
	})
	if !captured {
		list = append(list, dropsElsewhere(w, b, g, slots, before)...)
	}
	return list
}

// dropsElsewhere returns what the host has lost in other network namespaces than a flow's, through which its packets
// may have been on their way, or for another port, to which a rule may have sent them: where nothing was lost just
// before the gap.
func dropsElsewhere(w *detect.Tick, b *fold.Beat, g *fold.Gap, slots []int, before []dropped) (list []dropped) {
	s := b.Socket
	to := s.Port
	if b.Key.Direction == model.DirectionTX {
		to = b.Key.Port
	}
	for _, o := range w.SortedDrops() {
		k := &o.Key
		switch k.Place {
		case model.PlaceFilter, model.PlaceProtocol, model.PlaceQdisc, model.PlaceDevice:
		default:
			continue
		}
		rewritten := k.Reason == noSocket && k.Port != 0 && k.Port != s.Port && k.Protocol == s.Protocol &&
			k.Netns == s.Key.Netns && b.Key.Direction == model.DirectionRX
		if k.Netns == 0 || s.Key.Netns == 0 || k.PID > 0 || otherProtocol(k, s) || !rewritten &&
			(k.Netns == s.Key.Netns || k.Port != 0 && k.Port != to) {
			continue
		}
		if _, match := packetdrop.Lookup(k.Reason, k.Location); isNormal(k) || match == packetdrop.MatchNone ||
			!explains(w, o, g, before) {
			continue
		}
		if n := fold.SumOf(&o.Seconds, slots); n > 0 {
			o := dropped{DropKey: *k, process: o.Process, count: n, elsewhere: true}
			if k.Netns != s.Key.Netns {
				o.namespace = cmp.Or(w.NetnsName(k.Netns), words.Itoa(uint64(k.Netns)))
			}
			list = append(list, o)
		}
	}
	return list
}

// otherProtocol says that the packets of a drop were not of a socket's protocol.
func otherProtocol(k *fold.DropKey, s *fold.Followed) bool {
	return k.Protocol != model.ProtocolUnknown && k.Protocol != s.Protocol
}

// leadSeconds is in how many seconds before a gap nothing may have been lost by what explains it, startSeconds in how
// many from its start on it must have begun.
const (
	leadSeconds  = 3
	startSeconds = 3
)

// explains says that a loss of packets of unknown flows may be why a gap began: a rule or a route that lost packets
// before, while the flow went on, does not lose the flow's, nor does one that begins later. before is what was lost
// earlier in the gap.
func explains(w *detect.Tick, o *fold.Drop, g *fold.Gap, before []dropped) bool {
	if slices.ContainsFunc(before, func(x dropped) bool { return x.DropKey == o.Key }) {
		return true
	}
	since := g.From.Add(-time.Second) // the drops of a second are counted at its end
	latest := g.From.Add(g.Period + startSeconds*time.Second)
	if o.First >= since {
		return o.First <= latest
	}
	lead, start := w.Since(since.Add(-leadSeconds*time.Second)), w.Since(since)
	if len(lead) != len(start)+leadSeconds || fold.SumOf(&o.Seconds, lead[:leadSeconds]) > 0 {
		return false
	}
	if latest < w.Now {
		start = start[:len(start)-len(w.Since(latest))+1]
	}
	return fold.SumOf(&o.Seconds, start) > 0
}

// isQueue says that packets at a place are lost because a queue is full, whosever they are.
func isQueue(p model.Place) bool { return p == model.PlaceRing || p == model.PlaceBacklog }

// dropsOf returns what the host has lost that may have been of a socket, in one direction: of packets of unknown flows
// what explains says, nil nothing.
func dropsOf(w *detect.Tick, s *fold.Followed, direction model.Direction, slots []int,
	explains func(*fold.Drop) bool,
) (list []dropped) {
	for _, o := range w.SortedDrops() {
		k := &o.Key
		if k.Transmit != (direction == model.DirectionTX) {
			continue
		}
		here := k.Netns == 0 || s.Key.Netns == 0 || k.Netns == s.Key.Netns
		exact := k.Port != 0 && k.Port == s.Port && k.Protocol == s.Protocol && here
		queue := isQueue(k.Place)
		if slices.Contains(noLoss, k.Reason) || otherProtocol(k, s) ||
			!exact && (k.Port != 0 || !here && !queue || k.Reason == "SOCKET_FILTER") {
			continue // another socket's filter takes what is copied to that socket
		}
		if !exact && (explains == nil || !explains(o) || isNormal(k)) {
			continue
		}
		if n := fold.SumOf(&o.Seconds, slots); n > 0 {
			list = append(list, dropped{DropKey: *k, process: o.Process, count: n, exact: exact})
		}
	}
	return most(list)
}

// isNormal says that packets are dropped where nothing is wrong.
func isNormal(k *fold.DropKey) bool {
	r, match := packetdrop.Lookup(k.Reason, k.Location)
	return match != packetdrop.MatchNone && r.Cause == packetdrop.CauseNormal
}

// noLoss are reasons for which TCP drops what has come before, or what it must not be sent yet, and what a socket still
// had when it was closed.
var noLoss = []string{
	"QUEUE_PURGE",
	"TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OVERWINDOW", "TCP_ZEROWINDOW", "TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE",
	"TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK", "TCP_OLD_ACK", "TCP_RESET", "TCP_CLOSE",
}

// maxDropped bounds the ways of loss that a gap may be due to.
const maxDropped = 32

// most orders what was lost, and keeps the most of it.
func most(list []dropped) []dropped {
	slices.SortStableFunc(list, func(a, b dropped) int {
		if a.exact != b.exact {
			return map[bool]int{true: -1, false: 1}[a.exact]
		}
		return cmp.Or(cmp.Compare(b.count, a.count), fold.CompareDrops(a.DropKey, b.DropKey))
	})
	return list[:min(len(list), maxDropped)]
}

// addDrops adds what was lost in another second.
func addDrops(list, more []dropped) []dropped {
	list = slices.Clone(list)
	for _, o := range more {
		i := slices.IndexFunc(list, func(x dropped) bool { return x.DropKey == o.DropKey })
		if i < 0 {
			list = append(list, o)
			continue
		}
		list[i].count += o.count
	}
	return most(list)
}
