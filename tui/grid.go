package tui

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"lostbeat/model"
)

// section is a part of a page: a table or a block of text.
type section interface {
	// name identifies the section on its page.
	name() string
	// want is the height that shows everything, minimum the least that is of use.
	want(w int) int
	minimum() int
	// render draws it in w by h cells.
	render(u *ui, w, h int, focused bool) []string
	// table gives what keys act on; nil for a section without rows.
	table(u *ui) *listing
	// detail draws the row with this identity in full; nil where there is none.
	detail(u *ui, v *view, w int, id string) []string
}

// listing is what the keys need to know of a table.
type listing struct {
	columns int
	// sortable says which columns have an order.
	sortable []bool
	defaults int
	desc     bool
	rows     int
	// id returns the identity of row i in the order that is shown.
	id func(i int) string
	// open returns what Enter does on row i.
	open func(i int) command
}

// listState is what a reader has done to a table; it outlives snapshots.
type listState struct {
	sorted bool // by the reader, else by default
	column int
	desc   bool
	filter string
	// shared is the filter of all tables.
	shared string
	// selected is the identity of the selected row, index where it was last.
	selected string
	index    int
	top      int
	page     int // rows that were visible when last drawn
	drawing  drawing
}

// column is a column of a grid.
type column[T any] struct {
	title string
	// w is the width, at least; flex is the share of what is left over.
	w, flex int
	right   bool
	// drop is the order in which columns go when there is no room: the highest first, 0 never.
	drop int
	// number or text is what the column sorts by.
	number func(T) float64
	text   func(T) string
	// exact orders rows by the whole number by default, too: it does not vary from second to second.
	exact bool
	// draw writes the cell; nil writes text.
	draw func(l *line, w int, v T)
}

// grid is a table with a row for each value.
type grid[T any] struct {
	id, title string
	// note is said under the title; limits, short, beside it: that something cannot be seen here.
	note, limits string
	// empty is said when there are no rows.
	empty string
	cols  []column[T]
	rows  []T
	ident func(T) string
	// find is what the filter searches, text columns are when it is nil.
	find func(T) string
	// sort is the column of the default order, from large to small when desc.
	sort int
	desc bool
	// then orders rows that are alike by default, the largest first; nil for none.
	then func(T) float64
	// mark gives a row's style, nil plain.
	mark func(T) style
	// enter is what opening a row does; nil shows all of its columns.
	enter func(T) command
	// about is what a row is about, to find what was found about it; nil for none.
	about func(T) model.Subject

	ready bool
	// wrong says what is wrong with the filter; all rows are shown then.
	wrong error
	// shared says that a filter of all tables is one of this table: it has the columns.
	shared bool
}

func (g *grid[T]) name() string { return g.id }

// minimum is title, head and three rows: less than that is no table.
func (g *grid[T]) minimum() int { return min(5+g.notes(), g.want(0)) }

func (g *grid[T]) want(int) int { return 2 + g.notes() + max(1, len(g.rows)) }

func (g *grid[T]) notes() int {
	if g.note == "" {
		return 0
	}
	return 1
}

// prepare filters and sorts the rows, once.
func (g *grid[T]) prepare(s *listState) {
	if g.ready {
		return
	}
	g.ready = true
	if s.filter != "" {
		g.rows, _, g.wrong = g.choose(g.rows, s.filter, false)
	}
	if s.shared != "" {
		rows, applies, err := g.choose(g.rows, s.shared, true)
		g.rows, g.shared, g.wrong = rows, applies, cmp.Or(g.wrong, err)
	}
	by, desc := g.sort, g.desc
	if s.sorted && s.column < len(g.cols) {
		by, desc = s.column, s.desc
	}
	if by < 0 || by >= len(g.cols) {
		return
	}
	c := &g.cols[by]
	sign := 1
	if desc {
		sign = -1
	}
	switch {
	case c.number != nil:
		// By default rows change places only when they differ by a good part,
		// so that a table of live numbers can be read.
		type ranked struct {
			key, then float64
			row       T
		}
		order := make([]ranked, len(g.rows))
		for i, v := range g.rows {
			order[i] = ranked{key: c.number(v), row: v}
			if s.sorted || c.exact {
				continue
			}
			order[i].key = coarse(order[i].key)
			if g.then != nil {
				order[i].then = coarse(g.then(v))
			}
		}
		slices.SortStableFunc(order, func(a, b ranked) int {
			return cmp.Or(sign*cmp.Compare(a.key, b.key), cmp.Compare(b.then, a.then))
		})
		g.rows = slices.Clone(g.rows)
		for i := range order {
			g.rows[i] = order[i].row
		}
	case c.text != nil:
		g.rows = slices.Clone(g.rows)
		slices.SortStableFunc(g.rows, func(a, b T) int { return sign * cmp.Compare(c.text(a), c.text(b)) })
	}
}

// coarse makes numbers equal that differ by less than some 40 %.
func coarse(n float64) float64 {
	if n <= 0 {
		return math.Inf(-1)
	}
	return math.Floor(math.Log2(n) * 2)
}

