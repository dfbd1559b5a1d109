package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/model/state"
)

// Ports is who holds which ports, and how that changed.
type Ports struct {
	room *budget.Budget
	// rpcCalls says that whole RPC calls are seen, and not their error records alone.
	rpcCalls bool
	holders  map[holderKey]*Holder
	// byPID are the holders of each process.
	byPID map[int32][]*Holder
	// numbered are the holders by number, nil where one was forgotten. The marks
	// of ports name them, because pools may appear after their ports. Number 0 is none's.
	numbered []*Holder
	// spare are the numbers of forgotten holders.
	spare []uint32
	// Tuples counts TCP ports used towards one destination: connect needs a
	// free port only for its own 4-tuple.
	Tuples map[Tuple]*TupleUse
	// Fails are the failed allocations of the last while, by what failed.
	Fails map[FailKey]*Failures
	// failed are the keys of Fails in a fixed order, nil when there are new ones.
	failed []FailKey
	// Searches are the processes that search a range for a free port in vain.
	Searches map[SearchKey]*Search
	// Families are the holders of several processes of one program together.
	Families map[familyKey]*Family
	// Reuse follows how each bounded pool's ports come back into use.
	Reuse map[state.PoolKey]*Reuse
	// rests are those whose end is known, soonest first; restsSeen are the protocols of which the stream has reported one.
	rests     restQueue
	restsSeen map[model.Protocol]bool
	// TablesAt is when the tables of all sockets were read last, TablesFrom when they were read first; 0 never.
	TablesAt, TablesFrom model.Time
	// endsSeen says that the stream has told of the end of a process; ends are those of the last while, endOrder the same
	// in the order in which they came.
	endsSeen bool
	ends     map[int32]model.Time
	endOrder []processEnd
	// ticks counts the ticks so far; audits the audits seen.
	ticks  int
	Audits int
	// levels are how full the pools were.
	levels map[state.PoolKey]*Level
	// LastAudit is the time of the last audit.
	LastAudit model.Time
}

func newPortFacts(room *budget.Budget) *Ports {
	return &Ports{
		room:     room,
		holders:  make(map[holderKey]*Holder),
		byPID:    make(map[int32][]*Holder),
		numbered: make([]*Holder, 1),
		Tuples:   make(map[Tuple]*TupleUse),
		Fails:    make(map[FailKey]*Failures),
		Searches: make(map[SearchKey]*Search),
		Families: make(map[familyKey]*Family),
		Reuse:    make(map[state.PoolKey]*Reuse),
		levels:   make(map[state.PoolKey]*Level),
		ends:     make(map[int32]model.Time),

		restsSeen: make(map[model.Protocol]bool),
	}
}

// Marks of ports in the state, so that it need not be kept apart to which
// holder each was counted: the holder's number from bit 1 on. Every port that
// was seen has one.
const (
	// markPresent says that the port was held when observation began.
	markPresent = 1
	// markApart marks a port that counts for no holder.
	markApart = 1
)

// processEnded notes that a process has ended.
func (p *Ports) processEnded(pid int32, at model.Time) {
	holders := p.byPID[pid]
	if !p.room.Spend("ends of processes", 1+len(holders)) {
		return
	}
	p.endsSeen = true
	if p.room.Take("ends of processes", endBytes) {
		p.ends[pid] = at
		p.endOrder = append(p.endOrder, processEnd{pid, at})
	}
	for _, h := range holders {
		h.ended = at
	}
}

// processNamed notes that the number of a process that has ended is another's now.
func (p *Ports) processNamed(pid int32) { delete(p.ends, pid) }

// processEnd is the end of a process.
type processEnd struct {
	pid int32
	at  model.Time
}

