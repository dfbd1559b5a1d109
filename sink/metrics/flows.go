package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// flowKey are the labels of a followed flow.
type flowKey [5]string

// flow is what the flows of the same labels have in common.
type flow struct {
	packets, late, missing uint64
	// Those that are followed now: the longest gap, how late a packet is, the shortest period and timeout; present says
	// that there are any.
	present                           bool
	longest, overdue, period, timeout time.Duration
}

// flows are the followed flows by their labels.
type flows struct {
	at    model.Time
	flows map[flowKey]*flow
	// before are the counters of each flow as they were last, by its name.
	before map[string]fold.BeatTotal
	// others are the counters of flows without a series; out are their labels.
	others flow
	out    map[flowKey]bool
}

func newFlows() flows {
	return flows{flows: map[flowKey]*flow{}, before: map[string]fold.BeatTotal{}, out: map[flowKey]bool{}}
}

func keyOf(b *fold.BeatTotal) flowKey {
	s := &b.Series
	named := model.Flow{Protocol: s.Protocol, LocalPort: s.LPort, RemotePort: s.Port}
	return flowKey{
		b.KnownAs, s.Protocol.String(), strconv.Itoa(int(named.ServicePort())), endpoint(s.Peer, s.Port),
		s.Direction.String(),
	}
}

// update takes up the levels of a second, once.
func (s *flows) update(l *fold.Levels) {
	if l == nil || l.At == s.at {
		return
	}
	s.at = l.At
	for _, f := range s.flows {
		f.present, f.longest, f.overdue, f.period, f.timeout = false, 0, 0, 0, 0
	}
	clear(s.out)
	now := make(map[string]fold.BeatTotal, len(l.Beats))
	for i := range l.Beats {
		b := &l.Beats[i]
		was := s.before[b.Name]
		now[b.Name] = *b
		f := s.of(keyOf(b))
		f.packets += since(b.Packets, was.Packets)
		f.late += since(b.Late, was.Late)
		f.missing += since(b.Lost, was.Lost)
		if b.Ended != 0 {
			continue
		}
		f.present = true
		f.longest = max(f.longest, b.Longest)
		f.overdue = max(f.overdue, b.Open.Delay())
		f.period = shorter(f.period, b.Period)
		f.timeout = shorter(f.timeout, b.Timeout)
	}
	s.before = now
}

// since is by how much a counter has grown.
func since(now, before uint64) uint64 {
	if now < before {
		return now // the flow is another one
	}
	return now - before
}

// shorter returns the shorter of two times, of which 0 is unknown.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// of returns the flow of a key; when there are too many, one that is not followed any more makes room.
func (s *flows) of(k flowKey) *flow {
	if f := s.flows[k]; f != nil {
		return f
	}
	if len(s.flows) >= maxFlows {
		for _, old := range s.sorted() {
			if f := s.flows[old]; !f.present && !s.used(old) {
				s.others.packets += f.packets
				s.others.late += f.late
				s.others.missing += f.missing
				delete(s.flows, old)
				break
			}
		}
	}
	if len(s.flows) >= maxFlows {
		s.out[k] = true
		return &s.others
	}
	f := &flow{}
	s.flows[k] = f
	return f
}

// used says that a flow of the last second has these labels.
func (s *flows) used(k flowKey) bool {
	for _, b := range s.before {
		if keyOf(&b) == k {
			return true
		}
	}
	return false
}

func (s *flows) sorted() []flowKey {
	return slices.SortedFunc(maps.Keys(s.flows), func(a, b flowKey) int { return slices.Compare(a[:], b[:]) })
}

// show shows the flows, and returns how many have the labels of another one, because their names are replaced.
func (s *flows) show(p *page) (leftOut int) {
	for _, k := range s.sorted() {
		f, labels := s.flows[k], k[:]
		if !f.count(p, labels) {
			leftOut++
			continue
		}
		if !f.present {
			continue
		}
		p.gauge(nameLongest, f.longest.Seconds(), labels...)
		p.gauge(nameOverdue, f.overdue.Seconds(), labels...)
		for name, d := range map[string]time.Duration{namePeriod: f.period, nameTimeout: f.timeout} {
			if d > 0 {
				p.gauge(name, d.Seconds(), labels...)
			}
		}
	}
	if len(s.out) > 0 || cmp.Or(s.others.packets, s.others.late, s.others.missing) > 0 {
		s.others.count(p, []string{otherLabel, otherLabel, otherLabel, otherLabel, otherLabel})
	}
	return leftOut
}

// count shows the counters of a flow, and returns false where there are some of the same labels.
func (f *flow) count(p *page, labels []string) bool {
	if !p.counter(namePackets, float64(f.packets), labels...) {
		return false
	}
	p.counter(nameLate, float64(f.late), labels...)
	p.counter(nameMissing, float64(f.missing), labels...)
	return true
}
