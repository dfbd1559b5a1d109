package detect

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// portLeak finds processes that take ports and do not give them back, and
// pools whose ports vanish without anyone holding them.
type portLeak struct {
	settings LeakSettings
	cases    tracker[leak]
	vanish   tracker[vanishing]
}

// leakScale is a span over which growth is judged: steps of the given number
// of seconds, in each of which the floor must have risen.
type leakScale struct {
	steps, seconds int
}

// leakScales are tried from the shortest to the longest.
var leakScales = []leakScale{{3, 1}, {4, 1}, {7, 1}, {6, 2}, {5, 4}, {5, 12}, {5, 60}, {6, 300}}

// span is the time that the scale looks back on.
func (s leakScale) span() time.Duration { return time.Duration(s.steps*s.seconds) * time.Second }

// leak is what is known about one leaking process.
type leak struct {
	holder *holder
	// pool is the holder's pool as last known, nil without one: it goes with its network namespace.
	pool  *state.Pool
	scale leakScale
	// proven says that it has lasted for so long that it is called a leak,
	// refuted that the ports were seen to come back after all.
	proven, refuted bool
	// rate is ports a second, with the quartiles of the pairwise slopes.
	rate, rateLow, rateHigh float64
	// pace is the highest rate so far.
	pace float64
	// growth and held are the ports kept and held at the last tick, peak the most kept.
	growth, held, peak int
	// began is when the holder's growth began, grew when it last grew.
	began, grew model.Time
	// releasedBase is how many the holder had released when it began.
	releasedBase uint64
	// use is how old the ports are and whether they are used, while most were held.
	use portUse
	// members is the most processes that a family's ports were spread over.
	members int
	// earlier counts processes of the same name that leaked before and have ended.
	earlier int
}

func newPortLeak(s Settings) detector {
	return &portLeak{s.Leak, newTracker[leak]("port-leak", s.Lifecycle), newTracker[vanishing]("port-leak", s.Lifecycle)}
}

func (d *portLeak) tick(w *world, emit func(model.Finding)) {
	for _, k := range slices.SortedFunc(maps.Keys(w.ports.families), compareFamilies) {
		if f := w.ports.families[k]; f.sum != nil && (f.sum.growth() > 0 || d.cases.incidents[f.sum.id] != nil) {
			d.judgeFamily(w, f)
		}
	}
	grown := func(h *holder) bool { return h.growth() > 0 || d.caseOf(h) != nil }
	for _, h := range w.ports.holderList(grown) {
		if h.family == nil || h.family.sum == nil || d.cases.incidents[h.family.sum.id] == nil {
			d.judge(w, h)
		}
	}
	d.judgeVanished(w)
	d.vanish.settle(w, 1, emit, func(in *incident[vanishing]) model.Finding { return d.describeVanished(w, in) })
	d.cases.settle(w, 1, emit, func(in *incident[leak]) model.Finding { return d.describe(w, in) })
}

func (d *portLeak) finish(w *world, emit func(model.Finding)) {
	d.vanish.flush(w, emit, func(in *incident[vanishing]) model.Finding { return d.describeVanished(w, in) })
	d.cases.flush(w, emit, func(in *incident[leak]) model.Finding { return d.describe(w, in) })
}

// leakKey identifies a holder in findings.
func leakKey(k holderKey) string {
	who := "pid" + itoa(k.pid)
	if k.pid <= 0 && k.process != "" {
		who = clean(k.process)
	}
	key := fmt.Sprintf("%s/%s/%s", who, k.protocol, clean(k.pool.Name))
	if k.netns != 0 {
		key += "/netns" + itoa(k.netns)
	}
	if k.connections {
		key += "/connect"
	}
	return key
}

// caseOf returns the incident about a holder, nil without one. It may have
// begun with an earlier process of the same name.
func (d *portLeak) caseOf(h *holder) *incident[leak] {
	if in := d.cases.incidents[h.id]; in != nil {
		return in
	}
	for _, in := range d.cases.incidents {
		if in.data.holder == h {
			return in
		}
	}
	return nil
}

