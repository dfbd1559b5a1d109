package fold

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
)

// FrameStep is the length of a frame.
const FrameStep = model.Time(time.Second)

// Measured says which values of a row were measured: the others are 0 because
// nothing is known of them. Its zero value is that of a row that a frame does
// not have.
type Measured uint8

const (
	// Seen says that there was a reading in the second: counts and rates are true, 0 included.
	Seen Measured = 1 << iota
	// MeasuredWait says that the longest wait is known; for a socket, since when it was not read.
	MeasuredWait
	// MeasuredWaitTimes and MeasuredRunTimes say that percentiles are known; for a
	// task, the latter says that its time on the CPU is.
	MeasuredWaitTimes
	MeasuredRunTimes
)

// Has says that all of what was measured.
func (m Measured) Has(what Measured) bool { return m&what == what }

// Frame is what one second of event time adds up to. It is immutable. Rates
// and shares are per second of covered time.
type Frame struct {
	// Start is the whole second at which the frame begins.
	Start model.Time
	// Events is the number of events that were complete in the second; Lost is how many were lost.
	Events, Lost uint64
	// Deferred and Interrupts are the work of each CPU, by series.
	Deferred, Interrupts []Row[WorkSeries, FrameWork]
	// CPUs is each CPU's time.
	CPUs []Row[CPUSeries, FrameCPU]
	// FrameSoftnet is each CPU's packet work.
	Softnet []Row[CPUSeries, FrameSoftnet]
	// NAPI are the polls of each device on each CPU.
	NAPI []Row[NAPISeries, FrameNAPI]
	// Devices are the devices' counters.
	Devices []Row[DeviceSeries, FrameDevice]
	// Drops are packets lost.
	Drops []Row[DropSeries, FrameDrops]
	// Sockets are the receive queues that were reported.
	Sockets []Row[SocketSeries, FrameSocket]
	// Tasks are the delays of watched tasks.
	Tasks []Row[TaskSeries, FrameTask]
	// Counters are the first counters of the stream.
	Counters []Row[CounterSeries, FrameCounter]
	// Flows are packets by flow.
	Flows []Row[FlowSeries, FrameFlow]
	// Pools are the port pools at the end of the second.
	Pools []Row[PoolSeries, FramePool]
	// Holders are the processes that hold most ports at the end of the second.
	Holders []Row[HolderSeries, FrameHolder]
	// Runs are the worst single runs that ended in the second, the worst first.
	Runs []FrameRun
}

// rows is what the frame counts in the bound of the history.
func (f *Frame) rows() int {
	return len(f.Deferred) + len(f.Interrupts) + len(f.CPUs) + len(f.Softnet) + len(f.NAPI) + len(f.Devices) +
		len(f.Drops) + len(f.Sockets) + len(f.Tasks) + len(f.Counters) + len(f.Flows) + len(f.Pools) +
		len(f.Holders) + 2*len(f.Runs)
}

// End returns the end of the frame.
func (f *Frame) End() model.Time { return f.Start + FrameStep }

// Series identifies a series over all frames. Keys are interned: two rows are of
// one series when their key pointers are equal.
type Series[K comparable] struct {
	// ID numbers the series in the order in which they appeared.
	ID int
	// Key is what the series is of.
	Key K
	// used is when the writer last met the series; nobody else reads it.
	used model.Time
}

// Row is the value of one series in one frame.
type Row[K comparable, V any] struct {
	*Series[K]
	// Value is what was measured, see Measured.
	Value V
}

// Find returns the value of the series with the given id; ok is false when the
// frame has none: nothing was measured then.
func Find[K comparable, V any](rows []Row[K, V], id int) (V, bool) {
	i, ok := slices.BinarySearchFunc(rows, id, func(r Row[K, V], id int) int { return cmp.Compare(r.ID, id) })
	if !ok {
		var zero V
		return zero, false
	}
	return rows[i].Value, true
}

// seriesSet gives each key its number.
type seriesSet[K comparable] struct {
	keys map[K]*Series[K]
	next int
	// full is the second in which nothing could be forgotten.
	full model.Time
}

