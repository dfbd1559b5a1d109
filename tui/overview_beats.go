package tui

import (
	"fmt"
	"slices"
	"time"

	"lostbeat/fold"
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
	regular, late := 0, 0
	for i := range v.snap.Beats {
		b := &v.snap.Beats[i]
		if b.Period > 0 {
			regular++
		}
		if b.Late > 0 || b.Open.ID != 0 {
			late++
		}
		if b.Longest > 0 && (worst == nil || b.Longest > worst.Longest) {
			worst = b
		}
	}
	switch {
	case late > 0:
		short = plural(late, "flow") + " late"
	case regular == 0:
		short = "no regular interval yet"
	default:
		short = "none late"
	}
	long = plural(len(v.snap.Beats), "flow") + " followed"
	if worst != nil {
		long += fmt.Sprintf(", longest gap %s: %s", formatSpan(worst.Longest), beatName(worst))
	}
	return short, long, late > 0, true
}
