package fold

import (
	"cmp"
	"slices"
	"strings"
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

// Owner returns the holder that a port was counted to, nil for none, and
// whether it was held when observation began.
func (p *Ports) Owner(port *state.Port) (h *Holder, present bool) {
	return p.numbered[port.Mark>>1], port.Mark&markPresent != 0
}

// holderKey is a process's ports of one kind in one pool.
type holderKey struct {
	PID      int32
	process  string // only for processes without a PID
	Pool     state.PoolKey
	Protocol model.Protocol
	Netns    int64
	// Connections are TCP ports taken by connect: they are shared between
	// destinations and commonly pooled, so they are judged apart.
	Connections bool
}

func compareHolders(a, b holderKey) int {
	conn := func(k holderKey) int {
		if k.Connections {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.PID, b.PID),
		cmp.Compare(a.process, b.process),
		ComparePools(a.Pool, b.Pool),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(conn(a), conn(b)),
	)
}

// ComparePools orders pools by name, protocol and namespace.
func ComparePools(a, b state.PoolKey) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns))
}

// Holder is what one process holds of one pool. Its floor is the lowest number
// of ports held within a second: churn moves the number, a leak moves the floor.
type Holder struct {
	Key holderKey
	// number is its place in portFacts.numbered.
	number uint32
	// ID is its identity in findings: it stays when its pool becomes known later.
	ID      string
	Process string
	// Program tells it from other programs of the same name.
	Program Program
	// Held is the present number; present of them were held when observation
	// began, and are no evidence of growth.
	Held, present int
	// Level is held-present, second by second.
	Level
	// Acquired and released count since the holder appeared; short counts releases after less than a second.
	Acquired, Released, Short uint64
	// LastLong is when a port was last given back after a second or more, long
	// how many were in each of the last seconds.
	LastLong model.Time
	long     [LongSeconds]uint32
	// AcquiredIn and releasedIn are acquisitions and releases by second.
	AcquiredIn, ReleasedIn turnover
	// How counts the ways of acquisition.
	How [16]uint64
	// First is the first acquisition seen, last the last.
	First, last model.Time
	// Holds is the distribution of how long released ports had been held.
	Holds model.Histogram
	// Family are the processes of its program, nil without one.
	Family *Family
	// empty is since when nothing has been held, 0 while something is; burst is how
	// many ports that were held at once were given back in the second that ended with it.
	empty model.Time
	burst uint64
	// goesOn says that it has gone on after it gave back all at once.
	goesOn bool
	// run is how many were held when they began to be given back and no other was
	// taken since, 0 while none has been given back.
	run uint64
	// ended is when the process was seen to end; 0 not, or it took a port since. Its
	// last ports may be given back afterwards.
	ended model.Time
	// most is the most that it held in the second that was recorded last, top in the one under way.
	most, top int
}

// LongSeconds is the length of holder.long, whose last second is under way.
const LongSeconds = 4

// LongGiven is how many ports were given back after a second or more, within
// the last seconds.
func (h *Holder) LongGiven() (n uint32) {
	for _, c := range h.long {
		n += c
	}
	return n
}

// Growth is the number of ports held beyond those present at the start.
func (h *Holder) Growth() int { return h.Held - h.present }

// SumOver adds up acquisitions or releases over the last n recorded seconds.
func (h *Holder) SumOver(of *turnover, n int) uint64 {
	return of.sum(h.Ticks-min(n, h.Ticks, SecondFloors), h.Ticks-1)
}

// LastTaken is when the last port was taken; 0 never, since observation began.
func (h *Holder) LastTaken() model.Time { return h.last }

// Most is the most that it held beyond what was present at the start, in the
// last second or in the one under way.
func (h *Holder) Most() int { return max(h.most, h.top) }

// Ended says that the process was seen to end; of a family, each of its processes.
func (h *Holder) Ended() bool {
	if h.IsFamily() {
		return !slices.ContainsFunc(h.Family.Members, func(m *Holder) bool { return !m.Ended() })
	}
	return h.ended != 0 && h.Held == 0
}

