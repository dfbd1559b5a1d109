package tui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// overviewName is the name of the page.
const overviewName = "Overview"

// overview draws the verdict, then the numbers.
func (u *ui) overview(v *view, w, h int) []string {
	out := u.verdict(v, w, h, false)
	if text := u.fileSummary(v); text != "" && h >= 24 {
		out = append(out, newLine(u.theme, w).space(1).put(dim, text).String())
	}
	if left := h - len(out) - 1; left >= 4 {
		out = append(out, newLine(u.theme, w).repeat(dim, u.theme.rule, w).String())
		u.bodyTop += len(out)
		out = append(out, u.arrange(u.overviewBands(v), w, left)...)
	}
	return out
}

// fileSummary says what a recording holds: its span and its findings; empty for a live session and while the file is
// still searched.
func (u *ui) fileSummary(v *view) string {
	if u.opt.Player == nil || !v.snap.Scanned || u.play.end <= u.play.start {
		return ""
	}
	text := "this file: " + formatSpan(u.play.end.Sub(u.play.start).Truncate(time.Second)) + " from " +
		formatClock(u.play.start, u.loc) + " to " + formatClock(u.play.end, u.loc) + " · "
	counts := map[model.Severity]int{}
	for _, f := range v.snap.Findings {
		counts[f.Severity]++
	}
	var parts []string
	one := map[model.Severity]string{
		model.SeverityCritical: "critical finding", model.SeverityWarning: "warning", model.SeverityInfo: "note",
	}
	for _, s := range []model.Severity{model.SeverityCritical, model.SeverityWarning, model.SeverityInfo} {
		if counts[s] > 0 {
			parts = append(parts, plural(counts[s], one[s]))
		}
	}
	if len(parts) == 0 {
		return text + "no findings"
	}
	return text + strings.Join(parts, ", ") + " · [ ] steps through them"
}

// rank puts findings in the order in which a reader wants them: those that hold
// before those that are over, the worse before the milder, the newer before the older.
func (v *view) rank(findings []*model.Finding) []*model.Finding {
	out := slices.Clone(findings)
	over := func(f *model.Finding) int {
		if v.active(f) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b *model.Finding) int {
		return cmp.Or(cmp.Compare(over(a), over(b)), cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Start, a.Start))
	})
	return out
}

// verdictList is the name of the findings at the top of the first page, which
// keys act on like on a table.
const verdictList = "verdict"

// onVerdict says that keys act on the verdict: on the first page, unless the
// reader has gone to a table.
func (u *ui) onVerdict() bool {
	return u.screen() == overviewName && u.focus[u.screen()] == "" && len(u.look.findings) > 0 && !u.printed
}

// verdictListing lets keys choose among the findings of the verdict and open one.
func (u *ui) verdictListing() *listing {
	findings := u.look.findings
	return &listing{rows: len(findings), id: func(i int) string { return findings[i].ID }, open: func(i int) command {
		u.open(drill{kind: "finding", finding: findings[i].ID})
		return nil
	}}
}

// verdict draws what was found: the chosen finding in full, by default the
// worst, the others in a line each; or, when none holds, what was checked. With
// tiny it draws the sentence only.
func (u *ui) verdict(v *view, w, h int, tiny bool) []string {
	findings := v.findings
	room := h
	if h >= 14 { // leave room for a table
		room = max(h-8, 8)
	}
	s := u.list(verdictList)
	if s.selected != "" {
		s.follow(len(findings), func(i int) string { return findings[i].ID })
	}
	holds := len(findings) > 0 && v.active(findings[0])
	if len(findings) == 0 || !holds && s.selected == "" {
		out := u.quiet(v, w, room, tiny, len(findings))
		u.verdictRows = append(u.verdictRows, make([]string, len(out))...)
		for _, f := range findings[:min(len(findings), 3)] {
			out = append(out, u.oneLine(v, f, w, false))
			u.verdictRows = append(u.verdictRows, f.ID)
		}
		return out[:min(h, len(out))]
	}
	chosen := 0
	if s.selected != "" {
		chosen = s.index
	}
	others := min(len(findings)-1, 4, max(0, room/4-1))
	checks := 0
	if holds && !tiny && room >= 9 {
		checks = 1
	}
	out := u.expanded(v, findings[chosen], w, room-others-checks, tiny)
	if tiny {
		return out[:min(h, len(out))]
	}
	first := min(max(0, chosen-others), len(findings)-1-others) // what stands around the chosen one
	var before, after []string
	for i := first; i <= first+others; i++ {
		lines := 1
		switch {
		case i < chosen:
			before = append(before, u.oneLine(v, findings[i], w, true))
		case i > chosen:
			after = append(after, u.oneLine(v, findings[i], w, true))
		default:
			lines = len(out)
		}
		for range lines {
			u.verdictRows = append(u.verdictRows, findings[i].ID)
		}
	}
	out = slices.Concat(before, out, after)
	if hidden := len(findings) - 1 - others; hidden > 0 && others > 0 && len(out) < room {
		out = append(out, newLine(u.theme, w).space(3).put(dim, plural(hidden, "more finding")+": press 6").String())
	}
	if checks > 0 {
		out = append(out, u.checkLine(v, w))
	}
	return out[:min(h, len(out))]
}

