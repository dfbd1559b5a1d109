package snapshot

import (
	"fmt"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// describe says what a table shows.
func (d *detector) describe(w *detect.Tick, c *detect.Case[fault]) model.Finding {
	f := &c.Data
	v := view{fault: f, windows: w.Windows(), ongoing: c.Ongoing(), rest: restTime(w), min: d.settings.MinGrowth}
	out := model.Finding{
		Severity: f.level,
		Subject: model.Subject{
			Kind:     "process",
			CPU:      -1,
			PID:      f.holder.PID,
			Process:  fold.Printable(f.holder.Process),
			Pool:     fold.Printable(f.pool.Name),
			Protocol: f.pool.Protocol.String(),
		},
	}
	switch f.what {
	case ofHolder:
		v.ofHolder(&out)
	case ofRange:
		out.Subject.Kind, out.Subject.PID, out.Subject.Process = "pool", -1, ""
		v.ofRange(&out)
	case ofDestination:
		out.Subject.Kind, out.Subject.PID, out.Subject.Process = "pool", f.to.PID, fold.Printable(f.to.Process)
		out.Subject.Port = f.to.RemotePort
		v.ofDestination(&out)
	case ofCloseWait:
		v.ofCloseWait(&out)
	case ofPool:
		out.Subject.Kind, out.Subject.PID, out.Subject.Process = "pool", -1, ""
		v.ofPool(&out)
	}
	v.limits(&out)
	if host := w.State.Meta["host"]; host != "" {
		out.Causes = append(out.Causes, "the tables are those of "+fold.Printable(host))
	}
	return out
}

// restTime is how long a closed port rests: TcpTimedWaitDelay of Windows since Vista, where older ones had 4 min.
func restTime(w *detect.Tick) time.Duration {
	if w.Windows() {
		return 2 * time.Minute
	}
	return w.RestTime()
}

// view writes sentences about a fault.
type view struct {
	*fault
	windows, ongoing bool
	rest             time.Duration
	min              uint64
}

func (v *view) tense(present, past string) string { return words.Tense(v.ongoing, present, past) }

// transport is the protocol's name.
func (v *view) transport() string { return strings.ToUpper(v.pool.Protocol.String()) }

// rangeName says of which ports: 16,384 dynamic UDP ports.
func (v *view) rangeName() string {
	kind := "ephemeral"
	if v.windows {
		kind = "dynamic"
	}
	return fmt.Sprintf("%s %s %s ports", words.Number(v.pool.Size), kind, v.transport())
}

func (v *view) process() string {
	if !v.named() {
		return "processes not named in the table"
	}
	return words.Task(v.holder.Process, v.holder.PID)
}

// named says that the table says which process it is.
func (v *view) named() bool { return v.holder.PID >= 0 }

// verb chooses the form of a verb for the holder.
func (v *view) verb(one, several, past string) string {
	if v.named() {
		return v.tense(one, past)
	}
	return v.tense(several, past)
}

// held returns how many ports of the range are in use; a table of somebody else's range may name more.
func (v *view) held() uint64 { return min(v.table.Held, v.pool.Size) }

// left is how many ports of the range nobody has.
func (v *view) left() uint64 { return v.pool.Size - min(v.pool.Size, v.held()+v.table.Resting) }

// grows says that the growth is worth a sentence.
func (v *view) grows() bool { return v.growth.from != nil && v.growth.grown >= v.min }

func (v *view) ofHolder(f *model.Finding) {
	h, g := &v.holder, &v.growth
	f.Title = fmt.Sprintf(
		"%s %s %s of the %s",
		v.process(),
		v.verb("holds", "hold", "held"),
		words.Number(h.Ports),
		v.rangeName(),
	)
	if h.Bound > 0 && v.pool.Protocol == model.ProtocolTCP {
		f.Title += fmt.Sprintf(", %s of them bound without a connection", words.Number(h.Bound))
	}
	if v.grows() {
		f.Title += fmt.Sprintf(", %s more than %s earlier", words.Number(g.grown), words.Span(g.span))
		if g.keeps() {
			f.Title += v.kept(v.verb("has", "have", "had"))
		}
	}
	switch soon := v.soon(); {
	case v.full && soon != "":
		f.Title += fmt.Sprintf("; %s left, exhausted in about %s", words.Number(v.left())+v.tense(" are", " were"), soon)
	case v.full:
		f.Title += fmt.Sprintf("; %s left", words.Number(v.left())+v.tense(" are", " were"))
	case soon != "" && g.proven():
		f.Title += fmt.Sprintf("; at this rate exhausted in about %s", soon)
	}
	v.numbers(f)
	if v.full {
		f.Causes = append(
			f.Causes,
			fmt.Sprintf("All processes together %s %s of them (%s): once none is left, every request "+
				"for a %s port fails", v.tense("hold", "held"), words.Number(v.held()),
				words.Percent(fold.Ratio(float64(v.held()), float64(v.pool.Size))), v.transport()),
		)
	}
	if h.Bound > 0 && v.pool.Protocol == model.ProtocolTCP {
		text := fmt.Sprintf("%s ports are bound, but neither listening nor connected: each is "+
			"taken for every destination, and netstat without -q does not show it", words.Number(h.Bound))
		if h.Ports > h.Bound {
			text += fmt.Sprintf("; the other %s belong to connections or listeners, and are counted once although a "+
				"socket that was bound before it was connected is in the table twice", words.Number(h.Ports-h.Bound))
		}
		f.Causes = append(f.Causes, text)
	}
	switch {
	case g.proven() && v.grows():
		when := "in each of " + words.Plural(g.tables, "table")
		if g.rises < g.tables-1 {
			when = fmt.Sprintf("%d times in %s", g.rises, words.Plural(g.tables, "table"))
		}
		f.Causes = append(f.Causes, fmt.Sprintf("It gained ports %s, %s per minute, and %s of the earlier ones %s still "+
			"held: it does not close its sockets", when, rate(g.perSecond()*60),
			v.share(), v.tense("are", "were")))
		f.RuledOut = append(f.RuledOut, "a fluctuating load: that releases ports")
	case g.keeps() && v.grows():
		f.Causes = append(
			f.Causes,
			fmt.Sprintf("It gained %s over %s, within %s, and released %s: so does a process that does not close its "+
				"sockets, and one that is starting or whose load is rising; three tables over 10 min or more would show which",
				words.Number(g.grown), words.Plural(g.tables, "table"), words.Span(g.span), none(g.given)),
		)
	case v.grows():
		f.RuledOut = append(f.RuledOut, fmt.Sprintf("No leak is shown: it released %s between the tables",
			words.Plural(g.given, "port")))
	}
	if before := v.first.Holder(h.PID); before != nil && v.tables > 1 && !v.grows() && before.Process == h.Process &&
		h.Ports <= before.Ports && v.first.BoundSeen == v.table.BoundSeen {
		f.RuledOut = append(f.RuledOut, fmt.Sprintf("growth: it had %s ports %s earlier", words.Number(before.Ports),
			words.Span(v.table.Time.Sub(v.first.Time))))
	}
	if h.Dur > 0 {
		f.Causes = append(f.Causes, fmt.Sprintf("Its oldest port is %s old (CreationTime)", words.Span(h.Dur)))
	}
	if f.Severity == model.SeverityInfo {
		f.Causes = append(f.Causes, "So many may be intended: the source ports of a DNS server, a media server or a proxy")
		return
	}
	if !v.named() {
		f.Advice = append(f.Advice, ownersAdvice)
		return
	}
	f.Advice = append(
		f.Advice,
		fmt.Sprintf(
			"restart %s to free its ports, and have its developers find out why its sockets stay open, unless it is known to "+
				"need that many",
			v.process(),
		),
	)
	if v.windows {
		f.Advice = append(f.Advice, fmt.Sprintf("until then, widen the range (netsh int ipv4 set "+
			"dynamicport %s start=N num=N); this does not solve a leak: it fills any range", v.pool.Protocol))
	} else {
		f.Advice = append(
			f.Advice,
			"until then, widen net.ipv4.ip_local_port_range; this does not solve a leak: it fills any range",
		)
	}
}

// kept says that nothing, or little, was given back.
func (v *view) kept(has string) string {
	return fmt.Sprintf(", and %s released %s", has, none(v.growth.given))
}

// share says which of the earlier ports are still held.
func (v *view) share() string {
	if v.growth.given == 0 {
		return "all"
	}
	return "nearly all"
}

func none(n uint64) string {
	if n == 0 {
		return "none"
	}
	return words.Number(n)
}

// rate writes ports a minute with two digits.
func rate(perMinute float64) string {
	if perMinute >= 10 {
		return words.Number(int64(perMinute + 0.5))
	}
	return fmt.Sprintf("%.2g", perMinute)
}

// soon says when the range will be exhausted, "" where that is not known or far.
func (v *view) soon() string {
	rate := v.growth.perSecond()
	if !v.growth.keeps() || !v.grows() || rate <= 0 || !v.ongoing {
		return ""
	}
	seconds := float64(v.left()) / rate
	if seconds > (7 * 24 * time.Hour).Seconds() {
		return ""
	}
	return words.Span(time.Duration(seconds * float64(time.Second)))
}

// numbers adds the counts.
func (v *view) numbers(f *model.Finding) {
	h := &v.holder
	f.Evidence = append(f.Evidence,
		detect.Evidence("held by "+v.process(), float64(h.Ports), "ports"),
		detect.Evidence("size of the range", float64(v.pool.Size), "ports"),
		detect.Evidence("held by all", float64(v.held()), "ports"),
	)
	if v.table.Resting > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("in TIME_WAIT only", float64(v.table.Resting), "ports"))
	}
	if h.Bound > 0 && v.pool.Protocol == model.ProtocolTCP {
		f.Evidence = append(f.Evidence, detect.Evidence("bound without a connection", float64(h.Bound), "ports"))
	}
	if h.Outside > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("held outside of the range", float64(h.Outside), "ports"))
	}
	if g := &v.growth; v.grows() {
		f.Evidence = append(f.Evidence,
			detect.Evidence("gained", float64(g.grown), "ports"), detect.Evidence("released", float64(g.given), "ports"),
			detect.Evidence("over", g.span.Seconds(), "s"), detect.Evidence("rate", g.perSecond(), "ports/s"))
	}
}

