package fold

import (
	"slices"
	"time"

	"lostbeat/model"
)

// arrival is a packet that has reached its socket.
type arrival struct {
	// host is when it had reached the host, at its socket; prev when the one before had reached the host.
	host, at, prev model.Time
	cpu            int32
	// ahead says that it cannot be read, as an earlier one is missing.
	ahead bool
	early early
}

// early is how a packet spent its time before its socket, as far as that was seen: it was until at in a backlog for so
// long.
type early struct {
	at      model.Time // when it reached its socket, 0 not seen
	backlog time.Duration
}

// arrive takes up that a packet reached the host, or was sent, at t, and returns when the one before did.
func (b *Beat) arrive(t model.Time, l *Limits) (prev model.Time) {
	prev = b.Last
	b.Packets++
	if prev == 0 {
		b.First, b.Last, b.pace = t, t, t
		return 0
	}
	gap := t.Sub(prev)
	if gap <= 0 {
		b.late()
		return prev
	}
	b.Last = t
	limit := b.limit(l)
	switch {
	case limit > 0 && b.unreadFor(t) >= limit: // a peer that gets no answer changes its cadence
		b.odd = b.odd[:0]
		return prev
	case len(b.held) > 0 && t.Sub(b.held[0].at) >= b.usual: // nor does TCP keep it while its segments do not leave
		b.odd = b.odd[:0]
		return prev
	case limit > 0 && gap >= limit:
		b.odd = append(b.odd, gap)
		if len(b.odd) == changedAfter {
			b.settleOdd()
		}
		return prev
	case b.usual > 0 && gap < b.usual/tinyGap:
		b.late()
		if b.tiny == 0 {
			b.began = prev
		}
		if b.tiny++; b.tiny < beatGaps {
			break
		}
		b.n, b.tiny, b.pace = 0, 0, b.began // it comes much more often now
		b.learn()
	default:
		b.tiny, b.owed = 0, 0
		b.gaps[b.n%beatGaps] = gap
		if b.n++; b.n <= beatGaps || b.n%4 == 0 {
			b.learn()
		}
	}
	b.odd = b.odd[:0]
	b.confirm()
	return prev
}

// unreadFor is for how long the packet that has waited longest has not been read, 0 where none waits.
func (b *Beat) unreadFor(t model.Time) time.Duration {
	if len(b.unread) == 0 {
		return 0
	}
	return t.Sub(b.unread[0].at)
}

// late counts a packet that comes together with another: of those that were missing, it was late and is not lost.
func (b *Beat) late() {
	if b.owed == 0 {
		return
	}
	b.owed--
	if b.last.Delayed++; b.last.sure {
		b.Lost--
		b.latest()
	}
}

func (b *Beat) certain(g *Gap) {
	if !g.sure {
		g.sure = true
		b.Late++
		b.Lost += g.Missed - g.Delayed
	}
	b.freshen(g)
}

func (b *Beat) freshen(g *Gap) {
	if !slices.Contains(b.Fresh, g) && len(b.Fresh) < maxFresh {
		b.Fresh = append(b.Fresh, g)
	}
	b.last = g
	b.quieter(Span{g.From, g.To})
	b.latest()
}

// measure takes up a gap that has ended, if it was too long.
func (b *Beat) measure(g Gap, l *Limits) {
	g.Period, g.ID = b.usual, g.From
	main := g.Main()
	least := b.limit(l)
	certain := main != StageAbsent && (main != StageUnknown || g.Waiting > 0)
	if !certain {
		least = b.absentFor(l)
		if b.young(g.From) {
			return
		}
	}
	if least == 0 || g.Length() < least {
		return
	}
	if b.last != nil && g.host > 0 && g.host <= b.last.To && b.last.sure {
		b.extend(g)
		return
	}
	g.Missed = g.PacketsIn(g.Absent + g.Lost)
	gap := &g
	if !certain && len(b.odd) > 0 {
		if len(b.waiting) < maxFresh {
			b.waiting = append(b.waiting, gap)
			b.last, b.owed = gap, g.Missed
		}
		return
	}
	b.owed = 0
	b.certain(gap)
}

