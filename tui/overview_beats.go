package tui

import (
	"fmt"
	"slices"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// overviewBeats is the followed flows in short: one line for each, Enter opens where the time went.
func (u *ui) overviewBeats(v *view) *grid[*fold.BeatTotal] {
	full := u.beatGrid(v)
	titled := func(title string) column[*fold.BeatTotal] {
		i := slices.IndexFunc(full.cols, func(c column[*fold.BeatTotal]) bool { return c.title == title })
		return full.cols[i]
	}
	full.id, full.title, full.note = "overview.beats", "heartbeats (Enter: where the time went)", ""
	full.cols = []column[*fold.BeatTotal]{
		titled(""), titled("flow"), titled("period"), lastSeen(v), titled("worst"), titled("verdict"),
	}
	full.cols[4].drop, full.cols[5].title, full.sort = 0, "state", 4
	return full
}

// lastSeen is for how long nothing of a flow has come or was sent.
func lastSeen(v *view) column[*fold.BeatTotal] {
	ago := func(b *fold.BeatTotal) time.Duration {
		last := max(b.Last, b.LastRead)
		if last == 0 || last > v.at {
			return 0
		}
		return v.at.Sub(last)
	}
	return column[*fold.BeatTotal]{
		title: "last seen", w: 10, drop: 3, right: true,
		number: func(b *fold.BeatTotal) float64 { return float64(ago(b)) },
		draw: func(l *line, w int, b *fold.BeatTotal) {
			text := none
			if max(b.Last, b.LastRead) > 0 {
				text = formatSpan(ago(b).Truncate(time.Millisecond)) + " ago"
			}
			l.field(plain, text, w, true)
		},
	}
}

// beatCheck sums up the followed flows; ok is false when there are none.
func (v *view) beatCheck() (short, long string, bad, ok bool) {
	if len(v.snap.Beats) == 0 {
		return "", "", false, false
	}
	var worst *fold.BeatTotal
	regular, late, cut := 0, 0, 0
	for i := range v.snap.Beats {
		b := &v.snap.Beats[i]
		if b.Period > 0 {
			regular++
		}
		if v.cutOff(b) != nil {
			cut++
		} else if b.Late > 0 || b.Open.ID != 0 {
			late++
		}
		if n := v.longest(b); n > 0 && (worst == nil || n > v.longest(worst)) {
			worst = b
		}
	}
	switch {
	case late > 0 && cut > 0:
		short = fmt.Sprintf("%s late, %d cut off", plural(late, "flow"), cut)
	case cut > 0:
		short = plural(cut, "flow") + " cut off"
	case late > 0:
		short = plural(late, "flow") + " late"
	case regular == 0:
		short = "no regular interval yet"
	default:
		short = "none late"
	}
	long = plural(len(v.snap.Beats), "flow") + " followed"
	if worst != nil {
		long += fmt.Sprintf(", longest gap %s: %s", formatSpan(v.longest(worst)), beatName(worst))
	}
	return short, long, late+cut > 0, true
}

// cutOff returns the finding that lasts about a flow over which nothing can come any more: its socket is gone, or its
// connection was reset. It is nil where there is none.
func (v *view) cutOff(b *fold.BeatTotal) *model.Finding {
	f := v.lossOf(b)
	if f == nil || !f.Ongoing || b.Open.ID != 0 || max(b.Last, b.LastRead) > f.Start || !v.active(f) {
		return nil
	}
	return f
}

// longest is the longest time without a packet of a flow, 0 not measured; that of a flow that is cut off goes on.
func (v *view) longest(b *fold.BeatTotal) time.Duration {
	if f := v.cutOff(b); f != nil {
		return max(b.Longest, b.Period+v.at.Sub(f.Start))
	}
	return b.Longest
}
