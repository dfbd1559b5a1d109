package fold

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Second is the length of the steps in which facts are summed and judged.
const Second = model.Time(time.Second)

// MaxWindow is the longest window, in seconds, over which facts are summed.
const MaxWindow = 10

// maxLateRuns bounds the single runs kept for one CPU and second.
const maxLateRuns = 64

// Fold is what the detectors know: the state of the host and, second by
// second, what happened. A second is a whole second of event time; an interval
// belongs to the second in which it ended.
type Fold struct {
	limits Limits
	State  *state.State
	// Now is the tick being judged; slot the second being filled.
	Now  model.Time
	Slot int
	// warm says that something other than a keyframe has been seen, so that keyframes say nothing new.
	warm bool

	CPUs    map[int32]*CPU
	Devices map[DeviceKey]*Device
	sockets map[SocketKey]*Socket
	flows   map[flowKey]*Flow
	// The lists of SortedCPUs and its like, nil when they have changed.
	sortedCPUs    []*CPU
	sortedDevices []*Device
	sortedSockets []*Socket
	sortedDrops   []*Drop
	// Backlog counts packets dropped at full backlogs, by device.
	Backlog  [MaxWindow][]DeviceCount
	Ports    *Ports
	Counters *Counters
	Loss     Loss
	// DropsLeftOut counts packets lost in more ways than are told apart.
	DropsLeftOut uint64

	drops    map[DropKey]*Drop
	watched  map[int32]*Watched // by TID
	readings map[ReadingKey]Reading
	refused  map[refusedRequest]string
	protocol map[ProtocolCounterKey]*ProtocolCounter
	// judged says that there are detectors, which read what happened second by second.
	judged bool
	// history is what a screen shows, nil without one.
	history *History
	room    room
	// busy says that there was an event since the last tick.
	busy bool
	// leftOut of what was left out is in Loss.
	leftOut uint64
}

// Options say which parts a fold has beside the state of the host: nobody pays
// for what is not read.
type Options struct {
	// Judged says that detectors read what happened second by second.
	Judged bool
	// Limits are the thresholds that they need, and the memory that the facts may take.
	Limits Limits
	// History is what a screen shows, nil for none; see also Fold.Show.
	History *History
}

// New returns a fold before any event.
func New(o Options) *Fold {
	limits := o.Limits
	r := newRoom(limits.Memory)
	return &Fold{
		limits:   limits,
		judged:   o.Judged,
		history:  o.History,
		room:     r,
		State:    state.NewWithin(r.Budget),
		CPUs:     make(map[int32]*CPU),
		Devices:  make(map[DeviceKey]*Device),
		sockets:  make(map[SocketKey]*Socket),
		flows:    make(map[flowKey]*Flow),
		Ports:    newPortFacts(r.Budget),
		drops:    make(map[DropKey]*Drop),
		watched:  make(map[int32]*Watched),
		readings: make(map[ReadingKey]Reading),
		refused:  make(map[refusedRequest]string),
		protocol: make(map[ProtocolCounterKey]*ProtocolCounter),
		Counters: newCounterFacts(limits.MaxSamples, r.Budget),
	}
}

// Show makes h part of w: it shows what the detectors know. The caller puts
// h.Begin and h.End around all that changes w.
func (w *Fold) Show(h *History) {
	w.history = h
	h.share(w)
}

// resetState forgets what holds, as a seek does.
func (w *Fold) resetState() {
	w.room = newRoom(w.limits.Memory)
	w.State = state.NewWithin(w.room.Budget)
	w.Ports = newPortFacts(w.room.Budget)
}

// DeviceKey identifies a device: interface indexes repeat between network
// namespaces, so the name is part of it.
type DeviceKey struct {
	// Netns is the inode number of the network namespace, 0 unknown.
	Netns   uint32
	Ifindex int64
	Name    string
}

func CompareDevices(a, b DeviceKey) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.Netns, b.Netns))
}

type DeviceCount struct {
	Device DeviceKey
	Count  uint64
}

