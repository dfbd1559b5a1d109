package tui

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
)

// frameStep is the length of a frame.
const frameStep = model.Time(time.Second)

// Limits of one frame, so that a host with very many sources costs memory in
// proportion to what a reader can use.
const (
	maxRowsPerFrame  = 2048
	maxRunsPerFrame  = 16
	maxHolders       = 64
	maxCounterSeries = 256
)

// Frame is what one second of event time adds up to. It is immutable. Rates
// and shares are per second of covered time.
type Frame struct {
	// Start is the whole second at which the frame begins.
	Start model.Time
	// Events is the number of events that were complete in the second; Lost is how many were lost.
	Events, Lost uint64
	// Deferred and Interrupts are the work of each CPU, by series.
	Deferred, Interrupts []row[WorkKey, Work]
	// CPUs is each CPU's time.
	CPUs []row[CPUKey, CPUTime]
	// Softnet is each CPU's packet work.
	Softnet []row[CPUKey, Softnet]
	// NAPI are the polls of each device on each CPU.
	NAPI []row[NAPIKey, NAPI]
	// Devices are the devices' counters.
	Devices []row[DeviceKey, Device]
	// Drops are packets lost.
	Drops []row[DropKey, Drops]
	// Sockets are the receive queues that were reported.
	Sockets []row[SocketKey, Socket]
	// Tasks are the delays of watched tasks.
	Tasks []row[TaskKey, Task]
	// Counters are the first counters of the stream.
	Counters []row[CounterKey, Counter]
	// Flows are packets by flow.
	Flows []row[FlowKey, Flow]
	// Pools are the port pools at the end of the second.
	Pools []row[PoolKey, Pool]
	// Holders are the processes that hold most ports at the end of the second.
	Holders []row[HolderKey, Holder]
	// Runs are the worst single runs that ended in the second, the worst first.
	Runs []LongRun
}

// End returns the end of the frame.
func (f *Frame) End() model.Time { return f.Start + frameStep }

// key identifies a series over all frames. Keys are interned: two rows are of
// one series when their key pointers are equal.
type key[K comparable] struct {
	ID  int
	Key K
	// used is when the writer last met the series; nobody else reads it.
	used model.Time
}

// row is the value of one series in one frame.
type row[K comparable, V any] struct {
	*key[K]
	Value V
}

// find returns the value of the series with the given id.
func find[K comparable, V any](rows []row[K, V], id int) (V, bool) {
	i, ok := slices.BinarySearchFunc(rows, id, func(r row[K, V], id int) int { return cmp.Compare(r.ID, id) })
	if !ok {
		var zero V
		return zero, false
	}
	return rows[i].Value, true
}

// maxKeys is how many series of one kind are remembered before those that are
// in no frame any more are forgotten.
const maxKeys = 1 << 14

// interner gives each key its number.
type interner[K comparable] struct {
	keys map[K]*key[K]
	next int
}

// get returns the series of k, which is in use at time now. Series that were
// last used before oldest may be forgotten.
func (in *interner[K]) get(k K, now, oldest model.Time) *key[K] {
	p, ok := in.keys[k]
	if !ok {
		if len(in.keys) >= maxKeys {
			maps.DeleteFunc(in.keys, func(_ K, p *key[K]) bool { return p.used < oldest })
		}
		if in.keys == nil {
			in.keys = make(map[K]*key[K])
		}
		p = &key[K]{ID: in.next, Key: k}
		in.next++
		in.keys[k] = p
	}
	p.used = max(p.used, now)
	return p
}

// table collects the rows of one kind for an open frame.
type table[K comparable, V any] struct {
	index map[int]int
	rows  []row[K, V]
}

// at returns the value of k's series in the frame; nil when the frame is full.
func (t *table[K, V]) at(k *key[K]) *V {
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
	t.rows = append(t.rows, row[K, V]{key: k})
	return &t.rows[len(t.rows)-1].Value
}