// expanded draws a finding: the sentence, since when, why, whose, what to do.
func (u *ui) expanded(v *view, f *model.Finding, w, h int, tiny bool) []string {
	s, g := u.severity(f.Severity)
	var out []string
	title := wrap(clean(f.Title, u.theme.ascii), w-4)
	if len(title) > h {
		title[h-1] = truncate(title[h-1], w-5, "") + u.theme.more
		title = title[:h]
	}
	for i, text := range title {
		l := newLine(u.theme, w).space(1)
		if i == 0 {
			l.glyph(s, g).space(1)
		} else {
			l.space(2)
		}
		out = append(out, l.put(s, text).String())
	}
	if tiny || len(out) >= h {
		return out[:min(len(out), h)]
	}
	since := newLine(u.theme, w).space(5).put(dim, u.when(v, f))
	if hint := "Enter: evidence"; u.onVerdict() && since.left() > len(hint)+2 {
		since.to(w-len(hint)-1).put(dim, hint)
	}
	out = append(out, since.String())
	part := func(label, text string, most int) {
		if text == "" || most <= 0 {
			return
		}
		indent := 12
		if w < 50 {
			indent = 8
		}
		pieces := wrap(clean(text, u.theme.ascii), w-indent-1)
		most = min(most, h-len(out))
		for i, piece := range pieces[:min(len(pieces), max(most, 0))] {
			if i == most-1 && i < len(pieces)-1 {
				piece = truncate(piece, w-indent-2, "") + u.theme.more
			}
			l := newLine(u.theme, w)
			if i == 0 {
				l.to(indent-7).put(bold, label)
			}
			out = append(out, l.to(indent).put(plain, piece).String())
		}
	}
	nth := func(list []string, i int) string {
		if i >= len(list) {
			return ""
		}
		return list[i]
	}
	// What to do comes before more of the reason when there is no room for both.
	most, more := 2, 0
	if h >= 14 {
		most, more = 3, 2
	}
	why := words.Reasons(f)
	part("why", nth(why, 0), min(most, max(1, (h-len(out)-1)/2)))
	part("", nth(why, 1), more)
	part("whose", victims(v, f), min(most, h-len(out)-most))
	part("do", nth(f.Advice, 0), 3)
	part("", nth(f.Advice, 1), more)
	if f.Loss > 0 {
		part("but", formatCount(float64(f.Loss))+" events were lost: the numbers are lower bounds", 1)
	}
	return out
}

// seenWithin is how long ago a finding that goes on was seen at most: it is told again every 5 s
// (lifecycle.update_every), with a second or two until that is on screen. What was seen longer ago may be over.
const seenWithin = 7 * time.Second

