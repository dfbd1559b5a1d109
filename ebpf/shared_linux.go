package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// maxKinds bounds the kinds of records, as the array in struct lb_cpu_state does.
const maxKinds = 128

// cpuState is struct lb_cpu_state of include/helpers.h.
type cpuState struct {
	Lost [maxKinds]uint64
}

// recordHead is struct lb_record of include/event.h.
type recordHead struct {
	timeNS uint64
	kind   uint16
}

const recordHeadSize = 16

// readHead reads the head of a record.
func readHead(raw []byte) (recordHead, bool) {
	if len(raw) < recordHeadSize {
		return recordHead{}, false
	}
	return recordHead{timeNS: binary.LittleEndian.Uint64(raw), kind: binary.LittleEndian.Uint16(raw[8:])}, true
}

// sharedMaps are the maps that every probe's object shares.
type sharedMaps struct {
	ringbuf, state, follow, flows, readings *cebpf.Map
}

// Sizes of struct lb_followed, lb_flow_ends, lb_flow and lb_reading of include/follow.h, and of the table lb_flows.
const (
	followedBytes = 2*8192 + 8
	flowEndsBytes = 2*16 + 12
	flowBytes     = 2 * 8
	readingBytes  = 4 * 8
	maxFlows      = 8192
)

// newMap creates a map that is shared; what it is stands in the error.
func newMap(what string, spec *cebpf.MapSpec) (*cebpf.Map, error) {
	m, err := cebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", what, explain(err))
	}
	return m, nil
}

func newSharedMaps(ringBytes int) (s sharedMaps, err error) {
	for _, each := range []struct {
		to   **cebpf.Map
		what string
		spec cebpf.MapSpec
	}{
		{&s.ringbuf, "the ringbuf", cebpf.MapSpec{Name: "lb_ringbuf", Type: cebpf.RingBuf, MaxEntries: uint32(ringBytes)}},
		{&s.state, "the loss counters", cebpf.MapSpec{
			Name: "lb_state", Type: cebpf.PerCPUArray, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(cpuState{})), MaxEntries: 1,
		}},
		{&s.follow, "the table of followed ports", cebpf.MapSpec{
			Name: "lb_follow", Type: cebpf.Array, KeySize: 4, ValueSize: followedBytes, MaxEntries: 1,
		}},
		{&s.flows, "the table of followed flows", cebpf.MapSpec{
			Name: "lb_flows", Type: cebpf.Hash, KeySize: flowEndsBytes, ValueSize: flowBytes, MaxEntries: maxFlows,
			Flags: unix.BPF_F_NO_PREALLOC,
		}},
		{&s.readings, "the table of threads that read followed flows", cebpf.MapSpec{
			Name: "lb_readings", Type: cebpf.LRUHash, KeySize: 4, ValueSize: readingBytes, MaxEntries: 1024,
		}},
	} {
		if *each.to, err = newMap(each.what, &each.spec); err != nil {
			return sharedMaps{}, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// byName returns the maps under their names in the objects.
func (s sharedMaps) byName() map[string]*cebpf.Map {
	return map[string]*cebpf.Map{
		"lb_ringbuf": s.ringbuf, "lb_state": s.state, "lb_follow": s.follow, "lb_flows": s.flows,
		"lb_readings": s.readings,
	}
}

func (s sharedMaps) close() (err error) {
	for _, m := range s.byName() {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	return err
}

// lossCounts are the records lost so far by processor and kind.
type lossCounts []cpuState

// reportLoss writes a loss event for each processor and kind that has lost
// records since the last interval.
func (r *run) reportLoss(end model.Time, interval time.Duration) {
	var counts []cpuState
	if err := r.shared.state.Lookup(uint32(0), &counts); err != nil {
		r.options.Log.Warn("read the loss counters", "error", err)
		return
	}
	for cpu := range counts {
		for kind, lost := range counts[cpu].Lost {
			if cpu < len(r.lossReported) {
				lost -= r.lossReported[cpu].Lost[kind]
			}
			if lost == 0 {
				continue
			}
			r.builder.AddLoss(
				model.Loss{Time: end, Dur: interval, CPU: int32(cpu), Lost: lost, Origin: "ringbuf", Detail: r.lossDetail(kind)},
			)
		}
	}
	r.lossReported = counts
	for i := range r.handlers {
		if h := &r.handlers[i]; h.malformed > 0 {
			r.builder.AddLoss(
				model.Loss{Time: end, Dur: interval, CPU: -1, Lost: h.malformed, Origin: "decode", Detail: r.lossDetail(i)},
			)
			h.malformed = 0
		}
	}
	if r.reorder.late > 0 {
		r.builder.AddLoss(
			model.Loss{
				Time:   end,
				Dur:    interval,
				CPU:    -1,
				Lost:   r.reorder.late,
				Origin: "reorder",
				Detail: "emitted out of order",
			},
		)
		r.reorder.late = 0
	}
}

// lossDetail names the probe and the kind of a record.
func (r *run) lossDetail(kind int) string {
	probe := r.handlers[kind].probe
	if probe == "" {
		return "unknown kind of record"
	}
	return probe + ": " + model.Kind(kind).String()
}
