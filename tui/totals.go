package tui

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
)

// Bounds of the tables of totals. What comes after a table is full is counted
// in its totals but gets no row of its own.
const (
	maxWorkTotals   = 4096
	maxCounters     = 8192
	maxFlows        = 2048
	maxRefused      = 512
	maxRPC          = 1024
	maxDeviceEvents = 64
	shownTotals     = 256
)

// BucketBounds are the upper bounds of WorkTotal.Buckets, the last bucket being open:
// those that support engineers know from other DPC latency tools.
var BucketBounds = [...]time.Duration{
	100 * time.Microsecond,
	250 * time.Microsecond,
	500 * time.Microsecond,
	time.Millisecond,
	2 * time.Millisecond,
	4 * time.Millisecond,
}

// WorkTotalKey is a softirq vector, an interrupt line, or all routines of a
// driver, over all CPUs.
type WorkTotalKey struct {
	Class        model.Class
	Name, Driver string
}

// WorkTotal is what ran since the start, over all CPUs.
type WorkTotal struct {
	WorkTotalKey
	Count, BusyNanos, MaxWait, MaxRun uint64
	// Buckets counts runs by length, see BucketBounds.
	Buckets [len(BucketBounds) + 1]uint64
}

// DropTotal is what was lost since the start at one place for one reason.
type DropTotal struct {
	Key   *DropKey
	Count uint64
}

// LossTotal is how many events were lost since the start at one place.
type LossTotal struct {
	Origin, Detail string
	Lost           uint64
}

// RefusedTotal is how often a process was refused a port since the start.
type RefusedTotal struct {
	PID            int32
	Process, Error string
	Protocol       model.Protocol
	How            model.How
	Port           uint16
	Count          uint64
	Last           model.Time
}

// FlowTotal is a flow since the start.
type FlowTotal struct {
	Key            FlowKey
	Packets, Bytes uint64
	Last           model.Time
	// Gap is the distribution of the time between packets, MaxGap the longest and MaxGapEnd when it ended.
	Gap       model.Histogram
	MaxGap    time.Duration
	MaxGapEnd model.Time
}

// RPCTotal are the calls of one interface by one process.
type RPCTotal struct {
	Interface, Endpoint, Process string
	PID                          int32
	Server                       bool
	Calls, Failed                uint64
	Open                         uint64 // at the capture's end
	LastStatus                   int64
	Longest                      time.Duration
	Last                         model.Time
}

// CounterTotal is the latest value of a counter.
type CounterTotal struct {
	Key   CounterKey
	Value float64
	Time  model.Time
}

type rpcKey struct {
	iface, endpoint, process string
	pid                      int32
	server                   bool
}

type refusedKey struct {
	pid      int32
	process  string
	err      string
	protocol model.Protocol
	how      model.How
	port     uint16
}

type counterState struct {
	raw   float64
	last  model.Time
	value float64
	known bool
}

// totals are the sums since the start or the last seek; the writer's own.
type totals struct {
	events, lost uint64
	losses       map[[2]string]uint64
	work         map[WorkTotalKey]*WorkTotal
	drops        map[*key[DropKey]]uint64
	places       [model.PlaceSocket + 1]uint64
	refused      map[refusedKey]*RefusedTotal
	refusals     uint64
	flows        map[FlowKey]*FlowTotal
	rpc          map[rpcKey]*RPCTotal
	endpoints    map[[2]string]model.RPCEndpoint
	counters     map[CounterKey]*counterState
	devices      []model.DeviceEvent
	audits       map[int64]model.PortAudit
	selfCPU      float64
	selfRSS      float64
	selfSeen     bool
}

func newTotals() totals {
	return totals{
		losses:    map[[2]string]uint64{},
		work:      map[WorkTotalKey]*WorkTotal{},
		drops:     map[*key[DropKey]]uint64{},
		refused:   map[refusedKey]*RefusedTotal{},
		flows:     map[FlowKey]*FlowTotal{},
		rpc:       map[rpcKey]*RPCTotal{},
		endpoints: map[[2]string]model.RPCEndpoint{},
		counters:  map[CounterKey]*counterState{},
		audits:    map[int64]model.PortAudit{},
	}
}

// entry returns m[k], made by create when it is missing; nil when m is full.
func entry[K comparable, V any](m map[K]*V, k K, limit int, create func() *V) *V {
	if v, ok := m[k]; ok {
		return v
	}
	if len(m) >= limit {
		return nil
	}
	v := create()
	m[k] = v
	return v
}

func (t *totals) addLoss(v model.Loss) {
	t.lost += v.Lost
	t.losses[[2]string{v.Origin, v.Detail}] += v.Lost
}

