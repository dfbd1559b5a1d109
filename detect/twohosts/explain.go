package twohosts

import (
	"fmt"
	"slices"
	"time"

	"lostbeat/detect/heartbeatloss"
	"lostbeat/fold"
	"lostbeat/model"
)

// place is where the time of a late heartbeat went, as both hosts see it together.
type place int

const (
	// cannotSay: what is needed was not seen.
	cannotSay place = iota
	// sentLate: the sender's program did not send.
	sentLate
	// stopped: it closed the socket, or ended.
	stopped
	// paused: the sender's clock stood still, with all of the host.
	paused
	// lostInSender: the sender's host dropped the packets behind its IP layer; lostInSenderMaybe where whose they were is
	// not known.
	lostInSender
	lostInSenderMaybe
	// lostBetween: they left the sender, and never reached the receiver.
	lostBetween
	// lostInRing: the receiver's ring, or backlog, dropped as many.
	lostInRing
	// lostInReceiver: the receiver's host dropped them.
	lostInReceiver
	// queuedInSender: they waited in a queueing discipline of the sender.
	queuedInSender
	// heldBetween: they were on the way for long; slower where those after them were as well.
	heldBetween
	slower
	// waitedInRing: they waited in the receiver's ring or backlog for NET_RX.
	waitedInRing
	// waited: the receiver's deferred work had them.
	waited
	// readLate: the receiver's program did not read them.
	readLate
)

// Shares and factors of the judgement.
const (
	// longGap is from how many periods on the time between two sent packets is a gap.
	longGap = 1.5
	// main is the share of a delay that decides.
	main = 0.5
	// nearby is how far before and behind a packet without another end the next one is looked for.
	nearby = 8
	// after is how many packets after a delay show whether it lasts, for at least settled.
	after   = 10
	settled = 2 * time.Second
	// slack is by how much times of two clocks may be apart that are said to be the same.
	slack = 200 * time.Millisecond
)

// incident is a finding of one host with what the other host has seen of it.
type incident struct {
	*way
	// judged is the finding, of the host that receives; of the one that sends where bySender.
	judged   *heartbeatloss.Judged
	bySender bool
	place    place
	// why says what is missing where nothing can be said.
	why string
	// gap is the time without an arrival at the receiver, lasts that it had no end.
	gap   time.Duration
	lasts bool
	// notSent, onWay and lostFor are what of it went to the sender, to the way of the packet that ended it, and to packets
	// that were lost.
	notSent, onWay, lostFor time.Duration
	// lost is how many packets never arrived, again how many of them were sent once more, sent how many were sent.
	lost, again, sentMeanwhile int
	// where is where the sender dropped packets, dropped how many.
	where   string
	dropped uint64
	// wait is how long the receiver's NET_RX waited, where that is why.
	wait netWait
	// since and until are the time of the gap by the sender's clock.
	since, until model.Time
	// sender is the sender's own finding that explains it, nil for none.
	sender *heartbeatloss.Judged
	// clock compares the receiver's clock with the sender's.
	clock clock
	// worst says that it is the longest gap of its finding, gaps how many of them went the same way.
	worst bool
	gaps  int
}

// explain finds where the time of a finding of the receiver went.
func (w *way) explain(j *heartbeatloss.Judged) *incident {
	in := &incident{way: w, judged: j, gap: j.Gap.Length(), lasts: j.Gap.Lasts}
	in.decide()
	return in
}

// no says that nothing can be said, and why.
func (in *incident) no(why string) { in.place, in.why = cannotSay, why }

