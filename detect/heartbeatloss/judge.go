package heartbeatloss

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/packetdrop"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// verdict is where the time of a gap went.
type verdict int

const (
	// silent: nothing is said.
	silent verdict = iota
	// unknown: it cannot be said.
	unknown
	// absent: nothing reached the host, and the host lost nothing: the peer or the network.
	absent
	// lostMaybe: the host has lost packets meanwhile, and whose is not known.
	lostMaybe
	// lostHere: the host has lost packets of the flow's port.
	lostHere
	// deferred: softirqs, the backlog or filters had the packet.
	deferred
	// notRead: the packet waited in the queue of its socket.
	notRead
	// sentLate: the host did not send.
	sentLate
	// missing: TCP waited for a segment, later ones of which had come.
	missing
	// resent: TCP had to send again what it had sent.
	resent
	// windowShut: the peer's receive window was closed.
	windowShut
	// linkDown: the device over which the packets come went down, or away.
	linkDown
	// queuedOut: the packet waited in the queueing discipline of a device on its way out.
	queuedOut
	// unattended: packets come for the port of a socket that is gone.
	unattended
	// taken: another socket of the port receives its packets.
	taken
)

// moment is a gap as it was judged.
type moment struct {
	gap     fold.Gap
	verdict verdict
	// reason is what kept the program from reading or sending, stay for how long; sched is all that is known of its
	// thread, known that it is that of the thread that reads or sends.
	reason reader.Cause
	stay   fold.StateTime
	kept   time.Duration
	sched  fold.Scheduling
	known  bool
	// fits says that it is not known, and that one of its threads was kept for just as long.
	fits bool
	// drops are what the host lost meanwhile that may explain the gap, the most first; exact, others and elsewhere how
	// many packets that was: with the flow's port, without a port, and in another network namespace.
	drops                    []dropped
	exact, others, elsewhere uint64
	// passing says that it may have been lost elsewhere, and not here.
	passing bool
	// unheard are packets for the port of a socket that sends again, which the host dropped: the peer's answers.
	// undelivered are those that it dropped in front of the peer's socket, which is on this host as well.
	unheard, undelivered []dropped
	cpu                  cpuFacts
	// lost is how many events were lost meanwhile.
	lost uint64
	// sentOn says that the host went on sending to the peer meanwhile.
	sentOn bool
	// said says that the gap is a finding already.
	said bool
	// left says that the peer has gone on from another port since.
	left bool
	// shut is for how long the peer's receive window was closed meanwhile.
	shut time.Duration
	// device is what went down, qdisc the queueing discipline in which packets waited.
	device fold.Device
	qdisc  fold.Qdisc
	// other are packets for a port on which nothing listens, as many as are missing; none where the count is 0.
	other dropped
	// by is the flow that another socket has taken.
	by flowWords
	// paced says that the thread that sends has slept between its packets before as well: it sleeps as it means to.
	paced bool
}

// dropped are packets that the host has lost.
type dropped struct {
	fold.DropKey
	process string
	count   uint64
	// exact says that they had the flow's local port; elsewhere that they were lost in another network namespace of this
	// host, or for a port on which nothing listens, and which flow they were of is not known.
	exact, elsewhere bool
	// namespace is the name of another namespace, empty for the flow's own.
	namespace string
}

// cpuFacts are what the CPU did that had the packet.
type cpuFacts struct {
	// top is the deferred work that took most of it, share its share; wait is the longest wait of NET_RX.
	top   string
	share float64
	wait  time.Duration
	// steal is the share that the hypervisor took.
	steal float64
	// ksoftirqd is how its thread was scheduled.
	ksoftirqd fold.Scheduling
}