// get returns the series of k, which is in use at time now; nil when there are
// too many. Series that were last used before oldest may be forgotten.
func (in *seriesSet[K]) get(k K, now, oldest model.Time) *Series[K] {
	p, ok := in.keys[k]
	if !ok {
		if len(in.keys) >= maxSeries {
			if in.full == now-now%FrameStep {
				return nil
			}
			maps.DeleteFunc(in.keys, func(_ K, p *Series[K]) bool { return p.used < oldest })
			if len(in.keys) >= maxSeries {
				in.full = now - now%FrameStep
				return nil
			}
		}
		if in.keys == nil {
			in.keys = make(map[K]*Series[K])
		}
		p = &Series[K]{ID: in.next, Key: k}
		in.next++
		in.keys[k] = p
	}
	p.used = max(p.used, now)
	return p
}

// frameTable collects the rows of one kind for an open frame.
type frameTable[K comparable, V any] struct {
	index map[int]int
	rows  []Row[K, V]
}

// has says that the frame has a row for the series of k.
func (t *frameTable[K, V]) has(k *Series[K]) bool {
	if k == nil {
		return false
	}
	_, ok := t.index[k.ID]
	return ok
}

// at returns the value of series k in the frame; nil when there is no room for it.
func (t *frameTable[K, V]) at(k *Series[K]) *V {
	if k == nil {
		return nil
	}
	if i, ok := t.index[k.ID]; ok {
		return &t.rows[i].Value
	}
	if len(t.rows) >= maxRowsPerFrame {
		return nil
	}
	if t.index == nil {
		t.index = make(map[int]int)
	}
	t.index[k.ID] = len(t.rows)
	t.rows = append(t.rows, Row[K, V]{Series: k})
	return &t.rows[len(t.rows)-1].Value
}

