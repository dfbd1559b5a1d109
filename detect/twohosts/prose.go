package twohosts

import (
	"fmt"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// lead is the incident that the finding is about, with its own finding; the others follow from it.
func (g *group) lead() int {
	best, most := -1, time.Duration(-1)
	for i, in := range g.list {
		own := g.found[i].ID == g.root.id && in.host() == g.root.Recording
		switch {
		case own && !in.bySender:
			return i
		case !in.bySender && in.gap > most:
			best, most = i, in.gap
		}
	}
	return max(best, 0)
}

// host is the one whose finding it is.
func (in *incident) host() *Recording {
	if in.bySender {
		return in.way.from
	}
	return in.way.to
}

// finding writes what is known of the cause.
func (g *group) finding() model.Finding {
	n := g.lead()
	in, own := g.list[n], g.found[n]
	t := &telling{incident: in, own: own, a: in.way.from.name, b: in.way.to.name}
	f := model.Finding{
		Detector: heartbeatloss.Name, Severity: own.Severity, Start: own.Start, End: own.End, Ongoing: own.Ongoing,
		Subject: own.Subject, Loss: own.Loss,
	}
	f.Title = t.title()
	t.explain(&f)
	for i, o := range g.list {
		f.Severity = max(f.Severity, g.found[i].Severity)
		if i != n {
			if text := o.follows(in); text != "" {
				f.Causes = append(f.Causes, text)
			}
		}
	}
	f.Causes = append(f.Causes, in.clock.text(t.a, t.b)+"; times are those of "+in.host().name)
	if in.assumed {
		f.Causes = append(f.Causes, "assumed: the clocks differ by less than "+words.Span(in.within)+
			", as the identifications of the packets repeat")
	}
	if per, ok := in.hosts.drift(); ok {
		who, than := in.hosts.b.name, in.hosts.a.name
		f.Causes = append(f.Causes, fmt.Sprintf("the clock of %s %s on that of %s by %s in an hour", who,
			words.Tense(per > 0, "gains", "loses"), than, words.Span(per.Abs())))
	}
	t.evidence(&f)
	if splits(in.judged.Verdict) {
		f.Start, f.End = in.judged.Gap.From.Add(in.judged.Gap.Period), min(max(in.judged.Gap.To, f.Start), own.End)
		f.Ongoing = own.Ongoing && in.lasts
		if in.gaps > 1 {
			f.Title += fmt.Sprintf(" (the longest of %s)", words.Plural(in.gaps, "delay"))
		}
	}
	f.ID = fmt.Sprintf("%s/%s/%s/%s/%d/%d", heartbeatloss.Name, t.a, t.b, in.rx.protocol, in.rx.port,
		int64(f.Start)/int64(time.Second))
	return f
}

// telling is what the sentences of one finding are made of.
type telling struct {
	*incident
	// own is the finding of the single host, a and b are the names of the sender and the receiver.
	own  model.Finding
	a, b string
}

// silence says what the receiver saw.
func (t *telling) silence() string {
	return fmt.Sprintf("%s: nothing %s for %s", t.flowName(), words.Tense(t.lasts, "has been received", "received"),
		words.Span(t.gap))
}

// cause is what kept the sender's program.
func (t *telling) cause() string {
	switch {
	case t.bySender && t.judged.Why != "":
		return t.judged.Why
	case t.sender != nil && t.sender.Why != "":
		return t.sender.Why
	}
	return "cause unknown"
}

func (t *telling) title() string {
	lost := words.Plural(t.lost, "packet")
	were := words.Tense(t.lost == 1, " was", " were")
	if t.again > 0 {
		were = fmt.Sprintf(" (%s retransmitted)%s", words.Plural(t.again, "was", "were"), were)
		if t.again == t.lost {
			were = " (and retransmitted)" + words.Tense(t.lost == 1, " was", " were")
		}
	}
	switch t.place {
	case sentLate:
		if t.bySender {
			text := fmt.Sprintf("%s was sent %s late by %s: %s", t.flowName(), words.Span(t.notSent), t.a, t.cause())
			if t.gap > 0 {
				text += "; " + t.b + " received nothing for " + words.Span(t.gap)
			}
			return text
		}
		return fmt.Sprintf("%s, because %s sent nothing: %s", t.silence(), t.a, t.cause())
	case queuedInSender:
		if t.bySender {
			text := fmt.Sprintf("%s left %s %s late: %s", t.flowName(), t.a, words.Span(t.onWay+t.notSent), t.cause())
			if t.gap > 0 {
				text += "; " + t.b + " received nothing for " + words.Span(t.gap)
			}
			return text
		}
		return fmt.Sprintf("%s, because the packet left %s late: %s", t.silence(), t.a, t.cause())
	case stopped:
		return t.silence() + ": " + t.a + " had closed the socket, or its program had exited"
	case paused:
		return fmt.Sprintf("%s: %s was paused: its clock stopped for %s", t.silence(), t.a, words.Span(t.onWay))
	case lostInSender:
		if t.lost == 0 {
			return t.silence() + ": its packets were lost in " + t.a + " itself, at its " + t.where
		}
		return t.silence() + ": " + lost + were + " lost in " + t.a + " itself, at its " + t.where
	case lostInSenderMaybe:
		return t.silence() + ": " + lost + " did not arrive, and " + t.a + " may have lost them itself, at its " + t.where
	case lostBetween:
		return t.silence() + ": " + lost + were + " lost between the hosts"
	case lostInRing, lostInReceiver:
		if t.place == lostInReceiver && t.lost == 0 {
			return t.silence() + ": packets that " + t.a + " sent were lost in " + t.b + " at " + t.where
		}
		return t.silence() + ": " + lost + were + " lost in " + t.b + ", at " + t.where
	case heldBetween:
		return fmt.Sprintf("%s: the packets were on the way between the hosts for %s longer than usual", t.silence(),
			words.Span(t.onWay))
	case waitedInRing:
		return fmt.Sprintf("%s: the packets waited in %s for NET_RX on CPU %d, which did not run for %s", t.silence(), t.b,
			t.wait.cpu, words.Span(t.wait.wait))
	case slower:
		return fmt.Sprintf("%s: the way between the hosts became slower by %s", t.silence(), words.Span(t.onWay))
	case waited, readLate:
		return t.b + ": " + t.own.Title + "; " + t.a + " had sent it in time"
	}
	return t.silence() + "; unclear which host is at fault: " + t.why
}

// explain adds causes, rivals and advice.
func (t *telling) explain(f *model.Finding) {
	cause := func(format string, args ...any) { f.Causes = append(f.Causes, fmt.Sprintf(format, args...)) }
	not := func(format string, args ...any) { f.RuledOut = append(f.RuledOut, fmt.Sprintf(format, args...)) }
	advice := func(text string) { f.Advice = append(f.Advice, text) }
	period := words.Span(t.judged.Gap.Period)
	switch t.place {
	case sentLate, stopped:
		f.Subject.PID, f.Subject.Process = t.tx.pid, fold.Printable(t.tx.process)
		cause("Sent late: nothing reached the IP layer of %s for %s more than usual (normally a packet every %s)", t.a,
			words.Span(t.notSent), period)
		if t.sender != nil {
			t.adopt(f)
		} else if t.bySender {
			f.Causes, f.Advice = append(f.Causes, t.own.Causes...), append(f.Advice, t.own.Advice...)
		}
		if t.lost == 0 && t.gap > 0 {
			not("the way between the hosts, or %s: no packet of that time is missing", t.b)
		}
		if len(f.Advice) == 0 {
			advice("See what the program on " + t.a + " did then, unless it was stopped on purpose")
		}
	case queuedInSender:
		f.Subject.PID, f.Subject.Process = t.tx.pid, fold.Printable(t.tx.process)
		if t.sender != nil {
			t.adopt(f)
		} else {
			f.Causes, f.Advice = append(f.Causes, t.own.Causes...), append(f.Advice, t.own.Advice...)
		}
		not("the way between the hosts, or %s: the packet had not left %s", t.b, t.a)
	case paused:
		cause("By the two clocks, every packet after the gap is equally late, and those of the other direction "+
			"equally early: the clock of %s stopped", t.a)
		not("the way between the hosts: packets of the other direction would not be early")
		advice("See what stopped " + t.a + " then: a snapshot, a migration, a host without CPU time, unless it was " +
			"paused on purpose")
	case lostInSender, lostInSenderMaybe:
		cause("The packets had left the program on %s; %s dropped %s on transmission in that time", t.a, t.a,
			words.Plural(t.dropped, "packet"))
		if t.sentMeanwhile > 0 {
			not("the program on %s: it sent %s meanwhile", t.a, words.Plural(t.sentMeanwhile, "packet"))
		}
		not("the program on %s: nothing waited to be read", t.b)
		advice("First fix what drops the packets on " + t.a + ": packet-drop and ring-drop in its own recording say how, " +
			"unless the drop is intended, for example a firewall rule")
	case lostBetween:
		cause("Lost between the hosts: of %s that %s sent in that time, %d did not reach %s%s",
			words.Plural(t.sentMeanwhile, "packet"), t.a, t.lost, words.Tense(t.way.to.captured, "", "the socket on "), t.b)
		if t.way.from.captured {
			cause("The path begins where %s was captured", t.a)
		} else {
			cause("This path begins after the IP layer of %s: its driver and network card are part of it, unless they count "+
				"drops", t.a)
		}
		t.sentAsUsual(f)
		if !t.way.to.captured {
			not("%s: it dropped no packet in a ring, a backlog or elsewhere that could be one of them", t.b)
		}
		advice("Check the switches and hypervisors between " + t.a + " and " + t.b + " at that time: errors, full " +
			"queues, spanning tree, migrations, unless one of the hosts was down")
	case lostInRing, lostInReceiver:
		cause("Lost in %s: %s dropped at %s in that time", t.b, words.Plural(t.dropped, "packet was", "packets were"),
			t.where)
		not("%s: it sent them", t.a)
		if t.place == lostInRing && t.judged.Place != model.PlaceRing {
			cause("Which flow they belonged to is unknown there; as many as are missing, and more than a ring drops by chance")
		}
		f.Advice = append(f.Advice, t.own.Advice...)
	case waitedInRing:
		cause("The packets left %s in time and took %s longer than others, and NET_RX of %s waited for %s on CPU %d in "+
			"that time", t.a, words.Span(t.onWay), t.b, words.Span(t.wait.wait), t.wait.cpu)
		t.sentAsUsual(f)
		advice("Find out what used CPU " + words.Itoa(t.wait.cpu) + " of " + t.b + " then: dpc-starvation in its own " +
			"recording names it, unless the interrupt of the card was on another CPU")
	case heldBetween, slower:
		cause("On the way: the packet that ended the gap left the IP layer of %s in time and took %s longer than others; "+
			"this includes the time in its queueing discipline and driver, and in the ring of %s until it was polled",
			t.a, words.Span(t.onWay), t.b)
		if t.place == heldBetween && t.to.probes["deferred"] {
			not("the softirqs of %s: NET_RX had no long wait there", t.b)
		}
		if t.place == slower {
			cause("Every packet after it is equally late, and those of the other direction are not early: this was not a clock")
		}
		t.sentAsUsual(f)
		not("the program on %s: it read what had arrived", t.b)
		advice("Check the queues between " + t.a + " and " + t.b + " (qdisc of the sender first: tc -s qdisc), unless " +
			"the traffic is shaped on purpose")
	case waited, readLate:
		f.Causes = append(f.Causes, t.own.Causes...)
		f.RuledOut = append(f.RuledOut, t.own.RuledOut...)
		not("%s and the network: the packet was on the way only %s longer than the fastest ones", t.a, words.Span(t.onWay))
		f.Advice = append(f.Advice, t.own.Advice...)
	default:
		cause("%s", t.why)
		f.Causes = append(f.Causes, t.own.Causes...)
		f.RuledOut = append(f.RuledOut, t.own.RuledOut...)
		f.Advice = append(f.Advice, t.own.Advice...)
	}
}

// sentAsUsual rules the sender out, or says what part of the gap it has.
func (t *telling) sentAsUsual(f *model.Finding) {
	if t.notSent == 0 {
		f.RuledOut = append(f.RuledOut, "the program on "+t.a+": it sent as usual")
		return
	}
	f.Causes = append(f.Causes, fmt.Sprintf("Part of it: %s sent nothing for %s more than usual", t.a,
		words.Span(t.notSent)))
}

// adopt takes causes and advice of the sender's own finding.
func (t *telling) adopt(f *model.Finding) {
	for _, o := range t.way.from.Findings {
		if o.ID == t.sender.ID {
			for _, text := range o.Causes {
				f.Causes = append(f.Causes, t.a+": "+text)
			}
			f.Advice = append(f.Advice, o.Advice...)
			return
		}
	}
}

// evidence adds the numbers of both hosts, and then those of the finding that it replaces.
func (t *telling) evidence(f *model.Finding) {
	add := func(name string, value float64, unit string) {
		f.Evidence = append(f.Evidence, detect.Evidence(name, value, unit))
	}
	if t.place != waited && t.place != readLate && t.place != cannotSay {
		all := float64(t.notSent + t.onWay + t.lostFor)
		for _, s := range []struct {
			name string
			d    time.Duration
		}{
			{"not sent by " + t.a, t.notSent},
			{"sent by " + t.a + " and lost", t.lostFor},
			{"on the way, beyond the usual", t.onWay},
		} {
			if all > 0 && (s.d > 0 || t.place == lostBetween || t.place == sentLate) {
				add(fmt.Sprintf("%s (%s)", s.name, words.Percent(fold.Ratio(float64(s.d), all))), float64(s.d), "ns")
			}
		}
	}
	if !t.alike && !t.bySender && t.place != waited && t.place != readLate {
		add("packets that "+t.a+" sent in that time", float64(t.sentMeanwhile), "packets")
		add("of them, never reached "+t.b, float64(t.lost), "packets")
	}
	if t.place == waited || t.place == readLate {
		add("on the way, beyond the usual", float64(t.onWay), "ns")
	}
	switch t.clock.state {
	case known:
		add("clock of "+t.b+" fast relative to that of "+t.a, float64(t.clock.ahead), "ns")
		add("uncertainty: half the smallest round trip", float64(t.clock.err), "ns")
	case atMost:
		add("clock of "+t.b+" fast relative to that of "+t.a+", at most", float64(t.clock.ahead), "ns")
	case atLeast:
		add("clock of "+t.b+" fast relative to that of "+t.a+", at least", float64(t.clock.ahead), "ns")
	}
	if !t.alike {
		add("packets of the flow that were recognised on both hosts", float64(t.pairs), "packets")
	}
	host := t.incident.host().name
	for _, e := range t.own.Evidence {
		if !t.worst {
			break // its numbers are those of another gap
		}
		e.Name = host + ": " + e.Name
		f.Evidence = append(f.Evidence, e)
	}
	if t.sender != nil {
		for _, o := range t.way.from.Findings {
			if o.ID == t.sender.ID {
				for _, e := range o.Evidence {
					e.Name = t.a + ": " + e.Name
					f.Evidence = append(f.Evidence, e)
				}
			}
		}
	}
}

// follows says what another host, or another flow, saw of the same cause; empty where it is said already.
func (in *incident) follows(lead *incident) string {
	a, b := in.way.from.name, in.way.to.name
	if in.bySender || in.way == lead.way {
		return ""
	}
	return fmt.Sprintf("it follows: %s: %s received nothing for %s, as %s sent nothing", in.flowName(), b,
		words.Span(in.gap), a)
}
