package heartbeat

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/netns"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
)

const (
	// maxWays bounds the flows of a socket whose devices are told.
	maxWays = 64
	// maxBelow bounds the devices that are listed below one, maxLinks those of a namespace, maxLinkLists the namespaces.
	maxBelow     = 64
	maxLinks     = 4096
	maxLinkLists = 64
)

// way is a flow of a socket: its packets come or go over one device.
type way struct {
	remote    netip.Addr
	port      uint16
	direction model.Direction
}

// over is the device of a flow.
type over struct {
	ifindex uint32
	// changed says that it has not been written, used that there was a packet since it was.
	changed, used bool
	written       model.Time
}

// came notes over which device a packet has come, or goes.
func (s *socket) came(w way, ifindex uint32) {
	if ifindex == 0 {
		return
	}
	o := s.ways[w]
	if o == nil {
		if len(s.ways) >= maxWays {
			clear(s.ways)
		}
		if s.ways == nil {
			s.ways = make(map[way]*over)
		}
		o = &over{}
		s.ways[w] = o
	}
	o.changed = o.changed || o.ifindex != ifindex
	o.ifindex, o.used = ifindex, true
}

// emitDevices writes the devices of flows that are new, have changed, or have not been written for a while.
func (a *attached) emitDevices(now model.Time, b *model.Builder) {
	for _, cookie := range slices.Sorted(maps.Keys(a.sockets)) {
		s := a.sockets[cookie]
		for _, w := range slices.SortedFunc(maps.Keys(s.ways), compareWays) {
			o := s.ways[w]
			if !o.changed && (!o.used || now.Sub(o.written) < flowEvery) {
				continue
			}
			o.changed, o.used, o.written = false, false, now
			v := model.FlowDevice{
				Time: now, NetnsInode: s.netns, Cookie: s.cookie, RemotePort: w.port, Direction: w.direction,
				Ifindex: int64(o.ifindex), RemoteAddr: w.remote.String(),
			}
			links := a.devices.of(s.netns, s.pid, o.ifindex)
			if i := links.find(int(o.ifindex)); i >= 0 {
				v.Device = links[i].Attrs().Name
				below, complete := links.below(int(o.ifindex))
				v.Below, v.Complete = strings.Join(below, ","), complete
			}
			b.AddFlowDevice(v)
		}
	}
}

func compareWays(a, b way) int {
	return cmp.Or(a.remote.Compare(b.remote), cmp.Compare(a.port, b.port), cmp.Compare(a.direction, b.direction))
}

// linkLists are the devices of network namespaces, as they were a short while ago.
type linkLists map[uint32]linkList

type linkList struct {
	links
	read time.Time
}

// of returns the devices of a namespace that a process is in, among which is to be one with an index; none where they
// cannot be listed.
func (l linkLists) of(inode uint32, pid int32, ifindex uint32) links {
	have := l[inode]
	if time.Since(have.read) < flowEvery && have.find(int(ifindex)) >= 0 {
		return have.links
	}
	list, err := listLinks(inode, pid)
	if err != nil {
		list = nil // their number is still known
	}
	if len(l) >= maxLinkLists {
		clear(l)
	}
	l[inode] = linkList{list, time.Now()}
	return list
}

func listLinks(inode uint32, pid int32) (list links, err error) {
	namespace, err := netns.Of(inode, pid)
	if err != nil {
		return nil, err
	}
	err = namespace.Do(func() (err error) {
		list, err = netlink.LinkList()
		return err
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	return list[:min(len(list), maxLinks)], nil
}

// links are the devices of one network namespace.
type links []netlink.Link

// find returns the place of the device with an index, -1 for none.
func (l links) find(index int) int {
	return slices.IndexFunc(l, func(x netlink.Link) bool { return x.Attrs().Index == index })
}

// below returns the names of the devices on which the packets of one may be before they come to it, or after they have
// left it: ports and lower devices, and theirs. It is not complete where packets may go on over any other device, as
// those of a tunnel do.
func (l links) below(index int) (names []string, complete bool) {
	seen := map[int]bool{index: true}
	next := []int{index}
	for len(next) > 0 {
		i := l.find(next[0])
		next = next[1:]
		if i < 0 {
			continue // in another namespace
		}
		lower, ok := l.lower(l[i])
		if !ok {
			return names, false
		}
		for _, x := range lower {
			if seen[x.Attrs().Index] {
				continue
			}
			if len(names) == maxBelow {
				return names, false
			}
			seen[x.Attrs().Index] = true
			names, next = append(names, x.Attrs().Name), append(next, x.Attrs().Index)
		}
	}
	return names, true
}

// lower returns the devices right below one, and whether these are all.
func (l links) lower(x netlink.Link) (list links, complete bool) {
	attrs := x.Attrs()
	for _, port := range l {
		if port.Attrs().MasterIndex == attrs.Index {
			list = append(list, port)
		}
	}
	switch x.Type() {
	case "device", "veth", "dummy", "ifb", "bridge", "bond", "team", "vrf":
		return list, true
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap":
		if i := l.find(attrs.ParentIndex); i >= 0 && attrs.NetNsID < 0 {
			list = append(list, l[i])
		}
		return list, true
	}
	return list, false
}
