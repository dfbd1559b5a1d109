package nic

import (
	"errors"
	"fmt"
	"time"

	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

const (
	// readBatch is how many entries one system call reads.
	readBatch = 1024
	// idleIntervals is after how many intervals without a poll an entry is
	// removed.
	idleIntervals = 60
	// backlogName stands for a device in the polls of a CPU's backlog.
	backlogName = "backlog"
)

// polls reads the kernel's NAPI counts.
type polls struct {
	kernel, variables *cebpf.Map
	// interval is the number of the interval that runs.
	interval uint32
	// ran is how often the program ran in the last interval.
	ran    uint64
	known  map[bpfNicKey]*polled
	keys   []bpfNicKey
	values []bpfNicPolls
}

type polled struct {
	before bpfNicPolls
	idle   int
}

func newPolls(kernel, variables *cebpf.Map) *polls {
	return &polls{
		kernel:    kernel,
		variables: variables,
		known:     make(map[bpfNicKey]*polled),
		keys:      make([]bpfNicKey, readBatch),
		values:    make([]bpfNicPolls, readBatch),
	}
}

// collect emits the polls of the interval that ends. name gives a device's
// present name.
func (p *polls) collect(
	now model.Time,
	interval time.Duration,
	name func(netns, ifindex uint32) string,
	b *model.Builder,
) error {
	ended := p.interval
	p.interval++
	if err := p.variables.Update(uint32(0), p.interval, cebpf.UpdateAny); err != nil {
		return fmt.Errorf("begin an interval of NAPI counts: %w", err)
	}
	p.ran = 0
	var cursor cebpf.MapBatchCursor
	for {
		n, err := p.kernel.BatchLookup(&cursor, p.keys, p.values, nil)
		last := errors.Is(err, cebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read the NAPI counts: %w", err)
		}
		for i, key := range p.keys[:n] {
			p.add(key, &p.values[i], ended, now, interval, name, b)
		}
		if last {
			return p.forget()
		}
	}
}

func (p *polls) add(
	key bpfNicKey,
	v *bpfNicPolls,
	ended uint32,
	now model.Time,
	interval time.Duration,
	name func(netns, ifindex uint32) string,
	b *model.Builder,
) {
	known := p.known[key]
	if known == nil {
		known = new(polled)
		p.known[key] = known
	}
	before := &known.before
	p.ran += v.Polls - before.Polls
	if v.Polls == before.Polls {
		known.idle++
		return
	}
	known.idle = 0
	event := model.NAPI{Time: now, Dur: interval, CPU: int32(key.Cpu), NetnsInode: key.Netns,
		Ifindex: int64(key.Ifindex), Device: backlogName,
		Polls: v.Polls - before.Polls, Packets: v.Packets - before.Packets, FullPolls: v.FullPolls - before.FullPolls,
		ThreadedPolls: v.ThreadedPolls - before.ThreadedPolls}
	if largest := v.Largest[ended&1]; largest.Interval == ended {
		event.MaxPackets = uint64(largest.Packets)
	}
	if key.Ifindex != 0 {
		if event.Device = name(key.Netns, key.Ifindex); event.Device == "" {
			event.Device = cString(v.Device[:])
		}
	}
	known.before = *v
	b.AddNAPI(event)
}

// forget removes the entries of devices and CPUs that no longer poll.
func (p *polls) forget() error {
	for key, known := range p.known {
		if known.idle < idleIntervals {
			continue
		}
		delete(p.known, key)
		if err := p.kernel.Delete(key); err != nil && !errors.Is(err, cebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget NAPI counts: %w", err)
		}
	}
	return nil
}
