package tui

import (
	"strings"

	"lostbeat/model"
)

// askNote marks the moment that is looked at, with what the reader writes about it.
func (u *ui) askNote(string) command {
	if u.look.snap == nil {
		u.look = u.newView()
	}
	keep, at := u.opt.Note, u.look.at
	if keep == nil {
		u.say("notes need a single .lostbeat file: 'lostbeat cut' makes one of any input", true)
		return nil
	}
	u.prompt = &prompt{label: "note at " + formatClock(at, u.loc) + " (empty: a mark)", input: newInput("")}
	u.prompt.done = func(u *ui, text string) command {
		return func() message {
			if err := keep(model.Note{About: at, Text: strings.TrimSpace(text)}); err != nil {
				return noticeMsg{"the note was not kept: " + err.Error(), true}
			}
			return noticeMsg{"noted at " + formatClock(at, u.loc) + "; B lists the notes", false}
		}
	}
	return nil
}

// noteBands lists what readers wrote.
func (u *ui) noteBands(v *view) []band {
	return []band{{&grid[model.Note]{
		id:    "notes",
		title: "notes (Enter: go to its time)",
		empty: "none yet; b writes one",
		rows:  v.snap.Notes,
		sort:  0,
		ident: func(n model.Note) string { return n.About.String() + n.Text },
		find:  func(n model.Note) string { return n.Text },
		enter: func(n model.Note) command { u.back(""); return u.goTo(n.About) },
		cols: []column[model.Note]{
			{
				title:  "time",
				w:      8,
				exact:  true,
				number: func(n model.Note) float64 { return float64(n.About) },
				draw:   func(l *line, w int, n model.Note) { l.field(plain, formatClock(n.About, u.loc), w, false) },
			},
			textColumn("note", 20, 1, 0, func(n model.Note) string {
				if n.Text == "" {
					return "(a mark)"
				}
				return n.Text
			}),
		},
	}}}
}
