package tui

import "lostbeat/model"

// labelWidth is the width of the names of a row's columns when the row is open.
const labelWidth = 18

// openRow opens a row of a table that has nothing of its own to open: all of its columns in full, its history, and
// the findings that are about it.
func (u *ui) openRow(table, id string) command {
	u.open(drill{kind: "row", table: table, row: id})
	return nil
}

// rowBands shows the row of a drill; below are the sections of the screen under it.
func (u *ui) rowBands(v *view, d drill, below []band) []band {
	return []band{{&block{id: "row", height: 1 << 16, least: 1, draw: func(u *ui, w, h int) []string {
		for _, b := range below {
			for _, s := range b {
				if s.name() != d.table {
					continue
				}
				if lines := s.detail(u, v, w, d.row); lines != nil {
					return u.scrolled(lines, w, h)
				}
			}
		}
		return []string{newLine(u.theme, w).space(1).put(dim, "no data for this row at this moment").String()}
	}}}}
}

// detail draws a row with all of its columns, one to a line; nil when there is no such row.
func (g *grid[T]) detail(u *ui, v *view, w int, id string) []string {
	for _, row := range g.rows {
		if g.ident(row) != id {
			continue
		}
		out := []string{newLine(u.theme, w).space(1).put(heading, g.title).String(), blank(w)}
		for i := range g.cols {
			c := &g.cols[i]
			if c.title == "" {
				continue
			}
			l := newLine(u.theme, w).space(3).field(dim, c.title, labelWidth, false).space(2)
			switch {
			case c.text != nil: // in full
				out = append(out, u.labelled(l, c.text(row), w)...)
				continue
			case c.number == nil: // a history
				c.draw(l, min(l.left(), maxSpark), row)
			default: // numbers stand to the left, under each other
				c.draw(l, min(max(c.w, width(c.title)), l.left()), row)
			}
			out = append(out, l.String())
		}
		if g.about == nil {
			return out
		}
		about := g.about(row)
		var found []*model.Finding
		for _, f := range v.findings {
			if related(&f.Subject, &about) {
				found = append(found, f)
			}
		}
		out = append(out, blank(w), newLine(u.theme, w).space(3).put(heading, "findings about this").String())
		if len(found) == 0 {
			return append(out, newLine(u.theme, w).space(3).put(dim, "none so far").String())
		}
		for _, f := range found {
			out = append(out, u.oneLine(v, f, w, true))
		}
		return out
	}
	return nil
}

// labelled puts a text behind its label, on as many lines as it needs.
func (u *ui) labelled(l *line, text string, w int) []string {
	var out []string
	for i, piece := range wrap(clean(text, u.theme.ascii), w-labelWidth-6) {
		if i > 0 {
			l = newLine(u.theme, w).space(labelWidth + 5)
		}
		out = append(out, l.put(plain, piece).String())
	}
	if out == nil {
		out = append(out, l.put(dim, none).String())
	}
	return out
}

// related says that a finding is about the same CPU, device, process, pool or port.
func related(f, about *model.Subject) bool {
	switch {
	case about.Pool != "":
		return f.Pool == about.Pool && f.Protocol == about.Protocol && f.Netns == about.Netns
	case about.PID > 0 && f.PID == about.PID, about.PID < 0 && about.Process != "" && f.Process == about.Process:
		return true
	case about.Port != 0 && f.Port == about.Port && f.Protocol == about.Protocol:
		return true
	case about.Device != "" && f.Device == about.Device && (f.Netns == about.Netns || f.Netns == "" || about.Netns == ""):
		return true
	}
	return about.CPU >= 0 && f.CPU == about.CPU && about.Kind == "cpu"
}

// aboutCPU, aboutDevice and aboutProcess are the subjects of rows.
func aboutCPU(cpu int32) model.Subject { return model.Subject{Kind: "cpu", CPU: cpu, PID: -1} }

func aboutDevice(device, netns string) model.Subject {
	return model.Subject{Kind: "device", CPU: -1, PID: -1, Device: device, Netns: netns}
}

func aboutProcess(process string, pid int32) model.Subject {
	return model.Subject{Kind: "process", CPU: -1, PID: pid, Process: process}
}
