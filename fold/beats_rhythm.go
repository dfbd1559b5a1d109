package fold

import (
	"cmp"
	"math"
	"slices"
	"time"

	"lostbeat/model"
)

// Usual is the flow's period, 0 when it has none: it is too young, or not regular.
func (b *Beat) Usual() time.Duration { return b.usual }

// learn works out the period: the gap in which a moment usually falls. Packets that come together do not hide it.
func (b *Beat) learn() {
	defer func() {
		if b.usual == 0 {
			return
		}
		if was, is := float64(b.settled), float64(b.usual); is > spread*was || was > spread*is {
			b.steady = b.Last
		}
		b.settled = b.usual
	}()
	b.usual, b.longest = 0, 0
	if b.n < learnedGaps {
		return
	}
	gaps := slices.Clone(b.gaps[:min(b.n, beatGaps)])
	slices.Sort(gaps)
	var total, sum time.Duration
	for _, g := range gaps {
		total += g
	}
	usual := gaps[0]
	for _, g := range gaps {
		if usual, sum = g, sum+g; 2*sum >= total {
			break
		}
	}
	if float64(gaps[len(gaps)-1-len(gaps)/strayGaps]) <= spread*float64(usual) {
		b.usual, b.longest = usual, gaps[len(gaps)-1]
	}
}

// limit is the length from which a gap is too long, 0 when that is not known. Where the protocol's timeout is known, a
// part of it is enough, as long as that is no gap that the flow has anyway.
func (b *Beat) limit(l *Limits) time.Duration {
	if b.usual == 0 {
		return 0
	}
	late := b.latePeriods(l)
	if t := b.timeoutPart(l); t > 0 {
		late = min(late, max(t, time.Duration(spread*float64(b.usual))))
	}
	return max(late, cmp.Or(l.LeastLate, 200*time.Millisecond))
}

func (b *Beat) latePeriods(l *Limits) time.Duration {
	return time.Duration(cmp.Or(l.LatePeriods, 3)) * b.usual
}

// timeoutPart is the part of the protocol's timeout that a gap must not reach, 0 where that is not known.
func (b *Beat) timeoutPart(l *Limits) time.Duration {
	return time.Duration(math.Ceil(cmp.Or(l.TimeoutShare, 0.4) * float64(b.Socket.Timeout)))
}

// absentFor is the length from which a gap in which nothing comes is too long: what was not seen to wait anywhere has
// to be longer than what the network does now and then.
func (b *Beat) absentFor(l *Limits) time.Duration {
	least := 2 * b.longest
	if t := b.timeoutPart(l); t > 0 {
		least = min(least, max(t, time.Duration(spread*float64(b.longest))))
	}
	return max(b.limit(l), least)
}

// steadyFor is for how long a flow must have had its period before its silence means anything: packets that negotiate
// something come as regularly for a moment.
const steadyFor = 2 * time.Second

// young says that the flow had not had its period for long at a time.
func (b *Beat) young(at model.Time) bool { return at.Sub(b.steady) < steadyFor }

// silentFor is how long nothing must have come for a gap that lasts to be a loss rather than a new period.
func (b *Beat) silentFor(l *Limits) time.Duration {
	d := max(time.Duration(cmp.Or(l.SilentPeriods, 5))*b.usual, cmp.Or(l.LeastSilent, time.Second))
	if t := b.Socket.Timeout; t > 0 { // while there is time to act
		d = min(d, t, max(b.timeoutPart(l), b.latePeriods(l)))
	}
	return max(d, b.absentFor(l))
}

// settleOdd decides between a new period and losses, after several long gaps in a row.
func (b *Beat) settleOdd() {
	if float64(slices.Max(b.odd)) <= spread*float64(slices.Min(b.odd)) {
		for _, g := range b.waiting {
			if float64(g.Length()) > spread*float64(slices.Min(b.odd)) {
				g.Unlike = true
				b.certain(g)
				continue
			}
			b.quieter(Span{g.From, g.To})
			if g.Changed = true; len(b.Fresh) < maxFresh {
				b.Fresh = append(b.Fresh, g)
			}
		}
		b.waiting, b.owed, b.n, b.pace = nil, 0, 0, b.Last
		for _, gap := range b.odd {
			b.gaps[b.n] = gap
			b.n++
			b.pace = b.pace.Add(-gap)
		}
		b.learn()
		b.odd = b.odd[:0]
		return
	}
	b.odd = slices.Delete(b.odd, 0, 1) // the first may have been a loss, and the others are the new period
}

// tinyPace is from how many packets that come much more often than usual on they are a pace of the flow.
const tinyPace = 3

// Pace returns since when the flow has come as often as it does now, and the time between two packets since, 0 unknown.
func (b *Beat) Pace() (since model.Time, period time.Duration) {
	switch {
	case b.usual > 0 && b.tiny >= tinyPace:
		return b.began, b.Last.Sub(b.began) / time.Duration(b.tiny)
	case b.usual > 0:
		return b.pace, b.usual
	case b.n > 0:
		gaps := slices.Clone(b.gaps[:min(b.n, beatGaps)])
		slices.Sort(gaps)
		return b.pace, gaps[len(gaps)/2]
	}
	return b.pace, 0
}

// confirm makes the gaps that waited for the flow to go on as before certain.
func (b *Beat) confirm() {
	for _, g := range b.waiting {
		b.certain(g)
	}
	b.waiting = b.waiting[:0]
}