// heirOf returns the incident about a process of the holder's name that has
// ended: what has been restarted and leaks again is the same fault.
func (d *portLeak) heirOf(h *holder) *incident[leak] {
	if h.process == "" || h.isFamily() {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(d.cases.incidents)) {
		in := d.cases.incidents[key]
		o := in.data.holder
		if o != nil && o != h && o.held == 0 && !o.isFamily() && o.process == h.process && o.key.protocol == h.key.protocol && o.key.netns == h.key.netns && o.key.connections == h.key.connections {
			return in
		}
	}
	return nil
}

// judgeFamily judges what the processes of one name hold together, unless one
// of them is nearly all of it.
func (d *portLeak) judgeFamily(w *world, f *family) {
	if in := d.cases.incidents[f.sum.id]; in == nil {
		n, most := f.growing()
		if n < 2 || float64(most.growth()) >= dominant*float64(f.sum.growth()) || slices.ContainsFunc(f.members, func(m *holder) bool { return d.caseOf(m) != nil }) {
			return
		}
		f.sum.key.pool = most.key.pool
	}
	d.judge(w, f.sum)
}

// dominant is the part of a family's growth from which one process alone is
// to blame.
const dominant = 0.8

func (d *portLeak) judge(w *world, h *holder) {
	in := d.caseOf(h)
	open := in != nil && in.open
	if open {
		d.follow(w, h, in)
		if in.data.proven || !in.touched {
			return
		}
	}
	scale, proven, ok := d.leaks(w, h)
	if !ok || open && !proven {
		return
	}
	since := max(w.now.Add(-scale.span()), h.first)
	if first := d.firstOfGrowth(w, h); first != 0 {
		since = first
	}
	key := h.id
	if in != nil {
		key = in.key
	} else if in = d.heirOf(h); in != nil {
		key = in.key
		in.data = leak{holder: h, earlier: in.data.earlier + 1}
	}
	in = d.cases.raise(w, key, since)
	data := &in.data
	if data.holder == nil || data.peak == 0 {
		data.holder, data.began, data.releasedBase = h, since, h.released
	}
	data.scale, data.proven, data.refuted = scale, data.proven || proven, false
	data.growth, data.held, data.peak, data.grew = h.growth(), h.held, max(h.growth(), data.peak), w.now
	d.measure(h, data)
}

// follow brings an open finding up to date.
func (d *portLeak) follow(w *world, h *holder, in *incident[leak]) {
	data := &in.data
	if h.growth() > data.peak {
		data.peak, data.grew = h.growth(), w.now
	}
	data.growth, data.held = h.growth(), h.held
	// It gives back what it has held for long, as fast as it took it before, and
	// goes on without growing: its ports are held for long, and not leaked.
	quiet := w.now.Sub(data.grew) >= max(suspicionFor, time.Duration(3/max(data.pace, 1e-3)*float64(time.Second)))
	if quiet && h.growth()*2 >= data.peak && float64(h.longGiven()) >= data.pace*(longSeconds-1)/2 {
		if !data.refuted {
			d.cases.keep(w, in.key)
		}
		data.refuted, data.proven = true, false
		return
	}
	// The fault holds while the floor keeps rising, at the pace that it has
	// shown; it ends when the ports come back or the growth stops.
	patience := max(d.settings.KeepFor.Std(), time.Duration(3/max(data.rate, 1e-3)*float64(time.Second)))
	if !data.proven {
		patience = suspicionFor
	}
	if h.growth()*2 >= data.peak && w.now.Sub(data.grew) <= patience {
		d.cases.keep(w, in.key)
		d.measure(h, data)
	}
}

// suspicionFor is how long growth may pause before it is no longer suspected.
const suspicionFor = 3 * time.Second

// leaks says whether the holder leaks, on which scale that shows, and whether
// it has lasted for long enough to be called a leak.
func (d *portLeak) leaks(w *world, h *holder) (scale leakScale, proven, ok bool) {
	early := false
	for _, s := range leakScales {
		grown, grows := d.grows(h, s)
		if !grows || d.unsure(w, h, s, grown) {
			continue
		}
		switch {
		case d.enough(w, h, s, grown):
			if scale = s; s.span() >= d.settings.ProofAfter.Std() {
				return s, true, true
			}
			early = true
		case s == outliving && d.outlives(w, h, grown):
			scale, early = s, true
		}
	}
	return scale, false, early
}

