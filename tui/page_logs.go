package tui

import (
	"fmt"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// logName writes the name of a followed log, with its host where that is another one.
func logName(l *fold.FollowedLog) string {
	if l.Host != "" {
		return l.Log + " of " + l.Host
	}
	return l.Log
}

// logGrid lists the logs that are followed.
func (u *ui) logGrid(v *view) *grid[*fold.FollowedLog] {
	rows := make([]*fold.FollowedLog, len(v.snap.Logs))
	for i := range rows {
		rows[i] = &v.snap.Logs[i]
	}
	nanos := func(title string, w, drop int, value func(*fold.FollowedLog) time.Duration) column[*fold.FollowedLog] {
		return numberColumn(title, w, drop, func(l *fold.FollowedLog) float64 { return float64(value(l)) },
			func(n float64) string {
				if n == 0 {
					return none
				}
				return formatNanos(n)
			})
	}
	return &grid[*fold.FollowedLog]{
		id:    "logs",
		title: "logs (Enter: silences and lines)",
		rows:  rows,
		sort:  1,
		ident: logName,
		find:  func(l *fold.FollowedLog) string { return logName(l) + " " + l.State.Process },
		enter: func(l *fold.FollowedLog) command {
			u.open(drill{kind: "log", flow: l.Log, process: l.Host})
			return nil
		},
		cols: []column[*fold.FollowedLog]{
			{title: "", w: 1, draw: func(l *line, _ int, x *fold.FollowedLog) {
				f := v.findingOfLog(x)
				switch {
				case f != nil && v.active(f):
					s, g := u.severity(f.Severity)
					l.glyph(s, g)
				case x.Lasts() != nil || x.State.State == model.LogMissing:
					l.glyph(warning, u.theme.glyphs.warning)
				case x.State.Lines > 0:
					l.glyph(good, u.theme.good)
				}
			}},
			textColumn("log", 22, 1, 0, logName),
			textColumn("program", 14, 0, 2, func(l *fold.FollowedLog) string {
				if l.State.PID <= 0 {
					return none
				}
				return processName(l.State.Process, l.State.PID)
			}),
			numberColumn("lines", 6, 3, func(l *fold.FollowedLog) float64 { return float64(l.State.Lines) }, formatCount),
			nanos("usual", 7, 2, func(l *fold.FollowedLog) time.Duration { return l.State.Usual }),
			nanos("worst", 7, 0, longestSilence),
			numberColumn("gaps", 5, 0, func(l *fold.FollowedLog) float64 { return float64(l.GapCount) }, formatCount),
			numberColumn("found", 5, 1, func(l *fold.FollowedLog) float64 { return float64(l.LineCount) }, formatCount),
			textColumn("state", 30, 2, 0, func(l *fold.FollowedLog) string { return u.logVerdict(v, l) }),
		},
	}
}

// longestSilence is the longest gap of a log that is kept.
func longestSilence(l *fold.FollowedLog) (longest time.Duration) {
	for i := range l.Gaps {
		longest = max(longest, l.Gaps[i].Dur)
	}
	return longest
}

// findingOfLog returns the last finding about a log, nil for none.
func (v *view) findingOfLog(l *fold.FollowedLog) (last *model.Finding) {
	name := l.Log
	if l.Host != "" {
		name += "@" + l.Host
	}
	for i, f := range v.snap.Findings {
		if f.Start <= v.at && strings.HasPrefix(f.ID, "log-silence/followed/"+name+"/") &&
			(last == nil || f.End >= last.End) {
			last = v.snap.FindingAt(i, v.at)
		}
	}
	return last
}

// logVerdict says in a few words what is with a log.
func (u *ui) logVerdict(v *view, l *fold.FollowedLog) string {
	if g := l.Lasts(); g != nil {
		return "no line for " + formatSpan(v.snap.Now.Sub(g.Time.Add(-g.Dur)))
	}
	if l.State.State == model.LogMissing {
		return l.State.Clock
	}
	if f := v.findingOfLog(l); f != nil {
		return "at " + formatClock(f.Start, u.loc) + ": " + strings.TrimPrefix(f.Title, logName(l)+" ")
	}
	if l.State.State == model.LogDeleted {
		return "deleted, still being read; " + l.State.Clock
	}
	return l.State.Clock
}

// logBands is one followed log: its clock, its silences and the lines that were found.
func (u *ui) logBands(v *view, d drill) []band {
	var l *fold.FollowedLog
	for i := range v.snap.Logs {
		if v.snap.Logs[i].Log == d.flow && v.snap.Logs[i].Host == d.process {
			l = &v.snap.Logs[i]
		}
	}
	return []band{{&block{id: "log", height: 1 << 16, least: 1, draw: func(u *ui, w, h int) []string {
		if l == nil {
			return []string{newLine(u.theme, w).space(1).put(dim, "this log is no longer in memory").String()}
		}
		return u.scrolled(u.logLines(v, l, w), w, h)
	}}}}
}

// shownOfLog is how many silences, and lines, of a log are listed.
const shownOfLog = 12

func (u *ui) logLines(v *view, l *fold.FollowedLog, w int) []string {
	facts := []string{l.State.State.String()}
	if l.State.PID > 0 {
		facts = append(facts, processName(l.State.Process, l.State.PID))
	}
	facts = append(facts, plural(int(l.State.Lines), "line"))
	if l.State.Usual > 0 {
		facts = append(facts, "99 of 100 within "+formatSpan(l.State.Usual))
	}
	if l.State.Last > 0 {
		facts = append(facts, "last line at "+formatMillis(l.State.Last, u.loc))
	}
	if l.State.LostBytes > 0 {
		facts = append(facts, formatInt(int64(l.State.LostBytes))+" bytes were written too fast to be read")
	}
	out := []string{
		newLine(u.theme, w).space(1).put(heading, clean(logName(l), u.theme.ascii)).String(),
		newLine(u.theme, w).space(3).put(dim, clean(strings.Join(facts, " · "), u.theme.ascii)).String(),
		newLine(u.theme, w).space(3).put(dim, clean(l.State.Clock, u.theme.ascii)).String(),
		blank(w),
	}
	title := func(text string) { out = append(out, newLine(u.theme, w).space(3).put(heading, text).String()) }
	title("silences")
	if len(l.Gaps) == 0 {
		text := "none was longer than the log's usual interval allows"
		out = append(out, newLine(u.theme, w).space(5).put(plain, text).String())
	}
	for i := len(l.Gaps) - 1; i >= max(0, len(l.Gaps)-shownOfLog); i-- {
		g := &l.Gaps[i]
		from, long := g.Time.Add(-g.Dur), g.Dur
		text := ""
		if g.Lasts {
			long, text = v.snap.Now.Sub(from), "still going"
		} else if g.After != "" {
			text = "then “" + g.After + "”"
		}
		out = append(out, newLine(u.theme, w).space(5).put(dim, formatMillis(from, u.loc)).space(2).
			field(bold, formatSpan(long), 8, true).space(2).put(plain, clean(text, u.theme.ascii)).String())
	}
	if len(l.Lines) > 0 {
		out = append(out, blank(w))
		title("matching lines")
		out = append(out, u.quoted(l.Lines[max(0, len(l.Lines)-shownOfLog):], w)...)
	}
	if f := v.findingOfLog(l); f != nil {
		out = append(out, blank(w))
		out = append(out, u.findingLines(v, f, w)...)
	}
	return out
}

// quoted lists lines of logs, the latest first.
func (u *ui) quoted(lines []model.LogLine, w int) (out []string) {
	for i := len(lines) - 1; i >= 0; i-- {
		l := &lines[i]
		text := fmt.Sprintf("%s: %s", l.Log, l.Text)
		out = append(out, newLine(u.theme, w).space(5).put(dim, formatMillis(l.Time, u.loc)).space(2).
			put(plain, clean(text, u.theme.ascii)).String())
	}
	return out
}

// linesAround returns what the logs of this host say from one time to another, and shortly after it.
func linesAround(v *view, from, to model.Time) (lines []model.LogLine) {
	for i := range v.snap.Logs {
		for _, l := range v.snap.Logs[i].Lines {
			if v.snap.Logs[i].Host == "" && l.Time >= from && l.Time <= to.Add(5*time.Second) {
				lines = append(lines, l)
			}
		}
	}
	return lines[max(0, len(lines)-4):]
}
