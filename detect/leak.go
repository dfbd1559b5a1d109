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
var leakScales = []leakScale{{3, 1}, {4, 1}, {6, 2}, {5, 4}, {5, 12}, {5, 60}, {6, 300}}

// leak is what is known about one leaking process.
type leak struct {
	holder *holder
	// pool is the holder's pool as last known, nil without one: it goes with its network namespace.
	pool  *state.Pool
	scale leakScale
	// rate is ports a second, with the quartiles of the pairwise slopes.
	rate, rateLow, rateHigh float64
	// growth and held are the ports kept and held at the last tick, peak the most kept.
	growth, held, peak int
	// releasedBase is how many the holder had released when it began; grew when it last grew.
	releasedBase uint64
	grew         model.Time
}

func newPortLeak(s Settings) detector {
	return &portLeak{s.Leak, newTracker[leak]("port-leak", s.Lifecycle), newTracker[vanishing]("port-leak", s.Lifecycle)}
}

func (d *portLeak) tick(w *world, emit func(model.Finding)) {
	grown := func(h *holder) bool { return h.growth() > 0 || d.cases.incidents[h.id] != nil }
	for _, h := range w.ports.holderList(grown) {
		d.judge(w, h)
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

func (d *portLeak) judge(w *world, h *holder) {
	key := h.id
	in := d.cases.incidents[key]
	open := in != nil && in.open
	if !open && uint64(h.growth()) < d.least(w, h, d.settings.MinPorts)/2 {
		return
	}
	if open {
		data := &in.data
		if h.growth() > data.peak {
			data.peak, data.grew = h.growth(), w.now
		}
		data.growth, data.held = h.growth(), h.held
		// The fault holds while the floor keeps rising, at the pace that it has
		// shown; it ends when the ports come back or the growth stops.
		patience := max(d.settings.KeepFor.Std(), time.Duration(3/max(data.rate, 1e-3)*float64(time.Second)))
		if h.growth()*2 >= data.peak && w.now.Sub(data.grew) <= patience {
			d.cases.keep(w, key)
			d.measure(h, data)
		}
		return
	}
	for _, scale := range leakScales {
		grown, ok := d.grows(h, scale)
		if !ok || !d.enough(w, h, scale, grown) || d.unsure(w, h, scale, grown) {
			continue
		}
		since := max(w.now-model.Time(scale.steps*scale.seconds)*tickEvery, h.first)
		if first := d.firstOfGrowth(w, h); first != 0 {
			since = first
		}
		in := d.cases.raise(w, key, since)
		in.data.holder = h
		in.data.scale = scale
		in.data.growth, in.data.held, in.data.peak, in.data.grew = h.growth(), h.held, h.growth(), w.now
		in.data.releasedBase = h.released
		d.measure(h, &in.data)
		return
	}
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
	return grown, h.growth() > floors[n-1] || scale.seconds > 1
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
	need = d.least(w, h, need)
	if scale == leakScales[0] {
		need *= 2
	}
	return uint64(grown) >= need
}

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

// measure computes the rate of growth and its uncertainty: the median and the
// quartiles of the slopes between all pairs of floors (Theil and Sen).
func (d *portLeak) measure(h *holder, data *leak) {
	scale := data.scale
	for _, s := range leakScales {
		if s.steps*s.seconds <= h.ticks && s.steps*s.seconds <= 300 && h.floorOver(s.steps*s.seconds, s.seconds) > 0 {
			scale = s
		}
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
}

// describe writes the finding of a leaking process.
func (d *portLeak) describe(w *world, in *incident[leak]) model.Finding {
	data := &in.data
	h := data.holder
	ongoing := in.touchedOrOpen()
	who := task(h.process, h.key.pid)
	if pool := w.state.Pools[h.key.pool]; pool != nil {
		data.pool = pool
	}
	pool := data.pool
	taken := data.peak
	length := max(in.seen.Sub(in.start), time.Second)
	released := h.released - data.releasedBase
	kind := portKind(h)

	f := model.Finding{Severity: model.SeverityWarning, Subject: model.Subject{Kind: "process", CPU: -1, PID: h.key.pid, Process: clean(h.process), Protocol: h.key.protocol.String()}}
	where := ""
	if pool != nil {
		f.Subject.Pool, f.Subject.Netns = clean(pool.Name), clean(pool.NetnsName)
		where = " of pool " + poolText(pool)
	}
	gaveBack := "gave none back"
	if released > 0 {
		gaveBack = "does not give them back"
		if !ongoing || data.held*2 < data.peak {
			gaveBack = "did not give them back"
		}
	}
	f.Title = fmt.Sprintf("%s took %s%s in %s and %s", who, plural(taken, kind), where, span(length), gaveBack)
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
	case data.held*2 < data.peak:
		f.Title += "; by now they are free again"
	case !ongoing:
		f.Title += fmt.Sprintf("; it has stopped growing at %s", plural(data.held, "port"))
	case forecast:
		f.Title += fmt.Sprintf("; the pool is empty in %s", spanRange(left, low, high))
		f.Evidence = append(f.Evidence, evidence("pool empty in", left.Seconds(), "s"), evidence("at the earliest", low.Seconds(), "s"), evidence("at the latest", high.Seconds(), "s"))
		if left <= d.settings.CriticalWithin.Std() {
			f.Severity = model.SeverityCritical
		}
	}
	ages := d.ages(w, h)
	f.Evidence = append(f.Evidence,
		evidence("median age of the ports held", ages.median.Seconds(), "s"), evidence("oldest port held", ages.oldest.Seconds(), "s"),
		evidence("ports taken since it was first seen", float64(h.acquired), "ports"), evidence("ports given back", float64(h.released), "ports"))
	f.Causes = []string{fmt.Sprintf("%s takes ports by %s, %s a second, and keeps them", who, hows(h), rateText(data.rate))}
	if stack, n := d.commonStack(w, h); n > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("%s of them were taken at %s", number(n), stack))
	}
	f.RuledOut = d.ruledOut(w, h, pool)
	f.Advice = []string{
		fmt.Sprintf("find where %s opens these sockets (lostbeat record --stacks shows the call) and close them on every path, errors included; not needed when it is a pool that will settle", who),
		"restart the process to free the ports until it is mended; not when it restarts into the same load within minutes",
		"do not enlarge the pool instead: it only moves the day on which it is empty",
	}
	return f
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

type ageSummary struct{ median, oldest time.Duration }

// ages summarises for how long the holder's present ports have been held.
func (d *portLeak) ages(w *world, h *holder) ageSummary {
	var ages []time.Duration
	for port := range w.state.Ports.All() {
		if owner, _ := w.ports.owner(port); owner == h {
			ages = append(ages, w.now.Sub(port.Since))
		}
	}
	if len(ages) == 0 {
		return ageSummary{}
	}
	slices.Sort(ages)
	return ageSummary{ages[len(ages)/2], ages[len(ages)-1]}
}

// commonStack returns the call that took most of the holder's ports, where
// stacks were asked for.
func (d *portLeak) commonStack(w *world, h *holder) (string, int) {
	counts := make(map[string]int)
	for port := range w.state.Ports.All() {
		if owner, _ := w.ports.owner(port); owner == h && len(port.Stack) > 0 {
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

func (d *portLeak) ruledOut(w *world, h *holder, pool *state.Pool) []string {
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
	list = append(list, "not ports opened once at the start: the number still rises")
	return list
}