// when says since when a finding holds and for how long.
func (u *ui) when(v *view, f *model.Finding) string {
	at := v.at
	if f.ID == v.foreseen {
		at = max(at, f.End)
	}
	if v.active(f) && (f.Ongoing || f.End > at || v.end(f) > at) {
		if u.w < 50 {
			return "since " + formatClock(
				f.Start,
				u.loc,
			) + ", " + formatSpan(
				min(f.End, at).Sub(f.Start).Truncate(time.Second),
			) + " so far"
		}
		if seen := v.end(f); at.Sub(seen) > seenWithin || v.snap.Scanned && at.Sub(seen) > 2*time.Second {
			return "since " + formatClock(f.Start, u.loc) + ", last seen at " + formatClock(seen, u.loc)
		}
		text := "since " + formatClock(f.Start, u.loc)
		ahead := f.End.Sub(at) // what is said is of a later moment than the clock
		if d := min(f.End, at).Sub(f.Start).Truncate(time.Second); d > 0 && ahead < time.Second {
			text += ", still going after " + formatSpan(d)
		}
		if ahead >= time.Second || ahead <= -2*time.Second {
			text += " (as of " + formatClock(f.End, u.loc) + ")"
		}
		return text
	}
	return formatClock(f.Start, u.loc) + " to " + formatClock(f.End, u.loc) + " (" + formatSpan(f.End.Sub(f.Start)) + ")"
}

// oneLine draws a finding in one line.
func (u *ui) oneLine(v *view, f *model.Finding, w int, marks bool) string {
	s, g := u.severity(f.Severity)
	l := newLine(u.theme, w).space(1)
	if v.active(f) {
		return l.glyph(s, g).space(1).put(plain, f.Title).String()
	}
	if !marks {
		g = u.theme.never
	}
	return l.glyph(dim, g).
		space(1).
		put(dim, "ended "+formatSpan(v.at.Sub(f.End).Truncate(time.Second))+" ago: "+f.Title).
		String()
}

// victims says who suffered, by the finding's own numbers: who lost packets or was refused ports; and, while it
// lasts, how many ports are left for others.
func victims(v *view, f *model.Finding) string {
	var parts []string
	if ofPorts(f) {
		if p := poolOf(v, f); p != nil && v.active(f) {
			parts = append(
				parts,
				"any process that needs a port of pool "+f.Subject.Pool+": "+formatInt(
					int64(p.Size-p.Used-p.Resting),
				)+" of "+formatInt(
					int64(p.Size),
				)+" left",
			)
		}
		for _, e := range f.Evidence {
			if who, found := strings.CutPrefix(e.Name, "refused to "); found && len(parts) < 3 {
				parts = append(parts, who+" refused "+formatInt(int64(e.Value))+" times")
			}
		}
		return strings.Join(parts, " · ")
	}
	lost := losses(f)
	slices.SortStableFunc(lost, func(a, b loss) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.count, a.count))
	})
	if programs := slices.IndexFunc(lost, func(x loss) bool { return x.rank == 1 }); programs > 2 {
		lost = append(lost[:2], lost[programs:]...) // leave room for the queues
	}
	for _, x := range lost[:min(len(lost), 3)] {
		count := formatCount(x.count)
		if x.count < 1e6 {
			count = formatInt(int64(x.count)) // as the title has it
		}
		parts = append(parts, x.label+" lost "+count)
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, " · ") + " packets"
}

// loss is what one victim of a finding lost.
type loss struct {
	label string
	count float64
	rank  int // 0 a program, 1 a queue before the sockets
}

// losses are the losses that a finding counts, by who suffered them: its own
// numbers, so that they agree with its title, and no loss of another finding.
func losses(f *model.Finding) (list []loss) {
	own := ""
	if f.Subject.PID > 0 || f.Subject.Process != "" {
		own = processName(f.Subject.Process, f.Subject.PID)
	}
	if f.Subject.Port != 0 {
		own = strings.TrimSpace(f.Subject.Protocol + "/" + strconv.Itoa(int(f.Subject.Port)) + " " + own)
	}
	for _, e := range f.Evidence {
		if e.Unit != "packets" || e.Value <= 0 {
			continue
		}
		switch rest, socket := strings.CutPrefix(e.Name, "dropped at the receive queue of "); {
		case socket:
			list = append(list, loss{rest, e.Value, 0})
		case e.Name == "dropped at the receive queue":
			list = append(list, loss{cmp.Or(own, "a socket"), e.Value, 0})
		case e.Name == "dropped at the full backlog":
			label := "the backlog"
			if f.Subject.CPU >= 0 {
				label += " of CPU " + strconv.Itoa(int(f.Subject.CPU))
			}
			list = append(list, loss{label, e.Value, 1})
		case e.Name == "dropped in the device's ring", e.Name == "lost in the ring":
			list = append(list, loss{"ring of " + cmp.Or(f.Subject.Device, "a device"), e.Value, 1})
		case e.Name == "lost before the device":
			list = append(list, loss{cmp.Or(f.Subject.Device, "a device"), e.Value, 1})
		case strings.HasPrefix(e.Name, "lost by "):
			list = append(list, loss{e.Name[len("lost by "):], e.Value, 0})
		}
	}
	return list
}