// forgetEnds forgets the ends of long ago.
func (p *Ports) forgetEnds(now model.Time) {
	n := 0
	for _, e := range p.endOrder {
		if now.Sub(e.at) <= forgetEnd {
			break
		}
		if p.ends[e.pid] == e.at { // no other process has had the number since
			delete(p.ends, e.pid)
		}
		p.room.Give(endBytes)
		n++
	}
	p.endOrder = slices.Delete(p.endOrder, 0, n)
}

// Tuple is what a TCP connect's port must be unique for.
type Tuple struct {
	Netns         int64
	Local, Remote string
	RemotePort    uint16
}

// CompareTuples orders destinations.
func CompareTuples(a, b Tuple) int {
	return cmp.Or(
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(a.Local, b.Local),
		cmp.Compare(a.Remote, b.Remote),
		cmp.Compare(a.RemotePort, b.RemotePort),
	)
}

// TupleUse is how many ports one destination uses.
type TupleUse struct {
	Held, Resting int
	// Taken is when a port was last taken for it, 0 never.
	Taken model.Time
}

// FailKey groups failed allocations: by pool for ports of the system's choice, by destination for connects.
type FailKey struct {
	Pool  state.PoolKey
	Netns int64
	// Connect says that TCP's connect failed: for one destination only, whose
	// address is empty where the probe could not read it.
	Connect    bool
	Remote     string
	RemotePort uint16
	// port is the port asked for outside any pool, 0 any.
	port uint16
	// Taken says that the port asked for is held or at rest: a conflict over
	// one port rather than a lack of ports.
	Taken bool
	// NoneLeft says that the error means a lack of ports and nothing else.
	NoneLeft bool
}

func compareFails(a, b FailKey) int {
	number := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	return cmp.Or(
		ComparePools(a.Pool, b.Pool),
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(a.Remote, b.Remote),
		cmp.Compare(a.RemotePort, b.RemotePort),
		cmp.Compare(a.port, b.port),
		cmp.Compare(number(a.Taken), number(b.Taken)),
		cmp.Compare(number(a.Connect), number(b.Connect)),
		cmp.Compare(number(a.NoneLeft), number(b.NoneLeft)),
	)
}

// Failures are failed allocations of one group.
type Failures struct {
	// Protocol and How are those of the first.
	Protocol model.Protocol
	How      model.How
	// Count is how many there were since First, Second how many of them in the second being judged.
	Count, Second uint64
	First, Last   model.Time
	ByProcess     map[ProcessKey]Refused
	Errors        map[string]uint64
	// bytes is what they take of the budget.
	bytes int
}

// Refused counts failed allocations of one process, the last of them at a time.
type Refused struct {
	Count uint64
	Last  model.Time
}

// ProcessKey is a process; numbers are used again, so the name is part of it.
type ProcessKey struct {
	PID  int32
	Name string
}

func (p *Ports) audit(v *model.PortAudit) {
	p.Audits++
	p.LastAudit = v.Time
}

func (p *Ports) rpcCall(w *Fold, v *model.RPCCall) {
	p.rpcCalls = p.rpcCalls || v.Flags&model.FlagSecondary == 0
	if v.Status == rpcOutOfResources && (v.Flags&model.FlagSecondary == 0 || !p.rpcCalls) {
		p.rpcFail(w, v)
	}
}

// apply folds one port event in, keeping the state's ports and the counts beside
// them in step.
func (p *Ports) apply(w *Fold, c *state.PortChange, e *model.Event) {
	held := c.Key()
	held.Resting = false
	rest := held
	rest.Resting = true
	ports := &w.State.Ports
	before, wasHeld := ports.Get(held)
	restBefore, rested := ports.Get(rest)
	w.State.ApplyPort(e.Time, c)
	after, isHeld := ports.Get(held)
	restAfter, rests := ports.Get(rest)
	taken, laid := isHeld && after.Mark == 0, rests && restAfter.Mark == 0 // an event has just put them
	if wasHeld && (taken || !isHeld) {
		p.release(w, &before, e)
	}
	if taken {
		ports.Mark(held, p.acquire(w, &after, e))
	}
	if rested && (laid || !rests) {
		p.tupleAdd(&restBefore, -1)
		p.endRestOf(w.State, &restBefore, e.Time)
	}
	if laid {
		p.restsSeen[restAfter.Protocol] = true
		ports.Mark(rest, markApart)
		p.tupleAdd(&restAfter, 1)
		p.reuseOf(w, &restAfter, func(r *Reuse, _ uint64) { r.rest(restAfter.LocalPort) })
		if IsConnection(&restAfter) {
			p.restOf(w, &restAfter)
		}
		if p.room.Take("ends of rests", restBytes) {
			p.rests.push(restEnd{at: restUntil(w, &restAfter), key: rest})
		}
	}
}

