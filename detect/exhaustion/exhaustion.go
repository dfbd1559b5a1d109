package exhaustion

import (
	"cmp"
	_ "embed"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// portExhaustion finds pools that are used up, or nearly: for bind a port is
// taken for everyone; for TCP's connect only for one destination.
type portExhaustion struct {
	settings Settings
	pools    detect.Cases[exhausted]
	targets  detect.Cases[exhausted]
	searches detect.Cases[search]
	refusals refusalCases
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
	// refused counts all refusals of the case, refusedBy those of the processes that had most; peak is the most ports
	// that were taken.
	refused   uint64
	refusedBy []holderCount
	peak      int
	// boundFirst is how many connections were bound before they were connected,
	// at most, and destinations to how many.
	boundFirst, destinations int
	// worst is the second in which most allocations were refused or, while none
	// were, most ports were taken.
	worst moment
}

// moment is one second of a pool or destination.
type moment struct {
	// used and resting are ports in use and at rest.
	used, resting, size int
	holders             []holderCount
	errors              []string
	// elsewhere says how many destinations have free ports still.
	elsewhere int
}

// taken is how many ports nobody else can have.
func (m *moment) taken() int { return m.used + m.resting }

// text says how many ports are in use and at rest.
func (m *moment) text(p model.Protocol) string {
	taken := fmt.Sprintf("%s of %s ports", words.Number(m.taken()), words.Number(m.size))
	switch {
	case m.resting > 0 && m.used == 0:
		return taken + " " + atRest(p) + ", none in use"
	case m.resting > 0:
		return fmt.Sprintf(
			"%s taken, %s in use and %s %s", taken, words.Number(m.used), words.Number(m.resting), atRest(p),
		)
	}
	return taken + " in use"
}

// atRest names the rest of a protocol's ports.
func atRest(p model.Protocol) string {
	if p == model.ProtocolTCP {
		return "in TIME_WAIT"
	}
	return "at rest"
}

// destination writes a remote address with its port.
func destination(remote string, port uint16) string {
	return net.JoinHostPort(fold.Printable(remote), words.Itoa(port))
}

// holderCount is a number of ports of a process.
type holderCount struct {
	process fold.ProcessKey
	count   int
}

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("exhaustion", doc, New, nil) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &portExhaustion{
		settings: s,
		pools:    detect.NewCases[exhausted](name, l),
		targets:  detect.NewCases[exhausted](name, l),
		searches: detect.NewCases[search](name, l),
		refusals: newRefusals(s, l),
	}
}

// name is the detector's name in findings.
const name = "port-exhaustion"

// reusedAfter is how long no allocation must have been refused before ports at rest that are taken again count as free.
const reusedAfter = 2 * time.Second

// Judge implements detect.Detector.
func (d *portExhaustion) Judge(w *detect.Tick) {
	if w.Tables.Any() {
		return // port-snapshot judges tables: nothing is known of what happened between two
	}
	full := d.judgePools(w)
	d.judgeTargets(w, full)
	d.judgeSearches(w, full)
	d.endEmptied(w)
}

// emptiedFor is how long a pool must be far from full for its case to be over.
const emptiedFor = 3 * time.Second

// endEmptied ends the cases of pools and destinations that are far from full by
// now: nothing is left of a pool's exhaustion when its holder has ended.
func (d *portExhaustion) endEmptied(w *detect.Tick) {
	over := func(in *detect.Case[exhausted], taken int) bool {
		return in.Open && !in.Touched && (w.Final || w.Now.Sub(in.Seen) >= emptiedFor) &&
			float64(taken) < d.settings.ClearShare/2*float64(in.Data.worst.size)
	}
	for _, in := range d.pools.All() {
		taken := 0
		if pool := w.State.Pools[in.Data.pool]; pool != nil {
			taken = pool.Used + pool.Resting
		}
		if over(in, taken) {
			d.pools.End(in.Key)
		}
	}
	for _, in := range d.targets.All() {
		taken := 0
		if u := w.Ports.Tuples[in.Data.tuple]; u != nil {
			taken = u.Held + u.Resting
		}
		if over(in, taken) {
			d.targets.End(in.Key)
		}
	}
}

