package tui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"lostbeat/internal/words"
	"lostbeat/model"
)

// findingsName is the name of the page.
const findingsName = "Findings"

// findingsTable is the name of the list of findings.
const findingsTable = "findings"

func (u *ui) findingsBands(v *view) []band {
	title := "findings so far"
	if v.snap.Scanned {
		title = "all findings of this recording"
	}
	g := &grid[*model.Finding]{
		id:    findingsTable,
		title: title + " (Enter: evidence, go to its time)",
		empty: "none",
		rows:  v.snap.Findings,
		sort:  1,
		desc:  true,
		ident: func(f *model.Finding) string { return f.ID },
		find:  func(f *model.Finding) string { return f.Title + " " + f.Detector + " " + f.Severity.String() },
		enter: func(f *model.Finding) command {
			u.open(drill{kind: "finding", finding: f.ID})
			return u.goTo(f.Start)
		},
		cols: []column[*model.Finding]{
			{title: "", w: 1, draw: func(l *line, _ int, f *model.Finding) {
				s, g := u.severity(f.Severity)
				l.glyph(s, g)
			}},
			{
				title:  "start",
				w:      8,
				exact:  true,
				number: func(f *model.Finding) float64 { return float64(f.Start) },
				draw: func(l *line, w int, f *model.Finding) {
					s := plain
					if f.Start > v.at {
						s = dim
					}
					l.field(s, formatClock(f.Start, u.loc), w, false)
				},
			},
			{
				title:  "for",
				w:      11,
				right:  true,
				drop:   1,
				number: func(f *model.Finding) float64 { return float64(f.End - f.Start) },
				draw: func(l *line, w int, f *model.Finding) {
					l.field(plain, formatSpan(f.End.Sub(f.Start).Truncate(time.Second)), w, true)
				},
			},
			textColumn("", 7, 0, 2, func(f *model.Finding) string {
				switch {
				case f.Start > v.at:
					return "later"
				case v.active(f):
					return "active"
				}
				return "ended"
			}),
			{
				title:  "severity",
				w:      8,
				drop:   4,
				number: func(f *model.Finding) float64 { return float64(f.Severity) },
				draw: func(l *line, w int, f *model.Finding) {
					s, _ := u.severity(f.Severity)
					l.field(s, f.Severity.String(), w, false)
				},
			},
			textColumn("finding", 20, 1, 0, func(f *model.Finding) string { return f.Title }),
			textColumn("detector", 14, 0, 3, func(f *model.Finding) string { return f.Detector }),
		},
	}
	return []band{{g}, {u.evidence(v, g)}}
}

// evidence shows the selected finding of a list in full, under it.
func (u *ui) evidence(v *view, g *grid[*model.Finding]) section {
	return &block{id: "evidence", height: 1 << 10, least: 8, draw: func(u *ui, w, h int) []string {
		s := u.list(g.id)
		g.prepare(s)
		if len(g.rows) == 0 {
			return nil
		}
		s.follow(len(g.rows), func(i int) string { return g.ident(g.rows[i]) })
		f := g.rows[s.index]
		if f.Start <= v.at {
			f = v.finding(f.ID)
		}
		lines := u.findingLines(v, f, w)
		if len(lines) > h {
			lines = append(lines[:h-1:h-1], newLine(u.theme, w).space(3).put(accent, plural(len(lines)-h+1, "more line")+
				": Enter").String())
		}
		return lines
	}}
}

// chosenFinding is the finding that a key acts on: the open one, the selected
// one of the list, or the first one of the verdict.
func (u *ui) chosenFinding() *model.Finding {
	v := &u.look
	if v.snap == nil {
		u.look = u.newView()
	}
	id := u.top().finding
	if u.screen() == findingsName {
		if l, s := u.listing(); l != nil && l.rows > 0 {
			s.follow(l.rows, l.id)
			id = l.id(s.index)
		}
	}
	if f := v.finding(id); f != nil {
		return f
	}
	if id == "" && u.screen() == overviewName && len(v.findings) > 0 {
		return v.findings[min(u.list(verdictList).index, len(v.findings)-1)]
	}
	return nil
}

// findingBands is everything that a finding says.
func (u *ui) findingBands(v *view, id string) []band {
	f := v.finding(id)
	return []band{{&block{id: "finding", height: 1 << 16, least: 1, draw: func(u *ui, w, h int) []string {
		if f == nil {
			return []string{newLine(u.theme, w).space(1).put(dim, "this finding is no longer in memory").String()}
		}
		return u.scrolled(u.findingLines(v, f, w), w, h)
	}}}}
}

