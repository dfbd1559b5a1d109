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
	"unicode/utf8"

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
	if at.pool != nil {
		f.Subject.Pool, f.Subject.Netns = fold.Printable(at.pool.Name), fold.Printable(at.pool.NetnsName)
	}
	f.Title = d.title(data, ongoing)
	switch {
	case !data.proven:
		f.Severity = model.SeverityInfo
	case data.soon && ongoing && data.fate == kept:
		f.Severity = model.SeverityCritical
	}
	f.Evidence = d.evidence(w, data, ongoing)
	if data.refuted || !data.proven && !ongoing {
		f.Causes = []string{fmt.Sprintf("%s takes ports by %s; the growth that looked like a leak has stopped", who, at.how)}
		if data.fate.gone() {
			f.Causes = []string{fmt.Sprintf("%s took ports by %s until %s", who, at.how, data.fate.end())}
		}
		if data.refuted {
			f.RuledOut = []string{
				fmt.Sprintf(
					"a leak: as many ports %s released as %s taken, and held for up to %s (p95)",
					words.Tense(!data.fate.gone(), "are", "were"),
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

// title says who took how many ports, what became of them, and what follows; the pool is named where there is room.
func (d *portLeak) title(data *leak, ongoing bool) string {
	took := fmt.Sprintf("%s took %s", d.taker(data), words.Plural(data.peak, portKind(data.holder)))
	in := " in " + words.Span(max(data.grew.Sub(data.began), time.Second))
	if (data.proven || ongoing) && !data.refuted {
		in += " and " + d.kept(data, ongoing)
	}
	outcome := d.outcome(data, ongoing)
	if pool := data.at.pool; pool != nil {
		// The shortest name of the pool that leaves room for the outcome.
		for _, name := range []string{words.Pool(pool), fold.Printable(pool.Name)} {
			if title := took + " of pool " + name + in + outcome; utf8.RuneCountInString(title) <= detect.TitleLength {
				return title
			}
		}
	}
	if title := detect.Title(took+" and "+d.kept(data, ongoing), outcome); data.fate.past() && data.proven {
		return title
	}
	return detect.Title(took+in, outcome)
}

// outcome ends the title: what the leak comes to.
func (d *portLeak) outcome(data *leak, ongoing bool) string {
	free := "; they are free again"
	if pool := data.at.pool; pool != nil && data.holder.Key.Protocol == model.ProtocolTCP && data.rested*2 >= data.peak {
		free = "; most now in TIME_WAIT"
	}
	switch {
	case data.merged:
		return "; continued in the finding about all processes of this program"
	case data.refuted:
		return fmt.Sprintf(
			"; no leak: it %s each of them, half within %s",
			words.Tense(ongoing, "releases", "released"),
			words.Span(data.at.usual),
		)
	case data.fate.gone() && !data.proven:
		return "; too early to call it a leak: " + data.fate.end()
	case data.fate == leftAtOnce && strings.HasSuffix(free, "again"):
		return "" // to release them is to free them
	case data.fate.past():
		return free
	case !ongoing && !data.proven:
		return fmt.Sprintf("; no leak: the number stopped growing at %s", words.Plural(data.held, "port"))
	case !ongoing:
		return fmt.Sprintf("; the number stopped growing at %s", words.Plural(data.held, "port"))
	case !data.proven:
		return "; too early to call it a leak"
	case data.starves && data.at.pool == nil:
		return "; its port range is exhausted"
	case data.forecast && data.filling.Left == 0, data.starves:
		return "; the pool is exhausted"
	case data.refused && data.at.pool != nil:
		return "; the pool refused allocations in the last minute"
	case data.forecast:
		return fmt.Sprintf("; pool exhausted in %s", spanRange(data.filling))
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
		list = append(list, detect.Evidence("held by the process in this pool at the peak", float64(at.held), "ports"),
			detect.Evidence("held now", float64(data.held), "ports"))
	} else {
		list = append(list, detect.Evidence("held by the process in this pool", float64(data.held), "ports"))
	}
	for _, m := range at.members[:min(len(at.members), maxNamed)] {
		list = append(list, detect.Evidence("kept by "+words.Task(m.process, m.pid), float64(m.kept), "ports"))
	}
	list = append(list, at.poolIn()...)
	if data.forecast && !data.refused && ongoing && !data.refuted && data.fate == kept {
		list = append(list, detect.Evidence("time until the pool is exhausted", data.filling.Left.Seconds(), "s"))
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
		detect.Evidence("ports released", float64(at.released), "ports"),
	)
	return append(list, data.use.evidence()...)
}

// causes says how the ports are taken and what keeps them.
func (d *portLeak) causes(w *detect.Tick, data *leak, ongoing bool) []string {
	h, at := data.holder, &data.at
	who := words.Task(h.Process, h.Key.PID)
	first := fmt.Sprintf("%s takes ports by %s, %s per second, and keeps them", who, at.how, words.Rate(data.rate))
	switch {
	case data.fate.gone():
		first = fmt.Sprintf(
			"%s took ports by %s, %s per second, and kept them until %s", who, at.how, words.Rate(data.rate), data.fate.end(),
		)
	case data.fate.past() || !ongoing:
		first = fmt.Sprintf("%s took ports by %s, %s per second, and kept them", who, at.how, words.Rate(data.rate))
	}
	list := []string{first}
	if at.pool != nil {
		list[0] += "; pool " + words.Pool(at.pool)
	}
	if data.fate == leftAtOnce {
		list = append(list, "It probably exited: an exit releases all ports at once")
	}
	if len(at.members) > 0 {
		var pids []string
		for _, m := range at.members[:min(len(at.members), maxNamed)] {
			pids = append(pids, words.Itoa(m.pid))
		}
		text := "PIDs " + strings.Join(pids, ", ")
		if more := len(at.members) - len(pids); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		list = append(list, text+": same program (command line) and same parent")
	}
	if data.earlier > 0 {
		list = append(
			list,
			fmt.Sprintf("%s of that name leaked before this one and exited", words.Plural(data.earlier, "process", "processes")),
		)
	}
	if !data.proven && ongoing && data.rate <= maxSlow {
		list = append(
			list,
			fmt.Sprintf(
				"This may be a leak, or a connection pool that is filling up: %s kept so far, one every %s; if this continues, "+
					"the verdict is a leak at %s, in about %s",
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
				"This may not be a leak: a program that waits %s for responses holds its ports as long",
				words.Span(d.settings.ProofAfter.Std()),
			),
		)
	}
	if data.fate == kept {
		data.stack, data.stacked = d.commonStack(w, h)
	}
	if data.stacked > 0 {
		list = append(list, fmt.Sprintf("%s of them were opened at %s", words.Number(data.stacked), data.stack))
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
				"find where %s opened these sockets and left them open (lostbeat record --stacks shows the call when it runs "+
					"again), unless it is a short job that is meant to exit with them open",
				who,
			),
			"do not enlarge the pool instead: that only delays the exhaustion",
		}
	}
	if data.holder.Key.PID == 0 && data.holder.How[model.HowKernel] > 0 {
		return []string{
			"list what the kernel uses them for (findmnt -t nfs,nfs4 and ss -tn) and unmount what is not needed, unless that " +
				"many mounts are intended",
			"mount with noresvport, which uses ephemeral ports instead, unless the server requires reserved ports (export " +
				"option secure, the default on Linux)",
		}
	}
	list := []string{
		fmt.Sprintf(
			"find where %s opens these sockets (lostbeat record --stacks shows the call) and close them on every path, "+
				"including errors, unless it is a connection pool that stops growing",
			who,
		),
	}
	if data.use.halfClosed() {
		list = append(list, "close a connection when a read returns end of file, unless the program still has data to send")
	}
	if data.use.bound() {
		list = append(list, "set IP_BIND_ADDRESS_NO_PORT before binding to a local address, unless the program needs to "+
			"know its port before it connects")
	}
	if data.fate == kept {
		list = append(list, "restart the process to free the ports until it is fixed; this does not help if it leaks as "+
			"many again within minutes")
	}
	return append(list, "do not enlarge the pool instead: that only delays the exhaustion")
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

// kept says in words what became of the ports.
func (d *portLeak) kept(data *leak, ongoing bool) string {
	switch {
	case data.fate.gone():
		return "kept them until " + data.fate.end()
	case data.fate == returned:
		return "kept them"
	case data.holder.Released == data.releasedBase && !data.proven:
		return "has released none so far"
	case data.holder.Released == data.releasedBase:
		return "released none"
	case !ongoing:
		return "did not release them"
	case data.proven:
		return "does not release them"
	}
	return "has not released them so far"
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
		model.HowKernel:   "in-kernel sockets (NFS, SunRPC, tunnels)",
		model.HowRPC:      "RPC bindings",
		model.HowAudit:    "calls that were not observed",
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
		return "calls that were not observed"
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
	list := []string{"churn: it " + words.Tense(still, "has", "had") + " released no port"}
	if at.released > 0 {
		list[0] = fmt.Sprintf(
			"churn: the ports that it %s had been held for %s (p95), these %s older",
			words.Tense(still, "releases", "released"), words.Span(at.longest), words.Tense(still, "are", "were"),
		)
	}
	resting := 0
	if at.pool != nil {
		resting = at.pool.Resting
	}
	list = append(
		list,
		fmt.Sprintf(
			"ports in TIME_WAIT: %s of the pool; these %s open sockets",
			words.Number(resting), words.Tense(still, "are", "were"),
		),
	)
	switch {
	case still && data.refused:
		list = append(list, "ports opened once at startup: it asks for more, which are refused")
	case still:
		list = append(list, "ports opened once at startup: the number is still rising")
	}
	if data.use.unused() {
		list = append(list, data.use.idleText())
	}
	return list
}
