package logs

import (
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/plain"
	"lostbeat/model"
)

// at is a moment so many milliseconds into the test.
func at(ms int) model.Time {
	return model.TimeOf(time.Date(2013, 3, 31, 0, 36, 0, 0, time.UTC)) + model.Time(ms)*1e6
}

// told joins logs without counters and returns the titles, causes behind a bar.
func told(gaps []model.LogGap, lines []model.LogLine) (out []string) {
	var s Settings
	s.MaxExpected, s.LeastGap = 0.01, 2e9
	for _, f := range Join([]Input{{Logs: &fold.Logs{Gaps: gaps, Lines: lines, Total: len(gaps) + len(lines)}}}, s) {
		out = append(out, plain.Blanks(f.Severity.String()+" "+f.Title+" | "+strings.Join(f.Causes, " | ")))
	}
	return out
}

// TestIncidents checks what belongs together.
func TestIncidents(t *testing.T) {
	gap := model.LogGap{Time: at(20000), Dur: 10 * time.Second, Usual: time.Millisecond, Log: "a.log"}
	line := func(ms int, log string, class model.LogClass, text string) model.LogLine {
		return model.LogLine{Time: at(ms), Log: log, Class: class, Text: text}
	}
	by := func(pattern string, l model.LogLine) model.LogLine {
		l.Pattern = pattern
		return l
	}
	likely := gap
	likely.ExpectedCount = 0.011
	short := gap
	short.Dur = 1900 * time.Millisecond
	long := line(60000, "a.log", model.LogMissed, "token")
	long.Dur = 750 * time.Millisecond
	for _, tt := range []struct {
		name  string
		gaps  []model.LogGap
		lines []model.LogLine
		want  []string
	}{
		{"nothing", nil, nil, nil},
		{"a gap", []model.LogGap{gap}, nil,
			[]string{"info a.log has no line for 10.0 s (99 of 100 lines follow within 1 ms) | "}},
		{"a gap that the log lets expect", []model.LogGap{likely}, nil, nil},
		{"too short", []model.LogGap{short}, nil, nil},
		{"a line at its end", []model.LogGap{gap}, []model.LogLine{line(20000, "a.log", model.LogMissed, "missed")},
			[]string{"warning a.log has no line for 10.0 s, then “missed” | 00:36:20.000 a.log: missed"}},
		{"the other end's line", []model.LogGap{gap}, []model.LogLine{line(24900, "b.log", model.LogLost, "gone")},
			[]string{"warning a.log has no line for 10.0 s, then b.log “gone” | 00:36:24.900 b.log: gone"}},
		{"a line before it is another matter", []model.LogGap{gap},
			[]model.LogLine{line(10000, "a.log", model.LogLost, "bye")},
			[]string{"warning a.log: “bye” | 00:36:10.000 a.log: bye",
				"info a.log has no line for 10.0 s (99 of 100 lines follow within 1 ms) | "}},
		{"a line long after it, too", []model.LogGap{gap}, []model.LogLine{line(25001, "b.log", model.LogLost, "gone")},
			[]string{"info a.log has no line for 10.0 s (99 of 100 lines follow within 1 ms) | ",
				"warning b.log: “gone” | 00:36:25.001 b.log: gone"}},
		{"the line that says since when", nil, []model.LogLine{long},
			[]string{"warning a.log: “token” after 750 ms | 00:37:00.000 a.log: token"}},
		{"a slow disk is a rival", []model.LogGap{gap}, []model.LogLine{line(19000, "a.log", model.LogDisk, "slow"),
			line(20000, "a.log", model.LogMissed, "missed")}, []string{"warning a.log has no line for 10.0 s, then “missed” | " +
			"The program measured a slow disk: another possible cause | 00:36:19.000 a.log: slow | 00:36:20.000 a.log: missed"}},
		{"a slow disk alone is no incident", nil, []model.LogLine{line(19000, "a.log", model.LogDisk, "slow")}, nil},
		{"the program says that it did not run", nil, []model.LogLine{line(19000, "a.log", model.LogMissed, "token"),
			line(20000, "b.log", model.LogHeldUp, "not scheduled")}, []string{"warning a.log: “token”; the program of b.log " +
			"says itself that it did not run | the program says itself that it did not run | 00:36:19.000 a.log: token | " +
			"00:36:20.000 b.log: not scheduled"}},
		{"the kernel says that a CPU was held up", nil, []model.LogLine{line(19000, "a.log", model.LogMissed, "token"),
			by("kernel/soft-lockup", line(20000, "b.log", model.LogHeldUp, "stuck"))}, []string{"warning a.log: “token”; " +
			"the kernel of b.log reports that a CPU was held up | the kernel reports that a CPU was held up | " +
			"00:36:19.000 a.log: token | 00:36:20.000 b.log: stuck"}},
		{"another one says that the program did not run", nil, []model.LogLine{line(19000, "a.log", model.LogMissed, "token"),
			by("systemd/watchdog", line(20000, "b.log", model.LogHeldUp, "watchdog"))}, []string{"warning a.log: “token”; " +
			"systemd of b.log reports that a process did not answer | systemd reports that a process did not answer | " +
			"00:36:19.000 a.log: token | 00:36:20.000 b.log: watchdog"}},
	} {
		if got := told(tt.gaps, tt.lines); strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// TestManyIncidents checks that a log full of trouble is bounded and what is left out is said.
func TestManyIncidents(t *testing.T) {
	var lines []model.LogLine
	for i := range 500 {
		lines = append(lines, model.LogLine{Time: at(i * 120_000), Log: "a.log", Text: "missed"})
	}
	var s Settings
	found := Join([]Input{{Logs: &fold.Logs{Lines: lines}}}, s)
	last := found[len(found)-1].Evidence
	if len(found) != maxFindings || last[len(last)-1].Value != 450 {
		t.Errorf("%d findings, the last with %v", len(found), last)
	}
}
