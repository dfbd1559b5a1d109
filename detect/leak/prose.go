package leak

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// describe writes the finding of a leaking process.
func (d *portLeak) describe(w *detect.Tick, in *detect.Case[leak]) model.Finding {
	data := &in.Data
	h, at := data.holder, &data.at
	ongoing := in.Ongoing() && !data.fate.gone()
	who := words.Task(h.Process, h.Key.PID)
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
	if at.pool != nil {
		f.Subject.Pool, f.Subject.Netns = fold.Printable(at.pool.Name), fold.Printable(at.pool.NetnsName)
		where = " of pool " + words.Pool(at.pool)
	}
	f.Title = fmt.Sprintf(
		"%s took %s%s in %s",
		d.taker(data),
		words.Plural(data.peak, portKind(h)),
		where,
		words.Span(max(data.grew.Sub(data.began), time.Second)),
	)
	if (data.proven || ongoing) && !data.refuted {
		f.Title += " and " + d.gaveBack(data, ongoing)
	}
	f.Title += d.outcome(data, ongoing)
	switch {
	case !data.proven:
		f.Severity = model.SeverityInfo
	case data.soon && ongoing && data.fate == kept:
		f.Severity = model.SeverityCritical
	}
	f.Evidence = d.evidence(w, data, ongoing)
	if data.refuted || !data.proven && !ongoing {
		f.Causes = []string{fmt.Sprintf("%s takes ports by %s; what looked like a leak has ended", who, at.how)}
		if data.fate.gone() {
			f.Causes = []string{fmt.Sprintf("%s took ports by %s until %s", who, at.how, data.fate.end())}
		}
		if data.refuted {
			f.RuledOut = []string{
				fmt.Sprintf(
					"not a leak: as many ports %s back as %s taken, held for up to %s (p95)",
					words.Tense(!data.fate.gone(), "come", "came"),
					words.Tense(!data.fate.gone(), "are", "were"),
					words.Span(at.longest),
				),
			}
		}
		return f
	}
	f.Causes = d.causes(w, data, ongoing)
	f.RuledOut = d.ruledOut(data, ongoing)
	f.Advice = leakAdvice(who, data)
	return f
}

// outcome ends the title: what the leak comes to.
func (d *portLeak) outcome(data *leak, ongoing bool) string {
	free := "; by now they are free again"
	if pool := data.at.pool; pool != nil && data.holder.Key.Protocol == model.ProtocolTCP && data.rested*2 >= data.peak {
		free = "; by now most of them are at rest (TIME_WAIT)"
	}
	switch {
	case data.merged:
		return "; other processes of the same program do the same: the finding about all of them goes on"
	case data.refuted:
		return fmt.Sprintf(
			"; no leak: it %s each back, half of them within %s",
			words.Tense(!data.fate.gone(), "gives", "gave"),
			words.Span(data.at.usual),
		)
	case data.fate.gone() && !data.proven:
		return "; too early to say whether it would have given them back: " + data.fate.end()
	case data.fate.past():
		return free
	case !ongoing && !data.proven:
		return fmt.Sprintf("; no leak: it has stopped growing at %s", words.Plural(data.held, "port"))
	case !ongoing:
		return fmt.Sprintf("; it has stopped growing at %s", words.Plural(data.held, "port"))
	case !data.proven:
		return "; too early to call it a leak"
	case data.starves && data.at.pool == nil:
		return "; the range that it searches is exhausted"
	case data.forecast && data.filling.Left == 0, data.starves:
		return "; the pool is exhausted"
	case data.refused && data.at.pool != nil:
		return "; the pool has refused allocations within the last minute"
	case data.forecast:
		return fmt.Sprintf("; the pool will be exhausted in %s", spanRange(data.filling))
	}
	return ""
}

