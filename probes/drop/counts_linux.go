package drop

import (
	"bytes"
	"cmp"
	"slices"

	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

const (
	// idleIntervals is after how many intervals without a drop an entry is
	// removed, so that the kernel's table has room for others.
	idleIntervals = 10
	// maxEvents bounds the drop events of an interval; beyond it the smallest
	// are added up without their sockets and ports.
	maxEvents = 1024
	// readBatch is how many entries one system call reads.
	readBatch = 4096
)

// delta is what one entry has counted in an interval.
type delta struct {
	key bpfDropKey
	described
	packets uint64
	// reason and function are the names of the key's numbers, place what they mean.
	reason, function string
	place            model.Place
}

// described is what the kernel says of an entry beside its key: the name of the device, and the followed flow.
type described struct {
	device string
	flow   bpfDropFlow
}

// counted is what user space knows about an entry.
type counted struct {
	packets uint64
	idle    int
}

// counts reads the kernel's totals as differences.
type counts struct {
	tables [2]table
	hot    hot
	keys   []bpfDropKey
	values []bpfDropCount
}

type table struct {
	kernel *cebpf.Map
	known  map[bpfDropKey]*counted
}

func (c *counts) init(exact, folded *cebpf.Map) {
	c.tables = [2]table{{exact, make(map[bpfDropKey]*counted)}, {folded, make(map[bpfDropKey]*counted)}}
	c.keys = make([]bpfDropKey, readBatch)
	c.values = make([]bpfDropCount, readBatch)
}

// read returns what was counted since the last call.
func (c *counts) read() ([]delta, error) {
	var deltas []delta
	for i := range c.tables {
		var cursor cebpf.MapBatchCursor
		for {
			n, err := c.tables[i].kernel.BatchLookup(&cursor, c.keys, c.values, nil)
			if err != nil && !isMissingKey(err) {
				return deltas, err
			}
			deltas = c.tables[i].add(deltas, c.keys[:n], c.values[:n])
			if err != nil {
				break
			}
		}
	}
	return c.hot.read(deltas, &c.tables[0])
}

func (t *table) add(deltas []delta, keys []bpfDropKey, values []bpfDropCount) []delta {
	for i, key := range keys {
		known := t.known[key]
		if known == nil {
			known = new(counted)
			t.known[key] = known
		}
		packets := values[i].Packets - known.packets
		if packets == 0 {
			known.idle++
			continue
		}
		known.packets, known.idle = values[i].Packets, 0
		of := described{cString(values[i].Device[:]), values[i].Flow}
		deltas = append(deltas, delta{key: key, described: of, packets: packets})
	}
	return deltas
}

// forget removes the entries that have been idle. A packet that is dropped at
// the moment of the removal, after ten seconds without one, is not counted.
func (c *counts) forget() error {
	for i := range c.tables {
		t := &c.tables[i]
		for key, known := range t.known {
			if known.idle < idleIntervals {
				continue
			}
			delete(t.known, key)
			if err := t.kernel.Delete(key); err != nil && !isMissingKey(err) {
				return err
			}
		}
	}
	return nil
}

// fold keeps the largest counts and adds the others up without their sockets
// and ports, so that a port scan does not become a flood of events.
func (a *attached) fold(deltas []delta) []delta {
	slices.SortFunc(deltas, func(x, y delta) int {
		return cmp.Or(
			cmp.Compare(y.packets, x.packets),
			cmp.Compare(x.key.Cpu, y.key.Cpu),
			cmp.Compare(x.key.Location, y.key.Location),
			cmp.Compare(x.key.Cookie, y.key.Cookie),
			cmp.Compare(x.key.LocalPort, y.key.LocalPort),
			cmp.Compare(x.key.Flow, y.key.Flow),
		)
	})
	if len(deltas) <= maxEvents {
		return deltas
	}
	kept, rest := deltas[:maxEvents:maxEvents], make(map[bpfDropKey]delta)
	for _, d := range deltas[maxEvents:] {
		d.key.Cookie, d.key.LocalPort, d.key.Flow = 0, 0, 0
		d.packets += rest[d.key].packets
		rest[d.key] = d
	}
	for _, d := range rest {
		kept = append(kept, d)
	}
	return kept
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
