package heartbeatloss

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lostbeat/detect"
	"lostbeat/detect/packetdrop"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// dropText says where packets were lost, and why.
func dropText(o *dropped) string {
	where := placeText(o)
	reason := fold.Printable(o.Reason)
	switch {
	case o.Location == "":
	case reason == "" || reason == "NOT_SPECIFIED":
		reason = "in " + fold.Printable(o.Location)
	default:
		reason += " in " + fold.Printable(o.Location)
	}
	if reason != "" {
		where += " (" + reason + ")"
	}
	if o.otherPort() {
		where += " for " + o.Protocol.String() + "/" + words.Itoa(o.Port)
	}
	if o.namespace != "" {
		where += " in network namespace " + fold.Printable(o.namespace)
	}
	return where
}

// otherPort says that packets were for a port on which nothing listens, which is not the flow's.
func (o *dropped) otherPort() bool { return o.elsewhere && o.Reason == noSocket }

// whyDropped adds to a finding what the reason means for which packets were dropped, and what to do.
func whyDropped(f *model.Finding, o *dropped) {
	if isQueue(o.Place) || o.Place == model.PlaceSocket && fold.FullQueue(o.Reason) {
		f.Advice = append(f.Advice, "First fix what drops the packets: the findings about "+placeText(o)+" say how, "+
			"unless only single packets were lost there")
		return
	}
	meaning, advice := packetdrop.Explained(o.Reason, o.Location, o.Device.Name)
	f.Causes = append(f.Causes, meaning)
	f.Advice = append(f.Advice, advice)
}

// placeText says where packets were lost.
func placeText(o *dropped) string {
	where := o.Place.String()
	switch o.Place {
	case model.PlaceRing:
		where = "the ring"
	case model.PlaceBacklog:
		where = "the backlog"
	case model.PlaceSocket:
		where = "the socket"
	}
	if o.Device.Name != "" {
		where += " of " + fold.Printable(o.Device.Name)
	}
	return where
}

// lost is the finding of packets that the host dropped.
func (t *telling) lost(f *model.Finding) {
	m := &t.at
	top := &m.drops[0] // those with the flow's port come first
	if m.verdict == lostMaybe {
		i := slices.IndexFunc(m.drops, func(o dropped) bool {
			return m.peers > 1 && o.exact || m.peers <= 1 && !o.exact && o.elsewhere == m.passing
		})
		top = &m.drops[max(i, 0)]
	}
	silence := words.Span(m.gap.Length())
	received := words.Tense(t.lasts, "has received", "received")
	for i := range m.drops[:min(len(m.drops), 4)] {
		o := &m.drops[i]
		f.Evidence = append(f.Evidence, detect.Evidence("dropped in that time at "+dropText(o), float64(o.count), "packets"))
	}
	f.Subject.Device = fold.Printable(top.Device.Name)
	if t.who.direction == model.DirectionTX {
		t.lostOut(f, top)
		return
	}
	program := "the program: nothing waited to be read"
	switch {
	case m.verdict == lostHere && m.gap.Main() == fold.StageMissing:
		late := "was read " + t.delay + " late"
		if m.gap.Lasts {
			late = words.Tense(t.lasts, "has not been read", "was not read") + " for " + silence
		}
		f.Title = fmt.Sprintf("%s %s: this host dropped %s for it at %s", t.who.name(), late,
			words.Plural(m.exact, "packet"), dropText(top))
		f.Causes = append(f.Causes, fmt.Sprintf("Lost in this host: %s for %s %s dropped at %s; later segments arrived, but "+
			"could not be read before TCP had retransmitted what was lost", words.Plural(m.exact, "packet"), t.who.local(),
			words.Tense(m.exact == 1, "was", "were"), dropText(top)))
		f.RuledOut = append(f.RuledOut, "the peer or the network: the packets reached this host")
		program = "the program: TCP had nothing for it to read"
	case m.verdict == lostHere:
		f.Title = fmt.Sprintf("%s %s nothing for %s: this host dropped %s for it at %s", t.who.name(), received,
			silence, words.Plural(m.exact, "packet"), dropText(top))
		f.Causes = append(f.Causes, fmt.Sprintf("Lost in this host: %s for %s %s dropped at %s; %s %s missing",
			words.Plural(m.exact, "packet"), t.who.local(), words.Tense(m.exact == 1, "was", "were"), dropText(top),
			words.Plural(m.gap.Missed, "packet"), words.Tense(m.gap.Missed == 1, "is", "are")))
		if !damagedOnTheWay(top.Reason) {
			f.RuledOut = append(f.RuledOut, "the peer or the network: the packets reached this host")
		}
	default:
		f.Title = fmt.Sprintf("%s %s nothing for %s, perhaps lost in this host: %s dropped at %s",
			t.who.name(), received, silence, words.Plural(top.count, "packet"), dropText(top))
		whose := "which flow they belonged to is unknown there"
		if m.peers > 1 {
			whose = fmt.Sprintf("nothing came from %d peers meanwhile, and %s of theirs are missing: which of them were "+
				"dropped is unknown", m.peers, words.Plural(m.allMissing, "packet"))
		}
		f.Causes = append(f.Causes, fmt.Sprintf("Perhaps lost in this host: %s %s dropped at %s; %s",
			words.Plural(top.count, "packet"), words.Tense(top.count == 1, "was", "were"), dropText(top), whose))
	}
	f.RuledOut = append(f.RuledOut, program)
	if top.Reason == noSocket && m.verdict == lostHere {
		f.Causes = append(f.Causes, "The socket is open, and did not match the packets: it is connected to another address "+
			"or port, or bound to another address or device")
		f.Advice = append(f.Advice, "Compare the socket (ss -uanp) with where the packets come from (tcpdump): a peer that "+
			"was restarted may have another port. Have the program connect again, or not connect at all, unless the peer "+
			"is wrong")
		return
	}
	whyDropped(f, top)
}

