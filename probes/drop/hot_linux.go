package drop

import (
	"fmt"

	cebpf "github.com/cilium/ebpf"
)

// hotLeast is how many packets of one kind a CPU must drop in an interval before
// the next ones are counted without a look-up.
const hotLeast = 1000

// hot is what each CPU drops most of: the programs count it without a look-up.
// It has been counted in the table of exact counts before.
type hot struct {
	keys, counts *cebpf.Map
	cpus         []hotCPU
}

// hotCPU is one CPU's.
type hotCPU struct {
	// key is what the CPU counts without a look-up while armed.
	key bpfDropKey
	described
	armed bool
	// total is the CPU's count as it was last read.
	total uint64
}

func (h *hot) init(keys, counts *cebpf.Map) {
	h.keys, h.counts = keys, counts
	h.cpus = make([]hotCPU, keys.MaxEntries())
}

// read adds what was counted without a look-up to the deltas of an interval, and
// chooses what is counted so in the next.
func (h *hot) read(deltas []delta, exact *table) ([]delta, error) {
	var err error
	for cpu := range h.cpus {
		if h.cpus[cpu].armed {
			if deltas, err = h.take(deltas, uint32(cpu), exact); err != nil {
				return deltas, err
			}
		}
	}
	most := make(map[uint32]int)
	for i := range deltas {
		d := &deltas[i]
		m, found := most[d.key.Cpu]
		if d.packets >= hotLeast && exact.known[d.key] != nil && (!found || d.packets > deltas[m].packets) {
			most[d.key.Cpu] = i
		}
	}
	for cpu := range h.cpus {
		c := &h.cpus[cpu]
		i, found := most[uint32(cpu)]
		if found == c.armed && (!found || deltas[i].key == c.key) {
			continue
		}
		if c.armed {
			if deltas, err = h.disarm(deltas, uint32(cpu), exact); err != nil {
				return deltas, err
			}
		}
		if !found {
			continue
		}
		c.key, c.described, c.armed = deltas[i].key, deltas[i].described, true
		if err := h.keys.Put(uint32(cpu), bpfDropHot{Key: c.key, Armed: 1}); err != nil {
			return deltas, fmt.Errorf("say what CPU %d drops: %w", cpu, err)
		}
	}
	return deltas, nil
}

// take adds what a CPU has counted without a look-up to the deltas.
func (h *hot) take(deltas []delta, cpu uint32, exact *table) ([]delta, error) {
	c := &h.cpus[cpu]
	var total uint64
	if err := h.counts.Lookup(cpu, &total); err != nil {
		return deltas, fmt.Errorf("read what CPU %d has dropped: %w", cpu, err)
	}
	packets := total - c.total
	c.total = total
	if packets == 0 {
		return deltas, nil
	}
	if known := exact.known[c.key]; known != nil {
		known.idle = 0
	}
	for i := range deltas {
		if deltas[i].key == c.key {
			deltas[i].packets += packets
			return deltas, nil
		}
	}
	return append(deltas, delta{key: c.key, described: c.described, packets: packets}), nil
}

// disarm has a CPU count everything in the tables again. A packet that it is
// counting at this moment is put down to what it counts next.
func (h *hot) disarm(deltas []delta, cpu uint32, exact *table) ([]delta, error) {
	if err := h.keys.Put(cpu, bpfDropHot{}); err != nil {
		return deltas, fmt.Errorf("say what CPU %d drops: %w", cpu, err)
	}
	h.cpus[cpu].armed = false
	return h.take(deltas, cpu, exact)
}
