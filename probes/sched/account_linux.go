package sched

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"lostbeat/ebpf"
	"lostbeat/model"
)

const (
	// maxThreads is how many threads of a process are told in an interval: those
	// that ran or waited most.
	maxThreads = 32
	// maxRivals is how many of those that ran while a thread waited are told.
	maxRivals = 8
	// states is the number of values of model.SchedState.
	states = int(model.SchedSleeping) + 1
)

// accounts turns what the kernel counts, which only ever grows, into what
// happened in an interval.
type accounts struct {
	proc    string
	epoch   uint64
	known   map[uint32]*watched
	rivals  map[schedRival]uint64
	cgroups *cgroups
	// groups is what was read last of the groups of a process.
	groups map[uint32]lastGroups
	// descriptors are those that were looked up in the interval.
	descriptors map[descriptorKey]descriptor
	// named are the threads that were asked for one by one.
	named []uint32
}

// lastGroups is what was read last of the control groups of a process.
type lastGroups struct {
	quota    quota
	frozenBy string
}

type descriptorKey struct {
	pid int32
	fd  uint64
}

// watched is what is known of one watched thread.
type watched struct {
	tid, pid uint32
	task     string
	// began is when it was taken in, on the boot clock; for a thread that began while it was watched, the beginning of
	// that interval.
	began uint64
	// phases are what was counted of running, waiting and throttled; sites of where it blocks.
	running, waiting, throttled counted
	sites                       map[schedSite]*blocking
	wait                        ebpf.Hist
}

// counted is what has been reported of one kind of stay.
type counted struct {
	// ns is the time in all, a stay that lasts included, and entered how often it began.
	ns, entered uint64
}

// blocking is what is known of one site.
type blocking struct {
	counted
	class *class
	// listed is the stack of a site that was found by listing.
	listed []uint64
}

// class is what a site means.
type class struct {
	state    model.SchedState
	function string
	stack    model.Stack
}

// span is an interval.
type span struct {
	now      model.Time
	boot     uint64 // now on the boot clock
	interval time.Duration
	epoch    uint64
}

func newAccounts(proc string) accounts {
	a := accounts{proc: proc, cgroups: newCgroups(proc)}
	a.reset()
	return a
}

// reset forgets all threads.
func (a *accounts) reset() {
	a.known = make(map[uint32]*watched)
	a.rivals = make(map[schedRival]uint64)
	a.groups = make(map[uint32]lastGroups)
	a.descriptors = make(map[descriptorKey]descriptor)
	a.cgroups.forget()
}

// knows says whether a thread that r is about is known.
func (a *accounts) knows(r model.Request) bool {
	for tid, w := range a.known {
		if int32(tid) == r.TID || int32(w.pid) == r.PID || r.PID <= 0 && r.TID <= 0 {
			return true
		}
	}
	return false
}

// unwanted lists the threads that are not wanted any more.
func (a *accounts) unwanted(wanted func(pid, tid uint32) bool) (tids []uint32) {
	for tid, w := range a.known {
		if !wanted(w.pid, tid) {
			tids = append(tids, tid)
		}
	}
	return tids
}

// drop forgets a thread and returns the keys under which the kernel counts it.
func (a *accounts) drop(tid uint32) (sites []schedSite, rivals []schedRival) {
	if w := a.known[tid]; w != nil {
		for site := range w.sites {
			sites = append(sites, site)
		}
	}
	for key := range a.rivals {
		if key.Victim == tid {
			rivals = append(rivals, key)
			delete(a.rivals, key)
		}
	}
	delete(a.known, tid)
	return sites, rivals
}

// stays are the stays of one thread in one state in an interval.
type stays struct {
	total, longest uint64
	count          uint64
	// site is where the longest was, nil on or in front of a CPU.
	site  *schedSite
	class *class
}

// add adds what is new of one kind of stay, and says whether it has the longest
// so far. since is when the one that lasts began, 0 none.
func (c *counted) add(s *stays, a *schedAmount, since uint64, at span) (longest bool) {
	entered, length := a.Count, uint64(0)
	if since != 0 {
		entered++
		if at.boot > since {
			length = at.boot - since
		}
	}
	ns := a.SumNs + length
	if peak := a.Peaks[at.epoch&1]; peak.Epoch == at.epoch {
		length = max(length, peak.MaxNs)
	}
	if ns > c.ns {
		s.total += ns - c.ns
	}
	if entered > c.entered {
		s.count += entered - c.entered
	}
	c.ns, c.entered = ns, entered
	if length > s.longest {
		s.longest = length
		return true
	}
	return false
}

// since returns when the phase of a thread began if it is the given one, otherwise 0.
func since(t *schedThread, phase schedPhase) uint64 {
	if schedPhase(t.Phase) == phase {
		return t.SinceNs
	}
	return 0
}

// thread returns what is known of a thread, nil where it is new.
func (a *accounts) thread(t *entry[uint32, schedThread], at span) *watched {
	w := a.known[t.key]
	if w == nil {
		w = &watched{tid: t.key, pid: t.value.Pid, began: at.boot - uint64(at.interval), sites: make(map[schedSite]*blocking)}
		a.known[t.key] = w
	}
	if comm := ebpf.Comm(t.value.Comm[:]); comm != "" {
		w.task = comm
	}
	return w
}