// evidence lists the numbers of the moment at which most was kept.
func (d *portLeak) evidence(w *detect.Tick, data *leak, ongoing bool) []model.Evidence {
	at := &data.at
	list := []model.Evidence{
		detect.Evidence("ports taken and kept", float64(data.peak), "ports"),
		detect.Evidence("rate", data.rate, "ports/s"),
	}
	if data.fate.past() {
		list = append(list, detect.Evidence("held by the process in this pool then", float64(at.held), "ports"),
			detect.Evidence("held by now", float64(data.held), "ports"))
	} else {
		list = append(list, detect.Evidence("held by the process in this pool", float64(data.held), "ports"))
	}
	for _, m := range at.members[:min(len(at.members), maxNamed)] {
		list = append(list, detect.Evidence("kept by "+words.Task(m.process, m.pid), float64(m.kept), "ports"))
	}
	list = append(list, at.poolIn()...)
	if data.forecast && !data.refused && ongoing && !data.refuted && data.fate == kept {
		list = append(list, detect.Evidence("pool exhausted in", data.filling.Left.Seconds(), "s"))
		if data.proven {
			list = append(
				list,
				detect.Evidence("at the earliest", data.filling.Earliest.Seconds(), "s"),
				detect.Evidence("at the latest", data.filling.Latest.Seconds(), "s"),
			)
		}
	}
	list = append(
		list,
		detect.Evidence("median age of the ports held", data.use.medianAge.Seconds(), "s"),
		detect.Evidence("oldest port held", data.use.oldest.Seconds(), "s"),
		detect.Evidence("ports taken since it was first seen", float64(at.acquired), "ports"),
		detect.Evidence("ports given back", float64(at.released), "ports"),
	)
	return append(list, data.use.evidence()...)
}

// causes says how the ports are taken and what keeps them.
func (d *portLeak) causes(w *detect.Tick, data *leak, ongoing bool) []string {
	h, at := data.holder, &data.at
	who := words.Task(h.Process, h.Key.PID)
	first := fmt.Sprintf("%s takes ports by %s, %s a second, and keeps them", who, at.how, words.Rate(data.rate))
	switch {
	case data.fate.gone():
		first = fmt.Sprintf(
			"%s took ports by %s, %s a second, and kept them until %s", who, at.how, words.Rate(data.rate), data.fate.end(),
		)
	case data.fate.past() || !ongoing:
		first = fmt.Sprintf("%s took ports by %s, %s a second, and kept them", who, at.how, words.Rate(data.rate))
	}
	list := []string{first}
	if len(at.members) > 0 {
		var pids []string
		for _, m := range at.members[:min(len(at.members), maxNamed)] {
			pids = append(pids, words.Itoa(m.pid))
		}
		text := "PIDs " + strings.Join(pids, ", ")
		if more := len(at.members) - len(pids); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		list = append(list, text+": of one program (command line) and one parent")
	}
	if data.earlier > 0 {
		list = append(
			list,
			fmt.Sprintf("%s of that name leaked before it and ended", words.Plural(data.earlier, "process", "processes")),
		)
	}
	if !data.proven && ongoing && data.rate <= maxSlow {
		list = append(
			list,
			fmt.Sprintf(
				"this may be a leak or a pool that warms up: %s kept so far, one every %s; if it goes on, it will be called a "+
					"leak at %s, in about %s",
				words.Plural(data.peak, "port"),
				words.Span(d.every(data)),
				words.Plural(d.verdictAt(w, h), "port"),
				words.Span(time.Duration(float64(d.every(data))*float64(max(0, int(d.verdictAt(w, h))-data.peak)))),
			),
		)
	} else if !data.proven && ongoing {
		list = append(
			list,
			fmt.Sprintf(
				"this may be the beginning of a leak or not: a program that waits %s for its answers would hold its ports as long",
				words.Span(d.settings.ProofAfter.Std()),
			),
		)
	}
	if data.fate == kept {
		data.stack, data.stacked = d.commonStack(w, h)
	}
	if data.stacked > 0 {
		list = append(list, fmt.Sprintf("%s of them were taken at %s", words.Number(data.stacked), data.stack))
	}
	if data.use.halfClosed() {
		list = append(list, data.use.halfClosedText(data.fate == kept))
	}
	if data.use.bound() {
		list = append(list, data.use.boundText())
	}
	if data.use.pooled() {
		list = append(list, data.use.inUseText())
	}
	return list
}

// every is the time between two ports of a leak.
func (d *portLeak) every(data *leak) time.Duration {
	return time.Duration(float64(time.Second) / max(data.rate, 1e-3))
}

