package fold

import (
	"cmp"
	"iter"
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/model/state"
)

// maxListed bounds the lists of one CPU, device or second: vectors, drivers and
// interrupt lines, devices polled, reasons of loss.
const maxListed = 256

// room is what a fold may keep. Its state takes from the same budget.
type room struct {
	*budget.Budget
	// spares take what has no room: what is counted in them is forgotten at once.
	cpu    CPU
	device Device
	socket Socket
}

func newRoom(memory int64) room {
	return room{Budget: budget.New(budget.Facts(cmp.Or(memory, budget.Default)))}
}

// Sizes of facts, with their places in maps.
const (
	cpuBytes      = int(unsafe.Sizeof(CPU{})) + 64
	deviceBytes   = int(unsafe.Sizeof(Device{})) + 128
	socketBytes   = int(unsafe.Sizeof(Socket{})) + 128
	flowBytes     = int(unsafe.Sizeof(Flow{})) + 256
	followedBytes = int(unsafe.Sizeof(Followed{})) + 256
	beatBytes     = int(unsafe.Sizeof(Beat{})) + maxUnread*int(unsafe.Sizeof(arrival{})) + 1024
	holderBytes   = 4 << 10 // with the history of what it holds
	tupleBytes    = int(unsafe.Sizeof(Tuple{}))*3/2 + 64
	failBytes     = int(unsafe.Sizeof(FailKey{}))*3/2 + int(unsafe.Sizeof(Failures{})) + 512
	endBytes      = 48
	failedBytes   = int(unsafe.Sizeof(ProcessKey{}))*3/2 + 48
	searchBytes   = int(unsafe.Sizeof(SearchKey{}))*3/2 + int(unsafe.Sizeof(Search{})) + 128
	searchedBytes = 24
	reuseBytes    = int(unsafe.Sizeof(Reuse{})) + 256
	reusedBytes   = int(unsafe.Sizeof(ReusePort{})) + 48
	restBytes     = int(unsafe.Sizeof(restEnd{}))*2 + 64
	seriesBytes   = int(unsafe.Sizeof(SampleKey{}))*3/2 + int(unsafe.Sizeof(Samples{})) + 64
	sampleBytes   = 16
	levelBytes    = 2 << 10                        // with its floors
	listedBytes   = 2 * int(unsafe.Sizeof(Work{})) // in its second and in the sum
	runBytes      = 2 * int(unsafe.Sizeof(Run{}))
	countBytes    = 2 * int(unsafe.Sizeof(CPUCount{}))
	sampledBytes  = 2 * int(unsafe.Sizeof(StackCount{}))
)

func (r *room) spareCPU(id int32) *CPU {
	r.cpu = CPU{ID: id}
	return &r.cpu
}

func (r *room) spareDevice(k DeviceKey) *Device {
	r.device = Device{Key: k}
	return &r.device
}

func (r *room) spareSocket(k SocketKey, protocol model.Protocol, port uint16, pid int32) *Socket {
	r.socket = Socket{Key: k, Protocol: protocol, Port: port, PID: pid}
	return &r.socket
}

// second returns the second that is being filled of a CPU, nil where there is no room for it.
func (w *Fold) second(cpu int32) *CPUSecond {
	c := w.cpu(cpu)
	if c == &w.room.cpu {
		return nil
	}
	return &c.Seconds[w.Slot]
}

// list makes room for the entries that an event has added to a list of the
// second being filled: from before to now. Where there is none, they go again.
func list[T any](r *room, what string, entries *[]T, before, bytes int) {
	if n := len(*entries) - before; n > 0 && !r.Take(what, n*bytes) {
		*entries = (*entries)[:before]
	}
}

// give gives back what the lists of a second take, before it is cleared.
func (c *CPUSecond) give(r *room) {
	r.Give((len(c.Work)+len(c.IRQs)+len(c.NAPI))*listedBytes + (len(c.Late)+len(c.Long))*runBytes)
}

func (s *socketSecond) give(r *room) { r.Give(len(s.CPUs) * countBytes) }

// forgetSocket drops a socket of which there has been no sign for long.
func (w *Fold) forgetSocket(s *Socket) {
	for i := range s.Seconds {
		s.Seconds[i].give(&w.room)
	}
	w.room.Give(socketBytes)
	delete(w.sockets, s.Key)
	w.sortedSockets = nil
}

// forgetDevice drops a device that has been removed, or of which there has been
// no sign for long.
func (w *Fold) forgetDevice(d *Device) {
	for i := range d.Seconds {
		d.Seconds[i].give(&w.room)
	}
	w.room.Give(deviceBytes + len(d.Key.Name))
	delete(w.Devices, d.Key)
	w.sortedDevices = nil
}

func (s *DeviceSecond) give(r *room) {
	r.Give((len(s.RingReasons) + len(s.RingTXReasons) + len(s.DeviceReasons)) * listedBytes)
}

