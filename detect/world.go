package detect

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// maxWindow is the longest window, in seconds, over which facts are summed.
const maxWindow = 10

// maxLateRuns bounds the single runs kept for one CPU and second.
const maxLateRuns = 64

// world is what the detectors know: the state of the host and, second by
// second, what happened. A second is a whole second of event time; an interval
// belongs to the second in which it ended.
type world struct {
	settings Settings
	state    *state.State
	// now is the tick being judged; slot the second being filled.
	now  model.Time
	slot int
	// final says that the tick is the stream's last, whose second may be cut
	// short; partial that less than half of it has been seen. A partial one tells
	// more of a fault that is known, and confirms none.
	final, partial bool
	// warm says that something other than a keyframe has been seen, so that keyframes say nothing new.
	warm bool

	cpus    map[int32]*cpuFacts
	devices map[deviceKey]*deviceFacts
	sockets map[socketKey]*socketFacts
	flows   map[flowKey]*flowFacts
	// backlog counts packets dropped at full backlogs, by device.
	backlog [maxWindow][]deviceCount
	ports   *portFacts
	series  *counterFacts
	loss    lossFacts
	// explained holds the devices and sockets whose drops, and the pools and destinations whose refusals, a finding of
	// this tick already explains.
	explained map[any]bool
}

func newWorld(s Settings) *world {
	return &world{
		settings:  s,
		state:     state.New(),
		cpus:      make(map[int32]*cpuFacts),
		devices:   make(map[deviceKey]*deviceFacts),
		sockets:   make(map[socketKey]*socketFacts),
		flows:     make(map[flowKey]*flowFacts),
		ports:     newPortFacts(),
		series:    newCounterFacts(int(s.Counters.MaxSamples)),
		explained: make(map[any]bool),
	}
}

// deviceKey identifies a device: interface indexes repeat between network
// namespaces, so the name is part of it.
type deviceKey struct {
	ifindex int64
	name    string
}

func compareDevices(a, b deviceKey) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.ifindex, b.ifindex))
}

type deviceCount struct {
	device deviceKey
	count  uint64
}

func addDevice(list []deviceCount, d deviceKey, n uint64) []deviceCount {
	for i := range list {
		if list[i].device == d {
			list[i].count += n
			return list
		}
	}
	return append(list, deviceCount{d, n})
}

// cpuFacts is one CPU, second by second.
type cpuFacts struct {
	id      int32
	seconds [maxWindow]cpuSecond
	// sum is the window that ends at the tick being judged.
	sum cpuSecond
	// totals since the stream began; differences are what happened during an incident.
	dropped, processed, squeezed uint64
}

// cpuSecond is what happened on one CPU in one second or window.
type cpuSecond struct {
	// work is deferred work, by vector or driver, and interrupts, by line.
	work, irqs []workFacts
	softnet    softnetFacts
	napi       []napiFacts
	time       timeFacts
	late, long []singleRun
	// ksoftirqd is how its thread was scheduled, where that is traced.
	ksoftirqd threadFacts
}

// threadFacts is how one kernel thread was scheduled.
type threadFacts struct {
	maxWait, run time.Duration
	blocker      string
}

func (t *threadFacts) add(o threadFacts) {
	if o.maxWait > t.maxWait {
		t.maxWait, t.blocker = o.maxWait, o.blocker
	}
	t.run += o.run
}

// workFacts is one vector's (Linux) or driver's (Windows) deferred work, or one interrupt line.
type workFacts struct {
	class            model.Class
	name, driver     string
	covered, busy    time.Duration
	count            uint64
	maxWait, maxRun  time.Duration
	late, overLimit  uint64
	worstRoutine     string
	worstRoutineTime time.Duration
}

// label is the name under which the work is reported.
func (f *workFacts) label() string {
	if f.driver != "" {
		return clean(f.driver)
	}
	return clean(f.name)
}

type softnetFacts struct {
	covered                                 time.Duration
	processed, dropped, squeezed, rps, most uint64
}

type napiFacts struct {
	device                         deviceKey
	covered                        time.Duration
	polls, packets, full, threaded uint64
	maxPackets                     uint64
}

type timeFacts struct{ covered, user, system, softirq, irq, idle, steal time.Duration }

// singleRun is one run of deferred work that waited or ran for long.
type singleRun struct {
	at           model.Time
	name, driver string
	wait, run    time.Duration
	before, task string
}

// deviceFacts is one device, second by second.
type deviceFacts struct {
	key     deviceKey
	seconds [maxWindow]deviceSecond
	sum     deviceSecond
	// ringTotal and deviceTotal count drops since the stream began.
	ringTotal, deviceTotal uint64
}

