package heartbeatloss

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// flowWords describe a flow as it was while it was late.
type flowWords struct {
	protocol        model.Protocol
	port            uint16
	remotePort      uint16
	pid             int32
	process, remote string
	knownAs         string
	timeout         time.Duration
	direction       model.Direction
	netns           uint32
	// address is the local one of a flow that is seen on the wire only, empty for others.
	address string
}

func wordsOf(w *detect.Tick, b *fold.Beat) flowWords {
	s := b.Socket
	o := flowWords{
		protocol: s.Protocol, port: s.Port, remotePort: b.Key.Port, pid: s.PID, process: s.Process, remote: b.Key.Remote,
		knownAs: s.KnownAs, timeout: s.Timeout, direction: b.Key.Direction, netns: s.Key.Netns,
	}
	if o.process == "" {
		o.process = w.State.ProcessName(s.PID)
	}
	if s.State == model.FlowCaptured {
		o.address = cmp.Or(s.Local, "this host")
	}
	return o
}

// port names the local end.
func (o *flowWords) local() string {
	switch {
	case o.port == 0 && o.protocol == model.ProtocolOther:
		return "VRRP" // no other protocol without ports is followed
	case o.port == 0:
		return o.protocol.String() + " packets"
	}
	return o.protocol.String() + "/" + words.Itoa(o.port)
}

// name names the flow: udp/5405 of corosync[812] (knet from 10.0.0.2). Where the peer's port is the one of the service,
// it is named: tcp/41200 of etcd[812] (to 10.0.0.2:2380).
func (o *flowWords) name() string {
	peer := words.Tense(o.direction == model.DirectionTX, "to ", "from ") + fold.Printable(o.remote)
	if o.port >= model.FirstEphemeral && o.remotePort != 0 && o.remotePort < model.FirstEphemeral {
		peer += ":" + words.Itoa(o.remotePort)
	}
	if o.remote == "" {
		peer = ""
	}
	known := fold.Printable(o.knownAs)
	if o.knownAs == o.process {
		known = ""
	}
	text := strings.TrimSpace(known + " " + peer)
	if text != "" {
		text = " (" + text + ")"
	}
	if o.address != "" {
		return o.local() + " of " + fold.Printable(o.address) + text
	}
	return o.local() + " of " + words.Task(o.process, o.pid) + text
}

// timeoutNames are the names of the timeouts in the protocols' own manuals.
var timeoutNames = map[string]string{
	"corosync":   "token timeout",
	"keepalived": "master down interval",
	"etcd":       "election timeout",
	"zookeeper":  "syncLimit",
	"rabbitmq":   "net_ticktime",
	"consul":     "suspicion timeout",
	"serf":       "suspicion timeout",
	"nomad":      "suspicion timeout",
	"bfd":        "detection time",
	"ceph":       "osd_heartbeat_grace",
	"oracle-css": "misscount",
}

func timeoutName(known string) string { return cmp.Or(timeoutNames[known], "timeout") }

// telling is what the sentences of one finding are made of.
type telling struct {
	*lateFlow
	at moment
	// lasts says that the gap that is described lasts.
	lasts bool
	delay string
	// why is what kept the program, as the title has it; empty where no program is at fault.
	why string
}

