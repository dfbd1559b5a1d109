package leak

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"maps"
	"math"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// describe writes the finding of a leaking process.
func (d *portLeak) describe(w *detect.Tick, in *detect.Case[leak]) model.Finding {
	data := &in.Data
	h := data.holder
	ongoing := in.Ongoing()
	who := words.Task(h.Process, h.Key.PID)
	// The number of a namespace that has gone is given to the next.
	if pool := w.State.Pools[h.Key.Pool]; pool != nil && (data.pool == nil || data.pool.NetnsName == pool.NetnsName) {
		known := *pool
		data.pool = &known
	}
	pool := data.pool
	taken := data.peak
	length := max(in.Seen.Sub(data.began), time.Second)
	kind := portKind(h)

	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "process",
			CPU:      -1,
			PID:      h.Key.PID,
			Process:  fold.Printable(h.Process),
			Protocol: h.Key.Protocol.String(),
		},
	}
	where := ""
	if pool != nil {
		f.Subject.Pool, f.Subject.Netns = fold.Printable(pool.Name), fold.Printable(pool.NetnsName)
		where = " of pool " + words.Pool(pool)
	}
	f.Title = fmt.Sprintf("%s took %s%s in %s", d.taker(data), words.Plural(taken, kind), where, words.Span(length))
	if (data.proven || ongoing) && !data.refuted {
		f.Title += " and " + d.gaveBack(data, ongoing)
	}
	if !data.proven {
		f.Severity = model.SeverityInfo
	}
	filling, forecast := w.Forecast(h.Key.Pool)
	if data.soon = data.soon || forecast && data.proven && filling.Left <= d.settings.CriticalWithin.Std(); data.soon &&
		ongoing && !data.refuted && data.held*2 >= data.peak {
		f.Severity = model.SeverityCritical
	}
	f.Evidence = []model.Evidence{
		detect.Evidence("ports taken and kept", float64(taken), "ports"),
		detect.Evidence("rate", data.rate, "ports/s"),
		detect.Evidence("held by the process in this pool", float64(data.held), "ports"),
	}
	if pool != nil {
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("ports of the pool in use", float64(pool.Used), "ports"),
			detect.Evidence("ports of the pool at rest", float64(pool.Resting), "ports"),
			detect.Evidence("size of the pool", float64(pool.Size), "ports"),
		)
	}
	switch {
	case data.refuted:
		f.Title += fmt.Sprintf(
			"; no leak: it gives each back, half of them within %s",
			words.Span(time.Duration(h.Holds.Quantile(0.5))),
		)
	case data.held*2 < data.peak:
		f.Title += "; by now they are free again"
	case !ongoing && !data.proven:
		f.Title += fmt.Sprintf("; no leak: it has stopped growing at %s", words.Plural(data.held, "port"))
	case !ongoing:
		f.Title += fmt.Sprintf("; it has stopped growing at %s", words.Plural(data.held, "port"))
	case !data.proven:
		f.Title += "; too early to call it a leak"
		if forecast {
			f.Evidence = append(f.Evidence, detect.Evidence("pool exhausted in", filling.Left.Seconds(), "s"))
		}
	case forecast:
		f.Title += fmt.Sprintf("; the pool will be exhausted in %s", spanRange(filling))
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("pool exhausted in", filling.Left.Seconds(), "s"),
			detect.Evidence("at the earliest", filling.Earliest.Seconds(), "s"),
			detect.Evidence("at the latest", filling.Latest.Seconds(), "s"),
		)
	}
	if use := useOf(w, h); data.use.held == 0 || use.held*2 >= data.peak {
		data.use = use // what is left of ports that were given back says nothing about the leak
	}
	use := &data.use
	f.Evidence = append(
		f.Evidence,
		detect.Evidence(
			"median age of the ports held",
			use.medianAge.Seconds(),
			"s",
		),
		detect.Evidence("oldest port held", use.oldest.Seconds(), "s"),
		detect.Evidence(
			"ports taken since it was first seen",
			float64(h.Acquired),
			"ports",
		),
		detect.Evidence("ports given back", float64(h.Released), "ports"),
	)
	f.Evidence = append(f.Evidence, use.evidence()...)
	f.Causes = []string{
		fmt.Sprintf("%s takes ports by %s, %s a second, and keeps them", who, hows(h), words.Rate(data.rate)),
	}
	if data.refuted || !data.proven && !ongoing {
		f.Causes = []string{fmt.Sprintf("%s takes ports by %s; what looked like a leak has ended", who, hows(h))}
		if data.refuted {
			f.RuledOut = []string{
				fmt.Sprintf(
					"not a leak: as many ports come back as are taken, held for up to %s (p95)",
					words.Span(time.Duration(h.Holds.Quantile(0.95))),
				),
			}
		}
		return f
	}
	if data.earlier > 0 {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf("%s of that name leaked before it and ended", words.Plural(data.earlier, "process", "processes")),
		)
	}
	if !data.proven && ongoing && !data.refuted {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"this may be the beginning of a leak or not: a program that waits %s for its answers would hold its ports as long",
				words.Span(d.settings.ProofAfter.Std()),
			),
		)
	}
	if stack, n := d.commonStack(w, h); n > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("%s of them were taken at %s", words.Number(n), stack))
	}
	if use.pooled() {
		f.Causes = append(f.Causes, use.inUseText())
	}
	f.RuledOut = d.ruledOut(h, pool, ongoing)
	if use.unused() {
		f.RuledOut = append(f.RuledOut, use.idleText())
	}
	f.Advice = []string{
		fmt.Sprintf(
			"find where %s opens these sockets (lostbeat record --stacks shows the call) and close them on every path, "+
				"errors included; not needed when it is a pool that will settle",
			who,
		),
		"restart the process to free the ports until it is fixed; not when it restarts into the same load within minutes",
		"do not enlarge the pool instead: it only moves the day on which it is empty",
	}
	return f
}

