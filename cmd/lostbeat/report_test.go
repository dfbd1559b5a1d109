package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	path := sampleRecording(t)
	out := filepath.Join(t.TempDir(), "report.html")
	stdout, errs, status := execute(t, "report", "--utc", path, "-o", out)
	if status != exitOK || stdout != "" || !strings.Contains(errs, "1 finding") {
		t.Fatalf("status %d\n%s%s", status, stdout, errs)
	}
	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"port-leak", "rpc (udp 5000-5999)", "web-07", "6.18.0", "2026-11-22 14:03"} {
		if !strings.Contains(string(first), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.ContainsRune(string(first), '\x1b') {
		t.Error("a name from the host reached the page with its control characters")
	}
	_, errs, status = execute(t, "report", path, "-o", out)
	if status != exitError || !strings.Contains(errs, "--force") {
		t.Errorf("an existing file was replaced: status %d, %s", status, errs)
	}
	if _, errs, status := execute(t, "report", path, "-o", path, "--force"); status != exitError {
		t.Errorf("the input was replaced: status %d, %s", status, errs)
	}
	second, _, _ := execute(t, "report", "--utc", path)
	if string(first) != second {
		t.Error("the same input gave another page")
	}
	md, _, status := execute(t, "report", "--utc", "--md", path)
	if status != exitOK || !strings.HasPrefix(md, "## lostbeat report: 1 finding") || !strings.Contains(md, "| 1,000 |") {
		t.Errorf("status %d\n%s", status, md)
	}
	if _, _, status := execute(t, "report", "--md", "--json", path); status != exitError {
		t.Errorf("--md and --json: status %d", status)
	}
}

// TestReportOfCutOffFile says that the input is not complete, on the page and by the status.
func TestReportOfCutOffFile(t *testing.T) {
	data, err := os.ReadFile(sampleRecording(t))
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.lostbeat")
	if err := os.WriteFile(cut, data[:len(data)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	page, _, status := execute(t, "report", cut)
	if status != exitIncomplete || !strings.Contains(page, "the input is not complete") {
		t.Errorf("status %d, and the page does not say it", status)
	}
}
