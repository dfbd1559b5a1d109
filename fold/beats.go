package fold

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Bounds of what is remembered of followed flows.
const (
	maxFollowed = 512
	maxBeats    = 1024
	// maxPeers bounds the flows of one socket: the one that has been silent for longest makes room.
	maxPeers = 64
	// beatGaps is how many gaps of a flow are kept, learnedGaps how many are needed to know its cadence.
	beatGaps    = 64
	learnedGaps = 16
	// maxUnread bounds the packets of a flow that wait to be read, and are told apart.
	maxUnread = 64
	// maxFresh bounds the gaps of a flow that are judged in one tick, and those that wait for what comes after them.
	maxFresh = 8
)

// How a cadence is told from traffic that has none, and a new cadence from a loss.
const (
	// strayGaps is one in how many gaps may be longer than spread times the usual one.
	strayGaps = 32
	spread    = 1.5
	// changedAfter is after how many long gaps in a row, which are alike, they are the flow's new cadence.
	changedAfter = 4
	// tinyGap is which part of the usual gap packets follow one another in that come together.
	tinyGap = 8
)

// FollowKey identifies a socket whose packets are followed.
type FollowKey struct {
	// Netns is the inode number of its network namespace, 0 unknown.
	Netns  uint32
	Cookie uint64
}

// Followed is a socket whose packets are followed.
type Followed struct {
	Key      FollowKey
	Protocol model.Protocol
	Port     uint16
	Local    string
	PID      int32
	Process  string
	// KnownAs is the protocol that it is known for, empty unknown; Timeout its silence after which a peer is given up, 0
	// unknown.
	KnownAs string
	Timeout time.Duration
	State   model.FlowState
	// Ended is when the socket was closed or its process ended, 0 while it is open.
	Ended model.Time

	told  bool // there was a flow event
	seen  model.Time
	peers int
	// readers and senders are the threads that were seen to read it, and to send from it, the last one first.
	readers, senders threads
	// tcp is what TCP does to its data.
	tcp stalls
}

// Reader is the thread that was last seen to read it, 0 none.
func (s *Followed) Reader() int32 { return s.readers[0] }

// BeatKey identifies the packets between a followed socket and one peer, in one direction.
type BeatKey struct {
	FollowKey
	Remote    string
	Port      uint16
	Direction model.Direction
}

func compareBeats(a, b BeatKey) int {
	return cmp.Or(
		cmp.Compare(a.Netns, b.Netns),
		cmp.Compare(a.Cookie, b.Cookie),
		cmp.Compare(a.Direction, b.Direction),
		cmp.Compare(a.Remote, b.Remote),
		cmp.Compare(a.Port, b.Port),
	)
}

// Beat is a followed flow and its cadence.
type Beat struct {
	Key    BeatKey
	Socket *Followed
	// Last is when its last packet reached the host, or was sent; LastRead when the program last read one, 0 not seen.
	Last, LastRead model.Time
	// First is when the first one that was seen came.
	First model.Time
	// Packets and Reads are how many there were.
	Packets, Reads uint64
	// Late is how many gaps were longer than its cadence allows, Lost how many packets were missing in them and did not
	// come later; Worst and Latest are the longest and the last of them.
	Late, Lost    uint64
	Worst, Latest Gap
	// Fresh are the gaps that have become certain since the last tick, or have grown.
	Fresh []*Gap

	// readHost is when the last packet that was read had reached the host, readAt its socket.
	readHost, readAt model.Time
	cpu              int32
	gaps             [beatGaps]time.Duration
	n, tiny          int
	began, pace      model.Time // when the packets began that come much more often than usual, and its present pace
	usual            time.Duration
	longest          time.Duration
	settled          time.Duration // the period that was known last
	steady           model.Time    // since when it is about that
	unread           []arrival
	// over says that more packets wait than unread has room for.
	over bool
	// odd are the last gaps as far as they were too long, the last one last.
	odd     []time.Duration
	waiting []*Gap // for what comes after them
	last    *Gap
	// gap is the time from the last read, or packet sent, to the one before; most the longest that there was.
	gap, most time.Duration
	owed      uint64 // packets that were missing in it, and may still come
	// resent is the last time in which TCP sent segments again, nil none; readable when the last packet came behind which
	// none is missing.
	resent   *Gap
	readable model.Time
	// quiet are the last gaps.
	quiet []Span
	// early is how the packet that comes next spent its time before its socket.
	early early
	// given is the gap that the last read has ended, however long it was; To is 0 where that is not known.
	given Gap
	// held are packets in a queueing discipline, qdisc the one in which they were last, and heldAt when one was last put
	// in; left is when one last left the host, before when the one before the last was sent.
	held                 []held
	qdisc                Qdisc
	heldAt, left, before model.Time
}

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