// quieter remembers a gap, or how it has grown.
func (b *Beat) quieter(s Span) {
	if n := len(b.quiet); n > 0 && b.quiet[n-1].From == s.From {
		b.quiet[n-1] = s
		return
	} else if n == maxFresh {
		b.quiet = append(b.quiet[:0], b.quiet[1:]...)
	}
	b.quiet = append(b.quiet, s)
}

// unsteady remembers that a flow without a period sent nothing for a while: what its peer did not get meanwhile was not
// lost.
func (b *Beat) unsteady(s Span, l *Limits) {
	if b.usual == 0 && s.To.Sub(s.From) >= cmp.Or(l.LeastLate, 200*time.Millisecond) {
		b.quieter(s)
	}
}

// latest keeps what the screen shows of the last certain gap.
func (b *Beat) latest() {
	b.Latest = *b.last
	if b.Latest.Delay() >= b.Worst.Delay() || b.Latest.ID == b.Worst.ID {
		b.Worst = b.Latest
	}
}

// restart forgets the last packets, but not the cadence: what came meanwhile was not seen.
func (b *Beat) restart() {
	if b.Last != 0 {
		b.final = b.Last
	}
	b.Last, b.LastRead, b.readHost, b.readAt, b.given = 0, 0, 0, 0, Gap{}
	b.unread, b.over, b.odd, b.waiting, b.owed = nil, false, nil, nil, 0
	b.resent, b.readable = nil, 0
	b.held, b.heldAt, b.left, b.before = nil, 0, 0, 0
}

// LateFrom is the length from which a gap of the flow in which nothing is seen is too long.
func (w *Fold) LateFrom(b *Beat) time.Duration { return b.absentFor(&w.limits) }

// Open returns the gap that lasts at the tick being judged, as far as it is sure that it is one.
func (w *Fold) Open(b *Beat) (g Gap, ok bool) { return w.openAt(b, w.Now) }

func (w *Fold) openAt(b *Beat, now model.Time) (g Gap, ok bool) {
	limit := b.limit(&w.limits)
	if limit == 0 || b.Last == 0 || b.Socket.Ended != 0 {
		return g, false
	}
	if r, ok := b.resending(now); ok {
		return r, true
	}
	if g, ok := b.holding(now); ok {
		return g, g.Length() >= limit
	}
	g = Gap{To: now, Lasts: true, Period: b.usual, CPU: b.cpu}
	if b.readsSeen() && len(b.unread) > 0 && b.readHost > 0 {
		first := &b.unread[0]
		g.From, g.CPU = b.readHost, first.cpu
		g.Stack, g.Queue = first.at.Sub(first.host), now.Sub(first.at)
		g.zoom(first.early)
		g.Absent = max(first.host.Sub(first.prev)-b.usual, 0)
		g.Waiting = uint64(len(b.unread))
		if first.ahead {
			g.Absent, g.Stack, g.Queue, g.Missing = 0, 0, 0, max(now.Sub(g.From)-b.usual, 0)
		}
		if last := b.last; last != nil && last.sure && first.host <= last.To {
			g.ID, g.Behind = last.ID, true
			return g, g.Delay() > last.Delay()
		}
	} else {
		g.From, g.Absent = b.Last, max(now.Sub(b.Last)-b.usual, 0)
		if b.readsSeen() && b.readHost > 0 {
			g.From = b.readHost
			g.Lost = max(b.Last.Sub(b.readHost), 0)
		}
		g.Blind = b.Socket.State == model.FlowReads
	}
	g.ID = g.From
	if g.Main() == StageAbsent || g.Main() == StageUnknown {
		if now.Sub(b.Last) < b.silentFor(&w.limits) || b.young(b.Last) || w.Replaced(b) {
			return g, false
		}
		g.Missed = g.PacketsIn(g.Absent + g.Lost)
	}
	return g, g.Length() >= limit
}

// QuietIn says that nothing of the flow came, or was sent, for most of a time.
func (b *Beat) QuietIn(from, to model.Time) bool {
	_, quiet := b.SilentIn(from, to)
	return quiet
}

// SilentIn returns since when nothing of a flow had come, or been sent, that was silent for most of a time.
func (b *Beat) SilentIn(from, to model.Time) (since model.Time, ok bool) {
	var quiet, most time.Duration
	add := func(s Span) {
		part := s.In(from, to)
		quiet += part
		if part > most {
			most, since = part, s.From
		}
	}
	add(Span{b.Last, max(to, b.Last)})
	if len(b.held) > 0 && b.left > 0 {
		add(Span{b.left, max(to, b.left)})
	}
	for _, s := range b.quiet {
		add(s)
	}
	for _, g := range b.waiting {
		add(Span{g.From, g.To})
	}
	return since, 2*quiet > to.Sub(from)
}

// LateBefore says that a gap of the flow that was longer than its usual ones began before a time, and had not ended at
// the given time before that.
func (b *Beat) LateBefore(at model.Time, within time.Duration) bool {
	late := func(s Span) bool {
		return s.To.Sub(s.From) > 2*b.usual && s.From < at && s.To >= at.Add(-within)
	}
	return b.Last < at && late(Span{b.Last, at}) || slices.ContainsFunc(b.quiet, late) ||
		slices.ContainsFunc(b.waiting, func(g *Gap) bool { return late(Span{g.From, g.To}) })
}