// extend adds a packet to a gap before the end of which it had come: the program has not caught up yet.
func (b *Beat) extend(g Gap) {
	last := b.last
	if g.Delay() <= last.Delay() {
		if g.To.Sub(g.host) >= last.Delay()/2 {
			last.Waiting = max(last.Waiting, g.Waiting)
		}
		return
	}
	g.ID, g.sure, g.Behind = last.ID, true, true
	g.Missed, g.Delayed = last.Missed, last.Delayed
	*last = g
	b.freshen(last)
}

// received takes up a packet that has reached its socket.
func (b *Beat) received(v *model.Packet, l *Limits) {
	host := v.Time.Add(-v.Dur)
	prev := b.arrive(host, l)
	b.cpu = v.CPU
	if b.Reads == 0 {
		b.note(prev, host)
	}
	if b.readsSeen() {
		switch {
		case v.Time <= b.readAt: // it has been read already: its event is late
		case len(b.unread) < maxUnread && !b.over:
			b.unread = append(b.unread, arrival{
				host: host, at: v.Time, prev: prev, cpu: v.CPU, ahead: b.Socket.tcp.missing != 0, early: b.earlyOf(v.Time),
			})
		default:
			b.over = true
		}
		return
	}
	if b.Socket.tcp.missing != 0 {
		return
	}
	g := Gap{From: prev, To: v.Time, Absent: max(host.Sub(prev)-b.usual, 0), Stack: v.Dur, CPU: v.CPU, host: host}
	g.zoom(b.earlyOf(v.Time))
	if b.Socket.tcp.filledBy(v.Time) && b.readable > 0 {
		g.From, g.Absent, g.Missing = b.readable, 0, max(host.Sub(b.readable)-b.usual, 0)
	}
	b.readable = host
	if prev > 0 {
		b.measure(g, l)
	}
}

// earlyOf is how the packet that reaches its socket at a time spent the time before.
func (b *Beat) earlyOf(at model.Time) early {
	if b.early.at != at {
		return early{}
	}
	return b.early
}

func (g *Gap) zoom(e early) { g.Zoomed, g.Taken = e.at != 0, e.backlog }

// beatEarly takes how a packet spent its time before its socket, whose own event comes next.
func (w *Fold) beatEarly(v *model.PacketEarly) {
	if b := w.beats[BeatKey{FollowKey{v.NetnsInode, v.Cookie}, v.RemoteAddr, v.RemotePort, model.DirectionRX}]; b != nil {
		b.early = early{v.Time, v.Backlog}
	}
}

// readsSeen says that what the program reads is seen, so that a packet that is not read waits.
func (b *Beat) readsSeen() bool {
	return b.Reads > 0 && b.Socket.State != model.FlowArrivals && b.Socket.State != model.FlowReads
}

// sent takes up a packet that the host sends.
func (b *Beat) sent(v *model.Packet, l *Limits) {
	prev := b.arrive(v.Time, l)
	b.cpu = v.CPU
	b.note(prev, v.Time)
	if prev == 0 || b.heldBack(prev) || b.resentFor(prev, v.Time) {
		return
	}
	from := max(prev, b.left) // before it has left, TCP does not send the next one
	b.unsteady(Span{from, v.Time}, l)
	b.measure(Gap{From: from, To: v.Time, Absent: max(v.Time.Sub(from)-b.usual, 0), CPU: v.CPU, host: v.Time}, l)
}

