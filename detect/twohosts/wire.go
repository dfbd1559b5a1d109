package twohosts

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// leastInside is how many packets have to be missing for a finding: one may be on its way when a recording begins.
const leastInside = 2

// margin is how much of the beginning and the end that two recordings have in common is not compared.
const margin = time.Second

// oneClock is by how much the times of a capture and of a recording are apart at most that were taken from one clock.
const oneClock = 20 * time.Millisecond

// wires is what captures of packets say of the flows of recordings.
type wires struct {
	findings []model.Finding
	// told are findings of single hosts that these say better, also what they add to others.
	told map[root]bool
	also map[root][]string
}

// onWires compares what recordings have of flows with what was captured on the wire: what a host received there and
// did not get, what it sent and never put there.
func onWires(list []*Recording) wires {
	w := wires{told: map[root]bool{}, also: map[root][]string{}}
	pairs := 0
	for _, c := range list {
		for _, r := range list {
			if !c.captured || c == r || pairs >= maxPairs {
				continue
			}
			pairs++
			if r.captured {
				if c.index < r.index {
					w.captures(c, r)
				}
				continue
			}
			for _, d := range [...]model.Direction{model.DirectionRX, model.DirectionTX} {
				w.compare(c, r, d)
			}
		}
	}
	slices.SortStableFunc(w.findings, func(a, b model.Finding) int { return cmp.Compare(a.Start, b.Start) })
	return w
}

// compare takes the flows of one direction that a capture and a recording both have.
func (w *wires) compare(c, r *Recording, d model.Direction) {
	from, to := c, r
	if d == model.DirectionTX {
		from, to = r, c
	}
	for _, way := range match(from, to, from.entries(d, false), to.entries(d, false)) {
		if way.tx.protocol != way.rx.protocol || way.tx.port != way.rx.port {
			continue
		}
		way.hosts = &between{a: from, b: to}
		w.take(&wired{way: way, capture: c, host: r, sends: d == model.DirectionTX})
	}
}

// captures takes the flows that two captures have, both of them as received: neither says that it was made on the
// sender. The one that has packets which the other has not is nearer to the sender.
func (w *wires) captures(a, b *Recording) {
	for _, way := range match(a, b, a.entries(model.DirectionRX, false), b.entries(model.DirectionRX, false)) {
		if way.alike || way.tx.port != way.rx.port || way.tx.protocol != way.rx.protocol || a.left+b.left > 0 {
			continue
		}
		way.hosts = &between{a: a, b: b}
		x := &wired{way: way, capture: a, host: b}
		x.take()
		back := x.reversed()
		back.take()
		switch n, m := len(x.missing), len(back.missing); {
		case n >= leastInside && m < leastInside:
			w.between(x)
		case m >= leastInside && n < leastInside:
			w.between(back)
		case n < leastInside:
			w.neither(x)
		}
	}
}

// reversed looks at the same packets from the other capture.
func (x *wired) reversed() *wired {
	back := &way{from: x.to, to: x.from, hosts: x.hosts, tx: x.rx, rx: x.tx, arrived: x.sent, sent: x.arrived,
		pairs: x.pairs}
	return &wired{way: back, capture: x.host, host: x.capture}
}

// between says that packets were lost between two captures.
func (w *wires) between(x *wired) {
	for _, f := range x.host.Findings {
		if j, ok := x.host.Judged[f.ID]; ok && j.Flow == x.rx.key && x.inside(j.Gap.From, j.Gap.To) > 0 {
			w.told[root{Recording: x.host, id: f.ID}] = true
		}
	}
	w.neither(x)
	f, peer, flow := x.begin()
	n := len(x.missing)
	f.Title = fmt.Sprintf("%s from %s for %s of %s %s lost between the captures %s and %s", words.Plural(n, "packet"),
		peer, flow, fold.Printable(x.tx.local), words.Tense(n == 1, "was", "were"), x.capture.name, x.host.name)
	f.Causes = append(f.Causes, fmt.Sprintf("lost on the way: %s has them and %s does not, which has %d others of the "+
		"flow", x.capture.name, x.host.name, x.of-n), x.clockText())
	f.RuledOut = append(f.RuledOut, "the sender: the packets passed the point of the first capture",
		"the receiving program: they did not come as far")
	f.Advice = append(f.Advice, "Look at what is between the two points: links, switches, a host that was captured on "+
		"its way out, unless one capture dropped packets itself")
	w.findings = append(w.findings, f)
}