// Report implements detect.Detector.
func (d *portExhaustion) Report(w *detect.Tick, emit func(model.Finding)) {
	describe := func(in *detect.Case[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.Settle(w, confirmExhaustion, emit, describe)
	d.targets.Settle(w, confirmExhaustion, emit, describe)
	d.searches.Settle(w, 1, emit, func(in *detect.Case[search]) model.Finding { return d.describeSearch(w, in) })
	d.refusals.report(w, emit)
}

// Finish implements detect.Detector.
func (d *portExhaustion) Finish(w *detect.Tick, emit func(model.Finding)) {
	describe := func(in *detect.Case[exhausted]) model.Finding { return d.describe(w, in) }
	d.pools.Flush(w, emit, describe)
	d.targets.Flush(w, emit, describe)
	d.searches.Flush(w, emit, func(in *detect.Case[search]) model.Finding { return d.describeSearch(w, in) })
	d.refusals.cases.Flush(w, emit, describeRefusals)
}

// judgePools judges each pool by distinct ports. It returns the pools that are
// full by that measure, which says nothing about single destinations.
func (d *portExhaustion) judgePools(w *detect.Tick) map[state.PoolKey]bool {
	full := make(map[state.PoolKey]bool)
	for _, pool := range w.State.SortedPools() {
		key := state.PoolKey{Name: pool.Name, Protocol: pool.Protocol, Netns: pool.Netns}
		size := int(pool.Size)
		if size < 2 {
			continue // a conflict over one port
		}
		small := uint64(size) < d.settings.MinPorts
		// TCP connections of several destinations share ports: only ports that
		// are bound are taken for everyone.
		used, resting := pool.Used, pool.Resting
		if pool.Protocol == model.ProtocolTCP {
			used, resting = d.boundPorts(w, pool)
		}
		share := fold.Ratio(float64(used+resting), float64(size))
		refused := d.refused(w, func(k fold.FailKey) bool { return k.Pool == key && !k.Connect })
		caseKey := "pool/" + pool.Protocol.String() + "/" + fold.Printable(pool.Name)
		if pool.Netns != 0 {
			caseKey += "/netns" + words.Itoa(pool.Netns)
		}
		known := d.pools.Get(caseKey)
		var in *detect.Case[exhausted]
		switch {
		case refused.fresh && share >= d.settings.FullShare && (!small || refused.noneLeft || refused.recent >= uint64(size)):
			in = d.pools.Raise(w, caseKey, w.Now-fold.Second)
			in.Raised = max(in.Raised, confirmExhaustion)
		case small: // it is meant to be full, as long as nobody asks for more
		case share >= d.settings.WarnShare:
			in = d.pools.Raise(w, caseKey, w.Now-fold.Second)
		case share >= d.settings.ClearShare:
			in = d.pools.Keep(w, caseKey)
		}
		refused.count(known, in)
		if known != nil && known.Open {
			w.Claim(detect.PoolRefusals{Pool: key}) // it may have been emptied within the second
		}
		if in == nil {
			continue
		}
		full[key] = true
		w.Claim(detect.PoolRefusals{Pool: key})
		data := &in.Data
		data.pool, data.limits, data.isPool = key, pool, true
		data.peak = max(data.peak, used+resting)
		if pool.Protocol == model.ProtocolTCP {
			data.countBound(w, pool)
		}
		if in.Worst(float64(refused.second), float64(used+resting)) {
			data.worst = moment{
				used: used, resting: resting, size: size, errors: refused.errors,
				holders: holdersOf(w, func(p *state.Port) bool {
					return pool.Contains(p.Protocol, p.Netns, p.LocalPort) &&
						(p.Protocol != model.ProtocolTCP || !fold.IsConnection(p))
				}),
			}
		}
	}
	return full
}

// countBound counts the connections of a pool whose port was bound before they
// were connected. Where the stream does not tell when a bound port is connected,
// its rest does.
func (e *exhausted) countBound(w *detect.Tick, pool *state.Pool) {
	type destination struct {
		addr string
		port uint16
	}
	n, to := 0, make(map[destination]bool)
	for p := range w.AllPorts() {
		if fold.BoundFirst(p) && pool.Contains(p.Protocol, p.Netns, p.LocalPort) {
			n++
			to[destination{p.RemoteAddr, p.RemotePort}] = true
		}
	}
	if n > e.boundFirst {
		e.boundFirst, e.destinations = n, len(to)
	}
}

// shares says that most of the ports would not be taken for every destination if
// they were not bound first.
func (e *exhausted) shares() bool {
	return e.isPool && e.limits.Source == model.PoolEphemeral && e.boundFirst*2 >= e.peak && e.boundFirst > 0
}

// boundPorts counts the ports of a TCP pool that are taken for every
// destination: those that are bound, and those at rest that had been. Outside
// the range from which the system chooses, a port is never taken in another way.
func (d *portExhaustion) boundPorts(w *detect.Tick, pool *state.Pool) (used, resting int) {
	if pool.Used+pool.Resting < int(d.settings.ClearShare*float64(pool.Size)) {
		return pool.Used, pool.Resting // an upper bound, and low enough
	}
	held, rests := make(map[uint16]bool), make(map[uint16]bool)
	for p := range w.AllPorts() {
		if p.Shared() || !pool.Contains(p.Protocol, p.Netns, p.LocalPort) {
			continue
		}
		bound := p.How == model.HowBindAny || p.How == model.HowBindPort || pool.Source != model.PoolEphemeral
		switch {
		case p.Resting && bound:
			rests[p.LocalPort] = true
		case !p.Resting && !fold.IsConnection(p):
			held[p.LocalPort] = true
		}
	}
	for port := range held {
		delete(rests, port)
	}
	return len(held), len(rests)
}

// judgeTargets judges each destination of TCP connections.
func (d *portExhaustion) judgeTargets(w *detect.Tick, full map[state.PoolKey]bool) {
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
		refused := d.refused(w, func(f fold.FailKey) bool {
			// A refusal without a destination is put down to those that are full.
			unknown := f.Remote == "" && share >= d.settings.FullShare
			return f.Connect && f.Netns == k.Netns && (unknown || f.Remote == k.Remote && f.RemotePort == k.RemotePort)
		})
		caseKey := fmt.Sprintf("to/%s:%d", fold.Printable(k.Remote), k.RemotePort)
		if k.Netns != 0 {
			caseKey += "/netns" + words.Itoa(k.Netns)
		}
		if k.Local != "" {
			caseKey += "/from/" + fold.Printable(k.Local)
		}
		known := d.targets.Get(caseKey)
		var in *detect.Case[exhausted]
		switch {
		case share >= d.settings.FullShare && u.Taken > refused.last && w.Now.Sub(refused.last) > reusedAfter &&
			w.Now.Sub(u.Taken) <= reusedAfter && fold.Ratio(float64(u.Held), float64(size)) < d.settings.WarnShare:
			// None is left, and yet some are taken: ports at rest are given out again (tcp_tw_reuse).
		case refused.fresh:
			in = d.targets.Raise(w, caseKey, w.Now-fold.Second)
			in.Raised = max(in.Raised, confirmExhaustion)
		case share >= d.settings.WarnShare:
			in = d.targets.Raise(w, caseKey, w.Now-fold.Second)
		default:
			in = d.targets.Keep(w, caseKey)
		}
		refused.count(known, in)
		if in == nil {
			continue
		}
		w.Claim(detect.TargetRefusals{Netns: k.Netns, Remote: k.Remote, Port: k.RemotePort})
		w.Claim(detect.TargetRefusals{Netns: k.Netns})
		data := &in.Data
		data.pool, data.limits, data.tuple = pool, w.State.Pools[pool], k
		data.peak = max(data.peak, u.Held+u.Resting)
		if in.Worst(float64(refused.second), float64(u.Held+u.Resting)) {
			data.worst = moment{
				used: u.Held, resting: u.Resting, size: size, errors: refused.errors,
				elsewhere: len(w.Ports.Tuples) - 1,
				holders: holdersOf(w, func(p *state.Port) bool {
					return p.Protocol == model.ProtocolTCP && p.Netns == k.Netns && p.LocalAddr == k.Local &&
						p.RemoteAddr == k.Remote && p.RemotePort == k.RemotePort && !p.Shared()
				}),
			}
		}
	}
}

// refusal sums failed allocations of the last while.
type refusal struct {
	// recent is how many there were, second how many of them in the second being judged.
	recent, second uint64
	by             []holderCount
	errors         []string
	// last is when the last was, fresh says that there is one that counts, noneLeft
	// that one says itself that no port is left.
	last            model.Time
	fresh, noneLeft bool
}

// count adds the refusals of the second to a case: in is the one that is judged,
// nil when the fault did not hold, known the one that there was before.
func (r *refusal) count(known, in *detect.Case[exhausted]) {
	switch {
	case known != nil:
		known.Data.refused += r.second
		if r.second > 0 {
			known.Data.refusedBy = r.by
		}
	case in != nil:
		in.Data.refused, in.Data.refusedBy = r.recent, r.by
	}
}

// refused sums the failed allocations that match.
func (d *portExhaustion) refused(w *detect.Tick, match func(fold.FailKey) bool) (r refusal) {
	var who map[fold.ProcessKey]int
	var names map[string]bool
	for _, k := range w.Ports.SortedFails() {
		if !match(k) {
			continue
		}
		if who == nil {
			who, names = make(map[fold.ProcessKey]int), make(map[string]bool)
		}
		f := w.Ports.Fails[k]
		r.recent += f.Count
		r.second += f.Second
		r.last, r.noneLeft = max(r.last, f.Last), r.noneLeft || k.NoneLeft
		r.fresh = r.fresh || w.Now.Sub(f.Last) <= d.settings.FailuresFor.Std()
		for p, c := range f.ByProcess {
			who[p] += int(c.Count)
		}
		for e := range f.Errors {
			names[e] = true
		}
	}
	r.by, r.errors = rank(who), slices.Sorted(maps.Keys(names))
	return r
}

// knownErrors leaves out the name of an error that the kernel did not tell.
func knownErrors(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "unknown" })
}