// sealed returns the rows by series.
func (t *frameTable[K, V]) sealed() []Row[K, V] {
	if len(t.rows) == 0 {
		return nil
	}
	rows := slices.Clone(t.rows)
	slices.SortFunc(rows, func(a, b Row[K, V]) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}

// WorkSeries is a series of deferred work or of an interrupt line.
type WorkSeries struct {
	CPU          int32
	Class        model.Class
	Name, Driver string
	IRQ          int64
}

// FrameWork is how much of it ran.
type FrameWork struct {
	// Busy is the share of the CPU's time, Count the runs per second.
	Busy, Count float32
	// WaitP99, RunP99, MaxWait and MaxRun are nanoseconds; waits are 0 where they are not known.
	WaitP99, RunP99, MaxWait, MaxRun float32
	// Measured has Seen, MeasuredWait (MaxWait), MeasuredWaitTimes (WaitP99) and MeasuredRunTimes (RunP99).
	Measured Measured
}

// CPUSeries is a CPU.
type CPUSeries struct{ CPU int32 }

// FrameCPU is how a CPU spent its time, as shares.
type FrameCPU struct {
	User, System, Softirq, IRQ, Idle, Steal float32
	Measured                                Measured
}

// FrameSoftnet is a CPU's packet work per second; Backlog is packets.
type FrameSoftnet struct {
	Processed, Dropped, Squeezed, RPS, FlowLimit, Backlog float32
	Measured                                              Measured
}

// NAPISeries is a device on a CPU.
type NAPISeries struct {
	// Netns is the inode number of the device's network namespace, 0 unknown.
	Netns   uint32
	Device  string
	Ifindex int64
	CPU     int32
}

// FrameNAPI is polls per second; Most is packets in one poll.
type FrameNAPI struct {
	Polls, Packets, Full, Threaded, Most float32
	Measured                             Measured
}

// DeviceSeries is a network device.
type DeviceSeries struct {
	// Netns is the inode number of the device's network namespace, 0 unknown.
	Netns   uint32
	Device  string
	Ifindex int64
}

// FrameDevice is a device's counters per second.
type FrameDevice struct {
	RxPackets, TxPackets, RxDropped, TxDropped, RxErrors, RxBytes float32
	Measured                                                      Measured
}

// DropSeries is where, why and to whom packets were lost. CPU is -1 unless the
// place is one of a CPU.
type DropSeries struct {
	// Netns is the inode number of the network namespace, 0 unknown.
	Netns             uint32
	Place             model.Place
	Reason            string
	Device            string
	Queue             int64
	CPU               int32
	Protocol          model.Protocol
	Port              uint16
	PID               int32
	Process, Location string
}

// FrameDrops is packets per second.
type FrameDrops struct {
	Rate     float32
	Measured Measured
}

// SocketSeries is a socket's receive queue.
type SocketSeries struct {
	Cookie   uint64
	Protocol model.Protocol
	Port     uint16
	Local    string
	PID      int32
	Process  string
}

// FrameSocket is the state of a receive queue; Idle is nanoseconds since it was last read, with MeasuredWait.
type FrameSocket struct {
	Queued, Limit, Dropped, Idle float32
	Measured                     Measured
}

// TaskSeries is a watched task.
type TaskSeries struct {
	PID, TID, CPU int32
	Name          string
}

// FrameTask is how long it waited to run after being woken, in nanoseconds; Run is the share of the CPU.
type FrameTask struct {
	Wakeups, WaitP99, MaxWait, Run float32
	Blocker                        string
	Measured                       Measured
}

// CounterSeries is a counter that no other kind covers.
type CounterSeries struct {
	Name, Instance, Unit string
	CPU                  int32
	Mode                 model.CounterMode
}

// FrameCounter is its value in its unit; running totals are shown as rates.
type FrameCounter struct {
	Value    float64
	Measured Measured
}

// FlowSeries is the packets of one socket with one peer in one direction.
type FlowSeries struct {
	Protocol    model.Protocol
	Local, Peer string
	LPort, Port uint16
	Direction   model.Direction
	PID         int32
	Process     string
}

// FrameFlow is packets and bytes per second, and for a followed flow the longest time in nanoseconds for which nothing
// of it was read, or sent, that ended in the second.
type FrameFlow struct {
	Packets, Bytes, Gap float32
	Measured            Measured
}

// PoolSeries is a pool of ports.
type PoolSeries struct {
	Name     string
	Protocol model.Protocol
	Netns    int64
}

// FramePool is how much of a pool is taken. Refused, Taken and Released are per second.
type FramePool struct {
	Used, Resting, Size int
	Low, High           uint16
	Source              model.PoolSource
	// Netns is the network namespace by name or inode, empty for the host's.
	Netns string
	// Filling is when it will be exhausted at its present rate, zero when it does not fill steadily.
	Filling                  Forecast
	Refused, Taken, Released float32
	Measured                 Measured
}

// HolderSeries is a process that holds ports.
type HolderSeries struct {
	PID     int32
	Process string
	// Unit is the systemd unit, container or pod of the process, empty unknown.
	Unit string
}

// FrameHolder is what it holds, in sockets that take a port of their own.
type FrameHolder struct {
	Held, Resting int32
	// Watched is the number of ports held of which it is known whether they are
	// used, Idle of them are not.
	Watched, Idle int32
	// Oldest is since when it has held its oldest port.
	Oldest   model.Time
	Measured Measured
}

// FrameRun is one run of deferred work or of an interrupt handler.
type FrameRun struct {
	// Time is its end; Wait and Length are from raise to entry and from entry to exit.
	Time         model.Time
	Wait, Length time.Duration
	CPU          int32
	Class        model.Class
	// WaitUnknown says that the raise was not seen.
	WaitUnknown                bool
	Name, Driver, Task, Before string
}

// Worst is what a run is ranked by.
func (r *FrameRun) Worst() time.Duration { return max(r.Wait, r.Length) }

// workSum is an open frame's Work with the distributions behind it.
type workSum struct {
	FrameWork
	wait, run model.Histogram
}

// taskSum is an open frame's Task with its distribution.
type taskSum struct {
	FrameTask
	wait model.Histogram
}

// frameBuilder is a frame that may still change. Counts are kept as numbers
// per frame and become rates when the frame is sealed.
type frameBuilder struct {
	start                model.Time
	covered              [2]model.Time
	events, lost         uint64
	deferred, interrupts frameTable[WorkSeries, workSum]
	cpus                 frameTable[CPUSeries, FrameCPU]
	softnet              frameTable[CPUSeries, FrameSoftnet]
	napi                 frameTable[NAPISeries, FrameNAPI]
	devices              frameTable[DeviceSeries, FrameDevice]
	drops                frameTable[DropSeries, FrameDrops]
	sockets              frameTable[SocketSeries, FrameSocket]
	tasks                frameTable[TaskSeries, taskSum]
	counters             frameTable[CounterSeries, FrameCounter]
	flows                frameTable[FlowSeries, FrameFlow]
	pools                frameTable[PoolSeries, FramePool]
	holders              []Row[HolderSeries, FrameHolder]
	runs                 []FrameRun
	dirty                bool
	sealedFrame          *Frame
}

// cover notes that an interval from a to b, clipped to the frame, was seen.
func (f *frameBuilder) cover(a, b model.Time) {
	a, b = max(a, f.start), min(b, f.start+FrameStep)
	if f.covered[1] == 0 {
		f.covered = [2]model.Time{a, b}
		return
	}
	f.covered[0], f.covered[1] = min(f.covered[0], a), max(f.covered[1], b)
}

// addRun keeps r when it is among the worst of the frame.
func (f *frameBuilder) addRun(r FrameRun) {
	i, _ := slices.BinarySearchFunc(
		f.runs,
		r.Worst(),
		func(have FrameRun, worst time.Duration) int { return cmp.Compare(worst, have.Worst()) },
	)
	if i >= maxRunsPerFrame {
		return
	}
	if len(f.runs) == maxRunsPerFrame {
		f.runs = f.runs[:maxRunsPerFrame-1]
	}
	f.runs = slices.Insert(f.runs, i, r)
}

// seal returns the frame as it is now.
func (f *frameBuilder) seal() *Frame {
	if !f.dirty && f.sealedFrame != nil {
		return f.sealedFrame
	}
	scale := float32(1) // from numbers in the covered part of the frame to numbers per second
	if seen := f.covered[1] - f.covered[0]; seen > 0 && seen < FrameStep {
		scale = float32(FrameStep) / float32(seen)
	}
	out := &Frame{
		Start:      f.start,
		Events:     f.events,
		Lost:       f.lost,
		Deferred:   sealWork(&f.deferred, scale),
		Interrupts: sealWork(&f.interrupts, scale),
		CPUs:       f.cpus.sealed(),
		Softnet:    f.softnet.sealed(),
		NAPI:       f.napi.sealed(),
		Devices:    f.devices.sealed(),
		Drops:      f.drops.sealed(),
		Sockets:    f.sockets.sealed(),
		Counters:   f.counters.sealed(),
		Flows:      f.flows.sealed(),
		Pools:      f.pools.sealed(),
		Holders:    f.holders,
		Runs:       slices.Clone(f.runs),
	}
	for i := range out.CPUs {
		v := &out.CPUs[i].Value
		if sum := v.User + v.System + v.Softirq + v.IRQ + v.Idle + v.Steal; sum > 0 {
			for _, part := range []*float32{&v.User, &v.System, &v.Softirq, &v.IRQ, &v.Idle, &v.Steal} {
				*part /= sum
			}
		}
	}
	for i := range out.Softnet {
		v := &out.Softnet[i].Value
		for _, n := range []*float32{&v.Processed, &v.Dropped, &v.Squeezed, &v.RPS, &v.FlowLimit} {
			*n *= scale
		}
	}
	for i := range out.NAPI {
		v := &out.NAPI[i].Value
		for _, n := range []*float32{&v.Polls, &v.Packets, &v.Full, &v.Threaded} {
			*n *= scale
		}
	}
	for i := range out.Devices {
		v := &out.Devices[i].Value
		for _, n := range []*float32{&v.RxPackets, &v.TxPackets, &v.RxDropped, &v.TxDropped, &v.RxErrors, &v.RxBytes} {
			*n *= scale
		}
	}
	for i := range out.Drops {
		out.Drops[i].Value.Rate *= scale
	}
	for i := range out.Sockets {
		out.Sockets[i].Value.Dropped *= scale
	}
	for _, r := range f.tasks.sealed() {
		t := r.Value.FrameTask
		t.WaitP99, t.Wakeups, t.Run = float32(r.Value.wait.Quantile(0.99)), t.Wakeups*scale, t.Run*scale
		out.Tasks = append(out.Tasks, Row[TaskSeries, FrameTask]{r.Series, t})
	}
	f.sealedFrame, f.dirty = out, false
	return out
}

func sealWork(t *frameTable[WorkSeries, workSum], scale float32) []Row[WorkSeries, FrameWork] {
	if len(t.rows) == 0 {
		return nil
	}
	rows := make([]Row[WorkSeries, FrameWork], len(t.rows))
	for i := range t.rows {
		sum := &t.rows[i].Value
		w := sum.FrameWork
		w.Busy, w.Count = min(w.Busy*scale, 1), w.Count*scale
		w.WaitP99, w.RunP99 = float32(sum.wait.Quantile(0.99)), float32(sum.run.Quantile(0.99))
		rows[i] = Row[WorkSeries, FrameWork]{t.rows[i].Series, w}
	}
	slices.SortFunc(rows, func(a, b Row[WorkSeries, FrameWork]) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}
