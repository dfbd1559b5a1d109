package detect

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// portFacts is who holds which ports, and how that changed.
type portFacts struct {
	// rpcCalls says that whole RPC calls are seen, and not their error records alone.
	rpcCalls bool
	holders  map[holderKey]*holder
	// numbered are the holders by number, nil where one was forgotten. The marks
	// of ports name them, because pools may appear after their ports. Number 0 is none's.
	numbered []*holder
	// spare are the numbers of forgotten holders.
	spare []uint32
	// tuples counts TCP ports used towards one destination: connect needs a
	// free port only for its own 4-tuple.
	tuples map[tupleKey]*tupleUse
	// fails are the failed allocations of the last while, by what failed.
	fails map[failKey]*failFacts
	// families are the holders of several processes of one name together.
	families map[familyKey]*family
	// reuse follows how each bounded pool's ports come back into use.
	reuse map[state.PoolKey]*reuseFacts
	// resting are the rests whose end is known, soonest first.
	rests restQueue
	// ticks counts the ticks so far; audits the audits seen.
	ticks  int
	audits int
	// lastAudit is the time of the last audit.
	lastAudit model.Time
}

func newPortFacts() *portFacts {
	return &portFacts{
		holders:  make(map[holderKey]*holder),
		numbered: make([]*holder, 1),
		tuples:   make(map[tupleKey]*tupleUse),
		fails:    make(map[failKey]*failFacts),
		families: make(map[familyKey]*family),
		reuse:    make(map[state.PoolKey]*reuseFacts),
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

// owner returns the holder that a port was counted to, nil for none, and
// whether it was held when observation began.
func (p *portFacts) owner(port *state.Port) (h *holder, present bool) {
	return p.numbered[port.Mark>>1], port.Mark&markPresent != 0
}

// holderKey is a process's ports of one kind in one pool.
type holderKey struct {
	pid      int32
	process  string // only for processes without a PID
	pool     state.PoolKey
	protocol model.Protocol
	netns    int64
	// connections are TCP ports taken by connect: they are shared between
	// destinations and commonly pooled, so they are judged apart.
	connections bool
}

func compareHolders(a, b holderKey) int {
	conn := func(k holderKey) int {
		if k.connections {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.pid, b.pid),
		cmp.Compare(a.process, b.process),
		comparePools(a.pool, b.pool),
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.netns, b.netns),
		cmp.Compare(conn(a), conn(b)),
	)
}

func comparePools(a, b state.PoolKey) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns))
}

// holder is what one process holds of one pool. Its floor is the lowest number
// of ports held within a second: churn moves the number, a leak moves the floor.
type holder struct {
	key holderKey
	// number is its place in portFacts.numbered.
	number uint32
	// id is its identity in findings: it stays when its pool becomes known later.
	id      string
	process string
	// held is the present number; present of them were held when observation
	// began, and are no evidence of growth.
	held, present int
	// low is the floor of the second that is being filled.
	low int
	// seconds and coarse are floors of held-present; ticks is how many seconds
	// have been recorded, coarseLow the floor of the coarse span under way.
	seconds, coarse floors
	coarseLow       int
	ticks           int
	// acquired and released count since the holder appeared; short counts releases after less than a second.
	acquired, released, short uint64
	// lastLong is when a port was last given back after a second or more, long
	// how many were in each of the last seconds.
	lastLong model.Time
	long     [longSeconds]uint32
	// acquiredIn and releasedIn are acquisitions and releases by second.
	acquiredIn, releasedIn turnover
	// how counts the ways of acquisition.
	how [16]uint64
	// first is the first acquisition seen, last the last.
	first, last model.Time
	// holds is the distribution of how long released ports had been held.
	holds model.Histogram
	// family are the processes of its name, nil without one.
	family *family
	// empty is since when nothing has been held, 0 while something is.
	empty model.Time
}

// longSeconds is the length of holder.long, whose last second is under way.
const longSeconds = 4

// longGiven is how many ports were given back after a second or more, within
// the last seconds.
func (h *holder) longGiven() (n uint32) {
	for _, c := range h.long {
		n += c
	}
	return n
}

// growth is the number of ports held beyond those present at the start.
func (h *holder) growth() int { return h.held - h.present }