// neither says of the gaps that both captures have that the sender, or what is before both, is at fault.
func (w *wires) neither(x *wired) {
	for _, f := range x.host.Findings {
		j, ok := x.host.Judged[f.ID]
		k := root{Recording: x.host, id: f.ID}
		if !ok || j.Flow != x.rx.key || w.told[k] || x.inside(j.Gap.From, j.Gap.To) > 0 || !x.covers(&j.Gap) ||
			j.Verdict != heartbeatloss.Absent {
			continue
		}
		w.dropCapture(x, &j)
		w.told[k] = true
		if len(f.Causes) > 0 && strings.Contains(f.Causes[0], heartbeatloss.UntilSecond) {
			f.Title, f.Causes = f.Causes[0], f.Causes[1:] // the whole sentence of a title that is longer than a line
		}
		f.Title = strings.Replace(f.Title, heartbeatloss.UntilSecond, fmt.Sprintf("neither %s nor %s has any, so that it "+
			"was not sent, or lost before both", x.capture.name, x.host.name), 1)
		f.Causes = append(slices.Clone(f.Causes), x.clockText())
		f.Advice = []string{"Look at the sender, " + fold.Printable(x.rx.key.Remote) + ", and at what is between it and " +
			"the nearer capture, unless that host was down"}
		w.findings = append(w.findings, f)
	}
}

// inside is how many of the missing packets are of a time of the host's clock.
func (x *wired) inside(from, to model.Time) (n int) {
	for _, i := range x.missing {
		at := x.tx.packets[i].at
		if !x.sends {
			at = at.Add(x.median)
		}
		if at >= from && at <= to {
			n++
		}
	}
	return n
}

// wired is a flow that a capture and a recording have.
type wired struct {
	*way
	capture, host *Recording
	// sends says that the host sends it.
	sends bool
	// missing are the packets that the one has and the other not, in all that both have of the time.
	missing []int
	of      int
	// median is how much later the second one has the packets that both have.
	median time.Duration
}

func (x *wired) take() {
	x.clocks()
	own := x.rx.packets
	if len(own) == 0 {
		return
	}
	// What there was before the socket was followed, or after, is not known.
	first := max(x.from.Start, x.to.Start.Add(-x.median), own[0].at.Add(-x.median)).Add(margin)
	last := min(x.from.End, x.to.End.Add(-x.median)).Add(-margin)
	if x.rx.ended != 0 {
		last = min(last, x.rx.ended.Add(-x.median).Add(-margin))
	}
	if x.alike {
		return
	}
	for i := firstAt(x.tx.packets, first); i < len(x.tx.packets) && x.tx.packets[i].at <= last; i++ {
		x.of++
		at := x.tx.packets[i].at.Add(x.median)
		if x.arrived[i] == notSeen && !x.to.lossIn(at.Add(-margin), at.Add(margin)) {
			x.missing = append(x.missing, i)
		}
	}
}

// clocks compares the times of packets that both have.
func (x *wired) clocks() {
	var delays []time.Duration
	for i, rx := range x.arrived {
		if rx >= 0 {
			delays = append(delays, x.delay(uint32(i), uint32(rx)))
		}
	}
	if len(delays) == 0 {
		return
	}
	slices.Sort(delays)
	x.median = delays[len(delays)/2]
}