// poolOf is the pool that a finding speaks of; nil when it is not known.
func poolOf(v *view, f *model.Finding) *fold.FramePool {
	for i := range v.frame.Pools {
		p := &v.frame.Pools[i]
		if p.Key.Name == f.Subject.Pool && p.Key.Protocol.String() == f.Subject.Protocol &&
			p.Value.Netns == f.Subject.Netns {
			return &p.Value
		}
	}
	return nil
}

// maxProcess is how much of a process's name is shown: the PID must not be cut off.
const maxProcess = 24

// processName writes a process as name[pid].
func processName(name string, pid int32) string {
	switch {
	case pid < 0 && name == "":
		return "unknown"
	case pid < 0:
		return name
	case pid == 0 && name == "":
		return "kernel"
	}
	return fmt.Sprintf("%s[%d]", truncate(cmp.Or(name, "?"), maxProcess, "…"), pid)
}

// socketName writes a local port as udp/7000.
func socketName(p model.Protocol, port uint16) string {
	if port == 0 {
		return p.String()
	}
	return fmt.Sprintf("%s/%d", p, port)
}

// quiet says that nothing was found, what was checked, and for how long.
func (u *ui) quiet(v *view, w, h int, tiny bool, ended int) []string {
	l := newLine(u.theme, w).space(1)
	if v.snap.Events == 0 {
		what := "waiting for the first events"
		if u.opt.Player != nil {
			what = "nothing played yet"
		}
		return []string{l.glyph(dim, u.theme.never).space(1).put(bold, what).String()}
	}
	if u.opt.Player != nil && !v.snap.Scanned && ended == 0 {
		return []string{l.glyph(dim, u.theme.never).space(1).
			put(bold, "No fault found so far (still searching the file)").String()}
	}
	watched := formatSpan(v.at.Sub(v.snap.Started).Truncate(time.Second))
	if u.opt.Player != nil && len(v.snap.Findings) == 0 && v.at.Sub(v.snap.Started) < time.Second {
		watched = "this file" // a single table has no length
	}
	now := "No fault found in " + watched
	if v.snap.Incomplete != "" {
		now = "No fault found in what could be read of " + watched
	}
	if ended > 0 {
		now = "No fault at this moment"
	}
	if next := u.nextFinding(v); next != nil {
		now += "; the next one is at " + formatClock(next.Start, u.loc) + " ( ] goes there)"
	}
	checks := u.checks(v)
	mark, of := u.theme.glyphs.good, good
	if !slices.ContainsFunc(checks, func(c check) bool { return c.state != dim }) {
		mark, of = u.theme.never, dim
		now += "; nothing that could show one was measured"
	}
	var out []string
	for i, text := range wrap(clean(now, u.theme.ascii), w-4) {
		l := newLine(u.theme, w).space(1)
		if i == 0 {
			l.glyph(of, mark).space(1)
		} else {
			l.space(2)
		}
		out = append(out, l.put(bold, text).String())
	}
	if tiny {
		return out
	}
	for _, c := range checks {
		if len(out) >= max(h-min(ended, 3), 2) {
			break
		}
		out = append(out, u.drawCheck(newLine(u.theme, w).space(3), c, true).String())
	}
	return out
}

// nextFinding returns the first finding of a recording that lies ahead.
func (u *ui) nextFinding(v *view) *model.Finding {
	for _, f := range v.snap.Findings {
		if f.Start > v.at {
			return f
		}
	}
	return nil
}

// check is one thing that was looked at.
type check struct {
	// state is good when nothing is wrong, warning when something was seen, dim when it cannot be seen.
	state style
	// area is what was checked, short its result in a few words, long the rest.
	area, short, long string
}