// floor returns the lowest growth within the second that ended ago seconds
// before the last tick; 0 before the holder appeared.
func (h *holder) floor(ago int) int {
	if ago >= h.ticks || ago >= secondFloors {
		return 0
	}
	return h.seconds.lowest(h.ticks-1-ago, h.ticks-1-ago)
}

// floorOver returns the lowest floor of n seconds, the last of which ended ago
// seconds before the last tick. Long spans are read from the coarse floors.
func (h *holder) floorOver(ago, n int) int {
	if ago+n <= secondFloors {
		return h.seconds.lowest(h.ticks-ago-n, h.ticks-1-ago)
	}
	last := h.ticks/coarseSeconds - 1 - ago/coarseSeconds
	first := last - max(n/coarseSeconds, 1) + 1
	if first < h.ticks/coarseSeconds-coarseFloors {
		return min(h.coarse.lowest(max(first, 0), last), 0)
	}
	return h.coarse.lowest(first, last)
}

// sumOver adds up acquisitions or releases over the last n recorded seconds.
func (h *holder) sumOver(of *turnover, n int) uint64 {
	return of.sum(h.ticks-min(n, h.ticks, secondFloors), h.ticks-1)
}

// take counts a port that was taken.
func (h *holder) take(how model.How, present bool, at model.Time) {
	h.empty = 0
	h.held++
	if int(how) < len(h.how) {
		h.how[how]++
	}
	if present {
		h.present++
		return
	}
	if h.first == 0 {
		h.first = at
	}
	h.last = at
	h.acquired++
	h.acquiredIn.add(h.ticks)
}

// give counts a port that was given back after it had been held for a while.
func (h *holder) give(held time.Duration, present bool, at model.Time) {
	h.held--
	if present {
		h.present--
	}
	h.low = min(h.low, h.growth())
	h.released++
	h.releasedIn.add(h.ticks)
	h.holds.Observe(uint64(max(held, 0)))
	if held < time.Second {
		h.short++
	} else {
		h.lastLong = at
		h.long[h.ticks%longSeconds]++
	}
	if h.held == 0 {
		h.empty = at
	}
}

func (h *holder) endSecond() {
	h.seconds.add(h.ticks, h.low, secondFloors)
	if h.ticks%coarseSeconds == 0 {
		h.coarseLow = h.low
	}
	h.coarseLow = min(h.coarseLow, h.low)
	h.ticks++
	h.long[h.ticks%longSeconds] = 0
	if h.ticks%coarseSeconds == 0 {
		h.coarse.add(h.ticks/coarseSeconds-1, h.coarseLow, coarseFloors)
	}
	h.low = h.growth()
}

// tupleKey is what a TCP connect's port must be unique for.
type tupleKey struct {
	netns         int64
	local, remote string
	rport         uint16
}

func compareTuples(a, b tupleKey) int {
	return cmp.Or(
		cmp.Compare(a.netns, b.netns),
		cmp.Compare(a.local, b.local),
		cmp.Compare(a.remote, b.remote),
		cmp.Compare(a.rport, b.rport),
	)
}

// tupleUse is how many ports one destination uses.
type tupleUse struct{ held, resting int }

// failKey groups failed allocations: by pool for ports of the system's choice, by destination for connects.
type failKey struct {
	pool  state.PoolKey
	netns int64
	// connect says that TCP's connect failed: for one destination only, whose
	// address is empty where the probe could not read it.
	connect bool
	remote  string
	rport   uint16
	// port is the port asked for outside any pool, 0 any.
	port uint16
	// taken says that the port asked for is held or at rest: a conflict over
	// one port rather than a lack of ports.
	taken bool
	// noneLeft says that the error means a lack of ports and nothing else.
	noneLeft bool
}

func compareFails(a, b failKey) int {
	number := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	return cmp.Or(
		comparePools(a.pool, b.pool),
		cmp.Compare(a.netns, b.netns),
		cmp.Compare(a.remote, b.remote),
		cmp.Compare(a.rport, b.rport),
		cmp.Compare(a.port, b.port),
		cmp.Compare(number(a.taken), number(b.taken)),
		cmp.Compare(number(a.connect), number(b.connect)),
		cmp.Compare(number(a.noneLeft), number(b.noneLeft)),
	)
}

// failFacts are failed allocations of one group.
type failFacts struct {
	protocol    model.Protocol
	how         model.How
	count       uint64
	first, last model.Time
	byProcess   map[processKey]uint64
	errors      map[string]uint64
}

