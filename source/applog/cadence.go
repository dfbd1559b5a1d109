package applog

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"lostbeat/model"
)

// cadence learns how long a log is silent between two lines, in bounded memory.
// Logs are busy at times and idle at others, so that silences are compared with
// those that follow a minute with about as many lines: a pause of 11 s is
// nothing at night and much at noon.
type cadence struct {
	// grain is the least time that the stamps tell apart.
	grain time.Duration
	last  model.Time
	// lines counts those with a time.
	lines uint64
	// seconds counts the lines of the last minute by second, ending with second; minute is their sum.
	seconds [60]uint32
	second  int64
	minute  uint32
	paces   [maxPaces]pace
	// histogram counts silences by length, in eighths of an octave from a microsecond on.
	histogram [bins]uint64
	// open are the silences after which a minute has not passed yet.
	open []*silence
	// back counts steps of the time to before the line before, by more than a moment.
	back int
}

// pace is what follows a minute of about so many lines.
type pace struct {
	// count is how many silences there were.
	count uint64
	// longest are the longest of them.
	longest silences
}

// silence is the time between two lines.
type silence struct {
	length time.Duration
	end    model.Time
	// lead and follow are the lines in the minute before and after it.
	lead, follow uint32
	// before and after are the lines around it.
	before, after string
	// expected is how many as long as this one are to be expected in the whole log.
	expected float64
}

const (
	// maxPaces is how many paces are told apart: powers of two.
	maxPaces = 20
	// maxLongest is how many silences are kept of each pace.
	maxLongest = 64
	// maxOpen bounds the silences after which lines are counted.
	maxOpen = 64
	// bins are those of the histogram: 40 octaves, a microsecond to 12 days.
	bins = 320
	// leastGap is the shortest silence that is looked at.
	leastGap = time.Second
	// moment is how far back a line may lie behind the one before it: logs that several write into are not sorted.
	moment = 5 * time.Second
	// leastOfPace and leastLines are how many silences a pace, and a log, must have before they are the measure.
	leastOfPace, leastLines = 500, 100
	// mostExpected is how many silences of a length may be expected of one that is called a gap: the detector's own
	// limit is lower.
	mostExpected = 0.1
	// maxGaps is how many gaps are reported of a log, the longest.
	maxGaps = 64
)

// line takes a line with its time and the record before it, and returns the time between them.
func (c *cadence) line(at model.Time, before, line []byte) (since time.Duration) {
	c.lines++
	if c.last == 0 {
		c.last = at
		c.count(at)
		return 0
	}
	since = at.Sub(c.last)
	if since < 0 {
		if since < -moment {
			c.back++
			c.begin(at)
			c.count(at)
		}
		return 0
	}
	c.histogram[bin(since)]++
	p := &c.paces[min(paceOf(c.minute), maxPaces-1)]
	p.count++
	if since >= leastGap && (len(p.longest) < maxLongest || since > p.longest[0].length) {
		s := &silence{length: since, end: at, lead: c.minute, before: clean(before), after: clean(line)}
		p.keep(s)
		if len(c.open) < maxOpen {
			c.open = append(c.open, s)
		}
	}
	if len(c.open) > 0 {
		c.open = slices.DeleteFunc(c.open, func(s *silence) bool {
			s.follow++
			return at.Sub(s.end) > time.Minute
		})
	}
	c.last = at
	c.count(at)
	return since
}

// begin begins anew at a time, or with the next line for 0: what was learned stays.
func (c *cadence) begin(at model.Time) {
	c.last, c.open = at, c.open[:0]
	c.seconds, c.minute, c.second = [60]uint32{}, 0, 0
}

// expect returns how many silences of at least a length, after a minute such as the last one, what was learned so far
// lets expect in as much of the log.
func (c *cadence) expect(length time.Duration) float64 {
	descending := func(a, b *silence) int { return cmp.Compare(b.length, a.length) }
	if p := &c.paces[min(paceOf(c.minute), maxPaces-1)]; p.count >= leastOfPace {
		list := slices.Clone(p.longest)
		slices.SortFunc(list, descending)
		return newTail(list, p.count, c.grain).expected(length)
	}
	var all []*silence
	for i := range c.paces {
		all = append(all, c.paces[i].longest...)
	}
	slices.SortFunc(all, descending)
	return newTail(all[:min(len(all), maxLongest)], c.lines, c.grain).expected(length)
}

// longestBelow returns the longest silence that is shorter than one.
func (c *cadence) longestBelow(length time.Duration) (longest time.Duration) {
	for i := range c.paces {
		for _, s := range c.paces[i].longest {
			if s.length < length {
				longest = max(longest, s.length)
			}
		}
	}
	return longest
}

func paceOf(minute uint32) (n int) {
	for ; minute > 1; minute >>= 1 {
		n++
	}
	return n
}

