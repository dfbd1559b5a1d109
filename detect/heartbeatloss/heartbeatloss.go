// Package heartbeatloss says where the time went when a followed flow was late.
package heartbeatloss

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/model"
)

// heartbeatLoss finds gaps in followed flows that their cadence does not explain, and the stage in which the time went.
type heartbeatLoss struct {
	settings Settings
	cases    detect.Cases[lateFlow]
	// again are gaps of the last tick whose reason was not known for all of them: what was watched may come with the next
	// one.
	again []late
	// judged are the findings as they were said last, for those who join them with another host's.
	judged map[string]Judged
	// told are the gaps of received flows of the last seconds, by process: what was not sent meanwhile follows from them.
	told []told
	// quiet are the gaps that last and of which nothing is said.
	quiet map[*fold.Beat]quietGap
	// pauses are those of the whole host, paused the last of them.
	pauses detect.Cases[stood]
	paused model.Time
}

// late is a gap of a flow that is too long.
type late struct {
	beat *fold.Beat
	gap  fold.Gap
}

type told struct {
	pid      int32
	gap      model.Time
	from, to model.Time
}

// quietGap is what the host has dropped since the beginning of a gap of which nothing is said.
type quietGap struct {
	gap   model.Time
	drops []dropped
}

// lateFlow is what is known of a flow that is late for one reason.
type lateFlow struct {
	beat *fold.Beat
	// who describes the flow as it was.
	who flowWords
	// gaps is how many there were, gap the last of them.
	gaps uint64
	gap  model.Time
	// latest is that gap as it was judged last, worst the longest of all.
	latest, worst moment
	// newPeriod says that the gaps turned out to be the flow's new period.
	newPeriod bool
	// slept is for how much of the gap the host turned out to have been suspended.
	slept time.Duration
	// lasts says that the last gap lasts.
	lasts bool
	// open says that the gap that was last said lasted when it was said.
	open bool
	// zoomed is the longest gap of those of which it was seen where the packet was before its socket.
	zoomed fold.Gap
	// drops are what the host has dropped since the last gap began.
	drops []dropped
	// all are its gaps, the longest of very many.
	all []fold.Gap
}

//go:embed doc.md
var doc string

// Name is the detector's name in findings.
const Name = "heartbeat-loss"

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("heartbeat", doc, New, limits) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	d := &heartbeatLoss{settings: s, cases: detect.NewCases[lateFlow](Name, l), judged: map[string]Judged{},
		quiet: map[*fold.Beat]quietGap{}}
	d.cases.Instant, d.cases.Quotes = true, true
	d.pauses = detect.NewCases[stood](Name, l)
	d.pauses.Instant = true
	return d
}

func limits(s Settings, l *fold.Limits) {
	l.LatePeriods, l.LeastLate, l.TimeoutShare = s.LatePeriods, s.LeastLate.Std(), s.TimeoutShare
	l.SilentPeriods, l.LeastSilent = s.SilentPeriods, s.LeastSilent.Std()
}

// Judge implements detect.Detector.
func (d *heartbeatLoss) Judge(w *detect.Tick) {
	d.watch(w)
	d.judgePauses(w)
	for _, in := range d.cases.All() {
		in.Data.lasts = false
	}
	d.forgetTold(w)
	again := d.again
	d.again = nil
	beats := w.SortedBeats()
	// What a process receives comes first: what it did not send may follow from it.
	for _, direction := range [...]model.Direction{model.DirectionRX, model.DirectionTX} {
		for _, l := range again {
			if l.beat.Key.Direction == direction {
				d.take(w, l.beat, l.gap, true)
			}
		}
		for _, b := range beats {
			if b.Key.Direction != direction {
				continue
			}
			for _, g := range b.Fresh {
				if g.Changed {
					d.newPeriod(b)
					continue
				}
				d.take(w, b, *g, false)
			}
			if g, ok := w.Open(b); ok {
				d.take(w, b, g, false)
			}
		}
	}
	maps.DeleteFunc(d.quiet, func(b *fold.Beat, _ quietGap) bool {
		_, lasts := w.Open(b)
		return !lasts
	})
	d.judgeUnattended(w)
	d.judgeBroken(w)
	for _, in := range d.cases.All() {
		if !in.Touched && (in.Data.beat.Socket.Ended != 0 || !in.Data.open && w.Now.Sub(in.Seen) >= overAfter) {
			d.cases.End(in.Key)
		}
	}
}