// judge decides where the time of a gap went. What was said of it stays said.
func (d *heartbeatLoss) judge(w *detect.Tick, b *fold.Beat, g *fold.Gap, drops []dropped, said bool) moment {
	m := moment{gap: *g, drops: drops, left: w.Replaced(b), said: said}
	since := g.From.Add(-time.Second)
	m.lost = w.Loss.Since(since) - w.RivalLoss.Since(since)
	for _, o := range drops {
		switch {
		case o.exact:
			m.exact += o.count
		case o.otherPort():
			// It may be of another flow, whatever its rule.
		case o.elsewhere:
			m.elsewhere += o.count
		default:
			m.others += o.count
		}
	}
	if float64(pausedIn(w, g.From, g.To)) >= d.settings.HeldShare*float64(g.Delay()) && len(w.Pauses) > 0 {
		return m // the host slept, which is a finding of its own
	}
	if b.Socket.State == model.FlowCaptured {
		d.judgeCaptured(w, b, &m)
		return m
	}
	if b.Key.Direction == model.DirectionTX {
		d.judgeSent(w, b, &m)
		return m
	}
	switch g.Main() {
	case fold.StageQueue:
		m.verdict = notRead
		d.why(w, b, &m, max(g.Queue, g.Delay()/2))
		if g.Lasts && m.reason == reader.None && m.lost > 0 {
			m.verdict = unknown // what was read may be among what was lost
		}
		if g.Lasts && m.reason == reader.None && m.exact >= g.Waiting && m.exact > 0 && !d.fullQueue(&m) {
			m.verdict = lostHere
		}
	case fold.StageReturn:
		m.verdict = notRead
		d.why(w, b, &m, max(g.Return, g.Delay()/2))
	case fold.StageStack:
		m.verdict = deferred
		m.cpu = lookAt(w, g)
		if !g.Zoomed {
			w.Request(model.Request{Kind: model.RequestZoom, CPU: -1, PID: -1, TID: -1, For: zoomFor, Finding: Name})
		}
		if g.CPU >= 0 && m.cpu.ksoftirqd.Threads == 0 {
			w.Request(model.Request{
				Kind: model.RequestSched, CPU: g.CPU, PID: -1, TID: -1, For: watchFor, Finding: Name,
			})
		}
	case fold.StageLost:
		switch {
		case d.follows(b, &m):
			m.verdict = silent
		case m.exact > 0:
			m.verdict = lostHere
		default:
			m.verdict = unknown
		}
	case fold.StageMissing:
		switch {
		case m.exact > 0:
			m.verdict = lostHere
		case m.lost > 0:
			m.verdict = unknown // the segment may be among what was lost
		case silentSender(w, b, &m):
			m.verdict = silent
		default:
			m.verdict = missing
		}
	case fold.StageUnknown:
		d.judgeBlind(w, b, &m)
	default:
		d.judgeAbsent(w, b, &m)
	}
	return m
}

// fullQueue says that what was lost was lost at the full queue of the socket: it is not why nobody reads it.
func (d *heartbeatLoss) fullQueue(m *moment) bool {
	return !slices.ContainsFunc(m.drops, func(o dropped) bool {
		return o.exact && (o.Place != model.PlaceSocket || !fold.FullQueue(o.Reason))
	})
}

// judgeAbsent judges a gap in which nothing of the flow was seen on the host.
func (d *heartbeatLoss) judgeAbsent(w *detect.Tick, b *fold.Beat, m *moment) {
	missing := float64(max(m.gap.Missed, 1)) * d.settings.LostShare
	if o := takenBy(w, b, &m.gap); o != nil {
		if o.Socket.PID != b.Socket.PID || m.said { // otherwise its program has them
			m.verdict, m.by = taken, wordsOf(w, o)
		}
		return
	}
	switch {
	case silentSender(w, b, m):
		m.verdict = silent
		return
	case float64(m.exact) >= missing, b.Socket.Protocol == model.ProtocolTCP && m.exact >= fewSegments:
		m.verdict = lostHere
		return
	case m.lost > 0:
		m.verdict = unknown
		return
	case float64(m.exact+m.others) >= missing:
		m.verdict = lostMaybe
		return
	}
	if device := w.DownFor(b.Socket.Key.Netns, m.gap.From, m.gap.To, m.gap.Period); device != nil {
		m.verdict, m.device = linkDown, *device
		return
	}
	if handedOver(w, b, &m.gap) {
		m.verdict = silent
		return
	}
	d.why(w, b, m, m.gap.Delay())
	// A thread of a pool that waits for another one has nothing to do.
	held := m.reason != reader.None && m.reason != reader.Busy && !reader.IsFutex(&m.stay)
	tx := d.txOf(w, b)
	var since model.Time
	quiet := false
	if tx != nil {
		since, quiet = tx.SilentIn(m.gap.From, m.gap.To)
	}
	m.sentOn = tx != nil && !quiet
	switch {
	case quiet && since <= m.gap.From:
		m.verdict = silent // the peer had nothing to answer; of what was not sent, that flow's own finding speaks
	case held && tx != nil && !m.sentOn:
		m.verdict = silent // of what was not sent, that flow's own finding speaks: nothing may have been answered
	case held && d.follows(b, m), d.early(&m.gap) && d.disturbed(w, b, &m.gap):
		m.verdict = silent
	case held:
		m.verdict = unknown
	default:
		m.verdict = absent
		if float64(m.elsewhere) >= missing {
			m.verdict, m.passing = lostMaybe, true
		}
		m.rewritten(float64(m.gap.Missed))
		m.reason, m.stay, m.kept = reader.None, fold.StateTime{}, 0
	}
}

