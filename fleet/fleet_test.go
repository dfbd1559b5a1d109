package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

// row is a record as VictoriaLogs returns it.
func row(host, id string, revision int, title string, start time.Time) string {
	text, err := json.Marshal(map[string]string{
		"_time": start.Format(time.RFC3339Nano), "_msg": title, "event_name": "lostbeat.finding",
		"severity_text": "critical", "host.name": host, "lostbeat.boot.id": "boot-of-" + host, "lostbeat.finding.id": id,
		"lostbeat.finding.revision": fmt.Sprint(revision), "lostbeat.finding.detector": "heartbeat-loss",
		"lostbeat.finding.state": "active", "lostbeat.finding.start": start.Format(time.RFC3339Nano),
		"lostbeat.finding.end": start.Format(time.RFC3339Nano), "lostbeat.recording": "/var/lib/lostbeat/f.lostbeat",
	})
	if err != nil {
		panic(err) // strings only
	}
	return string(text) + "\n"
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Revisions in any order, and repetitions, are one finding with the last revision.
func TestLastRevision(t *testing.T) {
	text := row("a", "x", 1, "one", noon) + row("a", "x", 3, "three", noon) + row("a", "x", 2, "two", noon) +
		row("a", "x", 3, "three", noon) + row("b", "x", 1, "other", noon)
	a, err := read(strings.NewReader(text))
	if err != nil || len(a.Findings) != 2 || a.Records != 5 || a.Findings[0].Title != "three" ||
		a.Findings[1].Host != "b" || a.Damaged != 0 {
		t.Errorf("%v, %+v", err, a)
	}
}

// What is no record of ours is counted and left out; a long line does not take more memory than a short one.
func TestDamaged(t *testing.T) {
	long := `{"_msg":"` + strings.Repeat("x", 3*maxLine) + `"}` + "\n"
	text := "[]\n" + long + "{\n\n" + row("a", "x", 1, "ok", noon) + `{"event_name":"lostbeat.loss",` +
		`"host.name":"a","lostbeat.loss.total":"7"}` + "\n" + `{"event_name":"lostbeat.loss","lostbeat.loss.total":"-7"}`
	a, err := read(strings.NewReader(text))
	if err != nil || len(a.Findings) != 1 || a.Damaged != 4 || a.Records != 6 || a.Lost["a"] != 7 || a.Cut {
		t.Errorf("%v, %d findings, %d damaged of %d, lost %v", err, len(a.Findings), a.Damaged, a.Records, a.Lost)
	}
}

// A storm of the same finding is one group, however its numbers differ; another peer, another time and another title
// are others.
func TestGroups(t *testing.T) {
	var text strings.Builder
	title := func(peer string, late float64) string {
		return fmt.Sprintf("udp/5405 of corosync[%d]: nothing from %s for %.1f s", int(late*1000), peer, late)
	}
	for n := range 214 {
		host := fmt.Sprintf("web-%03d", n)
		at := noon.Add(time.Duration(n%10) * time.Second)
		text.WriteString(row(host, "x", 1, title("10.0.0.5", 1+float64(n)/100), at))
	}
	for n := range 3 {
		text.WriteString(row(fmt.Sprintf("db-%d", n), "x", 1, title("10.0.9.9", 2), noon))
	}
	text.WriteString(row("web-001", "y", 1, title("10.0.0.5", 3), noon.Add(10*time.Minute)))
	text.WriteString(row("web-002", "z", 1, "web-002 was paused for 9 s", noon))
	a, err := read(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range Groups(a.Findings) {
		got = append(got, fmt.Sprintf("%d %s %d", len(g.Hosts), g.Common, g.Active))
	}
	want := []string{"214 10.0.0.5 214", "3 10.0.9.9 3", "1  1", "1  1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	shuffled := slices.Clone(a.Findings)
	slices.Reverse(shuffled)
	if first, other := Groups(a.Findings), Groups(shuffled); !slices.EqualFunc(first, other, func(a, b Group) bool {
		return a.Title == b.Title && slices.Equal(a.Findings, b.Findings)
	}) {
		t.Error("the order of the answer changes the groups")
	}
}

// The minute between two findings of a group is the bound.
func TestTogether(t *testing.T) {
	for gap, want := range map[time.Duration]int{together: 1, together + 1: 2} {
		at := model.TimeOf(noon)
		list := []Finding{
			{Host: "a", ID: "a", Title: "x", Start: at}, {Host: "b", ID: "b", Title: "x", Start: at.Add(gap)},
		}
		if got := len(Groups(list)); got != want {
			t.Errorf("%v apart: %d groups", gap, got)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, pair := range [][2]string{
		{"lost 1 packet in 12 ms", "lost 1,234 packets in 3.5 s"},
		{"[2001:db8::1]:53 is late", "[2001:db8::2]:99 is late"},
	} {
		if a, b := pattern(&Finding{Title: pair[0]}), pattern(&Finding{Title: pair[1]}); a != b {
			t.Errorf("%q and %q", a, b)
		}
	}
	if a, b := pattern(&Finding{Title: "reads late"}), pattern(&Finding{Title: "sends late"}); a == b {
		t.Errorf("both are %q", a)
	}
}

// What a store answers that is no result is an error that says so; one that breaks off gives what came.
func TestStoreErrors(t *testing.T) {
	answer := func(w http.ResponseWriter) { http.Error(w, "cannot parse query", http.StatusBadRequest) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("query") == "" || r.URL.Path != "/select/logsql/query" {
			t.Errorf("asked %s", r.URL)
		}
		answer(w)
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := Query{URL: u, Since: time.Hour}
	if _, err := q.Read(context.Background()); err == nil || !strings.Contains(err.Error(), "cannot parse query") {
		t.Errorf("got %v", err)
	}
	answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100000")
		fmt.Fprint(w, row("a", "x", 1, "t", noon))
	}
	if a, err := q.Read(context.Background()); err == nil || a == nil || len(a.Findings) != 1 || !a.Cut {
		t.Errorf("%v, %+v", err, a)
	}
}

// A store may answer anything.
func FuzzRead(f *testing.F) {
	f.Add([]byte(row("a", "x", 1, "nothing from 10.0.0.5", noon) + row("b", "x", 1, "nothing from 10.0.0.5", noon)))
	f.Add([]byte(`{"event_name":"lostbeat.loss","host.name":"a","lostbeat.loss.total":"7"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := read(strings.NewReader(string(text)))
		if err != nil || a.Records < len(a.Findings)+a.Damaged {
			t.Fatalf("%v, %+v", err, a)
		}
		n := 0
		for _, g := range Groups(a.Findings) {
			n += len(g.Findings)
			if len(g.Hosts) == 0 || g.First > g.Last {
				t.Errorf("%+v", g)
			}
		}
		if n != len(a.Findings) {
			t.Errorf("%d of %d findings are in groups", n, len(a.Findings))
		}
	})
}