// damagedOnTheWay says that packets are dropped for what is wrong with them since they were sent: they are for another
// host's hardware address, or their checksum is wrong.
func damagedOnTheWay(reason string) bool {
	return reason == otherHost || strings.HasSuffix(reason, "_CSUM")
}

// lostUnknown adds to a finding what this host dropped of unknown flows, where packets of the flow may have been among
// it; where there is nothing, that no packet of the flow was dropped.
func (t *telling) lostUnknown(f *model.Finding, which string) {
	i := slices.IndexFunc(t.at.drops, func(o dropped) bool { return !o.exact && 2*o.count >= t.at.gap.Missed })
	if i < 0 && len(t.at.drops) > 0 {
		return // too few to be why
	}
	if i < 0 {
		f.RuledOut = append(f.RuledOut, t.noLoss(which))
		return
	}
	o := &t.at.drops[i]
	f.Causes = append(f.Causes, fmt.Sprintf("Perhaps lost in this host: %s %s dropped at %s; which flow they belonged "+
		"to is unknown there", words.Plural(o.count, "packet"), words.Tense(o.count == 1, "was", "were"), dropText(o)))
	whyDropped(f, o)
}

// noLoss says that no packet of the flow was dropped.
func (t *telling) noLoss(which string) string {
	if len(t.at.notIts) == 0 {
		return "loss in this host: no packet " + which + " " + t.who.local() + " was dropped"
	}
	o := &t.at.notIts[0]
	return fmt.Sprintf("loss in this host: %s %s %s %s dropped at %s, none of them of this flow",
		words.Plural(o.count, "packet"), which, t.who.local(), words.Tense(o.count == 1, "was", "were"), dropText(o))
}

// absent is the finding of a flow of which nothing reached the host.
func (t *telling) absent(f *model.Finding) {
	m := &t.at
	g := &m.gap
	if t.who.address != "" {
		t.capturedAbsent(f)
		return
	}
	f.Title = fmt.Sprintf("%s %s nothing for %s: no packet reached this host, peer or network fault",
		t.who.name(), words.Tense(t.lasts, "has received", "received"), words.Span(g.Length()))
	f.Causes = append(f.Causes, fmt.Sprintf("No packet %s reached this host (normally a packet every %s)",
		words.Tense(m.other.count > 0, "for its port", "of the flow"), words.Span(g.Period)))
	if m.other.count > 0 {
		t.otherPort(f)
	}
	t.afterwards(f)
	lost := t.noLoss("for") + ", and none in a ring or backlog"
	if n := m.exact + m.others + m.elsewhere; n > 0 {
		lost = fmt.Sprintf("loss in this host: %s dropped, but %s missing",
			words.Plural(n, "packet was", "packets were"), words.Number(g.Missed))
	}
	if len(m.wentOn) > 0 {
		o := &m.wentOn[0]
		lost = fmt.Sprintf("loss in this host: %s for %s %s dropped at %s, and about as many before, while the flow "+
			"continued", words.Plural(o.count, "packet"), t.who.local(), words.Tense(o.count == 1, "was", "were"), dropText(o))
	}
	f.RuledOut = append(f.RuledOut, lost, "the program: nothing waited to be read")
	if m.sentOn {
		f.RuledOut = append(f.RuledOut, "a silence of this host: it continued to send to the peer")
	}
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	f.Advice = append(f.Advice,
		"Run lostbeat on "+peer+" too: it shows whether the packets left that host, unless it was down",
		"Compare the times with other flows from "+peer+": if all of them went silent, look at the network, unless only "+
			"this one did")
}

