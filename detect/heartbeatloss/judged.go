package heartbeatloss

import (
	"slices"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

// Verdict is where the time of a gap went, as one host sees it.
type Verdict = verdict

// The verdicts of one host.
const (
	Unknown   = unknown
	Absent    = absent
	LostMaybe = lostMaybe
	LostHere  = lostHere
	Deferred  = deferred
	NotRead   = notRead
	SentLate  = sentLate
	QueuedOut = queuedOut
)

// Judged is a finding about a followed flow, for those who join it with what another host has seen.
type Judged struct {
	// ID is the finding's.
	ID string
	// Flow is the flow that it is about, PID the process.
	Flow fold.BeatKey
	PID  int32
	// Gap is the longest gap, Gaps are all of them or, of very many, the longest; Verdict is where their time went. Lost
	// says that events were lost meanwhile.
	Gap     fold.Gap
	Gaps    []fold.Gap
	Verdict Verdict
	Lost    bool
	// Why is what kept the program, as the title has it; empty where no program is at fault.
	Why string
	// Place and Where say where this host dropped packets, Dropped how many at that place; empty where it did not.
	Place   model.Place
	Where   string
	Dropped uint64
	// NewPeriod says that the gap turned out to be the flow's new period.
	NewPeriod bool
}

// maxJudged bounds the findings that are kept for joining, maxGaps the gaps of each.
const (
	maxJudged = 4096
	maxGaps   = 64
)

// keep remembers a gap.
func (data *lateFlow) keep(g *fold.Gap) {
	shortest := -1
	for i := range data.all {
		switch o := &data.all[i]; {
		case o.ID == g.ID:
			*o = *g
			return
		case shortest < 0 || o.Length() < data.all[shortest].Length():
			shortest = i
		}
	}
	switch {
	case len(data.all) < maxGaps:
		data.all = append(data.all, *g)
	case g.Length() > data.all[shortest].Length():
		data.all[shortest] = *g
	}
}

// note keeps what is said of a case.
func (d *heartbeatLoss) note(in *detect.Case[lateFlow], t *telling) {
	if _, ok := d.judged[in.ID()]; !ok && len(d.judged) >= maxJudged {
		return
	}
	m := &t.at
	if m.verdict == broken || m.verdict == unanswered {
		delete(d.judged, in.ID()) // it is not joined with another host's
		return
	}
	j := Judged{
		ID: in.ID(), Flow: in.Data.beat.Key, PID: t.who.pid, Gap: m.gap, Gaps: slices.Clone(in.Data.all), Verdict: m.verdict,
		Lost: m.lost > 0, Why: t.why, NewPeriod: in.Data.newPeriod,
	}
	if len(m.drops) > 0 {
		j.Place, j.Where, j.Dropped = m.drops[0].Place, dropText(&m.drops[0]), m.drops[0].count
	}
	d.judged[j.ID] = j
}

// Judged returns what was said of each finding last, by its ID.
func (d *heartbeatLoss) Judged() map[string]Judged { return d.judged }