// outliving is the scale on which a process is seen to keep ports far longer
// than those that it gives back.
var outliving = leakScales[1]

// outlives says that a process which gives back nearly every port within
// moments keeps one in each second, and has lately given none of those back.
func (d *portLeak) outlives(w *world, h *holder, grown int) bool {
	if h.key.connections || h.isFamily() || h.lastLong != 0 && w.now.Sub(h.lastLong) < time.Minute {
		return false
	}
	released := h.sumOver(&h.releasedIn, outliving.steps*outliving.seconds)
	return released >= d.settings.EarlyChurn*uint64(grown) && time.Duration(h.holds.Quantile(0.99)) < time.Second/10
}

// grows says whether the floor rose in every step of the scale, goes on
// rising, and does not level off; grown is by how much.
func (d *portLeak) grows(h *holder, scale leakScale) (grown int, ok bool) {
	floors := floorsOf(h, scale)
	n := len(floors)
	grown = floors[n-1] - floors[0]
	mean := float64(grown) / float64(n-1)
	for i := 1; i < n; i++ {
		step := floors[i] - floors[i-1]
		if step <= 0 || float64(step) < d.settings.Evenness*mean && (i == n-1 || scale.seconds == 1) {
			return 0, false
		}
	}
	// What opens its ports at the start and keeps them has stopped by now.
	return grown, h.growth() > floors[n-1]
}

// floorsOf returns the floors at the ends of the scale's steps, oldest first.
// The oldest is the floor of the step before.
func floorsOf(h *holder, scale leakScale) []int {
	floors := make([]int, scale.steps+1)
	for i := range floors {
		floors[i] = h.floorOver((scale.steps-i)*scale.seconds, scale.seconds)
	}
	return floors
}

// enough says whether the growth is more than healthy programs show.
func (d *portLeak) enough(w *world, h *holder, scale leakScale, grown int) bool {
	span := scale.steps * scale.seconds
	acquired, released := h.sumOver(&h.acquiredIn, span+scale.seconds), h.sumOver(&h.releasedIn, span+scale.seconds)
	// A process that gives most of its ports back within moments shows what it
	// means to give back: what it keeps stands out sooner.
	churns := released >= 4*uint64(grown) && h.short*10 >= h.released*9
	if !churns && float64(released) > d.settings.GivenBack*float64(acquired) && scale.seconds < 60 {
		return false
	}
	need := d.settings.MinPorts
	switch {
	case h.key.connections && !churns && scale.seconds == 1:
		need = d.settings.MinConnectionsFast
	case h.key.connections && !churns && scale.seconds < 12:
		need = (d.settings.MinConnectionsFast + d.settings.MinConnections) / 2
	case h.key.connections && !churns:
		need = d.settings.MinConnections
	case scale.seconds == 1:
		need = d.settings.MinPortsFast
	case churns:
		need = d.settings.MinPorts / 2
	}
	if h.isFamily() {
		need *= 2 // several processes begin with several ports
		if n, _ := h.family.growing(); h.growth() < portsToStart*n && scale.span() < time.Minute {
			return false // programs of one interpreter start one after the other when a host does
		}
	}
	need = d.least(w, h, need)
	if scale == leakScales[0] {
		need *= 2
	}
	return uint64(grown) >= need
}

// portsToStart is how many ports a process may take just by starting.
const portsToStart = 8

// least lowers the number of ports that makes a leak in a pool that someone
// has bounded: most of a small one would be gone before.
func (d *portLeak) least(w *world, h *holder, need uint64) uint64 {
	pool := w.state.Pools[h.key.pool]
	if pool == nil || pool.Source == model.PoolEphemeral {
		return need
	}
	return min(need, max(d.settings.MinPortsBounded, uint64(d.settings.BoundedShare*float64(pool.Size))))
}

