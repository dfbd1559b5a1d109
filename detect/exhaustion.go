package detect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// portExhaustion finds pools that are used up, or nearly: for bind a port is
// taken for everyone; for TCP's connect only for one destination.
type portExhaustion struct {
	settings ExhaustionSettings
	pools    tracker[exhausted]
	targets  tracker[exhausted]
}

// confirmExhaustion is the number of ticks for which a pool must be nearly
// full; a refused allocation in a full pool needs no confirmation.
const confirmExhaustion = 2

// exhausted is what is known about one exhausted pool or destination.
type exhausted struct {
	pool state.PoolKey
	// limits is the pool as last known: it goes with its network namespace.
	limits *state.Pool
	tuple  tupleKey
	isPool bool
	// used and resting are ports in use and at rest; peak the most of their sum.
	used, resting, size, peak int
	holders                   []holderCount
	refused                   uint64
	refusedBy                 []holderCount
	errors                    []string
	// elsewhere says how many destinations have free ports still.
	elsewhere int
}

// holderCount is a number of ports of a process.
type holderCount struct {
	process processKey
	count   int
}

func newPortExhaustion(s Settings) detector {
	return &portExhaustion{
		s.Exhaustion,
		newTracker[exhausted]("port-exhaustion", s.Lifecycle),
		newTracker[exhausted]("port-exhaustion", s.Lifecycle),
	}
}

