package export

import (
	"math"
	"slices"

	"lostbeat/model"
)

// Bounds of what a trace has.
const (
	// maxTracks is how many tracks are described; each takes memory in whatever opens the trace.
	maxTracks = 1 << 15
	// keptTracks is how many of them are kept for files, findings and what was not recorded.
	keptTracks = 1 << 10
	// maxLanes is how many slices of one kind are shown at a time.
	maxLanes = 32
	// laneSpans is how many slices of a lane are remembered, with which a later one must not be tangled.
	laneSpans = 32
)

// descriptor describes a track.
type descriptor struct {
	uuid, parent uint64
	name, doc    string
	// pid is the number of a process, 0 for other tracks.
	pid     int32
	rank    int
	counter bool
	// kept says that it may take one of keptTracks.
	kept bool
	// unit is that of a counter: ns, bytes, empty for a count, or another one.
	unit string
}

// trackKey identifies what is below a track.
type trackKey struct {
	parent  uint64
	name    string
	counter bool
}

// trackGroup is a track that has others below it.
type trackGroup struct{ uuid uint64 }

// lanes are the slices of one kind. Those that are tangled, so that none contains the other, are on tracks of their
// own; all have the same name, and the user interface draws them as one.
type lanes struct {
	d  descriptor
	of []*lane
}

// lane is a track of slices.
type lane struct {
	uuid uint64
	// spans are the latest slices; floor is the end of those that are forgotten.
	spans []span
	floor model.Time
}

type span struct{ start, end model.Time }

// counter is a track of values.
type counter struct {
	uuid  uint64
	value float64
	// last is the time of the latest value.
	last  model.Time
	known bool
	// longest says that of several values of one interval the highest counts, and not their sum.
	longest bool
	// held is the latest interval, whose value is not written yet, as another part of it may come; until is the end of
	// the one before, whose value is. Both are 0 where there is none.
	held      span
	heldValue float64
	until     model.Time
}

// describe writes the description of a track, and reports whether there is room for it.
func (t *Trace) describe(d *descriptor) bool {
	if t.done.Tracks >= maxTracks-keptTracks && !d.kept || t.done.Tracks == maxTracks {
		return false
	}
	t.done.Tracks++
	d.uuid = uint64(t.done.Tracks)
	t.inner = appendDescriptor(t.inner[:0], d)
	t.outer = appendMessage(t.outer[:0], packetTrack, t.inner)
	t.packet()
	return true
}

// group returns the group of a name below another; nil where there is no room for it.
func (t *Trace) group(parent *trackGroup, name string, rank int, doc string) *trackGroup {
	if parent == nil {
		return nil
	}
	key := trackKey{parent.uuid, name, false}
	g, ok := t.groups[key]
	if ok {
		return g
	}
	d := descriptor{parent: parent.uuid, name: name, rank: rank, doc: doc}
	if !t.describe(&d) {
		return nil
	}
	g = &trackGroup{d.uuid}
	t.groups[key] = g
	return g
}

// lanes returns the slices of a name below a group; nil where there is no room for them.
func (t *Trace) lanesOf(parent *trackGroup, name string, rank int, doc string) *lanes {
	if parent == nil {
		return nil
	}
	key := trackKey{parent.uuid, name, false}
	l := t.lanes[key]
	if l == nil && len(t.lanes) < maxTracks {
		l = &lanes{d: descriptor{parent: parent.uuid, name: name, rank: rank, doc: doc}}
		t.lanes[key] = l
	}
	return l
}

// counterOf returns the counter of a name below a group; nil where there is no room for it.
func (t *Trace) counterOf(p *process, parent *trackGroup, name, unit string, rank int, doc string) *counter {
	if parent == nil {
		return nil
	}
	key := trackKey{parent.uuid, name, true}
	c := t.counters[key]
	if c == nil {
		d := descriptor{parent: parent.uuid, name: name, rank: rank, doc: doc, counter: true, unit: unit}
		if !t.describe(&d) {
			return nil
		}
		c = &counter{uuid: d.uuid, longest: unit == "ns"}
		t.counters[key] = c
		p.counters = append(p.counters, c)
	}
	return c
}