func (u *ui) drawCheck(l *line, c check, long bool) *line {
	g := u.theme.glyphs.good
	switch c.state {
	case warning:
		g = u.theme.glyphs.warning
	case dim:
		g = u.theme.never
	}
	l.glyph(c.state, g).space(1)
	if long {
		l.field(plain, c.area, 14, false).space(1).put(plain, c.short)
		if c.long != "" {
			l.put(dim, " · "+c.long)
		}
		return l
	}
	return l.put(dim, c.area+": "+c.short)
}

// checkLine sums up in one line what is well, and not part of a finding.
func (u *ui) checkLine(v *view, w int) string {
	l := newLine(u.theme, w).space(1)
	for _, c := range u.checks(v) {
		if c.state != good ||
			slices.ContainsFunc(v.findings, func(f *model.Finding) bool { return v.active(f) && about(f, c.area) }) {
			continue
		}
		if need := width(clean(c.area+": "+c.short, u.theme.ascii)) + 4; need > l.left() {
			continue
		}
		if l.used > 1 {
			l.space(2)
		}
		u.drawCheck(l, c, false)
	}
	return l.String()
}

// about says that a finding speaks of an area of the checks.
func about(f *model.Finding, area string) bool {
	switch area {
	case "deferred work":
		return f.Subject.Vector != "" || f.Subject.Kind == "cpu"
	case "interrupts":
		return f.Subject.Kind == "cpu" && (f.Subject.Vector == "" || f.Subject.Driver != "") // a driver has DPCs and ISRs
	case "ring":
		return f.Subject.Kind == "device"
	case "socket queues":
		return f.Subject.Kind == "socket"
	case "ports":
		return ofPorts(f)
	}
	return false
}

// ofPorts says that a finding speaks of ports rather than of packets.
func ofPorts(f *model.Finding) bool {
	return f.Subject.Pool != "" || strings.HasPrefix(f.Detector, "port")
}

// checks looks at every area over the last minute.
func (u *ui) checks(v *view) []check {
	var out []check
	add := func(area string, probes []string, seen, bad bool, short, long string) {
		c := check{state: good, area: area, short: short, long: long}
		why := offReason(v.snap.Probes, probes...)
		switch {
		case !seen && why != "":
			c = check{state: dim, area: area, short: why}
		case !seen:
			c = check{state: dim, area: area, short: "not seen: no such events in this stream"}
		case bad:
			c.state = warning
		}
		out = append(out, c)
	}
	work := func(area, probe string, rows func(*fold.Frame) []workSeries) {
		series := collect(v, window, rows)
		waits := extremes(v, window, series, rows, func(w *fold.FrameWork) float32 { return w.MaxWait })
		runs := extremes(v, window, series, rows, func(w *fold.FrameWork) float32 { return w.MaxRun })
		wait, run := -1, -1
		for i := range series {
			if wait < 0 || waits[i] > waits[wait] {
				wait = i
			}
			if run < 0 || runs[i] > runs[run] {
				run = i
			}
		}
		some, _ := areaSeen(v.snap.Probes, []string{probe})
		switch {
		case len(series) == 0 && some:
			out = append(out, check{state: dim, area: area, short: "none " + v.lately()})
			return
		case len(series) == 0:
			add(area, []string{probe}, false, false, "", "")
			return
		case max(waits[wait], runs[run]) == 0: // counters, which know no single run
			out = append(out, check{state: dim, area: area, short: "single runs are not measured"})
			return
		}
		worst := max(waits[wait], runs[run])
		short := "worst run " + formatNanos(float64(runs[run]))
		if waits[wait] > 0 {
			short += ", wait " + formatNanos(float64(waits[wait]))
		}
		long := fmt.Sprintf("%s on CPU %d ran longest", workName(&series[run].Key), series[run].Key.CPU)
		if waits[wait] > 0 {
			long += fmt.Sprintf(", %s on CPU %d waited longest", workName(&series[wait].Key), series[wait].Key.CPU)
		}
		add(area, []string{probe}, true, worst > slow, short, v.lately()+": "+long)
	}
	work("deferred work", "deferred", deferredRows)
	work("interrupts", "interrupt", interruptRows)
	totals := v.placeTotals()
	for _, p := range []struct {
		area  string
		place model.Place
	}{{"ring", model.PlaceRing}, {"backlog", model.PlaceBacklog}, {"socket queues", model.PlaceSocket}} {
		n := totals[p.place]
		if n == 0 && p.place == model.PlaceBacklog && v.windows() {
			continue // Windows has no such queue
		}
		probes := placeProbes(p.place)
		some, all := areaSeen(v.snap.Probes, probes)
		seen := n > 0 || some
		switch {
		case n == 0 && some && !all:
			out = append(out, check{state: dim, area: p.area, short: "none seen, but " + reasons(v.snap.Probes, probes)})
		case n == 0 && p.place == model.PlaceRing && v.ringless():
			out = append(out, check{state: dim, area: p.area, short: "no device here reports ring drops"})
		case n == 0:
			add(p.area, probes, seen, false, "no loss", "")
		default:
			add(
				p.area,
				probes,
				seen,
				true,
				"lost "+formatValue(float64(n), "packets"),
				"since "+formatClock(v.snap.Started, u.loc),
			)
		}
	}
	if short, long, bad, ok := v.beatCheck(); ok {
		add("heartbeats", []string{"heartbeat"}, true, bad, short, long)
	}
	fullest := -1 // of the pools
	for i := range v.frame.Pools {
		if p := v.frame.Pools[i].Value; p.Size > 0 &&
			(fullest < 0 || poolShare(p) > poolShare(v.frame.Pools[fullest].Value)) {
			fullest = i
		}
	}
	if fullest >= 0 {
		p := v.frame.Pools[fullest]
		long := plural(len(v.frame.Pools), "pool") + ", the fullest is " + p.Key.Name
		refused := "none refused"
		if v.snap.Refusals > 0 && !v.back() {
			refused = formatCount(float64(v.snap.Refusals)) + " refused"
		}
		add(
			"ports",
			[]string{"port"},
			true,
			v.snap.Refusals > 0 && !v.back() || poolShare(p.Value) > 0.9,
			formatPercent(poolShare(p.Value))+" taken, "+refused,
			long,
		)
	} else {
		add("ports", []string{"port"}, false, false, "", "")
	}
	return out
}

