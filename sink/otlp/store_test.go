package otlp

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// TestLongVictoriaLogs sends findings to VictoriaLogs, twice where the cursor was lost, and gets each once by a query
// of docs/OTLP.md. It takes 25 s with the build of VictoriaLogs.
func TestLongVictoriaLogs(t *testing.T) {
	server := testutil.VictoriaLogs(t)
	folder, to := t.TempDir(), &said{}
	o := options(t, server+"/insert/opentelemetry", folder, to)
	o.now = time.Now
	e := start(t, o)
	now := model.TimeOf(time.Now())
	var b model.Builder
	b.AddClock(model.Clock{Time: epoch, Boot: time.Hour, Wall: now})
	b.AddFinding(epoch, model.Finding{
		ID: "socket-drop/a", Detector: "socket-drop", Severity: model.SeverityCritical, Ongoing: true,
		Title: "udp/5405 of corosync[7] lost 7 packets", Start: epoch, End: epoch,
		Subject: model.Subject{Kind: "socket", CPU: -1, PID: 7, Process: "corosync", Port: 5405},
	})
	write(t, e, b.Take())
	eventually(t, "delivery", func() bool { at, _, _ := e.journal.State(); return at.delivered == 1 })
	e.Close(5 * time.Second)
	if err := os.Remove(filepath.Join(folder, cursorName)); err != nil {
		t.Fatal(err)
	}
	start(t, o).Close(5 * time.Second) // it does not know that the finding was sent
	const all = `event_name:="lostbeat.finding" _time:1h`
	eventually(t, "two records", func() bool { return strings.Count(query(t, server, all), "\n") == 1 })
	const once = all + ` | uniq by ("lostbeat.boot.id", "lostbeat.finding.id", "lostbeat.finding.revision")`
	if got := query(t, server, once); strings.Contains(got, "\n") || !strings.Contains(got, "socket-drop/a") {
		t.Errorf("once: %s", got)
	}
	var row map[string]string
	found := query(t, server, all+` severity_text:=critical "lostbeat.finding.detector":="socket-drop" | limit 1`)
	if err := json.Unmarshal([]byte(found), &row); err != nil {
		t.Fatalf("%v in %s", err, found)
	}
	for field, want := range map[string]string{
		"_msg": "udp/5405 of corosync[7] lost 7 packets", AttrHost: "web-1", AttrState: StateActive,
		AttrRevision: "3600000", AttrSubject + "port": "5405", "_time": now.Std().Format("2006-01-02T15:04:05"),
	} {
		if !strings.HasPrefix(row[field], want) {
			t.Errorf("%s: %q, want %q", field, row[field], want)
		}
	}
}

func query(t *testing.T, server, q string) string {
	t.Helper()
	answer, err := http.PostForm(server+"/select/logsql/query", url.Values{"query": {q}})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %s", answer.Status, err, text)
	}
	return strings.TrimSpace(string(text))
}