// sealed returns the rows by series.
func (t *table[K, V]) sealed() []row[K, V] {
	if len(t.rows) == 0 {
		return nil
	}
	rows := slices.Clone(t.rows)
	slices.SortFunc(rows, func(a, b row[K, V]) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}

// WorkKey is a series of deferred work or of an interrupt line.
type WorkKey struct {
	CPU          int32
	Class        model.Class
	Name, Driver string
	IRQ          int64
}

// Work is how much of it ran.
type Work struct {
	// Busy is the share of the CPU's time, Count the runs per second.
	Busy, Count float32
	// WaitP99, RunP99, MaxWait and MaxRun are nanoseconds; waits are 0 where they are not known.
	WaitP99, RunP99, MaxWait, MaxRun float32
}

// CPUKey is a CPU.
type CPUKey struct{ CPU int32 }

// CPUTime is how a CPU spent its time, as shares.
type CPUTime struct{ User, System, Softirq, IRQ, Idle, Steal float32 }

// Softnet is a CPU's packet work per second; Backlog is packets.
type Softnet struct{ Processed, Dropped, Squeezed, RPS, FlowLimit, Backlog float32 }

// NAPIKey is a device on a CPU.
type NAPIKey struct {
	Device  string
	Ifindex int64
	CPU     int32
}

// NAPI is polls per second; Most is packets in one poll.
type NAPI struct{ Polls, Packets, Full, Threaded, Most float32 }

// DeviceKey is a network device.
type DeviceKey struct {
	Device  string
	Ifindex int64
}

// Device is a device's counters per second.
type Device struct{ RxPackets, TxPackets, RxDropped, TxDropped, RxErrors, RxBytes float32 }

// DropKey is where, why and to whom packets were lost. CPU is -1 unless the
// place is one of a CPU.
type DropKey struct {
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

// Drops is packets per second.
type Drops struct{ Rate float32 }

// SocketKey is a socket's receive queue.
type SocketKey struct {
	Cookie   uint64
	Protocol model.Protocol
	Port     uint16
	Local    string
	PID      int32
	Process  string
}

// Socket is the state of a receive queue; Idle is nanoseconds since it was last read.
type Socket struct{ Queued, Limit, Dropped, Idle float32 }

// TaskKey is a watched task.
type TaskKey struct {
	PID, TID, CPU int32
	Name          string
}

// Task is how long it waited to run after being woken, in nanoseconds; Run is the share of the CPU.
type Task struct {
	Wakeups, WaitP99, MaxWait, Run float32
	Blocker                        string
}

// CounterKey is a counter that no other kind covers.
type CounterKey struct {
	Name, Instance, Unit string
	CPU                  int32
	Mode                 model.CounterMode
}

// Counter is its value in its unit; running totals are shown as rates.
type Counter struct{ Value float64 }

// FlowKey is the packets of one socket with one peer in one direction.
type FlowKey struct {
	Protocol    model.Protocol
	Local, Peer string
	LPort, Port uint16
	Direction   model.Direction
	PID         int32
	Process     string
}

// Flow is packets and bytes per second.
type Flow struct{ Packets, Bytes float32 }

// PoolKey is a pool of ports.
type PoolKey struct {
	Name     string
	Protocol model.Protocol
	Netns    int64
}

// Pool is how much of a pool is taken. Refused, Taken and Released are per second.
type Pool struct {
	Used, Resting, Size int
	Low, High           uint16
	Source              model.PoolSource
	// Netns is the network namespace by name or inode, empty for the host's.
	Netns                    string
	Refused, Taken, Released float32
}

// HolderKey is a process that holds ports.
type HolderKey struct {
	PID     int32
	Process string
}

// Holder is what it holds, in sockets that take a port of their own.
type Holder struct {
	Held, Resting int32
	// Watched is the number of ports held of which it is known whether they are
	// used, Idle of them are not.
	Watched, Idle int32
	// Oldest is since when it has held its oldest port.
	Oldest model.Time
}

// LongRun is one run of deferred work or of an interrupt handler.
type LongRun struct {
	// Time is its end; Wait and Length are from raise to entry and from entry to exit.
	Time         model.Time
	Wait, Length time.Duration
	CPU          int32
	Class        model.Class
	// WaitUnknown says that the raise was not seen.
	WaitUnknown                bool
	Name, Driver, Task, Before string
}

// worst is what a run is ranked by.
func (r *LongRun) worst() time.Duration { return max(r.Wait, r.Length) }

// workSum is an open frame's Work with the distributions behind it.
type workSum struct {
	Work
	wait, run model.Histogram
}

// taskSum is an open frame's Task with its distribution.
type taskSum struct {
	Task
	wait model.Histogram
}

// frameBuilder is a frame that may still change. Counts are kept as numbers
// per frame and become rates when the frame is sealed.
type frameBuilder struct {
	start                model.Time
	covered              [2]model.Time
	events, lost         uint64
	deferred, interrupts table[WorkKey, workSum]
	cpus                 table[CPUKey, CPUTime]
	softnet              table[CPUKey, Softnet]
	napi                 table[NAPIKey, NAPI]
	devices              table[DeviceKey, Device]
	drops                table[DropKey, Drops]
	sockets              table[SocketKey, Socket]
	tasks                table[TaskKey, taskSum]
	counters             table[CounterKey, Counter]
	flows                table[FlowKey, Flow]
	pools                table[PoolKey, Pool]
	holders              []row[HolderKey, Holder]
	runs                 []LongRun
	dirty                bool
	sealedFrame          *Frame
}

// cover notes that an interval from a to b, clipped to the frame, was seen.
func (f *frameBuilder) cover(a, b model.Time) {
	a, b = max(a, f.start), min(b, f.start+frameStep)
	if f.covered[1] == 0 {
		f.covered = [2]model.Time{a, b}
		return
	}
	f.covered[0], f.covered[1] = min(f.covered[0], a), max(f.covered[1], b)
}

// addRun keeps r when it is among the worst of the frame.
func (f *frameBuilder) addRun(r LongRun) {
	i, _ := slices.BinarySearchFunc(
		f.runs,
		r.worst(),
		func(have LongRun, worst time.Duration) int { return cmp.Compare(worst, have.worst()) },
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
	if seen := f.covered[1] - f.covered[0]; seen > 0 && seen < frameStep {
		scale = float32(frameStep) / float32(seen)
	}
	out := &Frame{Start: f.start, Events: f.events, Lost: f.lost,
		Deferred: sealWork(&f.deferred, scale), Interrupts: sealWork(&f.interrupts, scale),
		CPUs: f.cpus.sealed(), Softnet: f.softnet.sealed(), NAPI: f.napi.sealed(), Devices: f.devices.sealed(), Drops: f.drops.sealed(),
		Sockets: f.sockets.sealed(), Counters: f.counters.sealed(), Flows: f.flows.sealed(), Pools: f.pools.sealed(), Holders: f.holders, Runs: slices.Clone(f.runs)}
	for i := range out.CPUs {
		v := &out.CPUs[i].Value
		if sum := v.User + v.System + v.Softirq + v.IRQ + v.Idle + v.Steal; sum > 0 {
			*v = CPUTime{v.User / sum, v.System / sum, v.Softirq / sum, v.IRQ / sum, v.Idle / sum, v.Steal / sum}
		}
	}
	for i := range out.Softnet {
		v := &out.Softnet[i].Value
		*v = Softnet{
			v.Processed * scale,
			v.Dropped * scale,
			v.Squeezed * scale,
			v.RPS * scale,
			v.FlowLimit * scale,
			v.Backlog,
		}
	}
	for i := range out.NAPI {
		v := &out.NAPI[i].Value
		*v = NAPI{v.Polls * scale, v.Packets * scale, v.Full * scale, v.Threaded * scale, v.Most}
	}
	for i := range out.Devices {
		v := &out.Devices[i].Value
		*v = Device{
			v.RxPackets * scale,
			v.TxPackets * scale,
			v.RxDropped * scale,
			v.TxDropped * scale,
			v.RxErrors * scale,
			v.RxBytes * scale,
		}
	}
	for i := range out.Drops {
		out.Drops[i].Value.Rate *= scale
	}
	for i := range out.Sockets {
		out.Sockets[i].Value.Dropped *= scale
	}
	for _, r := range f.tasks.sealed() {
		t := r.Value.Task
		t.WaitP99, t.Wakeups, t.Run = float32(r.Value.wait.Quantile(0.99)), t.Wakeups*scale, t.Run*scale
		out.Tasks = append(out.Tasks, row[TaskKey, Task]{r.key, t})
	}
	f.sealedFrame, f.dirty = out, false
	return out
}

func sealWork(t *table[WorkKey, workSum], scale float32) []row[WorkKey, Work] {
	if len(t.rows) == 0 {
		return nil
	}
	rows := make([]row[WorkKey, Work], len(t.rows))
	for i := range t.rows {
		sum := &t.rows[i].Value
		w := sum.Work
		w.Busy, w.Count = min(w.Busy*scale, 1), w.Count*scale
		w.WaitP99, w.RunP99 = float32(sum.wait.Quantile(0.99)), float32(sum.run.Quantile(0.99))
		rows[i] = row[WorkKey, Work]{t.rows[i].key, w}
	}
	slices.SortFunc(rows, func(a, b row[WorkKey, Work]) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}
