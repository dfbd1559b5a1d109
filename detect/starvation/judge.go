package starvation

import (
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// judgement is what the facts of one CPU say at a tick.
type judgement struct {
	pattern pattern
	// top is the culprit, with its share of the CPU.
	top   *fold.Work
	share float64
	// second is the second that shows it, slot its place; nil where it is the window that shows it.
	second *fold.CPUSecond
	slot   int
	holder holder
}

// judgeCPU decides whether one CPU's deferred work starves others or is starved.
func (d *starvation) judgeCPU(w *detect.Tick, c *fold.CPU) {
	s := d.settings
	sum := &c.Sum
	top := sum.Top()
	drops := sum.Softnet.Dropped
	if top == nil {
		if drops == 0 {
			return
		}
		top = &fold.Work{Class: model.ClassSoftirq, Name: "NET_RX"} // only its losses are known
	}
	window := time.Duration(w.WindowSeconds()) * time.Second
	late, worst, blocker := d.lateWaits(c)

	j, ok := d.deferredWork(w, c, top, late, blocker)
	if !ok {
		j, ok = d.overflow(w, c)
	}
	if !ok {
		j, ok = d.heldBack(w, c)
	}
	key := "cpu" + words.Itoa(c.ID)
	now := &c.Seconds[w.Slot]
	total := sum.Share(sum.Deferred(), window)
	var in *detect.Case[starved]
	switch {
	case ok:
		fresh := d.cases.Get(key) == nil
		in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return d.suffers(c, &c.Seconds[slot], j.pattern) }))
		if fresh {
			in.Data = starved{
				cpu:           c.ID,
				late:          late - d.lateIn(c, now.Late),
				baseDropped:   c.Dropped - drops,
				baseProcessed: c.Processed - sum.Softnet.Processed,
				baseSqueezed:  c.Squeezed - sum.Softnet.Squeezed,
				flowLimit:     sum.Softnet.FlowLimit - now.Softnet.FlowLimit,
			}
		}
	case total >= s.ClearShare && (drops > 0 || late > 0) || drops >= s.MinDrops:
		in = d.cases.Keep(w, key)
	}
	if in == nil {
		return
	}
	data := &in.Data
	if now.Softnet.Dropped > 0 {
		data.lastLoss = w.Now
		w.Claim(detect.BacklogDrops{CPU: c.ID})
	}
	data.dropped = c.Dropped - data.baseDropped
	data.processed, data.squeezed = c.Processed-data.baseProcessed, c.Squeezed-data.baseSqueezed
	data.flowLimit += now.Softnet.FlowLimit
	ring := d.newDeviceDrops(w, c, j.share)
	data.deviceDrops += ring
	// The window slides: count each second's late waits once.
	lateNow := d.lateIn(c, now.Late)
	data.late += lateNow
	if ok {
		d.note(w, c, data, j, float64(now.Softnet.Dropped+ring+lateNow))
		if device := d.deviceOf(w, c); device.Name != "" {
			data.device = device
		}
	}
	if worst.Wait > data.worstLate.Wait {
		data.worstLate = worst
	}
	if j.second != nil && data.lastLoss > 0 {
		in.Seen = data.lastLoss // what is left in the window is no fault any more
	}
	d.collectVictims(w, c, data)
	if data.pattern == unproven {
		regular, silent := w.FlowsOn(c.ID, in.Start.Add(-time.Second))
		data.regular = max(data.regular, regular)
		data.silences = addHushes(data.silences, silent)
	}
	d.collectDetail(w, c.ID, data)
	d.ask(w, c.ID, in.ID())
}