// judgeCaptured judges a gap of a flow that is seen on the wire only: of the program nothing is known.
func (d *heartbeatLoss) judgeCaptured(w *detect.Tick, b *fold.Beat, m *moment) {
	g := &m.gap
	sends := b.Key.Direction == model.DirectionTX
	missing := float64(max(g.Missed, g.PacketsIn(g.Delay()), 1)) * d.settings.LostShare
	switch {
	case capturedAnswer(w, b, g):
		// It had nothing to answer: of the other direction, that flow's own finding speaks.
	case float64(m.exact) >= missing:
		m.verdict = lostHere
	case m.lost > 0:
		m.verdict = unknown
	case sends && (g.Lasts || g.Unlike || m.left || d.early(g)):
		// The program may have nothing to say any more, or mean to say it less often.
	case sends:
		m.verdict = sentLate
	default:
		m.verdict = absent
		_, m.sentOn = capturedBack(w, b, g)
	}
}

// capturedBack returns the flow of the other direction between the same ends, and whether it went on in a gap.
func capturedBack(w *detect.Tick, b *fold.Beat, g *fold.Gap) (back *fold.Beat, on bool) {
	for _, o := range w.SortedBeats() {
		if o.Socket == b.Socket && o.Key.Remote == b.Key.Remote && o.Key.Port == b.Key.Port &&
			o.Key.Direction != b.Key.Direction && o.Usual() > 0 {
			return o, !o.QuietIn(g.From, g.To)
		}
	}
	return nil, false
}

// capturedAnswer says that the other direction fell silent first.
func capturedAnswer(w *detect.Tick, b *fold.Beat, g *fold.Gap) bool {
	back, on := capturedBack(w, b, g)
	if back == nil || on {
		return false
	}
	since, ok := back.SilentIn(g.From, g.To)
	return ok && since <= g.From
}

// fewSegments is how many segments have to be dropped for a TCP flow to be silent: what is lost is sent again later and
// later, and nothing else meanwhile.
const fewSegments = 2

// silentSender says that the sender of a flow is on this host, and has a finding of its own.
func silentSender(w *detect.Tick, b *fold.Beat, m *moment) bool {
	local := senderHere(w, b)
	return local != nil && local.QuietIn(m.gap.From, m.gap.To)
}

// follows says that most of a gap lies within one of the same process that has been told: what a program does not read
// is lost at its full queue, and what it does not answer does not come.
func (d *heartbeatLoss) follows(b *fold.Beat, m *moment) bool {
	return slices.ContainsFunc(d.told, func(t told) bool {
		return t.pid == b.Socket.PID && t.pid > 0 && t.gap != m.gap.ID && t.from <= m.gap.From &&
			t.to >= m.gap.From.Add(m.gap.Length()/2)
	})
}

// judgeBlind judges a gap of a flow of which only the reads are seen.
func (d *heartbeatLoss) judgeBlind(w *detect.Tick, b *fold.Beat, m *moment) {
	g := &m.gap
	d.why(w, b, m, g.Delay())
	switch {
	case g.Waiting > 0, g.Lasts && m.reason != reader.None:
		m.verdict = notRead
	case m.lost > 0 || m.reason != reader.None:
		m.verdict = unknown
	case !g.Lasts && g.Delay() >= 2*g.Period || g.Lasts && m.known && m.sched.In(model.SchedInput).Longest >= g.Delay()/2:
		// Whoever waits for input, or finds no more than one packet, has not left any waiting.
		g.Missed = g.PacketsIn(g.Delay())
		d.judgeAbsent(w, b, m)
	default:
		m.verdict = unknown
	}
}

