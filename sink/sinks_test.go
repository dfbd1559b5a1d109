package sink

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/model"
)

const second = model.Time(time.Second)

// updates is a finding that arises, changes its numbers, gets worse, and ends.
func updates(t *testing.T) *model.Batch {
	t.Helper()
	f := model.Finding{
		ID: "a", Detector: "port-leak", Severity: model.SeverityWarning, Title: "rpc-\x1b[31mclient leaks ports",
		Start: second, End: 2 * second, Ongoing: true, Subject: model.Subject{CPU: -1, PID: -1},
	}
	var b model.Builder
	for i := range 4 {
		switch i {
		case 2:
			f.Severity = model.SeverityCritical
		case 3:
			f.Ongoing = false
		}
		f.End = model.Time(i+2) * second
		b.AddFinding(f.End, f)
	}
	return b.Take()
}

// Each output of the catalogue gives what its name says.
func TestCatalogue(t *testing.T) {
	want := map[string]int{"text": 3, "jsonl": 4} // lines
	for _, spec := range Catalogue(time.UTC) {
		var out bytes.Buffer
		if err := spec.To("x", &out).Sink.Write(updates(t)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); want[spec.Name] != 0 && got != want[spec.Name] || spec.Doc == "" {
			t.Errorf("%s: %d lines:\n%s", spec.Name, got, &out)
		}
		if strings.ContainsRune(out.String(), '\x1b') {
			t.Errorf("%s: a name from the host steers the terminal", spec.Name)
		}
	}
}

func TestText(t *testing.T) {
	spec, err := Find("text", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := spec.To("x", &out).Sink.Write(updates(t)); err != nil {
		t.Fatal(err)
	}
	want := "1970-01-01T00:00:02Z ▲ warning port-leak: rpc-·[31mclient leaks ports\n" +
		"1970-01-01T00:00:04Z ✖ critical port-leak: rpc-·[31mclient leaks ports\n" +
		"1970-01-01T00:00:05Z ✔ critical port-leak: rpc-·[31mclient leaks ports (over after 4 s)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

// An output to a file is added to what is there.
func TestAppend(t *testing.T) {
	spec, err := Find("jsonl", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "findings.jsonl")
	for range 2 {
		out, closeFile, err := spec.Append(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Sink.Write(updates(t)); err != nil {
			t.Fatal(err)
		}
		if err := closeFile(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		var f model.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.ID != "a" {
			t.Errorf("%v in %s", err, line)
		}
		n++
	}
	if n != 8 {
		t.Errorf("%d lines", n)
	}
}

func TestFind(t *testing.T) {
	if _, err := Find("nonsense", time.UTC); hint.Of(err) == "" {
		t.Errorf("got %v", err)
	}
}
