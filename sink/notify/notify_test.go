package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/model"
)

// log collects what a Notifier says.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *log) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// found returns a batch with a finding.
func found(id string, severity model.Severity, ongoing bool) *model.Batch {
	var b model.Builder
	at := model.TimeOf(time.Date(2026, 11, 29, 14, 3, 0, 0, time.UTC))
	b.AddFinding(at, model.Finding{
		ID: id, Detector: "socket-drop", Severity: severity, Title: "title of " + id, Start: at, End: at + 5,
		Ongoing: ongoing,
		Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
	})
	return b.Take()
}

// write hands findings to a Notifier and fails when that takes time.
func write(t *testing.T, n *Notifier, batches ...*model.Batch) {
	t.Helper()
	began := time.Now()
	for _, b := range batches {
		if err := n.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("handing over took %v", took)
	}
}

// history is a finding from its beginning to its end.
func history(id string) []*model.Batch {
	return []*model.Batch{
		found(id, model.SeverityWarning, true),
		found(id, model.SeverityWarning, true), // numbers only: not a message
		found(id, model.SeverityCritical, true),
		found(id, model.SeverityWarning, true), // less severe: not a message
		found(id, model.SeverityWarning, false),
	}
}

// describe says in short what a message has.
func describe(t *testing.T, body []byte) string {
	t.Helper()
	var f struct {
		Schema, ID, Severity string
		Ongoing              bool
	}
	if err := json.Unmarshal(body, &f); err != nil {
		t.Errorf("%v in %q", err, body)
	}
	return fmt.Sprintf("%s %s %s %v", f.Schema, f.ID, f.Severity, f.Ongoing)
}

// wantHistory are the messages of a history.
func wantHistory(id string) []string {
	return []string{
		"lostbeat.finding/1 " + id + " warning true",
		"lostbeat.finding/1 " + id + " critical true",
		"lostbeat.finding/1 " + id + " warning false",
	}
}

func TestSplitCommand(t *testing.T) {
	for text, want := range map[string][]string{
		"notify":                    {"notify"},
		"  /bin/notify  -x\t'a b' ": {"/bin/notify", "-x", "a b"},
		`n "it's" ''`:               {"n", "it's", ""},
		`n a"b c"d`:                 {"n", "ab cd"},
		"n $(id) ;rm `x` *":         {"n", "$(id)", ";rm", "`x`", "*"},
		"":                          nil,
		"'":                         nil,
		`n "x`:                      nil,
		"''":                        nil,
	} {
		got, err := SplitCommand(text)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}
