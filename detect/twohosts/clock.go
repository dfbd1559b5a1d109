package twohosts

import (
	"fmt"
	"math"
	"slices"
	"time"

	"lostbeat/model"
)

// maxRate is by how much the clocks of two hosts are taken to run apart at most: 500 ppm is what time servers correct,
// in each of them.
const maxRate = 1e-3

// clock is how the clocks of two hosts compare at a moment.
type clock struct {
	// ahead is by how much the second host's clock is ahead of the first one's, within plus and minus err.
	ahead, err time.Duration
	// state says what is known.
	state clockState
}

type clockState uint8

const (
	// The zero value: there are no packets about that time, or the clocks did not run evenly.
	_ clockState = iota
	// atMost, atLeast: packets of one direction only give a bound, which ahead is.
	atMost
	atLeast
	// known: packets of both directions bound it.
	known
)

// bound is a packet: the second clock is ahead by no more, or no less, than d at a moment of the first.
type bound struct {
	at time.Duration // from the moment that is asked for
	d  float64
}

// between are the flows of two hosts in both directions.
type between struct {
	a, b *Recording
	// ab and ba are the flows that a sends and b receives, and the others.
	ab, ba []*way
}

// clockAt compares the clocks at a moment of a's clock. A packet never arrives before it was sent, so that those of one
// direction say what the difference is at most, and those of the other what it is at least. Nothing else is assumed but
// that both clocks run evenly for the time that is looked at: the shorter, the less is asked.
func (n *between) clockAt(at model.Time) (c clock) {
	for _, window := range [...][2]time.Duration{{around, around}, {around, 0}, {around / 4, 0}, {around / 12, 0}} {
		upper, lower := n.bounds(at.Add(-window[0]), at.Add(window[1]), at)
		switch {
		case len(upper) == 0 && len(lower) == 0:
			continue
		case len(lower) == 0:
			return clock{ahead: extreme(upper, true), state: atMost}
		case len(upper) == 0:
			return clock{ahead: extreme(lower, false), state: atLeast}
		}
		if low, high, ok := solve(upper, lower); ok {
			return clock{ahead: time.Duration((low + high) / 2), err: time.Duration(math.Ceil((high - low) / 2)), state: known}
		}
	}
	return c
}

// extreme is the bound that packets of one direction give, however the clocks run.
func extreme(list []bound, least bool) time.Duration {
	best := math.Inf(1)
	for _, p := range list {
		d := p.d
		if !least {
			d = -d
		}
		best = min(best, d+maxRate*float64(p.at.Abs()))
	}
	if !least {
		best = -best
	}
	return time.Duration(best)
}

// bounds returns what the packets of a time say, the sharpest of each second.
func (n *between) bounds(from, to, at model.Time) (upper, lower []bound) {
	sharpest := func(list []bound, p bound, sign float64) []bound {
		if k := len(list); k > 0 && p.at/time.Second == list[k-1].at/time.Second {
			if sign*p.d < sign*list[k-1].d {
				list[k-1] = p
			}
			return list
		}
		return append(list, p)
	}
	for _, w := range n.ab {
		if w.alike {
			continue
		}
		for i := firstAt(w.tx.packets, from); i < len(w.tx.packets) && w.tx.packets[i].at <= to; i++ {
			if rx := w.arrived[i]; rx >= 0 {
				upper = sharpest(upper, bound{w.tx.packets[i].at.Sub(at), float64(w.delay(uint32(i), uint32(rx)))}, 1)
			}
		}
	}
	for _, w := range n.ba {
		if w.alike {
			continue
		}
		for i := firstAt(w.rx.packets, from); i < len(w.rx.packets) && w.rx.packets[i].at <= to; i++ {
			if tx := w.sent[i]; tx >= 0 {
				lower = sharpest(lower, bound{w.rx.packets[i].at.Sub(at), -float64(w.delay(uint32(tx), uint32(i)))}, -1)
			}
		}
	}
	return upper, lower
}

