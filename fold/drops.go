package fold

import (
	"cmp"
	"slices"
	"strings"

	"lostbeat/model"
)

// maxDrops bounds the drops that are told apart.
const maxDrops = 4096

// DropKey is where, why and to whom packets were lost.
type DropKey struct {
	// Netns is the inode number of the network namespace, 0 unknown.
	Netns uint32
	// Transmit says that the host was sending the packets.
	Transmit bool
	Place    model.Place
	// Reason is the kernel's or driver's own, Location the kernel function, empty unknown.
	Reason, Location string
	Device           DeviceKey
	// Protocol and Port are of the local socket, or of the packets where there was no socket; 0 unknown.
	Protocol model.Protocol
	Port     uint16
	// PID is the process that lost them, -1 unknown.
	PID int32
}

// CompareDrops orders drops.
func CompareDrops(a, b DropKey) int {
	flag := func(t bool) int {
		if t {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Place, b.Place),
		cmp.Compare(a.Reason, b.Reason),
		cmp.Compare(a.Location, b.Location),
		CompareDevices(a.Device, b.Device),
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(flag(a.Transmit), flag(b.Transmit)),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.PID, b.PID),
	)
}

// Drop is the packets lost at one place for one reason by one owner.
type Drop struct {
	Key DropKey
	// Process is the owner's name, empty unknown.
	Process string
	// Seconds are the packets lost by second, Sum those of the window, Total all since it was first seen.
	Seconds    [MaxWindow]uint64
	Sum, Total uint64
	// First and Last are when packets were first and last lost.
	First, Last model.Time
	// CPUs are where they were freed.
	CPUs []CPUCount
	// Flows are the packets of which it is known whether they were of a followed flow.
	Flows []FlowDrop
}

// FlowDrop are the packets of a drop that were of one followed flow.
type FlowDrop struct {
	// Flow is the zero BeatKey for packets of a followed port which were of no followed flow. Its network namespace is
	// not known; its port is 0 where the peer's was another one than that of the flow, or is not known.
	Flow BeatKey
	// Seconds are the packets by second.
	Seconds [MaxWindow]uint64
}

// DroppedOf returns the flow of an event, as in FlowDrop.
func DroppedOf(v *model.FlowDrop) BeatKey {
	if v.Cookie == 0 {
		return BeatKey{}
	}
	return BeatKey{FollowKey{Cookie: v.Cookie}, v.RemoteAddr, v.RemotePort, v.Direction}
}

// IsOf says that what is known of the flow of dropped packets is true of the flow k. With anySocket, it may be the same
// flow at another socket: of what was sent to a group, or lost before its socket was chosen, one of several is named.
func (b *BeatKey) IsOf(k *BeatKey, anySocket bool) bool {
	return b.Cookie != 0 && (b.Cookie == k.Cookie || anySocket) && b.Direction == k.Direction && b.Remote == k.Remote &&
		(b.Port == k.Port || b.Port == 0 || k.Port == 0)
}

// Whose says whose the packets of a drop are, seen from one flow.
type Whose struct {
	// Its are the flow's, Others other followed flows'; None are of a followed port and of no followed flow, Unknown may
	// be anybody's.
	Its, Others, None, Unknown uint64
}

// Of says whose the packets of a drop are in some seconds; nil is no flow in particular. With samePort, they had the
// port of the flow's socket in its network namespace.
func (d *Drop) Of(k *BeatKey, samePort bool, slots []int) (whose Whose) {
	for i := range d.Flows {
		f := &d.Flows[i]
		n := SumOf(&f.Seconds, slots)
		switch {
		case k == nil:
		case f.Flow.IsOf(k, samePort && d.Key.Place != model.PlaceSocket):
			whose.Its += n
		case f.Flow.Cookie == 0:
			whose.None += n
		default:
			whose.Others += n
		}
	}
	all := SumOf(&d.Seconds, slots)
	whose.Unknown = all - min(all, whose.Its+whose.Others+whose.None)
	return whose
}

// SumOf adds up some of the seconds of a window.
func SumOf(seconds *[MaxWindow]uint64, slots []int) (n uint64) {
	for _, slot := range slots {
		n += seconds[slot]
	}
	return n
}

// transmits says that the host was sending the packets of a drop. Recordings
// from before the direction was told have it in the function's name only.
func transmits(v *model.Drop) bool {
	return v.Flags&model.FlagTransmit != 0 || v.Place == model.PlaceQdisc || strings.HasPrefix(v.Reason, "NEIGH_") ||
		strings.HasSuffix(v.Location, "_xmit") || slices.Contains(sendingFunctions, v.Location)
}

// sendingFunctions lose packets that are on their way to the next hop.
var sendingFunctions = []string{
	"__dev_queue_xmit", "arp_error_report", "ndisc_error_report", "neigh_probe", "neigh_invalidate", "__neigh_event_send",
}