// unsure says that events were lost in the span, so that missing releases may
// look like a leak: the next audit of the port tables decides.
func (d *portLeak) unsure(w *world, h *holder, scale leakScale, grown int) bool {
	from := w.now - model.Time((scale.steps+1)*scale.seconds)*tickEvery
	lost := w.loss.total - w.loss.before(from)
	if float64(lost) < 0.1*float64(grown) || w.ports.audits == 0 {
		return false
	}
	return w.ports.lastAudit <= w.loss.lastAt()
}

// firstOfGrowth returns when the rise of the floor began, as far as its history goes back.
func (d *portLeak) firstOfGrowth(w *world, h *holder) model.Time {
	n := min(h.ticks, secondFloors-1)
	ago := 0
	for ago < n && h.floor(ago) > 0 && h.floor(ago+1) <= h.floor(ago) {
		ago++
	}
	if ago == n {
		return h.first
	}
	start := w.now - model.Time(ago+1)*tickEvery
	return max(start, h.first)
}

// measure notes how many processes take part, and computes the rate of growth
// and its uncertainty: the median and the
// quartiles of the slopes between all pairs of floors (Theil and Sen).
func (d *portLeak) measure(h *holder, data *leak) {
	scale := data.scale
	for _, s := range leakScales {
		if s.steps*s.seconds <= h.ticks && s.steps*s.seconds <= 300 && h.floorOver(s.steps*s.seconds, s.seconds) > 0 {
			scale = s
		}
	}
	if h.isFamily() {
		n, _ := h.family.growing()
		data.members = max(data.members, n)
	}
	floors := floorsOf(h, scale)
	var slopes []float64
	for i := range floors {
		for j := i + 1; j < len(floors); j++ {
			slopes = append(slopes, float64(floors[j]-floors[i])/float64((j-i)*scale.seconds))
		}
	}
	slices.Sort(slopes)
	at := func(q float64) float64 { return slopes[int(q*float64(len(slopes)-1)+0.5)] }
	data.rate, data.rateLow, data.rateHigh = at(0.5), at(0.25), at(0.75)
	data.pace = max(data.pace, data.rate)
}