func (in *incident) decide() {
	w, j := in.way, in.judged
	a, b := w.from.name, w.to.name
	if w.alike {
		in.no("the packets of the flow cannot be told apart (no sequence number, no IPv4 identification, same payload)")
		return
	}
	rx0 := w.firstRX(j.Gap.From.Add(time.Millisecond)) - 1
	for n := 0; rx0 >= 0 && w.sent[rx0] < 0 && n < nearby; n++ {
		rx0--
	}
	if rx0 < 0 || w.sent[rx0] < 0 {
		in.no("the packet before it is not in the recording of " + a)
		return
	}
	tx0 := int(w.sent[rx0])
	in.since = w.tx.packets[tx0].at
	switch j.Verdict {
	case heartbeatloss.NotRead, heartbeatloss.Deferred:
		in.place = map[bool]place{true: readLate, false: waited}[j.Verdict == heartbeatloss.NotRead]
		in.until = in.since.Add(in.gap)
		in.measureWay(rx0 + 1)
		return
	case heartbeatloss.LostHere:
		if j.Gap.Lost > 0 && j.Gap.Main() == fold.StageLost { // they had reached the socket
			in.until = in.since.Add(in.gap)
			in.place, in.where, in.dropped = lostInReceiver, j.Where, j.Dropped
			return
		}
	}
	rx1 := rx0 + 1
	for n := 0; rx1 < len(w.rx.packets) && w.sent[rx1] < 0 && n < nearby; n++ {
		rx1++
	}
	switch {
	case rx1 < len(w.rx.packets) && w.sent[rx1] < 0:
		in.no("the packet behind it is not in the recording of " + a)
	case rx1 < len(w.rx.packets):
		tx1 := int(w.sent[rx1])
		if tx1 <= tx0 {
			in.no("packets overtook one another")
			return
		}
		in.gap = w.rx.packets[rx1].at.Sub(w.rx.packets[rx0].at)
		in.until = w.tx.packets[tx1].at
		in.measureWay(rx1)
		in.weigh(tx0, tx1, rx0, rx1)
	default:
		in.lasts = true
		in.gap = max(j.Gap.To, w.to.End).Sub(w.rx.packets[rx0].at)
		in.until = min(in.since.Add(in.gap), w.from.End)
		if in.until.Sub(in.since) < in.gap/2 {
			in.no("the recording of " + a + " ends before it")
			return
		}
		tx1 := firstAt(w.tx.packets, in.until.Add(-in.judged.Gap.Period/2)) // what was just sent may be on its way
		in.weigh(tx0, max(tx1, tx0+1), rx0, rx1)
	}
	if in.place == lostBetween {
		in.whichHost(j, b)
	}
	for _, r := range []*Recording{w.to, w.from} {
		if probe := r.blindTo(); in.place == lostBetween && probe != "" {
			in.no(fmt.Sprintf("%s sent %d packets that never arrived, but what %s drops was not recorded (probe %s)", a, in.lost,
				r.name, probe))
		}
	}
}

// measureWay measures how much longer than others a packet was on the way.
func (in *incident) measureWay(rx int) {
	w := in.way
	if rx >= len(w.rx.packets) || w.sent[rx] < 0 {
		return
	}
	at := w.rx.packets[rx].at
	if least, ok := w.least(at.Add(-around), min(at, in.judged.Gap.From.Add(1))); ok {
		in.onWay = max(in.onWay, w.delay(uint32(w.sent[rx]), uint32(rx))-least)
	}
}

// weigh takes a gap between two arrivals apart: what was not sent meanwhile, what was lost, and how long the packet
// that ended it was on the way. tx1 and rx1 may be behind the last packet.
func (in *incident) weigh(tx0, tx1, rx0, rx1 int) {
	w := in.way
	period := in.judged.Gap.Period
	prev := in.since
	for i := tx0 + 1; i <= tx1; i++ {
		at := in.until
		if i < len(w.tx.packets) && w.tx.packets[i].at < at {
			at = w.tx.packets[i].at
		}
		if gap := at.Sub(prev); float64(gap) > longGap*float64(period) {
			in.notSent += gap - period
		}
		if prev = at; i >= tx1 || i >= len(w.tx.packets) {
			break
		}
		in.sentMeanwhile++
		switch {
		case w.arrived[i] == ambiguous:
			in.no("packets of the flow look alike")
			return
		case w.arrived[i] >= 0: // another one overtook it
			in.measureWay(int(w.arrived[i]))
		case w.arrived[i] == notSeen && !w.covered(i, rx0, rx1):
			in.lost++
			if w.sentAgain(i) {
				in.again++
			}
		}
	}
	if in.lost > 0 {
		in.lostFor = max(in.gap-period-in.notSent-in.onWay, 0)
	}
	all := float64(in.notSent + in.onWay + in.lostFor)
	rx1 = min(rx1, len(w.rx.packets)-1)
	toEnd := w.rx.packets[rx1].at
	if in.lasts {
		toEnd = w.to.End
	}
	unseen := w.to.lossIn(w.rx.packets[rx0].at, toEnd)
	switch {
	case all == 0:
		in.no("the packets were sent, and arrived, as usual")
	case float64(in.notSent) >= main*all && w.from.lossIn(in.since, in.until):
		in.no("events were lost in the recording of " + w.from.name + " in that time")
	case float64(in.notSent) >= main*all:
		in.place = sentLate
		missing := max(in.judged.Gap.PacketsIn(in.notSent), 1)
		if exact, _, where := w.from.dropped(w.tx, in.since, in.until.Add(time.Second)); 2*exact >= missing {
			in.place, in.dropped, in.where = lostInSender, exact, where // in front of the end of its IP layer
			break
		}
		if w.tx.ended > 0 && w.tx.ended <= in.until.Add(slack) && in.lasts {
			in.place = stopped
		}
	case unseen:
		in.no("events were lost in the recording of " + w.to.name + " in that time")
	case float64(in.onWay) >= main*all:
		in.place = in.heldOrShifted(rx1)
	case in.lost > 0 && float64(in.lostFor) >= main*all:
		in.place = lostBetween
	default:
		in.no("part of it was not sent, part was lost, and part was on the way for long")
	}
}