// otherSocketReasons are the reasons for which packets are lost at a socket although its receive queue has room:
// another queue or limit is full.
var otherSocketReasons = map[string]bool{
	"PROTO_MEM":           true,
	"SOCKET_BACKLOG":      true,
	"TCP_LISTEN_OVERFLOW": true,
	"TCP_ZEROWINDOW":      true,
	"TCP_OFO_QUEUE_PRUNE": true,
	"TCP_OFO_DROP":        true, // nothing is lost
	"PACKET_SOCK_ERROR":   true,
}

// FullQueue says that packets lost at a socket for the given reason were lost because its receive queue was full.
func FullQueue(reason string) bool { return !otherSocketReasons[reason] }

// maxFlowDrops bounds the followed flows whose packets are told apart in one drop.
const maxFlowDrops = 64

// backlogOf removes what does not tell the packets of a backlog apart: they are many sockets', and the ports of
// recordings from before the receiver's were told are the senders'.
func (k *DropKey) backlogOf() {
	if k.Place == model.PlaceBacklog {
		k.Protocol, k.Port, k.PID = 0, 0, -1
	}
}

// named is the key without what a flow.drop does not have.
func (k DropKey) named() DropKey {
	k.Device.Ifindex = 0
	return k
}

// noteDrop counts a drop by where, why and to whom.
func (w *Fold) noteDrop(v *model.Drop) {
	k := DropKey{
		Netns:    v.NetnsInode,
		Transmit: transmits(v),
		Place:    v.Place,
		Reason:   v.Reason,
		Location: v.Location,
		Device:   DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device},
		Protocol: v.Protocol,
		Port:     v.LocalPort,
		PID:      v.PID,
	}
	k.backlogOf()
	d := w.drops[k]
	if d == nil {
		if len(w.drops) >= maxDrops {
			w.DropsLeftOut += v.Count
			return
		}
		d = &Drop{Key: k, First: max(v.Time.Add(-v.Dur), 0)}
		w.drops[k] = d
		w.dropsByName[k.named()] = d
		w.sortedDrops = nil
	}
	if v.Process != "" {
		d.Process = v.Process
	}
	d.Seconds[w.Slot] += v.Count
	d.Total += v.Count
	d.Last = v.Time
	if len(d.CPUs) < 64 {
		d.CPUs = addCPU(d.CPUs, v.CPU, v.Count)
	}
}

// applyFlowDrop notes of which followed flow the packets of a drop were.
func (w *Fold) applyFlowDrop(v *model.FlowDrop) {
	k := DropKey{
		Netns: v.NetnsInode, Place: v.Place, Reason: v.Reason, Location: v.Location,
		Transmit: transmits(&model.Drop{Flags: v.Flags, Place: v.Place, Reason: v.Reason, Location: v.Location}),
		Device:   DeviceKey{Netns: v.NetnsInode, Name: v.Device},
		Protocol: v.Protocol, Port: v.LocalPort, PID: v.PID,
	}
	k.backlogOf()
	flow := DroppedOf(v)
	for _, b := range w.beats {
		if flow.Port == b.Key.Port && flow.IsOf(&b.Key, false) {
			b.Dropped += v.Count
		}
	}
	d := w.dropsByName[k]
	if d == nil {
		return
	}
	i := slices.IndexFunc(d.Flows, func(f FlowDrop) bool { return f.Flow == flow })
	if i < 0 {
		if len(d.Flows) >= maxFlowDrops {
			return // whose the packets are is then not known
		}
		i = len(d.Flows)
		d.Flows = append(d.Flows, FlowDrop{Flow: flow})
	}
	d.Flows[i].Seconds[w.Slot] += v.Count
}

// SortedDrops returns the drops in a fixed order.
func (w *Fold) SortedDrops() []*Drop {
	return sorted(&w.sortedDrops, w.drops, CompareDrops)
}

func (w *Fold) sumDrops(slots []int) {
	for _, d := range w.drops {
		d.Sum = 0
		for _, i := range slots {
			d.Sum += d.Seconds[i]
		}
	}
}

// endDrops opens the next second and forgets what has not been lost for long.
func (w *Fold) endDrops() {
	for k, d := range w.drops {
		d.Seconds[w.Slot] = 0
		for i := range d.Flows {
			d.Flows[i].Seconds[w.Slot] = 0
		}
		d.Flows = slices.DeleteFunc(d.Flows, func(f FlowDrop) bool { return f.Seconds == [MaxWindow]uint64{} })
		if w.Now.Sub(d.Last) > forgetDrop {
			delete(w.drops, k)
			delete(w.dropsByName, k.named())
			w.sortedDrops = nil
		}
	}
}