type processKey struct {
	pid  int32
	name string
}

// apply folds one port or RPC event in, keeping the state's ports and the
// counts beside them in step.
func (p *portFacts) apply(w *world, b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindPortFail:
		v, _ := b.PortFail(e)
		p.fail(w, v)
		return
	case model.KindPortAudit:
		p.audits++
		p.lastAudit = e.Time
		return
	case model.KindRPCCall:
		v, _ := b.RPCCall(e)
		p.rpcCalls = p.rpcCalls || v.Flags&model.FlagSecondary == 0
		if v.Status == rpcOutOfResources && (v.Flags&model.FlagSecondary == 0 || !p.rpcCalls) {
			p.rpcFail(w, v)
		}
		return
	}
	held, rest := eventKeys(b, e)
	ports := &w.state.Ports
	before, wasHeld := ports.Get(held)
	restBefore, rested := ports.Get(rest)
	w.state.ApplyEvent(b, e)
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
		p.reuseOf(w, &restBefore, func(r *reuseFacts, _ uint64) { r.free(restBefore.LocalPort, e.Time) })
	}
	if laid {
		ports.Mark(rest, markApart)
		p.tupleAdd(&restAfter, 1)
		p.reuseOf(w, &restAfter, func(r *reuseFacts, _ uint64) { r.rest(restAfter.LocalPort) })
		p.rests.push(restEnd{at: restUntil(w, &restAfter), key: rest})
	}
}

// eventKeys returns the keys under which the event's port stands while it is
// held and while it rests.
func eventKeys(b *model.Batch, e *model.Event) (held, rest state.PortKey) {
	var local, remote string
	var netns int64
	switch e.Kind {
	case model.KindPortAcquire:
		v, _ := b.PortAcquire(e)
		local, remote, netns = v.LocalAddr, v.RemoteAddr, v.Netns
	case model.KindPortRelease:
		v, _ := b.PortRelease(e)
		local, remote, netns = v.LocalAddr, v.RemoteAddr, v.Netns
	case model.KindPortRest:
		v, _ := b.PortRest(e)
		local, remote, netns = v.LocalAddr, v.RemoteAddr, v.Netns
	case model.KindPortActive:
		v, _ := b.PortActive(e)
		local, remote, netns = v.LocalAddr, v.RemoteAddr, v.Netns
	}
	protocol, lport, rport := model.Protocol(e.Args[0]), uint16(e.Args[1]), uint16(e.Args[2])
	held = state.Key(
		e.Resource,
		state.Place{
			Netns:      netns,
			LocalAddr:  local,
			RemoteAddr: remote,
			LocalPort:  lport,
			RemotePort: rport,
			Protocol:   protocol,
		},
		false,
	)
	rest = held
	rest.Resting = true
	return held, rest
}

// isConnection says that a port is TCP's and was taken for one destination.
func isConnection(port *state.Port) bool {
	return port.Protocol == model.ProtocolTCP && port.RemotePort != 0 && port.How != model.HowBindAny &&
		port.How != model.HowBindPort &&
		port.How != model.HowListen &&
		port.How != model.HowAccept
}

// acquire counts a port that was taken and returns its mark.
func (p *portFacts) acquire(w *world, port *state.Port, e *model.Event) (mark uint32) {
	if port.Shared() || port.LocalPort == 0 {
		return markApart
	}
	p.tupleAdd(port, 1)
	if !isConnection(port) && w.state.Holders(port.Protocol, port.Netns, port.LocalPort) > 1 {
		// Another socket of a port that is taken: a server's sockets for its
		// clients (QUIC), one for each thread (SO_REUSEPORT), one for IPv6.
		return markApart
	}
	h := p.holder(w, port)
	present := e.Kind == model.KindPortActive && port.How != model.HowAudit
	mark = h.number << 1
	if present {
		mark |= markPresent
	}
	h.take(port.How, present, e.Time)
	if f := h.family; f != nil && f.sum != nil {
		f.sum.take(port.How, present, e.Time)
	}
	p.reuseOf(w, port, func(r *reuseFacts, size uint64) {
		r.expect(size)
		r.take(port.LocalPort, port.PID, e.Time)
		if port.Process != "" {
			r.names[port.PID] = port.Process
		}
	})
	return mark
}

