package fold

import (
	"cmp"
	"fmt"
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

// BeatKey identifies the packets between a followed socket and one peer, in one direction.
type BeatKey struct {
	FollowKey
	Remote    string
	Port      uint16
	Direction model.Direction
}

// PacketKey returns the flow of a packet.
func PacketKey(v *model.Packet) BeatKey {
	return BeatKey{FollowKey{v.NetnsInode, v.Cookie}, v.RemoteAddr, v.RemotePort, v.Direction}
}

// ReadKey returns the flow of a packet that was read.
func ReadKey(v *model.PacketRead) BeatKey {
	return BeatKey{FollowKey{v.NetnsInode, v.Cookie}, v.RemoteAddr, v.RemotePort, model.DirectionRX}
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
	// final is when the last packet came before its socket was closed, or what is seen of it changed; 0 none.
	final model.Time
	// Reset is when its connection was last reset from its peer (TCP), 0 never.
	Reset model.Time
	// Over is the device over which its packets came or went last.
	Over Over
	// Packets and Reads are how many there were, Dropped how many packets the host dropped, as far as that is known.
	Packets, Reads, Dropped uint64
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

// LastQdisc is the queueing discipline in which the flow's packets were last, the zero one none.
func (b *Beat) LastQdisc() Qdisc { return b.qdisc }

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
	// Dropped is how many of its packets this host dropped, as far as that is known.
	Dropped uint64
	// Device is over which its packets come or go, empty unknown.
	Device string
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
			Timeout: s.Timeout, Last: b.Last, LastRead: b.LastRead, Packets: b.Packets, Reads: b.Reads, Dropped: b.Dropped,
			Device: w.overName(b), Late: b.Late, Lost: b.Lost, Longest: b.most, Worst: b.Worst, Latest: b.Latest,
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
