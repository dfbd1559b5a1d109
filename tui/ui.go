package tui

import (
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/model/state"
)

// message is something that happened outside: see update.
type message any

// command runs beside the loop and may block; its message, when not nil, goes to update.
type command func() message

// Messages.
type (
	// tickMsg brings the latest snapshot and the state of the player, ten times a second.
	tickMsg struct {
		snapshot *fold.Snapshot
		play     playState
	}
	// portsMsg brings the ports of the process that is open.
	portsMsg struct {
		pid   int32
		ports []state.Port
		total int
		at    model.Time
	}
	// noticeMsg is said at the foot of the screen.
	noticeMsg struct {
		text string
		bad  bool
	}
	// quitMsg ends the program; copyMsg gives text to the terminal's clipboard.
	quitMsg struct{}
	copyMsg struct{ text string }
)

// playState is the state of the player at a tick.
type playState struct {
	position, start, end model.Time
	speed                float64
	paused               bool
}

// drill is what Enter has opened on top of a page.
type drill struct {
	// kind is "finding", "process", "flow", "log", "row", "commands", "notes", "probes" or "help".
	kind    string
	finding string
	// table and row are the names of a table and of its row.
	table, row string
	// flow is the name of a flow, or of a log, whose host process is then.
	flow    string
	pid     int32
	process string
	// unit is what the process belongs to.
	unit string
}

// noticeTicks is for how many ticks a notice stays: four seconds.
const noticeTicks = 40

// ui is the user interface without its terminal: keys and messages in, lines out.
type ui struct {
	opt   Options
	loc   *time.Location
	theme *theme
	light bool
	w, h  int

	snap *fold.Snapshot
	// newest is the latest snapshot; snap stays behind it while a live session is paused.
	newest *fold.Snapshot
	paused bool // live
	play   playState
	// played is closed when the player has done what it was asked last; nil before.
	played <-chan struct{}
	// cursor is the time that is looked at, 0 the newest.
	cursor model.Time

	// pages are those that there are, page is the number of the one that is shown.
	pages []page
	page  int
	lists map[string]*listState
	// filter applies to the tables of all pages.
	filter string
	focus  map[string]string
	drills []drill
	scroll int
	metric int
	byUnit bool // holders of ports by unit
	ports  portsMsg
	asked  model.Time // when ports was asked for

	prompt  *prompt
	notice  noticeMsg
	noticed int // ticks left

	// places are where the sections stand; bodyTop is the first line of what is arranged, verdictRows the identity
	// of the finding on each line of the verdict.
	places      []place
	bodyTop     int
	verdictTop  int
	timed       bool // the last line is the time line
	verdictRows []string

	// printed says that nobody can press a key: the screen is printed once.
	printed bool
	// opening says that the reader has done nothing yet: a replay then goes to its worst finding when all are known.
	opening bool
	// worst is the finding to which a replay goes by itself, until it is there; nil for none.
	worst *model.Finding
	// foreseen is the finding that is shown as it was known at its end while the reader looks at time at.
	foreseen struct {
		id string
		at model.Time
	}

	frame string // what was drawn last
	drawn bool   // whether it still holds
	look  view
}

func newUI(opt Options) *ui {
	u := &ui{
		pages: pages(),
		opt:   opt,
		loc:   opt.Location,
		light: opt.Light,
		w:     opt.Width,
		h:     opt.Height,
		lists: map[string]*listState{},
		focus: map[string]string{},
	}
	if u.loc == nil {
		u.loc = time.Local
	}
	u.opening = opt.Player != nil && opt.OpenOnWorst
	u.theme = newTheme(opt.ASCII, themeName(&opt, opt.Light))
	u.newest = opt.State.Snapshot()
	u.snap = u.newest
	return u
}

// poll is the command behind a tick: it fetches what update must not wait for.
func (u *ui) poll() message {
	m := tickMsg{snapshot: u.opt.State.Snapshot()}
	if p := u.opt.Player; p != nil {
		m.play.position, m.play.speed, m.play.paused = p.Position(), p.Speed(), p.Paused()
		m.play.position -= m.play.position % fold.FrameStep // what the clock shows
		m.play.start, m.play.end = p.Span()
	}
	return m
}

// update takes a message.
func (u *ui) update(m message) command {
	switch m := m.(type) {
	case tickMsg:
		return u.tick(m)
	case portsMsg:
		u.ports, u.drawn = m, false
	case noticeMsg:
		u.say(m.text, m.bad)
	}
	return nil
}

func (u *ui) tick(m tickMsg) command {
	if u.noticed > 0 {
		if u.noticed--; u.noticed == 0 {
			u.drawn = false
		}
	}
	if m.play != u.play {
		u.play, u.drawn = m.play, false
	}
	u.announce(u.newest.Outputs, m.snapshot.Outputs)
	u.newest = m.snapshot
	if u.held() {
		return nil
	}
	if news(m.snapshot, u.snap) {
		u.snap, u.drawn = m.snapshot, false
	}
	if u.opening && u.snap.Scanned {
		u.opening = false
		if c := u.goWorst(); c != nil {
			return c
		}
	}
	if u.worst != nil {
		u.showWorst()
	}
	return u.fetchPorts()
}