// read takes up a packet that the program has read.
func (b *Beat) read(v *model.PacketRead, l *Limits) {
	before := b.LastRead
	b.Reads++
	b.LastRead = v.Time
	b.note(before, v.Time)
	if b.Packets == 0 || b.Socket.State == model.FlowReads {
		b.readBlind(v, before, l)
		return
	}
	if v.Dur == 0 {
		if int(v.Left) < len(b.unread) {
			b.unread = slices.Delete(b.unread, 0, len(b.unread)-int(v.Left))
		}
		return
	}
	at := v.Time.Add(-v.Dur)
	host := at.Add(-v.Host)
	from := b.readHost
	g := Gap{From: from, To: v.Time, Stack: v.Host, Queue: v.Dur, Waiting: v.Left, CPU: b.cpu, host: host}
	prev := from
	if i := nearest(b.unread, at); i >= 0 {
		prev, g.CPU, g.Vanished = b.unread[i].prev, b.unread[i].cpu, uint64(i)
		g.zoom(b.unread[i].early)
		b.unread = slices.Delete(b.unread, 0, i+1)
	} else if b.over {
		// It is one of those that were not kept apart: what came before it is taken to have come in time.
		b.unread, prev, g.Vanished = b.unread[:0], max(from, host.Add(-b.usual)), 1
		b.over = v.Left > 0
	}
	b.readHost, b.readAt = max(from, host), max(b.readAt, at)
	b.given = Gap{}
	if from == 0 {
		return
	}
	if prev > 0 {
		g.Absent = max(host.Sub(prev)-b.usual, 0)
		if g.Vanished > 0 {
			g.Lost = max(prev.Sub(from), 0)
		}
	}
	if b.Socket.tcp.filledBy(at) {
		g.Absent, g.Lost, g.Missing = 0, 0, max(host.Sub(from)-b.usual, 0)
	}
	b.given = g
	b.measure(g, l)
}

// returnedWithin is how soon after a read, or after it got the CPU back, a thread loses the CPU on its way out of the
// read; the probe takes no longer time for that.
const returnedWithin = 5 * time.Millisecond

// returned takes up that the reader of the last packet got the CPU back.
func (b *Beat) returned(v *model.PacketReturn, l *Limits) {
	since := v.Time.Add(-v.Dur)
	if b.given.To == 0 || since < b.given.To || since.Sub(b.given.To) > returnedWithin {
		return
	}
	b.given.To = v.Time
	b.given.Return += v.Dur
	b.measure(b.given, l)
}

// beatReturn takes a packet of a followed flow with which its program could go on late.
func (w *Fold) beatReturn(v *model.PacketReturn) {
	var last *Beat
	for k, b := range w.beats {
		if k.FollowKey == (FollowKey{v.NetnsInode, v.Cookie}) && k.Direction == model.DirectionRX &&
			b.LastRead <= v.Time && (last == nil || b.LastRead > last.LastRead ||
			b.LastRead == last.LastRead && compareBeats(k, last.Key) < 0) {
			last = b
		}
	}
	if last != nil {
		last.returned(v, &w.limits)
	}
}

// note keeps the time from one read, or packet sent, to the next.
func (b *Beat) note(before, at model.Time) {
	b.gap = 0
	if before > 0 {
		b.gap = max(at.Sub(before), 0)
	}
	b.most = max(b.most, b.gap)
}

// readBlind takes up a read where arrivals are not seen: the cadence is that of the reads.
func (b *Beat) readBlind(v *model.PacketRead, before model.Time, l *Limits) {
	packets := b.Packets
	b.arrive(v.Time, l)
	b.Packets = packets // it was not seen to arrive
	if before > 0 {
		b.measure(Gap{From: before, To: v.Time, Blind: true, Waiting: v.Left, CPU: -1, host: v.Time}, l)
	}
}

// matchWithin is how far the times of a packet's arrival may be apart in two events.
const matchWithin = time.Millisecond

// nearest returns which of the packets arrived at about that time, -1 none.
func nearest(list []arrival, at model.Time) int {
	best, found := matchWithin, -1
	for i := range list {
		if d := max(list[i].at.Sub(at), at.Sub(list[i].at)); d <= best && (d < best || found < 0) {
			best, found = d, i
		}
	}
	return found
}