// verdictAt is the number of ports kept from which a slow leak is called one.
// What warms up in a pool that someone has bounded may take a part of it.
func (d *portLeak) verdictAt(w *detect.Tick, h *fold.Holder) uint64 {
	verdict := d.settings.SlowPorts
	if h.Key.Connections {
		verdict *= 2
	}
	return d.least(w, h, verdict, warmUpShare*d.settings.BoundedShare)
}

// maxNamed is how many processes of a family are named.
const maxNamed = 8

// leakAdvice says what to do: what has ended cannot be restarted.
func leakAdvice(who string, data *leak) []string {
	if data.fate.gone() {
		return []string{
			fmt.Sprintf(
				"find where %s opened these sockets and left them open: when it runs again, lostbeat record --stacks shows the "+
					"call; not needed when it was meant to end with them open, as a short job is",
				who,
			),
			"do not enlarge the pool instead: it only moves the day on which it is empty",
		}
	}
	if data.holder.Key.PID == 0 && data.holder.How[model.HowKernel] > 0 {
		return []string{
			"list what the kernel uses them for (findmnt -t nfs,nfs4 and ss -tn) and unmount what is not needed; not when so " +
				"many mounts are meant to be there",
			"mount with noresvport, which takes ports of the ephemeral range instead; not when the server insists on reserved " +
				"ports (exports with secure, the default on Linux)",
		}
	}
	list := []string{
		fmt.Sprintf(
			"find where %s opens these sockets (lostbeat record --stacks shows the call) and close them on every path, "+
				"errors included; not needed when it is a pool that will settle",
			who,
		),
	}
	if data.use.halfClosed() {
		list = append(list, "close a connection when a read of it returns end of file; not when the program means to go on "+
			"sending")
	}
	if data.use.bound() {
		list = append(list, "set IP_BIND_ADDRESS_NO_PORT before the bind to a local address; not when the program needs to "+
			"know its port before it connects")
	}
	if data.fate == kept {
		list = append(list, "restart the process to free the ports until it is fixed; not when it restarts into the same "+
			"load within minutes")
	}
	return append(list, "do not enlarge the pool instead: it only moves the day on which it is empty")
}

// taker names who takes the ports.
func (d *portLeak) taker(data *leak) string {
	h := data.holder
	if !h.IsFamily() {
		return words.Task(h.Process, h.Key.PID)
	}
	return fmt.Sprintf(
		"%s of %s", words.Plural(len(data.at.members), "process", "processes"), fold.Printable(h.Process),
	)
}

// gaveBack says in words what became of the ports.
func (d *portLeak) gaveBack(data *leak, ongoing bool) string {
	switch {
	case data.fate.gone():
		return "kept them until " + data.fate.end()
	case data.fate == returned:
		return "kept them"
	case data.holder.Released == data.releasedBase && !data.proven:
		return "has given none back so far"
	case data.holder.Released == data.releasedBase:
		return "gave none back"
	case !ongoing:
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
		model.HowKernel:   "the kernel's own sockets (NFS, SunRPC, tunnels)",
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

func (d *portLeak) ruledOut(data *leak, ongoing bool) []string {
	at := &data.at
	still := ongoing && data.fate == kept
	list := []string{"not churn: it " + words.Tense(still, "has", "had") + " given no port back"}
	if at.released > 0 {
		list[0] = fmt.Sprintf(
			"not churn: ports that it %s give back %s held for %s (p95), these %s older",
			words.Tense(still, "does", "did"), words.Tense(still, "are", "were"),
			words.Span(at.longest), words.Tense(still, "are", "were"),
		)
	}
	resting := 0
	if at.pool != nil {
		resting = at.pool.Resting
	}
	list = append(
		list,
		fmt.Sprintf(
			"not rest (TIME_WAIT): %s of the pool at rest, these %s open sockets",
			words.Plural(resting, "port"), words.Tense(still, "are", "were"),
		),
	)
	switch {
	case still && data.refused:
		list = append(list, "not ports opened once at the start: it asks for more, which are refused")
	case still:
		list = append(list, "not ports opened once at the start: the number still rises")
	}
	if data.use.unused() {
		list = append(list, data.use.idleText())
	}
	return list
}