// judgeSent judges a gap in which the host sent nothing.
func (d *heartbeatLoss) judgeSent(w *detect.Tick, b *fold.Beat, m *moment) {
	g := &m.gap
	pid := b.Socket.PID
	missing := float64(max(g.PacketsIn(g.Delay()), 1)) * d.settings.LostShare
	if g.Main() == fold.StageQdisc && float64(m.exact) < missing {
		m.verdict, m.qdisc = queuedOut, b.LastQdisc()
		return
	}
	if !m.said && slices.ContainsFunc(d.told, func(t told) bool {
		return t.pid == pid && pid > 0 && t.from <= g.To && t.to >= g.From
	}) {
		return // it follows from what was not received
	}
	switch {
	case float64(m.exact) >= missing || g.Resends > 0 && m.exact > 0:
		g.Missed = g.PacketsIn(g.Delay())
		m.verdict = lostHere
		return
	case g.Main() == fold.StageResent:
		m.verdict = resent
		m.unheard = m.explaining(dropsOf(w, b.Socket, model.DirectionRX, w.Since(g.From), nil))
		if receiver := receiverHere(w, b); receiver != nil {
			m.undelivered = m.explaining(dropsOf(w, receiver.Socket, model.DirectionRX, w.Since(g.From), nil))
		}
		return
	}
	if m.shut = b.Socket.ShutIn(g.From, g.To); float64(m.shut) >= d.settings.HeldShare*float64(g.Delay()) {
		m.verdict = windowShut
		return
	}
	d.why(w, b, m, g.Delay())
	weak := m.reason == reader.None || m.reason == reader.Asleep || m.reason == reader.Elsewhere ||
		reader.IsFutex(&m.stay)
	switch {
	case weak && answers(w, b, g):
		// It had nothing to answer: of the flow that was silent before, that flow's own finding speaks.
	case weak && (g.Lasts || g.Unlike || handedOver(w, b, g)):
		// The program may have nothing to say any more: threads that have nothing to do sleep, or wait for others.
	case m.reason == reader.None && (d.disturbed(w, b, g) || d.early(g)):
		// Protocols that form a new membership have a rhythm of their own meanwhile, and a program may choose to wait.
	case m.reason != reader.None:
		m.verdict = sentLate
	case m.lost > 0, m.left, m.paced:
		// The program may mean to say it less often.
	default:
		m.verdict = sentLate
	}
}

// explaining returns packets that the host has dropped where they explain why TCP sent again and again, nil where they
// are too few: each segment that arrives is acknowledged.
func (m *moment) explaining(list []dropped) []dropped {
	var n uint64
	for _, o := range list {
		n += o.count
	}
	if n < max(m.gap.Resends, 1) {
		return nil
	}
	return list
}

// answers says that the host fell silent only after the peer had.
func answers(w *detect.Tick, b *fold.Beat, g *fold.Gap) bool {
	return slices.ContainsFunc(withPeer(w, b), func(o *fold.Beat) bool {
		since, ok := o.SilentIn(g.From, g.To)
		return o.Key.Direction == model.DirectionRX && ok && since <= g.From
	})
}

// handedOver says that the same comes from another peer, or is sent to another one, since before a gap was too long: it
// is the heartbeat of a new leader. The other flow has been as frequent only since.
func handedOver(w *detect.Tick, b *fold.Beat, g *fold.Gap) bool {
	s := b.Socket
	return s.PID > 0 && s.KnownAs != "" && slices.ContainsFunc(w.SortedBeats(), func(o *fold.Beat) bool {
		if o.Socket.PID != s.PID || o.Socket.KnownAs != s.KnownAs || o.Key.Remote == b.Key.Remote {
			return false
		}
		since, period := o.Pace()
		return period > 0 && period <= 2*g.Period && since >= g.From.Add(-2*g.Period) && since <= g.From.Add(w.LateFrom(b))
	})
}

