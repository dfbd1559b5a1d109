package main

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
)

func TestFindingsAsCSV(t *testing.T) {
	out, errs, status := execute(t, "findings", "--format", "csv", sampleRecording(t))
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != exitOK || err != nil || len(rows) < 2 {
		t.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	for i, name := range rows[0] {
		switch cell := rows[1][i]; {
		case strings.ContainsAny(cell, "\x1b\n"):
			t.Errorf("%s has a control character: %q", name, cell)
		case name == "detector" && cell != "port-leak", name == "pid" && cell != "4312", name == "pool" && cell != "rpc":
			t.Errorf("%s is %q", name, cell)
		}
	}
}

func TestFindingsAsMarkdown(t *testing.T) {
	out, errs, status := execute(t, "findings", "--format", "md", sampleRecording(t))
	for _, want := range []string{
		"\\[31mclient\\[4312\\] took 300 udp ports", "**Evidence**", "| ports taken and kept | 300 ports |",
		"\n1. ", "**What to do**", "input: complete",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("status %d, %q is missing\n%s%s", status, want, out, errs)
		}
	}
}

func TestEventsAsCSV(t *testing.T) {
	out, errs, status := execute(t, "events", "--format", "csv", "--kind", "port.acquire", sampleRecording(t))
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != exitOK || err != nil || len(rows) != 301 {
		t.Fatalf("status %d, %v, %d rows\n%s", status, err, len(rows), errs)
	}
	if row := rows[1]; row[0] != "2026-11-22T14:03:00.000000000Z" || row[1] != "port.acquire" || row[4] != "4312" ||
		!strings.Contains(row[6], "local_port=5000") {
		t.Errorf("got %q", row)
	}
}

func TestFormats(t *testing.T) {
	path := sampleRecording(t)
	for _, args := range [][]string{
		{"findings", "--json", "--format", "csv", path},
		{"events", "--format", "md", path},
		{"findings", "--format", "xml", path},
	} {
		if _, errs, status := execute(t, args...); status != exitError || !strings.Contains(errs, "hint: ") {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
	out, _, _ := execute(t, "info", "--format", "md", path)
	if !strings.HasPrefix(out, "```text\n") || !strings.HasSuffix(out, "\n```\n") {
		t.Errorf("info as Markdown:\n%s", out)
	}
	rows := table{head: []string{"a", "b"}, rows: [][]string{{"=1+1", "x|y"}, {"-2", "*"}}}
	var b bytes.Buffer
	if err := rows.csv(&b); err != nil || b.String() != "a,b\n'=1+1,x|y\n'-2,*\n" {
		t.Errorf("%v, %q", err, b.String())
	}
	b.Reset()
	if err := rows.markdown(&b); err != nil || b.String() != "| a | b |\n|---|---|\n| =1+1 | x\\|y |\n| -2 | \\* |\n" {
		t.Errorf("%v, %q", err, b.String())
	}
}
