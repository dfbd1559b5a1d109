package detect

import (
	"time"

	"lostbeat/model"
)

// starvation finds deferred work (softirqs, DPCs) that starves others: a CPU
// that spends its time in it, and a victim that was delayed or lost. Neither
// alone is a fault.
type starvation struct {
	settings StarvationSettings
	cases    tracker[starved]
	long     tracker[longWork]
}

// confirmStarvation is the number of ticks in a row that must agree.
const confirmStarvation = 2

func newStarvation(s Settings) detector {
	d := &starvation{
		s.Starvation,
		newTracker[starved]("dpc-starvation", s.Lifecycle),
		newTracker[longWork]("dpc-starvation", s.Lifecycle),
	}
	d.long.instant = true
	return d
}

// pattern is the way in which deferred work starves its victims.
type pattern int

const (
	// saturated: the CPU spends its time in one vector.
	saturated pattern = iota
	// crowded: the CPU has no idle time, and one vector is the largest user of it.
	crowded
	// budgeted: the vector stops early with work left, again and again.
	budgeted
	// blocked: single long runs of one vector delay the others.
	blocked
	// threaded: a NAPI thread cannot keep up while the softirqs look idle.
	threaded
	// unproven: a CPU that is busy with DPCs in a capture that shows no loss; flows that fell silent may be its victims.
	unproven
)

// starved is what is known about one starved CPU or NAPI thread.
type starved struct {
	pattern pattern
	cpu     int32
	// look is what the fault looked like: that of the pattern seen in most
	// windows. What remains of a fault that ends is not told in its place.
	look
	looks [unproven + 1]look
	// device is the device whose packets it handles, drops what was dropped at backlogs since the start.
	device  deviceKey
	dropped uint64
	// base are the CPU's totals when it began.
	baseDropped, baseProcessed, baseSqueezed uint64
	processed, squeezed                      uint64
	// late are the victims' waits.
	late      uint64
	worstLate singleRun
	// victims are sockets that lost packets on this CPU.
	victims []victim
	// silences are those of regular flows that this CPU handled until then.
	silences []hush
	// regular is how many of those flows there were.
	regular int
	// deviceDrops counts packets that the device lost because of it.
	deviceDrops uint64
	deviceBase  uint64
	// napi are a NAPI thread's polls since the fault began, worstDrops what was
	// lost in the window that look tells of.
	napi       napiFacts
	worstDrops uint64
}

// look is what a fault looked like in the windows in which it showed one pattern.
type look struct {
	// windows is their number, shares the sum of the culprit's shares of them.
	windows int
	shares  float64
	// worstShare is the largest share, and work and facts are the culprit and
	// its CPU in the last window that came close to it, others the other CPUs.
	worstShare float64
	work       workFacts
	facts      cpuSecond
	others     []otherCPU
}

// share is the culprit's mean share of its CPU.
func (l *look) share() float64 { return ratio(l.shares, float64(l.windows)) }

// nearWorst is the part of the largest share from which a window describes the fault.
const nearWorst = 0.9

// add notes a window that showed pattern p, and takes the look of the pattern
// seen most often.
func (data *starved) add(p pattern, share float64, top *workFacts, facts *cpuSecond, others []otherCPU) {
	l := &data.looks[p]
	l.windows++
	l.shares += share
	l.worstShare = max(l.worstShare, share)
	if share >= nearWorst*l.worstShare {
		l.work, l.facts, l.others = *top, facts.clone(), others
	}
	data.pattern = p
	for i := range data.looks {
		if data.looks[i].windows > data.looks[data.pattern].windows {
			data.pattern = pattern(i)
		}
	}
	data.look = data.looks[data.pattern]
}

type victim struct {
	socket *socketFacts
	base   uint64
}

// otherCPU is how busy another CPU was.
type otherCPU struct {
	id   int32
	busy float64
}