// taker names who takes the ports.
func (d *portLeak) taker(data *leak) string {
	h := data.holder
	if !h.IsFamily() {
		return words.Task(h.Process, h.Key.PID)
	}
	return fmt.Sprintf("%s of %s", words.Plural(data.members, "process", "processes"), fold.Printable(h.Process))
}

// gaveBack says in words what became of the ports.
func (d *portLeak) gaveBack(data *leak, ongoing bool) string {
	switch over := !ongoing || data.held*2 < data.peak; {
	case data.held*2 < data.peak:
		return "kept them"
	case data.holder.Released == data.releasedBase && !data.proven:
		return "has given none back so far"
	case data.holder.Released == data.releasedBase:
		return "gave none back"
	case over:
		return "did not give them back"
	case data.proven:
		return "does not give them back"
	}
	return "has not given them back so far"
}

// portKind names what is leaked.
func portKind(h *fold.Holder) string {
	switch {
	case h.Key.Connections:
		return "connection port"
	case h.How[model.HowListen]*2 > h.Acquired && h.Key.Protocol == model.ProtocolTCP:
		return "listener port"
	}
	return h.Key.Protocol.String() + " port"
}

// hows lists the ways in which a holder takes ports, the most common first.
func hows(h *fold.Holder) string {
	type way struct {
		how   model.How
		count uint64
	}
	var ways []way
	for how, n := range h.How {
		if n > 0 && model.How(how) != model.HowPresent {
			ways = append(ways, way{model.How(how), n})
		}
	}
	slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(b.count, a.count) })
	names := map[model.How]string{
		model.HowBindAny:  "bind to port 0",
		model.HowBindPort: "bind to ports of its choice",
		model.HowConnect:  "connect",
		model.HowSend:     "sending without bind",
		model.HowListen:   "listen",
		model.HowKernel:   "the kernel",
		model.HowRPC:      "RPC bindings",
		model.HowAudit:    "calls that were not seen",
	}
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

// spanRange writes a forecast with its uncertainty.
func spanRange(f fold.Forecast) string {
	mid, low, high := f.Left, f.Earliest, f.Latest
	off := max(mid-low, high-mid)
	if mid > 0 && off > mid/2 {
		return fmt.Sprintf("about %s (%s to %s)", words.Span(mid), words.Span(low), words.Span(high))
	}
	if off*50 < mid {
		return "about " + words.Span(mid)
	}
	return fmt.Sprintf("%s ± %s", words.Span(mid), words.Span(off))
}

// commonStack returns the call that took most of the holder's ports, where
// stacks were asked for.
func (d *portLeak) commonStack(w *detect.Tick, h *fold.Holder) (string, int) {
	counts := make(map[string]int)
	for port := range w.AllPorts() {
		if owner, _ := w.Ports.Owner(port); h.Owns(owner) && len(port.Stack) > 0 {
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
			text += fold.Printable(frame.Name)
		} else {
			text += fmt.Sprintf("%#x", frame.Addr)
		}
	}
	return text
}

func (d *portLeak) ruledOut(h *fold.Holder, pool *state.Pool, ongoing bool) []string {
	var list []string
	if h.Released > 0 {
		list = append(
			list,
			fmt.Sprintf(
				"not churn: ports that it does give back are held for %s (p95), these are older",
				words.Span(min(time.Duration(h.Holds.Quantile(0.95)), time.Duration(math.MaxInt64))),
			),
		)
	} else {
		list = append(list, "not churn: it has given no port back")
	}
	resting := 0
	if pool != nil {
		resting = pool.Resting
	}
	list = append(
		list,
		fmt.Sprintf("not rest (TIME_WAIT): %s of the pool at rest, these are open sockets", words.Plural(resting, "port")),
	)
	if ongoing {
		list = append(list, "not ports opened once at the start: the number still rises")
	}
	return list
}