// early says that a gap is too long only because the protocol's timeout is short.
func (d *heartbeatLoss) early(g *fold.Gap) bool {
	return g.Length() < time.Duration(d.settings.LatePeriods)*g.Period
}

// recovery is how long a protocol may take to go on as before after a packet was late.
const recovery = 5 * time.Second

// disturbed says that packets of the other direction, for an early gap of any, were late shortly before.
func (d *heartbeatLoss) disturbed(w *detect.Tick, b *fold.Beat, g *fold.Gap) bool {
	return slices.ContainsFunc(withPeer(w, b), func(o *fold.Beat) bool {
		return (o.Key.Direction != b.Key.Direction || d.early(g)) && o.LateBefore(g.From, recovery)
	})
}

// withPeer returns the flows of a program with the same peer, itself too.
func withPeer(w *detect.Tick, b *fold.Beat) (list []*fold.Beat) {
	for _, o := range w.SortedBeats() {
		if o.Key.Remote == b.Key.Remote && o.Usual() > 0 && o.Socket.PID == b.Socket.PID && b.Socket.PID > 0 {
			list = append(list, o)
		}
	}
	return list
}

// txOf returns the flow that the process of a flow sends to the same peer, nil for none.
func (d *heartbeatLoss) txOf(w *detect.Tick, b *fold.Beat) *fold.Beat {
	for _, o := range w.SortedBeats() {
		if o.Key.Direction == model.DirectionTX && o.Key.Remote == b.Key.Remote && o.Socket.PID == b.Socket.PID &&
			o.Socket.PID > 0 && o.Usual() > 0 {
			return o
		}
	}
	return nil
}

// senderHere returns the flow that sends what a flow receives, where that is followed on this host; nil for none.
func senderHere(w *detect.Tick, b *fold.Beat) *fold.Beat {
	s := b.Socket
	for _, o := range w.SortedBeats() {
		if o.Key.Direction == model.DirectionTX && o.Socket.Protocol == s.Protocol && o.Key.Port == s.Port &&
			(b.Key.Port == 0 || o.Socket.Port == b.Key.Port) &&
			(o.Socket.PID != s.PID || o.Socket.Local == b.Key.Remote && b.Key.Remote != "") && // a group that it is in
			(isAny(s.Local) || o.Key.Remote == s.Local) && (isAny(o.Socket.Local) || b.Key.Remote == "" ||
			o.Socket.Local == b.Key.Remote) {
			return o
		}
	}
	return nil
}

// receiverHere returns the flow that receives what a flow sends, where that is followed on this host; nil for none.
func receiverHere(w *detect.Tick, b *fold.Beat) *fold.Beat {
	for _, o := range w.SortedBeats() {
		if o.Key.Direction == model.DirectionRX && senderHere(w, o) == b {
			return o
		}
	}
	return nil
}

func isAny(address string) bool { return address == "" || address == "0.0.0.0" || address == "::" }

// longStays are the states in which a thread is for long only when something is wrong: their sum counts, as one that is
// throttled or preempted is so again and again.
var longStays = []model.SchedState{
	model.SchedWaiting, model.SchedThrottled, model.SchedDisk, model.SchedMemory,
}

// ranShare is the share of a delay in which a thread that shares its CPU has run, and could have read its socket.
const ranShare = 0.2

// slack is by how much a stay may be longer than the gap that it explains: where it began and ended is not known
// better.
const slack = 20 * time.Millisecond