// Stage is where the time of a gap went.
type Stage uint8

const (
	// StageUnknown: the stages were not seen.
	StageUnknown Stage = iota
	// StageAbsent: nothing reached the host, or the host sent nothing.
	StageAbsent
	// StageLost: packets reached the socket, and were never read.
	StageLost
	// StageStack: deferred work, the backlog and filters had the packet.
	StageStack
	// StageQueue: the packet waited in the queue of its socket.
	StageQueue
	// StageMissing: later segments had come, and waited for one that was missing (TCP).
	StageMissing
	// StageResent: the host had sent the segment, and TCP sent it again.
	StageResent
	// StageReturn: the program had read the packet, and could not go on with it.
	StageReturn
	// StageQdisc: the packet waited in the queueing discipline of a device on its way out.
	StageQdisc
)

// Gap is a time in which a program was given nothing of a flow, or sent nothing, though its cadence says that it
// should have.
type Gap struct {
	// ID is when it began as it was first seen: its identity within the flow.
	ID model.Time
	// From is when the packet before reached the host, To when the next one was read (or reached its socket, where reads
	// are not seen), or was sent; for a gap that Lasts it is the time at which it is looked at.
	From, To model.Time
	Lasts    bool
	// Period is the usual gap, which is no delay.
	Period time.Duration
	// The rest of it by stage: nothing reached the host; what did was lost at the socket; deferred work, backlog and
	// filters had the packet; it waited to be read.
	Absent, Lost, Stack, Queue time.Duration
	// Return is the time in which the reader, on its way out of the read, had no CPU.
	Return time.Duration
	// Zoomed says that Stack was looked into: Taken is the part of it until deferred work took the packet up.
	Zoomed bool
	Taken  time.Duration
	// Missing is the time in which TCP waited for a segment, later ones of which had come; Resent the time from when the
	// host first sent a segment to when it last sent it again, Resends how many were sent again.
	Missing, Resent time.Duration
	Resends         uint64
	// Qdisc is the time in the queueing discipline of a device, on the way out; Backlog is how many packets were in it
	// when the packet was put in, itself included.
	Qdisc   time.Duration
	Backlog uint64
	// Blind says that the stages are not known: arrivals were not seen.
	Blind bool
	// Waiting is how many packets wait to be read, or waited behind the first one that was.
	Waiting uint64
	// Missed is how many packets were missing, Delayed how many of them came together after it.
	Missed, Delayed uint64
	// Vanished is how many reached the socket and were never read.
	Vanished uint64
	// Behind says that the program reads meanwhile, and has not caught up.
	Behind bool
	// Changed says that the flow has had the gap's length as its period ever since.
	Changed bool
	// Unlike says that the flow has gone on with another period, shorter than the gap.
	Unlike bool
	// CPU is where the packet was handled that ended the gap or waits, -1 unknown.
	CPU int32

	sure bool
	host model.Time // when the packet that ended it had reached the host
}