// take says what is known of a flow.
func (w *wires) take(x *wired) {
	x.take()
	if x.alike || x.capture.left+x.host.left > 0 {
		return
	}
	key := x.own().key
	said := len(x.missing) >= leastInside
	for _, f := range x.host.Findings {
		j, ok := x.host.Judged[f.ID]
		if !ok || j.Flow != key {
			continue
		}
		k := root{Recording: x.host, id: f.ID}
		n := x.inside(j.Gap.From, j.Gap.To)
		w.dropCapture(x, &j)
		switch {
		case knownAlone(j.Verdict) && j.Verdict != heartbeatloss.LostHere:
		case said && n > 0:
			w.told[k] = true
		case !x.sends && n == 0 && x.covers(&j.Gap):
			w.also[k] = append(w.also[k], fmt.Sprintf("the capture %s has none of the flow in that time either: it was not "+
				"sent, or lost before the point of capture", x.capture.name))
		}
	}
	if !said {
		return
	}
	w.findings = append(w.findings, x.finding())
	for _, f := range x.capture.Findings { // the same, as the capture alone saw it
		if j, ok := x.capture.Judged[f.ID]; ok && x.sends && j.Flow == x.rx.key && x.inside(j.Gap.From.Add(-x.median),
			j.Gap.To.Add(-x.median)) > 0 {
			w.told[root{Recording: x.capture, id: f.ID}] = true
		}
	}
}

// covers says that a capture has the time of a gap.
func (x *wired) covers(g *fold.Gap) bool {
	return x.capture.Start.Add(x.median) <= g.From && x.capture.End.Add(x.median) >= g.To.Add(-margin)
}

// dropCapture leaves out what the capture alone says of a gap of which the host has a finding.
func (w *wires) dropCapture(x *wired, j *heartbeatloss.Judged) {
	key := x.tx.key
	if x.sends {
		key = x.rx.key
	}
	for _, f := range x.capture.Findings {
		o, ok := x.capture.Judged[f.ID]
		if ok && o.Flow == key && o.Gap.From.Sub(j.Gap.From.Add(-x.median)).Abs() < margin {
			w.told[root{Recording: x.capture, id: f.ID}] = true
		}
	}
}

// own is the flow as the host has it.
func (x *wired) own() *flow {
	if x.sends {
		return x.tx
	}
	return x.rx
}

// span is when packets are missing.
func (x *wired) span() (first, last model.Time) {
	return x.tx.packets[x.missing[0]].at, x.tx.packets[x.missing[len(x.missing)-1]].at
}

// begin begins a finding: its peer, and the name of the flow.
func (x *wired) begin() (f model.Finding, peer, flow string) {
	first, last := x.span()
	host, capture, own := x.host.name, x.capture.name, x.own()
	flow = own.protocol.String()
	if own.port != 0 {
		flow += "/" + words.Itoa(own.port)
	}
	f = model.Finding{
		Detector: heartbeatloss.Name, Severity: model.SeverityWarning,
		ID: fmt.Sprintf("%s/wire/%s/%s/%s/%t/%d", heartbeatloss.Name, host, capture, flow, x.sends,
			int64(first)/int64(time.Second)),
		Start: first, End: last.Add(1),
		Subject: model.Subject{
			Kind: "socket", CPU: -1, PID: own.pid, Process: fold.Printable(own.process), Protocol: own.protocol.String(),
			Port: own.port,
		},
	}
	f.Evidence = append(f.Evidence,
		detect.Evidence("packets that are missing", float64(len(x.missing)), "packets"),
		detect.Evidence("of the flow, in the time that both have", float64(x.of), "packets"),
	)
	if run, length := x.longest(); run > 1 {
		f.Evidence = append(f.Evidence, detect.Evidence("missing one after the other", float64(run), "packets"),
			detect.Evidence("for", float64(length), "ns"))
	}
	return f, fold.Printable(own.key.Remote), flow
}