// note takes up what this tick shows of a case.
func (d *starvation) note(w *detect.Tick, c *fold.CPU, data *starved, j judgement, lost float64) {
	m := moment{work: *j.top, others: d.otherCPUs(w, c.ID), holder: j.holder}
	facts := &c.Sum
	now := &c.Seconds[w.Slot]
	switch {
	case j.second != nil:
		if j.slot != w.Slot && data.looks[j.pattern].windows > 0 {
			return // it has been noted in its own second
		}
		facts = j.second
		if lost == 0 {
			lost = float64(j.second.Softnet.Dropped)
		}
	case now.Softnet.Dropped > 0 && now.Vector("NET_RX") != nil && j.top.Name == "NET_RX" && isSoftirq(j.top):
		// The window may still contain what was before the fault.
		m.work, facts = *now.Vector("NET_RX"), now
	case j.pattern == unproven || j.pattern == storm && lost == 0:
		lost = j.share
	case j.pattern == held:
		lost = j.top.MaxWait.Seconds()
	}
	m.facts = facts.Clone()
	data.note(j.pattern, j.share, lost, m)
	data.remember(w, lost)
}

// deferredWork judges whether deferred work on the CPU starves others or itself.
func (d *starvation) deferredWork(
	w *detect.Tick, c *fold.CPU, top *fold.Work, late uint64, blocker *fold.Work,
) (judgement, bool) {
	s := d.settings
	sum := &c.Sum
	window := time.Duration(w.WindowSeconds()) * time.Second
	total, share := sum.Share(sum.Deferred(), window), sum.Share(top.Busy, window)
	drops := sum.Softnet.Dropped
	lossy := d.lossy(sum)
	lossy = lossy || d.deviceDropsOn(w, c) >= s.MinDrops && share >= s.BusyShare
	delayed := late >= s.LateCount && !d.stoodStill(w, sum)
	netRX := sum.Vector("NET_RX")
	switch {
	case !w.Windows() && fold.IRQShare(sum, window) >= s.InterruptShare:
		return judgement{pattern: storm, top: busiestLine(sum), share: fold.IRQShare(sum, window)}, true
	case delayed && !lossy && blocker != nil && blocker.MaxRun >= s.LateWait.Std():
		// One run alone was long enough to make others late. Late waits behind
		// many shorter runs are what a loaded CPU shows without a fault.
		return judgement{pattern: blocked, top: blocker, share: sum.Share(blocker.Busy, window)}, true
	case (lossy || delayed) && total >= s.BusyShare && share >= s.SharedBusyShare:
		p := saturated
		if d.squeezedEarly(sum, top) {
			p = budgeted
		}
		return judgement{pattern: p, top: top, share: share}, true
	case drops >= s.MinDrops && d.squeezedEarly(sum, netRX):
		// NET_RX gets so little done that another vector may be the busiest.
		return judgement{pattern: budgeted, top: netRX, share: sum.Share(netRX.Busy, window)}, true
	case lossy && share >= s.SharedBusyShare && fold.IdleShare(sum) < 0.1 && share >= fold.TaskShare(sum):
		if h := d.holderOf(w, c.ID); h.realTime() && top.MaxWait >= s.BacklogWait.Std() {
			return judgement{pattern: programs, top: top, share: share, holder: h}, true
		}
		return judgement{pattern: crowded, top: top, share: share}, true
	case w.Windows() && total >= s.BusyShare && !isSoftirq(top):
		return judgement{pattern: unproven, top: top, share: share}, true
	}
	return judgement{}, false
}

// lossy says that so much was lost at the backlog that it matters.
func (d *starvation) lossy(c *fold.CPUSecond) bool {
	n := c.Softnet.Dropped
	return n >= d.settings.MinDrops && fold.Ratio(float64(n), float64(n+c.Softnet.Processed)) >= d.settings.DropShare
}

// busiestLine returns the interrupt that takes most of the CPU, a nameless one where none was seen.
func busiestLine(c *fold.CPUSecond) *fold.Work {
	best := &fold.Work{Name: "interrupts"}
	for i := range c.IRQs {
		if f := &c.IRQs[i]; f.Busy > best.Busy || f.Busy == best.Busy && f.Busy > 0 && f.Label() < best.Label() {
			best = f
		}
	}
	return best
}