// afterwards adds what came after a gap: the peer from another port, or most of the packets that were missing.
func (t *telling) afterwards(f *model.Finding) {
	g := &t.at.gap
	switch {
	case t.at.left:
		f.Severity = model.SeverityInfo
		f.Causes = append(f.Causes, "The peer continued from another port: it was restarted")
	case g.Delayed > 0 && 2*g.Delayed >= g.Missed:
		f.Causes = append(f.Causes, fmt.Sprintf("%s arrived together afterwards: they were held up on the way or sent "+
			"late, not lost", words.Plural(g.Delayed, "packet")))
	}
}

// UntilSecond is what one capture alone says of a gap, in a title.
const UntilSecond = "sender or network at fault"

// capturedAbsent is the finding of a flow of which nothing was on the wire.
func (t *telling) capturedAbsent(f *model.Finding) {
	m := &t.at
	g := &m.gap
	f.Title = fmt.Sprintf("%s: no packet on the wire for %s: %s", t.who.name(), words.Span(g.Length()), UntilSecond)
	f.Causes = append(f.Causes, fmt.Sprintf("No packet of the flow passed the capture point, where one passes every %s: "+
		"it was not sent, or was lost on the way; a second capture, at the sender, shows which",
		words.Span(g.Period)))
	t.afterwards(f)
	f.RuledOut = append(f.RuledOut, "loss between the wire and the program: the packet was not on the wire")
	if m.sentOn {
		f.RuledOut = append(f.RuledOut, "a silence of both ends: packets of the other direction went on")
	}
	f.Advice = append(f.Advice, "Capture on "+cmp.Or(fold.Printable(t.who.remote), "the sender")+" as well, and give "+
		"both files to lostbeat findings: they show whether the packets left that host, unless it was down")
}

// capturedLate is the finding of a flow that the captured host did not send.
func (t *telling) capturedLate(f *model.Finding) {
	g := &t.at.gap
	f.Title = fmt.Sprintf("%s: this host put nothing on the wire for %s (normally every %s)", t.who.name(),
		words.Span(g.Length()), words.Span(g.Period))
	f.Causes = append(f.Causes, "The host sent late: the program did not send, or its packets waited in the host or "+
		"were dropped there; a capture does not show which")
	f.RuledOut = append(f.RuledOut, "the network or the peer: the packets did not leave this host")
	f.Advice = append(f.Advice, "Record with lostbeat on this host (--heartbeat): it distinguishes the program from "+
		"the host's queues, unless the program sends less often on purpose")
}

// lostOut is the finding of packets that the host dropped on their way out.
func (t *telling) lostOut(f *model.Finding, top *dropped) {
	m := &t.at
	f.Title = fmt.Sprintf("%s %s for %s: this host dropped %s %s at %s", t.who.name(),
		words.Tense(t.lasts, "has not left this host", "did not leave this host"), words.Span(m.gap.Length()),
		words.Plural(m.exact, "packet"), words.Tense(m.its == m.exact, "of it", "from its port"), dropText(top))
	f.Causes = append(f.Causes, fmt.Sprintf("Lost in this host: %s from %s %s dropped at %s on their way out",
		words.Plural(m.exact, "packet"), t.who.local(), words.Tense(m.exact == 1, "was", "were"), dropText(top)))
	f.RuledOut = append(f.RuledOut, "the network or the peer: the packets did not leave this host",
		"the program: it sent them")
	whyDropped(f, top)
}