type deviceSecond struct {
	packets           uint64
	ring, device      uint64
	ringReasons       []reasonCount
	deviceReasons     []reasonCount
	active            bool
	rxDropped, rxErrs uint64
}

// drops is what the device lost.
func (s *deviceSecond) drops() uint64 { return s.ring + s.device }

// reasonCount counts drops by reason and queue or location.
type reasonCount struct {
	reason, location string
	queue            int64
	count            uint64
}

func addReason(list []reasonCount, r reasonCount) []reasonCount {
	for i := range list {
		if list[i].reason == r.reason && list[i].queue == r.queue && list[i].location == r.location {
			list[i].count += r.count
			return list
		}
	}
	return append(list, r)
}

// socketKey identifies a socket: its cookie where there is one.
type socketKey struct {
	cookie   uint64
	protocol model.Protocol
	port     uint16
	pid      int32
}

func compareSockets(a, b socketKey) int {
	return cmp.Or(
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.port, b.port),
		cmp.Compare(a.pid, b.pid),
		cmp.Compare(a.cookie, b.cookie),
	)
}

// socketFacts is one socket's receive queue, second by second.
type socketFacts struct {
	key      socketKey
	protocol model.Protocol
	port     uint16
	pid      int32
	process  string
	seconds  [maxWindow]socketSecond
	sum      socketSecond
	// total counts drops at the queue in the seconds that are over; seen is
	// when there last was a sign of the socket.
	total uint64
	seen  model.Time
	// last is the last reading of the queue.
	last model.SocketQueue
}

type socketSecond struct {
	// dropped comes from drop events at the queue, queueDropped from the
	// socket's own counter: the same packets, but for those that the socket
	// lost elsewhere, on their way out for example.
	dropped, queueDropped, elsewhere uint64
	// readings of the queue, and how many of them found it full.
	readings, full uint64
	maxIdle        time.Duration
	cpus           []cpuCount
}

func (s *socketSecond) drops() uint64 {
	return max(s.dropped, s.queueDropped-min(s.queueDropped, s.elsewhere))
}

type cpuCount struct {
	cpu   int32
	count uint64
}

func addCPU(list []cpuCount, cpu int32, n uint64) []cpuCount {
	for i := range list {
		if list[i].cpu == cpu {
			list[i].count += n
			return list
		}
	}
	return append(list, cpuCount{cpu, n})
}

// lossFacts remembers when events were lost.
type lossFacts struct {
	total  uint64
	events []lossEvent
}

type lossEvent struct {
	at   model.Time
	lost uint64
}

func (l *lossFacts) add(at model.Time, lost uint64) {
	l.total += lost
	if n := len(l.events); n > 0 && at.Sub(l.events[n-1].at) < time.Second {
		l.events[n-1].lost += lost
		return
	}
	if len(l.events) == 256 {
		l.events = slices.Delete(l.events, 0, 128)
	}
	l.events = append(l.events, lossEvent{at, lost})
}

// before returns how many events had been lost before t.
func (l *lossFacts) before(t model.Time) uint64 {
	n := l.total
	for i := len(l.events) - 1; i >= 0 && l.events[i].at >= t; i-- {
		n -= l.events[i].lost
	}
	return n
}

// lastAt returns when events were last lost, 0 never.
func (l *lossFacts) lastAt() model.Time {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].at
}

// beginTick sums the window that ends at now.
func (w *world) beginTick(now model.Time) {
	w.now = now
	clear(w.explained)
	seconds := w.recent()
	for _, c := range w.cpus {
		c.sumUp(seconds)
	}
	for _, d := range w.devices {
		d.sumUp(seconds)
	}
	for _, s := range w.sockets {
		s.total += s.seconds[w.slot].drops()
		s.sumUp(seconds)
	}
	w.ports.beginTick(now, w.state, !w.partial)
}

// endTick opens the next second.
func (w *world) endTick() {
	w.slot = (w.slot + 1) % maxWindow
	for _, c := range w.cpus {
		c.seconds[w.slot].clear()
	}
	for _, d := range w.devices {
		d.seconds[w.slot] = deviceSecond{}
	}
	for k, s := range w.sockets {
		s.seconds[w.slot] = socketSecond{}
		if w.now.Sub(s.seen) > 2*time.Minute {
			delete(w.sockets, k)
		}
	}
	w.backlog[w.slot] = nil
	w.forgetFlows()
}

// windowSeconds returns the length of the window in seconds.
func (w *world) windowSeconds() int {
	return min(max(int(w.settings.Lifecycle.Window.Std()/time.Second), 1), maxWindow)
}

// recent returns the slots of the window, oldest first.
func (w *world) recent() []int {
	n := w.windowSeconds()
	slots := make([]int, n)
	for i := range slots {
		slots[i] = (w.slot - n + 1 + i + maxWindow) % maxWindow
	}
	return slots
}

