package fold

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"lostbeat/model"
)

// maxProtocolCounters bounds the counters that are followed: a few for each network namespace.
const maxProtocolCounters = 4096

// ProtocolCounterKey is one of the kernel's own counters of losses in one network namespace.
type ProtocolCounterKey struct {
	// Name is the counter as in counter events: TcpExt.ListenOverflows.
	Name string
	// Netns is the namespace's name, empty for the host's.
	Netns string
}

// ProtocolCounter is what a counter of the kernel counted.
type ProtocolCounter struct {
	Key ProtocolCounterKey
	// Seconds are the rises by second, Sum that of the window.
	Seconds [MaxWindow]uint64
	Sum     uint64

	last  float64
	known bool
	seen  model.Time
}

// followed are the counters of losses that no drop event tells.
var followed = map[string]bool{"TcpExt.ListenOverflows": true}

// applyProtocolCounter notes the rise of a counter of losses.
func (w *Fold) applyProtocolCounter(v *model.Counter) {
	if v.Mode != model.CounterTotal || !strings.HasPrefix(v.Name, "TcpExt.") || !followed[v.Name] {
		return
	}
	k := ProtocolCounterKey{Name: v.Name, Netns: v.Instance}
	c := w.protocol[k]
	if c == nil {
		if len(w.protocol) >= maxProtocolCounters {
			return
		}
		c = &ProtocolCounter{Key: k}
		w.protocol[k] = c
	}
	if c.known && v.Value > c.last {
		c.Seconds[w.Slot] += uint64(v.Value - c.last)
	}
	c.last, c.known, c.seen = v.Value, true, v.Time
}

// ProtocolCounters returns the followed counters of a name, by namespace.
func (w *Fold) ProtocolCounters(name string) []*ProtocolCounter {
	var list []*ProtocolCounter
	for _, k := range slices.SortedFunc(maps.Keys(w.protocol), func(a, b ProtocolCounterKey) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Netns, b.Netns))
	}) {
		if k.Name == name {
			list = append(list, w.protocol[k])
		}
	}
	return list
}

func (w *Fold) sumProtocol(slots []int) {
	for _, c := range w.protocol {
		c.Sum = 0
		for _, i := range slots {
			c.Sum += c.Seconds[i]
		}
	}
}

// endProtocol opens the next second and forgets namespaces that have gone.
func (w *Fold) endProtocol() {
	for k, c := range w.protocol {
		c.Seconds[w.Slot] = 0
		if w.Now.Sub(c.seen) > forgetDrop {
			delete(w.protocol, k)
		}
	}
}

// NetnsName returns the name of a network namespace, empty for the host's and where it is not known.
func (w *Fold) NetnsName(inode uint32) string {
	if inode == 0 {
		return ""
	}
	for k := range w.State.Devices {
		if k.NetnsInode == inode && k.Netns != "" {
			return k.Netns
		}
	}
	for _, p := range w.State.Pools {
		if p.Netns == int64(inode) {
			return p.NetnsName
		}
	}
	return ""
}

// NetnsInode returns the inode number of the network namespace with a name, 0 unknown.
func (w *Fold) NetnsInode(name string) (inode uint32) {
	if name == "" {
		return 0
	}
	for k := range w.State.Devices {
		if k.Netns == name {
			inode = max(inode, k.NetnsInode)
		}
	}
	for _, p := range w.State.Pools {
		if p.NetnsName == name && inode == 0 {
			inode = uint32(p.Netns)
		}
	}
	return inode
}
