package starvation

import (
	_ "embed"
	"lostbeat/detect"
	"lostbeat/fold"
	"time"

	"lostbeat/model"
)

// starvation finds CPUs whose deferred work (softirqs, DPCs) starves others or is
// starved itself, and says why a backlog overflows. It needs a victim: a busy CPU
// alone is no fault.
type starvation struct {
	settings Settings
	cases    detect.Cases[starved]
	long     detect.Cases[longWork]
	// asked is when detail was last asked for, by CPU.
	asked map[int32]model.Time
	// loads are how busy the CPUs are in the tick being judged; nil before anybody asks.
	loads *loads
}

// confirmStarvation is the number of ticks in a row that must agree.
const confirmStarvation = 2

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("starvation", doc, New, limits) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	d := &starvation{
		settings: s,
		cases:    detect.NewCases[starved](name, l),
		long:     detect.NewCases[longWork](name, l),
		asked:    make(map[int32]model.Time),
	}
	d.long.Instant = true
	d.cases.Quotes = true
	return d
}

// name is the detector's name in findings.
const name = "dpc-starvation"

func limits(s Settings, l *fold.Limits) {
	l.LateWait, l.LongRun, l.HeldWait = s.LateWait.Std(), s.LongRun.Std(), s.HeldWait.Std()
	l.DPCGuideline, l.ISRGuideline = s.DPCGuideline.Std(), s.ISRGuideline.Std()
	l.LeastSilence, l.SilentGaps = s.LeastSilence.Std(), s.SilentGaps
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
	// programs: tasks hold the CPU, and its softirqs get too little of it.
	programs
	// shallow: the backlog overflows though NET_RX has time to spare: it holds too few packets.
	shallow
	// limited: the flow limit drops the packets of the flows that fill the backlog.
	limited
	// burst: more packets came at once than NET_RX could handle.
	burst
	// overflowed: a backlog overflowed, and why is not known.
	overflowed
	// held: a real-time task, or kernel code, delays the softirqs, and nothing is lost.
	held
	// storm: hard interrupts take the CPU.
	storm
	patterns // their number
)

// isBacklog says that the pattern is a reason for the loss of packets at a backlog in single seconds.
func (p pattern) isBacklog() bool { return p >= programs && p <= overflowed }

// explainsSockets says that receive queues that overflow on the same CPU are victims.
func (p pattern) explainsSockets() bool {
	switch p {
	case saturated, crowded, budgeted, unproven, programs, storm:
		return true
	}
	return false
}

// starved is what is known about one starved CPU or NAPI thread.
type starved struct {
	pattern pattern
	cpu     int32
	// moments are what it looked like by pattern; look is the worst moment of the pattern under which most was lost.
	moments detect.Moments[pattern, moment]
	looks   [patterns]look
	look
	moment
	// lastLoss is the end of the last second in which packets were lost at the backlog, 0 none.
	lastLoss model.Time
	// device is the device whose packets it handles, drops what was dropped at backlogs since the start.
	device  fold.DeviceKey
	dropped uint64
	// base are the CPU's totals when it began.
	baseDropped, baseProcessed, baseSqueezed uint64
	processed, squeezed                      uint64
	// late are the victims' waits.
	late      uint64
	worstLate fold.Run
	// victims are sockets that lost packets on this CPU.
	victims []victim
	// silences are those of regular flows that this CPU handled until then.
	silences []hush
	// regular is how many of those flows there were.
	regular int
	// deviceDrops counts packets that the device lost because of it.
	deviceDrops uint64
	deviceBase  uint64
	// flowLimit counts packets that the flow limit dropped.
	flowLimit uint64
	// stacks are the kernel stacks of the CPU in the window with most samples, sched the scheduling of its ksoftirqd in
	// the window in which that waited longest.
	stacks fold.Stacks
	sched  fold.Scheduling
	// named is the task that had most of that time.
	named holder
	// settings are those of net.core as they were first read, or read in the second in which most was lost, so much.
	settings map[string]float64
	mostLost float64
	// napi are a NAPI thread's polls since the fault began, worstDrops what was
	// lost in the window that the moment shows.
	napi       fold.NAPI
	worstDrops uint64
}

// look is how much of its CPU the culprit took, over the windows of one pattern.
type look struct {
	// windows is their number, shares the sum of the culprit's shares of them, worstShare the largest.
	windows            int
	shares, worstShare float64
}

