package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
)

// binding is keys and what they do. The help is made from the same table.
type binding struct {
	keys []string
	// show is how the keys are written in the help; empty for the keys themselves.
	show, help string
	// on is the screens on which the keys work; nil for all.
	on []string
	// when says that the keys work now; nil for always.
	when func(u *ui) bool
	run  func(u *ui, key string) command
}

func hasTable(u *ui) bool   { l, _ := u.listing(); return l != nil }
func hasColumns(u *ui) bool { l, _ := u.listing(); return l != nil && l.columns > 0 }
func hasPlayer(u *ui) bool  { return u.opt.Player != nil }
func hasRecord(u *ui) bool  { return u.opt.Record != nil }
func hasScroll(u *ui) bool {
	switch u.top().kind {
	case "finding", "flow", "help", "row":
		return true
	}
	return false
}
func canEnter(u *ui) bool   { l, _ := u.listing(); return l != nil && l.open != nil }
func hasFinding(u *ui) bool { return u.chosenFinding() != nil }

// bindings are all keys, in the order of the help.
func bindings() []binding {
	return []binding{
		{
			keys: digits(len(pages())),
			show: pageKeys(),
			help: "page",
			run:  func(u *ui, key string) command { return u.goPage(int(key[0] - '1')) },
		},
		{keys: []string{"tab", "shift+tab"}, show: "Tab Shift-Tab", help: "next, previous page", run: (*ui).turnPage},
		{
			keys: []string{"j", "down", "k", "up"},
			show: "j k ↓ ↑",
			help: "row down, up",
			when: func(u *ui) bool { return hasTable(u) || hasScroll(u) },
			run:  (*ui).moveRow,
		},
		{
			keys: []string{"pgdown", "pgup", "ctrl+d", "ctrl+u", "ctrl+f", "ctrl+b"},
			show: "PgDn PgUp",
			help: "a screen down, up",
			when: func(u *ui) bool { return hasTable(u) || hasScroll(u) },
			run:  (*ui).moveRow,
		},
		{keys: []string{"enter"}, show: "Enter", help: "open the row", when: canEnter, run: (*ui).enter},
		{keys: []string{"esc", "backspace"}, show: "Esc", help: "back; remove the filter", run: (*ui).back},
		{keys: []string{"v", "V"}, show: "v V", help: "next, previous table", when: hasTable, run: (*ui).turnTable},
		{keys: []string{"/"}, help: "filter the table: cpu=0 wait>1ms !proc=redis", when: hasColumns, run: (*ui).askFilter},
		{keys: []string{"&"}, help: "filter the tables of all pages", when: hasColumns, run: (*ui).askShared},
		{
			keys: []string{"s", "S"},
			show: "s S",
			help: "sort by the next column; reverse",
			when: hasColumns,
			run:  (*ui).resort,
		},
		{
			keys: []string{"m"},
			help: "heat map: share, run p99, wait p99, worst run",
			on:   []string{"Deferred"},
			run:  (*ui).nextMetric,
		},
		{
			keys: []string{"u"},
			help: "who holds ports: by process, by unit",
			on:   []string{overviewName, portsName},
			run:  func(u *ui, _ string) command { u.byUnit = !u.byUnit; return nil },
		},
		{
			keys: []string{"f"},
			help: "follow the proposed flow",
			on:   []string{heartbeatsName},
			when: func(u *ui) bool { return u.opt.Follow != nil && u.proposed() != nil },
			run:  (*ui).followProposed,
		},
		{
			keys: []string{"F"},
			help: "follow another flow",
			on:   []string{heartbeatsName},
			when: func(u *ui) bool { return u.opt.Follow != nil },
			run:  (*ui).askFlow,
		},
		{keys: []string{"space"}, show: "Space", help: "pause, resume", run: (*ui).pause},
		{keys: []string{"left", "right"}, show: "← →", help: "1 s back, forward", run: (*ui).step},
		{
			keys: []string{"shift+left", "shift+right", "H", "L"},
			show: "H L",
			help: "1 min back, forward",
			run:  (*ui).step,
		},
		{keys: []string{"[", "]", "N", "n"}, show: "[ ] N n", help: "previous, next finding", run: (*ui).jumpFinding},
		{keys: []string{"g"}, help: "go to a time", run: (*ui).askTime},
		{
			keys: []string{"b"},
			help: "mark this moment, with a note",
			run:  (*ui).askNote,
		},
		{keys: []string{"B"}, help: "notes", run: toggle("notes")},
		{keys: []string{"home"}, show: "Home", help: "the oldest moment", run: (*ui).home},
		{keys: []string{"end"}, show: "End", help: "the newest moment", run: (*ui).end},
		{
			keys: []string{"+", "=", "-", "_"},
			show: "+ -",
			help: "play faster, slower",
			when: hasPlayer,
			run:  (*ui).changeSpeed,
		},
		{keys: []string{":"}, help: "find a command by name", run: (*ui).askCommand},
		{keys: []string{"y"}, help: "copy the finding as text", when: hasFinding, run: (*ui).copyFinding},
		{keys: []string{"w"}, help: "write the recording so far", when: hasRecord, run: (*ui).askPath},
		{keys: []string{"d"}, help: "probes: what is seen, what is not, and why", run: toggle("probes")},
		{keys: []string{"?", "f1"}, show: "?", help: "help for this page", run: toggle("help")},
		{
			keys: []string{"q", "ctrl+c"},
			show: "q",
			help: "quit",
			run:  func(*ui, string) command { return func() message { return quitMsg{} } },
		},
	}
}

