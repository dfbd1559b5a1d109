package fold

import (
	"cmp"
	"maps"
	"slices"

	"lostbeat/model"
	"lostbeat/model/state"
)

// heldTables are what a state holds as a Snapshot shows it, each copied anew
// only when an event has changed it.
type heldTables struct {
	known   heldSet
	meta    map[string]string
	probes  []model.Probe
	devices []model.DeviceConfig
	queues  []model.DeviceQueue
	// endpoints are sorted as the state sorts them.
	endpoints []model.RPCEndpoint
	// pools are the state's own, by name, protocol and namespace.
	pools []*state.Pool
}

// heldSet names tables of heldTables.
type heldSet uint8

const (
	heldMeta heldSet = 1 << iota
	heldProbes
	heldDevices
	heldPools
	heldEndpoints
)

// heldBy are the tables that an event may change.
func heldBy(k model.Kind) heldSet {
	switch k {
	case model.KindMeta: // one of them opens a keyframe: what was known before no longer counts
		return heldMeta | heldProbes | heldDevices | heldPools | heldEndpoints
	case model.KindProbe:
		return heldProbes
	case model.KindDeviceConfig, model.KindDeviceQueue, model.KindDeviceEvent:
		return heldDevices
	case model.KindPortPool:
		return heldPools
	case model.KindRPCEndpoint:
		return heldEndpoints
	}
	return 0
}

// update copies those tables of s that have changed.
func (t *heldTables) update(s *state.State) {
	if t.known&heldMeta == 0 {
		t.meta = maps.Clone(s.Meta)
	}
	if t.known&heldProbes == 0 {
		t.probes = slices.SortedFunc(maps.Values(s.Probes), func(a, b model.Probe) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part))
		})
	}
	if t.known&heldDevices == 0 {
		t.devices = slices.SortedFunc(maps.Values(s.Devices), func(a, b model.DeviceConfig) int {
			return cmp.Or(
				cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.NetnsInode, b.NetnsInode), cmp.Compare(a.Ifindex, b.Ifindex),
			)
		})
		t.queues = slices.SortedFunc(maps.Values(s.Queues), func(a, b model.DeviceQueue) int {
			return cmp.Or(
				cmp.Compare(a.Device, b.Device),
				cmp.Compare(a.Ifindex, b.Ifindex),
				cmp.Compare(a.NetnsInode, b.NetnsInode),
				cmp.Compare(a.Direction, b.Direction),
				cmp.Compare(a.Queue, b.Queue),
			)
		})
	}
	if t.known&heldEndpoints == 0 {
		t.endpoints = s.SortedEndpoints()
	}
	t.known |= heldMeta | heldProbes | heldDevices | heldEndpoints
}

// sortedPools returns the pools in a fixed order, and gives new ones their series in it.
func (h *History) sortedPools() []*state.Pool {
	if h.held.known&heldPools == 0 {
		h.held.pools, h.held.known = h.state.SortedPools(), h.held.known|heldPools
		for _, p := range h.held.pools {
			h.poolSeries(p)
		}
	}
	return h.held.pools
}

func (h *History) poolSeries(p *state.Pool) *Series[PoolSeries] {
	return h.series.pools.get(PoolSeries{p.Name, p.Protocol, p.Netns}, h.now, h.oldest())
}

// holderRows are the rows of the latest frame for the processes that hold most ports.
type holderRows struct {
	changes uint64 // Ports.HolderChanges as of top
	top     []state.Holder
	rows    []Row[HolderSeries, FrameHolder] // shared by all frames in which they are the same
}

// takePools notes in f the occupancy of the pools and, at its end, who holds
// ports: it goes through processes, so not at every snapshot.
func (h *History) takePools(f *frameBuilder, end bool) {
	for _, p := range h.sortedPools() {
		v := f.pools.at(h.poolSeries(p))
		if v == nil {
			continue
		}
		now := *v
		now.Used, now.Resting, now.Size = p.Used, p.Resting, int(p.Size)
		now.Filling, _ = h.fold.Forecast(p.Key())
		now.Low, now.High, now.Source, now.Netns = p.Low, p.High, p.Source, p.NetnsName
		now.Measured |= Seen
		if now != *v {
			*v, f.dirty = now, true
		}
	}
	if !end {
		if f.holders == nil && len(h.open) > 1 { // those of a second ago, until the second is over
			f.holders, f.dirty = h.open[len(h.open)-2].holders, true
		}
		if f.holders != nil {
			return
		}
	}
	f.holders, f.dirty = h.takeHolders(), true
}

func (h *History) takeHolders() []Row[HolderSeries, FrameHolder] {
	t := &h.holders
	if n := h.state.Ports.HolderChanges(); n != t.changes || t.top == nil {
		t.changes, t.top = n, h.state.Ports.TopHolders(maxHolders)
	}
	rows := make([]Row[HolderSeries, FrameHolder], 0, len(t.top))
	for _, p := range t.top {
		of := h.state.Processes[p.PID]
		k := HolderSeries{p.PID, cmp.Or(of.Name, p.Process), of.Unit}
		series := h.series.holders.get(k, h.now, h.oldest())
		if series == nil {
			continue
		}
		rows = append(rows, Row[HolderSeries, FrameHolder]{series, FrameHolder{
			Held:     int32(p.Held),
			Resting:  int32(p.Resting),
			Watched:  int32(p.Watched),
			Idle:     int32(p.Idle),
			Oldest:   p.Oldest,
			Measured: Seen,
		}})
	}
	slices.SortFunc(rows, func(a, b Row[HolderSeries, FrameHolder]) int { return cmp.Compare(a.ID, b.ID) })
	if !slices.Equal(rows, t.rows) {
		t.rows = rows
	}
	return t.rows
}