// finding says what one has and the other not.
func (x *wired) finding() model.Finding {
	f, peer, flow := x.begin()
	first, last := x.span()
	host, capture, own := x.host.name, x.capture.name, x.own()
	n := len(x.missing)
	packets := words.Plural(n, "packet")
	were := words.Tense(n == 1, "was", "were")
	whose := words.Task(own.process, own.pid)
	within := x.host.lostIn
	if x.sends {
		f.Title = fmt.Sprintf("%s for %s (%s of %s) %s sent by %s and never seen on the wire: lost inside the host", packets,
			peer, flow, whose, were, host)
		f.Causes = append(f.Causes, fmt.Sprintf("lost on the way out: the IP layer of %s had them, and the capture %s, "+
			"which has %d others of the flow, does not", host, capture, x.of-n))
		within = x.host.drops
	} else {
		f.Title = fmt.Sprintf("%s from %s for %s of %s arrived on the wire and %s lost inside %s: the socket did not get "+
			"them", packets, peer, flow, whose, were, host)
		f.Causes = append(f.Causes, fmt.Sprintf("lost inside the host: the capture %s has them, and they did not reach the "+
			"socket, which got %d others of the flow", capture, x.of-n))
		f.RuledOut = append(f.RuledOut, "the sender or the network before the point of capture: the packets were there")
	}
	where := map[string]uint64{}
	var dropped uint64
	for i := range within {
		d := &within[i]
		if d.port == own.port && d.protocol == own.protocol && d.to >= first.Add(-margin) && d.from <= last.Add(margin) {
			if n := d.of(&own.key); n > 0 {
				where[d.where] += n
				dropped += n
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(where), func(a, b string) int {
		return cmp.Or(cmp.Compare(where[b], where[a]), cmp.Compare(a, b))
	})
	for _, name := range names[:min(len(names), 4)] {
		f.Evidence = append(f.Evidence, detect.Evidence("dropped by "+host+" meanwhile at "+name, float64(where[name]),
			"packets"))
	}
	switch {
	case dropped > 0:
		f.Title += fmt.Sprintf(" (%s)", names[0])
	case x.host.blindTo() != "":
		f.Causes = append(f.Causes, "what "+host+" drops was not recorded (probe "+x.host.blindTo()+")")
	default:
		f.Causes = append(f.Causes, host+" reported no drop for the port meanwhile: where in it they were lost is not known")
	}
	f.Causes = append(f.Causes, x.clockText())
	if x.capture.on == "" {
		f.Causes = append(f.Causes, fmt.Sprintf("on which host %s was made cannot be told from it: this holds if it was "+
			"made on an interface of %s, and otherwise they may have been lost in between", capture, host))
	}
	f.Advice = append(f.Advice, "See the other findings of "+host+" for that time: they say what dropped packets and "+
		"why, unless a filter is meant to drop them")
	return f
}

// longest returns the most packets that are missing one after the other, and for how long.
func (x *wired) longest() (most int, length time.Duration) {
	for i := 0; i < len(x.missing); {
		j := i + 1
		for j < len(x.missing) && x.missing[j] == x.missing[j-1]+1 {
			j++
		}
		if j-i > most {
			most = j - i
			length = x.tx.packets[x.missing[j-1]].at.Sub(x.tx.packets[x.missing[i]].at)
		}
		i = j
	}
	return most, length
}

// clockText says how the clocks of the two compare.
func (x *wired) clockText() string {
	if x.median.Abs() <= oneClock {
		same := "one clock"
		if x.host.captured {
			same = "the clocks agree"
		}
		return fmt.Sprintf("%s: the %s that both have are %s apart in %s and %s (median)", same,
			words.Plural(x.pairs, "packet"), words.Span(x.median.Abs()), x.capture.name, x.host.name)
	}
	return fmt.Sprintf("the clocks of %s and %s differ by %s, by the %s that both have; times are those of %s",
		x.capture.name, x.host.name, words.Span(x.median.Abs()), words.Plural(x.pairs, "packet"), x.from.name)
}