// count adds a line to the last minute.
func (c *cadence) count(at model.Time) {
	second := int64(at) / int64(time.Second)
	if second != c.second {
		if second-c.second >= int64(len(c.seconds)) {
			c.seconds, c.minute = [60]uint32{}, 0
		} else {
			for s := c.second + 1; s <= second; s++ {
				slot := &c.seconds[s%int64(len(c.seconds))]
				c.minute -= *slot
				*slot = 0
			}
		}
		c.second = second
	}
	c.seconds[second%int64(len(c.seconds))]++
	c.minute++
}

// keep adds a silence to the longest, in place of the shortest of them.
func (p *pace) keep(s *silence) {
	if len(p.longest) < maxLongest {
		heap.Push(&p.longest, s)
		return
	}
	p.longest[0] = s
	heap.Fix(&p.longest, 0)
}

// silences are a heap whose first is the shortest.
type silences []*silence

func (h silences) Len() int           { return len(h) }
func (h silences) Less(i, j int) bool { return h[i].length < h[j].length }
func (h silences) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *silences) Push(s any) { *h = append(*h, s.(*silence)) }

// Pop implements heap.Interface.
func (h *silences) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	*h = (*h)[:last]
	return s
}

func bin(d time.Duration) int {
	if d < time.Microsecond {
		return 0
	}
	return min(int(8*math.Log2(float64(d)/float64(time.Microsecond))), bins-1)
}

// quantile returns the length that the share q of the silences does not exceed.
func (c *cadence) quantile(q float64) time.Duration {
	var all, sum uint64
	for _, n := range c.histogram {
		all += n
	}
	for i, n := range c.histogram {
		if sum += n; n > 0 && float64(sum) >= q*float64(all) {
			return time.Duration(float64(time.Microsecond) * math.Exp2(float64(i+1)/8))
		}
	}
	return 0
}

// gaps returns the silences that are too long for the log, in order of time, and
// the longest of the others.
func (c *cadence) gaps() (gaps []*silence, longest time.Duration) {
	var all []*silence
	for i := range c.paces {
		all = append(all, c.paces[i].longest...)
	}
	descending := func(a, b *silence) int {
		return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(a.end, b.end))
	}
	slices.SortFunc(all, descending)
	whole := newTail(all[:min(len(all), maxLongest)], c.lines, c.grain)
	for i := range c.paces {
		p := &c.paces[i]
		slices.SortFunc(p.longest, descending) // the heap is not used any more
		t := whole
		if p.count >= leastOfPace {
			t = newTail(p.longest, p.count, c.grain)
		}
		for _, s := range p.longest {
			if s.expected = t.expected(s.length); s.expected <= mostExpected && s.resumed(c.last) {
				gaps = append(gaps, s)
			} else {
				longest = max(longest, s.length)
			}
		}
	}
	slices.SortFunc(gaps, descending)
	gaps = gaps[:min(len(gaps), maxGaps)]
	slices.SortFunc(gaps, func(a, b *silence) int { return cmp.Compare(a.end, b.end) })
	return gaps, longest
}

// resumed reports whether the log went on after the silence about as it was
// before: the end of a burst is not a gap. last is the time of the last line.
func (s *silence) resumed(last model.Time) bool {
	seen := min(max(last.Sub(s.end), time.Second), time.Minute)
	return float64(s.follow+1)*float64(time.Minute)*4 >= float64(s.lead)*float64(seen)
}

// tail is the distribution of the longest silences of a pace: a power law, which
// lets expect more long silences than there are where the true one falls faster.
type tail struct {
	// from is the silence that k of the longest exceed, exponent how fast they become rare; k is 0 where nothing is known.
	from, exponent, k float64
}

const (
	// leastExponent and mostExponent bound what few silences say.
	leastExponent, mostExponent = 0.5, 8
)

// newTail estimates the tail of count silences of which the longest are given in
// descending order. The longest tenth of those does not take part: they may be
// what is looked for.
func newTail(longest []*silence, count uint64, grain time.Duration) tail {
	if count < leastLines {
		return tail{}
	}
	k := min(max(int(math.Sqrt(float64(count))), 10), maxLongest-1)
	least := max(leastGap, grain)
	length := func(i int) float64 { // what is not kept is shorter than leastGap
		if i >= len(longest) {
			return least.Seconds()
		}
		return max(longest[i].length, least).Seconds()
	}
	t := tail{from: length(k), k: float64(k)}
	trim := max(1, k/10)
	var logs, ranks float64
	for i := trim; i < k; i++ {
		logs += math.Log(length(i) / t.from)
		for j := i; j < k; j++ {
			ranks += 1 / float64(j+1)
		}
	}
	t.exponent = min(max(ranks/max(logs, 1e-9), leastExponent), mostExponent)
	return t
}

// expected returns how many silences of at least this length are to be expected; many where nothing is known.
func (t tail) expected(length time.Duration) float64 {
	if t.k == 0 {
		return math.Inf(1)
	}
	return t.k * math.Pow(t.from/max(length.Seconds(), t.from), t.exponent)
}
