package tui

import (
	"cmp"
	"slices"

	"lostbeat/fold"
	"lostbeat/model"
)

// helpBands is the help for what is open below it, made from the keys' own table.
func (u *ui) helpBands() []band {
	return []band{{&block{id: "help", height: 1 << 16, least: 1, draw: func(u *ui, w, h int) []string {
		return u.scrolled(u.helpLines(w), w, h)
	}}}}
}

func (u *ui) helpLines(w int) []string {
	below := &ui{}
	*below = *u
	if n := len(u.drills); n > 0 {
		below.drills = u.drills[:n-1]
	}
	out := []string{newLine(u.theme, w).space(1).put(heading, "keys on "+below.screen()).String()}
	for _, b := range bindings() {
		if !b.works(below) {
			continue
		}
		out = append(out, newLine(u.theme, w).space(3).field(accent, u.keyNames(&b), 16, false).put(plain, b.help).String())
	}
	out = append(out, blank(w), newLine(u.theme, w).space(1).put(heading, "reading the screen").String())
	for _, text := range []string{
		"share: part of one CPU's time. wait: from raised to started; run: from start to end. p99: 99 of 100 were " +
			"shorter (at most 12.5 % off). max: over the last 60 s.",
		"Numbers cover one second, one to two seconds ago, once all of its intervals have arrived. In a row of bars, " +
			"each bar is 1 s unless the title says otherwise; a bar on the base line is zero.",
		filterHelp,
		"loss: events lost before lostbeat saw them; with loss, all counts are lower bounds. self: what lostbeat itself " +
			"uses, as a share of one CPU and memory.",
	} {
		for _, piece := range wrap(clean(text, u.theme.ascii), w-4) {
			out = append(out, newLine(u.theme, w).space(3).put(plain, piece).String())
		}
	}
	return out
}

// probeBands says what is seen, what is not, and why.
func (u *ui) probeBands(v *view) []band {
	rows := slices.Concat(v.snap.Outputs, v.snap.Probes)
	if v.snap.Incomplete != "" {
		file := model.Probe{Name: "file", State: model.ProbeDegraded, Reason: v.snap.Incomplete}
		rows = append([]model.Probe{file}, rows...)
	}
	probes := &grid[model.Probe]{
		id:    "probes",
		title: "probes: what is seen and what is not",
		empty: "no probe information in this stream",
		rows:  rows,
		sort:  2,
		ident: func(p model.Probe) string { return p.Name + "/" + p.Part },
		cols: []column[model.Probe]{
			textColumn("probe", 10, 0, 0, func(p model.Probe) string { return p.Name }),
			textColumn("part", 12, 0, 1, func(p model.Probe) string { return p.Part }),
			{
				title:  "state",
				w:      11,
				number: func(p model.Probe) float64 { return probeOrder[p.State%3] },
				draw: func(l *line, w int, p model.Probe) {
					s, g := good, u.theme.glyphs.good
					switch p.State {
					case model.ProbeDegraded:
						s, g = warning, u.theme.glyphs.warning
					case model.ProbeOff:
						s, g = critical, u.theme.glyphs.critical
					}
					l.glyph(s, g).space(1).field(s, p.State.String(), w-2, false)
				},
			},
			textColumn("why", 24, 2, 0, func(p model.Probe) string { return p.Reason }),
			textColumn("how to fix it", 20, 1, 2, func(p model.Probe) string { return p.Hint }),
		},
	}
	losses := &grid[fold.LossTotal]{
		id:    "losses",
		title: "events lost since " + formatClock(v.snap.Started, u.loc),
		empty: "none",
		rows:  v.snap.Losses,
		sort:  -1,
		ident: func(l fold.LossTotal) string { return l.Origin + "/" + l.Detail },
		cols: []column[fold.LossTotal]{
			textColumn("where", 14, 0, 0, func(l fold.LossTotal) string { return l.Origin }),
			textColumn("which", 20, 1, 0, func(l fold.LossTotal) string { return l.Detail }),
			numberColumn("events", 10, 0, func(l fold.LossTotal) float64 { return float64(l.Lost) }, formatCount),
		},
	}
	return []band{{probes}, {u.reasonBlock(probes)}, {losses}}
}

// probeOrder puts what does not work first.
var probeOrder = [...]float64{model.ProbeOff: 1, model.ProbeDegraded: 2, model.ProbeOn: 4}

// reasonBlock shows the selected probe's reason and hint in full.
func (u *ui) reasonBlock(g *grid[model.Probe]) section {
	return &block{id: "reason", height: 4, least: 2, draw: func(u *ui, w, h int) []string {
		s := u.list(g.id)
		g.prepare(s)
		if s.index >= len(g.rows) {
			return nil
		}
		p := &g.rows[s.index]
		var out []string
		for _, text := range []string{p.Reason, p.Hint} {
			for _, piece := range wrap(clean(text, u.theme.ascii), w-4) {
				out = append(out, newLine(u.theme, w).space(3).put(dim, piece).String())
			}
		}
		return out
	}}
}

// nothing is what a table without rows says: why its probe does not run, that this stream has nothing of the kind,
// or, where the probe runs, text.
func (v *view) nothing(probe, text string) string {
	why := offReason(v.snap.Probes, probe)
	if some, _ := areaSeen(v.snap.Probes, []string{probe}); why == "" && !some {
		return "none in this stream"
	}
	return cmp.Or(why, text)
}

// limits says in how many ways a probe does not see all, and which key tells them; empty when it sees everything,
// or when the stream does not name it.
func limits(probes []model.Probe, name string) string {
	n := 0
	for i := range probes {
		if probes[i].Name == name && probes[i].Reason != "" {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return plural(n, "limit") + ": d"
}
