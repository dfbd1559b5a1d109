package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"lostbeat/model"
)

// deviceID is what a device event names a device by. Devices of the same index
// and name in two namespaces of which only the names are known share one.
type deviceID struct {
	inode   uint32
	ifindex int64
	name    string
}

// deviceGroup are the keys of what one deviceID has.
type deviceGroup struct {
	id      deviceID
	devices map[DeviceKey]struct{}
	queues  []QueueKey
}

// deviceIndex finds devices and their queues without going through all of them.
type deviceIndex struct {
	groups map[deviceID]*deviceGroup
	// byName are the groups of a name, by index and inode.
	byName map[string]map[int64]map[uint32]*deviceGroup
	// names counts the devices of an index by their name.
	names map[indexPlace]map[string]int
}

// indexPlace is an index in one network namespace, or in any.
type indexPlace struct {
	ifindex int64
	inode   uint32
	any     bool
}

// indexedDevice is about what a device takes in the index.
const indexedDevice = 1024

func newDeviceIndex() deviceIndex {
	return deviceIndex{
		groups: map[deviceID]*deviceGroup{},
		byName: map[string]map[int64]map[uint32]*deviceGroup{},
		names:  map[indexPlace]map[string]int{},
	}
}

// group returns the group of id, which it makes when it is missing.
func (x *deviceIndex) group(id deviceID) *deviceGroup {
	g := x.groups[id]
	if g != nil {
		return g
	}
	g = &deviceGroup{id: id}
	x.groups[id] = g
	of := x.byName[id.name]
	if of == nil {
		of = map[int64]map[uint32]*deviceGroup{}
		x.byName[id.name] = of
	}
	if of[id.ifindex] == nil {
		of[id.ifindex] = map[uint32]*deviceGroup{}
	}
	of[id.ifindex][id.inode] = g
	return g
}

// shrink forgets a group that is empty.
func (x *deviceIndex) shrink(g *deviceGroup) {
	if len(g.devices) > 0 || len(g.queues) > 0 {
		return
	}
	delete(x.groups, g.id)
	of := x.byName[g.id.name]
	delete(of[g.id.ifindex], g.id.inode)
	if len(of[g.id.ifindex]) == 0 {
		delete(of, g.id.ifindex)
	}
	if len(of) == 0 {
		delete(x.byName, g.id.name)
	}
}

// find yields the groups of a name, index and inode, any for an index or an inode of 0.
func (x *deviceIndex) find(id deviceID) iter.Seq[*deviceGroup] {
	return func(yield func(*deviceGroup) bool) {
		if id.inode != 0 && id.ifindex != 0 {
			for _, inode := range [...]uint32{id.inode, 0} {
				if g := x.groups[deviceID{inode, id.ifindex, id.name}]; g != nil && !yield(g) {
					return
				}
			}
			return
		}
		some := x.byName[id.name]
		if id.ifindex != 0 {
			some = map[int64]map[uint32]*deviceGroup{id.ifindex: some[id.ifindex]}
		}
		for _, of := range some {
			for inode, g := range of {
				if SameNetns(inode, id.inode) && !yield(g) {
					return
				}
			}
		}
	}
}

func (k *DeviceKey) places() [2]indexPlace {
	return [2]indexPlace{{ifindex: k.Ifindex, inode: k.NetnsInode}, {ifindex: k.Ifindex, any: true}}
}

func (x *deviceIndex) addDevice(k DeviceKey, name string) {
	g := x.group(deviceID{k.NetnsInode, k.Ifindex, name})
	if g.devices == nil {
		g.devices = map[DeviceKey]struct{}{}
	}
	g.devices[k] = struct{}{}
	for _, place := range k.places() {
		if x.names[place] == nil {
			x.names[place] = map[string]int{}
		}
		x.names[place][name]++
	}
}

func (x *deviceIndex) dropDevice(k DeviceKey, name string) {
	g := x.group(deviceID{k.NetnsInode, k.Ifindex, name})
	delete(g.devices, k)
	x.shrink(g)
	for _, place := range k.places() {
		if x.names[place][name]--; x.names[place][name] == 0 {
			delete(x.names[place], name)
		}
		if len(x.names[place]) == 0 {
			delete(x.names, place)
		}
	}
}