// why finds what kept the program from reading or sending for most of a delay.
func (d *heartbeatLoss) why(w *detect.Tick, b *fold.Beat, m *moment, delay time.Duration) {
	sends := b.Key.Direction == model.DirectionTX
	if b.Socket.PID <= 0 {
		return
	}
	if sends {
		m.sched, m.known = w.SenderSince(b.Socket, m.gap.From)
	} else {
		m.sched, m.known = w.ReaderSince(b.Socket, m.gap.From)
	}
	enough := func(kept time.Duration) bool { return float64(kept) >= d.settings.HeldShare*float64(delay) }
	s := b.Socket
	var best time.Duration
	for _, stay := range m.sched.States {
		cause, all, ok := reader.HeldBy(stay.State)
		if !ok || !all && !m.known {
			continue
		}
		if stay.State == model.SchedInput && (sends || !reader.IsElsewhere(s.Key.Cookie, s.Protocol, s.Port, &stay) &&
			(m.gap.Main() != fold.StageQueue || stay.Longest > m.gap.Queue+slack || !reader.IsPoll(&stay))) {
			continue
		}
		kept := stay.Longest
		if kept > m.gap.Length()+slack {
			if main := m.gap.Main(); !all || main != fold.StageQueue && main != fold.StageReturn {
				continue // whoever read or sent at its ends was not kept for as long
			}
			kept = m.gap.Length() // the packet before had waited, too
		}
		if slices.Contains(longStays, stay.State) {
			kept = max(kept, min(stay.Total, m.gap.Delay()))
		}
		if enough(kept) && kept > best {
			best = kept
			m.reason, m.stay, m.kept = cause, stay, kept
		}
	}
	if behind, cause, ok := reader.Behind(&m.stay, w.ThreadsSince(b.Socket.PID, m.gap.From)...); ok {
		m.reason, m.stay, m.kept = cause, behind, min(max(behind.Longest, behind.Total), m.kept)
	}
	if m.reason == reader.None && !m.known {
		d.fitting(w, b, m, delay)
	}
	running := m.sched.In(model.SchedRunning)
	usual := fold.Scheduling{}
	if sends {
		usual = w.SenderBefore(b.Socket, m.gap.From)
		if m.reason == reader.Asleep && 2*usual.In(model.SchedSleeping).Total >= usual.Covered && usual.Covered > 0 {
			// It sleeps between its packets as it means to, now for longer.
			m.reason, m.stay, m.kept, m.paced = reader.None, fold.StateTime{}, 0, true
		}
	}
	if m.reason == reader.None && m.known && (sends || m.gap.Main() != fold.StageAbsent) &&
		2*usual.In(model.SchedRunning).Total <= usual.Covered &&
		(enough(running.Longest) && running.Longest <= m.gap.Length()+slack ||
			float64(running.Total) >= d.settings.BusyShare*float64(min(delay, m.sched.Covered))) {
		m.reason, m.stay, m.kept = reader.Busy, running, max(running.Longest, min(running.Total, m.gap.Delay()))
	}
	if m.reason == reader.NoCPU && m.known && !sends && !enough(m.stay.Longest) &&
		float64(running.Total) >= ranShare*float64(delay) {
		m.reason, m.stay, m.kept = reader.Busy, running, min(running.Total, m.gap.Delay()) // it shared the CPU
	}
	switch m.reason {
	case reader.None, reader.NoCPU, reader.Busy: // a thread whose CPU was taken seems to run, or to wait for it
		if stolen := min(mostStolen(w, m.gap.From), m.gap.Delay()); m.gap.Main() != fold.StageAbsent || sends {
			if enough(stolen) {
				m.reason, m.kept = reader.Stolen, stolen
				m.stay = fold.StateTime{Total: stolen, Longest: stolen}
			}
		}
	}
}

// mostStolen is the time that the hypervisor took of the CPU of which it took most, since a time.
func mostStolen(w *detect.Tick, from model.Time) (most time.Duration) {
	for _, c := range w.CPUs {
		var sum time.Duration
		for _, slot := range w.Since(from) {
			sum += c.Seconds[slot].Time.Steal
		}
		most = max(most, sum)
	}
	return most
}

// fits is the share of a delay from which a stay is just as long.
const fits = 0.9

// fitting finds what kept the program where it is not known which of its threads reads or sends: the one state in which
// a thread was just as long as the gap, and that no idle thread is in.
func (d *heartbeatLoss) fitting(w *detect.Tick, b *fold.Beat, m *moment, delay time.Duration) {
	for _, sched := range w.ThreadsSince(b.Socket.PID, m.gap.From) {
		for _, stay := range sched.States {
			cause, all, _ := reader.HeldBy(stay.State)
			switch cause {
			case reader.NoCPU, reader.Disk, reader.Lock, reader.Memory:
			default:
				continue
			}
			if all || reader.IsFutex(&stay) || float64(stay.Longest) < fits*float64(delay) ||
				stay.Longest > m.gap.Length()+slack {
				continue
			}
			if m.reason != reader.None && m.reason != cause {
				m.reason, m.stay, m.kept, m.fits = reader.None, fold.StateTime{}, 0, false
				return // it may be either
			}
			m.reason, m.stay, m.kept, m.fits = cause, stay, stay.Longest, true
			m.sched.Rivals = sched.Rivals
		}
	}
}

