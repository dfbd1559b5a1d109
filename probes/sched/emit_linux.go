package sched

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// vectorIRQ is VECTOR_IRQ of sched.bpf.c.
const vectorIRQ = 100

// vectors are the softirqs by number, as the deferred probe names them.
var vectors = []string{
	"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
}

// policies are the scheduling policies by the kernel's number.
var policies = map[uint32]model.SchedPolicy{
	0: model.SchedPolicyOther, 1: model.SchedPolicyFIFO, 2: model.SchedPolicyRR, 3: model.SchedPolicyBatch,
	5: model.SchedPolicyIdle, 6: model.SchedPolicyDeadline, 7: model.SchedPolicyExt,
}

// collect emits what the watched threads did in an interval, and returns those
// that have ended.
func (a *accounts) collect(env *ebpf.Env, at span, r reading, b *model.Builder) (gone []uint32) {
	all := a.stays(r, at, env.Symbol)
	a.sortThreads(all)
	rivals := a.ran(r)
	quotas := make(map[uint32]quota)
	told := make(map[uint32]int)
	for _, t := range all {
		if _, ok := quotas[t.pid]; !ok {
			quotas[t.pid] = a.quota(t.pid)
		}
		if schedPhase(t.entry.Phase) == schedPhasePHASE_GONE {
			gone = append(gone, t.tid)
		}
		if told[t.pid]++; told[t.pid] > maxThreads {
			continue
		}
		if t.task == "" {
			t.task = ebpf.Comm(t.entry.Comm[:])
		}
		env.NamedProcess(int32(t.pid), t.task)
		e := emission{
			env: env, accounts: a, t: t, now: at.now, b: b,
			dur: min(at.interval, time.Duration(at.boot-min(t.began, at.boot))),
		}
		e.states(quotas[t.pid])
		var mine []ran
		if t.states[model.SchedWaiting].total > 0 {
			mine = rivals[t.tid]
		}
		e.hist(at.epoch, mine)
		e.rivals(mine)
	}
	a.cgroups.ended()
	clear(a.descriptors)
	return gone
}

// quota reads the quota that holds for a process; that of before once it has ended.
func (a *accounts) quota(pid uint32) quota {
	q := a.cgroups.readQuotas(int32(pid))
	if last, ok := a.groups[pid]; ok && q.group == "" {
		q = last.quota
		q.grown = 0
	}
	last := a.groups[pid]
	last.quota = q
	a.groups[pid] = last
	return q
}

// frozenBy returns the control group that freezes a process, or did: a freeze
// that is over has no other trace than that the process is in a group.
func (a *accounts) frozenBy(pid uint32, site *schedSite) string {
	last := a.groups[pid]
	if by := a.cgroups.frozenBy(int32(pid)); by != "" {
		last.frozenBy = by
		a.groups[pid] = last
	} else if last.frozenBy == "" && site != nil {
		g := a.cgroups.of(int32(pid))
		by := g.Unified
		if site.State&taskFrozen != 0 {
			by = g.Freezer
		}
		if by != "/" {
			return by
		}
	}
	return last.frozenBy
}

// sortThreads puts those of a process first that were asked for, and then those that ran or waited most.
func (a *accounts) sortThreads(threads []*threadStays) {
	active := func(t *threadStays) uint64 {
		return t.states[model.SchedRunning].total + t.states[model.SchedWaiting].total +
			t.states[model.SchedThrottled].total
	}
	named := func(t *threadStays) int {
		if slices.Contains(a.named, t.tid) {
			return 0
		}
		return 1
	}
	slices.SortFunc(threads, func(x, y *threadStays) int {
		return cmp.Or(
			cmp.Compare(x.pid, y.pid), cmp.Compare(named(x), named(y)), cmp.Compare(active(y), active(x)),
			cmp.Compare(x.tid, y.tid),
		)
	})
}

// ran is one that ran while a thread waited.
type ran struct {
	key    schedRival
	amount schedRivalAmount
	ns     uint64
}

// name returns what it is called.
func (r *ran) name() string {
	switch vector := int(r.key.Vector); {
	case vector == vectorIRQ:
		return "hardirq"
	case vector > 0 && vector <= len(vectors):
		return vectors[vector-1]
	}
	return ebpf.Comm(r.amount.Comm[:])
}

// ran returns those that ran in the interval by the thread that waited, the
// ones that ran longest first.
func (a *accounts) ran(r reading) map[uint32][]ran {
	by := make(map[uint32][]ran)
	for _, e := range r.rivals {
		before := a.rivals[e.key]
		a.rivals[e.key] = e.value.RunNs
		if e.value.RunNs > before {
			by[e.key.Victim] = append(by[e.key.Victim], ran{e.key, e.value, e.value.RunNs - before})
		}
	}
	for _, list := range by {
		slices.SortFunc(list, func(x, y ran) int {
			return cmp.Or(
				cmp.Compare(y.ns, x.ns), cmp.Compare(x.key.Tid, y.key.Tid), cmp.Compare(x.key.Vector, y.key.Vector),
				cmp.Compare(x.key.Cpu, y.key.Cpu),
			)
		})
	}
	return by
}

