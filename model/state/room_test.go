package state

import (
	"fmt"
	"testing"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// What is kept stays within the budget, and what is forgotten gives all of it back.
func TestRoom(t *testing.T) {
	room := budget.New(64 << 10)
	s := NewWithin(room)
	var b model.Builder
	for i := range 400 {
		at, name := model.Time(i+1)*second, fmt.Sprint("name", i)
		b.AddProcess(model.Process{Time: at, PID: int32(i + 1), TID: int32(i + 1), Name: name})
		b.AddDeviceConfig(model.DeviceConfig{Time: at, Ifindex: int64(i + 1), Device: name})
		b.AddDeviceQueue(model.DeviceQueue{Time: at, Ifindex: int64(i + 1), Device: name})
		b.AddPortPool(model.PortPool{Time: at, Netns: int64(i + 1), Low: 1, High: 2, Size: 2, Name: name})
		b.AddPortAcquire(udp(at, uint64(i+1), uint16(i+1)))
		b.AddMeta(model.Meta{Time: at, Key: name})
	}
	s.Apply(b.Take())
	if room.Used() > room.Limit() || room.Used() < room.Limit()*9/10 {
		t.Errorf("%d bytes of %d are taken", room.Used(), room.Limit())
	}
	if s.LeftOut() == 0 || len(s.Processes) == 0 || len(s.Devices) == 0 || len(s.Queues) == 0 || len(s.Pools) == 0 ||
		s.Ports.Len() == 0 {
		t.Errorf("%d left out; %d processes, %d devices, %d queues, %d pools, %d ports", s.LeftOut(), len(s.Processes),
			len(s.Devices), len(s.Queues), len(s.Pools), s.Ports.Len())
	}
	for i := range 400 {
		at, name := model.Time(i+500)*second, fmt.Sprint("name", i)
		b.AddProcess(model.Process{Time: at, PID: int32(i + 1), State: model.ProcessExited})
		b.AddDeviceEvent(model.DeviceEvent{Time: at, Ifindex: int64(i + 1), Device: name, What: model.DeviceRemoved})
		b.AddPortPool(model.PortPool{Time: at, Netns: int64(i + 1), Name: name})
		b.AddPortRelease(model.PortRelease{Time: at, Cookie: uint64(i + 1)})
	}
	s.Apply(b.Take())
	meta := 0
	for k, v := range s.Meta {
		meta += metaBytes(k, v)
	}
	if room.Used() != int64(meta) || len(s.index.groups)+len(s.index.names)+len(s.index.byName)+len(s.pools) > 0 {
		t.Errorf("%d bytes are still taken, %d of them by facts about the host; the indexes have %d, %d, %d and %d entries",
			room.Used(), meta, len(s.index.groups), len(s.index.names), len(s.index.byName), len(s.pools))
	}
	b.AddMeta(model.Meta{Time: 1000 * second, Key: KeyframeKey})
	s.Apply(b.Take())
	if room.Used() != 0 {
		t.Errorf("%d bytes are taken after a keyframe", room.Used())
	}
}

// Devices are found by index, by name and by both, in one namespace or any.
func TestDeviceLookups(t *testing.T) {
	s := New()
	var b model.Builder
	for _, d := range []model.DeviceConfig{
		{Ifindex: 2, Device: "eth0", NetnsInode: 7, Netns: "b"},
		{Ifindex: 2, Device: "eth0", NetnsInode: 8, Netns: "a"},
		{Ifindex: 3, Device: "eth1", NetnsInode: 7, Netns: "b"},
		{Ifindex: 3, Device: "veth3", NetnsInode: 8, Netns: "a"},
	} {
		d.Time = second
		b.AddDeviceConfig(d)
		b.AddDeviceQueue(model.DeviceQueue{
			Time: second, NetnsInode: d.NetnsInode, Ifindex: d.Ifindex, Device: d.Device, Queue: int64(d.NetnsInode),
		})
	}
	s.Apply(b.Take())
	for _, test := range []struct {
		inode   uint32
		ifindex int64
		want    string
	}{{0, 2, "eth0"}, {7, 2, "eth0"}, {0, 3, ""}, {7, 3, "eth1"}, {8, 3, "veth3"}, {9, 3, ""}, {0, 4, ""}} {
		if got := s.DeviceName(test.inode, test.ifindex); got != test.want {
			t.Errorf("index %d in %d is %q, want %q", test.ifindex, test.inode, got, test.want)
		}
	}
	for _, test := range []struct {
		name    string
		inode   uint32
		ifindex int64
		netns   string
		queues  int
	}{
		{"eth0", 0, 2, "a", 2},
		{"eth0", 7, 2, "b", 1},
		{"eth0", 0, 0, "a", 2},
		{"eth0", 7, 0, "b", 1},
		{"eth1", 8, 3, "", 0},
	} {
		d, ok := s.DeviceNamed(test.name, test.inode, test.ifindex)
		if ok != (test.netns != "") || d.Netns != test.netns {
			t.Errorf("%s %d in %d is of %q", test.name, test.ifindex, test.inode, d.Netns)
		}
		n := 0
		for range s.QueuesOf(test.name, test.inode, test.ifindex) {
			n++
		}
		if n != test.queues {
			t.Errorf("%s %d in %d has %d queues", test.name, test.ifindex, test.inode, n)
		}
	}
	b.AddDeviceEvent(model.DeviceEvent{
		Time: second, NetnsInode: 7, Ifindex: 2, Device: "wan0", What: model.DeviceRenamed, Detail: "eth0",
	})
	s.Apply(b.Take())
	d, ok := s.DeviceNamed("wan0", 7, 2)
	if !ok || d.Netns != "b" || s.DeviceName(0, 2) != "" || s.DeviceName(7, 2) != "wan0" {
		t.Errorf("renamed: %+v, %q, %q", d, s.DeviceName(0, 2), s.DeviceName(7, 2))
	}
}

// A pool that is given again, with other bounds, counts anew.
func TestPoolsAreCountedAnew(t *testing.T) {
	s := New()
	var b model.Builder
	for port := range uint16(40) {
		p := udp(second, uint64(port+1), 5000+port)
		p.Netns = 9
		b.AddPortAcquire(p)
	}
	for _, pool := range []struct {
		netns     int64
		low, high uint16
	}{{9, 5000, 5003}, {9, 5010, 5100}, {0, 5030, 5034}, {8, 5000, 5100}} {
		b.AddPortPool(model.PortPool{
			Time: second, Netns: pool.netns, Protocol: model.ProtocolUDP, Low: pool.low, High: pool.high, Name: "p",
		})
	}
	s.Apply(b.Take())
	for netns, want := range map[int64]int{9: 30, 0: 5, 8: 0} {
		if got := s.Pools[PoolKey{"p", model.ProtocolUDP, netns}].Used; got != want {
			t.Errorf("pool of %d: %d used, want %d", netns, got, want)
		}
	}
}