func (t *totals) addWork(k WorkKey, count, busy, maxWait, maxRun uint64, run *model.Histogram) {
	tk := WorkTotalKey{k.Class, k.Name, k.Driver}
	if k.Driver != "" {
		tk.Name = k.Driver // by driver: the routines stand in the frames
	}
	w := entry(t.work, tk, maxWorkTotals, func() *WorkTotal { return &WorkTotal{WorkTotalKey: tk} })
	if w == nil {
		return
	}
	w.Count += count
	w.BusyNanos += busy
	w.MaxWait, w.MaxRun = max(w.MaxWait, maxWait), max(w.MaxRun, maxRun)
	if run == nil {
		return
	}
	for _, bc := range run.Buckets {
		i, _ := slices.BinarySearch(
			BucketBounds[:],
			time.Duration((model.BucketLow(int(bc.Bucket))+model.BucketHigh(int(bc.Bucket)))/2),
		)
		w.Buckets[i] += bc.Count
	}
}

func (t *totals) addDrop(k *key[DropKey], n uint64) {
	if int(k.Key.Place) < len(t.places) {
		t.places[k.Key.Place] += n
	}
	if _, ok := t.drops[k]; ok || len(t.drops) < maxKeys {
		t.drops[k] += n
	}
}

func (t *totals) addDeviceEvent(v model.DeviceEvent) {
	if len(t.devices) == maxDeviceEvents {
		t.devices = slices.Delete(t.devices, 0, 1)
	}
	t.devices = append(t.devices, v)
}

func (t *totals) addRefused(v model.PortFail, process string) {
	t.refusals++
	process = cmp.Or(v.Process, process)
	k := refusedKey{v.PID, process, v.ErrorName, v.Protocol, v.How, v.LocalPort}
	r := entry(t.refused, k, maxRefused, func() *RefusedTotal {
		return &RefusedTotal{
			PID:      v.PID,
			Process:  process,
			Error:    v.ErrorName,
			Protocol: v.Protocol,
			How:      v.How,
			Port:     v.LocalPort,
		}
	})
	if r != nil {
		r.Count++
		r.Last = v.Time
	}
}

func (t *totals) addPacket(k FlowKey, v model.Packet) {
	f := entry(t.flows, k, maxFlows, func() *FlowTotal { return &FlowTotal{Key: k} })
	if f == nil {
		return
	}
	if gap := v.Time.Sub(f.Last); f.Packets > 0 && gap >= 0 {
		f.Gap.Observe(uint64(gap))
		if gap > f.MaxGap {
			f.MaxGap, f.MaxGapEnd = gap, v.Time
		}
	}
	f.Packets++
	f.Bytes += v.SizeBytes
	f.Last = v.Time
}

func (t *totals) addRPC(v model.RPCCall) {
	if v.Flags&model.FlagSecondary != 0 {
		// An extended error tells once more, and more than once, of a failed call.
		v.Interface, v.Endpoint = extendedErrors, ""
	}
	k := rpcKey{v.Interface, v.Endpoint, v.Process, v.PID, v.Server}
	r := entry(t.rpc, k, maxRPC, func() *RPCTotal {
		return &RPCTotal{Interface: v.Interface, Endpoint: v.Endpoint, Process: v.Process, PID: v.PID, Server: v.Server}
	})
	if r == nil {
		return
	}
	if v.Flags&model.FlagSecondary == 0 {
		r.Calls++
	}
	r.Last, r.Longest = v.Time, max(r.Longest, v.Dur)
	if v.Status != 0 {
		r.Failed++
		r.LastStatus = v.Status
	}
}

// extendedErrors stands for the interface of what is no call by itself.
const extendedErrors = "extended errors"

func (t *totals) addOpenRPC(v model.RPCActive) {
	k := rpcKey{v.Interface, v.Endpoint, v.Process, v.PID, v.Server}
	if r := entry(t.rpc, k, maxRPC, func() *RPCTotal {
		return &RPCTotal{Interface: v.Interface, Endpoint: v.Endpoint, Process: v.Process, PID: v.PID, Server: v.Server}
	}); r != nil {
		r.Open++
		r.Last, r.Longest = v.Time, max(r.Longest, v.Dur)
	}
}

func (t *totals) addEndpoint(v model.RPCEndpoint) {
	k := [2]string{v.Interface, v.Endpoint}
	switch {
	case v.Removed:
		delete(t.endpoints, k)
	case len(t.endpoints) < maxRPC:
		t.endpoints[k] = v
	}
}