func (d *portExhaustion) tick(w *world, emit func(model.Finding)) {
	full := d.judgePools(w)
	d.judgeTargets(w, full)
	describe := func(in *incident[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.settle(w, confirmExhaustion, emit, describe)
	d.targets.settle(w, confirmExhaustion, emit, describe)
}

func (d *portExhaustion) finish(w *world, emit func(model.Finding)) {
	describe := func(in *incident[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.flush(w, emit, describe)
	d.targets.flush(w, emit, describe)
}

// judgePools judges each pool by distinct ports. It returns the pools that are
// full by that measure, which says nothing about single destinations.
func (d *portExhaustion) judgePools(w *world) map[state.PoolKey]bool {
	full := make(map[state.PoolKey]bool)
	for _, pool := range w.state.SortedPools() {
		key := state.PoolKey{Name: pool.Name, Protocol: pool.Protocol, Netns: pool.Netns}
		size := int(pool.Size)
		if uint64(size) < d.settings.MinPorts {
			continue
		}
		// TCP connections of several destinations share ports: only ports that
		// are bound are taken for everyone.
		used, resting := pool.Used, pool.Resting
		if pool.Protocol == model.ProtocolTCP {
			used, resting = d.boundPorts(w, pool)
		}
		share := ratio(float64(used+resting), float64(size))
		refused, by, errors, fresh := d.refused(w, func(k failKey) bool { return k.pool == key && !k.connect })
		caseKey := "pool/" + pool.Protocol.String() + "/" + clean(pool.Name)
		if pool.Netns != 0 {
			caseKey += "/netns" + itoa(pool.Netns)
		}
		var in *incident[exhausted]
		switch {
		case refused > 0 && fresh && share >= d.settings.FullShare:
			in = d.pools.raise(w, caseKey, w.now-tickEvery)
			in.raised = max(in.raised, confirmExhaustion)
		case share >= d.settings.WarnShare:
			in = d.pools.raise(w, caseKey, w.now-tickEvery)
		case share >= d.settings.ClearShare:
			in = d.pools.keep(w, caseKey)
		}
		if in == nil {
			continue
		}
		full[key] = true
		w.explained[key] = true
		in.data = exhausted{
			pool:      key,
			limits:    pool,
			isPool:    true,
			used:      used,
			resting:   resting,
			size:      size,
			peak:      max(in.data.peak, used+resting),
			refused:   max(refused, in.data.refused),
			refusedBy: by,
			errors:    errors,
			holders: holdersOf(w, func(p *state.Port) bool {
				return pool.Contains(p.Protocol, p.Netns, p.LocalPort) && (p.Protocol != model.ProtocolTCP || !isConnection(p))
			}),
		}
	}
	return full
}

// boundPorts counts the ports of a TCP pool that are taken for every destination.
func (d *portExhaustion) boundPorts(w *world, pool *state.Pool) (used, resting int) {
	if pool.Used+pool.Resting < int(d.settings.ClearShare*float64(pool.Size)) {
		return pool.Used, pool.Resting // an upper bound, and low enough
	}
	seen := make(map[uint16]bool)
	for p := range w.state.Ports.All() {
		if !p.Shared() && pool.Contains(p.Protocol, p.Netns, p.LocalPort) && !isConnection(p) && !p.Resting {
			seen[p.LocalPort] = true
		}
	}
	return len(seen), 0
}

// judgeTargets judges each destination of TCP connections.
func (d *portExhaustion) judgeTargets(w *world, full map[state.PoolKey]bool) {
	for _, k := range slices.SortedFunc(maps.Keys(w.ports.tuples), compareTuples) {
		u := w.ports.tuples[k]
		if uint64(u.held+u.resting) < d.settings.MinPorts {
			continue
		}
		pool, ok := w.ephemeralPool(model.ProtocolTCP, k.netns)
		size := int(w.poolSize(pool))
		if !ok || uint64(size) < d.settings.MinPorts || full[pool] {
			continue
		}
		share := ratio(float64(u.held+u.resting), float64(size))
		if share < d.settings.ClearShare {
			continue
		}
		refused, by, errors, fresh := d.refused(w, func(f failKey) bool {
			// A refusal without a destination is put down to those that are full.
			unknown := f.remote == "" && share >= d.settings.FullShare
			return f.connect && f.netns == k.netns && (unknown || f.remote == k.remote && f.rport == k.rport)
		})
		caseKey := fmt.Sprintf("to/%s:%d", clean(k.remote), k.rport)
		if k.netns != 0 {
			caseKey += "/netns" + itoa(k.netns)
		}
		if k.local != "" {
			caseKey += "/from/" + clean(k.local)
		}
		var in *incident[exhausted]
		switch {
		case refused > 0 && fresh:
			in = d.targets.raise(w, caseKey, w.now-tickEvery)
			in.raised = max(in.raised, confirmExhaustion)
		case share >= d.settings.WarnShare:
			in = d.targets.raise(w, caseKey, w.now-tickEvery)
		default:
			in = d.targets.keep(w, caseKey)
		}
		if in == nil {
			continue
		}
		w.explained[target{k.netns, k.remote, k.rport}], w.explained[target{netns: k.netns}] = true, true
		in.data = exhausted{
			pool:      pool,
			limits:    w.state.Pools[pool],
			tuple:     k,
			used:      u.held,
			resting:   u.resting,
			size:      size,
			peak:      max(in.data.peak, u.held+u.resting),
			refused:   max(refused, in.data.refused),
			refusedBy: by,
			errors:    errors,
			elsewhere: len(w.ports.tuples) - 1,
			holders: holdersOf(w, func(p *state.Port) bool {
				return p.Protocol == model.ProtocolTCP && p.Netns == k.netns && p.LocalAddr == k.local &&
					p.RemoteAddr == k.remote &&
					p.RemotePort == k.rport &&
					!p.Shared()
			}),
		}
	}
}

// refused sums the failed allocations that match; fresh says that one of them
// happened within the last while.
func (d *portExhaustion) refused(
	w *world,
	match func(failKey) bool,
) (n uint64, by []holderCount, errors []string, fresh bool) {
	who := make(map[processKey]int)
	names := make(map[string]bool)
	for _, k := range slices.SortedFunc(maps.Keys(w.ports.fails), compareFails) {
		if !match(k) {
			continue
		}
		f := w.ports.fails[k]
		n += f.count
		fresh = fresh || w.now.Sub(f.last) <= d.settings.FailuresFor.Std()
		for p, c := range f.byProcess {
			who[p] += int(c)
		}
		for e := range f.errors {
			names[e] = true
		}
	}
	return n, rank(who), slices.Sorted(maps.Keys(names)), fresh
}

// holdersOf ranks the processes that hold the ports that match.
func holdersOf(w *world, match func(*state.Port) bool) []holderCount {
	counts := make(map[processKey]int)
	for p := range w.state.Ports.All() {
		if !p.Resting && match(p) {
			name := p.Process
			if name == "" {
				name = w.state.ProcessName(p.PID)
			}
			counts[processKey{p.PID, name}]++
		}
	}
	return rank(counts)
}

// rank returns the largest counts first, at most five.
func rank(counts map[processKey]int) []holderCount {
	list := make([]holderCount, 0, len(counts))
	for p, n := range counts {
		list = append(list, holderCount{p, n})
	}
	slices.SortFunc(list, func(a, b holderCount) int {
		return cmp.Or(
			cmp.Compare(b.count, a.count),
			cmp.Compare(a.process.pid, b.process.pid),
			cmp.Compare(a.process.name, b.process.name),
		)
	})
	return list[:min(len(list), 5)]
}

func (d *portExhaustion) describe(w *world, in *incident[exhausted]) model.Finding {
	data := &in.data
	ongoing := in.touchedOrOpen()
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "pool",
			CPU:      -1,
			PID:      -1,
			Pool:     clean(data.pool.Name),
			Protocol: data.pool.Protocol.String(),
		},
	}
	f.Subject.Netns = clean(data.limits.NetnsName)
	what := "Pool " + poolText(data.limits)
	if !data.isPool {
		f.Subject.Port = data.tuple.rport
		what += fmt.Sprintf(" towards %s port %d", clean(data.tuple.remote), data.tuple.rport)
	}
	taken := fmt.Sprintf("%s of %s ports", number(data.used+data.resting), number(data.size))
	inUse := taken + " in use"
	switch {
	case data.resting > 0 && data.used == 0:
		inUse = taken + " at rest (TIME_WAIT), none in use"
	case data.resting > 0:
		inUse = fmt.Sprintf("%s taken, %s in use and %s at rest (TIME_WAIT)", taken, number(data.used), number(data.resting))
	}
	share := ratio(float64(data.used+data.resting), float64(data.size))
	if data.refused > 0 {
		f.Severity = model.SeverityCritical
		f.Title = fmt.Sprintf(
			"%s %s exhausted: %s, %s refused",
			what,
			tense(ongoing, "is", "was"),
			inUse,
			plural(data.refused, "allocation"),
		)
		if len(data.errors) > 0 {
			f.Title += " (" + clean(strings.Join(data.errors, ", ")) + ")"
		}
	} else {
		f.Title = fmt.Sprintf("%s %s nearly exhausted: %s", what, tense(ongoing, "is", "was"), inUse)
	}
	f.Evidence = []model.Evidence{
		evidence(
			"in use or at rest",
			share,
			"ratio",
		), evidence("in use", float64(data.used), "ports"), evidence("at rest", float64(data.resting), "ports"),
		evidence(
			"size of the pool",
			float64(data.size),
			"ports",
		), evidence("most in use or at rest", float64(data.peak), "ports"), evidence("allocations "+
			"refused", float64(data.refused), "times"),
	}
	for _, h := range data.holders {
		f.Evidence = append(f.Evidence, evidence("held by "+task(h.process.name, h.process.pid), float64(h.count), "ports"))
	}
	for _, h := range data.refusedBy[:min(len(data.refusedBy), 3)] {
		f.Evidence = append(
			f.Evidence,
			evidence("refused to "+task(h.process.name, h.process.pid), float64(h.count), "times"),
		)
	}
	if len(data.holders) > 0 {
		top := data.holders[0]
		f.Subject.PID, f.Subject.Process = top.process.pid, clean(top.process.name)
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"%s holds %s of them (%s)",
				task(top.process.name, top.process.pid),
				number(top.count),
				percent(ratio(float64(top.count), float64(data.size))),
			),
		)
	}
	if data.resting > data.used {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"most of them are at rest (TIME_WAIT): ports are used faster than they come back, about %s a second is the "+
					"most that this pool can bear",
				rateText(float64(data.size)/d.rest(w).Seconds()),
			),
		)
	}
	if !data.isPool {
		f.RuledOut = append(
			f.RuledOut,
			fmt.Sprintf(
				"other destinations are not affected: a connection needs a free port only for its own destination (%s in use)",
				plural(data.elsewhere, "other destination"),
			),
		)
	} else if data.resting == 0 {
		f.RuledOut = append(f.RuledOut, "not rest (TIME_WAIT): all of them are open sockets")
	}
	switch {
	case data.resting > data.used:
		f.Advice = []string{
			"keep connections open and reuse them; not when the peer closes them after each request anyway",
			"net.ipv4.tcp_tw_reuse=1 lets connect take resting ports; not through NAT that reorders time stamps",
		}
	case !data.isPool:
		f.Advice = []string{
			"spread the connections over more local or remote addresses, or share them; not when the peer is what holds " +
				"them open",
			"widen net.ipv4.ip_local_port_range; not when a process leaks: it fills any range",
		}
	default:
		f.Advice = []string{
			"stop or mend the largest holder; not when all holders hold about the same: then the pool is too small",
			"widen the pool (net.ipv4.ip_local_port_range, or the range that was configured); not when a process leaks: it " +
				"fills any range",
		}
	}
	return f
}

// rest is how long a closed TCP port rests.
func (d *portExhaustion) rest(w *world) time.Duration {
	if w.windows() {
		return w.settings.Leak.RestWindows.Std()
	}
	return w.settings.Leak.RestLinux.Std()
}