// describe writes the finding of a leaking process.
func (d *portLeak) describe(w *world, in *incident[leak]) model.Finding {
	data := &in.data
	h := data.holder
	ongoing := in.touchedOrOpen()
	who := task(h.process, h.key.pid)
	// The number of a namespace that has gone is given to the next.
	if pool := w.state.Pools[h.key.pool]; pool != nil && (data.pool == nil || data.pool.NetnsName == pool.NetnsName) {
		known := *pool
		data.pool = &known
	}
	pool := data.pool
	taken := data.peak
	length := max(in.seen.Sub(data.began), time.Second)
	kind := portKind(h)

	f := model.Finding{Severity: model.SeverityWarning, Subject: model.Subject{Kind: "process", CPU: -1, PID: h.key.pid, Process: clean(h.process), Protocol: h.key.protocol.String()}}
	where := ""
	if pool != nil {
		f.Subject.Pool, f.Subject.Netns = clean(pool.Name), clean(pool.NetnsName)
		where = " of pool " + poolText(pool)
	}
	f.Title = fmt.Sprintf("%s took %s%s in %s", d.taker(data), plural(taken, kind), where, span(length))
	if (data.proven || ongoing) && !data.refuted {
		f.Title += " and " + d.gaveBack(data, ongoing)
	}
	if !data.proven {
		f.Severity = model.SeverityInfo
	}
	left, low, high, forecast := d.forecast(w, pool, data)
	f.Evidence = []model.Evidence{
		evidence("ports taken and kept", float64(taken), "ports"),
		evidence("rate", data.rate, "ports/s"),
		evidence("held by the process in this pool", float64(data.held), "ports"),
	}
	if pool != nil {
		f.Evidence = append(f.Evidence, evidence("ports of the pool in use", float64(pool.Used), "ports"), evidence("ports of the pool at rest", float64(pool.Resting), "ports"), evidence("size of the pool", float64(pool.Size), "ports"))
	}
	switch {
	case data.refuted:
		f.Title += fmt.Sprintf("; no leak: it gives each back, half of them within %s", span(time.Duration(h.holds.Quantile(0.5))))
	case data.held*2 < data.peak:
		f.Title += "; by now they are free again"
	case !ongoing && !data.proven:
		f.Title += fmt.Sprintf("; no leak: it has stopped growing at %s", plural(data.held, "port"))
	case !ongoing:
		f.Title += fmt.Sprintf("; it has stopped growing at %s", plural(data.held, "port"))
	case forecast && !data.proven:
		f.Title += "; too early to call it a leak"
		f.Evidence = append(f.Evidence, evidence("pool empty in", left.Seconds(), "s"))
	case forecast:
		f.Title += fmt.Sprintf("; the pool is empty in %s", spanRange(left, low, high))
		f.Evidence = append(f.Evidence, evidence("pool empty in", left.Seconds(), "s"), evidence("at the earliest", low.Seconds(), "s"), evidence("at the latest", high.Seconds(), "s"))
		if left <= d.settings.CriticalWithin.Std() {
			f.Severity = model.SeverityCritical
		}
	}
	if use := useOf(w, h); data.use.held == 0 || use.held*2 >= data.peak {
		data.use = use // what is left of ports that were given back says nothing about the leak
	}
	use := &data.use
	f.Evidence = append(f.Evidence,
		evidence("median age of the ports held", use.medianAge.Seconds(), "s"), evidence("oldest port held", use.oldest.Seconds(), "s"),
		evidence("ports taken since it was first seen", float64(h.acquired), "ports"), evidence("ports given back", float64(h.released), "ports"))
	f.Evidence = append(f.Evidence, use.evidence()...)
	f.Causes = []string{fmt.Sprintf("%s takes ports by %s, %s a second, and keeps them", who, hows(h), rateText(data.rate))}
	if data.refuted || !data.proven && !ongoing {
		f.Causes = []string{fmt.Sprintf("%s takes ports by %s; what looked like a leak has ended", who, hows(h))}
		if data.refuted {
			f.RuledOut = []string{fmt.Sprintf("not a leak: as many ports come back as are taken, held for up to %s (p95)", span(time.Duration(h.holds.Quantile(0.95))))}
		}
		return f
	}
	if data.earlier > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("%s of that name leaked before it and ended", plural(data.earlier, "process", "processes")))
	}
	if !data.proven && ongoing && !data.refuted {
		f.Causes = append(f.Causes, fmt.Sprintf("this may be the beginning of a leak or not: a program that waits %s for its answers would hold its ports as long", span(d.settings.ProofAfter.Std())))
	}
	if stack, n := d.commonStack(w, h); n > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("%s of them were taken at %s", number(n), stack))
	}
	if use.pooled() {
		f.Causes = append(f.Causes, use.inUseText())
	}
	f.RuledOut = d.ruledOut(h, pool, ongoing)
	if use.unused() {
		f.RuledOut = append(f.RuledOut, use.idleText())
	}
	f.Advice = []string{
		fmt.Sprintf("find where %s opens these sockets (lostbeat record --stacks shows the call) and close them on every path, errors included; not needed when it is a pool that will settle", who),
		"restart the process to free the ports until it is mended; not when it restarts into the same load within minutes",
		"do not enlarge the pool instead: it only moves the day on which it is empty",
	}
	return f
}

// taker names who takes the ports.
func (d *portLeak) taker(data *leak) string {
	h := data.holder
	if !h.isFamily() {
		return task(h.process, h.key.pid)
	}
	return fmt.Sprintf("%s of %s", plural(data.members, "process", "processes"), clean(h.process))
}

// gaveBack says in words what became of the ports.
func (d *portLeak) gaveBack(data *leak, ongoing bool) string {
	switch over := !ongoing || data.held*2 < data.peak; {
	case data.held*2 < data.peak:
		return "kept them"
	case data.holder.released == data.releasedBase && !data.proven:
		return "has given none back so far"
	case data.holder.released == data.releasedBase:
		return "gave none back"
	case over:
		return "did not give them back"
	case data.proven:
		return "does not give them back"
	}
	return "has not given them back so far"
}