// holdersOf ranks the processes that hold the ports that match.
func holdersOf(w *detect.Tick, match func(*state.Port) bool) []holderCount {
	counts := make(map[fold.ProcessKey]int)
	for p := range w.AllPorts() {
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

func (d *portExhaustion) describe(w *detect.Tick, in *detect.Case[exhausted]) model.Finding {
	data := &in.Data
	at := &data.worst
	ongoing := in.Ongoing()
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
	what, is := "Pool "+words.Pool(data.limits), words.Tense(ongoing, " is", " was")
	if !data.isPool {
		f.Subject.Port = data.tuple.RemotePort
		what = fmt.Sprintf("TCP ports %d-%d", data.limits.Low, data.limits.High)
		if f.Subject.Netns != "" {
			what += " (netns " + f.Subject.Netns + ")"
		}
		what += " to " + destination(data.tuple.Remote, data.tuple.RemotePort)
		is = words.Tense(ongoing, " are", " were")
	}
	inUse := at.text(data.pool.Protocol)
	share := fold.Ratio(float64(at.taken()), float64(at.size))
	names := ""
	if data.refused > 0 {
		f.Severity = model.SeverityCritical
		if known := knownErrors(at.errors); len(known) > 0 {
			names = " (" + fold.Printable(strings.Join(known, ", ")) + ")"
		}
		f.Title = detect.Title(what+is+" exhausted", ": "+inUse,
			", "+words.Plural(data.refused, "allocation")+" refused", names)
		if names != "" && !strings.HasSuffix(f.Title, names) {
			f.Causes = append(f.Causes, words.Plural(data.refused, "allocation")+" refused"+names)
		}
	} else {
		f.Title = detect.Title(what+is+" nearly exhausted", ": "+inUse)
	}
	rests := atRest(data.pool.Protocol)
	f.Evidence = []model.Evidence{
		detect.Evidence("in use or "+rests, share, "ratio"),
		detect.Evidence("in use", float64(at.used), "ports"),
		detect.Evidence(rests, float64(at.resting), "ports"),
		detect.Evidence("size of the pool", float64(at.size), "ports"),
		detect.Evidence("peak", float64(data.peak), "ports"),
		detect.Evidence("allocations refused"+names, float64(data.refused), "times"),
	}
	for _, h := range at.holders {
		f.Evidence = append(
			f.Evidence, detect.Evidence("held by "+words.Task(h.process.Name, h.process.PID), float64(h.count), "ports"),
		)
	}
	for _, h := range data.refusedBy[:min(len(data.refusedBy), 3)] {
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("refused to "+words.Task(h.process.Name, h.process.PID), float64(h.count), "times"),
		)
	}
	if len(at.holders) > 0 {
		top := at.holders[0]
		f.Subject.PID, f.Subject.Process = top.process.PID, fold.Printable(top.process.Name)
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"%s %s %s of them (%s)",
				words.Task(top.process.Name, top.process.PID),
				words.Tense(ongoing, "holds", "held"),
				words.Number(top.count),
				words.Percent(fold.Ratio(float64(top.count), float64(at.size))),
			),
		)
	}
	if at.resting > at.used {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"Most of them %s %s: ports are used faster than they become free; each of the %s stays unavailable for %s after "+
					"its close, so the pool sustains about %s",
				words.Tense(ongoing, "are", "were"),
				atRest(data.pool.Protocol),
				words.Plural(at.size, "port"),
				words.Span(w.RestTime()),
				words.PerSecond(float64(at.size)/w.RestTime().Seconds(), "new connection"),
			),
		)
	}
	if data.shares() {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"%s of them were bound before connecting to %s: such a port is taken for every destination; with "+
					"IP_BIND_ADDRESS_NO_PORT, connect chooses the port, and connections to different destinations can share it",
				words.Number(data.boundFirst),
				words.Plural(data.destinations, "destination"),
			),
		)
	}
	if !data.isPool {
		f.RuledOut = append(
			f.RuledOut,
			fmt.Sprintf(
				"other destinations: they %s not affected, a connection needs a free port only for its own destination (%s in use)",
				words.Tense(ongoing, "are", "were"),
				words.Plural(at.elsewhere, "other destination"),
			),
		)
	} else if at.resting == 0 {
		f.RuledOut = append(
			f.RuledOut, "ports in TIME_WAIT: all of them "+words.Tense(ongoing, "are", "were")+" open sockets",
		)
	}
	f.Advice = data.advice(ongoing, w.Windows())
	return f
}