// short returns l emptied, for the next second: without its memory when that is much.
func short[T any](l []T) []T {
	if cap(l) > 16 {
		return nil
	}
	return l[:0]
}

func compareQueues(a, b *model.DeviceQueue) int {
	return cmp.Or(
		cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.NetnsInode, b.NetnsInode),
	)
}

// Steps of work that a tick takes: of its own, and for each fact of a kind.
const (
	tickSteps   = 500
	cpuSteps    = 100
	listedSteps = 8
	deviceSteps = 50
	socketSteps = 100
	dropSteps   = 150
	holderSteps = 10
	poolSteps   = 60
	failSteps   = 60
	flowSteps   = 15
	portSteps   = 4
	// liveTickSteps is what a second with events in it earns for its tick.
	liveTickSteps = 3000
	// eventSteps is what an event earns.
	eventSteps = 256
)

// chargeTick counts the work of a tick.
func (w *Fold) chargeTick() {
	steps := tickSteps + cpuSteps*len(w.CPUs) + deviceSteps*len(w.Devices) + socketSteps*len(w.sockets) +
		dropSteps*len(w.drops) + holderSteps*len(w.Ports.holders) + poolSteps*len(w.State.Pools) +
		failSteps*len(w.Ports.Fails) + flowSteps*(len(w.flows)+len(w.beats))
	for _, c := range w.CPUs {
		n := len(c.Sum.Work) + len(c.Sum.IRQs) + len(c.Sum.NAPI)
		steps += listedSteps * n * (1 + n/8)
	}
	w.room.Charge(steps)
	if w.busy {
		w.busy = false
		w.room.Earn(liveTickSteps)
	}
}

// CanJudge says that there is time for another tick. A stream whose few events
// make many facts, or lie far apart, must not take very long: what happens in a
// second that is not judged is judged with the next that is.
func (w *Fold) CanJudge() bool {
	if w.room.CanWork() {
		return true
	}
	w.room.LeaveOut("judgements of single seconds")
	return false
}

// LeaveOut counts something of the detectors' that there is no room for.
func (w *Fold) LeaveOut(what string) { w.room.LeaveOut(what) }

// Work counts steps of work that a detector has done in a tick, of some ten nanoseconds each.
func (w *Fold) Work(steps int) { w.room.Charge(steps) }

// peaks are the most entries that the maps of a fold have had since they were made.
type peaks struct {
	devices, sockets, flows, beats, drops, names, holders, families, fails, tuples int
	// now says that small maps are made anew, too.
	now bool
}

// compactEvery is how many ticks lie between two times that small maps are made anew.
const compactEvery = 256

// due says that a map of the given size is to be made anew: because it has
// had very many more entries, or is small and old.
func (p *peaks) due(size int, peak *int) bool {
	*peak = max(*peak, size)
	if (*peak < 64 || size > *peak/8) && (!p.now || size >= 64) {
		return false
	}
	*peak = size
	return true
}

// compacted returns m or a new map of its entries: going through a map takes as
// long as it did at its fullest, and one from which much is deleted grows.
func compacted[K comparable, V any](p *peaks, m map[K]V, peak *int) map[K]V {
	if !p.due(len(m), peak) {
		return m
	}
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// compact makes the maps of which most entries have been forgotten small again.
func (w *Fold) compact() {
	p := &w.peaks
	p.now = w.Now/Second%compactEvery == 0
	w.Devices = compacted(p, w.Devices, &p.devices)
	w.sockets = compacted(p, w.sockets, &p.sockets)
	w.flows = compacted(p, w.flows, &p.flows)
	w.beats = compacted(p, w.beats, &p.beats)
	w.drops = compacted(p, w.drops, &p.drops)
	w.dropsByName = compacted(p, w.dropsByName, &p.names)
	w.Ports.holders = compacted(p, w.Ports.holders, &p.holders)
	w.Ports.Families = compacted(p, w.Ports.Families, &p.families)
	w.Ports.Fails = compacted(p, w.Ports.Fails, &p.fails)
	w.Ports.Tuples = compacted(p, w.Ports.Tuples, &p.tuples)
}

// AllPorts yields the ports that are held or rest, see state.Ports.All, and
// counts the work of going through all of them.
func (w *Fold) AllPorts() iter.Seq[*state.Port] {
	w.room.Charge(portSteps * w.State.Ports.Len())
	return w.State.Ports.All()
}

// countLeftOut makes what was left out since the last tick part of every verdict.
func (w *Fold) countLeftOut() {
	if n := w.room.LeftOut(); n > w.leftOut {
		w.Loss.add(w.Now, n-w.leftOut)
		w.leftOut = n
	}
}

// LeftOut returns how many facts and judgements there was no room or time for, and of what, since the last call.
func (w *Fold) LeftOut() (n uint64, what string) { return w.room.Report() }