// fits says that a slice which is written after those of the lane can be on it: begins and ends at one moment take
// effect in the order in which they are written.
func (l *lane) fits(s span) bool {
	if s.start < l.floor {
		return false
	}
	for _, o := range l.spans {
		after, before := s.start >= o.end, s.end < o.start
		inside, around := s.start >= o.start && s.end <= o.end, s.start < o.start && s.end >= o.end
		if !after && !before && !inside && !around {
			return false
		}
	}
	return true
}

// add remembers a slice.
func (l *lane) add(s span) {
	if len(l.spans) == laneSpans {
		l.floor = max(l.floor, l.spans[0].end)
		l.spans = slices.Delete(l.spans, 0, 1)
	}
	l.spans = append(l.spans, s)
}

// place finds a lane for a slice; nil where there is none, which is counted.
func (t *Trace) place(l *lanes, s span) *lane {
	if l == nil || s.start < 0 || s.end < s.start {
		t.done.LeftOut++
		return nil
	}
	for _, of := range l.of {
		if of.fits(s) {
			of.add(s)
			return of
		}
	}
	d := l.d
	if len(l.of) == maxLanes || !t.describe(&d) {
		t.done.LeftOut++
		return nil
	}
	of := &lane{uuid: d.uuid}
	of.add(s)
	l.of = append(l.of, of)
	return of
}

// slice writes a slice, or an instant where it has no length. It returns its track, nil where it was left out.
func (t *Trace) slice(l *lanes, start, end model.Time, name, category string, notes ...note) *lane {
	of := t.place(l, span{start, end})
	if of != nil {
		t.sliceOn(of, start, end, name, category, notes...)
	}
	return of
}

// sliceInside writes a slice inside the latest one of a lane.
func (t *Trace) sliceInside(of *lane, start, end model.Time, name, category string, notes ...note) {
	of.add(span{start, end})
	t.sliceOn(of, start, end, name, category, notes...)
}

func (t *Trace) sliceOn(of *lane, start, end model.Time, name, category string, notes ...note) {
	h := trackEvent{track: of.uuid, at: start, name: name, category: category, notes: notes}
	t.done.Rows++
	if start == end {
		h.kind = instant
		t.event(&h)
		return
	}
	h.kind = sliceBegin
	t.event(&h)
	t.event(&trackEvent{kind: sliceEnd, track: of.uuid, at: end})
}

// sample writes the value that a counter has from a moment on.
func (t *Trace) sample(c *counter, at model.Time, value float64) {
	if c == nil || at < 0 {
		t.done.LeftOut++
		return
	}
	if math.IsNaN(value) || math.IsInf(value, 0) || c.known && value == c.value && at >= c.last {
		return
	}
	c.value, c.last, c.known = value, at, true
	t.done.Rows++
	t.event(&trackEvent{kind: counterRead, track: c.uuid, at: at, value: value})
}

// interval takes a value of an interval that was counted. Several of one interval are added up, as those of several
// CPUs; of durations the longest is taken. After the interval the counter is 0, unless the next one follows.
func (t *Trace) interval(c *counter, start, end model.Time, value float64) {
	if c == nil || start < 0 || end <= start {
		t.done.LeftOut++
		return
	}
	if h := &c.held; h.end != 0 && min(end, h.end)-max(start, h.start) > (end-start)/2 {
		h.start, h.end = min(start, h.start), max(end, h.end)
		if c.longest {
			c.heldValue = max(c.heldValue, value)
		} else {
			c.heldValue += value
		}
		return
	}
	t.flush(c)
	c.held, c.heldValue = span{start, end}, value
}

// flush writes the interval that is held.
func (t *Trace) flush(c *counter) {
	s := c.held
	if s.end == 0 {
		return
	}
	if c.until != 0 && c.until < s.start-(s.end-s.start)/4 {
		t.sample(c, c.until, 0)
	}
	t.sample(c, s.start, c.heldValue)
	c.until, c.held = max(c.until, s.end), span{}
}

// end ends a counter: what was counted in intervals is 0 from then on.
func (t *Trace) end(c *counter) {
	t.flush(c)
	if c.until != 0 {
		t.sample(c, c.until, 0)
	}
}