func (p *portFacts) release(w *world, port *state.Port, e *model.Event) {
	if port.Shared() || port.LocalPort == 0 {
		return
	}
	p.tupleAdd(port, -1)
	h, present := p.owner(port)
	if h == nil {
		return
	}
	h.give(e.Time.Sub(port.Since), present, e.Time)
	if f := h.family; f != nil && f.sum != nil {
		f.sum.give(e.Time.Sub(port.Since), present, e.Time)
	}
	p.reuseOf(w, port, func(r *reuseFacts, _ uint64) { r.free(port.LocalPort, e.Time) })
}

func (p *portFacts) tupleAdd(port *state.Port, n int) {
	if port.Protocol != model.ProtocolTCP || port.RemotePort == 0 || port.Shared() {
		return
	}
	k := tupleKey{port.Netns, port.LocalAddr, port.RemoteAddr, port.RemotePort}
	u := p.tuples[k]
	if u == nil {
		u = &tupleUse{}
		p.tuples[k] = u
	}
	if port.Resting {
		u.resting += n
	} else {
		u.held += n
	}
	if u.held <= 0 && u.resting <= 0 {
		delete(p.tuples, k)
	}
}

func (p *portFacts) holder(w *world, port *state.Port) *holder {
	pool, _ := w.poolOf(port.Protocol, port.Netns, port.LocalPort)
	k := holderKey{pid: port.PID, pool: pool, protocol: port.Protocol, netns: port.Netns, connections: isConnection(port)}
	if port.PID <= 0 {
		k.process = port.Process
	}
	h := p.holders[k]
	if h == nil {
		h = &holder{key: k, id: leakKey(k)}
		p.holders[k] = h
		p.number(h)
	}
	if port.Process != "" {
		h.process = port.Process
	} else if h.process == "" {
		h.process = w.state.ProcessName(port.PID)
	}
	if h.family == nil {
		p.join(h)
	}
	return h
}

// number gives a new holder its number.
func (p *portFacts) number(h *holder) {
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
func (p *portFacts) rehome(w *world) {
	homeless := p.holderList(func(h *holder) bool { return h.key.pool == (state.PoolKey{}) })
	if len(homeless) == 0 {
		return
	}
	inside := make(map[*holder]map[state.PoolKey]int)
	for port := range w.state.Ports.All() {
		h, _ := p.owner(port)
		if h == nil || h.key.pool != (state.PoolKey{}) {
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
			k := h.key
			k.pool = pool
			if 2*n > h.held && p.holders[k] == nil {
				delete(p.holders, h.key)
				h.key = k
				p.holders[k] = h
			}
		}
	}
}

// holderList returns the holders that match in a fixed order.
func (p *portFacts) holderList(match func(*holder) bool) []*holder {
	var list []*holder
	for _, h := range p.holders {
		if match(h) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *holder) int { return compareHolders(a.key, b.key) })
	return list
}

// beginTick ends the second in every holder's history, when it has been seen
// for long enough, and ends the rests that are over.
func (p *portFacts) beginTick(now model.Time, st *state.State, whole bool) {
	p.ticks++
	for k, h := range p.holders {
		if whole {
			h.endSecond()
		}
		if h.held == 0 && h.empty != 0 && now.Sub(h.empty) > 5*time.Minute {
			delete(p.holders, k)
			p.leave(h)
			p.numbered[h.number] = nil
			p.spare = append(p.spare, h.number)
		}
	}
	if whole {
		for _, f := range p.families {
			if f.sum != nil {
				f.sum.endSecond()
			}
		}
	}
	for k, f := range p.fails {
		if now.Sub(f.last) > time.Minute {
			delete(p.fails, k)
		}
	}
	for len(p.rests) > 0 && p.rests[0].at <= now {
		end := p.rests.pop()
		port, rests := st.Ports.Get(end.key)
		if !rests || restEndOf(&port, end.at) > now {
			continue
		}
		p.tupleAdd(&port, -1)
		if pool, ok := poolOf(st, port.Protocol, port.Netns, port.LocalPort); ok {
			if r := p.reuse[pool]; r != nil {
				r.free(port.LocalPort, end.at)
			}
		}
		p.dropRest(st, &port, end.at)
	}
}