// counter returns the value to show for a reading: for a running total its rate
// since the reading before, which the first reading does not have.
func (t *totals) counter(k CounterKey, v model.Counter) (value float64, known bool) {
	c := entry(t.counters, k, maxCounters, func() *counterState { return &counterState{} })
	if c == nil {
		return 0, false
	}
	if v.Mode != model.CounterTotal {
		c.value, c.known = v.Value, true
	} else if seconds := v.Time.Sub(c.last).Seconds(); c.last != 0 && seconds > 0 && v.Value >= c.raw {
		c.value, c.known = (v.Value-c.raw)/seconds, true
	}
	c.raw, c.last = v.Value, v.Time
	return c.value, c.known
}

// snapshot copies what is shown of the totals.
func (t *totals) snapshot(s *Snapshot) {
	s.Events, s.Lost, s.Refusals, s.Places = t.events, t.lost, t.refusals, t.places
	s.SelfCPU, s.SelfRSS, s.SelfSeen = t.selfCPU, t.selfRSS, t.selfSeen
	for k, n := range t.losses {
		s.Losses = append(s.Losses, LossTotal{k[0], k[1], n})
	}
	slices.SortFunc(s.Losses, func(a, b LossTotal) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Detail, b.Detail))
	})
	s.Work = top(maps.Values(t.work), func(a, b *WorkTotal) int {
		return cmp.Or(
			cmp.Compare(b.BusyNanos, a.BusyNanos),
			cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Driver, b.Driver),
		)
	})
	s.RefusedBy = top(maps.Values(t.refused), func(a, b *RefusedTotal) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Process, b.Process),
			cmp.Compare(a.PID, b.PID),
			cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Error, b.Error),
			cmp.Compare(a.How, b.How),
		)
	})
	s.Flows = top(maps.Values(t.flows), func(a, b *FlowTotal) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), compareFlows(a.Key, b.Key))
	})
	for i := range s.Flows {
		s.Flows[i].Gap = s.Flows[i].Gap.Clone()
	}
	s.RPC = top(maps.Values(t.rpc), func(a, b *RPCTotal) int {
		return cmp.Or(
			cmp.Compare(b.Failed, a.Failed),
			cmp.Compare(b.Open, a.Open),
			cmp.Compare(b.Calls, a.Calls),
			cmp.Compare(a.Interface, b.Interface),
			cmp.Compare(a.Endpoint, b.Endpoint),
			cmp.Compare(a.PID, b.PID),
		)
	})
	s.Endpoints = slices.SortedFunc(maps.Values(t.endpoints), func(a, b model.RPCEndpoint) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	s.DeviceEvents = slices.Clone(t.devices)
	s.Audits = slices.SortedFunc(
		maps.Values(t.audits),
		func(a, b model.PortAudit) int { return cmp.Compare(a.Netns, b.Netns) },
	)
	for k, n := range t.drops {
		s.Drops = append(s.Drops, DropTotal{&k.Key, n})
	}
	slices.SortFunc(s.Drops, func(a, b DropTotal) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Key.Place, b.Key.Place),
			cmp.Compare(a.Key.Reason, b.Key.Reason),
			cmp.Compare(a.Key.Port, b.Key.Port),
			cmp.Compare(a.Key.PID, b.Key.PID),
			cmp.Compare(
				a.Key.CPU,
				b.Key.CPU,
			),
			cmp.Compare(a.Key.Device, b.Key.Device),
			cmp.Compare(a.Key.Queue, b.Key.Queue),
			cmp.Compare(a.Key.Location, b.Key.Location),
		)
	})
	s.Drops = s.Drops[:min(len(s.Drops), shownTotals)]
	for k, c := range t.counters {
		if c.known {
			s.Counters = append(s.Counters, CounterTotal{k, c.value, c.last})
		}
	}
	slices.SortFunc(s.Counters, func(a, b CounterTotal) int {
		return cmp.Or(
			cmp.Compare(a.Key.Name, b.Key.Name),
			cmp.Compare(a.Key.Instance, b.Key.Instance),
			cmp.Compare(a.Key.CPU, b.Key.CPU),
			cmp.Compare(a.Key.Mode, b.Key.Mode),
		)
	})
}

func compareFlows(a, b FlowKey) int {
	return cmp.Or(
		cmp.Compare(a.Process, b.Process),
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.LPort, b.LPort),
		cmp.Compare(a.Peer, b.Peer),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(a.Local, b.Local),
	)
}

// top returns copies of the first shownTotals values in the given order.
func top[V any](values func(yield func(*V) bool), compare func(a, b *V) int) []V {
	sorted := slices.SortedFunc(values, compare)
	out := make([]V, min(len(sorted), shownTotals))
	for i := range out {
		out[i] = *sorted[i]
	}
	return out
}