func (d *heartbeatLoss) describe(in *detect.Case[lateFlow]) model.Finding {
	data := &in.Data
	g := &data.worst.gap
	t := telling{lateFlow: data, at: data.worst, lasts: data.lasts && data.gap == g.ID && in.Ongoing()}
	// All gaps of a case have one cause; what is known of it is that of the longest.
	t.delay = words.Span(g.Delay())
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind: "socket", CPU: -1, PID: data.who.pid, Process: fold.Printable(data.who.process),
			Protocol: data.who.protocol.String(), Port: data.who.port,
		},
	}
	t.waterfall(&f)
	switch t.at.verdict {
	case notRead:
		t.notRead(&f)
	case sentLate:
		t.sentLate(&f)
	case deferred:
		t.deferred(&f)
	case lostHere, lostMaybe:
		t.lost(&f)
	case absent:
		t.absent(&f)
	case missing:
		t.missing(&f)
	case resent:
		t.resent(&f)
	case windowShut:
		t.windowShut(&f)
	case linkDown:
		t.linkDown(&f)
	case queuedOut:
		t.queuedOut(&f)
	case unattended:
		t.unattended(&f)
	case taken:
		t.taken(&f)
	case broken:
		t.broken(&f)
	case unanswered:
		t.unanswered(&f)
	default:
		t.unknown(&f)
	}
	var beside []string
	if data.gaps > 1 {
		beside = append(beside, "the longest of "+words.Plural(data.gaps, "delay"))
	}
	if share := fold.Ratio(float64(g.Length()), float64(data.who.timeout)); share > 0 {
		beside = append(beside, fmt.Sprintf("%s of the %s", words.Percent(share), timeoutName(data.who.knownAs)))
	}
	if len(beside) > 0 {
		f.Title += " (" + strings.Join(beside, ", ") + ")"
	}
	if data.who.timeout > 0 && g.Length() >= data.who.timeout && f.Severity != model.SeverityInfo {
		f.Severity = model.SeverityCritical
	}
	if data.newPeriod {
		f.Severity = model.SeverityInfo
		f.Causes = append([]string{"The gaps have stayed this long since: the flow has a new period"}, f.Causes...)
	}
	d.note(in, &t)
	if data.slept > 0 {
		f.Severity = model.SeverityInfo
		f.Causes = append([]string{"This host was suspended for " + words.Span(data.slept) + " of that time"}, f.Causes...)
	}
	return f
}

// waterfall is the evidence: how long the gap was, and where the time went.
func (t *telling) waterfall(f *model.Finding) {
	g := &t.at.gap
	add := func(name string, value float64, unit string) {
		f.Evidence = append(f.Evidence, detect.Evidence(name, value, unit))
	}
	reads := "read"
	if t.who.direction == model.DirectionTX {
		reads = "sent"
	}
	add("later than usual", float64(g.Delay()), "ns")
	all := g.Absent + g.Lost + g.Stack + g.Queue + g.Return + g.Missing + g.Resent + g.Qdisc
	for _, s := range []struct {
		name string
		d    time.Duration
		seen bool
	}{
		{words.Tense(reads == "sent", "not sent", "did not arrive"), g.Absent, g.Resent == 0},
		{"waiting for a missing segment", g.Missing, g.Missing > 0},
		{"between first and last transmission", g.Resent, g.Resent > 0},
		{"lost at its socket", g.Lost, g.Vanished > 0},
		{"in softirq, backlog and filters", g.Stack, reads == "read" && t.who.address == ""},
		{"in the queueing discipline", g.Qdisc, g.Qdisc > 0},
		{"in the queue of its socket", g.Queue, reads == "read" && (g.Queue > 0 || t.at.verdict == notRead)},
		{"read, but without a CPU while returning from the read", g.Return, g.Return > 0},
	} {
		if s.seen && !g.Blind && all > 0 {
			add(fmt.Sprintf("%s (%s)", s.name, words.Percent(fold.Ratio(float64(s.d), float64(all)))), float64(s.d), "ns")
		}
	}
	add("usual time between packets", float64(g.Period), "ns")
	if t.who.timeout > 0 {
		add("timeout of the protocol", float64(t.who.timeout), "ns")
		add("share of the timeout without a packet", fold.Ratio(float64(g.Length()), float64(t.who.timeout)),
			"ratio")
	}
	if g.Waiting > 0 {
		add("packets waiting to be read", float64(g.Waiting), "packets")
	}
	if g.Missed > 0 && t.at.verdict != sentLate {
		add("packets that were missing", float64(g.Missed), "packets")
	}
	if g.Backlog > 0 {
		add("packets in the queueing discipline, itself included", float64(g.Backlog), "packets")
	}
	if g.Resends > 0 {
		add("segments retransmitted", float64(g.Resends), "packets")
	}
	if t.at.shut > 0 {
		add("the peer's receive window was closed for", float64(t.at.shut), "ns")
	}
	if g.Delayed > 0 {
		add("of those, arrived together afterwards", float64(g.Delayed), "packets")
	}
	if t.gaps > 1 {
		add("delays for this reason", float64(t.gaps), "delays")
	}
}

