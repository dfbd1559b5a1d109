package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
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
	Key   *DropSeries
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
	Key            FlowSeries
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
	Key   CounterSeries
	Value float64
	Time  model.Time
}

type rpcTotalKey struct {
	iface, endpoint, process string
	pid                      int32
	server                   bool
}

type refusedTotalKey struct {
	pid      int32
	process  string
	err      string
	protocol model.Protocol
	how      model.How
	port     uint16
}

type counterReading struct {
	raw   float64
	last  model.Time
	value float64
	known bool
}

// historyTotals are the sums since the start or the last seek; the writer's own.
type historyTotals struct {
	events, lost uint64
	losses       map[[2]string]uint64
	work         map[WorkTotalKey]*WorkTotal
	drops        map[*Series[DropSeries]]uint64
	places       [model.PlaceSocket + 1]uint64
	refused      map[refusedTotalKey]*RefusedTotal
	refusals     uint64
	flows        map[FlowSeries]*FlowTotal
	rpc          map[rpcTotalKey]*RPCTotal
	counters     map[CounterSeries]*counterReading
	devices      []model.DeviceEvent
	audits       map[int64]model.PortAudit
	selfCPU      float64
	selfKernel   float64
	selfRSS      float64
	selfSeen     bool

	// changed are the tables that differ from shown, which is the latest snapshot's.
	changed totalSet
	shown   shownTables
}

func newHistoryTotals() historyTotals {
	return historyTotals{
		losses:   map[[2]string]uint64{},
		work:     map[WorkTotalKey]*WorkTotal{},
		drops:    map[*Series[DropSeries]]uint64{},
		refused:  map[refusedTotalKey]*RefusedTotal{},
		flows:    map[FlowSeries]*FlowTotal{},
		rpc:      map[rpcTotalKey]*RPCTotal{},
		counters: map[CounterSeries]*counterReading{},
		audits:   map[int64]model.PortAudit{},
	}
}

// totalOf returns m[k], made by create when it is missing; nil when m is full.
func totalOf[K comparable, V any](m map[K]*V, k K, limit int, create func() *V) *V {
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

func (t *historyTotals) addLoss(v model.Loss) {
	t.changed |= totalLosses
	t.lost += v.Lost
	at := [2]string{v.Origin, v.Detail}
	if _, ok := t.losses[at]; !ok && len(t.losses) >= maxLosses {
		at = [2]string{"others", ""}
	}
	t.losses[at] += v.Lost
}

func (t *historyTotals) addWork(k WorkSeries, v historyWork) {
	tk := WorkTotalKey{k.Class, k.Name, k.Driver}
	if k.Driver != "" {
		tk.Name = k.Driver // by driver: the routines stand in the frames
	}
	w := totalOf(t.work, tk, maxWorkTotals, func() *WorkTotal { return &WorkTotal{WorkTotalKey: tk} })
	if w == nil {
		return
	}
	t.changed |= totalWork
	w.Count += v.count
	w.BusyNanos += uint64(max(v.busy, 0))
	w.MaxWait, w.MaxRun = max(w.MaxWait, uint64(max(v.longestWait, 0))), max(w.MaxRun, uint64(max(v.longestRun, 0)))
	if v.run == nil {
		return
	}
	for _, bc := range v.run.Buckets {
		i, _ := slices.BinarySearch(
			BucketBounds[:],
			time.Duration((model.BucketLow(int(bc.Bucket))+model.BucketHigh(int(bc.Bucket)))/2),
		)
		w.Buckets[i] += bc.Count
	}
}

// addDrop counts n packets; series is nil when there are too many.
func (t *historyTotals) addDrop(place model.Place, series *Series[DropSeries], n uint64) {
	if int(place) < len(t.places) {
		t.places[place] += n
	}
	if series == nil {
		return
	}
	if _, ok := t.drops[series]; ok || len(t.drops) < maxSeries {
		t.drops[series] += n
		t.changed |= totalDrops
	}
}

func (t *historyTotals) addDeviceEvent(v model.DeviceEvent) {
	t.changed |= totalDevices
	if len(t.devices) == maxDeviceEvents {
		t.devices = slices.Delete(t.devices, 0, 1)
	}
	t.devices = append(t.devices, v)
}

func (t *historyTotals) addAudit(v model.PortAudit) {
	if _, ok := t.audits[v.Netns]; ok || len(t.audits) < maxAudits {
		t.audits[v.Netns] = v
		t.changed |= totalAudits
	}
}

func (t *historyTotals) addRefused(v model.PortFail, process string) {
	t.refusals++
	process = cmp.Or(v.Process, process)
	k := refusedTotalKey{v.PID, process, v.ErrorName, v.Protocol, v.How, v.LocalPort}
	r := totalOf(t.refused, k, maxRefused, func() *RefusedTotal {
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
		t.changed |= totalRefused
		r.Count++
		r.Last = v.Time
	}
}

func (t *historyTotals) addPacket(k FlowSeries, v model.Packet) {
	f := totalOf(t.flows, k, maxFlows, func() *FlowTotal { return &FlowTotal{Key: k} })
	if f == nil {
		return
	}
	t.changed |= totalFlows
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

func (t *historyTotals) addRPC(v model.RPCCall) {
	if v.Flags&model.FlagSecondary != 0 {
		// An extended error tells once more, and more than once, of a failed call.
		v.Interface, v.Endpoint = extendedErrors, ""
	}
	k := rpcTotalKey{v.Interface, v.Endpoint, v.Process, v.PID, v.Server}
	r := totalOf(t.rpc, k, maxRPC, func() *RPCTotal {
		return &RPCTotal{Interface: v.Interface, Endpoint: v.Endpoint, Process: v.Process, PID: v.PID, Server: v.Server}
	})
	if r == nil {
		return
	}
	t.changed |= totalRPC
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

func (t *historyTotals) addOpenRPC(v model.RPCActive) {
	k := rpcTotalKey{v.Interface, v.Endpoint, v.Process, v.PID, v.Server}
	if r := totalOf(t.rpc, k, maxRPC, func() *RPCTotal {
		return &RPCTotal{Interface: v.Interface, Endpoint: v.Endpoint, Process: v.Process, PID: v.PID, Server: v.Server}
	}); r != nil {
		t.changed |= totalRPC
		r.Open++
		r.Last, r.Longest = v.Time, max(r.Longest, v.Dur)
	}
}

// counter returns the value to show for a reading: for a running total its rate
// since the reading before, which the first reading does not have.
func (t *historyTotals) counter(k CounterSeries, v model.Counter) (value float64, known bool) {
	c := totalOf(t.counters, k, maxCounters, func() *counterReading { return &counterReading{} })
	if c == nil {
		return 0, false
	}
	t.changed |= totalCounters
	if v.Mode != model.CounterTotal {
		c.value, c.known = v.Value, true
	} else if seconds := v.Time.Sub(c.last).Seconds(); c.last != 0 && seconds > 0 && v.Value >= c.raw {
		c.value, c.known = (v.Value-c.raw)/seconds, true
	}
	c.raw, c.last = v.Value, v.Time
	return c.value, c.known
}
