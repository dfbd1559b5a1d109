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
	// its says that they are known to be of the flow, notIts that they had its port and are known not to be.
	its, notIts bool
	// wentOn says that about as many were dropped before the gap, while the flow went on: they are another peer's.
	wentOn bool
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
	list := dropsOf(w, b.Socket, &b.Key, slots, func(o *fold.Drop) bool {
		if (o.Key.Place == model.PlaceRing || o.Key.Place == model.PlaceDevice) && !b.MayUse(o.Key.Device) {
			return false
		}
		return captured || isQueue(o.Key.Place) || explains(w, o, g, before)
	})
	if !captured {
		for i := range list {
			list[i].wentOn = list[i].exact && list[i].Place != model.PlaceSocket && wentOn(w, b, g, list[i].DropKey, before)
		}
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
		_, match := packetdrop.Lookup(k.Reason, k.Location)
		meant := k.Reason == otherHost && k.Port != 0 // its port is the flow's
		if isNormal(k) && !meant || match == packetdrop.MatchNone || !explains(w, o, g, before) {
			continue
		}
		if whose := o.Of(&b.Key, false, slots); whose.Its == 0 && whose.None+whose.Unknown > 0 {
			list = append(list, dropped{
				DropKey: *k, process: o.Process, count: whose.None + whose.Unknown, elsewhere: true,
				namespace: otherNamespace(w, s, k),
			})
		}
	}
	return list
}

// otherNamespace is the name of the network namespace of a drop, empty for that of a socket.
func otherNamespace(w *detect.Tick, s *fold.Followed, k *fold.DropKey) string {
	if k.Netns == s.Key.Netns || k.Netns == 0 || s.Key.Netns == 0 {
		return ""
	}
	return cmp.Or(w.NetnsName(k.Netns), words.Itoa(uint64(k.Netns)))
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

// wentOn says that packets for a flow's port were dropped at much the same rate in the seconds before a gap, in which
// the flow was not late. What was said of the gap before holds where these are no longer kept.
func wentOn(w *detect.Tick, b *fold.Beat, g *fold.Gap, k fold.DropKey, before []dropped) bool {
	since := g.From.Add(-time.Second) // the drops of a second are counted at its end
	lead, start, during := w.Since(since.Add(-leadSeconds*time.Second)), w.Since(since), w.Since(g.From)
	if len(lead) != len(start)+leadSeconds {
		i := slices.IndexFunc(before, func(o dropped) bool { return o.DropKey == k })
		return i >= 0 && before[i].wentOn
	}
	i := slices.IndexFunc(w.SortedDrops(), func(o *fold.Drop) bool { return o.Key == k })
	if i < 0 || b.LateBefore(g.From, (leadSeconds+2)*time.Second) {
		return false
	}
	o, n := w.SortedDrops()[i], 0
	for _, slot := range lead[:leadSeconds] {
		if mayBeOf(o, b, []int{slot}) > 0 {
			n++
		}
	}
	earlier := float64(mayBeOf(o, b, lead[:leadSeconds])) / leadSeconds
	return n >= 2 && 1.5*earlier >= float64(mayBeOf(o, b, during))/float64(len(during))
}

// mayBeOf returns how many packets of a drop were a flow's, or may have been.
func mayBeOf(o *fold.Drop, b *fold.Beat, slots []int) uint64 {
	whose := o.Of(&b.Key, o.Key.Port != 0 && o.Key.Port == b.Socket.Port, slots)
	return whose.Its + whose.Unknown
}

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

// dropsOf returns what the host has lost that was a flow's, or may have been, of its socket: of packets of unknown
// flows what explains says, nil nothing.
func dropsOf(w *detect.Tick, s *fold.Followed, flow *fold.BeatKey, slots []int, explains func(*fold.Drop) bool,
) (list []dropped) {
	for _, o := range w.SortedDrops() {
		k := &o.Key
		here := k.Netns == 0 || s.Key.Netns == 0 || k.Netns == s.Key.Netns
		right := k.Transmit == (flow.Direction == model.DirectionTX)
		exact := right && k.Port != 0 && k.Port == s.Port && k.Protocol == s.Protocol && here
		of := flow
		if flow.Cookie == 0 {
			of = nil
		}
		whose := o.Of(of, exact, slots)
		all := dropped{DropKey: *k, process: o.Process, exact: exact}
		switch {
		case slices.Contains(noLoss, k.Reason):
		case whose.Its > 0 && (exact || k.Place != model.PlaceSocket && k.Reason != "SOCKET_FILTER" &&
			(!isNormal(k) || k.Reason == otherHost)):
			all.count, all.exact, all.its, all.namespace = whose.Its, true, true, otherNamespace(w, s, k)
			if exact {
				all.count += whose.Unknown
			}
		case exact && whose.Unknown > 0:
			all.count = whose.Unknown
		case exact:
			all.count, all.exact, all.notIts = whose.Others+whose.None, false, true
		case !right, otherProtocol(k, s), k.Port != 0, !here && !isQueue(k.Place), k.Reason == "SOCKET_FILTER":
			// Another socket's filter takes what is copied to that socket.
		case explains != nil && !isNormal(k) && explains(o):
			all.count = whose.None + whose.Unknown
		}
		if all.count > 0 {
			list = append(list, all)
		}
	}
	return most(list)
}

// certain returns those with the flow's port that are not known to be of others.
func certain(list []dropped) []dropped {
	return slices.DeleteFunc(list, func(o dropped) bool { return !o.exact })
}

// anyOf is no flow of a socket in particular, in one direction.
func anyOf(direction model.Direction) *fold.BeatKey { return &fold.BeatKey{Direction: direction} }

// inDirection is a flow, or that of the other direction between its ends.
func inDirection(b *fold.Beat, direction model.Direction) *fold.BeatKey {
	k := b.Key
	k.Direction = direction
	return &k
}

// isNormal says that packets are dropped where nothing is wrong.
func isNormal(k *fold.DropKey) bool {
	r, match := packetdrop.Lookup(k.Reason, k.Location)
	return match != packetdrop.MatchNone && r.Cause == packetdrop.CauseNormal
}

// noLoss are reasons for which TCP drops what has come before, or what it must not be sent yet, what a socket still had
// when it was closed, and the copy of a packet socket.
var noLoss = []string{
	"QUEUE_PURGE", "PACKET_SOCK_ERROR",
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
		i := slices.IndexFunc(list, func(x dropped) bool { return x.DropKey == o.DropKey && x.notIts == o.notIts })
		if i < 0 {
			list = append(list, o)
			continue
		}
		list[i].count += o.count
		list[i].wentOn, list[i].its = o.wentOn, list[i].its && o.its
	}
	return most(list)
}