// IsConnection says that a port is TCP's and was taken for one destination.
func IsConnection(port *state.Port) bool {
	return port.Protocol == model.ProtocolTCP && port.RemotePort != 0 && port.How != model.HowBindAny &&
		port.How != model.HowBindPort &&
		port.How != model.HowListen &&
		port.How != model.HowAccept
}

// acquire counts a port that was taken and returns its mark.
func (p *Ports) acquire(w *Fold, port *state.Port, e *model.Event) (mark uint32) {
	if port.Shared() || port.LocalPort == 0 {
		return markApart
	}
	p.processNamed(port.PID)
	p.tupleAdd(port, 1)
	if u := p.Tuples[tupleOf(port)]; u != nil {
		u.Taken = e.Time
	}
	if len(p.Searches) > 0 {
		p.found(port)
	}
	if !IsConnection(port) && w.State.Holders(port.Protocol, port.Netns, port.LocalPort) > 1 {
		// Another socket of a port that is taken: a server's sockets for its
		// clients (QUIC), one for each thread (SO_REUSEPORT), one for IPv6.
		return markApart
	}
	h := p.holder(w, port)
	if h == nil {
		return markApart
	}
	present := e.Kind == model.KindPortActive && port.How != model.HowAudit
	mark = h.number << 1
	if present {
		mark |= markPresent
	}
	h.take(port.How, present, e.Time)
	if f := h.Family; f != nil && f.Sum != nil {
		f.Sum.take(port.How, present, e.Time)
	}
	p.reuseOf(w, port, func(r *Reuse, _ uint64) {
		r.take(port.LocalPort, ProcessKey{port.PID, port.Process}, e.Time)
	})
	return mark
}

func (p *Ports) release(w *Fold, port *state.Port, e *model.Event) {
	if port.Shared() || port.LocalPort == 0 {
		return
	}
	p.tupleAdd(port, -1)
	h, present := p.Owner(port)
	if h == nil {
		return
	}
	h.give(e.Time.Sub(port.Since), present, e.Time)
	if f := h.Family; f != nil && f.Sum != nil {
		f.Sum.give(e.Time.Sub(port.Since), present, e.Time)
	}
	p.reuseOf(w, port, func(r *Reuse, _ uint64) { r.free(port.LocalPort, e.Time) })
	if w.State.Rests(port.Protocol, port.Netns, port.LocalPort) > 0 {
		p.restOf(w, port)
	}
}

// connected counts a bound port that has been connected to its destination.
func (p *Ports) connected(w *Fold, v *model.PortActivity) {
	if port, held := w.State.Ports.Get(state.ActivityKey(v)); held && port.RemotePort != 0 {
		p.tupleAdd(&port, 1)
	}
}

// BoundFirst says that a TCP connection's port was taken by a bind before it was
// connected: it is then taken for every destination.
func BoundFirst(port *state.Port) bool {
	return port.Protocol == model.ProtocolTCP && port.RemotePort != 0 &&
		(port.How == model.HowBindAny || port.How == model.HowBindPort)
}

// tupleOf is the destination of a TCP port.
func tupleOf(port *state.Port) Tuple {
	return Tuple{port.Netns, port.LocalAddr, port.RemoteAddr, port.RemotePort}
}