// emission writes the events of one thread and interval.
type emission struct {
	env      *ebpf.Env
	accounts *accounts
	t        *threadStays
	now      model.Time
	dur      time.Duration
	b        *model.Builder
}

// states writes the states in which the thread was.
func (e *emission) states(q quota) {
	for state := range e.t.states {
		s := &e.t.states[state]
		if s.total == 0 {
			continue
		}
		v := model.SchedStateEvent{
			Time: e.now, Dur: e.dur, CPU: int32(e.t.entry.Cpu), PID: int32(e.t.pid), TID: int32(e.t.tid),
			State: model.SchedState(state), Total: min(time.Duration(s.total), e.dur), Longest: time.Duration(s.longest),
			Count: s.count, Task: e.t.task,
		}
		switch v.State {
		case model.SchedThrottled:
			v.Cgroup, v.Limit, v.Period = q.group, q.limit, q.period
			if q.grown > 0 {
				v.Detail = fmt.Sprintf("cpu.stat throttled for %v", q.grown.Round(time.Microsecond))
			}
		case model.SchedFrozen:
			v.Cgroup = e.accounts.frozenBy(e.t.pid, s.site)
		}
		if s.site != nil {
			e.where(&v, s)
		}
		e.b.AddSchedStateEvent(v)
	}
}

// where says where the thread stayed longest.
func (e *emission) where(v *model.SchedStateEvent, s *stays) {
	v.Stack = s.class.stack
	switch v.State {
	case model.SchedFrozen:
		return
	case model.SchedStopped:
		v.Detail = e.stoppedBy(s.site)
		return
	}
	text := syscallName(s.site.Syscall)
	if call := systemCalls[s.site.Syscall]; call.descriptor {
		d := e.accounts.descriptor(v.PID, s.site.Argument)
		text += fmt.Sprintf(" fd %d", s.site.Argument)
		if d.what != "" {
			text += " " + clip(d.what)
		}
		if v.State == model.SchedInput {
			v.Cookie = d.cookie
		}
	}
	switch function := s.class.function; {
	case function == "":
	case text == "":
		text = function
	default:
		text += ": " + function
	}
	v.Detail = text
}

// stoppedBy says what stopped the thread.
func (e *emission) stoppedBy(site *schedSite) string {
	if site.State&taskTraced != 0 {
		if tracer := tracerOf(e.accounts.proc, int32(site.Tid)); tracer > 0 {
			return fmt.Sprintf("traced by process %d", tracer)
		}
		return "traced by a debugger"
	}
	if name := unix.SignalName(unix.Signal(site.Signal)); name != "" {
		return name
	}
	return "a signal"
}

// tracerOf returns the process that traces a thread, 0 none.
func tracerOf(proc string, tid int32) int {
	content, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(tid)), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			tracer, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return tracer
		}
	}
	return 0
}

// descriptor looks a descriptor up, once per interval.
func (a *accounts) descriptor(pid int32, fd uint64) descriptor {
	key := descriptorKey{pid, fd}
	d, ok := a.descriptors[key]
	if !ok && len(a.descriptors) < maxDescriptors {
		d = readDescriptor(a.proc, pid, fd)
		a.descriptors[key] = d
	}
	return d
}

// hist writes how long the thread waited from each wake-up until it ran.
func (e *emission) hist(epoch uint64, rivals []ran) {
	counted := ebpf.HistOf(&e.t.entry.Wait)
	waits := counted.Since(&e.t.wait, epoch)
	e.t.wait = *counted
	run := e.t.states[model.SchedRunning].total
	if waits.Count == 0 && run == 0 {
		return
	}
	v := model.SchedHist{
		Time: e.now, Dur: e.dur, CPU: int32(e.t.entry.Cpu), PID: int32(e.t.pid), TID: int32(e.t.tid),
		Count: waits.Count, MaxWait: time.Duration(waits.Max), Run: min(time.Duration(run), e.dur), Task: e.t.task,
	}
	if waits.Count > 0 {
		v.WaitHist = &waits
	}
	if len(rivals) > 0 {
		v.Blocker = rivals[0].name()
	}
	e.b.AddSchedHist(v)
}

// rivals writes who ran while the thread waited.
func (e *emission) rivals(list []ran) {
	for i := range list[:min(len(list), maxRivals)] {
		r := &list[i]
		v := model.SchedRival{
			Time: e.now, Dur: e.dur, CPU: int32(r.key.Cpu), PID: int32(r.amount.Pid), TID: int32(r.key.Tid),
			Run: min(time.Duration(r.ns), e.dur), VictimTID: int64(e.t.tid), VictimPid: int64(e.t.pid),
			Policy: policies[r.amount.Policy], Task: r.name(), Victim: e.t.task,
		}
		switch {
		case r.key.Vector != 0:
			v.PID, v.TID, v.Policy = -1, -1, model.SchedPolicySoftirq
		default:
			v.Priority = int64(r.amount.Priority)
			v.Cgroup = e.accounts.cgroups.name(v.PID)
			e.env.NamedProcess(v.PID, v.Task)
		}
		e.b.AddSchedRival(v)
	}
}