func (d *starvation) tick(w *world, emit func(model.Finding)) {
	for _, c := range w.cpuList() {
		d.judgeCPU(w, c)
	}
	d.judgeThreads(w)
	d.judgeLong(w)
	d.settleLong(w, emit)
	d.cases.settle(w, confirmStarvation, emit, func(in *incident[starved]) model.Finding { return d.describe(w, in) })
}

func (d *starvation) finish(w *world, emit func(model.Finding)) {
	d.flushLong(w, emit)
	d.cases.flush(w, emit, func(in *incident[starved]) model.Finding { return d.describe(w, in) })
}

// judgeCPU decides whether deferred work on one CPU starves others.
func (d *starvation) judgeCPU(w *world, c *cpuFacts) {
	s := d.settings
	sum := &c.sum
	top := sum.top()
	if top == nil {
		return
	}
	window := time.Duration(w.windowSeconds()) * time.Second
	total, share := sum.share(sum.deferred(), window), sum.share(top.busy, window)

	drops := sum.softnet.dropped
	lossy := drops >= s.MinDrops && ratio(float64(drops), float64(drops+sum.softnet.processed)) >= s.DropShare
	deviceDrops := d.deviceDropsOn(w, c)
	lossy = lossy || deviceDrops >= s.MinDrops && share >= s.BusyShare
	late, worst, blocker := d.lateWaits(c, top)
	delayed := late >= s.LateCount && !d.stolen(sum)

	key := "cpu" + itoa(c.id)
	p, ok := saturated, false
	switch {
	case delayed && !lossy && blocker != nil && blocker.maxRun >= s.LateWait.Std():
		// One run alone was long enough to make others late. Late waits behind
		// many shorter runs are what a loaded CPU shows without a fault.
		p, ok = blocked, true
		top, share = blocker, sum.share(blocker.busy, window)
	case (lossy || delayed) && total >= s.BusyShare && share >= s.SharedBusyShare:
		ok = true
		if d.squeezedEarly(sum, top) {
			p = budgeted
		}
	case drops >= s.MinDrops && d.squeezedEarly(sum, sum.vector("NET_RX")):
		p, ok = budgeted, true
		// NET_RX gets so little done that another vector may be the busiest.
		top = sum.vector("NET_RX")
		share = sum.share(top.busy, window)
	case lossy && share >= s.SharedBusyShare && idleShare(sum) < 0.1 && share >= userShare(sum):
		p, ok = crowded, true
	case w.windows() && total >= s.BusyShare && !isSoftirq(top):
		p, ok = unproven, true
	}
	var in *incident[starved]
	switch {
	case ok:
		fresh := d.cases.incidents[key] == nil
		in = d.cases.raise(w, key, w.firstSecond(func(slot int) bool { return d.suffers(c, &c.seconds[slot]) }))
		if fresh {
			in.data = starved{
				cpu:           c.id,
				late:          late - d.lateIn(c, c.seconds[w.slot].late),
				baseDropped:   c.dropped - drops,
				baseProcessed: c.processed - sum.softnet.processed,
				baseSqueezed:  c.squeezed - sum.softnet.squeezed,
			}
		}
	case total >= s.ClearShare && (drops > 0 || late > 0) || drops >= s.MinDrops:
		in = d.cases.keep(w, key)
	}
	if in == nil {
		return
	}
	data := &in.data
	if ok {
		data.add(p, share, top, sum, d.otherCPUs(w, c.id))
		if device := d.deviceOf(w, c); device.name != "" {
			data.device = device
		}
	}
	data.dropped, data.processed, data.squeezed = c.dropped-data.baseDropped, c.processed-data.baseProcessed, c.squeezed-data.baseSqueezed
	data.deviceDrops += d.newDeviceDrops(w, c, share)
	// The window slides: count each second's late waits once.
	data.late += d.lateIn(c, c.seconds[w.slot].late)
	if worst.wait > data.worstLate.wait {
		data.worstLate = worst
	}
	d.collectVictims(w, c, data)
	if data.pattern == unproven {
		regular, silent := w.flowsOn(c.id, in.start.Add(-time.Second))
		data.regular = max(data.regular, regular)
		data.silences = addHushes(data.silences, silent)
	}
}

