package starvation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// holder is who keeps a CPU from its softirqs; the zero holder is not known.
type holder struct {
	task  string
	pid   int32
	group string
	// policy and priority are those of the task.
	policy   model.SchedPolicy
	priority int64
	// run is how long it ran while ksoftirqd waited, of is how long that waited.
	run, of time.Duration
	// entry and function are the kernel code that holds the softirqs back, empty where it is the task that holds the CPU;
	// samples is its part of all samples of the CPU, 0 where it was not found by samples.
	entry, function string
	samples, all    uint64
}

func (h *holder) known() bool { return h.task != "" || h.pid > 0 }

// realTime says that no other task gets the CPU while this one wants it.
func (h *holder) realTime() bool { return isRealTime(h.policy) }

func isRealTime(p model.SchedPolicy) bool {
	return p == model.SchedPolicyFIFO || p == model.SchedPolicyRR || p == model.SchedPolicyDeadline
}

// name names the task, with its policy where that says that others must wait.
func (h *holder) name() string {
	name := words.Task(h.task, h.pid)
	switch h.policy {
	case model.SchedPolicyFIFO:
		return fmt.Sprintf("%s (SCHED_FIFO, priority %d)", name, h.priority)
	case model.SchedPolicyRR:
		return fmt.Sprintf("%s (SCHED_RR, priority %d)", name, h.priority)
	case model.SchedPolicyDeadline:
		return name + " (SCHED_DEADLINE)"
	}
	return name
}

// leadingShare is the share of ksoftirqd's waiting from which one task is named as its reason.
const leadingShare = 0.5

// realTimeShare is the same for a real-time task.
const realTimeShare = 0.1

// holderOf returns the task that ran while ksoftirqd of a CPU waited, when one
// had most of that time or is a real-time task; a zero one where that is not watched.
//
// A real-time task need not have had most of the time, but part of it: migration
// threads and watchdogs run now and then on every CPU.
func (d *starvation) holderOf(w *detect.Tick, cpu int32) (h holder) {
	s := w.KsoftirqdOf(cpu)
	waited := s.In(model.SchedWaiting).Total
	for _, r := range s.Rivals {
		if r.Policy == model.SchedPolicySoftirq || r.PID <= 0 || servesSoftirqs(r.Task) {
			continue
		}
		if float64(r.Run) >= leadingShare*float64(waited) || isRealTime(r.Policy) &&
			r.Run >= d.settings.HeldWait.Std() && float64(r.Run) >= realTimeShare*float64(waited) {
			return holder{
				task: r.Task, pid: r.PID, group: r.Cgroup, policy: r.Policy, priority: r.Priority, run: r.Run, of: waited,
			}
		}
	}
	return holder{}
}

// servesSoftirqs says that a thread of the kernel does deferred work: it holds up no softirqs, it runs them. On
// PREEMPT_RT some have a real-time priority.
func servesSoftirqs(task string) bool {
	return slices.ContainsFunc(softirqThreads, func(name string) bool { return strings.HasPrefix(task, name) })
}

var softirqThreads = []string{"ksoftirqd/", "ktimers/", "rcuc/", "backlog_napi/"}

// runnerOf returns the task that most samples of a CPU are of, those in deferred
// work left out: ksoftirqd need not wait for who has the CPU, where interrupts
// give NET_RX its time. The policy is known where ksoftirqd did wait for it.
func (d *starvation) runnerOf(w *detect.Tick, cpu int32) (h holder) {
	stacks := w.StacksOf(cpu)
	var tasks uint64
	sums := make(map[int32]uint64)
	for _, n := range stacks.Counts {
		if n.Softirq || n.PID <= 0 || servesSoftirqs(n.Task) {
			continue
		}
		tasks += n.Samples
		if sums[n.PID] += n.Samples; sums[n.PID] > h.samples {
			h = holder{task: n.Task, pid: n.PID, samples: sums[n.PID], all: stacks.Samples}
		}
	}
	if h.samples < minStackSamples || float64(h.samples) < leadingShare*float64(tasks) ||
		float64(h.samples) < kernelShare*float64(stacks.Samples) {
		return holder{}
	}
	rivals := w.KsoftirqdOf(cpu).Rivals
	if i := slices.IndexFunc(rivals, func(r fold.Rival) bool { return r.PID == h.pid }); i >= 0 {
		h.policy, h.priority, h.group = rivals[i].Policy, rivals[i].Priority, rivals[i].Cgroup
	}
	return h
}

// delayable are the vectors whose waits count: RCU and SCHED wait for long on healthy hosts, too.
var delayable = [...]string{"NET_RX", "TIMER", "HI", "NET_TX", "BLOCK", "TASKLET", "HRTIMER"}

// heldWaits sums up the waits of the vectors whose delay hurts.
func heldWaits(c *fold.CPUSecond) (count uint64, waited time.Duration, worst fold.Work) {
	for _, name := range delayable {
		v := c.Vector(name)
		if v == nil || v.Held == 0 {
			continue
		}
		count += v.Held
		waited += v.Waited
		if v.MaxWait > worst.MaxWait {
			worst = *v
		}
	}
	return count, waited, worst
}

// heldBack judges softirqs that wait for their turn though no other softirq has
// it: only with proof of who has it. Long waits alone are what a loaded host and a
// virtual CPU that was stopped show, too.
func (d *starvation) heldBack(w *detect.Tick, c *fold.CPU) (judgement, bool) {
	s := d.settings
	sum := &c.Sum
	count, waited, worst := heldWaits(sum)
	if count < s.LateCount || d.stolen(sum) || w.Windows() {
		return judgement{}, false
	}
	d.ask(w, c.ID, name+"/cpu"+words.Itoa(c.ID))
	h := d.holderOf(w, c.ID)
	switch {
	case h.realTime() && d.stoodStill(w, sum):
		return judgement{}, false // the task did not run for as long as it had the CPU
	case !h.realTime():
		if h = d.kernelHolder(w, c.ID, waited); !h.known() {
			return judgement{}, false
		}
	}
	window := time.Duration(w.WindowSeconds()) * time.Second
	return judgement{pattern: held, top: &worst, share: sum.Share(waited, window), holder: h}, true
}

// kernelShare is the share of a CPU's samples from which one piece of kernel code is named.
const kernelShare = 0.3

// kernelHolder returns the kernel code that runs with softirqs off: the softirqs
// waited, ksoftirqd did not, and the CPU was mostly in this code.
func (d *starvation) kernelHolder(w *detect.Tick, cpu int32, waited time.Duration) (h holder) {
	s := w.KsoftirqdOf(cpu)
	if s.Threads == 0 || s.In(model.SchedWaiting).Total*2 >= waited {
		return holder{}
	}
	stacks := w.StacksOf(cpu)
	type code struct{ task, entry string }
	sums := make(map[code]uint64)
	for _, n := range stacks.Counts { // the most frequent function first
		if n.Softirq || n.Function == "" || n.PID == 0 {
			continue
		}
		k := code{n.Task, n.Entry}
		sums[k] += n.Samples
		if sums[k] > h.samples {
			if h.task != n.Task || h.entry != n.Entry {
				h = holder{task: n.Task, pid: n.PID, entry: n.Entry, function: n.Function, all: stacks.Samples}
			}
			h.samples = sums[k]
		}
	}
	if float64(h.samples) < kernelShare*float64(stacks.Samples) {
		return holder{}
	}
	return h
}
