package tui

// sideBySide is the narrowest screen on which two sections stand beside each other.
const sideBySide = 110

// band is sections that may stand beside each other.
type band []section

// arrange draws the bands into w by h cells. With too little room the focused
// section is drawn, then as many others as fit, in order.
func (u *ui) arrange(bands []band, w, h int) []string {
	if h <= 0 || w <= 0 {
		return nil
	}
	if w < sideBySide {
		var single []band
		for _, b := range bands {
			for _, s := range b {
				single = append(single, band{s})
			}
		}
		bands = single
	}
	focus := u.focused(bands)
	focusBand := 0
	for i, b := range bands {
		for _, s := range b {
			if s == focus {
				focusBand = i
			}
		}
	}
	heights := u.heights(bands, focusBand, w, h)
	out := make([]string, 0, h)
	for i, b := range bands {
		if heights[i] == 0 {
			continue
		}
		if len(out) > 0 {
			out = append(out, blank(w))
		}
		out = append(out, u.beside(b, focus, w, heights[i], u.bodyTop+len(out))...)
	}
	return out[:min(h, len(out))]
}

// heights shares h lines among the bands, a blank line between them.
func (u *ui) heights(bands []band, focus, w, h int) []int {
	heights := make([]int, len(bands))
	want := make([]int, len(bands))
	left := h
	give := func(i int) {
		least := 0
		for _, s := range bands[i] {
			least = max(least, s.minimum())
			want[i] = max(want[i], s.want(bandWidth(bands[i], w)))
		}
		least = min(least, want[i])
		gap := 0
		for _, have := range heights {
			if have > 0 {
				gap = 1
			}
		}
		if least+gap <= left {
			heights[i] = least
			left -= least + gap
		} else if gap == 0 {
			heights[i], left = left, 0
		}
	}
	if len(bands) > 0 {
		give(focus)
	}
	for i := range bands {
		if i != focus {
			give(i)
		}
	}
	// What is left goes out evenly, so that no section starves another; the
	// focused one gets the odd lines.
	for left > 0 {
		gave := false
		for n := range bands {
			i := (focus + n) % len(bands)
			if left > 0 && heights[i] > 0 && heights[i] < want[i] {
				heights[i]++
				left--
				gave = true
			}
		}
		if !gave {
			break
		}
	}
	return heights
}

func bandWidth(b band, w int) int { return (w - 2*(len(b)-1)) / len(b) }

// beside draws the sections of b next to each other; top is the line of the screen on which they begin.
func (u *ui) beside(b band, focus section, w, h, top int) []string {
	draw := func(s section, x, w int) []string {
		lines := s.render(u, w, h, s == focus)
		u.places = append(u.places, place{s, x, top, w, min(len(lines), h)})
		return lines[:min(len(lines), h)]
	}
	if len(b) == 1 {
		return draw(b[0], 0, w)
	}
	each := bandWidth(b, w)
	out := make([]string, h)
	tallest := 0
	for n, s := range b {
		sectionWidth := each
		if n == len(b)-1 {
			sectionWidth = w - (each+2)*n
		}
		lines := draw(s, n*(each+2), sectionWidth)
		tallest = max(tallest, len(lines))
		for i := range out {
			switch {
			case i < len(lines):
				out[i] += lines[i]
			default:
				out[i] += blank(sectionWidth)
			}
			if n < len(b)-1 {
				out[i] += "  "
			}
		}
	}
	return out[:tallest]
}

// tables returns the sections that have rows, in order.
func tables(u *ui, bands []band) []section {
	var out []section
	for _, b := range bands {
		for _, s := range b {
			if s.table(u) != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// focused returns the table that keys act on, nil when they act on no table.
func (u *ui) focused(bands []band) section {
	all := tables(u, bands)
	if len(all) == 0 || u.onVerdict() || u.printed {
		return nil
	}
	for _, s := range all {
		if s.name() == u.focus[u.screen()] {
			return s
		}
	}
	return all[0]
}

// blanks is what blank cuts from.
const blanks = quarter + quarter + quarter + quarter

// quarter is a quarter of them.
const quarter = "                                "

func blank(w int) string {
	if w <= len(blanks) {
		return blanks[:max(0, w)]
	}
	return blanks + blank(w-len(blanks))
}
