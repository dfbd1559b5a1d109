package detect

import (
	"cmp"
	"fmt"
	"lostbeat/fold"
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
	tuple  fold.Tuple
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
	process fold.ProcessKey
	count   int
}

func newPortExhaustion(s Settings) detector {
	return &portExhaustion{
		s.Exhaustion,
		newTracker[exhausted]("port-exhaustion", s.Lifecycle),
		newTracker[exhausted]("port-exhaustion", s.Lifecycle),
	}
}

func (d *portExhaustion) tick(w *tick, emit func(model.Finding)) {
	full := d.judgePools(w)
	d.judgeTargets(w, full)
	describe := func(in *incident[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.settle(w, confirmExhaustion, emit, describe)
	d.targets.settle(w, confirmExhaustion, emit, describe)
}

func (d *portExhaustion) finish(w *tick, emit func(model.Finding)) {
	describe := func(in *incident[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.flush(w, emit, describe)
	d.targets.flush(w, emit, describe)
}

// judgePools judges each pool by distinct ports. It returns the pools that are
// full by that measure, which says nothing about single destinations.
func (d *portExhaustion) judgePools(w *tick) map[state.PoolKey]bool {
	full := make(map[state.PoolKey]bool)
	for _, pool := range w.State.SortedPools() {
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
		share := fold.Ratio(float64(used+resting), float64(size))
		refused, by, errors, fresh := d.refused(w, func(k fold.FailKey) bool { return k.Pool == key && !k.Connect })
		caseKey := "pool/" + pool.Protocol.String() + "/" + fold.Printable(pool.Name)
		if pool.Netns != 0 {
			caseKey += "/netns" + itoa(pool.Netns)
		}
		var in *incident[exhausted]
		switch {
		case refused > 0 && fresh && share >= d.settings.FullShare:
			in = d.pools.raise(w, caseKey, w.Now-tickEvery)
			in.raised = max(in.raised, confirmExhaustion)
		case share >= d.settings.WarnShare:
			in = d.pools.raise(w, caseKey, w.Now-tickEvery)
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
				return pool.Contains(p.Protocol, p.Netns, p.LocalPort) && (p.Protocol != model.ProtocolTCP || !fold.IsConnection(p))
			}),
		}
	}
	return full
}

// boundPorts counts the ports of a TCP pool that are taken for every destination.
func (d *portExhaustion) boundPorts(w *tick, pool *state.Pool) (used, resting int) {
	if pool.Used+pool.Resting < int(d.settings.ClearShare*float64(pool.Size)) {
		return pool.Used, pool.Resting // an upper bound, and low enough
	}
	seen := make(map[uint16]bool)
	for p := range w.State.Ports.All() {
		if !p.Shared() && pool.Contains(p.Protocol, p.Netns, p.LocalPort) && !fold.IsConnection(p) && !p.Resting {
			seen[p.LocalPort] = true
		}
	}
	return len(seen), 0
}

// judgeTargets judges each destination of TCP connections.
func (d *portExhaustion) judgeTargets(w *tick, full map[state.PoolKey]bool) {
	for _, k := range slices.SortedFunc(maps.Keys(w.Ports.Tuples), fold.CompareTuples) {
		u := w.Ports.Tuples[k]
		if uint64(u.Held+u.Resting) < d.settings.MinPorts {
			continue
		}
		pool, ok := w.EphemeralPool(model.ProtocolTCP, k.Netns)
		size := int(w.PoolSize(pool))
		if !ok || uint64(size) < d.settings.MinPorts || full[pool] {
			continue
		}
		share := fold.Ratio(float64(u.Held+u.Resting), float64(size))
		if share < d.settings.ClearShare {
			continue
		}
		refused, by, errors, fresh := d.refused(w, func(f fold.FailKey) bool {
			// A refusal without a destination is put down to those that are full.
			unknown := f.Remote == "" && share >= d.settings.FullShare
			return f.Connect && f.Netns == k.Netns && (unknown || f.Remote == k.Remote && f.RemotePort == k.RemotePort)
		})
		caseKey := fmt.Sprintf("to/%s:%d", fold.Printable(k.Remote), k.RemotePort)
		if k.Netns != 0 {
			caseKey += "/netns" + itoa(k.Netns)
		}
		if k.Local != "" {
			caseKey += "/from/" + fold.Printable(k.Local)
		}
		var in *incident[exhausted]
		switch {
		case refused > 0 && fresh:
			in = d.targets.raise(w, caseKey, w.Now-tickEvery)
			in.raised = max(in.raised, confirmExhaustion)
		case share >= d.settings.WarnShare:
			in = d.targets.raise(w, caseKey, w.Now-tickEvery)
		default:
			in = d.targets.keep(w, caseKey)
		}
		if in == nil {
			continue
		}
		w.explained[target{k.Netns, k.Remote, k.RemotePort}], w.explained[target{netns: k.Netns}] = true, true
		in.data = exhausted{
			pool:      pool,
			limits:    w.State.Pools[pool],
			tuple:     k,
			used:      u.Held,
			resting:   u.Resting,
			size:      size,
			peak:      max(in.data.peak, u.Held+u.Resting),
			refused:   max(refused, in.data.refused),
			refusedBy: by,
			errors:    errors,
			elsewhere: len(w.Ports.Tuples) - 1,
			holders: holdersOf(w, func(p *state.Port) bool {
				return p.Protocol == model.ProtocolTCP && p.Netns == k.Netns && p.LocalAddr == k.Local &&
					p.RemoteAddr == k.Remote &&
					p.RemotePort == k.RemotePort &&
					!p.Shared()
			}),
		}
	}
}

// refused sums the failed allocations that match; fresh says that one of them
// happened within the last while.
func (d *portExhaustion) refused(
	w *tick,
	match func(fold.FailKey) bool,
) (n uint64, by []holderCount, errors []string, fresh bool) {
	who := make(map[fold.ProcessKey]int)
	names := make(map[string]bool)
	for _, k := range slices.SortedFunc(maps.Keys(w.Ports.Fails), fold.CompareFails) {
		if !match(k) {
			continue
		}
		f := w.Ports.Fails[k]
		n += f.Count
		fresh = fresh || w.Now.Sub(f.Last) <= d.settings.FailuresFor.Std()
		for p, c := range f.ByProcess {
			who[p] += int(c)
		}
		for e := range f.Errors {
			names[e] = true
		}
	}
	return n, rank(who), slices.Sorted(maps.Keys(names)), fresh
}

// holdersOf ranks the processes that hold the ports that match.
func holdersOf(w *tick, match func(*state.Port) bool) []holderCount {
	counts := make(map[fold.ProcessKey]int)
	for p := range w.State.Ports.All() {
		if !p.Resting && match(p) {
			name := p.Process
			if name == "" {
				name = w.State.ProcessName(p.PID)
			}
			counts[fold.ProcessKey{PID: p.PID, Name: name}]++
		}
	}
	return rank(counts)
}

// rank returns the largest counts first, at most five.
func rank(counts map[fold.ProcessKey]int) []holderCount {
	list := make([]holderCount, 0, len(counts))
	for p, n := range counts {
		list = append(list, holderCount{p, n})
	}
	slices.SortFunc(list, func(a, b holderCount) int {
		return cmp.Or(
			cmp.Compare(b.count, a.count),
			cmp.Compare(a.process.PID, b.process.PID),
			cmp.Compare(a.process.Name, b.process.Name),
		)
	})
	return list[:min(len(list), 5)]
}

func (d *portExhaustion) describe(w *tick, in *incident[exhausted]) model.Finding {
	data := &in.data
	ongoing := in.touchedOrOpen()
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "pool",
			CPU:      -1,
			PID:      -1,
			Pool:     fold.Printable(data.pool.Name),
			Protocol: data.pool.Protocol.String(),
		},
	}
	f.Subject.Netns = fold.Printable(data.limits.NetnsName)
	what := "Pool " + poolText(data.limits)
	if !data.isPool {
		f.Subject.Port = data.tuple.RemotePort
		what += fmt.Sprintf(" towards %s port %d", fold.Printable(data.tuple.Remote), data.tuple.RemotePort)
	}
	taken := fmt.Sprintf("%s of %s ports", number(data.used+data.resting), number(data.size))
	inUse := taken + " in use"
	switch {
	case data.resting > 0 && data.used == 0:
		inUse = taken + " at rest (TIME_WAIT), none in use"
	case data.resting > 0:
		inUse = fmt.Sprintf("%s taken, %s in use and %s at rest (TIME_WAIT)", taken, number(data.used), number(data.resting))
	}
	share := fold.Ratio(float64(data.used+data.resting), float64(data.size))
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
			f.Title += " (" + fold.Printable(strings.Join(data.errors, ", ")) + ")"
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
		f.Evidence = append(f.Evidence, evidence("held by "+task(h.process.Name, h.process.PID), float64(h.count), "ports"))
	}
	for _, h := range data.refusedBy[:min(len(data.refusedBy), 3)] {
		f.Evidence = append(
			f.Evidence,
			evidence("refused to "+task(h.process.Name, h.process.PID), float64(h.count), "times"),
		)
	}
	if len(data.holders) > 0 {
		top := data.holders[0]
		f.Subject.PID, f.Subject.Process = top.process.PID, fold.Printable(top.process.Name)
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"%s holds %s of them (%s)",
				task(top.process.Name, top.process.PID),
				number(top.count),
				percent(fold.Ratio(float64(top.count), float64(data.size))),
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
func (d *portExhaustion) rest(w *tick) time.Duration {
	if w.Windows() {
		return w.settings.Leak.RestWindows.Std()
	}
	return w.settings.Leak.RestLinux.Std()
}