// lookAt returns what the CPU did that had the packet of a gap.
func lookAt(w *detect.Tick, g *fold.Gap) (f cpuFacts) {
	c := w.CPUs[g.CPU]
	if c == nil {
		return f
	}
	slots := w.Since(g.To.Add(-g.Stack - g.Queue))
	busy := make(map[string]time.Duration)
	var most, steal, covered time.Duration
	for _, slot := range slots {
		second := &c.Seconds[slot]
		steal += second.Time.Steal
		covered += second.Time.Covered
		for i := range second.Work {
			k := &second.Work[i]
			busy[k.Label()] += k.Busy
			if n := busy[k.Label()]; n > most || n == most && k.Label() < f.top {
				f.top, most = k.Label(), n
			}
			if k.Name == "NET_RX" {
				f.wait = max(f.wait, k.MaxWait)
			}
		}
	}
	f.share = min(fold.Ratio(float64(most), float64(time.Duration(len(slots))*time.Second)), 1)
	f.steal = fold.Ratio(float64(steal), float64(covered))
	f.ksoftirqd = w.KsoftirqdOf(g.CPU)
	return f
}

// drops returns what the host has lost in the given seconds that may have been the flow's; before is what was lost
// earlier in the gap, nil where it is judged for the first time.
func (d *heartbeatLoss) drops(w *detect.Tick, b *fold.Beat, g *fold.Gap, slots []int, before []dropped) []dropped {
	captured := b.Socket.State == model.FlowCaptured
	list := dropsOf(w, b.Socket, b.Key.Direction, slots, func(o *fold.Drop) bool {
		return captured || isQueue(o.Key.Place) || explains(w, o, g, before)
	})
	if !captured {
		list = append(list, dropsElsewhere(w, b, g, slots, before)...)
	}
	return list
}

// dropsElsewhere returns what the host has lost in other network namespaces than a flow's, through which its packets
// may have been on their way, or for another port, to which a rule may have sent them: where nothing was lost just
// before the gap.
func dropsElsewhere(w *detect.Tick, b *fold.Beat, g *fold.Gap, slots []int, before []dropped) (list []dropped) {
	s := b.Socket
	to := s.Port
	if b.Key.Direction == model.DirectionTX {
		to = b.Key.Port
	}
	for _, o := range w.SortedDrops() {
		k := &o.Key
		switch k.Place {
		case model.PlaceFilter, model.PlaceProtocol, model.PlaceQdisc, model.PlaceDevice:
		default:
			continue
		}
		rewritten := k.Reason == noSocket && k.Port != 0 && k.Port != s.Port && k.Protocol == s.Protocol &&
			k.Netns == s.Key.Netns && b.Key.Direction == model.DirectionRX
		if k.Netns == 0 || s.Key.Netns == 0 || k.PID > 0 || otherProtocol(k, s) || !rewritten &&
			(k.Netns == s.Key.Netns || k.Port != 0 && k.Port != to) {
			continue
		}
		if _, match := packetdrop.Lookup(k.Reason, k.Location); isNormal(k) || match == packetdrop.MatchNone ||
			!explains(w, o, g, before) {
			continue
		}
		if n := fold.SumOf(&o.Seconds, slots); n > 0 {
			o := dropped{DropKey: *k, process: o.Process, count: n, elsewhere: true}
			if k.Netns != s.Key.Netns {
				o.namespace = cmp.Or(w.NetnsName(k.Netns), words.Itoa(uint64(k.Netns)))
			}
			list = append(list, o)
		}
	}
	return list
}

// otherProtocol says that the packets of a drop were not of a socket's protocol.
func otherProtocol(k *fold.DropKey, s *fold.Followed) bool {
	return k.Protocol != model.ProtocolUnknown && k.Protocol != s.Protocol
}