func (g *grid[T]) searched(v T) string {
	if g.find != nil {
		return g.find(v)
	}
	var b strings.Builder
	for i := range g.cols {
		if g.cols[i].text != nil {
			b.WriteString(g.cols[i].text(v))
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (g *grid[T]) table(u *ui) *listing {
	g.prepare(u.list(g.id))
	sortable := make([]bool, len(g.cols))
	for i := range g.cols {
		sortable[i] = g.cols[i].title != "" && (g.cols[i].number != nil || g.cols[i].text != nil)
	}
	l := &listing{
		columns:  len(g.cols),
		sortable: sortable,
		defaults: g.sort,
		desc:     g.desc,
		rows:     len(g.rows),
		id:       func(i int) string { return g.ident(g.rows[i]) },
	}
	l.open = func(i int) command {
		if g.enter != nil {
			return g.enter(g.rows[i])
		}
		return u.openRow(g.id, g.ident(g.rows[i]))
	}
	return l
}

// follow keeps the selection on its row, wherever that has moved.
func (s *listState) follow(rows int, id func(int) string) {
	if rows == 0 {
		s.index, s.top = 0, 0
		return
	}
	s.index = min(max(s.index, 0), rows-1)
	if s.selected != "" && id(s.index) != s.selected {
		for i := range rows {
			if id(i) == s.selected {
				s.index = i
				return
			}
		}
		s.selected = id(s.index)
	}
}

// sampled is how many rows are looked at for the width of a column of text, and
// maxText how wide it gets at most before other columns have theirs.
const sampled, maxText = 100, 48

// widths gives each column its width, 0 to those that have no room: first what
// it needs at least, then columns of text what their texts need, then the rest
// to the columns that can use any width.
func (g *grid[T]) widths(w int) []int {
	widths := make([]int, len(g.cols))
	var total int
	for limit := math.MaxInt; ; {
		total = -1
		highest := 0
		for i := range g.cols {
			c := &g.cols[i]
			widths[i] = 0
			if c.drop >= limit {
				continue
			}
			widths[i] = c.w
			if c.number != nil || c.text != nil {
				widths[i] = max(c.w, width(c.title)+1) // room for the mark of the order
			}
			total += widths[i] + 2
			highest = max(highest, c.drop)
		}
		if total <= w || highest == 0 {
			break
		}
		limit = highest
	}
	spare := w - total
	widen := func(i, most int) {
		c := &g.cols[i]
		need := 0
		for _, v := range g.rows[:min(len(g.rows), sampled)] {
			need = max(need, width(c.text(v)))
		}
		if more := min(need, most) - widths[i]; more > 0 && spare > 0 {
			more = min(more, spare)
			widths[i] += more
			spare -= more
		}
	}
	flex, last := 0, -1
	for i := range g.cols {
		c := &g.cols[i]
		if widths[i] == 0 || c.flex == 0 {
			continue
		}
		if c.text == nil {
			flex += c.flex
			last = i
			continue
		}
		widen(i, maxText)
	}
	if spare <= 0 {
		return widths
	}
	if flex == 0 { // texts get all that they need, and the last that may grow takes what is left
		for i := range g.cols {
			if widths[i] > 0 && g.cols[i].flex > 0 {
				widen(i, w)
				last = i
			}
		}
		if last >= 0 {
			widths[last] += spare
		}
		return widths
	}
	given := 0
	for i := range g.cols {
		if c := &g.cols[i]; widths[i] > 0 && c.flex > 0 && c.text == nil {
			n := min(spare*c.flex/flex, max(0, maxSpark-widths[i]))
			widths[i] += n
			given += n
		}
	}
	widths[last] += max(0, min(spare-given, maxSpark-widths[last]))
	return widths
}

func (g *grid[T]) render(u *ui, w, h int, focused bool) []string {
	s := u.list(g.id)
	g.prepare(s)
	out := make([]string, 0, h)
	s.drawing = drawing{head: -1, rows: -1}
	out = append(out, "") // the title, when it is known what is visible
	if g.note != "" && h > 3 {
		out = append(out, newLine(u.theme, w).space(1).put(dim, g.note).String())
	}
	if len(g.rows) == 0 {
		text := g.empty
		if s.filter != "" || g.shared {
			text = "no row matches the filter; Esc removes it"
		}
		out[0] = g.titleLine(u, s, w, focused)
		return append(out, newLine(u.theme, w).space(1).put(dim, text).String())
	}
	widths := g.widths(w)
	s.drawing.widths = widths
	if h-len(out) >= 2 {
		s.drawing.head = len(out)
		out = append(out, g.header(u, s, widths, w))
	}
	s.drawing.rows = len(out)
	visible := max(0, h-len(out))
	s.page = max(1, visible)
	if focused {
		s.follow(len(g.rows), func(i int) string { return g.ident(g.rows[i]) })
		s.top = min(max(s.top, s.index-visible+1), s.index)
	}
	s.top = max(0, min(s.top, len(g.rows)-visible))
	if !focused {
		s.top = 0
	}
	for i := s.top; i < min(s.top+visible, len(g.rows)); i++ {
		out = append(out, g.row(u, widths, w, g.rows[i], focused && i == s.index))
	}
	out[0] = g.titleLine(u, s, w, focused)
	return out
}

// titleLine is the title, with what part of the rows is visible.
func (g *grid[T]) titleLine(u *ui, s *listState, w int, focused bool) string {
	l := newLine(u.theme, w)
	titleStyle := heading
	if focused {
		titleStyle = accent
		l.glyph(accent, u.theme.pointer)
	} else {
		l.space(1)
	}
	var tail []piece // what must be seen: the title gives way to it
	if rows := len(g.rows); s.page < rows {
		visible := formatInt(int64(s.top+1)) + "–" + formatInt(int64(s.top+s.page)) + " of " + formatInt(int64(rows))
		tail = append(tail, piece{style: dim, text: visible})
	}
	if g.wrong != nil { // which filter it is, the reader knows
		tail = []piece{{style: critical, text: g.wrong.Error()}}
	} else {
		if s.filter != "" {
			tail = append(tail, piece{style: warning, text: "filter: " + s.filter})
		}
		if g.shared {
			tail = append(tail, piece{style: warning, text: "filter: " + s.shared})
		}
	}
	need := 0
	for _, p := range tail {
		need += 2 + width(clean(p.text, u.theme.ascii))
	}
	l.put(titleStyle, truncate(clean(g.title, u.theme.ascii), max(l.left()-need, min(l.left()/3, 12)), u.theme.more))
	hasLimits := g.limits != "" && (len(g.rows) > 0 || !strings.HasPrefix(g.empty, "not seen"))
	if hasLimits && l.left()-need > width(g.limits)+2 {
		l.space(2).put(dim, g.limits)
	}
	for _, p := range tail {
		l.space(2).put(p.style, p.text)
	}
	return l.String()
}

func (g *grid[T]) header(u *ui, s *listState, widths []int, w int) string {
	l := newLine(u.theme, w).space(1)
	by, desc := g.sort, g.desc
	if s.sorted {
		by, desc = s.column, s.desc
	}
	for i := range g.cols {
		if widths[i] == 0 {
			continue
		}
		title := g.cols[i].title
		if i == by && title != "" {
			arrow := u.theme.up
			if desc {
				arrow = u.theme.down
			}
			room := widths[i] - width(title) - 1
			if g.cols[i].right {
				l.space(room)
			}
			l.put(bold, truncate(title, widths[i]-1, "")).glyph(bold, arrow)
			if !g.cols[i].right {
				l.space(room)
			}
		} else {
			l.field(dim, title, widths[i], g.cols[i].right)
		}
		l.space(2)
	}
	return l.String()
}

func (g *grid[T]) row(u *ui, widths []int, w int, v T, isSelected bool) string {
	l := newLine(u.theme, w)
	base := plain
	if g.mark != nil {
		base = g.mark(v)
	}
	if isSelected {
		l.over = selected
		l.glyph(selected, u.theme.pointer)
	} else {
		l.space(1)
	}
	for i := range g.cols {
		if widths[i] == 0 {
			continue
		}
		c := &g.cols[i]
		start := l.used
		if c.draw != nil {
			c.draw(l, min(widths[i], l.left()), v)
		} else {
			l.field(base, c.text(v), widths[i], c.right)
		}
		l.to(start + widths[i]).space(2)
	}
	return l.String()
}

// textColumn is a column of text.
func textColumn[T any](title string, w, flex, drop int, text func(T) string) column[T] {
	return column[T]{title: title, w: w, flex: flex, drop: drop, text: text}
}

// numberColumn is a column of numbers, shown by format; zeros are dimmed.
func numberColumn[T any](title string, w, drop int, number func(T) float64, format func(float64) string) column[T] {
	return column[T]{title: title, w: w, drop: drop, right: true, number: number, draw: func(l *line, w int, v T) {
		n := number(v)
		s := plain
		if n == 0 {
			s = dim
		}
		l.field(s, format(n), w, true)
	}}
}

// sparkColumn is a column with the history of a number.
func sparkColumn[T any](
	title string,
	w, flex, drop int,
	s style,
	limit float32,
	values func(v T, n int) []float32,
) column[T] {
	return column[T]{title: title, w: w, flex: flex, drop: drop, draw: func(l *line, w int, v T) {
		l.spark(s, values(v, min(w, maxSpark)), limit)
	}}
}

// maxSpark is how many seconds a history in a table shows at most.
const maxSpark = 120

// block is a section of lines that are already known.
type block struct {
	id, title string
	height    int
	least     int
	draw      func(u *ui, w, h int) []string
}

func (b *block) name() string       { return b.id }
func (b *block) want(int) int       { return b.height }
func (b *block) minimum() int       { return b.least }
func (b *block) table(*ui) *listing { return nil }

func (b *block) detail(*ui, *view, int, string) []string { return nil }

func (b *block) render(u *ui, w, h int, focused bool) []string {
	lines := b.draw(u, w, h)
	return lines[:min(h, len(lines))]
}