// Length is the time without a packet.
func (g *Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Delay is by how much that is longer than usual.
func (g *Gap) Delay() time.Duration { return max(g.Length()-g.Period, 0) }

// PacketsIn is how many packets usually come in a time, 0 where the period is not known.
func (g *Gap) PacketsIn(d time.Duration) uint64 {
	if g.Period <= 0 {
		return 0
	}
	return uint64((d + g.Period/2) / g.Period)
}

// Main is the stage in which most of the time was spent.
func (g *Gap) Main() Stage {
	if g.Blind {
		return StageUnknown
	}
	stage, most := StageAbsent, g.Absent
	for _, s := range []struct {
		stage Stage
		d     time.Duration
	}{
		{StageLost, g.Lost}, {StageStack, g.Stack}, {StageQueue, g.Queue}, {StageMissing, g.Missing},
		{StageReturn, g.Return}, {StageResent, g.Resent}, {StageQdisc, g.Qdisc},
	} {
		if s.d > most {
			stage, most = s.stage, s.d
		}
	}
	return stage
}

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

// restart forgets the last packets, but not the cadence: what came meanwhile was not seen.
func (b *Beat) restart() {
	b.Last, b.LastRead, b.readHost, b.readAt, b.given = 0, 0, 0, 0, Gap{}
	b.unread, b.over, b.odd, b.waiting, b.owed = nil, false, nil, nil, 0
	b.resent, b.readable = nil, 0
	b.held, b.heldAt, b.left, b.before = nil, 0, 0, 0
}

// LastQdisc is the queueing discipline in which the flow's packets were last, the zero one none.
func (b *Beat) LastQdisc() Qdisc { return b.qdisc }

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

// Replaced says that the peer of a flow has gone on from another port since the flow's last packet, or that the host
// sends to another one: the peer was restarted.
func (w *Fold) Replaced(b *Beat) bool {
	for k, o := range w.beats {
		if k.FollowKey == b.Key.FollowKey && k.Direction == b.Key.Direction && k.Remote == b.Key.Remote &&
			k.Port != b.Key.Port && o.First > b.Last {
			return true
		}
	}
	return false
}

// followed returns a socket whose packets are followed, nil when there is no room for it.
func (w *Fold) followed(k FollowKey, at model.Time) *Followed {
	s := w.follows[k]
	if s == nil {
		if len(w.follows) >= maxFollowed {
			w.room.LeaveOut("followed sockets")
			return nil
		}
		if !w.room.Take("followed sockets", followedBytes) {
			return nil
		}
		s = &Followed{Key: k, PID: -1}
		w.follows[k] = s
	}
	s.seen = max(s.seen, at)
	return s
}

// describe takes what an event says of the socket.
func (s *Followed) describe(protocol model.Protocol, port uint16, local, process string, pid int32) {
	if port != 0 {
		s.Port = port
	}
	if protocol != model.ProtocolUnknown {
		s.Protocol = protocol
	}
	s.Local = cmp.Or(local, s.Local)
	if s.PID <= 0 {
		s.PID = pid
	}
	if pid == s.PID {
		s.Process = cmp.Or(process, s.Process)
	}
}

// readBy notes who has read it: of several processes that hold it, that one is meant.
func (s *Followed) readBy(pid, tid int32) {
	if pid > 0 && pid != s.PID {
		s.PID, s.Process, s.readers, s.senders = pid, "", threads{}, threads{}
	}
	s.readers.note(tid)
}

func (w *Fold) applyFlow(v *model.Flow) {
	if w.applyProposal(v) {
		return
	}
	s := w.followed(FollowKey{v.NetnsInode, v.Cookie}, v.Time)
	if s == nil {
		return
	}
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	s.KnownAs, s.Timeout = cmp.Or(v.KnownAs, s.KnownAs), cmp.Or(v.Timeout, s.Timeout)
	if s.told && v.State != s.State {
		w.restartFlows(s)
	}
	s.told, s.State = true, v.State
	switch {
	case v.State == model.FlowEnded && s.Ended == 0:
		s.Ended = v.Time
	case v.State != model.FlowEnded:
		s.Ended = 0
	}
}

// endFlows ends the flows of certain sockets.
func (w *Fold) endFlows(at model.Time, of func(s *Followed) bool) {
	for _, s := range w.follows {
		if s.Ended == 0 && of(s) {
			s.Ended = at
			w.restartFlows(s)
		}
	}
}

// flowClosed ends the flows of a socket that has given its port back.
func (w *Fold) flowClosed(cookie uint64, at model.Time) {
	if cookie != 0 {
		w.endFlows(at, func(s *Followed) bool { return s.Key.Cookie == cookie })
	}
}

// flowsEnded ends the flows of a process.
func (w *Fold) flowsEnded(pid int32, at model.Time) {
	w.endFlows(at, func(s *Followed) bool { return s.PID == pid })
}

func (w *Fold) restartFlows(s *Followed) {
	for _, b := range w.beats {
		if b.Socket == s {
			b.restart()
		}
	}
}

// beat returns a flow of a followed socket, nil when there is no room for it.
func (w *Fold) beat(s *Followed, k BeatKey) *Beat {
	b := w.beats[k]
	if b != nil {
		return b
	}
	if s.peers >= maxPeers {
		w.forgetBeat(w.stalest(s))
	}
	if len(w.beats) >= maxBeats {
		w.room.LeaveOut("followed flows")
		return nil
	}
	if !w.room.Take("followed flows", beatBytes) {
		return nil
	}
	b = &Beat{Key: k, Socket: s, cpu: -1}
	w.beats[k] = b
	w.sortedBeats = nil
	s.peers++
	return b
}

// stalest returns the flow of a socket that has been silent for longest.
func (w *Fold) stalest(s *Followed) (stalest *Beat) {
	for _, b := range w.SortedBeats() {
		if b.Socket == s && (stalest == nil || max(b.Last, b.LastRead) < max(stalest.Last, stalest.LastRead)) {
			stalest = b
		}
	}
	return stalest
}

func (w *Fold) forgetBeat(b *Beat) {
	delete(w.beats, b.Key)
	b.Socket.peers--
	w.sortedBeats = nil
	w.room.Give(beatBytes)
}

// beatPacket takes a packet of a followed flow, and returns the flow; nil when there is none, or no room for it.
func (w *Fold) beatPacket(v *model.Packet) *Beat {
	if v.Cookie == 0 {
		return nil
	}
	s := w.followed(FollowKey{v.NetnsInode, v.Cookie}, v.Time)
	if s == nil {
		return nil
	}
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	b := w.beat(s, BeatKey{s.Key, v.RemoteAddr, v.RemotePort, v.Direction})
	if b == nil {
		return nil
	}
	if v.Direction == model.DirectionRX {
		b.received(v, &w.limits)
		return b
	}
	if v.PID == s.PID && v.PID > 0 {
		s.senders.note(v.TID)
	}
	b.sent(v, &w.limits)
	return b
}

// beatRead takes a packet of a followed flow that was read, and returns the flow; nil when there is no room for it.
func (w *Fold) beatRead(v *model.PacketRead) *Beat {
	s := w.followed(FollowKey{v.NetnsInode, v.Cookie}, v.Time)
	if s == nil {
		return nil
	}
	s.readBy(v.PID, v.TID)
	s.describe(v.Protocol, v.LocalPort, v.LocalAddr, v.Process, v.PID)
	b := w.beat(s, BeatKey{s.Key, v.RemoteAddr, v.RemotePort, model.DirectionRX})
	if b != nil {
		b.read(v, &w.limits)
	}
	return b
}

// Beat returns a followed flow, nil when there is none.
func (w *Fold) Beat(k BeatKey) *Beat { return w.beats[k] }

// SortedBeats returns the followed flows in a fixed order.
func (w *Fold) SortedBeats() []*Beat { return sorted(&w.sortedBeats, w.beats, compareBeats) }

// series is the flow's place in the frames of a screen.
func (b *Beat) series(st *state.State) FlowSeries {
	s := b.Socket
	return FlowSeries{
		Protocol: s.Protocol, Local: s.Local, Peer: b.Key.Remote, LPort: s.Port, Port: b.Key.Port,
		Direction: b.Key.Direction, PID: s.PID, Process: cmp.Or(s.Process, st.ProcessName(s.PID)),
	}
}

// Name names the flow in the keys of cases.
func (b *Beat) Name() string {
	s := b.Socket
	return fmt.Sprintf("%s/%d/%s:%d/%s/%x", s.Protocol, s.Port, Printable(b.Key.Remote), b.Key.Port, b.Key.Direction,
		s.Key.Cookie)
}

// BeatTotal is a followed flow as a screen shows it.
type BeatTotal struct {
	// Series is its place in the frames, Name what findings about it have in their ids.
	Series  FlowSeries
	Name    string
	KnownAs string
	State   model.FlowState
	Ended   model.Time
	// Period is its usual gap, 0 not known; Timeout the protocol's own limit, 0 unknown.
	Period, Timeout time.Duration
	// Last is when its last packet came or was sent, LastRead when one was last read, 0 not seen.
	Last, LastRead             model.Time
	Packets, Reads, Late, Lost uint64
	// Longest is the longest time without a packet, 0 not measured.
	Longest time.Duration
	// Worst and Latest are gaps that were too long, Open one that lasts; zero for none.
	Worst, Latest, Open Gap
}

// TimeoutUsed is the longest time without a packet as a share of the protocol's timeout, 0 where that is not known.
func (t *BeatTotal) TimeoutUsed() float64 { return Ratio(float64(t.Longest), float64(t.Timeout)) }

// beatTotals returns the followed flows as they are at a moment.
func (w *Fold) beatTotals(now model.Time) []BeatTotal {
	out := make([]BeatTotal, 0, min(len(w.beats), shownTotals))
	for _, b := range w.SortedBeats() {
		s := b.Socket
		if len(out) == shownTotals {
			break
		}
		t := BeatTotal{
			Series: b.series(w.State), Name: b.Name(), KnownAs: s.KnownAs, State: s.State, Ended: s.Ended, Period: b.usual,
			Timeout: s.Timeout, Last: b.Last, LastRead: b.LastRead, Packets: b.Packets, Reads: b.Reads,
			Late: b.Late, Lost: b.Lost, Longest: b.most, Worst: b.Worst, Latest: b.Latest,
		}
		if b.Packets == 0 {
			t.Last = 0
		}
		if g, ok := w.openAt(b, now); ok {
			t.Open, t.Longest = g, max(b.most, g.Length())
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b BeatTotal) int { return compareFlowSeries(a.Series, b.Series) })
	return out
}

// endBeats forgets the flows that have ended, and those of peers that have gone.
func (w *Fold) endBeats() {
	for _, b := range w.beats {
		b.Fresh = nil
		last := max(b.Last, b.LastRead)
		if last > 0 && w.Now.Sub(last) > forgetBeat || b.Socket.Ended != 0 && w.Now.Sub(b.Socket.Ended) > forgetFlow {
			w.forgetBeat(b)
		}
	}
	for k, s := range w.follows {
		if s.peers == 0 && w.Now.Sub(s.seen) > forgetFlow {
			delete(w.follows, k)
			w.room.Give(followedBytes)
		}
	}
}