func (b *binding) works(u *ui) bool {
	return (b.on == nil || slices.Contains(b.on, u.screen())) && (b.when == nil || b.when(u))
}

// key takes a key by its name; msg is the terminal program's message of it, nil
// for none.
func (u *ui) key(name string, msg any) command {
	u.drawn, u.opening, u.worst = false, false, nil
	if u.prompt != nil {
		if name == "ctrl+c" {
			return func() message { return quitMsg{} }
		}
		return u.prompt.key(u, name, msg)
	}
	for _, b := range bindings() {
		if slices.Contains(b.keys, name) {
			if !b.works(u) {
				return nil
			}
			return b.run(u, name)
		}
	}
	return nil
}

// listing returns the focused table and the reader's state of it.
func (u *ui) listing() (*listing, *listState) {
	if u.look.snap == nil {
		u.look = u.newView()
	}
	if u.onVerdict() {
		return u.verdictListing(), u.list(verdictList)
	}
	s := u.focused(u.bands(&u.look))
	if s == nil {
		return nil, nil
	}
	return s.table(u), u.list(s.name())
}

// pageKeys is how the keys of the pages are written.
func pageKeys() string { return fmt.Sprintf("1 to %d", len(pages())) }

// digits returns the first n keys from 1 on.
func digits(n int) []string {
	var keys []string
	for i := range n {
		keys = append(keys, strconv.Itoa(i+1))
	}
	return keys
}

func (u *ui) goPage(p int) command {
	u.page, u.drills, u.scroll = p, nil, 0
	return nil
}

func (u *ui) turnPage(key string) command {
	by := 1
	if key == "shift+tab" {
		by = len(u.pages) - 1
	}
	return u.goPage((u.page + by) % len(u.pages))
}

func (u *ui) moveRow(key string) command {
	step := func(page int) int {
		switch key {
		case "j", "down":
			return 1
		case "k", "up":
			return -1
		case "pgdown", "ctrl+d", "ctrl+f":
			return max(1, page)
		}
		return -max(1, page)
	}
	l, s := u.listing()
	if l == nil {
		u.scroll = max(0, u.scroll+step(u.h-6))
		return nil
	}
	s.follow(l.rows, l.id)
	if l.rows > 0 {
		s.index = min(max(0, s.index+step(s.page-1)), l.rows-1)
		s.selected = l.id(s.index)
	}
	return nil
}

func (u *ui) enter(string) command {
	l, s := u.listing()
	if l == nil || l.rows == 0 || l.open == nil {
		return nil
	}
	s.follow(l.rows, l.id)
	return l.open(s.index)
}

func (u *ui) back(string) command {
	if n := len(u.drills); n > 0 {
		u.drills, u.scroll = u.drills[:n-1], 0
		return nil
	}
	if _, s := u.listing(); s != nil && s.filter != "" {
		s.filter = ""
		return nil
	}
	if u.filter != "" {
		u.filter = ""
		return nil
	}
	delete(u.focus, u.screen()) // from a table to the verdict, or to the first table
	return nil
}