// secondStart returns when the second that is being judged began.
func (w *world) secondStart() model.Time {
	return (w.now - 1) / tickEvery * tickEvery
}

// firstSecond returns when the first second of the window that matches began;
// the last one where none does.
func (w *world) firstSecond(match func(slot int) bool) model.Time {
	slots := w.recent()
	for i, slot := range slots {
		if match(slot) {
			return w.secondStart() - model.Time(len(slots)-1-i)*tickEvery
		}
	}
	return w.secondStart()
}

func (w *world) cpu(id int32) *cpuFacts {
	c := w.cpus[id]
	if c == nil {
		c = &cpuFacts{id: id}
		w.cpus[id] = c
	}
	return c
}

// cpuList returns the CPUs by number.
func (w *world) cpuList() []*cpuFacts {
	list := make([]*cpuFacts, 0, len(w.cpus))
	for _, id := range slices.Sorted(maps.Keys(w.cpus)) {
		list = append(list, w.cpus[id])
	}
	return list
}

func (w *world) device(k deviceKey) *deviceFacts {
	if k.name == "" {
		k.name = w.deviceName(k.ifindex)
	}
	d := w.devices[k]
	if d == nil {
		d = &deviceFacts{key: k}
		w.devices[k] = d
	}
	return d
}

// deviceName returns the name of a device of which only the index is known,
// when no other namespace has a device of that index.
func (w *world) deviceName(ifindex int64) string {
	name := ""
	for k, d := range w.state.Devices {
		if k.Ifindex == ifindex {
			if name != "" && name != d.Device {
				return ""
			}
			name = d.Device
		}
	}
	return name
}

// deviceConfig returns what is known about a device's rings and queues.
func (w *world) deviceConfig(k deviceKey) (model.DeviceConfig, bool) {
	var found model.DeviceConfig
	ok := false
	for dk, d := range w.state.Devices {
		if d.Device == k.name && (k.ifindex == 0 || dk.Ifindex == k.ifindex) && (!ok || dk.Netns < found.Netns) {
			found, ok = d, true
		}
	}
	return found, ok
}

// receiveQueues returns a device's receive queues by number.
func (w *world) receiveQueues(k deviceKey) []model.DeviceQueue {
	var queues []model.DeviceQueue
	for qk, q := range w.state.Queues {
		if qk.Device == k.name && (k.ifindex == 0 || qk.Ifindex == k.ifindex) && q.Direction == model.DirectionRX {
			queues = append(queues, q)
		}
	}
	slices.SortFunc(queues, func(a, b model.DeviceQueue) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Ifindex, b.Ifindex))
	})
	return queues
}

// deviceList returns the devices with facts, by name.
func (w *world) deviceList() []*deviceFacts {
	list := make([]*deviceFacts, 0, len(w.devices))
	for _, k := range slices.SortedFunc(maps.Keys(w.devices), compareDevices) {
		list = append(list, w.devices[k])
	}
	return list
}

// socketList returns the sockets with facts, in a fixed order.
func (w *world) socketList() []*socketFacts {
	list := make([]*socketFacts, 0, len(w.sockets))
	for _, k := range slices.SortedFunc(maps.Keys(w.sockets), compareSockets) {
		list = append(list, w.sockets[k])
	}
	return list
}

// isVeth says that a device is one end of a veth pair.
func (w *world) isVeth(k deviceKey) bool {
	config, ok := w.deviceConfig(k)
	return ok && config.Driver == "veth"
}

// windows reports whether the stream is of a Windows host.
func (w *world) windows() bool {
	return strings.HasPrefix(strings.ToLower(w.state.Meta["os"]), "windows")
}

// cpuCountKnown returns the number of CPUs of the host, 0 unknown.
func (w *world) cpuCountKnown() int {
	if n, err := strconv.Atoi(w.state.Meta["cpus"]); err == nil && n > 0 {
		return n
	}
	return len(w.cpus)
}

func (c *cpuSecond) clear() {
	*c = cpuSecond{work: c.work[:0], irqs: c.irqs[:0], napi: c.napi[:0], late: c.late[:0], long: c.long[:0]}
}

func (c *cpuFacts) sumUp(slots []int) {
	sum := &c.sum
	sum.clear()
	for _, i := range slots {
		s := &c.seconds[i]
		for j := range s.work {
			mergeWork(&sum.work, &s.work[j])
		}
		for j := range s.irqs {
			mergeWork(&sum.irqs, &s.irqs[j])
		}
		for _, n := range s.napi {
			mergeNAPI(&sum.napi, n)
		}
		sum.softnet.add(s.softnet)
		sum.time.add(s.time)
		sum.ksoftirqd.add(s.ksoftirqd)
		sum.late = append(sum.late, s.late...)
		sum.long = append(sum.long, s.long...)
	}
}