// share is the culprit's mean share of its CPU.
func (l *look) share() float64 { return fold.Ratio(l.shares, float64(l.windows)) }

// moment is what a fault looked like: the culprit, its CPU, and the other CPUs.
type moment struct {
	work   fold.Work
	facts  fold.CPUSecond
	others []fold.BusyCPU
	// holder is who held the softirqs back, where it is known.
	holder holder
}

// culprit is who kept the CPU from its softirqs: as seen in the worst moment, else as seen once detail had come.
func (data *starved) culprit() *holder {
	if data.holder.realTime() || data.pattern == held {
		return &data.holder
	}
	return &data.named
}

// note takes up a moment of a pattern in which so much was lost, and shows the
// pattern under which most was lost so far.
func (data *starved) note(p pattern, share, lost float64, m moment) {
	l := &data.looks[p]
	l.windows++
	l.shares += share
	l.worstShare = max(l.worstShare, share)
	data.moments.Note(p, lost, m)
	data.pattern, data.moment = data.moments.Worst()
	data.look = data.looks[data.pattern]
}

type victim struct {
	socket *fold.Socket
	base   uint64
}

// Judge implements detect.Detector.
func (d *starvation) Judge(w *detect.Tick) {
	d.loads = nil
	for _, c := range w.SortedCPUs() {
		d.judgeCPU(w, c)
	}
	d.judgeThreads(w)
	d.judgeLong(w)
}

// Report implements detect.Detector.
func (d *starvation) Report(w *detect.Tick, emit func(model.Finding)) {
	d.settleLong(w, emit)
	d.cases.Settle(w, confirmStarvation, emit, func(in *detect.Case[starved]) model.Finding { return d.describe(w, in) })
}

// Finish implements detect.Detector.
func (d *starvation) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.flushLong(w, emit)
	d.cases.Flush(w, emit, func(in *detect.Case[starved]) model.Finding { return d.describe(w, in) })
}

// suffers says that a second of a CPU shows work that is lost or late, or a
// CPU that is busy with deferred work or interrupts.
func (d *starvation) suffers(c *fold.CPU, s *fold.CPUSecond, p pattern) bool {
	if s.Softnet.Dropped > 0 || d.lateIn(c, s.Late) > 0 || s.Share(s.Deferred(), time.Second) >= d.settings.ClearShare {
		return true
	}
	switch p {
	case held:
		n, _, _ := heldWaits(s)
		return n > 0
	case storm:
		return fold.IRQShare(s, time.Second) >= d.settings.InterruptShare
	}
	return false
}

// lateWaits counts the waits for other work on this CPU, and names the
// work whose long runs they waited for.
func (d *starvation) lateWaits(c *fold.CPU) (n uint64, worst fold.Run, blocker *fold.Work) {
	blamed := make([]uint64, len(c.Sum.Work))
	for _, l := range c.Sum.Late {
		blame := d.blockerOf(c, l)
		if blame < 0 {
			continue
		}
		blamed[blame]++
		if n++; l.Wait > worst.Wait {
			worst = l
		}
	}
	var most uint64
	for i, count := range blamed {
		if count > most {
			most, blocker = count, &c.Sum.Work[i]
		}
	}
	if most < d.settings.LateCount {
		blocker = nil
	}
	return n, worst, blocker
}

// lateIn counts the runs that waited for other work that is known.
func (d *starvation) lateIn(c *fold.CPU, runs []fold.Run) (n uint64) {
	for _, l := range runs {
		if d.blockerOf(c, l) >= 0 {
			n++
		}
	}
	return n
}

// blockerOf returns which of the CPU's deferred work ran while l waited, -1
// when it is not known or is l's own.
func (d *starvation) blockerOf(c *fold.CPU, l fold.Run) int {
	from, to := l.At.Add(-l.Run-l.Wait), l.At.Add(-l.Run)
	name := ""
	var longest time.Duration
	for _, g := range c.Sum.Long {
		overlap := min(to, g.At).Sub(max(from, g.At.Add(-g.Run)))
		if g.Name != l.Name && overlap > longest && overlap >= l.Wait/2 {
			name, longest = g.Name, overlap
			if g.Driver != "" {
				name = g.Driver
			}
		}
	}
	if name == "" {
		name = l.Before
	}
	for i := range c.Sum.Work {
		if f := &c.Sum.Work[i]; f.Name != l.Name && (f.Name == name || f.Driver != "" && f.Driver == name) {
			return i
		}
	}
	return -1
}