// ownersAdvice asks for a table with owners.
const ownersAdvice = "get a table with owners: netstat -anoq; Get-NetUDPEndpoint | Select " +
	"LocalAddress,LocalPort,OwningProcess,CreationTime | Export-Csv; ss -tunap as root; not needed if the holder is known"

func (v *view) ofRange(f *model.Finding) {
	f.Title = fmt.Sprintf(
		"%s of the %s %s in use; %s left",
		words.Number(v.held()),
		v.rangeName(),
		v.tense("are", "were"),
		words.Number(v.left())+v.tense(" are", " were"),
	)
	f.Evidence = append(f.Evidence, detect.Evidence("in use", float64(v.held()), "ports"),
		detect.Evidence("size of the range", float64(v.pool.Size), "ports"))
	for _, h := range v.table.Holders[:min(len(v.table.Holders), 5)] {
		if h.PID < 0 {
			continue
		}
		f.Evidence = append(f.Evidence, detect.Evidence("held by "+words.Task(h.Process, h.PID), float64(h.Ports), "ports"))
	}
	switch {
	case !v.table.OwnersSeen:
		f.Causes = append(f.Causes, "The table does not say who holds them")
		f.Advice = append(f.Advice, ownersAdvice)
	case v.holder.PID >= 0:
		f.Causes = append(f.Causes, fmt.Sprintf("No single process holds most of them; the largest is %s with %s",
			v.process(), words.Number(v.holder.Ports)))
		f.Advice = append(
			f.Advice,
			"widen the range, or spread the programs over several hosts, unless one of the holders grows",
		)
	}
	if v.pool.Protocol == model.ProtocolTCP {
		f.Causes = append(
			f.Causes,
			"A connection needs a free port only for its own destination: how many requests fail depends on which ports were "+
				"bound before connecting, which the table does not show",
		)
	}
}