// suffers says that a second of a CPU shows work that is lost or late, or a
// CPU that is busy with deferred work.
func (d *starvation) suffers(c *cpuFacts, s *cpuSecond) bool {
	return s.softnet.dropped > 0 || d.lateIn(c, s.late) > 0 || s.share(s.deferred(), time.Second) >= d.settings.ClearShare
}

// lateWaits counts the waits of other work than top on this CPU, and names the
// work whose long runs they waited for.
func (d *starvation) lateWaits(c *cpuFacts, top *workFacts) (n uint64, worst singleRun, blocker *workFacts) {
	blamed := make([]uint64, len(c.sum.work))
	for _, l := range c.sum.late {
		blame := d.blockerOf(c, l)
		if blame < 0 {
			continue
		}
		blamed[blame]++
		if n++; l.wait > worst.wait {
			worst = l
		}
	}
	var most uint64
	for i, count := range blamed {
		if count > most {
			most, blocker = count, &c.sum.work[i]
		}
	}
	if most < d.settings.LateCount {
		blocker = nil
	}
	return n, worst, blocker
}

// lateIn counts the runs that waited for other work that is known.
func (d *starvation) lateIn(c *cpuFacts, runs []singleRun) (n uint64) {
	for _, l := range runs {
		if d.blockerOf(c, l) >= 0 {
			n++
		}
	}
	return n
}

// blockerOf returns which of the CPU's deferred work ran while l waited, -1
// when it is not known or is l's own.
func (d *starvation) blockerOf(c *cpuFacts, l singleRun) int {
	from, to := l.at.Add(-l.run-l.wait), l.at.Add(-l.run)
	name := ""
	var longest time.Duration
	for _, g := range c.sum.long {
		overlap := min(to, g.at).Sub(max(from, g.at.Add(-g.run)))
		if g.name != l.name && overlap > longest && overlap >= l.wait/2 {
			name, longest = g.name, overlap
			if g.driver != "" {
				name = g.driver
			}
		}
	}
	if name == "" {
		name = l.before
	}
	for i := range c.sum.work {
		if f := &c.sum.work[i]; f.name != l.name && (f.name == name || f.driver != "" && f.driver == name) {
			return i
		}
	}
	return -1
}

// stolen says that the hypervisor took so much of the CPU that delays on it prove nothing.
func (d *starvation) stolen(c *cpuSecond) bool {
	return ratio(float64(c.time.steal), float64(c.time.covered)) > d.settings.MaxSteal
}

// squeezedEarly says that NET_RX stops with work left after few packets and
// well before its time is up: its budget is too small, rather than its packets
// too dear.
func (d *starvation) squeezedEarly(c *cpuSecond, top *workFacts) bool {
	if top == nil || top.name != "NET_RX" || top.count == 0 || c.softnet.processed == 0 {
		return false
	}
	return float64(c.softnet.squeezed) >= d.settings.SqueezeShare*float64(top.count) &&
		c.softnet.processed/top.count < usualBudget/4 && top.busy/time.Duration(top.count) < usualBudgetTime/4
}

// Defaults of net.core.netdev_budget, in packets, and netdev_budget_usecs.
const (
	usualBudget     = 300
	usualBudgetTime = 2 * time.Millisecond
)

// packetCost is the time that NET_RX spends on one packet.
func packetCost(c *cpuSecond, top *workFacts) time.Duration {
	if top.name != "NET_RX" || c.softnet.processed == 0 {
		return 0
	}
	return top.busy / time.Duration(c.softnet.processed)
}

func isSoftirq(f *workFacts) bool { return f.class == model.ClassSoftirq }

func userShare(c *cpuSecond) float64 { return ratio(float64(c.time.user), float64(c.time.covered)) }

// idleShare is the CPU's idle share, 0 when its times are not known.
func idleShare(c *cpuSecond) float64 { return ratio(float64(c.time.idle), float64(c.time.covered)) }

