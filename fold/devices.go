package fold

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// DeviceKey identifies a device: interface indexes repeat between network
// namespaces, so the name is part of it.
type DeviceKey struct {
	// Netns is the inode number of the network namespace, 0 unknown.
	Netns   uint32
	Ifindex int64
	Name    string
}

// CompareDevices orders devices by name, index and namespace.
func CompareDevices(a, b DeviceKey) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.Netns, b.Netns))
}

// DeviceCount is a number of packets of a device.
type DeviceCount struct {
	Device DeviceKey
	Count  uint64
}

// AddDevice adds n packets of a device to a list.
func AddDevice(list []DeviceCount, d DeviceKey, n uint64) []DeviceCount {
	for i := range list {
		if list[i].Device == d {
			list[i].Count += n
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, DeviceCount{d, n})
}

// Device is one device, second by second.
type Device struct {
	Key     DeviceKey
	Seconds [MaxWindow]DeviceSecond
	Sum     DeviceSecond
	// RingTotal and DeviceTotal count received packets lost since the stream began, RingTXTotal those to be sent.
	RingTotal, DeviceTotal, RingTXTotal uint64
	// Removed and LinkDown are when the device went away and when its link went down, 0 when it is there and up.
	Removed, LinkDown model.Time
	// Down is when its link last was down, or it was not there; To is 0 while that lasts.
	Down Span
	// FormerName is what it was called before it was renamed, empty never.
	FormerName string
	// seen is when there last was a sign of it.
	seen model.Time
	// door says that it is a veth of the host's own namespace, also when it has been removed.
	door bool
}

// DeviceSecond is what happened at one device in one second or window.
type DeviceSecond struct {
	// Packets are those received, TXPackets those sent.
	Packets, TXPackets uint64
	// Ring and Device are received packets lost in the ring and in the layer above it, RingTX those to be sent that
	// the ring did not take.
	Ring, Device, RingTX       uint64
	RingReasons, RingTXReasons []ReasonCount
	DeviceReasons              []ReasonCount
	// Signs are what the driver counts that explains losses without being one, by the statistic's name: pause frames,
	// a slow bus.
	Signs                        []ReasonCount
	active                       bool
	rxDropped, rxErrs, txDropped uint64
}

// Drops is what the device lost.
func (s *DeviceSecond) Drops() uint64 { return s.Ring + s.Device }

// Counted says that the device's counters were read.
func (s *DeviceSecond) Counted() bool { return s.active }

// ReasonCount counts drops by reason and queue or location.
type ReasonCount struct {
	Reason, Location string
	Queue            int64
	Count            uint64
}

// AddReason adds lost packets to a list.
func AddReason(list []ReasonCount, r ReasonCount) []ReasonCount {
	for i := range list {
		if list[i].Reason == r.Reason && list[i].Queue == r.Queue && list[i].Location == r.Location {
			list[i].Count += r.Count
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, r)
}

// Device returns what is known about a device; nothing happened on one of which
// nothing is known.
func (w *Fold) Device(k DeviceKey) *Device {
	if k.Name == "" {
		k.Name = w.deviceName(k)
	}
	if d := w.Devices[k]; d != nil {
		return d
	}
	return &Device{Key: k}
}

// device returns a device of which there is a sign at a time.
func (w *Fold) device(k DeviceKey, at model.Time) *Device {
	d := w.Device(k)
	if d.seen == 0 {
		if !w.room.Take("devices", deviceBytes+len(d.Key.Name)) {
			return w.room.spareDevice(d.Key)
		}
		w.Devices[d.Key] = d
		w.sortedDevices = nil
	}
	d.seen = max(d.seen, at, 1)
	return d
}

// deviceName returns the name of a device of which only the index is known,
// when no other namespace has a device of that index.
func (w *Fold) deviceName(key DeviceKey) string { return w.State.DeviceName(key.Netns, key.Ifindex) }

// DeviceConfig returns what is known about a device's rings and queues.
func (w *Fold) DeviceConfig(k DeviceKey) (model.DeviceConfig, bool) {
	return w.State.DeviceNamed(k.Name, k.Netns, k.Ifindex)
}

// ReceiveQueues returns a device's receive queues by number.
func (w *Fold) ReceiveQueues(k DeviceKey) []model.DeviceQueue {
	var queues []model.DeviceQueue
	for q := range w.State.QueuesOf(k.Name, k.Netns, k.Ifindex) {
		if q.Direction == model.DirectionRX {
			queues = append(queues, q)
		}
	}
	slices.SortFunc(queues, func(a, b model.DeviceQueue) int {
		return compareQueues(&a, &b)
	})
	return queues
}

// applyDriverCounter keeps a statistic of a driver that is a sign. Counters are those of the host's own namespace.
func (w *Fold) applyDriverCounter(v *model.Counter) {
	name, ok := strings.CutPrefix(v.Name, model.DriverCounter)
	if !ok || v.Mode != model.CounterRate {
		return
	}
	for _, d := range w.SortedDevices() {
		if d.Key.Name != v.Instance || d.Key.Ifindex != v.Ifindex {
			continue
		}
		if config, known := w.DeviceConfig(d.Key); known && config.Netns != "" {
			continue
		}
		s := &d.Seconds[w.Slot]
		n := len(s.Signs)
		count := uint64(math.Round(v.Value * v.Dur.Seconds()))
		s.Signs = AddReason(s.Signs, ReasonCount{Reason: name, Queue: -1, Count: count})
		list(&w.room, "signs of drivers", &s.Signs, n, listedBytes)
		return
	}
}

// SortedDevices returns the devices with facts, by name.
func (w *Fold) SortedDevices() []*Device {
	return sorted(&w.sortedDevices, w.Devices, CompareDevices)
}

// IsVeth says that a device is one end of a veth pair.
func (w *Fold) IsVeth(k DeviceKey) bool {
	config, ok := w.DeviceConfig(k)
	return ok && config.Driver == "veth"
}

func (d *Device) sumUp(slots []int) {
	d.Sum = DeviceSecond{}
	for _, i := range slots {
		s := &d.Seconds[i]
		d.Sum.Packets += s.Packets
		d.Sum.TXPackets += s.TXPackets
		d.Sum.Ring += s.Ring
		d.Sum.RingTX += s.RingTX
		d.Sum.Device += s.Device
		d.Sum.rxDropped += s.rxDropped
		d.Sum.rxErrs += s.rxErrs
		d.Sum.active = d.Sum.active || s.active
		for _, r := range s.RingReasons {
			d.Sum.RingReasons = AddReason(d.Sum.RingReasons, r)
		}
		for _, r := range s.RingTXReasons {
			d.Sum.RingTXReasons = AddReason(d.Sum.RingTXReasons, r)
		}
		for _, r := range s.DeviceReasons {
			d.Sum.DeviceReasons = AddReason(d.Sum.DeviceReasons, r)
		}
	}
}

// noticed is by how much later than it happens what becomes of a device may be noticed, noticedElsewhere the same for
// other network namespaces, which are looked at less often.
const (
	noticed          = time.Second
	noticedElsewhere = 11 * time.Second
)

// DownFor returns a device of a flow's network namespace over which its packets may come or go, and that went down, or
// was removed, as a time began, and was down until it ended; nil for none. The one that the flow is known to use comes
// first. Another veth of the host's own namespace is the door of a container, which comes and goes, where that has other
// devices.
func (w *Fold) DownFor(b *Beat, from, to model.Time, period time.Duration) (device *Device) {
	netns := b.Key.Netns
	for _, d := range w.SortedDevices() {
		if !b.MayUse(d.Key) {
			continue
		}
		down, own := d.Down, d.Key.Ifindex == b.Over.Ifindex && b.Over.Ifindex != 0
		latest := from.Add(noticed + 2*period)
		if down.To == 0 {
			down.To, latest = to, from.Add(noticedElsewhere+2*period)
		}
		if netns != 0 && d.Key.Netns == netns && down.From >= from.Add(-period) && down.From <= latest &&
			down.To >= to.Add(-period) && (own || !d.door || !w.hasOther(netns)) {
			if own {
				return d
			}
			device = cmp.Or(device, d)
		}
	}
	return device
}

// hasOther says that a network namespace has a device to the outside that is no door of a container.
func (w *Fold) hasOther(netns uint32) bool {
	return slices.ContainsFunc(w.SortedDevices(), func(d *Device) bool {
		return d.Key.Netns == netns && d.Key.Name != "lo" && !d.door && d.Removed == 0
	})
}