// stolen says that the hypervisor took so much of the CPU that delays on it prove nothing.
func (d *starvation) stolen(c *fold.CPUSecond) bool {
	return fold.Ratio(float64(c.Time.Steal), float64(c.Time.Covered)) > d.settings.MaxSteal
}

// stoodStill says that a virtual CPU stood still for so much of the time that delays on it prove nothing, whether the
// hypervisor says so or not: QEMU without acceleration does not, and the kernel misses its ticks meanwhile. On other
// machines it misses them for long work with interrupts off, and does not count programs that run between two of them.
func (d *starvation) stoodStill(w *detect.Tick, c *fold.CPUSecond) bool {
	missing := fold.Ratio(float64(c.Time.Steal+c.Time.Unaccounted()), float64(c.Time.Covered))
	return d.stolen(c) || w.Emulated() && missing > d.settings.MaxSteal
}

// squeezedEarly says that NET_RX stops with work left after few packets and
// well before its time is up: its budget is too small, rather than its packets
// too expensive.
func (d *starvation) squeezedEarly(c *fold.CPUSecond, top *fold.Work) bool {
	if top == nil || top.Name != "NET_RX" || top.Count == 0 || c.Softnet.Processed == 0 {
		return false
	}
	return float64(c.Softnet.Squeezed) >= d.settings.SqueezeShare*float64(top.Count) &&
		c.Softnet.Processed/top.Count < usualBudget/4 && top.Busy/time.Duration(top.Count) < usualBudgetTime/4
}

// Defaults of net.core.netdev_budget, in packets, and netdev_budget_usecs.
const (
	usualBudget     = 300
	usualBudgetTime = 2 * time.Millisecond
)

// packetCost is the time that NET_RX spends on one packet.
func packetCost(c *fold.CPUSecond, top *fold.Work) time.Duration {
	if top.Name != "NET_RX" || c.Softnet.Processed == 0 {
		return 0
	}
	return top.Busy / time.Duration(c.Softnet.Processed)
}

func isSoftirq(f *fold.Work) bool { return f.Class == model.ClassSoftirq }

// deviceDropsOn counts packets lost in rings of devices that this CPU polls,
// or, where polls are not seen (Windows), of any device.
func (d *starvation) deviceDropsOn(w *detect.Tick, c *fold.CPU) uint64 {
	var n uint64
	for _, f := range w.Devices {
		if polledOn(w, c, f.Key) {
			n += f.Sum.Ring
		}
	}
	return n
}

func polledOn(w *detect.Tick, c *fold.CPU, k fold.DeviceKey) bool {
	if w.Windows() {
		return true
	}
	for _, n := range c.Sum.NAPI {
		if n.Device == k && n.Polls > n.Threaded {
			return true
		}
	}
	return false
}

// newDeviceDrops counts this second's ring drops that the CPU's load explains,
// and marks their devices as explained.
func (d *starvation) newDeviceDrops(w *detect.Tick, c *fold.CPU, share float64) uint64 {
	var n uint64
	for k, f := range w.Devices {
		if f.Sum.Ring > 0 && share >= d.settings.BusyShare && polledOn(w, c, k) {
			n += f.Seconds[w.Slot].Ring
			w.Claim(detect.DeviceDrops{Device: k})
		}
	}
	return n
}

// collectVictims notes the sockets that lose packets on this CPU. Their
// programs cannot keep up because the CPU cannot; a program that has stopped
// reading is its own fault.
func (d *starvation) collectVictims(w *detect.Tick, c *fold.CPU, data *starved) {
	for _, s := range w.SortedSockets() {
		drops := s.Sum.Drops()
		if drops == 0 || w.StoppedReading(s) {
			continue
		}
		var here, all uint64
		for _, cc := range s.Sum.CPUs {
			all += cc.Count
			if cc.CPU == c.ID {
				here += cc.Count
			}
		}
		if here*2 < all {
			continue
		}
		if data.pattern.explainsSockets() {
			w.Claim(detect.SocketDrops{Socket: s.Key})
		}
		known := false
		for _, v := range data.victims {
			known = known || v.socket == s
		}
		if !known && len(data.victims) < 16 {
			data.victims = append(data.victims, victim{s, s.Total - min(s.Total, drops)})
		}
	}
}
