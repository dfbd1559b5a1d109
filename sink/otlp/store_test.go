package otlp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	return strings.TrimSpace(bodyOf(t, answer, err))
}

// bodyOf returns the body of an answer that is as it should be.
func bodyOf(t *testing.T, answer *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %s", answer.Status, err, text)
	}
	return string(text)
}

// pairs are the labels of a line of the page.
var pairs = regexp.MustCompile(`(\w+)="([^"]*)"`)

// seriesOf names a series by its labels, without those of the resource.
func seriesOf(labels map[string]string) string {
	var out []string
	for name, value := range labels {
		if name == "le" { // written in more than one way
			bound, _ := strconv.ParseFloat(value, 64)
			value = fmt.Sprint(bound)
		}
		if resource := strings.Contains(name, "_") && name != "__name__"; !resource {
			out = append(out, name+"="+value)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// get returns the body of an answer.
func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	return bodyOf(t, answer, err)
}

// TestLongVictoriaMetrics sends metrics to VictoriaMetrics, which has each series of the page for Prometheus under the
// same name and with the same value. It takes 30 s with the build of VictoriaMetrics.
func TestLongVictoriaMetrics(t *testing.T) {
	server := testutil.VictoriaMetrics(t)
	to := &said{}
	o := series(t, server+"/opentelemetry", to)
	o.Interval = time.Hour
	var h model.Histogram
	h.Observe(7_000_000)
	var events model.Builder
	events.AddDeferredHist(model.DeferredHist{Time: epoch, Name: "NET_RX", WaitHist: &h, RunHist: &h})
	events.AddDrop(model.Drop{Time: epoch, Place: model.PlaceSocket, Count: 7})
	if err := o.From.Write(events.Take()); err != nil {
		t.Fatal(err)
	}
	StartSeries(o).Close(5 * time.Second)
	page, err := o.From.Text()
	if err != nil || to.all() != "[]" {
		t.Fatalf("%v, said %s", err, to.all())
	}
	stored := map[string]float64{}
	eventually(t, "the series", func() bool {
		for _, line := range strings.Split(get(t, server+`/api/v1/export?match[]={__name__=~"lostbeat_.*"}`), "\n") {
			var s struct {
				Metric map[string]string
				Values []float64
			}
			if line == "" || json.Unmarshal([]byte(line), &s) != nil {
				continue
			}
			if s.Metric["service_instance_id"] != "web-1" || s.Metric["service_name"] != "lostbeat" {
				t.Fatalf("labels %v", s.Metric)
			}
			stored[seriesOf(s.Metric)] = s.Values[0]
		}
		return len(stored) > 0
	})
	compared := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		compared++
		line = strings.TrimSpace(line)
		at := strings.LastIndex(line, " ")
		name, labels, _ := strings.Cut(line[:at], "{")
		of := map[string]string{"__name__": name}
		for _, pair := range pairs.FindAllStringSubmatch(labels, -1) {
			of[pair[1]] = pair[2]
		}
		want, err := strconv.ParseFloat(line[at+1:], 64)
		if got, ok := stored[seriesOf(of)]; err != nil || !ok || got != want {
			t.Errorf("%v in the store (%v), on the page: %s", got, ok, line)
		}
	}
	if compared < 60 {
		t.Errorf("%d series are compared", compared)
	}
}