func AddDevice(list []DeviceCount, d DeviceKey, n uint64) []DeviceCount {
	for i := range list {
		if list[i].Device == d {
			list[i].Count += n
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, DeviceCount{d, n})
}

// CPU is one CPU, second by second.
type CPU struct {
	ID      int32
	Seconds [MaxWindow]CPUSecond
	// Sum is the window that ends at the tick being judged.
	Sum CPUSecond
	// totals since the stream began; differences are what happened during an incident.
	Dropped, Processed, Squeezed uint64

	stacks [MaxWindow]stackSecond
}

// CPUSecond is what happened on one CPU in one second or window.
type CPUSecond struct {
	// Work is deferred work, by vector or driver, and interrupts, by line.
	Work, IRQs []Work
	Softnet    Softnet
	NAPI       []NAPI
	Time       CPUTimes
	Late, Long []Run
	// Ksoftirqd is how its thread was scheduled, where that is traced.
	Ksoftirqd Thread
}

// Thread is how one kernel thread was scheduled.
type Thread struct {
	MaxWait, run time.Duration
	blocker      string
}

func (t *Thread) add(o Thread) {
	if o.MaxWait > t.MaxWait {
		t.MaxWait, t.blocker = o.MaxWait, o.blocker
	}
	t.run += o.run
}

// Work is one vector's (Linux) or driver's (Windows) deferred work, or one interrupt line.
type Work struct {
	Class           model.Class
	Name, Driver    string
	covered, Busy   time.Duration
	Count           uint64
	MaxWait, MaxRun time.Duration
	// Waited is the sum of the waits from raise to entry, Held how many of them were as long as Limits.HeldWait.
	Waited           time.Duration
	Held             uint64
	OverLimit        uint64
	WorstRoutine     string
	WorstRoutineTime time.Duration
}

// Label is the name under which the work is reported.
func (f *Work) Label() string {
	if f.Driver != "" {
		return f.Driver
	}
	return f.Name
}

type Softnet struct {
	Covered                                 time.Duration
	Processed, Dropped, Squeezed, rps, most uint64
	// FlowLimit are the packets among Dropped that the flow limit dropped: those of flows that fill the backlog.
	FlowLimit uint64
}

type NAPI struct {
	Device                         DeviceKey
	covered                        time.Duration
	Polls, Packets, Full, Threaded uint64
	maxPackets                     uint64
}

type CPUTimes struct{ Covered, user, system, softirq, IRQ, idle, Steal time.Duration }

// Run is one run of deferred work that waited or ran for long.
type Run struct {
	At           model.Time
	Name, Driver string
	Wait, Run    time.Duration
	Before, task string
}

// Device is one device, second by second.
type Device struct {
	Key     DeviceKey
	Seconds [MaxWindow]DeviceSecond
	Sum     DeviceSecond
	// RingTotal and DeviceTotal count received packets lost since the stream began, RingTXTotal those to be sent.
	RingTotal, DeviceTotal, RingTXTotal uint64
	// Removed and LinkDown are when the device went away and when its link went down, 0 when it is there and up.
	Removed, LinkDown model.Time
	// FormerName is what it was called before it was renamed, empty never.
	FormerName string
	// seen is when there last was a sign of it.
	seen model.Time
}

// DeviceSecond is what happened at one device in one second or window.
type DeviceSecond struct {
	// Packets are those received, TXPackets those sent.
	Packets, TXPackets uint64
	// Ring and Device are received packets lost in the ring and in the layer above it, RingTX those to be sent that
	// the ring did not take.
	Ring, Device, RingTX         uint64
	RingReasons, RingTXReasons   []ReasonCount
	DeviceReasons                []ReasonCount
	active                       bool
	rxDropped, rxErrs, txDropped uint64
}

// Drops is what the device lost.
func (s *DeviceSecond) Drops() uint64 { return s.Ring + s.Device }

// ReasonCount counts drops by reason and queue or location.
type ReasonCount struct {
	Reason, Location string
	Queue            int64
	Count            uint64
}

func AddReason(list []ReasonCount, r ReasonCount) []ReasonCount {
	for i := range list {
		if list[i].Reason == r.Reason && list[i].Queue == r.Queue && list[i].Location == r.Location {
			list[i].Count += r.Count
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, r)
}

// SocketKey identifies a socket: its cookie where there is one.
type SocketKey struct {
	Cookie   uint64
	protocol model.Protocol
	port     uint16
	pid      int32
}

func compareSockets(a, b SocketKey) int {
	return cmp.Or(
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.port, b.port),
		cmp.Compare(a.pid, b.pid),
		cmp.Compare(a.Cookie, b.Cookie),
	)
}

// Socket is one socket's receive queue, second by second.
type Socket struct {
	Key      SocketKey
	Protocol model.Protocol
	Port     uint16
	PID      int32
	Process  string
	Seconds  [MaxWindow]socketSecond
	Sum      socketSecond
	// Total counts drops at the queue in the seconds that are over; seen is
	// when there last was a sign of the socket.
	Total uint64
	seen  model.Time
	// Last is the last reading of the queue.
	Last model.SocketQueue
}

type socketSecond struct {
	// dropped comes from drop events at the queue, queueDropped from the
	// socket's own counter: the same packets, but for those that the socket
	// lost elsewhere, on their way out for example.
	dropped, queueDropped, elsewhere uint64
	// Readings of the queue, and how many of them found it full.
	Readings, Full uint64
	MaxIdle        time.Duration
	CPUs           []CPUCount
}

func (s *socketSecond) Drops() uint64 {
	return max(s.dropped, s.queueDropped-min(s.queueDropped, s.elsewhere))
}

type CPUCount struct {
	CPU   int32
	Count uint64
}

func addCPU(list []CPUCount, cpu int32, n uint64) []CPUCount {
	for i := range list {
		if list[i].CPU == cpu {
			list[i].Count += n
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, CPUCount{cpu, n})
}

// Loss remembers when events were lost.
type Loss struct {
	Total  uint64
	events []lossEvent
}

type lossEvent struct {
	at   model.Time
	lost uint64
}

func (l *Loss) add(at model.Time, lost uint64) {
	l.Total += lost
	if n := len(l.events); n > 0 && at.Sub(l.events[n-1].at) < time.Second {
		l.events[n-1].lost += lost
		return
	}
	if len(l.events) == 256 {
		l.events = slices.Delete(l.events, 0, 128)
	}
	l.events = append(l.events, lossEvent{at, lost})
}

// Before returns how many events had been lost before t.
func (l *Loss) Before(t model.Time) uint64 {
	n := l.Total
	for i := len(l.events) - 1; i >= 0 && l.events[i].at >= t; i-- {
		n -= l.events[i].lost
	}
	return n
}

// LastAt returns when events were last lost, 0 never.
func (l *Loss) LastAt() model.Time {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].at
}

// BeginTick sums the window that ends at now.
func (w *Fold) BeginTick(now model.Time, whole bool) {
	w.Now = now
	seconds := w.Recent()
	for _, c := range w.CPUs {
		c.sumUp(seconds)
	}
	for _, d := range w.Devices {
		d.sumUp(seconds)
	}
	for _, s := range w.sockets {
		s.Total += s.Seconds[w.Slot].Drops()
		s.sumUp(seconds)
	}
	w.sumDrops(seconds)
	w.sumProtocol(seconds)
	w.Ports.beginTick(now, w.State, whole)
	w.chargeTick()
}

// EndTick opens the next second.
func (w *Fold) EndTick() {
	w.Slot = (w.Slot + 1) % MaxWindow
	for _, c := range w.CPUs {
		c.Seconds[w.Slot].give(&w.room)
		c.Seconds[w.Slot].clear()
	}
	for _, d := range w.Devices {
		d.Seconds[w.Slot].give(&w.room)
		d.Seconds[w.Slot] = DeviceSecond{}
		if w.Now.Sub(d.seen) > forgetDevice {
			w.forgetDevice(d)
		}
	}
	for _, s := range w.sockets {
		s.Seconds[w.Slot].give(&w.room)
		s.Seconds[w.Slot] = socketSecond{}
		if w.Now.Sub(s.seen) > forgetSocket {
			w.forgetSocket(s)
		}
	}
	w.Backlog[w.Slot] = nil
	w.Ports.endTick()
	w.forgetFlows()
	w.endDrops()
	w.endProtocol()
	w.endWatched()
	w.countLeftOut()
}

// WindowSeconds returns the length of the window in seconds.
func (w *Fold) WindowSeconds() int {
	return min(max(int(w.limits.Window/time.Second), 1), MaxWindow)
}

// Recent returns the slots of the window, oldest first.
func (w *Fold) Recent() []int {
	n := w.WindowSeconds()
	slots := make([]int, n)
	for i := range slots {
		slots[i] = (w.Slot - n + 1 + i + MaxWindow) % MaxWindow
	}
	return slots
}

// secondStart returns when the second that is being judged began.
func (w *Fold) secondStart() model.Time {
	return (w.Now - 1) / Second * Second
}

// FirstSecond returns when the first second of the window that matches began;
// the last one where none does.
func (w *Fold) FirstSecond(match func(slot int) bool) model.Time {
	slots := w.Recent()
	for i, slot := range slots {
		if match(slot) {
			return w.secondStart() - model.Time(len(slots)-1-i)*Second
		}
	}
	return w.secondStart()
}

func (w *Fold) cpu(id int32) *CPU {
	c := w.CPUs[id]
	if c == nil {
		if !w.room.Take("CPUs", cpuBytes) {
			return w.room.spareCPU(id)
		}
		c = &CPU{ID: id}
		w.CPUs[id] = c
		w.sortedCPUs = nil
	}
	return c
}

// sorted returns the values of m by their keys; list keeps them until it is set
// to nil.
func sorted[K comparable, V any](list *[]*V, m map[K]*V, compare func(a, b K) int) []*V {
	if *list == nil && len(m) > 0 {
		*list = make([]*V, 0, len(m))
		for _, k := range slices.SortedFunc(maps.Keys(m), compare) {
			*list = append(*list, m[k])
		}
	}
	return *list
}

// SortedCPUs returns the CPUs by number.
func (w *Fold) SortedCPUs() []*CPU {
	return sorted(&w.sortedCPUs, w.CPUs, cmp.Compare[int32])
}

// Device returns what is known about a device; nothing happened on one of which
// nothing is known.
func (w *Fold) Device(k DeviceKey) *Device {
	if k.Name == "" {
		k.Name = w.deviceName(k)
	}
	if d := w.Devices[k]; d != nil {
		return d
	}
	return &Device{Key: k}
}

// device returns a device of which there is a sign at a time.
func (w *Fold) device(k DeviceKey, at model.Time) *Device {
	d := w.Device(k)
	if d.seen == 0 {
		if !w.room.Take("devices", deviceBytes+len(d.Key.Name)) {
			return w.room.spareDevice(d.Key)
		}
		w.Devices[d.Key] = d
		w.sortedDevices = nil
	}
	d.seen = max(d.seen, at, 1)
	return d
}

// deviceName returns the name of a device of which only the index is known,
// when no other namespace has a device of that index.
func (w *Fold) deviceName(key DeviceKey) string { return w.State.DeviceName(key.Netns, key.Ifindex) }

// DeviceConfig returns what is known about a device's rings and queues.
func (w *Fold) DeviceConfig(k DeviceKey) (model.DeviceConfig, bool) {
	return w.State.DeviceNamed(k.Name, k.Netns, k.Ifindex)
}

// ReceiveQueues returns a device's receive queues by number.
func (w *Fold) ReceiveQueues(k DeviceKey) []model.DeviceQueue {
	var queues []model.DeviceQueue
	for q := range w.State.QueuesOf(k.Name, k.Netns, k.Ifindex) {
		if q.Direction == model.DirectionRX {
			queues = append(queues, q)
		}
	}
	slices.SortFunc(queues, func(a, b model.DeviceQueue) int {
		return compareQueues(&a, &b)
	})
	return queues
}

// SortedDevices returns the devices with facts, by name.
func (w *Fold) SortedDevices() []*Device {
	return sorted(&w.sortedDevices, w.Devices, CompareDevices)
}

// SortedSockets returns the sockets with facts, in a fixed order.
func (w *Fold) SortedSockets() []*Socket {
	return sorted(&w.sortedSockets, w.sockets, compareSockets)
}

// IsVeth says that a device is one end of a veth pair.
func (w *Fold) IsVeth(k DeviceKey) bool {
	config, ok := w.DeviceConfig(k)
	return ok && config.Driver == "veth"
}

// Windows reports whether the stream is of a Windows host.
func (w *Fold) Windows() bool {
	return strings.HasPrefix(strings.ToLower(w.State.Meta["os"]), "windows")
}

// KnownCPUs returns the number of CPUs of the host, 0 unknown.
func (w *Fold) KnownCPUs() int {
	if n, err := strconv.Atoi(w.State.Meta["cpus"]); err == nil && n > 0 {
		return n
	}
	return len(w.CPUs)
}

func (c *CPUSecond) clear() {
	*c = CPUSecond{
		Work: short(c.Work), IRQs: short(c.IRQs), NAPI: short(c.NAPI), Late: short(c.Late), Long: short(c.Long),
	}
}

func (c *CPU) sumUp(slots []int) {
	sum := &c.Sum
	sum.clear()
	for _, i := range slots {
		s := &c.Seconds[i]
		for j := range s.Work {
			mergeWork(&sum.Work, &s.Work[j])
		}
		for j := range s.IRQs {
			mergeWork(&sum.IRQs, &s.IRQs[j])
		}
		for _, n := range s.NAPI {
			mergeNAPI(&sum.NAPI, n)
		}
		sum.Softnet.add(s.Softnet)
		sum.Time.add(s.Time)
		sum.Ksoftirqd.add(s.Ksoftirqd)
		sum.Late = append(sum.Late, s.Late...)
		sum.Long = append(sum.Long, s.Long...)
	}
}

func mergeWork(list *[]Work, f *Work) {
	for i := range *list {
		have := &(*list)[i]
		if have.Driver != f.Driver || have.Driver == "" && have.Name != f.Name || have.Class != f.Class {
			continue
		}
		have.covered += f.covered
		have.Busy += f.Busy
		have.Count += f.Count
		have.OverLimit += f.OverLimit
		have.MaxWait = max(have.MaxWait, f.MaxWait)
		have.Waited += f.Waited
		have.Held += f.Held
		have.MaxRun = max(have.MaxRun, f.MaxRun)
		if f.WorstRoutineTime > have.WorstRoutineTime {
			have.WorstRoutine, have.WorstRoutineTime = f.WorstRoutine, f.WorstRoutineTime
		}
		return
	}
	if len(*list) < maxListed {
		*list = append(*list, *f)
	}
}

func mergeNAPI(list *[]NAPI, f NAPI) {
	for i := range *list {
		have := &(*list)[i]
		if have.Device != f.Device {
			continue
		}
		have.Add(f)
		return
	}
	if len(*list) < maxListed {
		*list = append(*list, f)
	}
}

func (n *NAPI) Add(o NAPI) {
	n.covered += o.covered
	n.Polls += o.Polls
	n.Packets += o.Packets
	n.Full += o.Full
	n.Threaded += o.Threaded
	n.maxPackets = max(n.maxPackets, o.maxPackets)
}

func (s *Softnet) add(o Softnet) {
	s.Covered += o.Covered
	s.Processed += o.Processed
	s.Dropped += o.Dropped
	s.Squeezed += o.Squeezed
	s.rps += o.rps
	s.most = max(s.most, o.most)
	s.FlowLimit += o.FlowLimit
}

func (t *CPUTimes) add(o CPUTimes) {
	t.Covered += o.Covered
	t.user += o.user
	t.system += o.system
	t.softirq += o.softirq
	t.IRQ += o.IRQ
	t.idle += o.idle
	t.Steal += o.Steal
}

// covered is the time that the second's or window's intervals cover.
func (c *CPUSecond) covered() time.Duration {
	d := max(c.Time.Covered, c.Softnet.Covered)
	for i := range c.Work {
		// Several routines of one driver cover the same interval once each.
		if c.Work[i].Driver == "" {
			d = max(d, c.Work[i].covered)
		}
	}
	return d
}

// Share is what part of the window d is, at most 1: runs that began before the
// window count in whole. The window's own length is given for streams in which
// an idle CPU sends nothing.
func (c *CPUSecond) Share(d time.Duration, window time.Duration) float64 {
	covered := c.covered()
	if covered == 0 {
		covered = window
	}
	return min(Ratio(float64(d), float64(covered)), 1)
}

// Deferred is the time spent in deferred work of all kinds.
func (c *CPUSecond) Deferred() time.Duration {
	var d time.Duration
	for i := range c.Work {
		d += c.Work[i].Busy
	}
	return d
}

// Top returns the busiest deferred work, nil when there is none.
func (c *CPUSecond) Top() *Work {
	var best *Work
	for i := range c.Work {
		if f := &c.Work[i]; best == nil || f.Busy > best.Busy || f.Busy == best.Busy && f.Label() < best.Label() {
			best = f
		}
	}
	return best
}

// Vector returns the facts of one softirq vector, nil when it did not run.
func (c *CPUSecond) Vector(name string) *Work {
	for i := range c.Work {
		if c.Work[i].Class == model.ClassSoftirq && c.Work[i].Name == name {
			return &c.Work[i]
		}
	}
	return nil
}

func (d *Device) sumUp(slots []int) {
	d.Sum = DeviceSecond{}
	for _, i := range slots {
		s := &d.Seconds[i]
		d.Sum.Packets += s.Packets
		d.Sum.TXPackets += s.TXPackets
		d.Sum.Ring += s.Ring
		d.Sum.RingTX += s.RingTX
		d.Sum.Device += s.Device
		d.Sum.rxDropped += s.rxDropped
		d.Sum.rxErrs += s.rxErrs
		d.Sum.active = d.Sum.active || s.active
		for _, r := range s.RingReasons {
			d.Sum.RingReasons = AddReason(d.Sum.RingReasons, r)
		}
		for _, r := range s.RingTXReasons {
			d.Sum.RingTXReasons = AddReason(d.Sum.RingTXReasons, r)
		}
		for _, r := range s.DeviceReasons {
			d.Sum.DeviceReasons = AddReason(d.Sum.DeviceReasons, r)
		}
	}
}

func (s *Socket) sumUp(slots []int) {
	s.Sum = socketSecond{}
	for _, i := range slots {
		o := &s.Seconds[i]
		s.Sum.dropped += o.dropped
		s.Sum.queueDropped += o.queueDropped
		s.Sum.elsewhere += o.elsewhere
		s.Sum.Readings += o.Readings
		s.Sum.Full += o.Full
		s.Sum.MaxIdle = max(s.Sum.MaxIdle, o.MaxIdle)
		for _, c := range o.CPUs {
			s.Sum.CPUs = addCPU(s.Sum.CPUs, c.CPU, c.Count)
		}
	}
}

// Ratio returns a/b, 0 when b is 0.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func UserShare(c *CPUSecond) float64 { return Ratio(float64(c.Time.user), float64(c.Time.Covered)) }

// TaskShare is the share of a CPU's time that tasks had, in user code and in the
// kernel, 0 when its times are not known.
func TaskShare(c *CPUSecond) float64 {
	return Ratio(float64(c.Time.user+c.Time.system), float64(c.Time.Covered))
}

// IRQShare is the share of a CPU's time in hard interrupts: as the kernel accounts it, or as the handlers were seen to
// run, whichever is more. Kernels that do not account it say 0.
func IRQShare(c *CPUSecond, window time.Duration) float64 {
	var busy time.Duration
	for i := range c.IRQs {
		busy += c.IRQs[i].Busy
	}
	return max(Ratio(float64(c.Time.IRQ), float64(c.Time.Covered)), c.Share(busy, window))
}

// IdleShare is the CPU's idle share, 0 when its times are not known.
func IdleShare(c *CPUSecond) float64 { return Ratio(float64(c.Time.idle), float64(c.Time.Covered)) }

// BusyShare is the part of the window in which the CPU was not idle; without
// its times, the part spent in deferred work.
func (c *CPUSecond) BusyShare(window time.Duration) float64 {
	if c.Time.Covered > 0 {
		return 1 - IdleShare(c)
	}
	return c.Share(c.Deferred(), window)
}

// Clone copies what a second holds.
func (c *CPUSecond) Clone() CPUSecond {
	out := *c
	out.Work = append([]Work(nil), c.Work...)
	out.IRQs = append([]Work(nil), c.IRQs...)
	out.NAPI = append([]NAPI(nil), c.NAPI...)
	out.Late = append([]Run(nil), c.Late...)
	out.Long = append([]Run(nil), c.Long...)
	return out
}

// Printable makes a name from a traced host fit for a sentence: control characters
// become U+FFFD.
func Printable(name string) string {
	if strings.IndexFunc(name, unicode.IsControl) < 0 {
		return name
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

// FullShare is the share of the polls that used their whole budget.
func (n *NAPI) FullShare() float64 { return Ratio(float64(n.Full), float64(n.Polls)) }

// StoppedReading says that the program of a socket has taken nothing out of a
// full queue for so long that it does not read any more.
func (w *Fold) StoppedReading(s *Socket) bool {
	return s.Sum.MaxIdle > 0 && s.Last.Idle >= w.limits.StoppedIdle &&
		Ratio(float64(s.Last.QueuedBytes), float64(s.Last.LimitBytes)) >= w.limits.FullShare
}

// DropsSince returns how many packets a socket's queue has dropped in the last d
// before the tick being judged, in whole seconds, MaxWindow at most.
func (w *Fold) DropsSince(s *Socket, d time.Duration) (n uint64) {
	for i := range min(int((d+time.Second-1)/time.Second), MaxWindow) {
		n += s.Seconds[(w.Slot-i+MaxWindow)%MaxWindow].Drops()
	}
	return n
}

// RestTime is how long a closed TCP port rests where the stream does not say.
func (w *Fold) RestTime() time.Duration {
	if w.Windows() {
		return w.limits.RestWindows
	}
	return w.limits.RestLinux
}

// BusyCPU is how busy a CPU was, as a share of its time.
type BusyCPU struct {
	ID   int32
	Busy float64
}

// PoolKey identifies a pool of ports.
type PoolKey = state.PoolKey
