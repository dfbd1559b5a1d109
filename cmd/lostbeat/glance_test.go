package main

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lostbeat/model"
)

func TestCheckLine(t *testing.T) {
	finding := func(severity model.Severity, ongoing bool, title string) model.Finding {
		return model.Finding{Severity: severity, Ongoing: ongoing, Title: title}
	}
	long := strings.Repeat("é", 200)
	for _, c := range []struct {
		name   string
		found  []model.Finding
		err    error
		line   string
		status exitStatus
	}{
		{"nothing", nil, nil, "OK: no fault in 30 s", checkOK},
		{"a note", []model.Finding{finding(model.SeverityInfo, true, "note")}, nil, "OK: no fault in 30 s", checkOK},
		{"a warning", []model.Finding{
			finding(model.SeverityInfo, true, "note"), finding(model.SeverityWarning, false, "ports leak"),
		}, nil, "WARNING: ports leak", checkWarning},
		{"the worst of several", []model.Finding{
			finding(model.SeverityWarning, true, "ports leak"), finding(model.SeverityCritical, false, "CPU 0 starves"),
			finding(model.SeverityWarning, true, "ring drops"),
		}, nil, "CRITICAL (and 2 more): CPU 0 starves", checkCritical},
		{"what goes on before what is over", []model.Finding{
			finding(model.SeverityWarning, false, "was"), finding(model.SeverityWarning, true, "is"),
		}, nil, "WARNING (and 1 more): is", checkWarning},
		{"an error", nil, errors.New("no\x1b[31m rights"), "UNKNOWN: no?[31m rights", checkUnknown},
		{"a long title", []model.Finding{finding(model.SeverityWarning, true, long)}, nil,
			"WARNING: " + long[:2*70] + "…", checkWarning},
	} {
		line, status := checkLine(c.found, 30*time.Second, c.err)
		if line != c.line && c.name != "an error" || status != c.status {
			t.Errorf("%s: %q with status %d, want %q with %d", c.name, line, status, c.line, c.status)
		}
		if n := utf8.RuneCountInString(line); n > checkColumns || strings.ContainsAny(line, "\n\x1b") {
			t.Errorf("%s: %d characters: %q", c.name, n, line)
		}
	}
}

func TestPageSize(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	t.Setenv("LINES", "30")
	if w, h := pageSize(); w != 100 || h != 30 {
		t.Errorf("%d columns and %d lines, want what the environment says", w, h)
	}
	t.Setenv("COLUMNS", "nonsense")
	t.Setenv("LINES", "-1")
	if w, h := pageSize(); w < 20 || h < 5 {
		t.Errorf("%d columns and %d lines", w, h)
	}
}

func TestCheckTooShort(t *testing.T) {
	out, errs, status := execute(t, "check", "--since", "1ms")
	if status != int(checkUnknown) || !strings.HasPrefix(out, "UNKNOWN: ") || errs != "" {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}
