package tui

import "strings"

// line writes one line of the screen, from left to right, in at most max cells.
// It is the only way in which text reaches the terminal.
type line struct {
	theme *theme
	max   int
	used  int
	style style
	over  style // when not plain, the style of everything: a selected row
	buf   []byte
}

func newLine(t *theme, max int) *line {
	return &line{theme: t, max: max, buf: make([]byte, 0, 2*max+32)}
}

func (l *line) left() int { return max(0, l.max-l.used) }

func (l *line) set(s style) {
	if l.over != plain {
		s = l.over
	}
	if s == l.style {
		return
	}
	if l.style != plain && l.theme.begin[l.style] != "" {
		l.buf = append(l.buf, endStyle...)
	}
	l.buf = append(l.buf, l.theme.begin[s]...)
	l.style = s
}

// fit returns text as it may be written into w cells.
func (l *line) fit(text string, w int) string {
	return truncate(strings.ReplaceAll(clean(text, l.theme.ascii), noBreak, " "), w, l.theme.more)
}

// put writes text, made safe for the terminal and cut to what is left of the line.
func (l *line) put(s style, text string) *line {
	text = l.fit(text, l.left())
	if text == "" {
		return l
	}
	l.set(s)
	l.buf = append(l.buf, text...)
	l.used += width(text)
	return l
}

// glyph writes one of the theme's own characters, each one cell wide.
func (l *line) glyph(s style, g string) *line {
	if l.left() == 0 {
		return l
	}
	l.set(s)
	l.buf = append(l.buf, g...)
	l.used++
	return l
}

// repeat writes a glyph n times.
func (l *line) repeat(s style, g string, n int) *line {
	for range min(n, l.left()) {
		l.glyph(s, g)
	}
	return l
}

// space writes n blanks.
func (l *line) space(n int) *line {
	if n = min(n, l.left()); n > 0 {
		if l.over != plain || l.style >= selected {
			l.set(plain)
		}
		for range n {
			l.buf = append(l.buf, ' ')
		}
		l.used += n
	}
	return l
}

// to writes blanks up to column x.
func (l *line) to(x int) *line { return l.space(x - l.used) }

// field writes text in w cells, to the left or to the right of them.
func (l *line) field(s style, text string, w int, right bool) *line {
	w = min(w, l.left())
	text = l.fit(text, w)
	gap := w - width(text)
	if right {
		l.space(gap)
	}
	l.put(s, text)
	if !right {
		l.space(gap)
	}
	return l
}

// spark writes values as a line of bars, the highest being limit; with limit 0
// it is the largest value, and every value above 0 is told from 0. What is not a
// number was not measured.
func (l *line) spark(s style, values []float32, limit float32) *line {
	least := limit / 200
	if limit <= 0 {
		for _, v := range values {
			if v > limit { // false for what is not a number
				limit = v
			}
		}
	}
	top := len(l.theme.sparks) - 1
	for _, v := range values {
		if v != v { // nothing was measured
			l.space(1)
			continue
		}
		level := 0
		if v > least && limit > 0 {
			level = 2 + int(min(v/limit, 1)*float32(top-2)+0.5)
		}
		if level == 0 {
			l.glyph(dim, l.theme.sparks[1]) // the base line: seen, and zero
			continue
		}
		l.glyph(s, l.theme.sparks[min(level, top)])
	}
	return l
}

// String returns the line, filled up with blanks.
func (l *line) String() string {
	l.to(l.max)
	l.over = plain
	l.set(plain)
	return string(l.buf)
}
