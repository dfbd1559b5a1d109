package twohosts

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/fold"
	"lostbeat/model"
)

// maxPairs bounds the pairs of recordings that are looked at.
const maxPairs = 4096

// Join judges what the recordings say of followed flows together. It returns their findings about followed flows, in
// order of time: one for each cause where two hosts have seen the flow, and those of single hosts otherwise.
func Join(list []*Recording) []model.Finding {
	nameAll(list)
	var hosts []*between
	for i, a := range list {
		for _, b := range list[i+1:] {
			if a.Boot != "" && a.Boot == b.Boot || len(hosts) >= maxPairs {
				continue // one host's recordings have one clock, and what it sends does not arrive there
			}
			n := &between{a: a, b: b, ab: ways(a, b), ba: ways(b, a)}
			if len(n.ab)+len(n.ba) == 0 {
				continue
			}
			for _, w := range slices.Concat(n.ab, n.ba) {
				w.hosts = n
			}
			hosts = append(hosts, n)
		}
	}
	wires := onWires(list)
	for _, r := range list {
		r.sent, r.received = nil, nil
	}
	var groups []*group
	byRoot := map[root]*group{}
	taken := map[root]bool{}
	for _, r := range list {
		for _, f := range r.Findings {
			j, ok := r.Judged[f.ID]
			if !ok || j.NewPeriod || wires.told[root{Recording: r, id: f.ID}] {
				continue
			}
			for _, one := range single(&j) {
				in := explained(hosts, r, &one)
				if in == nil {
					continue
				}
				in.worst = one.Gap.ID == j.Gap.ID
				k := root{Recording: r, id: f.ID}
				taken[k] = true
				switch {
				case in.sender != nil:
					k = root{Recording: in.from(), id: in.sender.ID}
					taken[k] = true
				case splits(j.Verdict):
					k.place = in.place
				}
				if byRoot[k] == nil {
					byRoot[k] = &group{root: k}
					groups = append(groups, byRoot[k])
				}
				byRoot[k].add(in, f)
			}
		}
	}
	var out []model.Finding
	for _, g := range groups {
		out = append(out, g.finding())
	}
	out = append(out, wires.findings...)
	for _, r := range list {
		for _, f := range r.Findings {
			if k := (root{Recording: r, id: f.ID}); !taken[k] && !wires.told[k] {
				f.Causes = append(slices.Clone(f.Causes), wires.also[k]...)
				out = append(out, f)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b model.Finding) int { return cmp.Compare(a.Start, b.Start) })
	for i := range out {
		out[i] = detect.Typeset(out[i])
	}
	return out
}

// nameAll gives the recordings the names of their hosts, with the file's where two hosts have one name.
func nameAll(list []*Recording) {
	for i, r := range list {
		r.index = i
		r.name = fold.Printable(cmp.Or(r.Host, r.File))
		if r.Host != "" && slices.ContainsFunc(list, func(o *Recording) bool {
			return o != r && o.Host == r.Host && (o.Boot != r.Boot || r.Boot == "")
		}) {
			r.name += " (" + fold.Printable(r.File) + ")"
		}
	}
}

// splits says that the gaps of a finding, which one host cannot tell apart, may have different causes.
func splits(v heartbeatloss.Verdict) bool {
	return v == heartbeatloss.Absent || v == heartbeatloss.LostMaybe || v == heartbeatloss.Unknown
}

// single returns a finding's gaps one by one, where they may have different causes.
func single(j *heartbeatloss.Judged) []heartbeatloss.Judged {
	if !splits(j.Verdict) {
		return []heartbeatloss.Judged{*j}
	}
	var list []heartbeatloss.Judged
	for _, g := range j.Gaps {
		one := *j
		one.Gap = g
		list = append(list, one)
	}
	return list
}

// root is the finding of one host that others follow from; of those that have several causes, one of them.
type root struct {
	*Recording
	id    string
	place place
}

// group is the findings that have one cause.
type group struct {
	root root
	// list has the longest gap of each finding.
	list []*incident
	// found are the findings of the single hosts.
	found []model.Finding
}

func (g *group) add(in *incident, f model.Finding) {
	in.gaps = 1
	for i, o := range g.list {
		if g.found[i].ID == f.ID && o.host() == in.host() {
			if in.gap > o.gap {
				g.list[i], in.gaps = in, o.gaps
				o = in
			}
			o.gaps++
			return
		}
	}
	g.list, g.found = append(g.list, in), append(g.found, f)
}

func (in *incident) from() *Recording { return in.way.from }

// explained returns what the other hosts say of a finding, nil where none has the flow: the one that says most.
func explained(hosts []*between, r *Recording, j *heartbeatloss.Judged) (best *incident) {
	for _, n := range hosts {
		for _, w := range slices.Concat(n.ab, n.ba) {
			var in *incident
			switch {
			case w.to == r && w.rx.key == j.Flow:
				in = w.explain(j)
			case w.from == r && w.tx.key == j.Flow:
				in = w.explainSent(j)
			default:
				continue
			}
			if r.left > 0 || w.from.left+w.to.left > 0 {
				in.no("the recordings have more packets than can be kept")
			}
			if in.place == cannotSay && knownAlone(j.Verdict) {
				continue // what one host is sure of stands
			}
			in.findSender()
			in.clock = in.clocks()
			if best == nil || in.better(best) {
				best = in
			}
		}
	}
	return best
}

// better says that an incident says more than another one of the same finding. Where a program passes on what it
// receives, packets of several hosts look the same, and addresses tell which of them sent it.
func (in *incident) better(o *incident) bool {
	if in.exact() != o.exact() {
		return in.exact()
	}
	if (in.place == cannotSay) != (o.place == cannotSay) {
		return in.place != cannotSay
	}
	return in.pairs > o.pairs
}

// exact says that both ends have the same addresses.
func (w *way) exact() bool {
	return w.tx.local == w.rx.key.Remote && w.rx.local == w.tx.key.Remote
}

// knownAlone says that one host can be sure of a verdict.
func knownAlone(v heartbeatloss.Verdict) bool {
	switch v {
	case heartbeatloss.NotRead, heartbeatloss.Deferred, heartbeatloss.LostHere, heartbeatloss.SentLate,
		heartbeatloss.QueuedOut:
		return true
	}
	return false
}

// clocks compares the receiver's clock with the sender's at the beginning of the gap.
func (in *incident) clocks() clock {
	n, at := in.hosts, in.since
	if at == 0 {
		return clock{}
	}
	if in.way.from == n.a {
		return n.clockAt(at)
	}
	// The moment is of the sender's clock; the comparison wants that of the other host.
	c := n.clockAt(at.Add(in.shift(at)))
	c.ahead = -c.ahead
	switch c.state {
	case atMost:
		c.state = atLeast
	case atLeast:
		c.state = atMost
	}
	return c
}

// shift is what is to be added to a time of the sender's clock to have the receiver's, to the delay of a packet.
func (in *incident) shift(at model.Time) time.Duration {
	i := firstAt(in.tx.packets, at)
	for d := 0; d < 1024; d++ {
		for _, n := range [...]int{i - d, i + d} {
			if n >= 0 && n < len(in.arrived) && in.arrived[n] >= 0 {
				return in.delay(uint32(n), uint32(in.arrived[n]))
			}
		}
	}
	return 0
}

// explainSent says what the receiver has seen of packets that were sent late.
func (w *way) explainSent(j *heartbeatloss.Judged) *incident {
	g := &j.Gap
	in := &incident{way: w, judged: j, bySender: true, place: sentLate, lasts: g.Lasts, notSent: g.Delay(), since: g.From,
		until: g.To}
	if j.Verdict == heartbeatloss.QueuedOut {
		in.place, in.notSent, in.onWay = queuedInSender, g.Absent, g.Qdisc
	}
	if j.Verdict == heartbeatloss.LostHere {
		in.place, in.dropped, in.where = lostInSender, j.Dropped, j.Where
	}
	if w.alike {
		return in
	}
	i := firstAt(w.tx.packets, g.From.Add(1)) - 1
	if i < 0 || i+1 >= len(w.tx.packets) || w.arrived[i] < 0 || w.arrived[i+1] < 0 {
		return in
	}
	in.gap = w.rx.packets[w.arrived[i+1]].at.Sub(w.rx.packets[w.arrived[i]].at)
	return in
}

// findSender looks for the sender's own finding that explains why it did not send.
func (in *incident) findSender() {
	if !in.bySender && (in.place == heldBetween || in.place == slower) {
		in.findQueue()
		return
	}
	if in.bySender || in.place != sentLate && (in.place != lostInSender || in.notSent == 0) {
		return
	}
	a := in.way.from
	for _, f := range a.Findings {
		j, ok := a.Judged[f.ID]
		lost := j.Verdict == heartbeatloss.LostHere && j.Flow == in.tx.key && in.place == lostInSender
		if !ok || j.Verdict != heartbeatloss.SentLate && j.Verdict != heartbeatloss.NotRead && !lost {
			continue
		}
		if j.Flow != in.tx.key && (j.PID <= 0 || j.PID != in.tx.pid) {
			continue
		}
		if !slices.ContainsFunc(append(j.Gaps, j.Gap), func(g fold.Gap) bool {
			both := min(in.until, g.To).Sub(max(in.since, g.From))
			return 2*both >= min(in.notSent, g.Length())
		}) {
			continue
		}
		if in.sender == nil || j.Flow == in.tx.key && j.Verdict != heartbeatloss.NotRead {
			in.sender = &j
		}
	}
}

// findQueue looks for the sender's own finding that packets waited in a queueing discipline of it.
func (in *incident) findQueue() {
	a := in.way.from
	late := in.until.Add(in.onWay) // when it left, by the sender's clock
	for _, f := range a.Findings {
		j, ok := a.Judged[f.ID]
		if !ok || j.Verdict != heartbeatloss.QueuedOut || j.Flow != in.tx.key {
			continue
		}
		if slices.ContainsFunc(append(j.Gaps, j.Gap), func(g fold.Gap) bool {
			both := min(late, g.To).Sub(max(in.since, g.From))
			return 2*g.Qdisc >= in.onWay && 2*both >= min(in.onWay, g.Length())
		}) {
			in.place, in.sender = queuedInSender, &j
			return
		}
	}
}

// flowName names a flow between two hosts.
func (in *incident) flowName() string {
	port := in.rx.port
	if in.rx.key.Port != 0 && in.tx.protocol == model.ProtocolTCP && in.rx.key.Port < port {
		port = in.rx.key.Port // the server's end names a connection
	}
	name := in.rx.protocol.String()
	if port != 0 {
		name = fmt.Sprintf("%s/%d", name, port)
	}
	return name + " from " + in.way.from.name + " to " + in.way.to.name
}