func (p *Ports) tupleAdd(port *state.Port, n int) {
	if port.Protocol != model.ProtocolTCP || port.RemotePort == 0 || port.Shared() {
		return
	}
	k := tupleOf(port)
	u := p.Tuples[k]
	if u == nil {
		if !p.room.Take("destinations", tupleBytes+len(k.Local)+len(k.Remote)) {
			return
		}
		u = &TupleUse{}
		p.Tuples[k] = u
	}
	if port.Resting {
		u.Resting += n
	} else {
		u.Held += n
	}
	if u.Held <= 0 && u.Resting <= 0 {
		delete(p.Tuples, k)
		p.room.Give(tupleBytes + len(k.Local) + len(k.Remote))
	}
}

// beginTick ends the second in every holder's history, when it has been seen
// for long enough, and ends the rests that are over. rest says how long a port of a protocol may rest without an event
// that says so.
func (p *Ports) beginTick(now model.Time, st *state.State, whole bool, rest func(model.Protocol) time.Duration) {
	p.ticks++
	for _, h := range p.holders {
		if whole {
			h.EndSecond()
		}
		if h.Held == 0 && h.empty != 0 && now.Sub(h.empty) > forgetHolder {
			p.forget(h)
		}
	}
	if whole {
		p.endSecond(st, 1)
		for _, f := range p.Families {
			if f.Sum != nil {
				f.Sum.EndSecond()
			}
		}
	}
	for k, f := range p.Fails {
		if now.Sub(f.Last) > forgetFailure {
			delete(p.Fails, k)
			p.room.Give(f.bytes)
			p.failed = nil
		}
	}
	for k, r := range p.Reuse {
		if now.Sub(r.last) > forgetReuse && st.Pools[k] == nil {
			p.room.Give(reuseBytes + len(r.ports)*reusedBytes)
			delete(p.Reuse, k)
		} else if pool := st.Pools[k]; pool != nil {
			r.expect(now, pool.Size, rest(k.Protocol))
		}
	}
	for len(p.rests) > 0 && p.rests[0].at <= now {
		end := p.rests.pop()
		p.room.Give(restBytes)
		port, rests := st.Ports.Get(end.key)
		if !rests || restEndOf(&port, end.at) > now {
			continue
		}
		p.tupleAdd(&port, -1)
		p.dropRest(st, &port, end.at)
		p.endRestOf(st, &port, end.at)
	}
}

// endTick opens the next second.
func (p *Ports) endTick(now model.Time) {
	for _, f := range p.Fails {
		f.Second = 0
	}
	p.forgetSearches(now)
	p.forgetEnds(now)
}

// dropRest takes a port whose rest is over out of the state, as the release
// event would that sources without such events never send.
func (p *Ports) dropRest(st *state.State, port *state.Port, at model.Time) {
	var b model.Builder
	b.AddPortRelease(
		model.PortRelease{
			Time:       at,
			PID:        port.PID,
			TID:        port.TID,
			Cookie:     port.Cookie,
			Protocol:   port.Protocol,
			LocalPort:  port.LocalPort,
			RemotePort: port.RemotePort,
			How:        model.HowRestEnd,
			Netns:      port.Netns,
			LocalAddr:  port.LocalAddr,
			RemoteAddr: port.RemoteAddr,
			Process:    port.Process,
		},
	)
	st.Apply(b.Take())
}

func restEndOf(port *state.Port, estimate model.Time) model.Time {
	if port.RestUntil != 0 {
		return port.RestUntil
	}
	return estimate
}

// restUntil returns when a port's rest ends, by the system's default when the
// event does not say.
func restUntil(w *Fold, port *state.Port) model.Time {
	if port.RestUntil != 0 {
		return port.RestUntil
	}
	return port.Since.Add(w.RestTime())
}