// announce says once that an output has failed, or works again.
func (u *ui) announce(old, outputs []model.Probe) {
	for _, o := range outputs {
		switch {
		case slices.Contains(old, o):
		case o.State == model.ProbeOn:
			u.say(o.Part+": works again", false)
		default:
			u.say(o.Part+": "+o.Reason, true)
		}
	}
}

// failing says that an output does not work.
func failing(o model.Probe) bool { return o.State != model.ProbeOn }

// news says that s shows something that old does not. Frames are shown when
// their second is over, so within a second there is nothing new in them.
func news(s, old *fold.Snapshot) bool {
	return s.Now/fold.FrameStep != old.Now/fold.FrameStep || s.Now < old.Now || s.Started != old.Started ||
		s.Fault != old.Fault || s.Incomplete != old.Incomplete || s.Progress != old.Progress ||
		s.Scanned != old.Scanned || !slices.Equal(s.Outputs, old.Outputs) ||
		len(s.Probes) != len(old.Probes) || len(s.Notes) != len(old.Notes) ||
		!slices.EqualFunc(s.Findings, old.Findings, func(a, b *model.Finding) bool { return a == b })
}

// held says that the snapshot stays as it is: a live session that is paused.
func (u *ui) held() bool { return u.opt.Player == nil && u.paused }

// fetchPorts asks for the ports of the process that is open, at most once per
// second of event time.
func (u *ui) fetchPorts() command {
	d := u.top()
	if d.kind != "process" || (u.ports.pid == d.pid && u.asked == u.snap.Now-u.snap.Now%fold.FrameStep && u.asked != 0) {
		return nil
	}
	u.asked = u.snap.Now - u.snap.Now%fold.FrameStep
	source, at := u.opt.State, u.snap.Now
	return func() message {
		ports, total := source.Ports(d.pid, maxPortRows)
		return portsMsg{pid: d.pid, ports: ports, total: total, at: at}
	}
}

// maxPortRows is how many ports of one process are listed.
const maxPortRows = 2000

// resize sets the size of the screen in cells.
func (u *ui) resize(w, h int) { u.w, u.h, u.drawn = w, h, false }

// background tells whether the terminal's background is light.
func (u *ui) background(light bool) {
	if light != u.light {
		u.light, u.drawn = light, false
		u.theme = newTheme(u.opt.ASCII, themeName(&u.opt, light))
	}
}

// say shows text at the foot of the screen for a while.
func (u *ui) say(text string, bad bool) {
	u.notice, u.noticed, u.drawn = noticeMsg{text, bad}, noticeTicks, false
}

// list returns the reader's state of a table.
func (u *ui) list(id string) *listState {
	s := u.lists[id]
	if s == nil {
		s = &listState{}
		u.lists[id] = s
	}
	s.shared = u.filter
	return s
}

// top returns what is open on top of the page, the zero drill when nothing is.
func (u *ui) top() drill {
	if n := len(u.drills); n > 0 {
		return u.drills[n-1]
	}
	return drill{}
}

// screen names what is shown: the page, or what is open on top of it.
func (u *ui) screen() string {
	if d := u.top(); d.kind != "" {
		return d.kind
	}
	return u.pages[u.page].name
}

func (u *ui) open(d drill) {
	u.drills = append(u.drills, d)
	u.scroll, u.drawn = 0, false
}

// render returns the screen: u.h lines of u.w cells.
func (u *ui) render() string {
	if u.drawn {
		return u.frame
	}
	u.drawn = true
	u.frame = ""
	if u.w <= 0 || u.h <= 0 {
		return u.frame
	}
	u.look = u.newView()
	lines := u.lines()
	for len(lines) < u.h {
		lines = append(lines, blank(u.w))
	}
	u.frame = strings.Join(lines[:u.h], "\n")
	return u.frame
}

// lines draws the parts of the screen that the size has room for.
func (u *ui) lines() []string {
	v := &u.look
	u.timed = false
	switch {
	case u.prompt != nil && u.h <= 2:
		return []string{u.prompt.render(u, u.w)}
	case u.h <= 2:
		return u.verdict(v, u.w, u.h, true)
	}
	top := []string{u.header(v, u.w)}
	if u.h >= 12 && !u.printed {
		top = append(top, u.tabs(u.w))
	}
	if u.h >= 16 {
		top = append(top, newLine(u.theme, u.w).repeat(dim, u.theme.rule, u.w).String())
	}
	var foot []string
	switch {
	case u.prompt != nil:
		foot = append(foot, u.prompt.render(u, u.w))
	case u.noticed > 0:
		s := good
		if u.notice.bad {
			s = critical
		}
		foot = append(foot, newLine(u.theme, u.w).space(1).put(s, u.notice.text).String())
	case v.snap.Fault != "":
		foot = append(
			foot,
			newLine(
				u.theme,
				u.w,
			).space(1).
				glyph(critical, u.theme.critical).
				space(1).
				put(critical, "the stream ended: "+v.snap.Fault).
				String(),
		)
	case u.h >= 8:
		u.timed = true
		foot = append(foot, u.timeline(v, u.w))
	}
	h := u.h - len(top) - len(foot)
	u.places, u.verdictRows, u.bodyTop = u.places[:0], u.verdictRows[:0], len(top)
	u.verdictTop = len(top)
	body := u.body(v, u.w, h)
	for len(body) < h {
		body = append(body, blank(u.w))
	}
	return append(append(top, body[:max(h, 0)]...), foot...)
}