// solve returns between which values the difference of two clocks lies at the moment zero, if it changes evenly and
// obeys all bounds; not ok where nothing does.
func solve(upper, lower []bound) (low, high float64, ok bool) {
	// For each rate, the difference is at most the least of the upper bounds, which is concave in the rate, and at least
	// the greatest of the lower ones, which is convex.
	most := func(rate float64) float64 {
		v := math.Inf(1)
		for _, p := range upper {
			v = min(v, p.d-rate*float64(p.at))
		}
		return v
	}
	least := func(rate float64) float64 {
		v := math.Inf(-1)
		for _, p := range lower {
			v = max(v, p.d-rate*float64(p.at))
		}
		return v
	}
	room := func(rate float64) float64 { return most(rate) - least(rate) }
	best := maximum(-maxRate, maxRate, room)
	if room(best) < 0 {
		return 0, 0, false
	}
	first := edge(best, -maxRate, room)
	last := edge(best, maxRate, room)
	high = most(maximum(first, last, most))
	low = least(maximum(first, last, func(rate float64) float64 { return -least(rate) }))
	return low, high, true
}

// steps is how often an interval is narrowed: to less than a picosecond in a minute.
const steps = 80

// maximum returns where a concave function is greatest.
func maximum(from, to float64, f func(float64) float64) float64 {
	for range steps {
		third := (to - from) / 3
		if a, b := from+third, to-third; f(a) < f(b) {
			from = a
		} else {
			to = b
		}
	}
	return (from + to) / 2
}

// edge returns the point towards to where f, which is not negative at from, falls below 0.
func edge(from, to float64, f func(float64) float64) float64 {
	if f(to) >= 0 {
		return to
	}
	for range steps {
		if middle := (from + to) / 2; f(middle) >= 0 {
			from = middle
		} else {
			to = middle
		}
	}
	return from
}

// drift returns by how much the second clock gains on the first in an hour, where that is certain.
func (n *between) drift() (perHour time.Duration, ok bool) {
	var first, last model.Time
	for _, w := range slices.Concat(n.ab, n.ba) {
		if w.alike {
			continue
		}
		list := w.tx.packets
		if w.from != n.a {
			list = w.rx.packets
		}
		if first == 0 || list[0].at < first {
			first = list[0].at
		}
		last = max(last, list[len(list)-1].at)
	}
	span := last.Sub(first)
	if span < 2*around {
		return 0, false
	}
	begin, end := n.clockAt(first.Add(around)), n.clockAt(last.Add(-around/4))
	gained := end.ahead - begin.ahead
	if begin.state != known || end.state != known || gained.Abs() <= begin.err+end.err {
		return 0, false
	}
	return time.Duration(float64(gained) / (span - around - around/4).Hours()), true
}

// precise writes a time with as many digits as its error leaves meaning.
func precise(d, err time.Duration) string {
	unit, name := time.Millisecond, "ms"
	if d.Abs() >= 10*time.Second {
		unit, name = time.Second, "s"
	}
	digits := 0
	for step := unit; step > max(err, time.Microsecond)/2 && digits < 6; step /= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %s", digits, float64(d)/float64(unit), name)
}

// text says how the clocks compare.
func (c clock) text(a, b string) string {
	which := func(d time.Duration) string {
		if d < 0 {
			return "behind"
		}
		return "ahead of"
	}
	switch c.state {
	case known:
		return fmt.Sprintf("the clock of %s was %s %s that of %s, give or take %s (half the smallest round trip)", b,
			precise(c.ahead.Abs(), c.err), which(c.ahead), a, precise(c.err, c.err))
	case atMost, atLeast:
		how := "at most"
		if (c.state == atLeast) == (c.ahead >= 0) {
			how = "at least"
		}
		return fmt.Sprintf("the clock of %s was %s %s %s that of %s: packets of one direction only give no more than a bound",
			b, how, precise(c.ahead.Abs(), time.Millisecond), which(c.ahead), a)
	}
	return fmt.Sprintf("how the clocks of %s and %s compared then is not known", a, b)
}
