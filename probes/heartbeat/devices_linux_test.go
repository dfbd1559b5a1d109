package heartbeat

import (
	"fmt"
	"slices"
	"testing"

	"lostbeat/model"

	"github.com/vishvananda/netlink"
)

// Below a device are its ports, the one that it is made of, and theirs; of a tunnel it is not known.
func TestBelow(t *testing.T) {
	attrs := func(index int, name string, master, parent int) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: index, Name: name, MasterIndex: master, ParentIndex: parent, NetNsID: -1}
	}
	elsewhere := attrs(11, "macvlan0", 0, 2)
	elsewhere.NetNsID = 4 // its device is in another namespace
	list := links{
		&netlink.Device{LinkAttrs: attrs(1, "lo", 0, 0)},
		&netlink.Device{LinkAttrs: attrs(2, "eth0", 4, 0)},
		&netlink.Device{LinkAttrs: attrs(3, "eth1", 4, 0)},
		&netlink.Bond{LinkAttrs: attrs(4, "bond0", 6, 0)},
		&netlink.Veth{LinkAttrs: attrs(5, "veth7", 6, 12)},
		&netlink.Bridge{LinkAttrs: attrs(6, "br0", 0, 0)},
		&netlink.Vlan{LinkAttrs: attrs(7, "br0.100", 0, 6)},
		&netlink.Wireguard{LinkAttrs: attrs(8, "wg0", 0, 0)},
		&netlink.Bridge{LinkAttrs: attrs(9, "br1", 0, 0)},
		&netlink.Vxlan{LinkAttrs: attrs(10, "vxlan0", 9, 2)},
		&netlink.Macvlan{LinkAttrs: elsewhere},
		&netlink.GenericLink{LinkAttrs: attrs(12, "ppp0", 0, 0), LinkType: "ppp"},
	}
	for _, tt := range []struct {
		index    int
		names    []string
		complete bool
	}{
		{1, nil, true},
		{2, nil, true},
		{4, []string{"eth0", "eth1"}, true},
		{6, []string{"bond0", "veth7", "eth0", "eth1"}, true},
		{7, []string{"br0", "bond0", "veth7", "eth0", "eth1"}, true},
		{8, nil, false},
		{9, []string{"vxlan0"}, false},
		{11, nil, true},
		{12, nil, false},
	} {
		names, complete := list.below(tt.index)
		if !slices.Equal(names, tt.names) || complete != tt.complete {
			t.Errorf("%d: %v, complete %t; want %v, %t", tt.index, names, complete, tt.names, tt.complete)
		}
	}
	// More than are listed, and a circle.
	many := links{&netlink.Bridge{LinkAttrs: attrs(1, "br0", 3, 0)}}
	for i := 2; i < 2+2*maxBelow; i++ {
		many = append(many, &netlink.Veth{LinkAttrs: attrs(i, fmt.Sprintf("veth%d", i), 1, 0)})
	}
	if names, complete := many.below(1); len(names) != maxBelow || complete {
		t.Errorf("%d names of %d, complete %t", len(names), 2*maxBelow, complete)
	}
	circle := links{
		&netlink.Bond{LinkAttrs: attrs(1, "bond0", 2, 0)}, &netlink.Bond{LinkAttrs: attrs(2, "bond1", 1, 0)},
	}
	if names, complete := circle.below(1); !slices.Equal(names, []string{"bond1"}) || !complete {
		t.Errorf("a circle: %v, complete %t", names, complete)
	}
}

// A device is written when it is new, when it is another one, and again after a while with packets.
func TestEmitDevices(t *testing.T) {
	s := &socket{cookie: 7}
	a := &attached{sockets: map[uint64]*socket{7: s}, devices: linkLists{}}
	now := model.Time(flowEvery)
	written := func() (indexes []int64) {
		var b model.Builder
		a.emitDevices(now, &b)
		if batch := b.Take(); batch != nil {
			for i := range batch.Events {
				v, _ := batch.FlowDevice(&batch.Events[i])
				indexes = append(indexes, v.Ifindex)
			}
		}
		return indexes
	}
	w := way{port: 5405, direction: model.DirectionRX}
	for i, step := range []struct {
		ifindex uint32
		after   model.Time
		want    []int64
	}{
		{2, 0, []int64{2}}, {2, 1e9, nil}, {3, 1e9, []int64{3}}, {3, 1e9, nil}, {3, model.Time(flowEvery), []int64{3}},
		{0, 2 * model.Time(flowEvery), nil}, // no packet, or from no device
	} {
		now += step.after
		s.came(w, step.ifindex)
		if got := written(); !slices.Equal(got, step.want) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
