package heartbeatloss

import (
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

// noSocket is the reason for which packets to a port are dropped that no socket has.
const noSocket = "NO_SOCKET"

// otherHost is the reason for which packets are dropped that are for another hardware address.
const otherHost = "OTHERHOST"

const (
	// fewAttempts is from how many TCP segments on a peer still comes to a port that no socket has: one that was refused
	// comes again a few times, and some seconds later.
	fewAttempts = 3
	// comesWithin is for how long nothing may have come for such a port until its peers are taken to have given up.
	comesWithin = 5 * time.Second
)

// judgeUnattended finds sockets of followed flows that were closed, and whose peers go on sending: one flow of each
// speaks for all, as the packets that find no socket are not known by their sender.
func (d *heartbeatLoss) judgeUnattended(w *detect.Tick) {
	done := make(map[*fold.Followed]bool)
	var open []*fold.Beat // also where it is forgotten by now
	for _, in := range d.cases.All() {
		if in.Open && in.Data.latest.verdict == unattended {
			open = append(open, in.Data.beat)
		}
	}
	for _, b := range append(open, w.SortedBeats()...) {
		s := b.Socket
		if s.Ended == 0 || done[s] {
			continue
		}
		g, ok := w.Unattended(b)
		if !ok {
			continue
		}
		done[s] = true
		in := d.caseOf(b, g.ID)
		if at, ok := w.Succeeded(s); ok {
			if in == nil || !in.Data.open {
				continue
			}
			g.To, g.Lasts = max(at, g.From), false
		}
		slots, before := w.Since(s.Ended), []dropped(nil)
		if in != nil {
			slots, before = []int{w.Slot}, in.Data.drops
		}
		m := moment{gap: g, verdict: unattended, drops: addDrops(before, unheld(w, s, slots))}
		for _, o := range m.drops {
			m.exact += o.count
		}
		if in == nil && !d.comes(w, b, &m) || len(unheld(w, s, w.Since(w.Now.Add(-comesWithin)))) == 0 {
			continue
		}
		if in == nil {
			in = d.caseFor(b, &m)
		}
		d.raise(w, in, b, &m, m.drops)
	}
}

// unheld returns the packets for the port of a socket that is gone, in the given seconds.
func unheld(w *detect.Tick, s *fold.Followed, slots []int) []dropped {
	return slices.DeleteFunc(dropsOf(w, s, anyOf(model.DirectionRX), slots, nil), func(o dropped) bool {
		return !o.exact || o.Reason != noSocket
	})
}

// comes says that the peers of a socket that is gone go on as before.
func (d *heartbeatLoss) comes(w *detect.Tick, b *fold.Beat, m *moment) bool {
	if b.Socket.Protocol == model.ProtocolTCP {
		return m.exact >= fewAttempts
	}
	return float64(m.exact) >= d.settings.LostShare*float64(max(m.gap.PacketsIn(w.Now.Sub(b.Socket.Ended)), 1))
}

// takenBy returns the flow of the same peer that another socket of the port has received since a gap began, nil for
// none.
func takenBy(w *detect.Tick, b *fold.Beat, g *fold.Gap) *fold.Beat {
	s := b.Socket
	for _, o := range w.SortedBeats() {
		t := o.Socket
		if t == s || t.Protocol != s.Protocol || t.Port != s.Port || t.Key.Netns != s.Key.Netns ||
			o.Key.Remote != b.Key.Remote || o.Key.Port != b.Key.Port || o.Key.Direction != b.Key.Direction {
			continue
		}
		if o.Packets >= 2 && o.First >= g.From.Add(-g.Period) && o.First <= g.To &&
			o.LatestPacket().Add(w.LateFrom(b)) >= g.To {
			return o
		}
	}
	return nil
}

// rewritten notes packets for a port on which nothing listens where they are about as many as are missing: a rule may
// have changed their port.
func (m *moment) rewritten(missing float64) {
	for _, o := range m.drops {
		if n := float64(o.count); o.otherPort() && 2*n >= missing && n <= 1.5*missing+1 && n > float64(m.other.count) {
			m.other = o
		}
	}
}
