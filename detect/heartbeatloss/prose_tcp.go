package heartbeatloss

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// missing is the finding of a TCP connection in which a segment was missing while later ones had come.
func (t *telling) missing(f *model.Finding) {
	g := &t.at.gap
	f.Title = fmt.Sprintf("%s was read %s late: TCP lost a segment on the way; it arrived %s after it was due",
		t.who.name(), t.delay, words.Span(g.Missing))
	if t.lasts {
		f.Title = fmt.Sprintf("%s has not been read for %s: TCP lost a segment on the way; later ones wait for it",
			t.who.name(), words.Span(g.Length()))
	} else if g.Lasts {
		f.Title = fmt.Sprintf("%s was not read for %s: TCP lost a segment on the way; later ones waited for it",
			t.who.name(), words.Span(g.Length()))
	}
	f.Causes = append(f.Causes, "A segment was lost between the peer and this host: later ones arrived, but could not "+
		"be read before it was retransmitted")
	f.RuledOut = append(f.RuledOut, "the peer: it continued to send, later segments arrived")
	t.lostUnknown(f, "for")
	f.RuledOut = append(f.RuledOut, "the program: TCP had nothing for it to read")
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	f.Advice = append(f.Advice, "Look for loss on the way from "+peer+" (interface errors, switches, a firewall), "+
		"unless the peer's host drops the packets itself: run lostbeat there too", t.timeoutAdvice())
}

// resent is the finding of a TCP connection on which the host had to send again what it had sent.
func (t *telling) resent(f *model.Finding) {
	g := &t.at.gap
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	f.Title = fmt.Sprintf("%s was late: TCP lost a segment and retransmitted it %s after it was first sent", t.who.name(),
		words.Span(g.Resent))
	if t.lasts {
		f.Title = fmt.Sprintf("%s does not get through: TCP has been retransmitting the same segment for %s", t.who.name(),
			words.Span(g.Resent))
	}
	switch {
	case len(t.at.undelivered) > 0:
		t.undelivered(f)
		return
	case len(t.at.unheard) > 0:
		t.unheard(f)
		return
	}
	f.Causes = append(f.Causes, fmt.Sprintf("The peer did not acknowledge a segment that this "+
		"host had sent; TCP retransmitted %s", words.Plural(g.Resends, "segment")))
	f.RuledOut = append(f.RuledOut, t.handedOver())
	t.lostUnknown(f, "from")
	f.Advice = append(f.Advice,
		"Look for loss on the way to "+peer+" and back, but first check that this host is up: one that is down does not "+
			"acknowledge either",
		"Run lostbeat on "+peer+" too: it shows whether the segments arrived, unless it was down")
}

// unheard is the finding of a TCP connection on which the host sent again what it had sent, while it dropped what came.
func (t *telling) unheard(f *model.Finding) {
	n := t.droppedMeanwhile(f, t.at.unheard)
	top := &t.at.unheard[0]
	f.Title = fmt.Sprintf("%s %s late: this host dropped %s for it at %s, including acknowledgements",
		t.who.name(), words.Tense(t.lasts, "is", "was"), words.Plural(n, "packet"), dropText(top))
	f.Causes = append(f.Causes, t.resends()+": no acknowledgement from the peer got through")
	f.RuledOut = append(f.RuledOut, "the peer or the network: its packets reached this host", t.handedOver())
	whyDropped(f, top)
}

// undelivered is the finding of a TCP connection on which the host sent again what it had sent, while it dropped it in
// front of the socket at the other end, which is on this host as well.
func (t *telling) undelivered(f *model.Finding) {
	n := t.droppedMeanwhile(f, t.at.undelivered)
	top := &t.at.undelivered[0]
	f.Title = fmt.Sprintf("%s %s late: this host dropped %s on the way to its peer at %s",
		t.who.name(), words.Tense(t.lasts, "is", "was"), words.Plural(n, "packet"), dropText(top))
	f.Causes = append(f.Causes, fmt.Sprintf("%s: both ends are on this host, and what was sent to %s/%d was dropped there",
		t.resends(), top.Protocol, top.Port))
	f.RuledOut = append(f.RuledOut, "the network: both ends are on this host", t.handedOver())
	whyDropped(f, top)
}

// droppedMeanwhile adds what was dropped to the evidence, and returns how many packets that was.
func (t *telling) droppedMeanwhile(f *model.Finding, list []dropped) (n uint64) {
	for i := range list[:min(len(list), 4)] {
		n += list[i].count
		f.Evidence = append(f.Evidence,
			detect.Evidence("dropped in that time at "+dropText(&list[i]), float64(list[i].count), "packets"))
	}
	f.Subject.Device = fold.Printable(list[0].Device.Name)
	return n
}

// resends says how much TCP sent again, and for how long.
func (t *telling) resends() string {
	g := &t.at.gap
	return fmt.Sprintf("TCP retransmitted %s for %s", words.Plural(g.Resends, "segment"), words.Span(g.Resent))
}

// handedOver says that the program had sent what came late.
func (t *telling) handedOver() string {
	return "the program: its data had left it " + words.Span(t.at.gap.Resent) + " before"
}