// GoneAtOnce says that a process holds nothing any more and gave back what it
// had within a second, at least n ports: as the end of a process does, whether it
// was seen or not.
func (h *Holder) GoneAtOnce(n int) bool { return h.empty != 0 && h.burst >= uint64(n) }

// take counts a port that was taken.
func (h *Holder) take(how model.How, present bool, at model.Time) {
	h.goesOn = h.goesOn || h.GoneAtOnce(endsWith)
	h.empty, h.ended, h.run = 0, 0, 0
	h.Held++
	if int(how) < len(h.How) {
		h.How[how]++
	}
	if present {
		h.present++
		return
	}
	h.top = max(h.top, h.Growth())
	if h.First == 0 {
		h.First = at
	}
	h.last = at
	h.Acquired++
	h.AcquiredIn.Add(h.Ticks)
}

// give counts a port that was given back after it had been held for a while.
func (h *Holder) give(held time.Duration, present bool, at model.Time) {
	if h.run == 0 {
		h.run = uint64(max(h.Held, 0))
	}
	h.Held--
	if present {
		h.present--
	}
	h.Low = min(h.Low, h.Growth())
	h.Released++
	h.ReleasedIn.Add(h.Ticks)
	h.Holds.Observe(uint64(max(held, 0)))
	if held < time.Second {
		h.Short++
	} else {
		h.LastLong = at
		h.long[h.Ticks%LongSeconds]++
	}
	if h.Held == 0 {
		h.empty, h.burst = at, min(h.run, h.ReleasedIn.sum(h.Ticks-1, h.Ticks))
	}
}

// EndSecond records the floor of the second that was filled and opens the next.
func (h *Holder) EndSecond() {
	h.Level.endSecond(h.Growth())
	h.long[h.Ticks%LongSeconds] = 0
	h.most, h.top = h.top, h.Growth()
}

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

func (p *Ports) holder(w *Fold, port *state.Port) *Holder {
	pool, _ := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	k := holderKey{PID: port.PID, Pool: pool, Protocol: port.Protocol, Netns: port.Netns, Connections: IsConnection(port)}
	if port.PID <= 0 {
		k.process = port.Process
	}
	h := p.holders[k]
	if h != nil && h.Held == 0 && h.ended != 0 {
		p.forget(h) // its number has been given to another process
		h = nil
	}
	if h == nil {
		if !p.room.Take("holders of ports", holderBytes) {
			return nil
		}
		h = &Holder{Key: k, ID: holderID(k)}
		p.holders[k] = h
		p.byPID[k.PID] = append(p.byPID[k.PID], h)
		p.number(h)
	}
	if port.Process != "" {
		h.Process = port.Process
	} else if h.Process == "" {
		h.Process = w.State.ProcessName(port.PID)
	}
	if h.Program.Name == "" {
		p.join(w.State, h)
	}
	return h
}

// forget drops a holder that holds nothing.
func (p *Ports) forget(h *Holder) {
	delete(p.holders, h.Key)
	if rest := slices.DeleteFunc(p.byPID[h.Key.PID], func(o *Holder) bool { return o == h }); len(rest) > 0 {
		p.byPID[h.Key.PID] = rest
	} else {
		delete(p.byPID, h.Key.PID)
	}
	p.room.Give(holderBytes)
	p.leave(h)
	p.numbered[h.number] = nil
	p.spare = append(p.spare, h.number)
}

// number gives a new holder its number.
func (p *Ports) number(h *Holder) {
	if n := len(p.spare); n > 0 {
		h.number, p.spare = p.spare[n-1], p.spare[:n-1]
		p.numbered[h.number] = h
		return
	}
	h.number = uint32(len(p.numbered))
	p.numbered = append(p.numbered, h)
}