func (v *view) ofDestination(f *model.Finding) {
	to := &v.to
	taken := to.Held + to.Resting
	peer := fmt.Sprintf("%s:%d", fold.Printable(to.RemoteAddr), to.RemotePort)
	f.Title = fmt.Sprintf("%s of the %s of %s %s used for %s", words.Number(taken), v.rangeName(),
		fold.Printable(to.LocalAddr), v.tense("are", "were"), peer)
	if to.Resting > 0 {
		f.Title += fmt.Sprintf(", %s of them in TIME_WAIT", words.Number(to.Resting))
	}
	switch {
	case v.level >= model.SeverityCritical:
		f.Title += fmt.Sprintf(": new connections to it %s or wait", v.tense("fail", "failed"))
	default:
		f.Title += fmt.Sprintf("; %s left", words.Number(v.pool.Size-min(v.pool.Size, taken))+v.tense(" are", " were"))
	}
	f.Evidence = append(
		f.Evidence,
		detect.Evidence(
			"used for it",
			float64(taken),
			"ports",
		),
		detect.Evidence("in TIME_WAIT", float64(to.Resting), "ports"),
		detect.Evidence(
			"connected",
			float64(to.Held),
			"ports",
		),
		detect.Evidence("size of the range", float64(v.pool.Size), "ports"),
	)
	owner := ""
	switch {
	case to.PID > 0:
		owner = fmt.Sprintf("%s is the only process with connections to it", words.Task(to.Process, to.PID))
	case v.table.OwnersSeen:
		owner = "Several processes have connections to it, or none has any longer"
	}
	switch {
	case to.Resting > to.Held:
		f.Causes = append(
			f.Causes,
			fmt.Sprintf("Connections to it are opened and closed faster than their ports become free: each stays in TIME_WAIT "+
				"for %s (unless that was changed), so the range sustains about %s connections per second", words.Span(v.rest),
				words.Rate(float64(v.pool.Size)/v.rest.Seconds())),
		)
		if owner != "" {
			owner += "; a port in TIME_WAIT has no owner, so it is likely but not certain that it opened them"
		}
		f.RuledOut = append(f.RuledOut, "unreleased ports: those in TIME_WAIT become free by themselves")
		f.Advice = append(
			f.Advice,
			"keep connections to it open and reuse them (keep-alive, a pool); if it closes them after each request, change "+
				"that first",
		)
	default:
		f.Causes = append(f.Causes, "Most of them are open connections: share fewer connections, or use more addresses")
		f.Advice = append(
			f.Advice,
			"share connections to it, or spread them over more addresses; close those that are idle",
		)
	}
	if owner != "" {
		f.Causes = append(f.Causes, owner)
	}
	f.RuledOut = append(
		f.RuledOut,
		"other destinations: not affected, a port in use for one can be used for another, unless it was bound before "+
			"connecting",
	)
}