// overAfter is for how long a flow must have gone on as before for its delay to be over.
const overAfter = 2 * time.Second

// Report implements detect.Detector.
func (d *heartbeatLoss) Report(w *detect.Tick, emit func(model.Finding)) {
	d.pauses.Settle(w, 1, emit, d.describePause)
	d.cases.Settle(w, 1, emit, d.describe)
}

// Finish implements detect.Detector.
func (d *heartbeatLoss) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.pauses.Flush(w, emit, d.describePause)
	d.cases.Flush(w, emit, d.describe)
}

// take judges a gap and makes it part of a case.
func (d *heartbeatLoss) take(w *detect.Tick, b *fold.Beat, g fold.Gap, again bool) {
	in := d.caseOf(b, g.ID)
	slots := w.Since(g.From)
	var before []dropped
	switch quiet, judged := d.quiet[b]; {
	case again:
	case in != nil:
		slots, before = []int{w.Slot}, in.Data.drops
	case judged && quiet.gap == g.ID && len(slots) == fold.MaxWindow:
		slots, before = []int{w.Slot}, quiet.drops // its beginning is older than what is kept
	}
	drops := addDrops(before, d.drops(w, b, &g, slots, before))
	m := d.judge(w, b, &g, drops, in != nil)
	if in != nil {
		m = in.Data.refine(m)
	}
	if m.verdict == silent {
		d.quiet[b] = quietGap{g.ID, drops}
		return
	}
	if b.Key.Direction == model.DirectionRX {
		d.told = append(d.told, told{b.Socket.PID, g.ID, g.From, g.To})
	}
	// What was watched of the last second comes with the next one.
	if (m.verdict == notRead || m.verdict == sentLate) && m.kept < g.Delay() && !g.Lasts && !again {
		d.again = append(d.again, late{b, g})
	}
	if again && in == nil {
		return
	}
	if in == nil {
		in = d.caseFor(b, &m)
	}
	if in == nil && d.soon(b, &m) {
		return
	}
	d.raise(w, in, b, &m, drops)
}

// newPeriod takes back what was said of a flow while its first gaps with a new period lasted.
func (d *heartbeatLoss) newPeriod(b *fold.Beat) {
	_, period := b.Pace()
	for _, in := range d.cases.All() {
		data := &in.Data
		if data.beat == b && in.Open && (data.latest.verdict == absent || data.latest.verdict == sentLate) &&
			data.worst.gap.Length() <= 2*period {
			data.newPeriod = true
			in.News()
		}
	}
}

// refine keeps what is known better from before of the same gap.
func (data *lateFlow) refine(m moment) moment {
	old := &data.latest
	switch {
	case m.verdict == silent, m.reason == reader.None && old.reason != reader.None && old.verdict == m.verdict,
		m.verdict == unknown && old.verdict != unknown && m.gap.Main() == old.gap.Main():
		kept := *old
		kept.gap = m.gap
		return kept
	}
	return m
}

// caseOf returns the case of a gap, nil where it is new.
func (d *heartbeatLoss) caseOf(b *fold.Beat, gap model.Time) *detect.Case[lateFlow] {
	for _, in := range d.cases.All() {
		if in.Data.beat == b && in.Data.gap == gap {
			return in
		}
	}
	return nil
}