// leadSeconds is in how many seconds before a gap nothing may have been lost by what explains it, startSeconds in how
// many from its start on it must have begun.
const (
	leadSeconds  = 3
	startSeconds = 3
)

// explains says that a loss of packets of unknown flows may be why a gap began: a rule or a route that lost packets
// before, while the flow went on, does not lose the flow's, nor does one that begins later. before is what was lost
// earlier in the gap.
func explains(w *detect.Tick, o *fold.Drop, g *fold.Gap, before []dropped) bool {
	if slices.ContainsFunc(before, func(x dropped) bool { return x.DropKey == o.Key }) {
		return true
	}
	since := g.From.Add(-time.Second) // the drops of a second are counted at its end
	latest := g.From.Add(g.Period + startSeconds*time.Second)
	if o.First >= since {
		return o.First <= latest
	}
	lead, start := w.Since(since.Add(-leadSeconds*time.Second)), w.Since(since)
	if len(lead) != len(start)+leadSeconds || fold.SumOf(&o.Seconds, lead[:leadSeconds]) > 0 {
		return false
	}
	if latest < w.Now {
		start = start[:len(start)-len(w.Since(latest))+1]
	}
	return fold.SumOf(&o.Seconds, start) > 0
}

// isQueue says that packets at a place are lost because a queue is full, whosever they are.
func isQueue(p model.Place) bool { return p == model.PlaceRing || p == model.PlaceBacklog }

// dropsOf returns what the host has lost that may have been of a socket, in one direction: of packets of unknown flows
// what explains says, nil nothing.
func dropsOf(w *detect.Tick, s *fold.Followed, direction model.Direction, slots []int,
	explains func(*fold.Drop) bool,
) (list []dropped) {
	for _, o := range w.SortedDrops() {
		k := &o.Key
		if k.Transmit != (direction == model.DirectionTX) {
			continue
		}
		here := k.Netns == 0 || s.Key.Netns == 0 || k.Netns == s.Key.Netns
		exact := k.Port != 0 && k.Port == s.Port && k.Protocol == s.Protocol && here
		queue := isQueue(k.Place)
		if slices.Contains(noLoss, k.Reason) || otherProtocol(k, s) ||
			!exact && (k.Port != 0 || !here && !queue || k.Reason == "SOCKET_FILTER") {
			continue // another socket's filter takes what is copied to that socket
		}
		if !exact && (explains == nil || !explains(o) || isNormal(k)) {
			continue
		}
		if n := fold.SumOf(&o.Seconds, slots); n > 0 {
			list = append(list, dropped{DropKey: *k, process: o.Process, count: n, exact: exact})
		}
	}
	return most(list)
}

// isNormal says that packets are dropped where nothing is wrong.
func isNormal(k *fold.DropKey) bool {
	r, match := packetdrop.Lookup(k.Reason, k.Location)
	return match != packetdrop.MatchNone && r.Cause == packetdrop.CauseNormal
}

// noLoss are reasons for which TCP drops what has come before, or what it must not be sent yet, and what a socket still
// had when it was closed.
var noLoss = []string{
	"QUEUE_PURGE",
	"TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OVERWINDOW", "TCP_ZEROWINDOW", "TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE",
	"TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK", "TCP_OLD_ACK", "TCP_RESET", "TCP_CLOSE",
}

// maxDropped bounds the ways of loss that a gap may be due to.
const maxDropped = 32

// most orders what was lost, and keeps the most of it.
func most(list []dropped) []dropped {
	slices.SortStableFunc(list, func(a, b dropped) int {
		if a.exact != b.exact {
			return map[bool]int{true: -1, false: 1}[a.exact]
		}
		return cmp.Or(cmp.Compare(b.count, a.count), fold.CompareDrops(a.DropKey, b.DropKey))
	})
	return list[:min(len(list), maxDropped)]
}

// addDrops adds what was lost in another second.
func addDrops(list, more []dropped) []dropped {
	list = slices.Clone(list)
	for _, o := range more {
		i := slices.IndexFunc(list, func(x dropped) bool { return x.DropKey == o.DropKey })
		if i < 0 {
			list = append(list, o)
			continue
		}
		list[i].count += o.count
	}
	return most(list)
}