// dropRest takes a port whose rest is over out of the state, as the release
// event would that sources without such events never send.
func (p *portFacts) dropRest(st *state.State, port *state.Port, at model.Time) {
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
func restUntil(w *world, port *state.Port) model.Time {
	if port.RestUntil != 0 {
		return port.RestUntil
	}
	if w.windows() {
		return port.Since.Add(w.settings.Leak.RestWindows.Std())
	}
	return port.Since.Add(w.settings.Leak.RestLinux.Std())
}

// poolOf returns the most specific pool that a port belongs to: the smallest.
func (w *world) poolOf(protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	return poolOf(w.state, protocol, netns, port)
}

func poolOf(st *state.State, protocol model.Protocol, netns int64, port uint16) (state.PoolKey, bool) {
	var best *state.Pool
	var key state.PoolKey
	for k, pool := range st.Pools {
		if !pool.Contains(protocol, netns, port) {
			continue
		}
		if best == nil || pool.Size < best.Size || pool.Size == best.Size && comparePools(k, key) < 0 {
			best, key = pool, k
		}
	}
	return key, best != nil
}

// ephemeralPool returns the pool from which the system itself chooses ports.
func (w *world) ephemeralPool(protocol model.Protocol, netns int64) (state.PoolKey, bool) {
	var key state.PoolKey
	found := false
	for k, pool := range w.state.Pools {
		if pool.Source == model.PoolEphemeral && pool.Protocol == protocol && (pool.Netns == 0 || pool.Netns == netns) &&
			(!found || comparePools(k, key) < 0) {
			key, found = k, true
		}
	}
	return key, found
}

// rpcPool returns the pool from which the RPC runtime takes its ports.
func (w *world) rpcPool() state.PoolKey {
	for _, pool := range w.state.SortedPools() {
		if pool.Source == model.PoolRPC {
			return state.PoolKey{Name: pool.Name, Protocol: pool.Protocol, Netns: pool.Netns}
		}
	}
	return state.PoolKey{}
}

func (w *world) poolSize(k state.PoolKey) uint64 {
	if pool := w.state.Pools[k]; pool != nil {
		return pool.Size
	}
	return 0
}

// rpcOutOfResources is RPC_S_OUT_OF_RESOURCES: the port range is used up.
const rpcOutOfResources = 1721

func (p *portFacts) fail(w *world, v model.PortFail) {
	k := failKey{
		netns:    v.Netns,
		port:     v.LocalPort,
		taken:    v.LocalPort != 0,
		noneLeft: v.LocalPort == 0 && noPortLeft(v.ErrorName),
	}
	switch {
	case v.LocalPort != 0:
		if pool, ok := w.poolOf(v.Protocol, v.Netns, v.LocalPort); ok {
			k.pool, k.port = pool, 0 // one group to a pool: its ports are tried one after the other
		}
	case v.How == model.HowRPC:
		k.pool = w.rpcPool()
	default:
		k.pool, _ = w.ephemeralPool(v.Protocol, v.Netns)
	}
	if v.Protocol == model.ProtocolTCP && v.How == model.HowConnect {
		k.connect, k.remote, k.rport = true, v.RemoteAddr, v.RemotePort
	}
	name := v.ErrorName
	if name == "" {
		name = "error " + itoa(v.Error)
	}
	p.failed(w, k, v.Protocol, v.How, v.Time, processKey{v.PID, v.Process}, name)
}

func (p *portFacts) rpcFail(w *world, v model.RPCCall) {
	k := failKey{pool: w.rpcPool(), noneLeft: true}
	p.failed(w, k, k.pool.Protocol, model.HowRPC, v.Time, processKey{v.PID, v.Process}, "RPC_S_OUT_OF_RESOURCES")
}

func (p *portFacts) failed(
	w *world,
	k failKey,
	protocol model.Protocol,
	how model.How,
	at model.Time,
	who processKey,
	errorName string,
) {
	if who.name == "" {
		who.name = w.state.ProcessName(who.pid)
	}
	f := p.fails[k]
	if f == nil {
		f = &failFacts{
			protocol:  protocol,
			how:       how,
			first:     at,
			byProcess: make(map[processKey]uint64),
			errors:    make(map[string]uint64),
		}
		p.fails[k] = f
	}
	f.count++
	f.last = at
	f.byProcess[who]++
	f.errors[errorName]++
}