// body draws the page, or what is open on top of it.
func (u *ui) body(v *view, w, h int) []string {
	if draw := u.pages[u.page].draw; draw != nil && u.top().kind == "" {
		return draw(u, v, w, h)
	}
	return u.arrange(u.bands(v), w, h)
}

// bands returns the sections of what is shown.
func (u *ui) bands(v *view) []band { return u.bandsOf(v, u.drills) }

// bandsOf returns the sections of the last of the drills, those of the page when there is none.
func (u *ui) bandsOf(v *view, drills []drill) []band {
	if len(drills) == 0 {
		return u.pages[u.page].bands(u, v)
	}
	switch d := drills[len(drills)-1]; d.kind {
	case "row":
		return u.rowBands(v, d, u.bandsOf(v, drills[:len(drills)-1]))
	case "commands":
		return u.commandBands()
	case "finding":
		return u.findingBands(v, d.finding)
	case "process":
		return u.processBands(v, d)
	case "flow":
		return u.beatBands(v, d.flow)
	case "log":
		return u.logBands(v, d)
	case "notes":
		return u.noteBands(v)
	case "probes":
		return u.probeBands(v)
	case "help":
		return u.helpBands()
	}
	return nil
}

// view is what one drawing of the screen looks at.
type view struct {
	snap *fold.Snapshot
	// index is the number of the frame that is shown, -1 when there is none; at is the time that is looked at.
	index int
	frame *fold.Frame
	at    model.Time
	// findings are those that had begun by then, in the order of the verdict.
	findings []*model.Finding
	// numbers are the places of all findings in the snapshot, by their identity.
	numbers map[string]int
	// foreseen is the identity of the finding that is shown as it was known at its end, "" for none.
	foreseen string
	// totals is what placeTotals has found, nil before.
	totals *[model.PlaceSocket + 1]uint64
}

func (u *ui) newView() view {
	v := view{snap: u.snap, at: u.snap.Now, index: u.snap.Latest(), frame: &fold.Frame{}}
	if u.opt.Player != nil && v.at != 0 { // a recording may be silent for longer than the history is
		v.at = max(v.at, min(u.play.position, u.play.end))
		if v.index == 0 && u.play.position >= u.play.end-u.play.end%fold.FrameStep {
			v.index = u.snap.At(v.snap.Now - 1) // it is over before a second was whole
		}
	}
	if u.cursor != 0 {
		v.at, v.index = u.cursor, u.snap.At(u.cursor)
	}
	if f := u.snap.Frame(v.index); f != nil {
		v.frame = f
	}
	if u.cursor != 0 && u.cursor == u.foreseen.at {
		v.foreseen = u.foreseen.id
	}
	v.numbers = make(map[string]int, len(u.snap.Findings))
	for i, f := range u.snap.Findings {
		v.numbers[f.ID] = i
		if f.Start <= v.at {
			v.findings = append(v.findings, v.known(i))
		}
	}
	v.findings = v.rank(v.findings)
	return v
}

// overdue is for how long an ongoing finding is believed without an update.
const overdue = model.Time(15 * time.Second)

// active says that a finding holds at the time that is looked at. Of a recording that has been searched its end is
// known: between two tables of sockets there may be half an hour without an update.
func (v *view) active(f *model.Finding) bool {
	end := f.End
	if v.snap.Scanned {
		end = v.end(f)
	}
	return f.Start <= v.at && (end >= v.at || (f.Ongoing && end >= v.at-overdue))
}

// end is when the finding was seen last in what is known of it, which may lie ahead of the time that is looked at.
func (v *view) end(f *model.Finding) model.Time {
	if i, known := v.numbers[f.ID]; known {
		return max(f.End, v.snap.Findings[i].End)
	}
	return f.End
}

// finding is a finding as it was known at the time that is looked at; nil when there is none.
func (v *view) finding(id string) *model.Finding {
	if i, known := v.numbers[id]; known {
		return v.known(i)
	}
	return nil
}

// known is finding i as it was known at the time that is looked at.
func (v *view) known(i int) *model.Finding {
	if f := v.snap.Findings[i]; f.ID == v.foreseen {
		return f
	}
	return v.snap.FindingAt(i, v.at)
}
