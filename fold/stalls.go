package fold

import (
	"time"

	"lostbeat/model"
)

// maxShut bounds the times that are remembered in which a peer's receive window was closed.
const maxShut = 8

// stalls is what TCP does to the data of a followed connection.
type stalls struct {
	// missing is since when later segments wait for one that is missing, 0 not; filled is when one last came.
	missing, filled model.Time
	// shut is since when the peer's receive window is closed, 0 not; was are the last times in which it was.
	shut model.Time
	was  []Span
}

// Span is a time.
type Span struct{ From, To model.Time }

// In returns how much of it lies within another one.
func (s Span) In(from, to model.Time) time.Duration {
	return max(min(s.To, to).Sub(max(s.From, from)), 0)
}

// filledBy says that a packet that came at a time was one that had been missing.
func (t *stalls) filledBy(at model.Time) bool {
	return t.filled != 0 && max(at.Sub(t.filled), t.filled.Sub(at)) <= matchWithin
}

// ShutIn is for how much of a time the peer's receive window was closed.
func (s *Followed) ShutIn(from, to model.Time) (sum time.Duration) {
	for _, was := range s.tcp.was {
		sum += was.In(from, to)
	}
	if s.tcp.shut != 0 {
		sum += Span{s.tcp.shut, to}.In(from, to)
	}
	return sum
}

func (w *Fold) applyFlowStall(v *model.FlowStall) {
	s := w.followed(FollowKey{v.NetnsInode, v.Cookie}, v.Time)
	if s == nil {
		return
	}
	t, since := &s.tcp, v.Time.Add(-v.Dur)
	beat := func(d model.Direction) *Beat { return w.beats[BeatKey{s.Key, v.RemoteAddr, v.RemotePort, d}] }
	switch v.What {
	case model.StallWindow:
		t.shut = since
		if !v.Ongoing {
			if len(t.was) == maxShut {
				t.was = append(t.was[:0], t.was[1:]...)
			}
			t.was, t.shut = append(t.was, Span{since, v.Time}), 0
		}
	case model.StallMissing:
		if v.Ongoing {
			t.missing = since
			return
		}
		t.missing, t.filled = 0, v.Time
		if b := beat(model.DirectionRX); b != nil {
			b.fill(v.Time)
		}
	case model.StallReset:
		for _, b := range w.beats {
			if b.sameConnection(s, v.RemoteAddr, v.RemotePort) {
				b.Reset = v.Time
			}
		}
	case model.StallResent:
		if b := beat(model.DirectionTX); b != nil {
			b.resend(v, &w.limits)
		}
	}
}

// fill makes what waited for a missing segment readable.
func (b *Beat) fill(at model.Time) {
	for i := range b.unread {
		if o := &b.unread[i]; o.ahead {
			o.ahead, o.at = false, max(o.at, at)
		}
	}
}

// resend takes up that a segment was sent again.
func (b *Beat) resend(v *model.FlowStall, l *Limits) {
	first := v.Time.Add(-v.Dur)
	if b.usual == 0 {
		return
	}
	if b.resent == nil || first > b.resent.To {
		// To the peer, the gap begins with the segment before.
		b.resent = &Gap{Period: b.usual, CPU: v.CPU, From: first.Add(-b.usual), host: v.Time}
		b.resent.ID = b.resent.From
	}
	g := b.resent
	g.From = min(g.From, first.Add(-g.Period))
	g.To, g.Resent = v.Time, v.Time.Sub(g.From)-g.Period
	g.Resends++
	if g.Length() >= b.limit(l) {
		b.certain(g)
	}
}

// resentFor says that TCP sent again what it had sent for most of a time in which it sent nothing new.
func (b *Beat) resentFor(from, to model.Time) bool {
	r := b.resent
	return r != nil && 2*min(to, r.To).Sub(from) >= to.Sub(from)
}

// resending returns the time in which TCP has been sending segments again, if that lasts: nothing new was sent since,
// and the next try need not have come.
func (b *Beat) resending(now model.Time) (g Gap, ok bool) {
	r := b.resent
	if r == nil || !r.sure || b.Last > r.To || now.Sub(r.To) > 2*r.Resent+time.Second {
		return g, false
	}
	g = *r
	g.To, g.Resent, g.Lasts = now, now.Sub(g.From)-g.Period, true
	return g, true
}

// maxPauses bounds the times in which the host stood still that are remembered.
const maxPauses = 16

func (w *Fold) applyHostPause(v model.HostPause) {
	if len(w.Pauses) == maxPauses {
		w.Pauses = append(w.Pauses[:0], w.Pauses[1:]...)
	}
	w.Pauses = append(w.Pauses, v)
}