// ruledOut says which stages of the way are no rivals, and by what.
func (t *telling) ruledOut(f *model.Finding, stages ...fold.Stage) {
	g := &t.at.gap
	if g.Blind {
		return
	}
	for _, s := range stages {
		switch s {
		case fold.StageAbsent:
			if 4*g.Absent < g.Delay() {
				f.RuledOut = append(f.RuledOut, "the peer or the network: the packet reached this host "+
					words.Tense(g.Absent == 0, "when it was due", words.Span(g.Absent)+" after it was due"))
			}
		case fold.StageStack:
			f.RuledOut = append(f.RuledOut, fmt.Sprintf("deferred work: softirq, backlog and filters had it for %s",
				words.Span(g.Stack)))
		case fold.StageQueue:
			if g.Queue > 0 {
				f.RuledOut = append(f.RuledOut, fmt.Sprintf("the program: it read the packet %s after it was queued",
					words.Span(g.Queue)))
			}
		case fold.StageLost:
			if t.at.exact == 0 && t.at.lost == 0 {
				f.RuledOut = append(f.RuledOut, t.noLoss("for"))
			}
		}
	}
}

// because is the reason in a title, of the reader or the sender.
func (t *telling) because(f *model.Finding, who string) (short string) {
	m := &t.at
	stay := reader.Stay{
		StateTime: m.stay, Cause: m.reason, For: m.kept, Ongoing: t.lasts, PID: t.who.pid,
		Sends: m.verdict == sentLate, Unread: m.gap.Queue, Rivals: m.sched.Rivals,
		Watched: m.sched.Covered, Fits: m.fits,
	}
	if m.reason == reader.None {
		f.Causes = append(f.Causes, t.whyUnknown(who))
		return "the cause in its " + who + " is unknown"
	}
	why, causes, advice := stay.Explain(f)
	f.Causes = append(f.Causes, causes...)
	f.Advice = append(f.Advice, advice)
	f.Evidence = append(f.Evidence, detect.Evidence("longest single stay", float64(m.stay.Longest), "ns"))
	for _, st := range m.sched.States[:min(len(m.sched.States), 4)] {
		if st.State != m.stay.State {
			f.Evidence = append(f.Evidence, detect.Evidence(fmt.Sprintf("its %s was %s, of %s watched", who,
				reader.StateText(st.State), words.Span(m.sched.Covered)), float64(st.Total), "ns"))
		}
	}
	its := "its " + who
	if m.fits {
		its = "a thread of it"
	}
	switch m.reason {
	case reader.NoCPU:
		if len(m.sched.Rivals) > 0 {
			top := m.sched.Rivals[0]
			return fmt.Sprintf("%s %s no CPU behind %s on CPU %d", its, words.Tense(t.lasts, "has", "had"),
				reader.RivalName(top), top.CPU)
		}
	case reader.Throttled, reader.Frozen, reader.Suspended:
		return "the program " + why
	}
	return its + " " + why
}

// whyUnknown says what is not known of a reader or sender, and what was seen of it.
func (t *telling) whyUnknown(who string) string {
	m := &t.at
	switch {
	case m.sched.Threads == 0:
		return "what its " + who + " did was not watched"
	case !m.known:
		return fmt.Sprintf("Of the %s watched, none was seen to be its %s", words.Plural(m.sched.Threads, "thread"), who)
	}
	text := "its " + who + " was not seen to be held up for that long"
	for _, st := range m.sched.States {
		if st.State != model.SchedRunning && st.Longest >= 10*time.Millisecond {
			text += fmt.Sprintf("; it was %s for %s", reader.StateText(st.State), words.Span(st.Longest))
			if st.Detail != "" {
				text += " (" + fold.Printable(st.Detail) + ")"
			}
			break
		}
	}
	return text
}

// notRead is the finding of a packet that waited in the queue of its socket.
func (t *telling) notRead(f *model.Finding) {
	g := &t.at.gap
	waited := g.Queue
	what := "The program did not read: packets waited in the socket's queue for up to " + words.Span(waited)
	if g.Blind {
		what = "The program did not read: " + words.Plural(g.Waiting, "more packet") +
			" waited in the socket's queue when it did"
		if g.Waiting == 0 {
			what = "The program did not read; whether packets are waiting is not visible: the socket belongs to the root " +
				"control group"
		}
	}
	if g.Main() == fold.StageReturn {
		what = "The program could not continue with what it had read: while returning from the read it had no CPU for " +
			words.Span(g.Return)
	}
	f.Causes = append(f.Causes, what)
	because := t.because(f, "reader")
	t.why = because
	f.Title = fmt.Sprintf("%s was read %s late: %s", t.who.name(), t.delay, because)
	switch {
	case t.lasts && g.Behind:
		f.Title = fmt.Sprintf("%s is read %s late: %s", t.who.name(), t.delay, because)
	case g.Lasts && !t.lasts:
		f.Title = fmt.Sprintf("%s was not read for %s, until it exited: %s", t.who.name(), words.Span(g.Length()), because)
	case t.lasts:
		f.Title = fmt.Sprintf("%s has not been read for %s: %s", t.who.name(), words.Span(g.Length()), because)
	}
	t.ruledOut(f, fold.StageAbsent, fold.StageStack)
	if g.Lost == 0 {
		f.RuledOut = append(f.RuledOut, "the buffer size: packets that wait are not lost")
	}
	if t.at.reason == reader.None {
		f.Advice = append(f.Advice, fmt.Sprintf("Find out what the program does in that time "+
			"(/proc/%d/stack, schedstat, cpu.stat of its control group), unless it was stopped on purpose", max(t.who.pid, 0)))
	}
	f.Advice = append(f.Advice, t.timeoutAdvice())
}

