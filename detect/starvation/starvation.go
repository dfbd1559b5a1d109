package starvation

import (
	_ "embed"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"time"

	"lostbeat/model"
)

// starvation finds deferred work (softirqs, DPCs) that starves others: a CPU
// that spends its time in it, and a victim that was delayed or lost. Neither
// alone is a fault.
type starvation struct {
	settings Settings
	cases    detect.Cases[starved]
	long     detect.Cases[longWork]
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
	}
	d.long.Instant = true
	return d
}

// name is the detector's name in findings.
const name = "dpc-starvation"

func limits(s Settings, l *fold.Limits) {
	l.LateWait, l.LongRun = s.LateWait.Std(), s.LongRun.Std()
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
	// napi are a NAPI thread's polls since the fault began, worstDrops what was
	// lost in the window that look tells of.
	napi       fold.NAPI
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
	work       fold.Work
	facts      fold.CPUSecond
	others     []fold.BusyCPU
}

// share is the culprit's mean share of its CPU.
func (l *look) share() float64 { return fold.Ratio(l.shares, float64(l.windows)) }

// nearWorst is the part of the largest share from which a window describes the fault.
const nearWorst = 0.9

// add notes a window that showed pattern p, and takes the look of the pattern
// seen most often.
func (data *starved) add(p pattern, share float64, top *fold.Work, facts *fold.CPUSecond, others []fold.BusyCPU) {
	l := &data.looks[p]
	l.windows++
	l.shares += share
	l.worstShare = max(l.worstShare, share)
	if share >= nearWorst*l.worstShare {
		l.work, l.facts, l.others = *top, facts.Clone(), others
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
	socket *fold.Socket
	base   uint64
}

// Judge implements detect.Detector.
func (d *starvation) Judge(w *detect.Tick) {
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

// judgeCPU decides whether deferred work on one CPU starves others.
func (d *starvation) judgeCPU(w *detect.Tick, c *fold.CPU) {
	s := d.settings
	sum := &c.Sum
	top := sum.Top()
	if top == nil {
		return
	}
	window := time.Duration(w.WindowSeconds()) * time.Second
	total, share := sum.Share(sum.Deferred(), window), sum.Share(top.Busy, window)

	drops := sum.Softnet.Dropped
	lossy := drops >= s.MinDrops && fold.Ratio(float64(drops), float64(drops+sum.Softnet.Processed)) >= s.DropShare
	deviceDrops := d.deviceDropsOn(w, c)
	lossy = lossy || deviceDrops >= s.MinDrops && share >= s.BusyShare
	late, worst, blocker := d.lateWaits(c, top)
	delayed := late >= s.LateCount && !d.stolen(sum)

	key := "cpu" + words.Itoa(c.ID)
	p, ok := saturated, false
	switch {
	case delayed && !lossy && blocker != nil && blocker.MaxRun >= s.LateWait.Std():
		// One run alone was long enough to make others late. Late waits behind
		// many shorter runs are what a loaded CPU shows without a fault.
		p, ok = blocked, true
		top, share = blocker, sum.Share(blocker.Busy, window)
	case (lossy || delayed) && total >= s.BusyShare && share >= s.SharedBusyShare:
		ok = true
		if d.squeezedEarly(sum, top) {
			p = budgeted
		}
	case drops >= s.MinDrops && d.squeezedEarly(sum, sum.Vector("NET_RX")):
		p, ok = budgeted, true
		// NET_RX gets so little done that another vector may be the busiest.
		top = sum.Vector("NET_RX")
		share = sum.Share(top.Busy, window)
	case lossy && share >= s.SharedBusyShare && fold.IdleShare(sum) < 0.1 && share >= fold.UserShare(sum):
		p, ok = crowded, true
	case w.Windows() && total >= s.BusyShare && !isSoftirq(top):
		p, ok = unproven, true
	}
	var in *detect.Case[starved]
	switch {
	case ok:
		fresh := d.cases.Get(key) == nil
		in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return d.suffers(c, &c.Seconds[slot]) }))
		if fresh {
			in.Data = starved{
				cpu:           c.ID,
				late:          late - d.lateIn(c, c.Seconds[w.Slot].Late),
				baseDropped:   c.Dropped - drops,
				baseProcessed: c.Processed - sum.Softnet.Processed,
				baseSqueezed:  c.Squeezed - sum.Softnet.Squeezed,
			}
		}
	case total >= s.ClearShare && (drops > 0 || late > 0) || drops >= s.MinDrops:
		in = d.cases.Keep(w, key)
	}
	if in == nil {
		return
	}
	data := &in.Data
	if ok {
		data.add(p, share, top, sum, d.otherCPUs(w, c.ID))
		if device := d.deviceOf(w, c); device.Name != "" {
			data.device = device
		}
	}
	data.dropped = c.Dropped - data.baseDropped
	data.processed, data.squeezed = c.Processed-data.baseProcessed, c.Squeezed-data.baseSqueezed
	data.deviceDrops += d.newDeviceDrops(w, c, share)
	// The window slides: count each second's late waits once.
	data.late += d.lateIn(c, c.Seconds[w.Slot].Late)
	if worst.Wait > data.worstLate.Wait {
		data.worstLate = worst
	}
	d.collectVictims(w, c, data)
	if data.pattern == unproven {
		regular, silent := w.FlowsOn(c.ID, in.Start.Add(-time.Second))
		data.regular = max(data.regular, regular)
		data.silences = addHushes(data.silences, silent)
	}
}