func (s *State) setDevice(k DeviceKey, v model.DeviceConfig) {
	old, known := s.Devices[k]
	if !keep(s, s.Devices, k, v, "devices", deviceBytes) || known && old.Device == v.Device {
		return
	}
	if known {
		s.index.dropDevice(k, old.Device)
	}
	s.index.addDevice(k, v.Device)
}

func (s *State) setQueue(k QueueKey, v model.DeviceQueue) {
	_, known := s.Queues[k]
	if keep(s, s.Queues, k, v, "queues of devices", queueBytes) && !known {
		g := s.index.group(deviceID{k.NetnsInode, k.Ifindex, k.Device})
		g.queues = append(g.queues, k)
	}
}

// takeQueues forgets the queues of a group and returns them.
func (s *State) takeQueues(g *deviceGroup) []model.DeviceQueue {
	queues := make([]model.DeviceQueue, 0, len(g.queues))
	for _, k := range g.queues {
		queues = append(queues, s.Queues[k])
		forget(s, s.Queues, k, queueBytes)
	}
	g.queues = nil
	s.index.shrink(g)
	return queues
}

// removeDevice forgets the device of an event, with its queues.
func (s *State) removeDevice(v model.DeviceEvent) {
	g := s.index.groups[deviceID{v.NetnsInode, v.Ifindex, v.Device}]
	if g == nil {
		return
	}
	s.takeQueues(g)
	for _, k := range slices.Collect(maps.Keys(g.devices)) {
		s.index.dropDevice(k, v.Device)
		forget(s, s.Devices, k, deviceBytes)
	}
}

// renameDevice gives the device of an event its new name, and its queues with it.
func (s *State) renameDevice(v model.DeviceEvent) {
	g := s.index.groups[deviceID{v.NetnsInode, v.Ifindex, v.Detail}]
	if g == nil || v.Detail == v.Device ||
		!s.budget.Spend("new names of devices", 64*(len(g.devices)+len(g.queues))) {
		return
	}
	devices := slices.Collect(maps.Keys(g.devices))
	queues := s.takeQueues(g)
	for _, k := range devices {
		d := s.Devices[k]
		d.Device = v.Device
		s.setDevice(k, d)
	}
	for _, q := range queues {
		q.Device = v.Device
		s.setQueue(QueueKey{q.NetnsInode, q.Device, q.Ifindex, q.Direction, q.Queue}, q)
	}
}

// SameNetns says that two network namespaces may be the same: 0 is an unknown one.
func SameNetns(a, b uint32) bool { return a == 0 || b == 0 || a == b }

// DeviceName returns the name of the devices with the given index in a network
// namespace, "" when there are none or they have several.
func (s *State) DeviceName(inode uint32, ifindex int64) (name string) {
	places := []indexPlace{{ifindex: ifindex, any: true}}
	if inode != 0 {
		places = []indexPlace{{ifindex: ifindex, inode: inode}, {ifindex: ifindex}}
	}
	for _, place := range places {
		names := s.index.names[place]
		if len(names) > 1 {
			return ""
		}
		for other := range names {
			if name != "" && name != other {
				return ""
			}
			name = other
		}
	}
	return name
}

// DeviceNamed returns the device of a name, index and network namespace, any
// for an index or an inode of 0: of several, the one whose namespace has the
// lowest name.
func (s *State) DeviceNamed(name string, inode uint32, ifindex int64) (found model.DeviceConfig, ok bool) {
	for g := range s.index.find(deviceID{inode, ifindex, name}) {
		for k := range g.devices {
			if d := s.Devices[k]; !ok || before(&d, &found) {
				found, ok = d, true
			}
		}
	}
	return found, ok
}

func before(a, b *model.DeviceConfig) bool {
	return cmp.Or(
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(a.Ifindex, b.Ifindex),
		cmp.Compare(a.NetnsInode, b.NetnsInode),
	) < 0
}

// QueuesOf yields the queues of the devices of a name, index and network
// namespace, any for an index or an inode of 0, in no fixed order.
func (s *State) QueuesOf(name string, inode uint32, ifindex int64) iter.Seq[model.DeviceQueue] {
	return func(yield func(model.DeviceQueue) bool) {
		for g := range s.index.find(deviceID{inode, ifindex, name}) {
			for _, k := range g.queues {
				if !yield(s.Queues[k]) {
					return
				}
			}
		}
	}
}