func (t *telling) timeoutAdvice() string {
	return "A longer protocol timeout only hides the delay; raise it only if delays this long are expected and should " +
		"not cause a failover"
}

// sentLate is the finding of a host that did not send.
func (t *telling) sentLate(f *model.Finding) {
	g := &t.at.gap
	if t.who.address != "" {
		t.capturedLate(f)
		return
	}
	f.Causes = append(f.Causes, fmt.Sprintf("The host sent late: nothing reached the IP layer "+
		"for %s (normally a packet every %s)", words.Span(g.Length()), words.Span(g.Period)))
	because := t.because(f, "sender")
	t.why = because
	f.Title = fmt.Sprintf("%s was sent %s late: %s", t.who.name(), t.delay, because)
	if g.Lasts {
		f.Title = fmt.Sprintf("%s %s sent for %s: %s", t.who.name(), words.Tense(t.lasts, "has not been", "was not"),
			words.Span(g.Length()), because)
	}
	f.RuledOut = append(f.RuledOut, "the network or the peer: the packets did not leave the program",
		"a queue of this host (qdisc, driver): those come after the IP layer")
	if t.at.reason == reader.None {
		f.Advice = append(f.Advice, "Check what the program logged at that time, unless it sends less often on purpose")
	}
	f.Advice = append(f.Advice, "Tell the owners of the peer that the silence began here, unless packets were also "+
		"lost on the way")
}

// deferred is the finding of a packet that softirqs, the backlog or filters had for long.
func (t *telling) deferred(f *model.Finding) {
	m := &t.at
	g := &m.gap
	add := func(name string, value float64, unit string) {
		f.Evidence = append(f.Evidence, detect.Evidence(name, value, unit))
	}
	f.Subject.CPU = g.CPU
	on := "deferred work"
	if g.CPU >= 0 {
		on += " on CPU " + words.Itoa(g.CPU)
	}
	var detail string
	waiting := m.cpu.ksoftirqd.In(model.SchedWaiting)
	part := t.zoom(f)
	switch {
	case part == inFilters:
		detail = "filters and IP had it"
	case 2*waiting.Longest >= g.Stack && len(m.cpu.ksoftirqd.Rivals) > 0:
		top := m.cpu.ksoftirqd.Rivals[0]
		detail = fmt.Sprintf("ksoftirqd/%d had no CPU behind %s", g.CPU, reader.RivalName(top))
		f.Causes = append(f.Causes, fmt.Sprintf("%s waited for its CPU for %s; %s ran for %s in that time",
			"ksoftirqd/"+words.Itoa(g.CPU), words.Span(waiting.Longest), reader.RivalName(top), words.Span(top.Run)))
		add("longest time ksoftirqd waited for its CPU", float64(waiting.Longest), "ns")
	case 2*m.cpu.wait >= g.Stack:
		detail = "NET_RX waited to run for up to " + words.Span(m.cpu.wait)
		if m.cpu.top != "NET_RX" && m.cpu.share >= busyVector {
			detail += fmt.Sprintf(", and %s had %s of the CPU", fold.Printable(m.cpu.top), words.Percent(m.cpu.share))
		}
		f.Causes = append(f.Causes, detail)
	case m.cpu.share >= busyVector:
		detail = fmt.Sprintf("%s had %s of the CPU", fold.Printable(m.cpu.top), words.Percent(m.cpu.share))
		f.Causes = append(f.Causes, detail)
	case part == inBacklog:
		detail = "it was in the backlog, behind other packets"
		f.Causes = append(f.Causes, "The packet was in the CPU's backlog until NET_RX reached it; NET_RX itself was not "+
			"seen to wait that long")
	default:
		detail = "softirq, backlog or filters, not known which"
		f.Causes = append(f.Causes, "The packet had reached the host, and its socket received it "+words.Span(g.Stack)+
			" later; the CPU was not seen to be busy with deferred work")
	}
	if m.cpu.wait > 0 {
		add("longest wait of NET_RX on that CPU", float64(m.cpu.wait), "ns")
	}
	if m.cpu.top != "" {
		add(fmt.Sprintf("share of that CPU used by %s", fold.Printable(m.cpu.top)), m.cpu.share, "ratio")
	}
	if m.cpu.steal >= 0.05 {
		add("share of that CPU taken by the hypervisor", m.cpu.steal, "ratio")
		f.Causes = append(f.Causes, "The hypervisor took "+words.Percent(m.cpu.steal)+" of the CPU's time (steal)")
	}
	f.Title = fmt.Sprintf("%s reached its socket %s late: it waited for %s (%s)", t.who.name(), words.Span(g.Stack), on,
		detail)
	t.ruledOut(f, fold.StageAbsent, fold.StageQueue, fold.StageLost)
	f.Advice = append(f.Advice,
		"First read the findings about the CPU itself: they name what uses it. Then move that work to other CPUs (RSS, "+
			"RPS, IRQ affinity) or use fewer filter rules",
		t.timeoutAdvice())
}