// busyShare is the part of the window in which the CPU was not idle; without
// its times, the part spent in deferred work.
func (c *cpuSecond) busyShare(window time.Duration) float64 {
	if c.time.covered > 0 {
		return 1 - idleShare(c)
	}
	return c.share(c.deferred(), window)
}

func (d *starvation) otherCPUs(w *world, self int32) []otherCPU {
	var others []otherCPU
	window := time.Duration(w.windowSeconds()) * time.Second
	for _, c := range w.cpuList() {
		if c.id != self {
			others = append(others, otherCPU{c.id, c.sum.busyShare(window)})
		}
	}
	return others
}

// deviceOf returns the device whose packets the CPU handles: the one that
// loses most at backlogs, else the one polled most here, else the busiest.
func (d *starvation) deviceOf(w *world, c *cpuFacts) deviceKey {
	var sums []deviceCount
	if c.sum.softnet.dropped > 0 {
		for _, slot := range w.recent() {
			for _, dc := range w.backlog[slot] {
				sums = addDevice(sums, dc.device, dc.count)
			}
		}
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	for _, n := range c.sum.napi {
		if n.device.ifindex != 0 {
			sums = addDevice(sums, n.device, n.packets)
		}
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	return deviceKey{}
}

func mostOf(list []deviceCount) (best deviceKey, ok bool) {
	var most uint64
	for _, dc := range list {
		if dc.device.name != "" && (dc.count > most || dc.count == most && ok && compareDevices(dc.device, best) < 0) {
			best, most, ok = dc.device, dc.count, true
		}
	}
	return best, ok
}

// deviceDropsOn counts packets lost in rings of devices that this CPU polls,
// or, where polls are not seen (Windows), of any device.
func (d *starvation) deviceDropsOn(w *world, c *cpuFacts) uint64 {
	var n uint64
	for _, f := range w.devices {
		if polledOn(w, c, f.key) {
			n += f.sum.ring
		}
	}
	return n
}

func polledOn(w *world, c *cpuFacts, k deviceKey) bool {
	if w.windows() {
		return true
	}
	for _, n := range c.sum.napi {
		if n.device == k && n.polls > n.threaded {
			return true
		}
	}
	return false
}

// newDeviceDrops counts this second's ring drops that the CPU's load explains,
// and marks their devices as explained.
func (d *starvation) newDeviceDrops(w *world, c *cpuFacts, share float64) uint64 {
	var n uint64
	for k, f := range w.devices {
		if f.sum.ring > 0 && share >= d.settings.BusyShare && polledOn(w, c, k) {
			n += f.seconds[w.slot].ring
			w.explained[k] = true
		}
	}
	return n
}

// collectVictims notes the sockets that lose packets on this CPU. Their
// programs cannot keep up because the CPU cannot; a program that has stopped
// reading is its own fault.
func (d *starvation) collectVictims(w *world, c *cpuFacts, data *starved) {
	for _, s := range w.socketList() {
		drops := s.sum.drops()
		if drops == 0 || stoppedReading(w, s) {
			continue
		}
		var here, all uint64
		for _, cc := range s.sum.cpus {
			all += cc.count
			if cc.cpu == c.id {
				here += cc.count
			}
		}
		if here*2 < all {
			continue
		}
		if data.pattern != blocked {
			w.explained[s.key] = true
		}
		known := false
		for _, v := range data.victims {
			known = known || v.socket == s
		}
		if !known && len(data.victims) < 16 {
			data.victims = append(data.victims, victim{s, s.total - min(s.total, drops)})
		}
	}
}

func (c *cpuSecond) clone() cpuSecond {
	out := *c
	out.work = append([]workFacts(nil), c.work...)
	out.irqs = append([]workFacts(nil), c.irqs...)
	out.napi = append([]napiFacts(nil), c.napi...)
	out.late = append([]singleRun(nil), c.late...)
	out.long = append([]singleRun(nil), c.long...)
	return out
}
