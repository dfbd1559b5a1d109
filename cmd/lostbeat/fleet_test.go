package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lostbeat/fleet"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/sink/otlp"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// fleetRow is a finding as a store returns it.
func fleetRow(host, title string) string {
	text, err := json.Marshal(map[string]string{
		"_msg": title, "event_name": otlp.EventFinding, "severity_text": "critical", otlp.AttrHost: host,
		otlp.AttrBoot: "of " + host, otlp.AttrID: "a", otlp.AttrRevision: "7", otlp.AttrDetector: "socket-drop",
		otlp.AttrState: otlp.StateActive, otlp.AttrStart: "2026-03-01T12:00:00Z", otlp.AttrEnd: "2026-03-01T12:00:01Z",
		otlp.AttrRecording: "/var/lib/lostbeat/it's.lostbeat", otlp.AttrCause: "its queue was full",
	})
	if err != nil {
		panic(err) // strings only
	}
	return string(text) + "\n"
}

// A storm is one group with the command that opens a recording; what a store says does not steer the terminal.
func TestFleet(t *testing.T) {
	var rows strings.Builder
	for n := range 10 {
		rows.WriteString(fleetRow(fmt.Sprintf("web-%d", n), fmt.Sprintf("udp/5405 lost %d packets", n+2)))
	}
	rows.WriteString(fleetRow(platform.ThisHost().Name, "\x1b[31mpaused"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, rows.String())
	}))
	defer server.Close()
	out, errs, status := execute(t, "fleet", "--logs", server.URL, "--utc")
	want := `✖ 10 hosts: udp/5405 lost 2 packets
    critical · socket-drop · began 2026-03-01 12:00:00 UTC · 10 active
    why       its queue was full
    hosts     web-0, web-1, web-2, web-3, web-4, web-5, web-6, web-7 and 2 more
    open      ssh web-0 sudo lostbeat findings '/var/lib/lostbeat/it'\''s.lostbeat'
`
	if status != exitOK || errs != "" || !strings.HasPrefix(out, want) || strings.ContainsRune(out, '\x1b') ||
		!strings.Contains(out, "\n    open      lostbeat findings ") {
		t.Errorf("status %d %s\n%s", status, errs, out)
	}
	out, _, status = execute(t, "fleet", "--logs", server.URL, "--json")
	schema := schemas(t)[fleetSchema]
	if status != exitOK || strings.Count(out, "\n") != 2 || schema == nil {
		t.Fatalf("status %d, schema %v\n%s", status, schema, out)
	}
	for line := range strings.Lines(out) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v in %s", err, line)
		}
	}
	rows.WriteString("damage\n")
	if _, errs, status := execute(t, "fleet", "--logs", server.URL); status != exitIncomplete ||
		!strings.Contains(errs, "1 record in the answer could not be understood") {
		t.Errorf("status %d %s", status, errs)
	}
	server.Close()
	if _, errs, status := execute(t, "fleet", "--logs", server.URL); status != exitError || errs == "" {
		t.Errorf("status %d %s", status, errs)
	}
}

// TestLongFleet sends findings of hosts to VictoriaLogs with the exporter, and lists them with the confined program. It
// takes 25 s with the build of VictoriaLogs.
func TestLongFleet(t *testing.T) {
	server := testutil.VictoriaLogs(t)
	receiver := otlp.Endpoint{URL: server + "/insert/opentelemetry"}
	config, err := otlp.Read(otlp.Logs, receiver, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	now := model.TimeOf(time.Now())
	for n := range 3 {
		var b model.Builder
		b.AddClock(model.Clock{Time: now, Boot: time.Hour, Wall: now})
		f := model.Finding{
			ID: "socket-drop/a", Detector: "socket-drop", Severity: model.SeverityCritical, Ongoing: true, Start: now,
			End: now, Title: fmt.Sprintf("udp/5405 of corosync[%d] lost 7 packets", n), Subject: model.Subject{CPU: -1, PID: -1},
		}
		b.AddFinding(now, f)
		f.Ongoing = false
		b.AddFinding(now, f)
		host := otlp.Host{Name: fmt.Sprintf("web-%d", n), BootID: fmt.Sprintf("boot-%d", n)}
		e, err := otlp.Start(otlp.Options{
			Config: config, Folder: t.TempDir(), Host: host, Recording: "/tmp/x.lostbeat", Say: func(s string) { t.Error(s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
		e.Close(10 * time.Second)
	}
	var g fleet.Group
	var out string
	for deadline := time.Now().Add(20 * time.Second); len(g.Hosts) < 3 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		var errs string
		var status int
		if out, errs, status = execute(t, "fleet", "--logs", server, "--json"); status != exitOK {
			t.Fatalf("status %d %s", status, errs)
		}
		if json.Unmarshal([]byte(out), &g) != nil {
			g = fleet.Group{}
		}
	}
	if len(g.Hosts) != 3 || len(g.Findings) != 3 || g.Active != 0 || g.Findings[0].Recording != "/tmp/x.lostbeat" {
		t.Errorf("got %s", out)
	}
}
