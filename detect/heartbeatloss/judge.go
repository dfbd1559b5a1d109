package heartbeatloss

import (
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
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
	// linkDown: the device over which the packets come or go went down, or away.
	linkDown
	// queuedOut: the packet waited in the queueing discipline of a device on its way out.
	queuedOut
	// unattended: packets come for the port of a socket that is gone.
	unattended
	// taken: another socket of the port receives its packets.
	taken
	// broken: the connection was reset from its peer, and there is no other.
	broken
	// unanswered: the host drops what its TCP answers, and the peer sends nothing new.
	unanswered
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
	// its is how many of exact are known to be the flow's.
	its uint64
	// wentOn are packets for the flow's port that were dropped before as well, while it went on, notIts those that are
	// known to be of other flows.
	wentOn, notIts []dropped
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
	// device is what went down, over the device that the flow uses, qdisc the queueing discipline in which packets waited.
	device fold.Device
	over   fold.Over
	qdisc  fold.Qdisc
	// other are packets for a port on which nothing listens, as many as are missing; none where the count is 0.
	other dropped
	// peers is of how many peers the socket receives nothing at the same time, allMissing how many packets of all are
	// missing; 0 where that does not matter.
	peers, allMissing uint64
	// answers are packets of the flow's connection that the host did not send, up to a time.
	answers   []dropped
	answersTo model.Time
	// by is the flow that another socket has taken.
	by flowWords
	// paced says that the thread that sends has slept between its packets before as well: it sleeps as it means to.
	paced bool
}

// judge decides where the time of a gap went. What was said of it stays said.
func (d *heartbeatLoss) judge(w *detect.Tick, b *fold.Beat, g *fold.Gap, drops []dropped, said bool) moment {
	m := moment{gap: *g, left: w.Replaced(b), said: said}
	since := g.From.Add(-time.Second)
	m.lost = w.Loss.Since(since) - w.RivalLoss.Since(since)
	for _, o := range drops {
		switch {
		case o.wentOn:
			m.wentOn = append(m.wentOn, o)
			continue
		case o.notIts:
			m.notIts = append(m.notIts, o)
			continue
		case o.its:
			m.its += o.count
		}
		m.drops = append(m.drops, o)
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
	if g.Lasts && g.Main() == fold.StageAbsent && d.isBroken(w, b) {
		return m // judgeBroken speaks of it
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
		if float64(m.its) >= missing {
			return
		}
		if m.peers, m.allMissing = silentPeers(w, b, &m.gap); m.peers > 1 && 4*m.exact < 3*m.allMissing {
			m.verdict = lostMaybe // those of another one
		}
		return
	case d.dropsAnswers(w, b, m):
		m.verdict = unanswered
		return
	case m.lost > 0:
		m.verdict = unknown
		return
	case float64(m.exact+m.others) >= missing:
		m.verdict = lostMaybe
		return
	}
	if m.setDown(w, b) {
		m.verdict = linkDown
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

// silentPeers returns of how many peers the socket of a flow of datagrams receives nothing in a gap, its own included,
// and how many packets of them are missing.
func silentPeers(w *detect.Tick, b *fold.Beat, g *fold.Gap) (peers, missing uint64) {
	s := b.Socket
	if s.Protocol == model.ProtocolTCP {
		return 0, 0 // what TCP sends again is no packet more
	}
	for _, o := range w.SortedBeats() {
		t := o.Socket
		switch {
		case o == b:
			peers, missing = peers+1, missing+g.Missed
		case o.Key.Direction == model.DirectionRX && t.Port == s.Port && t.Protocol == s.Protocol &&
			t.Key.Netns == s.Key.Netns && t.Ended == 0 && o.Usual() > 0 && o.QuietIn(g.From, g.To):
			peers, missing = peers+1, missing+uint64(max(g.Length()-o.Usual(), 0)/o.Usual())
		}
	}
	return peers, missing
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

// dropsAnswers notes what the host has dropped of what it sends over a flow's connection, from the start of a gap on,
// and says whether that is why nothing new comes: a peer that gets no acknowledgement sends the same again. Where
// several peers have the port, it is not known whose answers they were.
func (d *heartbeatLoss) dropsAnswers(w *detect.Tick, b *fold.Beat, m *moment) bool {
	if b.Socket.Protocol != model.ProtocolTCP {
		return false
	}
	if in := d.caseOf(b, m.gap.ID); in != nil && in.Data.latest.verdict == unanswered {
		m.answers, m.answersTo = in.Data.latest.answers, w.Now
		if in.Data.latest.answersTo != w.Now { // the gap's beginning may be older than what is kept
			more, _ := ownDrops(w, b, []int{w.Slot})
			m.answers = addDrops(m.answers, more)
		}
		return true
	}
	first, later := w.Since(m.gap.From), w.Since(m.gap.From.Add(2*time.Second))
	first = slices.DeleteFunc(first, func(slot int) bool { return slices.Contains(later, slot) })
	if _, n := ownDrops(w, b, first); n == 0 {
		return false
	}
	list, n := ownDrops(w, b, w.Since(m.gap.From))
	if n < fewSegments {
		return false
	}
	m.answers, m.answersTo = list, w.Now
	return true
}

// ownDrops returns what the host dropped of what the socket of a flow sent to its peer, and how many packets that were.
// Where several peers have the port, it may not be known whose they were.
func ownDrops(w *detect.Tick, b *fold.Beat, slots []int) (list []dropped, n uint64) {
	shared := sharesPort(w, b)
	list = slices.DeleteFunc(dropsOf(w, b.Socket, inDirection(b, model.DirectionTX), slots, nil), func(o dropped) bool {
		return !o.exact || shared && !o.its
	})
	for _, o := range list {
		n += o.count
	}
	return list, n
}

// sharesPort says that the port of a flow's socket has other connections.
func sharesPort(w *detect.Tick, b *fold.Beat) bool {
	return slices.ContainsFunc(w.SortedBeats(), func(o *fold.Beat) bool {
		return o.Socket.Port == b.Socket.Port && o.Socket.Protocol == b.Socket.Protocol && connection(o) != connection(b)
	})
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
		m.unheard = m.explaining(certain(dropsOf(w, b.Socket, inDirection(b, model.DirectionRX), w.Since(g.From), nil)))
		if receiver := receiverHere(w, b); receiver != nil {
			m.undelivered = m.explaining(certain(dropsOf(w, receiver.Socket, &receiver.Key, w.Since(g.From), nil)))
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
	case weak && handedOver(w, b, g):
		// The program may have nothing to say any more: threads that have nothing to do sleep, or wait for others.
	case weak && m.lost == 0 && m.setDown(w, b):
		m.verdict, m.reason, m.stay, m.kept = linkDown, reader.None, fold.StateTime{}, 0
	case weak && (g.Lasts || g.Unlike):
		// The same.
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

// setDown notes the device that went down as a gap began, and says whether there is one.
func (m *moment) setDown(w *detect.Tick, b *fold.Beat) bool {
	device := w.DownFor(b, m.gap.From, m.gap.To, m.gap.Period)
	if device != nil {
		m.device, m.over = *device, b.Over
	}
	return device != nil
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
