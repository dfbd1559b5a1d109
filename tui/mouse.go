package tui

import (
	"slices"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// place is where a section stands on the screen, in cells from the top left corner.
type place struct {
	section    section
	x, y, w, h int
}

// drawing is where the parts of a table were drawn last, in lines from its own top; -1 for what was not.
type drawing struct {
	head, rows int
	widths     []int
}

// click does what a reader means by clicking at a cell: a tab opens its page, the time line goes to its moment, the
// head of a column sorts by it, a row is selected and, when it was already, opened.
func (u *ui) click(x, y int) command {
	if u.prompt != nil {
		return nil
	}
	u.drawn = false
	if p, ok := u.tabAt(x); ok && y == 1 && u.h >= 12 {
		return u.goPage(p)
	}
	if y == u.h-1 && u.timed {
		return u.clickTime(x)
	}
	if at := y - u.verdictTop; u.top().kind == "" && at >= 0 && at < len(u.verdictRows) {
		return u.clickVerdict(u.verdictRows[at])
	}
	for _, p := range u.places {
		if x >= p.x && x < p.x+p.w && y >= p.y && y < p.y+p.h {
			return u.clickTable(p.section, x-p.x, y-p.y)
		}
	}
	return nil
}

// clickTime goes to the moment at column x of the time line.
func (u *ui) clickTime(x int) command {
	t, ok := u.track(&u.look, u.w)
	if !ok || x < t.left || x >= t.left+t.room {
		return nil
	}
	return u.goTo(t.start + model.Time(float64(x-t.left)/float64(max(1, t.room-1))*float64(t.end-t.start)))
}

// clickVerdict chooses a finding of the first page, or opens it when it is chosen.
func (u *ui) clickVerdict(id string) command {
	if id == "" {
		return nil
	}
	delete(u.focus, u.screen())
	s := u.list(verdictList)
	i := slices.IndexFunc(u.look.findings, func(f *model.Finding) bool { return f.ID == id })
	if i < 0 {
		return nil
	}
	if s.index == i && (s.selected == id || (s.selected == "" && i == 0)) {
		return u.enter("")
	}
	s.index, s.selected = i, id
	return nil
}

// clickTable sorts, selects or opens in a table; x and y count from its own corner.
func (u *ui) clickTable(p section, x, y int) command {
	l := p.table(u)
	if l == nil {
		return nil
	}
	focused := u.focused(u.bands(&u.look))
	had := focused != nil && focused.name() == p.name()
	u.focus[u.screen()] = p.name()
	s := u.list(p.name())
	switch {
	case y == s.drawing.head && s.drawing.head > 0:
		at := columnAt(s.drawing.widths, x)
		if at < 0 || !l.sortable[at] {
			return nil
		}
		by, desc := l.defaults, l.desc
		if s.sorted {
			by, desc = s.column, s.desc
		}
		s.sorted, s.column, s.desc = true, at, by != at || !desc
	case y >= s.drawing.rows && s.drawing.rows > 0:
		row := s.top + y - s.drawing.rows
		if row >= l.rows {
			return nil
		}
		if had && s.index == row && l.open != nil {
			return l.open(row)
		}
		s.index, s.selected = row, l.id(row)
	}
	return nil
}

// columnAt returns the column at cell x of a table whose columns have these widths, -1 for none.
func columnAt(widths []int, x int) int {
	at := 1
	for i, w := range widths {
		if w == 0 {
			continue
		}
		if x >= at && x < at+w+2 {
			return i
		}
		at += w + 2
	}
	return -1
}

// track is where the time line draws its span.
type track struct {
	from, to   string
	left, room int
	start, end model.Time
}

// track returns where the time line is in w cells; false where it has no room or no span.
func (u *ui) track(v *view, w int) (track, bool) {
	start, end := u.span()
	t := track{start: start, end: end, from: formatClock(start, u.loc), to: formatClock(end, u.loc)}
	if u.opt.Player == nil {
		t.from, t.to = "−"+formatSpan(end.Sub(start).Truncate(time.Duration(fold.FrameStep))), "now"
	}
	from := width(clean(t.from, u.theme.ascii))
	t.left = from + 4
	t.room = w - from - width(clean(t.to, u.theme.ascii)) - 8
	return t, t.room >= 5 && end > start && v.snap.Progress.Total == 0
}
