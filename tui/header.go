package tui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// piece is text of the header with its style; pieces that have no room are
// left out, those with the highest drop first.
type piece struct {
	style style
	text  string
	drop  int
}

// header says where and when: the host on the left, the clock and lostbeat's own state on the right.
func (u *ui) header(v *view, w int) string {
	meta := v.snap.Meta
	left := []piece{{bold, "lostbeat", 8}, {plain, truncate(cmp.Or(meta["host"], u.opt.Source), 32, "…"), 3}}
	if system := strings.TrimSpace(meta["os"] + " " + meta["kernel"]); system != "" {
		left = append(left, piece{dim, "· " + system, 9})
	}
	if cpus := meta["cpus"]; cpus != "" {
		if cpus == "1" {
			cpus += " CPU"
		} else {
			cpus += " CPUs"
		}
		left = append(left, piece{dim, "· " + cpus, 10})
	}
	if on, all, limits := probesOn(v.snap.Probes); all > 0 {
		s := dim
		if on < all {
			s = warning
		}
		left = append(left, piece{s, fmt.Sprintf("· probes %d/%d", on, all), 7})
		if limits > 0 {
			left = append(left, piece{dim, "(" + plural(limits, "limit") + ": d)", 11})
		}
	}
	if slices.ContainsFunc(v.snap.Probes, model.Probe.Shed) {
		left = append(left, piece{warning, "· " + u.theme.glyphs.warning + " own CPU bound: d", 3})
	}
	if v.snap.Incomplete != "" {
		left = append(left, piece{warning, "· " + u.theme.glyphs.warning + " file incomplete: d", 2})
	}
	if slices.ContainsFunc(v.snap.Outputs, failing) {
		left = append(left, piece{warning, "· " + u.theme.glyphs.warning + " output fails: d", 3})
	}
	right := []piece{u.clock(v)}
	loss := piece{dim, "loss 0", 4}
	if v.snap.Lost > 0 {
		loss = piece{critical, "loss " + formatCount(float64(v.snap.Lost)), 1}
	}
	right = append(right, loss, piece{dim, formatCount(float64(v.frame.Events)) + " ev/s", 6})
	if v.snap.SelfSeen {
		right = append(right, piece{dim, "self " + formatPercent(v.snap.SelfCPU) + " " + formatBytes(v.snap.SelfRSS), 5})
		if v.snap.SelfKernel > 0 {
			right = append(right, piece{dim, "+ kernel " + formatPercent(v.snap.SelfKernel), 12})
		}
	}
	size := func() int {
		n := 2 // the least gap and the margin
		for _, p := range slices.Concat(left, right) {
			n += width(clean(p.text, u.theme.ascii)) + 1
		}
		return n + max(0, len(right)-1)
	}
	for size() > w && len(left)+len(right) > 1 {
		worst := 0
		for _, p := range slices.Concat(left, right) {
			worst = max(worst, p.drop)
		}
		match := func(p piece) bool { return p.drop == worst }
		left, right = slices.DeleteFunc(left, match), slices.DeleteFunc(right, match)
	}
	l := newLine(u.theme, w)
	for _, p := range left {
		l.space(1).put(p.style, p.text)
	}
	n := 0
	for i, p := range right {
		n += width(clean(p.text, u.theme.ascii))
		if i > 0 {
			n += 2
		}
	}
	l.to(w - n - 1)
	for i, p := range right {
		if i > 0 {
			l.space(2)
		}
		l.put(p.style, p.text)
	}
	return l.String()
}

// clock says whether the screen shows the present, and which moment it shows.
func (u *ui) clock(v *view) piece {
	g := u.theme
	at := formatClock(v.at, u.loc)
	if u.w >= 60 {
		at += v.at.Std().In(u.loc).Format(" MST")
	}
	back := ""
	if d := v.snap.Now.Sub(v.at); u.cursor != 0 && d >= time.Second {
		back = " (−" + formatSpan(d.Truncate(time.Second)) + ")"
	}
	switch {
	case u.opt.Player != nil && (u.play.paused || u.cursor != 0):
		return piece{warning, g.paused + " PAUSED " + at + formatSpeed(u.play.speed), 0}
	case u.opt.Player != nil:
		return piece{live, g.replay + " REPLAY " + at + formatSpeed(u.play.speed), 0}
	case u.paused:
		return piece{warning, g.paused + " PAUSED " + at + back, 0}
	case v.snap.Fault != "":
		return piece{critical, g.critical + " ENDED " + at, 0}
	}
	return piece{live, g.live + " LIVE " + at, 0}
}