// caseFor returns the case of a flow that is late for the same reason, nil for none.
func (d *heartbeatLoss) caseFor(b *fold.Beat, m *moment) *detect.Case[lateFlow] {
	for _, in := range d.cases.All() {
		if in.Data.beat == b && in.Data.latest.verdict == m.verdict && in.Data.latest.reason == m.reason {
			return in
		}
	}
	return nil
}

// reasonWithin is how long a gap may last until what keeps the program from reading is looked for no longer.
const reasonWithin = 2 * time.Second

// soon says that what keeps the program from reading in a gap that lasts may be known with the next second, and then be
// the same as in an earlier case of the flow.
func (d *heartbeatLoss) soon(b *fold.Beat, m *moment) bool {
	if !m.gap.Lasts || m.verdict != notRead || m.reason != reader.None || m.gap.Length() >= reasonWithin {
		return false
	}
	return slices.ContainsFunc(d.cases.All(), func(in *detect.Case[lateFlow]) bool {
		return in.Data.beat == b && in.Data.latest.verdict == notRead && in.Data.latest.reason != reader.None
	})
}

// raise makes a judged gap part of a case, or a case of its own.
func (d *heartbeatLoss) raise(w *detect.Tick, in *detect.Case[lateFlow], b *fold.Beat, m *moment, drops []dropped) {
	key := b.Name()
	if in != nil {
		key = in.Key
	}
	for n := 2; in == nil && d.cases.Get(key) != nil; n++ {
		key = fmt.Sprintf("%s/%d", b.Name(), n)
	}
	seen := model.Time(0)
	if in != nil {
		seen = in.Seen
	}
	in = d.cases.Raise(w, key, m.gap.From.Add(m.gap.Period))
	data := &in.Data
	if data.beat == nil || data.gap != m.gap.ID {
		data.gaps++
	}
	data.beat, data.gap, data.latest, data.drops, data.newPeriod = b, m.gap.ID, *m, drops, false
	data.who = wordsOf(w, b)
	if data.open != m.gap.Lasts {
		data.open = m.gap.Lasts
		in.News()
	}
	if m.gap.Zoomed && m.gap.Stack > data.zoomed.Stack {
		data.zoomed = m.gap
	}
	data.lasts = m.gap.Lasts
	data.keep(&m.gap)
	if data.worst.gap.ID == m.gap.ID || m.gap.Delay() >= data.worst.gap.Delay() {
		data.worst = *m
	}
	if !m.gap.Lasts {
		in.Seen = max(seen, min(m.gap.To, w.Now))
	}
}

// forgetTold forgets the gaps of long ago.
func (d *heartbeatLoss) forgetTold(w *detect.Tick) {
	kept := d.told[:0]
	for _, t := range d.told {
		if w.Now.Sub(t.to) < time.Minute && len(kept) < maxTold {
			kept = append(kept, t)
		}
	}
	d.told = kept
}

// How many gaps are remembered, and how many processes are watched at a time.
const (
	maxTold    = 1024
	maxWatched = 32
)

// watchFor is for how long the readers of followed flows are watched at a time, zoomFor for how long packets are looked
// at before they reach their socket, after one was late there, crowd from how many threads on the one
// that reads is watched by itself.
const (
	watchFor = 20 * time.Second
	zoomFor  = 30 * time.Second
	crowd    = 32
)

// watch asks for the scheduling of the programs that read and send followed flows: when a gap comes, it is too late.
func (d *heartbeatLoss) watch(w *detect.Tick) {
	asked := make(map[int32]bool)
	for _, b := range w.SortedBeats() {
		s := b.Socket
		if s.PID <= 0 || s.Ended != 0 || asked[s.PID] || len(asked) >= maxWatched {
			continue
		}
		asked[s.PID] = true
		r := model.Request{Kind: model.RequestSched, CPU: -1, PID: s.PID, TID: -1, For: watchFor, Finding: Name}
		w.Renew(r)
		if tid := s.Reader(); tid > 0 && w.SchedulingOf(s.PID).Threads >= crowd {
			r.TID = tid
			w.Renew(r)
		}
	}
}