// suffers says that a second of a CPU shows work that is lost or late, or a
// CPU that is busy with deferred work.
func (d *starvation) suffers(c *fold.CPU, s *fold.CPUSecond) bool {
	return s.Softnet.Dropped > 0 || d.lateIn(c, s.Late) > 0 || s.Share(s.Deferred(), time.Second) >= d.settings.ClearShare
}

// lateWaits counts the waits of other work than top on this CPU, and names the
// work whose long runs they waited for.
func (d *starvation) lateWaits(c *fold.CPU, top *fold.Work) (n uint64, worst fold.Run, blocker *fold.Work) {
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

// squeezedEarly says that NET_RX stops with work left after few packets and
// well before its time is up: its budget is too small, rather than its packets
// too dear.
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

func (d *starvation) otherCPUs(w *detect.Tick, self int32) []fold.BusyCPU {
	var others []fold.BusyCPU
	window := time.Duration(w.WindowSeconds()) * time.Second
	for _, c := range w.SortedCPUs() {
		if c.ID != self {
			others = append(others, fold.BusyCPU{ID: c.ID, Busy: c.Sum.BusyShare(window)})
		}
	}
	return others
}

// deviceOf returns the device whose packets the CPU handles: the one that
// loses most at backlogs, else the one polled most here, else the busiest.
func (d *starvation) deviceOf(w *detect.Tick, c *fold.CPU) fold.DeviceKey {
	var sums []fold.DeviceCount
	if c.Sum.Softnet.Dropped > 0 {
		for _, slot := range w.Recent() {
			for _, dc := range w.Backlog[slot] {
				sums = fold.AddDevice(sums, dc.Device, dc.Count)
			}
		}
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	for _, n := range c.Sum.NAPI {
		if n.Device.Ifindex != 0 {
			sums = fold.AddDevice(sums, n.Device, n.Packets)
		}
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	return fold.DeviceKey{}
}

func mostOf(list []fold.DeviceCount) (best fold.DeviceKey, ok bool) {
	var most uint64
	for _, dc := range list {
		if dc.Device.Name != "" && (dc.Count > most || dc.Count == most && ok && fold.CompareDevices(dc.Device, best) < 0) {
			best, most, ok = dc.Device, dc.Count, true
		}
	}
	return best, ok
}

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
		if data.pattern != blocked {
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