// threadStays are the stays of one thread by state.
type threadStays struct {
	*watched
	entry *schedThread
	// listed is the thread as it was listed just before, nil when it began since.
	listed *schedListed
	states [states]stays
}

// baseline takes in threads that have just been found: what they did before is
// no part of any interval.
func (a *accounts) baseline(boot uint64, r reading) {
	r.threads = slices.DeleteFunc(r.threads, func(t entry[uint32, schedThread]) bool { return a.known[t.key] != nil })
	found := a.stays(r, span{boot: boot}, nil)
	pids := make(map[uint32]bool)
	for _, t := range found {
		pids[t.pid] = true
	}
	for pid := range pids {
		a.cgroups.readQuotas(int32(pid))
	}
	for _, rival := range r.rivals {
		if slices.ContainsFunc(found, func(t *threadStays) bool { return t.tid == rival.key.Victim }) {
			a.rivals[rival.key] = rival.value.RunNs
		}
	}
}

// stays adds up what the threads of a reading did since the reading before. symbol
// names kernel addresses; without it where they block is not looked at.
func (a *accounts) stays(r reading, at span, symbol func(uint64) string) []*threadStays {
	all := make([]*threadStays, 0, len(r.threads))
	byTID := make(map[uint32]*threadStays, len(r.threads))
	for i := range r.threads {
		t := &threadStays{watched: a.thread(&r.threads[i], at), entry: &r.threads[i].value}
		all = append(all, t)
		byTID[t.tid] = t
	}
	for _, l := range r.listed {
		if t := byTID[l.Tid]; t != nil {
			t.listed = l
		}
	}
	for _, t := range all {
		e := t.entry
		t.running.add(&t.states[model.SchedRunning], &e.Running, since(e, schedPhasePHASE_RUNNING), at)
		t.waiting.add(&t.states[model.SchedWaiting], &e.Waiting, since(e, schedPhasePHASE_WAITING), at)
		t.throttled.add(&t.states[model.SchedThrottled], &e.Throttled, since(e, schedPhasePHASE_THROTTLED), at)
	}
	amounts := make(map[schedSite]*schedAmount, len(r.sites))
	for i := range r.sites {
		amounts[r.sites[i].key] = &r.sites[i].value
	}
	for _, t := range all {
		if site := t.entry.Site; since(t.entry, schedPhasePHASE_BLOCKED) != 0 && amounts[site] == nil {
			amounts[site] = &schedAmount{} // it blocks there for the first time
		}
	}
	for _, site := range slices.SortedFunc(maps.Keys(amounts), compareSites) {
		if t := byTID[site.Tid]; t != nil {
			t.blocked(site, amounts[site], r, at, symbol)
		}
	}
	return all
}

// compareSites puts sites in an order, so that equal streams come from equal counts.
func compareSites(x, y schedSite) int {
	return cmp.Or(
		cmp.Compare(x.Tid, y.Tid), cmp.Compare(x.Syscall, y.Syscall), cmp.Compare(x.Argument, y.Argument),
		cmp.Compare(x.Stack, y.Stack), cmp.Compare(x.State, y.State), cmp.Compare(x.Flags, y.Flags),
		cmp.Compare(x.Signal, y.Signal),
	)
}

// blocked adds the stays at one site.
func (t *threadStays) blocked(
	site schedSite, amount *schedAmount, r reading, at span, symbol func(uint64) string,
) {
	s := t.sites[site]
	if s == nil {
		s = &blocking{}
		t.sites[site] = s
	}
	var lasts uint64
	if t.entry.Site == site {
		lasts = since(t.entry, schedPhasePHASE_BLOCKED)
	}
	listed := schedSiteFlags(site.Flags)&schedSiteFlagsSITE_LISTED != 0
	if l := t.listed; listed && l != nil && lasts != 0 && lasts <= l.NowNs && l.StackBytes >= 0 {
		s.listed = slices.Clone(l.Stack[:min(int(l.StackBytes)/8, len(l.Stack))])
		s.class = nil
	}
	if symbol == nil {
		s.add(&stays{}, amount, lasts, at)
		return
	}
	if s.class == nil {
		addresses := s.listed
		if !listed {
			addresses = r.stack(site.Stack)
		}
		s.class = classOf(site, addresses, symbol)
	}
	state := &t.states[s.class.state]
	if s.add(state, amount, lasts, at) {
		state.site, state.class = &site, s.class
	}
}

// classOf classifies a site by its stack.
func classOf(site schedSite, addresses []uint64, symbol func(uint64) string) *class {
	c := &class{}
	for _, address := range addresses {
		c.stack = append(c.stack, model.Frame{Addr: address, Name: symbol(address)})
	}
	c.stack = trim(c.stack)
	c.state, c.function = classify(place{
		state: site.State, flags: schedSiteFlags(site.Flags), syscall: site.Syscall, functions: functionsOf(c.stack),
	})
	return c
}