// unanswered is the finding of a TCP connection whose answers this host drops.
func (t *telling) unanswered(f *model.Finding) {
	m := &t.at
	n := t.droppedMeanwhile(f, m.answers)
	top := &m.answers[0]
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	f.Title = fmt.Sprintf("%s %s nothing new for %s: this host dropped %s of its answers at %s", t.who.name(),
		words.Tense(t.lasts, "has received", "received"), words.Span(m.gap.Length()), words.Number(n), dropText(top))
	f.Causes = append(f.Causes,
		fmt.Sprintf("Lost in this host: %s that %s sent %s dropped at %s", words.Plural(n, "packet"), t.who.local(),
			words.Tense(n == 1, "was", "were"), dropText(top)),
		"Without an acknowledgement, the TCP of "+peer+" sends the same again, more and more rarely, and nothing new")
	f.RuledOut = append(f.RuledOut, "the program: nothing waited to be read")
	whyDropped(f, top)
}

// windowShut is the finding of a TCP connection whose peer does not read.
func (t *telling) windowShut(f *model.Finding) {
	m := &t.at
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	f.Title = fmt.Sprintf("%s was sent %s late: its peer's receive window was closed for %s", t.who.name(), t.delay,
		words.Span(m.shut))
	if m.gap.Lasts {
		f.Title = fmt.Sprintf("%s %s sent for %s: its peer's receive window %s closed for %s", t.who.name(),
			words.Tense(t.lasts, "has not been", "was not"), words.Span(m.gap.Length()),
			words.Tense(t.lasts, "has been", "was"), words.Span(m.shut))
	}
	f.Causes = append(f.Causes, "The program on "+peer+" did not read what it was sent, until its host had no more room "+
		"and closed the window; TCP may not send then")
	f.RuledOut = append(f.RuledOut, "the network: the peer's host answered, with a window of 0",
		"a queue of this host: TCP did not send")
	f.Advice = append(f.Advice,
		"Find out what the program on "+peer+" did in that time: run lostbeat there, unless it reads slowly on purpose",
		"A larger receive buffer at the peer only postpones this, unless its program reads in time except for bursts")
}

// linkDown is the finding of a flow whose device went down.
func (t *telling) linkDown(f *model.Finding) {
	m := &t.at
	name := fold.Printable(m.device.Key.Name)
	what := words.Tense(m.device.Removed != 0, "was removed", "went down")
	f.Subject.Device = name
	did, which := words.Tense(t.lasts, "has received", "received")+" nothing", "for"
	if t.who.direction == model.DirectionTX {
		did, which = words.Tense(t.lasts, "has not been sent", "was not sent"), "from"
	}
	f.Title = fmt.Sprintf("%s %s for %s: %s of this host %s", t.who.name(), did, words.Span(m.gap.Length()), name, what)
	cause := fmt.Sprintf("%s %s as the silence began", name, what)
	if down := m.device.Down; down.To != 0 {
		cause += ", and was up again after " + words.Span(down.To.Sub(down.From))
	}
	unless := ", unless the flow used another device"
	came := words.Tense(t.who.direction == model.DirectionRX, "came", "went")
	switch over := m.over; {
	case over.Ifindex == 0:
	case over.Ifindex == m.device.Key.Ifindex:
		cause += "; the flow's packets " + came + " over it"
		unless = ""
	case over.Name != "" && slices.Contains(over.Below(), m.device.Key.Name):
		cause += "; the flow's packets " + came + " over " + fold.Printable(over.Name) + ", which is above it"
		unless = ", unless the flow used another device below " + fold.Printable(over.Name)
	}
	f.Causes = append(f.Causes, cause)
	if t.who.direction == model.DirectionRX {
		f.RuledOut = append(f.RuledOut, "the program: nothing waited to be read")
	}
	if m.exact == 0 {
		t.lostUnknown(f, which)
	}
	f.Advice = append(f.Advice, "Find out who took "+name+" down, or check its cable and switch port (journalctl -k, "+
		"ip link)"+unless)
}

// queuedOut is the finding of packets that waited in the queueing discipline of a device on their way out.
func (t *telling) queuedOut(f *model.Finding) {
	m := &t.at
	g := &m.gap
	device, kind := fold.Printable(m.qdisc.Device.Name), fold.Printable(m.qdisc.Kind)
	where := "the queueing discipline (" + kind + ") of " + device
	f.Subject.Device = device
	t.why = "the packet waited for " + words.Span(g.Qdisc) + " in " + where
	f.Title = fmt.Sprintf("%s was sent %s late: held in %s", t.who.name(), t.delay, where)
	if g.Lasts {
		f.Title = fmt.Sprintf("%s %s this host for %s: it %s held in %s", t.who.name(),
			words.Tense(t.lasts, "has not left", "did not leave"), words.Span(g.Length()), words.Tense(t.lasts, "is", "was"),
			where)
	}
	cause := fmt.Sprintf("Sent late: the packet had left the program and waited for %s in %s", words.Span(g.Qdisc), where)
	if g.Backlog > 1 {
		cause += fmt.Sprintf(", behind %s", words.Plural(g.Backlog-1, "other packet"))
	}
	f.Causes = append(f.Causes, cause)
	if 4*g.Absent < g.Delay() {
		f.RuledOut = append(f.RuledOut, "the program: its packet reached the IP layer "+
			words.Tense(g.Absent < time.Millisecond, "when it was due", words.Span(g.Absent)+" after it was due"))
	}
	f.RuledOut = append(f.RuledOut, "the network or the peer: the packet had not left this host")
	if m.exact == 0 && m.lost == 0 {
		f.RuledOut = append(f.RuledOut, t.noLoss("from"))
	}
	f.Advice = append(f.Advice,
		"Check what fills it and at what rate it sends (tc -s qdisc show dev "+device+"), and give the heartbeat its own "+
			"class or raise the rate; first find out why the rate is limited",
		"If the rate is not limited, the device does not accept packets fast enough: check its "+
			"link speed and errors (ethtool -S "+device+"), unless only other traffic waits")
}