// Parts of the way before the socket.
const (
	unseen = iota
	inBacklog
	inFilters
)

// zoom says where packets were before their socket, as far as that was looked into, and returns the part in which the
// longest of them was for most of the time.
func (t *telling) zoom(f *model.Finding) (part int) {
	z := &t.zoomed
	if !z.Zoomed {
		return unseen
	}
	which := "of it, until deferred work took the packet up"
	if z.ID != t.at.gap.ID {
		which = "of " + words.Span(z.Stack) + " of another packet, until deferred work took it up"
	}
	f.Evidence = append(f.Evidence, detect.Evidence(which, float64(z.Taken), "ns"),
		detect.Evidence("and then in filters and IP", float64(z.Stack-z.Taken), "ns"))
	if 2*z.Taken >= z.Stack {
		f.RuledOut = append(f.RuledOut, "filters or IP: they had the packet for "+words.Span(z.Stack-z.Taken))
		return inBacklog
	}
	f.Causes = append(f.Causes, fmt.Sprintf("filters (netfilter, bridge) and IP had the packet for %s of %s", words.Span(
		z.Stack-z.Taken), words.Span(z.Stack)))
	f.RuledOut = append(f.RuledOut, "the backlog or a softirq that did not run: deferred work took it up after "+
		words.Span(z.Taken))
	return inFilters
}

// busyVector is the share of a CPU from which a vector is named as what the packet waited for.
const busyVector = 0.3

// unknown is the finding of a gap that cannot be explained.
func (t *telling) unknown(f *model.Finding) {
	m := &t.at
	g := &m.gap
	why := "the stages of the packets were not observed"
	switch {
	case m.lost > 0:
		f.Severity = model.SeverityInfo
		why = words.Plural(m.lost, "event was", "events were") + " lost in that time, possibly its own"
	case m.reason != reader.None:
		why = fmt.Sprintf("The program itself was held up for %s, and the peer may only send replies",
			words.Span(m.kept))
		stay := reader.Stay{
			StateTime: m.stay, Cause: m.reason, For: m.kept, PID: t.who.pid, Ongoing: t.lasts,
			Rivals: m.sched.Rivals, Watched: m.sched.Covered,
		}
		_, causes, _ := stay.Explain(f)
		f.Causes = append(f.Causes, causes...)
	case g.Vanished > 0:
		why = words.Plural(g.Vanished, "packet") + " reached its socket and were not read, and no drop was recorded"
	}
	received := words.Tense(t.lasts, "has received", "received")
	f.Title = fmt.Sprintf("%s %s nothing for %s, cause unknown: %s", t.who.name(), received,
		words.Span(g.Length()), why)
	f.Causes = append(f.Causes, why)
	f.Advice = append(f.Advice, "Check the peer and the other findings of that time, unless the flow was not needed then")
}