// scrolled cuts what u.scroll leaves visible, and says when there is more.
func (u *ui) scrolled(lines []string, w, h int) []string {
	u.scroll = max(0, min(u.scroll, len(lines)-h))
	out := append([]string(nil), lines[u.scroll:min(len(lines), u.scroll+h)]...)
	if below := len(lines) - u.scroll - h; below >= 0 && len(lines) > h && h > 1 {
		if below > 0 {
			out[h-1] = newLine(u.theme, w).space(1).put(accent, plural(below+1, "more line")+": j or PgDn").String()
		}
	}
	return out
}

// findingLines draws a finding in full.
func (u *ui) findingLines(v *view, f *model.Finding, w int) []string {
	s, g := u.severity(f.Severity)
	var out []string
	add := func(st style, indent int, mark, text string) {
		for i, piece := range wrap(clean(text, u.theme.ascii), w-indent-3) {
			l := newLine(u.theme, w).space(indent)
			if i == 0 && mark != "" {
				l.glyph(st, mark).space(1)
			} else {
				l.space(2)
			}
			out = append(out, l.put(st, piece).String())
		}
	}
	list := func(title string, items []string, numbered bool) {
		if len(items) == 0 {
			return
		}
		out = append(out, blank(w), newLine(u.theme, w).space(3).put(heading, title).String())
		for i, item := range items {
			if numbered {
				item = fmt.Sprintf("%d. %s", i+1, item)
			}
			add(plain, 3, "", item)
		}
	}
	add(s, 1, g, f.Title)
	add(dim, 1, "", f.Severity.String()+" · "+u.when(v, f)+" · detector "+f.Detector)
	if text := victims(v, f); text != "" {
		list("whose", []string{text}, false)
	}
	if len(f.Evidence) > 0 {
		out = append(out, blank(w), newLine(u.theme, w).space(3).put(heading, "evidence").String())
		wide := 0
		for _, e := range f.Evidence {
			wide = max(wide, width(formatValue(e.Value, e.Unit)))
		}
		for _, e := range f.Evidence {
			out = append(
				out,
				newLine(
					u.theme,
					w,
				).space(5).
					field(bold, formatValue(e.Value, e.Unit), wide, true).
					space(2).
					put(plain, e.Name).
					String(),
			)
		}
	}
	why := words.Reasons(f)
	list("why", why, len(why) > 1)
	list("ruled out", f.RuledOut, false)
	list("what to do", f.Advice, len(f.Advice) > 1)
	loss := "no events were lost during this finding"
	if f.Loss > 0 {
		loss = formatInt(int64(f.Loss)) + " events were lost during this finding: the numbers are lower bounds"
	}
	out = append(out, blank(w))
	add(dim, 1, "", loss)
	add(dim, 1, "", "y copies this as text · [ ] goes to the previous or next finding")
	return out
}

// findingText is a finding as plain text for a ticket. Control characters are
// replaced: what is pasted into a shell must not run.
func findingText(f *model.Finding, meta map[string]string, loc *time.Location) string {
	var b strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	c := func(s string) string { return strings.ReplaceAll(clean(s, false), noBreak, " ") }
	stamp := func(t model.Time) string { return t.Std().In(loc).Format("2006-01-02 15:04:05.000 -07:00") }
	write("%s: %s\n", strings.ToUpper(f.Severity.String()), c(f.Title))
	if host := cmp.Or(meta["host"], ""); host != "" {
		write("host %s, %s %s\n", c(host), c(meta["os"]), c(meta["kernel"]))
	}
	end := "to " + stamp(f.End)
	if f.Ongoing {
		end = "still going at " + stamp(f.End)
	}
	write("from %s %s\n", stamp(f.Start), end)
	section := func(title string, items []string) {
		if len(items) == 0 {
			return
		}
		write("\n%s:\n", title)
		for _, item := range items {
			write("- %s\n", c(item))
		}
	}
	evidence := make([]string, len(f.Evidence))
	for i, e := range f.Evidence {
		evidence[i] = e.Name + ": " + formatValue(e.Value, e.Unit)
	}
	section("Evidence", evidence)
	section("Why", words.Reasons(f))
	section("Ruled out", f.RuledOut)
	section("What to do", f.Advice)
	write(
		"\nEvents lost during this finding: %d\nlostbeat %s, detector %s, id %s\n",
		f.Loss,
		c(meta["tool"]),
		c(f.Detector),
		c(f.ID),
	)
	return b.String()
}
