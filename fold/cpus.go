package fold

import (
	"cmp"
	"strconv"
	"time"

	"lostbeat/model"
)

// maxLateRuns bounds the single runs kept for one CPU and second.
const maxLateRuns = 64

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

// Softnet is a line of /proc/net/softnet_stat over a second or window: packets processed and dropped at the backlog,
// and how often NET_RX ended with work left.
type Softnet struct {
	Covered                                 time.Duration
	Processed, Dropped, Squeezed, rps, most uint64
	// FlowLimit are the packets among Dropped that the flow limit dropped: those of flows that fill the backlog.
	FlowLimit uint64
}

// NAPI is how a device was polled on a CPU: polls, packets, polls that used the whole budget, and those by a thread.
type NAPI struct {
	Device                         DeviceKey
	covered                        time.Duration
	Polls, Packets, Full, Threaded uint64
	maxPackets                     uint64
}

// CPUTimes is what a CPU did with its time, as /proc/stat or a trace has it; Covered is how much of it is known.
type CPUTimes struct{ Covered, user, system, softirq, IRQ, idle, Steal time.Duration }

// Run is one run of deferred work that waited or ran for long.
type Run struct {
	At           model.Time
	Name, Driver string
	Wait, Run    time.Duration
	Before, task string
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

// SortedCPUs returns the CPUs by number.
func (w *Fold) SortedCPUs() []*CPU {
	return sorted(&w.sortedCPUs, w.CPUs, cmp.Compare[int32])
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

// Add adds what another CPU, or another second, saw of the device.
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

// Unaccounted is the time in none of the states. The kernel counts at its ticks, which do not come while interrupts are
// off, or while a virtual CPU stands still.
func (t *CPUTimes) Unaccounted() time.Duration {
	return max(0, t.Covered-t.user-t.system-t.softirq-t.IRQ-t.idle-t.Steal)
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
	return share(d, covered)
}

// share is the part that d is of covered: at most 1, whatever was counted.
func share(d, covered time.Duration) float64 {
	return max(0, min(Ratio(float64(d), float64(covered)), 1))
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

// UserShare is the share of programs, 0 when the times of the CPU are not known.
func UserShare(c *CPUSecond) float64 { return share(c.Time.user, c.Time.Covered) }

// TaskShare is the share of a CPU's time that tasks had, in user code and in the
// kernel, 0 when its times are not known.
func TaskShare(c *CPUSecond) float64 {
	return share(c.Time.user+c.Time.system, c.Time.Covered)
}

// IRQShare is the share of a CPU's time in hard interrupts: as the kernel accounts it, or as the handlers were seen to
// run, whichever is more. Kernels that do not account it say 0.
func IRQShare(c *CPUSecond, window time.Duration) float64 {
	var busy time.Duration
	for i := range c.IRQs {
		busy += c.IRQs[i].Busy
	}
	return max(share(c.Time.IRQ, c.Time.Covered), c.Share(busy, window))
}

// IdleShare is the CPU's idle share, 0 when its times are not known.
func IdleShare(c *CPUSecond) float64 { return share(c.Time.idle, c.Time.Covered) }

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

// FullShare is the share of the polls that used their whole budget.
func (n *NAPI) FullShare() float64 { return Ratio(float64(n.Full), float64(n.Polls)) }

// BusyCPU is how busy a CPU was, as a share of its time.
type BusyCPU struct {
	ID   int32
	Busy float64
}