// rehome moves holders without a pool into pools that have become known since:
// the limits of another network namespace are read some time after its first port.
func (p *Ports) rehome(w *Fold) {
	if !p.room.Spend("new pools of holders", 16*(len(p.holders)+w.State.Ports.Len())) {
		return
	}
	homeless := p.HolderList(func(h *Holder) bool { return h.Key.Pool == (state.PoolKey{}) })
	if len(homeless) == 0 {
		return
	}
	inside := make(map[*Holder]map[state.PoolKey]int)
	for port := range w.State.Ports.All() {
		h, _ := p.Owner(port)
		if h == nil || h.Key.Pool != (state.PoolKey{}) {
			continue
		}
		if pool, ok := w.poolOf(port.Protocol, port.Netns, port.LocalPort); ok {
			if inside[h] == nil {
				inside[h] = make(map[state.PoolKey]int)
			}
			inside[h][pool]++
		}
	}
	for _, h := range homeless {
		for pool, n := range inside[h] {
			k := h.Key
			k.Pool = pool
			if 2*n > h.Held && p.holders[k] == nil {
				delete(p.holders, h.Key)
				h.Key = k
				p.holders[k] = h
			}
		}
	}
}

// HolderList returns the holders that match in a fixed order.
func (p *Ports) HolderList(match func(*Holder) bool) []*Holder {
	var list []*Holder
	for _, h := range p.holders {
		if match(h) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *Holder) int { return compareHolders(a.Key, b.Key) })
	return list
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

// poolOf returns the most specific pool that a port belongs to: the smallest.
func (w *Fold) poolOf(protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	return poolOf(w.State, protocol, netns, port)
}

func poolOf(st *state.State, protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	var best *state.Pool
	var key state.PoolKey
	for pool := range st.PoolsOf(protocol, netns) {
		if !pool.Contains(protocol, netns, port) {
			continue
		}
		k := pool.Key()
		if best == nil || pool.Size < best.Size || pool.Size == best.Size && ComparePools(k, key) < 0 {
			best, key = pool, k
		}
	}
	return key, best != nil
}

// EphemeralPool returns the pool from which the system itself chooses ports.
func (w *Fold) EphemeralPool(protocol model.Protocol, netns int64) (state.PoolKey, bool) {
	var key state.PoolKey
	found := false
	for pool := range w.State.PoolsOf(protocol, netns) {
		k := pool.Key()
		if pool.Source == model.PoolEphemeral && pool.Protocol == protocol && (pool.Netns == 0 || pool.Netns == netns) &&
			(!found || ComparePools(k, key) < 0) {
			key, found = k, true
		}
	}
	return key, found
}

// rpcPool returns the pool from which the RPC runtime takes its ports of a
// protocol: the one of the registry, one that the user calls rpc, or the only one
// that the user has named.
func (w *Fold) rpcPool(protocol model.Protocol) state.PoolKey {
	if !w.room.Spend("refused RPC calls", 2*len(w.State.Pools)) {
		return state.PoolKey{}
	}
	const registry, called, named = 2, 1, 0
	var best state.PoolKey
	rank, count := -1, 0
	for k, pool := range w.State.Pools {
		if pool.Netns != 0 || pool.Source != model.PoolRPC && pool.Source != model.PoolConfigured ||
			protocol != model.ProtocolUnknown && pool.Protocol != protocol {
			continue
		}
		r := named
		switch {
		case pool.Source == model.PoolRPC:
			r = registry
		case strings.Contains(strings.ToLower(pool.Name), "rpc"):
			r = called
		}
		count++
		if r > rank || r == rank && ComparePools(k, best) < 0 {
			best, rank = k, r
		}
	}
	if rank == named && count > 1 {
		return state.PoolKey{} // any of them
	}
	return best
}

// PoolSize returns how many ports a pool has, 0 for one that is not known.
func (w *Fold) PoolSize(k state.PoolKey) uint64 {
	if pool := w.State.Pools[k]; pool != nil {
		return pool.Size
	}
	return 0
}