func poolShare(p fold.FramePool) float64 {
	if p.Size == 0 {
		return 0
	}
	return float64(p.Used+p.Resting) / float64(p.Size)
}

// slow is the wait or run, in nanoseconds, from which a check of the last minute
// is no longer shown as good. It judges nothing: findings do.
const slow = 4e6

// windows says that what is shown comes from Windows.
func (v *view) windows() bool {
	return strings.Contains(strings.ToLower(v.snap.Meta["os"]), "windows")
}

// ringless says that no device tells how many packets its ring lost.
func (v *view) ringless() bool {
	return len(v.snap.Devices) > 0 && !slices.ContainsFunc(v.snap.Devices, func(d model.DeviceConfig) bool {
		return !strings.HasPrefix(d.RingSource, "none")
	})
}

// lately is the time that columns of maxima cover: the window, or what there has been of it.
func (v *view) lately() string {
	seen := v.at.Sub(v.snap.Started).Truncate(time.Second)
	return "in the last " + formatSpan(min(max(seen, time.Second), time.Duration(window)*time.Duration(fold.FrameStep)))
}

// placeProbes are the probes that see the losses at a place.
func placeProbes(place model.Place) []string {
	switch place {
	case model.PlaceRing:
		return []string{"nic"}
	case model.PlaceBacklog:
		return []string{"drop", "nic"}
	}
	return []string{"drop"}
}

// areaSeen says how much of an area the probes see: nothing, a part or all.
func areaSeen(probes []model.Probe, names []string) (some, all bool) {
	all = true
	for _, p := range probes {
		if !slices.Contains(names, p.Name) {
			continue
		}
		some = some || p.State != model.ProbeOff
		all = all && p.State == model.ProbeOn
	}
	return some, some && all
}

// offReason says why none of the probes runs; empty when one does, or when the
// stream does not name them.
func offReason(probes []model.Probe, names ...string) string {
	if some, _ := areaSeen(probes, names); some {
		return ""
	}
	if why := reasons(probes, names); why != "" {
		return "not seen: " + why
	}
	return ""
}

