package fold

import (
	"time"

	"lostbeat/model"
)

const (
	// maxHeld bounds the packets of a flow in queueing disciplines that are told apart.
	maxHeld = 64
	// heldFor is for how long a packet that was not seen to leave is taken to wait; then it was dropped.
	heldFor = time.Minute
)

// Qdisc is a queueing discipline in which packets of a flow were.
type Qdisc struct {
	// Device is the device that it belongs to, Kind its kind (tbf, fq_codel).
	Device DeviceKey
	Kind   string
}

// held is a packet of a flow in a queueing discipline.
type held struct {
	// at is when it was put in, prev when the one before was sent; backlog is how many packets were in it then.
	at, prev model.Time
	backlog  uint64
}

// beatQdisc takes a packet that was put into a queueing discipline, or has left it.
func (w *Fold) beatQdisc(v *model.PacketQdisc) {
	b := w.beats[BeatKey{FollowKey{v.NetnsInode, v.Cookie}, v.RemoteAddr, v.RemotePort, model.DirectionTX}]
	if b == nil {
		return
	}
	if v.Left {
		b.leave(v, &w.limits)
		return
	}
	b.qdisc = Qdisc{DeviceKey{Netns: v.NetnsInode, Ifindex: v.Ifindex, Name: v.Device}, v.Qdisc}
	b.heldAt = v.Time
	if len(b.held) == maxHeld {
		return // those that came first say for how long it lasts
	}
	b.held = append(b.held, held{v.Time, b.before, v.Backlog})
}

// heldBack takes up that a packet is sent after one at a time, and says whether that one is still in a queueing
// discipline.
func (b *Beat) heldBack(prev model.Time) bool {
	b.before = prev
	if b.heldAt < prev {
		b.held = nil // that one has left at once: those before it have left, too, or were dropped
	}
	if len(b.held) > 0 {
		return true
	}
	b.left = max(b.left, prev)
	return false
}

// leave takes up that a packet has left its queueing discipline: to the peer, that is when it was sent.
func (b *Beat) leave(v *model.PacketQdisc, l *Limits) {
	at, prev, backlog := v.Time.Add(-v.Dur), b.before, uint64(0)
	for len(b.held) > 0 && b.held[0].at <= at { // those before it have left, or were dropped
		prev, backlog = b.held[0].prev, b.held[0].backlog
		b.held = b.held[1:]
	}
	from := b.left
	b.left = max(b.left, v.Time)
	if from == 0 || prev == 0 {
		return
	}
	b.unsteady(Span{from, v.Time}, l)
	g := Gap{
		From: from, To: v.Time, Absent: max(at.Sub(max(prev, from))-b.usual, 0), Qdisc: v.Dur, Backlog: backlog,
		CPU: v.CPU, host: at,
	}
	if g.Main() == StageQdisc {
		b.measure(g, l)
	}
}

// holding returns the gap of a flow whose packets wait in a queueing discipline.
func (b *Beat) holding(now model.Time) (g Gap, ok bool) {
	if len(b.held) == 0 || b.left == 0 {
		return g, false
	}
	first := &b.held[0]
	g = Gap{
		ID: b.left, From: b.left, To: now, Lasts: true, Period: b.usual, CPU: b.cpu, Qdisc: now.Sub(first.at),
		Absent: max(first.at.Sub(max(first.prev, b.left))-b.usual, 0), Backlog: first.backlog,
	}
	return g, g.Main() == StageQdisc && g.Qdisc <= heldFor
}
