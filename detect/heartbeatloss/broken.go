package heartbeatloss

import (
	"fmt"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// judgeBroken finds connections that were reset from their peers while packets went over them, and that were not made
// again: of each one direction, what is received before what is sent.
func (d *heartbeatLoss) judgeBroken(w *detect.Tick) {
	done := make(map[fold.BeatKey]bool)
	for _, direction := range [...]model.Direction{model.DirectionRX, model.DirectionTX} {
		for _, b := range w.SortedBeats() {
			g, ok := w.Broken(b)
			connection := b.Key
			connection.Direction = model.DirectionRX
			if !ok || b.Key.Direction != direction || done[connection] {
				continue
			}
			done[connection] = true
			in := d.caseOf(b, g.ID)
			at, again := w.Reconnected(b)
			switch {
			case again && (in == nil || !in.Data.open):
				continue
			case again:
				g.To, g.Lasts = max(at, g.From), false
			case in == nil && b.Socket.End != model.ProcessEndUnknown:
				continue // its program has ended as well: nobody waits for it
			case in == nil && w.Loss.Since(b.Reset) > w.RivalLoss.Since(b.Reset):
				continue // another connection may be among what was lost
			}
			m := moment{gap: g, verdict: broken}
			m.drops = ownRules(dropsOf(w, b.Socket, model.DirectionTX, w.Since(b.Reset), nil))
			if in != nil && len(m.drops) == 0 {
				m.drops = in.Data.drops
			}
			if in == nil {
				in = d.caseFor(b, &m)
			}
			d.raise(w, in, b, &m, m.drops)
		}
	}
}

// ownRules returns what a firewall rule of this host has dropped of a flow's own packets: one that rejects them resets
// the connection as well.
func ownRules(list []dropped) (rules []dropped) {
	for _, o := range list {
		if o.exact && o.Place == model.PlaceFilter {
			rules = append(rules, o)
		}
	}
	return rules
}

// broken is the finding of a connection that was reset from its peer.
func (t *telling) broken(f *model.Finding) {
	m := &t.at
	peer := fold.Printable(t.who.remote)
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
		f.Causes = append(f.Causes, "Another connection was made after "+words.Span(m.gap.Length()))
	}
	if len(m.drops) > 0 {
		t.droppedMeanwhile(f, m.drops)
		f.Causes = append([]string{"A rule of this host dropped what the program sent, and answered it with a reset " +
			"(RST) in the name of " + peer}, f.Causes...)
		f.RuledOut = append(f.RuledOut, "the peer and the network: the reset came from this host")
		f.Advice = append(f.Advice, "Find the rule that rejects packets to "+peer+" (nft list ruleset, iptables -nvL) and "+
			"who added it, unless it is meant to")
		return
	}
	f.Causes = append([]string{"A reset (RST) came from " + peer + ": its program ended or closed the connection with " +
		"data that it had not read, its host was restarted and does not know the connection, or a firewall on the way " +
		"ended it"}, f.Causes...)
	f.RuledOut = append(f.RuledOut, "a timeout of this host: the connection was open until then",
		"the program of this host: it had not closed the connection")
	f.Advice = append(f.Advice,
		"Find out what the program on "+peer+" did at that time, and whether that host was restarted (its log, journalctl, "+
			"uptime)",
		"If neither, look for a firewall or load balancer between the hosts that ends connections",
		"Check why the program does not connect again, or whether it is refused")
}