func formatSpeed(speed float64) string {
	switch {
	case speed == 1:
		return ""
	case math.IsInf(speed, 1):
		return " ×max"
	case speed < 1:
		return fmt.Sprintf(" ×1/%.0f", 1/speed)
	}
	return fmt.Sprintf(" ×%.0f", speed)
}

// probesOn counts the probes, those of which any part runs, and the parts that
// do not run or miss something.
func probesOn(probes []model.Probe) (on, all, limits int) {
	runs := map[string]bool{}
	for _, p := range probes {
		runs[p.Name] = runs[p.Name] || p.State != model.ProbeOff
		if p.State != model.ProbeOn {
			limits++
		}
	}
	for _, some := range runs {
		if some {
			on++
		}
	}
	return on, len(runs), limits
}

// tabs names the pages.
func (u *ui) tabs(w int) string {
	l := newLine(u.theme, w)
	short := w < 76
	for i := range u.pages {
		name := u.pages[i].name
		if short && i != u.page {
			name = truncate(name, max(0, (w-20)/len(u.pages)-3), "")
		}
		text := fmt.Sprintf(" %d %s ", i+1, name)
		if i == u.page {
			l.put(tab, text)
		} else {
			l.put(plain, text)
		}
	}
	hints := []string{"? help  q quit", "? help"}
	if d := u.top(); d.kind != "" {
		hints = []string{"Esc back  ? help", "Esc back"}
	}
	for _, hint := range hints {
		if l.left() > len(hint)+1 {
			return l.to(w-len(hint)-1).put(dim, hint).String()
		}
	}
	return l.String()
}

// tabAt returns the page whose name stands at column x of the line of tabs.
func (u *ui) tabAt(x int) (int, bool) {
	text := visibleTabs(u)
	at := 0
	for i, n := range text {
		if x >= at && x < at+n {
			return i, true
		}
		at += n
	}
	return 0, false
}

// visibleTabs returns the width of each page's tab.
func visibleTabs(u *ui) []int {
	out := make([]int, len(u.pages))
	for i := range u.pages {
		name := u.pages[i].name
		if u.w < 76 && i != u.page {
			name = truncate(name, max(0, (u.w-20)/len(u.pages)-3), "")
		}
		out[i] = len(name) + 4
	}
	return out
}

// timeline shows the whole span with its findings and the moment that is looked at.
func (u *ui) timeline(v *view, w int) string {
	l := newLine(u.theme, w)
	if p := v.snap.Progress; p.Total > 0 {
		return l.space(1).
			put(accent, fmt.Sprintf("looking for findings in the whole file: %d %%", min(100, p.Done*100/p.Total))).
			String()
	}
	if v.snap.Events == 0 {
		return blank(w)
	}
	t, ok := u.track(v, w)
	if !ok {
		return l.space(1).put(dim, t.from).String()
	}
	start, end, room := t.start, t.end, t.room
	place := func(t model.Time) int {
		return int(float64(t-start) / float64(end-start) * float64(room-1))
	}
	marks := make([]struct {
		style style
		glyph string
	}, room)
	played := place(min(v.snap.Now, end))
	for i := range marks {
		marks[i].style, marks[i].glyph = dim, u.theme.track
		if u.opt.Player != nil && i > played {
			marks[i].glyph = u.theme.ahead
		}
	}
	for _, severity := range []model.Severity{model.SeverityInfo, model.SeverityWarning, model.SeverityCritical} {
		for _, f := range v.snap.Findings {
			if f.Severity != severity || f.End < start || f.Start > end {
				continue
			}
			s, g := u.severity(severity)
			a, b := place(max(f.Start, start)), place(min(f.End, end))
			for i := a + 1; i <= b; i++ {
				marks[i].style, marks[i].glyph = s, u.theme.span
			}
			marks[a].style, marks[a].glyph = s, g
		}
	}
	for _, n := range v.snap.Notes {
		if n.About >= start && n.About <= end {
			at := &marks[place(n.About)]
			at.style, at.glyph = accent, u.theme.note
		}
	}
	if u.cursor != 0 || u.opt.Player != nil {
		marks[place(min(max(v.at, start), end))].glyph = u.theme.head
		marks[place(min(max(v.at, start), end))].style = accent
	}
	l.space(1).glyph(dim, u.theme.left).space(1).put(dim, t.from).space(1)
	for _, m := range marks {
		l.glyph(m.style, m.glyph)
	}
	return l.space(1).put(dim, t.to).space(1).glyph(dim, u.theme.right).String()
}

// severity returns the style and the glyph of a severity.
func (u *ui) severity(s model.Severity) (style, string) {
	switch s {
	case model.SeverityCritical:
		return critical, u.theme.glyphs.critical
	case model.SeverityWarning:
		return warning, u.theme.glyphs.warning
	}
	return good, u.theme.info
}