// portKind names what is leaked.
func portKind(h *holder) string {
	switch {
	case h.key.connections:
		return "connection port"
	case h.how[model.HowListen]*2 > h.acquired && h.key.protocol == model.ProtocolTCP:
		return "listener port"
	}
	return h.key.protocol.String() + " port"
}

// hows lists the ways in which a holder takes ports, the most common first.
func hows(h *holder) string {
	type way struct {
		how   model.How
		count uint64
	}
	var ways []way
	for how, n := range h.how {
		if n > 0 && model.How(how) != model.HowPresent {
			ways = append(ways, way{model.How(how), n})
		}
	}
	slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(b.count, a.count) })
	names := map[model.How]string{model.HowBindAny: "bind to port 0", model.HowBindPort: "bind to ports of its choice", model.HowConnect: "connect", model.HowSend: "sending without bind",
		model.HowListen: "listen", model.HowKernel: "the kernel", model.HowRPC: "RPC bindings", model.HowAudit: "calls that were not seen"}
	text := ""
	for i, w := range ways[:min(len(ways), 2)] {
		if i > 0 {
			text += " and "
		}
		if name := names[w.how]; name != "" {
			text += name
		} else {
			text += w.how.String()
		}
	}
	if text == "" {
		return "means that were not seen"
	}
	return text
}

// forecast says when the pool will be empty at the present rate.
func (d *portLeak) forecast(w *world, pool *state.Pool, data *leak) (left, low, high time.Duration, ok bool) {
	if pool == nil || pool.Size == 0 || data.rate <= 0 {
		return 0, 0, 0, false
	}
	free := float64(pool.Size) - float64(pool.Used) - float64(pool.Resting)
	if data.holder.key.connections {
		free = float64(pool.Size) - float64(data.holder.held)
	}
	free = max(free, 0)
	seconds := func(rate float64) time.Duration {
		if rate <= 0 {
			rate = data.rate / 4
		}
		return time.Duration(min(free/rate, 365*86400) * float64(time.Second))
	}
	return seconds(data.rate), seconds(data.rateHigh), seconds(data.rateLow), true
}

// spanRange writes a forecast with its uncertainty.
func spanRange(mid, low, high time.Duration) string {
	off := max(mid-low, high-mid)
	if mid > 0 && off > mid/2 {
		return fmt.Sprintf("about %s (%s to %s)", span(mid), span(low), span(high))
	}
	if off*50 < mid {
		return "about " + span(mid)
	}
	return fmt.Sprintf("%s ± %s", span(mid), span(off))
}

func rateText(rate float64) string {
	if rate >= 9.95 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.2g", rate)
}

// commonStack returns the call that took most of the holder's ports, where
// stacks were asked for.
func (d *portLeak) commonStack(w *world, h *holder) (string, int) {
	counts := make(map[string]int)
	for port := range w.state.Ports.All() {
		if owner, _ := w.ports.owner(port); h.owns(owner) && len(port.Stack) > 0 {
			counts[stackText(port.Stack)]++
		}
	}
	best, most := "", 0
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		if counts[text] > most {
			best, most = text, counts[text]
		}
	}
	return best, most
}

// stackText names the innermost frames of a stack.
func stackText(s model.Stack) string {
	text := ""
	for i, frame := range s[:min(len(s), 5)] {
		if i > 0 {
			text += " < "
		}
		if frame.Name != "" {
			text += clean(frame.Name)
		} else {
			text += fmt.Sprintf("%#x", frame.Addr)
		}
	}
	return text
}

func (d *portLeak) ruledOut(h *holder, pool *state.Pool, ongoing bool) []string {
	var list []string
	if h.released > 0 {
		list = append(list, fmt.Sprintf("not churn: ports that it does give back are held for %s (p95), these are older", span(min(time.Duration(h.holds.Quantile(0.95)), time.Duration(math.MaxInt64)))))
	} else {
		list = append(list, "not churn: it has given no port back")
	}
	resting := 0
	if pool != nil {
		resting = pool.Resting
	}
	list = append(list, fmt.Sprintf("not rest (TIME_WAIT): %s of the pool at rest, these are open sockets", plural(resting, "port")))
	if ongoing {
		list = append(list, "not ports opened once at the start: the number still rises")
	}
	return list
}
