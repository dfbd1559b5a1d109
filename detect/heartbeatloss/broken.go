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

const (
	// endTold is how long after a socket was closed it may take until it is known how its process ended.
	endTold = 2 * time.Second
	// resetWithin is how long ago a connection may have been reset that is newly found.
	resetWithin = 2 * time.Minute
)

// judgeBroken finds connections that were reset from their peers while packets went over them, and that were not made
// again: of each one direction, what is received before what is sent, which is the same one for as long as it is said.
func (d *heartbeatLoss) judgeBroken(w *detect.Tick) {
	done := make(map[fold.BeatKey]bool)
	for _, in := range d.cases.All() {
		if b := in.Data.beat; in.Open && in.Data.latest.verdict == broken {
			done[connection(b)] = true
			d.goOnBroken(w, in, b)
		}
	}
	for _, b := range w.SortedBeats() { // what a socket receives first
		if b.Reset == 0 || done[connection(b)] {
			continue
		}
		if g, ok := d.breaks(w, b); ok {
			done[connection(b)] = true
			m := moment{gap: g, verdict: broken, drops: rejected(w, b)}
			d.raise(w, d.caseFor(b, &m), b, &m, m.drops)
		}
	}
}

// isBroken says that a flow is silent because its connection was reset, which is said, or about to be.
func (d *heartbeatLoss) isBroken(w *detect.Tick, b *fold.Beat) bool {
	if slices.ContainsFunc(d.cases.All(), func(in *detect.Case[lateFlow]) bool {
		return in.Open && in.Data.latest.verdict == broken && connection(in.Data.beat) == connection(b)
	}) {
		return true
	}
	_, ok := d.breaks(w, b)
	return ok
}

// connection is what the flows of both directions have in common.
func connection(b *fold.Beat) fold.BeatKey {
	k := b.Key
	k.Direction = model.DirectionRX
	return k
}

// goOnBroken goes on with a case for as long as the connection is broken and its program is there.
func (d *heartbeatLoss) goOnBroken(w *detect.Tick, in *detect.Case[lateFlow], b *fold.Beat) {
	g, ok := w.Broken(b)
	if !ok || !in.Data.open || b.Socket.End != model.ProcessEndUnknown || g.ID != in.Data.gap || w.Beat(b.Key) != b {
		return
	}
	switch since, beside := w.Reconnected(b); {
	case since != 0:
		g.To, g.Lasts = max(since, g.From), false
	case beside:
		g.Lasts = false // another one goes on, which had been silent
	}
	g.Absent = max(g.Length()-g.Period, 0)
	g.Missed = g.PacketsIn(g.Absent)
	m := moment{gap: g, verdict: broken, drops: in.Data.drops}
	d.raise(w, in, b, &m, m.drops)
}

// breaks returns the gap of a flow whose connection was reset where that is new, and why nothing goes over it.
func (d *heartbeatLoss) breaks(w *detect.Tick, b *fold.Beat) (g fold.Gap, ok bool) {
	g, ok = w.Broken(b)
	s := b.Socket
	if !ok || w.Now.Sub(b.Reset) > resetWithin || s.End != model.ProcessEndUnknown ||
		s.Ended != 0 && w.Now.Sub(s.Ended) < endTold {
		return g, false
	}
	if w.Loss.Since(b.Reset) > w.RivalLoss.Since(b.Reset) {
		return g, false // another connection may be among what was lost
	}
	if since, beside := w.Reconnected(b); since != 0 || beside {
		return g, false
	}
	if open, lasts := w.Open(b); lasts && open.Main() != fold.StageAbsent {
		return g, false // what came before has not been read
	}
	if slices.ContainsFunc(d.cases.All(), func(in *detect.Case[lateFlow]) bool {
		return in.Open && in.Data.open && in.Data.beat == b
	}) {
		return g, false // its silence is said already
	}
	return g, !d.follows(b, &moment{gap: g})
}

// rejected returns what a firewall rule of this host dropped of what a flow's program sent when the connection was
// reset: one that rejects it resets the connection as well.
func rejected(w *detect.Tick, b *fold.Beat) (rules []dropped) {
	later := w.Since(b.Reset.Add(time.Second))
	slots := slices.DeleteFunc(w.Since(b.Reset), func(slot int) bool { return slices.Contains(later, slot) })
	list, _ := ownDrops(w, b, slots)
	return slices.DeleteFunc(list, func(o dropped) bool { return o.Place != model.PlaceFilter })
}

// broken is the finding of a connection that was reset from its peer.
func (t *telling) broken(f *model.Finding) {
	m := &t.at
	peer := cmp.Or(fold.Printable(t.who.remote), "the peer")
	did := words.Tense(t.lasts, "has received", "received") + " nothing"
	if t.who.direction == model.DirectionTX {
		did = words.Tense(t.lasts, "has not been sent", "was not sent")
	}
	from := peer
	if len(m.drops) > 0 {
		from = "a firewall rule of this host"
	}
	f.Title = fmt.Sprintf("%s %s for %s: its connection was reset by %s", t.who.name(), did, words.Span(m.gap.Length()),
		from)
	if m.gap.Lasts {
		f.Title += ", and there " + words.Tense(t.lasts, "is", "was") + " no other"
	} else {
		f.Causes = append(f.Causes, "After "+words.Span(m.gap.Length())+", there was another connection")
	}
	if len(m.drops) > 0 {
		t.droppedMeanwhile(f, m.drops)
		f.Causes = append([]string{"A rule of this host dropped what the program sent, and probably answered it with a " +
			"reset (RST) in the name of " + peer}, f.Causes...)
		f.RuledOut = append(f.RuledOut, "the network: what the program sent did not leave this host")
		f.Advice = append(f.Advice, "Find the rule that rejects packets to "+peer+" (nft list ruleset, iptables -nvL) and "+
			"who added it, unless that is intended")
		return
	}
	f.Causes = append([]string{"A reset (RST) came from " + peer + ": its program ended or closed the connection with " +
		"data that it had not read, its host was restarted and does not know the connection, or a firewall on the way " +
		"ended it"}, f.Causes...)
	f.RuledOut = append(f.RuledOut, "a timeout on this host: the connection was still established",
		"the program of this host: it had not closed the connection")
	f.Advice = append(f.Advice,
		"Find out what the program on "+peer+" did at that time, and whether that host was restarted (its log, journalctl, "+
			"uptime)",
		"If neither, look for a firewall or load balancer between the hosts that ends connections")
	if m.gap.Lasts {
		who := words.Tense(t.who.port >= model.FirstEphemeral, "this program", peer)
		f.Advice = append(f.Advice, "Check why "+who+" does not connect again, or whether it is refused")
	}
}
