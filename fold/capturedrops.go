package fold

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// Bounds of what is remembered of drops that a capture reports.
const (
	maxCaptureDrops = 1 << 12
	maxCapturePeers = 16
)

// CaptureDropKey is why packets were dropped that a capture reports, where, and of what service.
type CaptureDropKey struct {
	Verdict                     model.CaptureVerdict
	Reason, Component, Location string
	// Transmit says that the host was sending them.
	Transmit bool
	Ifindex  int64
	Protocol model.Protocol
	// Service is the port by which the packets are named: that of the end that is no ephemeral one, 0 unknown.
	Service uint16
	// Local says that it is the local one.
	Local bool
}

// CaptureDrop is how many there were.
type CaptureDrop struct {
	Key CaptureDropKey
	// Packets are the packets, Reports the events that reported them.
	Packets, Reports uint64
	First, Last      model.Time
	// Peers are the remote addresses with the packets of each, the first that were seen.
	Peers []CapturePeer
}

// CapturePeer is the packets of one remote address.
type CapturePeer struct {
	Addr    string
	Packets uint64
}

// CaptureDrops are the drops that a capture reports, over all of it.
type CaptureDrops struct {
	// Packets is how many packets were captured.
	Packets uint64
	byKey   map[CaptureDropKey]*CaptureDrop
	room    *budget.Budget
}

func newCaptureDrops(room *budget.Budget) *CaptureDrops {
	return &CaptureDrops{byKey: make(map[CaptureDropKey]*CaptureDrop), room: room}
}

// firstDynamic is where the ephemeral ports of Windows begin.
const firstDynamic = 49152

func (c *CaptureDrops) add(v *model.CaptureDrop) {
	k := CaptureDropKey{
		Verdict: v.Verdict, Reason: v.Reason, Component: v.Component, Location: v.Location,
		Transmit: v.Flags&model.FlagTransmit != 0, Ifindex: v.Ifindex, Protocol: v.Protocol,
	}
	first, second := v.LocalPort, v.RemotePort
	if k.Transmit {
		first, second = second, first
	}
	k.Service, k.Local = first, !k.Transmit
	if first >= firstDynamic && second != 0 && second < firstDynamic {
		k.Service, k.Local = second, k.Transmit
	}
	d := c.byKey[k]
	if d == nil {
		if len(c.byKey) >= maxCaptureDrops {
			c.room.LeaveOut("drops that a capture reports")
			return
		}
		size := 2*int(unsafe.Sizeof(CaptureDrop{})) + len(k.Reason) + len(k.Component) + len(k.Location)
		if !c.room.Take("drops that a capture reports", size) {
			return
		}
		d = &CaptureDrop{Key: k, First: max(v.Time.Add(-v.Dur), 0)}
		c.byKey[k] = d
	}
	d.Packets += v.Count
	d.Reports += v.Reports
	d.Last = max(d.Last, v.Time)
	if v.RemoteAddr == "" {
		return
	}
	i := slices.IndexFunc(d.Peers, func(p CapturePeer) bool { return p.Addr == v.RemoteAddr })
	if i < 0 && len(d.Peers) < maxCapturePeers && c.room.Take("drops that a capture reports", 64) {
		d.Peers = append(d.Peers, CapturePeer{Addr: v.RemoteAddr})
		i = len(d.Peers) - 1
	}
	if i >= 0 {
		d.Peers[i].Packets += v.Count
	}
}

// List returns them in a fixed order.
func (c *CaptureDrops) List() []*CaptureDrop {
	list := make([]*CaptureDrop, 0, len(c.byKey))
	for _, d := range c.byKey {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *CaptureDrop) int { return compareCaptureDrops(a.Key, b.Key) })
	return list
}

func compareCaptureDrops(a, b CaptureDropKey) int {
	flag := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return 1
		}
		return -1
	}
	return cmp.Or(
		cmp.Compare(b.Verdict, a.Verdict), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Ifindex, b.Ifindex),
		flag(a.Transmit, b.Transmit), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Service, b.Service),
		flag(a.Local, b.Local), cmp.Compare(a.Component, b.Component), cmp.Compare(a.Location, b.Location),
	)
}

// Reported says that a drop is one that a capture reports, of which a detector of its own speaks.
func Reported(location string) bool { return strings.HasPrefix(location, model.CaptureLocation) }
