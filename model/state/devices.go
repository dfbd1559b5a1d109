package state

import (
	"maps"

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
	devices map[DeviceKey]struct{}
	queues  []QueueKey
}

// deviceIndex finds devices and their queues without going through all of them.
type deviceIndex struct {
	byID map[deviceID]*deviceGroup
	// byIfindex counts the devices of an index by their name.
	byIfindex map[int64]map[string]int
	// byName are the devices of a name, by index.
	byName map[string]map[int64]map[DeviceKey]struct{}
}

// indexedDevice is about what a device takes in the index.
const indexedDevice = 1024

func newDeviceIndex() deviceIndex {
	return deviceIndex{
		byID:      map[deviceID]*deviceGroup{},
		byIfindex: map[int64]map[string]int{},
		byName:    map[string]map[int64]map[DeviceKey]struct{}{},
	}
}

func (x *deviceIndex) group(id deviceID) *deviceGroup {
	g := x.byID[id]
	if g == nil {
		g = &deviceGroup{}
		x.byID[id] = g
	}
	return g
}

// shrink forgets an empty group.
func (x *deviceIndex) shrink(id deviceID, g *deviceGroup) {
	if len(g.devices) == 0 && len(g.queues) == 0 {
		delete(x.byID, id)
	}
}

func (x *deviceIndex) addDevice(k DeviceKey, name string) {
	g := x.group(deviceID{k.NetnsInode, k.Ifindex, name})
	if g.devices == nil {
		g.devices = map[DeviceKey]struct{}{}
	}
	g.devices[k] = struct{}{}
	if x.byIfindex[k.Ifindex] == nil {
		x.byIfindex[k.Ifindex] = map[string]int{}
	}
	x.byIfindex[k.Ifindex][name]++
	if x.byName[name] == nil {
		x.byName[name] = map[int64]map[DeviceKey]struct{}{}
	}
	if x.byName[name][k.Ifindex] == nil {
		x.byName[name][k.Ifindex] = map[DeviceKey]struct{}{}
	}
	x.byName[name][k.Ifindex][k] = struct{}{}
}

func (x *deviceIndex) dropDevice(k DeviceKey, name string) {
	id := deviceID{k.NetnsInode, k.Ifindex, name}
	g := x.group(id)
	delete(g.devices, k)
	x.shrink(id, g)
	if x.byIfindex[k.Ifindex][name]--; x.byIfindex[k.Ifindex][name] == 0 {
		delete(x.byIfindex[k.Ifindex], name)
	}
	if len(x.byIfindex[k.Ifindex]) == 0 {
		delete(x.byIfindex, k.Ifindex)
	}
	of := x.byName[name]
	delete(of[k.Ifindex], k)
	if len(of[k.Ifindex]) == 0 {
		delete(of, k.Ifindex)
	}
	if len(of) == 0 {
		delete(x.byName, name)
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

func (s *State) forgetDevice(k DeviceKey) {
	if old, ok := s.Devices[k]; ok {
		s.index.dropDevice(k, old.Device)
		forget(s, s.Devices, k, deviceBytes)
	}
}

func (s *State) setQueue(k QueueKey, v model.DeviceQueue) {
	_, known := s.Queues[k]
	if keep(s, s.Queues, k, v, "queues of devices", queueBytes) && !known {
		g := s.index.group(deviceID{k.NetnsInode, k.Ifindex, k.Device})
		g.queues = append(g.queues, k)
	}
}

// takeQueues forgets the queues of a group and returns them.
func (s *State) takeQueues(id deviceID, g *deviceGroup) []model.DeviceQueue {
	var queues []model.DeviceQueue
	for _, k := range g.queues {
		queues = append(queues, s.Queues[k])
		forget(s, s.Queues, k, queueBytes)
	}
	g.queues = nil
	s.index.shrink(id, g)
	return queues
}

// removeDevice forgets the device of an event, with its queues.
func (s *State) removeDevice(v model.DeviceEvent) {
	id := deviceID{v.NetnsInode, v.Ifindex, v.Device}
	g := s.index.byID[id]
	if g == nil {
		return
	}
	for k := range maps.Clone(g.devices) {
		s.forgetDevice(k)
	}
	s.takeQueues(id, g)
}

// renameDevice gives the device of an event its new name, and its queues with it.
func (s *State) renameDevice(v model.DeviceEvent) {
	id := deviceID{v.NetnsInode, v.Ifindex, v.Detail}
	g := s.index.byID[id]
	if g == nil || v.Detail == v.Device ||
		!s.budget.Spend("new names of devices", 64*(len(g.devices)+len(g.queues))) {
		return
	}
	for k := range maps.Clone(g.devices) {
		d := s.Devices[k]
		d.Device = v.Device
		s.setDevice(k, d)
	}
	for _, q := range s.takeQueues(id, g) {
		q.Device = v.Device
		s.setQueue(QueueKey{q.NetnsInode, q.Device, q.Ifindex, q.Direction, q.Queue}, q)
	}
}

// DeviceName returns the name of the devices with the given index, "" when there
// are none or they have several.
func (s *State) DeviceName(ifindex int64) string {
	names := s.index.byIfindex[ifindex]
	if len(names) != 1 {
		return ""
	}
	for name := range names {
		return name
	}
	return ""
}

// DeviceNamed returns the device of a name and index, any for index 0: of
// several, the one whose namespace has the lowest name.
func (s *State) DeviceNamed(name string, ifindex int64) (found model.DeviceConfig, ok bool) {
	take := func(of map[DeviceKey]struct{}) {
		for k := range of {
			if d := s.Devices[k]; !ok || d.Netns < found.Netns ||
				d.Netns == found.Netns && (d.Ifindex < found.Ifindex ||
					d.Ifindex == found.Ifindex && d.NetnsInode < found.NetnsInode) {
				found, ok = d, true
			}
		}
	}
	if ifindex != 0 {
		take(s.index.byName[name][ifindex])
		return found, ok
	}
	for _, of := range s.index.byName[name] {
		take(of)
	}
	return found, ok
}