// advice says what to do about the worst moment.
func (e *exhausted) advice(ongoing, windows bool) []string {
	keep := "keep connections open and reuse them, unless the peer closes them after each request anyway"
	widen := "widen the pool (net.ipv4.ip_local_port_range, or the configured range), unless a process leaks: a leak " +
		"fills any range"
	if windows {
		widen = "widen the pool (netsh int ipv4 set dynamicport, or the configured range), unless a process leaks: a leak " +
			"fills any range"
	}
	switch at := &e.worst; {
	case e.shares() && !windows:
		return []string{
			"set IP_BIND_ADDRESS_NO_PORT before binding to a local address, which gives each destination the whole range, " +
				"unless the program needs to know its port before it connects",
			"stop or fix the process that holds the most, unless all hold about the same number",
		}
	case at.resting > at.used && windows:
		return []string{keep, widen}
	case at.resting > at.used:
		return []string{
			keep,
			"net.ipv4.tcp_tw_reuse=1 lets connect reuse ports after 1 s in TIME_WAIT; do not set it behind NAT that reorders " +
				"TCP timestamps; it does not help programs that bind a port before they connect",
		}
	case !e.isPool:
		return []string{
			"spread the connections over more local or remote addresses, or share them, unless the peer holds them open",
			widen,
		}
	case !ongoing:
		return []string{
			"find out why the largest holder took so many; if all held about the same number, the pool is too small",
			widen,
		}
	}
	return []string{
		"stop or fix the process that holds the most; if all hold about the same number, the pool is too small", widen,
	}
}