// reasons joins what the probes miss, and why.
func reasons(probes []model.Probe, names []string) string {
	var parts []string
	for _, p := range probes {
		if !slices.Contains(names, p.Name) || p.Reason == "" {
			continue
		}
		text := p.Reason
		if p.Part != "" {
			text = p.Part + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// overviewBands are the tables under the verdict. On a narrow screen the one
// that belongs to the verdict comes first.
func (u *ui) overviewBands(v *view) []band {
	work := u.workGrid(
		v,
		"overview.deferred",
		"deferred work "+u.oneSecond(v),
		"deferred",
		deferredRows,
	)
	drops := u.placeGrid(v)
	pools := u.poolGrid(v, "overview.pools")
	right := u.socketGrid(v, "overview.sockets")
	bands := []band{
		{work, drops},
		{pools, right},
		{u.holderGrid(v, "overview.holders"), u.deviceGrid(v, "overview.devices")},
	}
	if len(v.snap.Beats) > 0 {
		bands = slices.Insert(bands, 1, band{u.overviewBeats(v)})
	}
	first := 0
	if slices.ContainsFunc(v.snap.Beats, func(b fold.BeatTotal) bool { return b.Open.ID != 0 }) {
		first = 1
	}
	if len(v.findings) > 0 && v.active(v.findings[0]) {
		switch f := v.findings[0]; {
		case ofPorts(f):
			first = len(bands) - 2
		case f.Detector == "heartbeat-loss" && len(v.snap.Beats) > 0:
			first = 1
		}
	}
	bands[0], bands[first] = bands[first], bands[0]
	return bands
}

// placeTotals is how many packets were lost at each place up to the moment that is looked at.
func (v *view) placeTotals() [model.PlaceSocket + 1]uint64 {
	if !v.back() {
		return v.snap.Places
	}
	if v.totals != nil {
		return *v.totals
	}
	var totals [model.PlaceSocket + 1]uint64
	for _, r := range lostBetween(v, v.snap.Oldest(), v.at) {
		if int(r.Key.Place) < len(totals) {
			totals[r.Key.Place] += uint64(r.Value.Rate)
		}
	}
	v.totals = &totals
	return totals
}

// placeGrid is the packets lost by place.
func (u *ui) placeGrid(v *view) *grid[placeRow] {
	rows := make([]placeRow, 0, len(model.PlaceEnum.Names))
	totals := v.placeTotals()
	for place := model.PlaceRing; place <= model.PlaceSocket; place++ {
		r := placeRow{place: place, total: totals[place]}
		for i := range v.frame.Drops {
			if v.frame.Drops[i].Key.Place == place {
				r.rate += float64(v.frame.Drops[i].Value.Rate)
			}
		}
		if some, all := areaSeen(v.snap.Probes, placeProbes(place)); r.total == 0 && (!some || v.windows() && !all ||
			place == model.PlaceRing && v.ringless()) {
			r.rate = math.NaN()
		}
		always := place == model.PlaceRing || place == model.PlaceSocket || place == model.PlaceBacklog && !v.windows()
		if r.total > 0 || always {
			rows = append(rows, r)
		}
	}
	return &grid[placeRow]{
		id:     "overview.drops",
		title:  "packets lost in this host",
		sort:   -1,
		rows:   rows,
		ident:  func(r placeRow) string { return r.place.String() },
		limits: limits(v.snap.Probes, "drop"),
		enter: func(r placeRow) command {
			u.list("drops").filter = r.place.String()
			u.focus[networkName] = "drops"
			return u.goPage(u.pageNamed(networkName))
		},
		cols: []column[placeRow]{
			textColumn("place", 10, 0, 0, func(r placeRow) string { return r.place.String() }),
			numberColumn("packets/s", 9, 0, func(r placeRow) float64 { return r.rate }, formatCount),
			numberColumn("total", 8, 0, func(r placeRow) float64 {
				if math.IsNaN(r.rate) {
					return r.rate // not seen
				}
				return float64(r.total)
			}, formatCount),
			sparkColumn("each bar 1 s", 12, 1, 1, warning, 0, func(r placeRow, n int) []float32 {
				return v.snap.Values(v.index, n, func(f *fold.Frame) (sum float32, ok bool) {
					for i := range f.Drops {
						if f.Drops[i].Key.Place == r.place {
							sum += f.Drops[i].Value.Rate
						}
					}
					return sum, !math.IsNaN(r.rate)
				})
			}),
		},
	}
}

type placeRow struct {
	place model.Place
	rate  float64
	total uint64
}