// covered reports whether a segment arrived as a part of one that was put together on the way.
func (w *way) covered(tx, rx0, rx1 int) bool {
	if w.tx.protocol != model.ProtocolTCP {
		return false
	}
	end := uint32(w.tx.packets[tx].mark >> 32)
	for i := max(rx0-nearby, 0); i <= min(rx1+nearby, len(w.rx.packets)-1); i++ {
		p := &w.rx.packets[i]
		last := uint32(p.mark >> 32)
		if int32(last-end) >= 0 && int32(end-(last-p.size)) > 0 && p.at > w.rx.packets[rx0].at {
			return w.sent[i] < 0 || p.size > w.tx.packets[w.sent[i]].size
		}
	}
	return false
}

// sentAgain reports whether a lost segment was sent once more.
func (w *way) sentAgain(tx int) bool {
	if w.tx.protocol != model.ProtocolTCP {
		return false
	}
	end := uint32(w.tx.packets[tx].mark >> 32)
	return slices.ContainsFunc(w.tx.packets[tx+1:min(tx+64, len(w.tx.packets))], func(p packet) bool {
		last := uint32(p.mark >> 32)
		return int32(last-end) >= 0 && int32(end-(last-p.size)) > 0
	})
}

// heldOrShifted tells a packet that was held up on the way from a way, or a clock, that has changed for good: those
// after it are late by as much.
func (in *incident) heldOrShifted(rx1 int) place {
	w := in.way
	end := w.rx.packets[rx1].at
	var n int
	var least time.Duration
	last := end
	for i := rx1; i < len(w.rx.packets) && w.rx.packets[i].at <= end.Add(around); i++ {
		if tx := w.sent[i]; tx >= 0 {
			if d := w.delay(uint32(tx), uint32(i)); n == 0 || d < least {
				least = d
			}
			last = w.rx.packets[i].at
			n++
		}
	}
	before, ok := w.least(end.Add(-around), end.Add(-1))
	if !ok {
		in.why = "the usual travel time of packets is unknown"
		return cannotSay
	}
	if least-before < in.onWay/2 {
		if wait := w.to.waitedIn(in.judged.Gap.From, end.Add(time.Second)); 2*wait.wait >= in.onWay {
			in.wait = wait
			return waitedInRing
		}
		return heldBetween
	}
	if n < after || last.Sub(end) < settled {
		in.why = "the recordings end before it is known whether the packets after it were as late"
		return cannotSay
	}
	// Where the sender's clock stood still, what it receives seems to be faster by as much.
	moment := in.until
	known := false
	for _, o := range w.back() {
		b, ok1 := o.least(in.since.Add(-around), in.since)
		a, ok2 := o.least(moment.Add(in.judged.Gap.Period), moment.Add(around))
		if ok1 && ok2 {
			known = true
			if b-a > in.onWay/2 {
				return paused
			}
		}
	}
	if !known {
		in.why = "every packet after it is equally late: the path has become slower, or the clock of " + w.from.name +
			" stopped; no packet of the other direction shows which"
		return cannotSay
	}
	return slower
}

// whichHost tells packets that were lost between the hosts from those that one of them dropped.
func (in *incident) whichHost(j *heartbeatloss.Judged, receiver string) {
	w := in.way
	exact, others, where := w.from.dropped(w.tx, in.since, in.until.Add(time.Second))
	in.where = where
	switch {
	case 2*exact >= uint64(in.lost):
		in.place, in.dropped = lostInSender, exact
	case j.Verdict == heartbeatloss.LostHere:
		in.place, in.where, in.dropped = lostInReceiver, j.Where, j.Dropped
	case j.Verdict == heartbeatloss.LostMaybe && 2*others >= uint64(in.lost):
		in.no(fmt.Sprintf("both %s (%s) and %s (%s) dropped packets in that time; which flow they belonged to is unknown",
			w.from.name, where, receiver, j.Where))
	case j.Verdict == heartbeatloss.LostMaybe && j.Dropped >= uint64(in.lost):
		in.place, in.where, in.dropped = lostInRing, j.Where, j.Dropped
	case j.Verdict == heartbeatloss.LostMaybe:
		in.no(fmt.Sprintf("%s dropped packets in that time (%s), fewer than are missing; which flow they belonged to is "+
			"unknown", receiver, j.Where))
	case 2*others >= uint64(in.lost):
		in.place, in.dropped = lostInSenderMaybe, others
	}
}