func (v *view) ofCloseWait(f *model.Finding) {
	h := &v.holder
	f.Title = fmt.Sprintf("%s %s %s connections in CLOSE_WAIT, of %s: the peers have closed them, the program has not",
		v.process(), v.verb("has", "have", "had"), words.Number(h.CloseWait), words.Number(h.Connections))
	f.Evidence = append(f.Evidence,
		detect.Evidence("in CLOSE_WAIT", float64(h.CloseWait), "connections"),
		detect.Evidence("connections", float64(h.Connections), "connections"),
		detect.Evidence("held of the range", float64(h.Ports), "ports"))
	f.Causes = append(
		f.Causes,
		fmt.Sprintf("The program does not close sockets after its peer has closed: each keeps a "+
			"socket and its port until the process exits (%s of the %s)", words.Number(h.Ports), v.rangeName()),
	)
	if h.RemoteAddr != "" {
		f.Causes = append(f.Causes, "Most of them were with "+fold.Printable(h.RemoteAddr))
	}
	if before := v.first.Holder(h.PID); before != nil && v.ordered() && before.Process == h.Process {
		switch span := words.Span(v.table.Time.Sub(v.first.Time)); {
		case h.CloseWait > before.CloseWait:
			f.Causes = append(f.Causes, fmt.Sprintf("It had %s %s before: the number is growing",
				words.Number(before.CloseWait), span))
		default:
			f.RuledOut = append(
				f.RuledOut,
				fmt.Sprintf("The number is not growing: it had %s %s earlier", words.Number(before.CloseWait), span),
			)
		}
	}
	f.RuledOut = append(
		f.RuledOut,
		"the network or the peer: a connection is in CLOSE_WAIT from the peer's FIN until the program closes it",
	)
	if !v.named() {
		f.Advice = append(f.Advice, ownersAdvice)
		return
	}
	f.Advice = append(
		f.Advice,
		fmt.Sprintf("have the developers of %s look for connections that are not closed after an error or "+
			"end of file; if it was only busy for a moment, a second table has none", v.process()),
	)
}

// ordered says that there was a table before, at a time that is known.
func (v *view) ordered() bool {
	return v.tables > 1 && v.table.Flags&model.FlagSecondary == 0 && v.table.Time.Sub(v.first.Time) >= leastSpan
}

// limits says what cannot be concluded.
func (v *view) limits(f *model.Finding) {
	if v.tables == 1 {
		f.Advice = append(
			f.Advice,
			"take a second table some minutes later: one table cannot show growth; not needed to act on the level",
		)
	}
	if !v.table.RangeKnown && v.what != ofPool {
		f.RuledOut = append(f.RuledOut, fmt.Sprintf("not checked: the range is assumed to be %d to %d, the system's default",
			v.pool.Low, v.pool.High))
	}
	if v.growth.from != nil && v.grows() {
		f.Causes = append(f.Causes, "The times of the tables are from "+v.table.TimeFrom)
	}
}