func (u *ui) turnTable(key string) command {
	bands := u.bands(&u.look)
	var names []string
	if u.screen() == overviewName && len(u.look.findings) > 0 {
		names = append(names, "") // the verdict
	}
	for _, s := range tables(u, bands) {
		names = append(names, s.name())
	}
	now := u.focus[u.screen()]
	if s := u.focused(bands); s != nil {
		now = s.name()
	}
	by := 1
	if key == "V" {
		by = len(names) - 1
	}
	u.focus[u.screen()] = names[(max(0, slices.Index(names, now))+by)%len(names)]
	return nil
}

func (u *ui) askFilter(string) command {
	_, s := u.listing()
	return u.edit("filter", &s.filter)
}

func (u *ui) askShared(string) command { return u.edit("filter of all tables", &u.filter) }

// edit lets the reader edit a filter, which applies while it is typed.
func (u *ui) edit(label string, text *string) command {
	before := *text
	u.prompt = &prompt{
		label:  label,
		input:  newInput(before),
		change: func(now string) { *text = now },
		cancel: func() { *text = before },
		done:   func(*ui, string) command { return nil },
	}
	return nil
}

func (u *ui) resort(key string) command {
	l, s := u.listing()
	if !s.sorted {
		s.sorted, s.column, s.desc = true, l.defaults, l.desc
	}
	if key == "S" {
		s.desc = !s.desc
		return nil
	}
	for range l.columns {
		s.column = (s.column + 1) % l.columns
		if l.sortable[s.column] {
			return nil
		}
	}
	return nil
}

func (u *ui) nextMetric(string) command {
	u.metric = (u.metric + 1) % len(heatMetrics)
	return nil
}

// toggle opens something on top of the page, or closes it again.
func toggle(kind string) func(u *ui, key string) command {
	return func(u *ui, _ string) command {
		if u.top().kind == kind {
			return u.back("")
		}
		u.open(drill{kind: kind})
		return nil
	}
}

// copyFinding gives the finding to the terminal's clipboard, as text for a ticket.
func (u *ui) copyFinding(string) command {
	f := u.chosenFinding()
	if f == nil {
		return nil
	}
	text := findingText(f, u.snap.Meta, u.loc)
	u.say("copied the finding (the terminal must allow OSC 52)", false)
	return func() message { return copyMsg{text} }
}

func (u *ui) askPath(string) command {
	record := u.opt.Record
	u.prompt = &prompt{label: "write the recording to", input: newInput(u.opt.RecordPath)}
	u.prompt.done = func(u *ui, path string) command {
		if strings.TrimSpace(path) == "" {
			return nil
		}
		u.say("writing "+path, false)
		return func() message {
			if err := record(path); err != nil {
				return noticeMsg{"the recording was not written: " + err.Error(), true}
			}
			return noticeMsg{"wrote " + path, false}
		}
	}
	return nil
}

func (u *ui) askTime(string) command {
	u.prompt = &prompt{label: "go to (14:03:09, -90s, or RFC 3339)", input: newInput("")}
	u.prompt.done = func(u *ui, text string) command {
		if strings.TrimSpace(text) == "" {
			return nil
		}
		t, err := parseTime(text, u.look.at, u.snap.Now, u.loc)
		if err != nil {
			u.say(err.Error(), true)
			return nil
		}
		if start, end := u.span(); t < start-model.Time(time.Second) || t > end+model.Time(time.Second) {
			u.say(fmt.Sprintf("%s is outside the recording (%s to %s)", formatClock(t, u.loc), formatClock(start, u.loc),
				formatClock(end, u.loc)), true)
			return nil
		}
		return u.goTo(t)
	}
	return nil
}

// parseTime reads a moment: a time of day on the day of at, a duration before
// now or after at, or RFC 3339.
func parseTime(text string, at, now model.Time, loc *time.Location) (model.Time, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return model.TimeOf(t), nil
	}
	if t, err := time.ParseInLocation("2006-01-02 15:04:05.999999999", text, loc); err == nil {
		return model.TimeOf(t), nil
	}
	for _, layout := range []string{"15:04:05.999999999", "15:04"} {
		clock, err := time.ParseInLocation(layout, text, loc)
		if err != nil {
			continue
		}
		day := at.Std().In(loc)
		return model.TimeOf(
			time.Date(
				day.Year(),
				day.Month(),
				day.Day(),
				clock.Hour(),
				clock.Minute(),
				clock.Second(),
				clock.Nanosecond(),
				loc,
			),
		), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return now.Add(d), nil
		}
		return at.Add(d), nil
	}
	return 0, fmt.Errorf("%q is not a time: write 14:03:09, -90s or 2026-11-22T14:03:09Z", text)
}
