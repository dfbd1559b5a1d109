package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/plain"
)

// writeLog writes a log with a line a second for five minutes, and the given text 20 s after the hundredth.
func writeLog(t *testing.T, name, layout, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	at := time.Date(2013, 3, 30, 19, 0, 0, 0, time.UTC)
	var b strings.Builder
	for i := range 300 {
		if i == 100 {
			at = at.Add(19 * time.Second)
			fmt.Fprintf(&b, "%s %s\n", at.Format(layout), text)
		} else {
			fmt.Fprintf(&b, "%s routine\n", at.Format(layout))
		}
		at = at.Add(time.Second)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLogs(t *testing.T) {
	const missed = "pim \x1b[31mmissed 2 heartbeats\x07 of VRU"
	zoneless := writeLog(t, "app.log", "2006-01-02 15:04:05", missed)
	utc := writeLog(t, "peer.log", "2006-01-02T15:04:05Z", "session gone for good")
	other := writeLog(t, "quiet.log", "2006-01-02T15:04:05Z", "routine")
	for _, tt := range []struct {
		name         string
		args         []string
		status       int
		says, errors []string
		never        []string
	}{
		{name: "alone", args: []string{"findings", zoneless},
			says: []string{"app.log has no line for 20.0 s, then “pim missed 2 heartbeats of VRU”", "read as UTC",
				"19:01:39.000 to 19:01:59.000",
				"Judge it together with the counter logs"}},
		{name: "zone given", args: []string{"findings", "--log-time", "-05:00", zoneless},
			says: []string{"2013-03-31 00:01:39.000", "read as -05:00 (--log-time)"}},
		{name: "with a warning", args: []string{"findings", "--exit-code", zoneless}, status: 1},
		{name: "without one", args: []string{"findings", "--exit-code", other}, says: []string{"no line for 20.0 s (99 of"}},
		{name: "two logs", args: []string{"findings", zoneless, utc},
			says: []string{"app.log has no line for 20.0 s, then"}, never: []string{"no finding in"}},
		{name: "a pattern of the user's", args: []string{"findings", "--log-pattern", "gone (for|in) good", utc},
			says: []string{"then “session gone for good”", "warning · log-silence"}},
		{name: "JSON", args: []string{"findings", "--json", zoneless, utc}, says: []string{`"detector":"log-silence"`}},
		{name: "info", args: []string{"info", zoneless},
			says: []string{"app.log (log)", "read as UTC", "300 lines with a time (ISO 8601)", "log.gap"}},
		{name: "events", args: []string{"events", "--kind", "log.line", zoneless},
			says: []string{"pattern=any/missed-heartbeats"}},
		{name: "another file is missing", args: []string{"findings", zoneless, "/no/such/file"}, status: 2,
			says: []string{"app.log has no line"}, errors: []string{"/no/such/file"}},
		{name: "no zone", args: []string{"findings", "--log-time", "Mars/Olympus", zoneless}, status: 2,
			errors: []string{"no such zone"}},
		{name: "no date", args: []string{"findings", "--log-time", "soon UTC", zoneless}, status: 2,
			errors: []string{"2013"}},
		{name: "no pattern", args: []string{"findings", "--log-pattern", "(", zoneless}, status: 2,
			errors: []string{"--log-pattern"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, status := execute(t, tt.args...)
			out = plain.Blanks(out)
			if status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, errs)
			}
			for _, want := range tt.says {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			for _, want := range tt.errors {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in:\n%s", want, errs)
				}
			}
			for _, no := range append(tt.never, "\x1b", "\x07") {
				if strings.Contains(out, no) {
					t.Errorf("%q in:\n%s", no, out)
				}
			}
		})
	}
}