func mergeWork(list *[]workFacts, f *workFacts) {
	for i := range *list {
		have := &(*list)[i]
		if have.driver != f.driver || have.driver == "" && have.name != f.name || have.class != f.class {
			continue
		}
		have.covered += f.covered
		have.busy += f.busy
		have.count += f.count
		have.late += f.late
		have.overLimit += f.overLimit
		have.maxWait = max(have.maxWait, f.maxWait)
		have.maxRun = max(have.maxRun, f.maxRun)
		if f.worstRoutineTime > have.worstRoutineTime {
			have.worstRoutine, have.worstRoutineTime = f.worstRoutine, f.worstRoutineTime
		}
		return
	}
	*list = append(*list, *f)
}

func mergeNAPI(list *[]napiFacts, f napiFacts) {
	for i := range *list {
		have := &(*list)[i]
		if have.device != f.device {
			continue
		}
		have.add(f)
		return
	}
	*list = append(*list, f)
}

func (n *napiFacts) add(o napiFacts) {
	n.covered += o.covered
	n.polls += o.polls
	n.packets += o.packets
	n.full += o.full
	n.threaded += o.threaded
	n.maxPackets = max(n.maxPackets, o.maxPackets)
}

func (s *softnetFacts) add(o softnetFacts) {
	s.covered += o.covered
	s.processed += o.processed
	s.dropped += o.dropped
	s.squeezed += o.squeezed
	s.rps += o.rps
	s.most = max(s.most, o.most)
}

func (t *timeFacts) add(o timeFacts) {
	t.covered += o.covered
	t.user += o.user
	t.system += o.system
	t.softirq += o.softirq
	t.irq += o.irq
	t.idle += o.idle
	t.steal += o.steal
}

// covered is the time that the second's or window's intervals cover.
func (c *cpuSecond) covered() time.Duration {
	d := max(c.time.covered, c.softnet.covered)
	for i := range c.work {
		// Several routines of one driver cover the same interval once each.
		if c.work[i].driver == "" {
			d = max(d, c.work[i].covered)
		}
	}
	return d
}

// share is what part of the window d is, at most 1: runs that began before the
// window count in whole. The window's own length is given for streams in which
// an idle CPU sends nothing.
func (c *cpuSecond) share(d time.Duration, window time.Duration) float64 {
	covered := c.covered()
	if covered == 0 {
		covered = window
	}
	return min(ratio(float64(d), float64(covered)), 1)
}

// deferred is the time spent in deferred work of all kinds.
func (c *cpuSecond) deferred() time.Duration {
	var d time.Duration
	for i := range c.work {
		d += c.work[i].busy
	}
	return d
}

// top returns the busiest deferred work, nil when there is none.
func (c *cpuSecond) top() *workFacts {
	var best *workFacts
	for i := range c.work {
		if f := &c.work[i]; best == nil || f.busy > best.busy || f.busy == best.busy && f.label() < best.label() {
			best = f
		}
	}
	return best
}

// vector returns the facts of one softirq vector, nil when it did not run.
func (c *cpuSecond) vector(name string) *workFacts {
	for i := range c.work {
		if c.work[i].class == model.ClassSoftirq && c.work[i].name == name {
			return &c.work[i]
		}
	}
	return nil
}

func (d *deviceFacts) sumUp(slots []int) {
	d.sum = deviceSecond{}
	for _, i := range slots {
		s := &d.seconds[i]
		d.sum.packets += s.packets
		d.sum.ring += s.ring
		d.sum.device += s.device
		d.sum.rxDropped += s.rxDropped
		d.sum.rxErrs += s.rxErrs
		d.sum.active = d.sum.active || s.active
		for _, r := range s.ringReasons {
			d.sum.ringReasons = addReason(d.sum.ringReasons, r)
		}
		for _, r := range s.deviceReasons {
			d.sum.deviceReasons = addReason(d.sum.deviceReasons, r)
		}
	}
}

func (s *socketFacts) sumUp(slots []int) {
	s.sum = socketSecond{}
	for _, i := range slots {
		o := &s.seconds[i]
		s.sum.dropped += o.dropped
		s.sum.queueDropped += o.queueDropped
		s.sum.elsewhere += o.elsewhere
		s.sum.readings += o.readings
		s.sum.full += o.full
		s.sum.maxIdle = max(s.sum.maxIdle, o.maxIdle)
		for _, c := range o.cpus {
			s.sum.cpus = addCPU(s.sum.cpus, c.cpu, c.count)
		}
	}
}

// ratio returns a/b, 0 when b is 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
