package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/sink/jsonl"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas compiles the published schemas, by the name and version that objects carry.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "schema", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	all := map[string]*jsonschema.Schema{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := compiler.AddResource(file, doc); err != nil {
			t.Fatal(err)
		}
		s, err := compiler.Compile(file)
		if err != nil {
			t.Fatal(err)
		}
		var named struct {
			Properties struct {
				Schema struct{ Const string }
			}
		}
		if err := json.Unmarshal(data, &named); err != nil {
			t.Fatal(err)
		}
		all[named.Properties.Schema.Const] = s
	}
	return all
}

// TestJSONFollowsItsSchema checks real output against the published schemas, and wants each schema to be used.
func TestJSONFollowsItsSchema(t *testing.T) {
	all, used := schemas(t), map[string]bool{}
	check := func(what, out string) {
		t.Helper()
		if out == "" {
			t.Errorf("%s: nothing was printed", what)
		}
		for line := range strings.Lines(out) {
			var named struct{ Schema string }
			if err := json.Unmarshal([]byte(line), &named); err != nil {
				t.Fatalf("%s: %v in %s", what, err, line)
			}
			schema, ok := all[named.Schema]
			if !ok {
				t.Fatalf("%s: there is no schema %q: %s", what, named.Schema, line)
			}
			used[named.Schema] = true
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); err != nil {
				t.Errorf("%s: %v\n%s", what, err, line)
			}
		}
	}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, fleetRow("web-1", "udp/5405 lost 2 packets"))
	}))
	defer store.Close()
	groups, _, _ := execute(t, "fleet", "--logs", store.URL, "--json")
	check("fleet", groups)
	recording := sampleRecording(t)
	data, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.lostbeat")
	if err := os.WriteFile(cut, data[:len(data)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(t.TempDir(), "part.lostbeat")
	if _, errs, status := execute(t, "cut", recording, "--until", "+15s", "-o", part); status != exitOK {
		t.Fatal(errs)
	}
	for _, args := range [][]string{
		{"findings", "--json", recording},
		{"findings", "--format", "json", cut},
		{"info", "--json", recording},
		{"info", "--json", cut},
		{"info", "--json", bundleOf(t, "leak.lostbeat", data)},
		{"events", "--json", recording},
		{"info", "--json", part},
		{"diff", "--json", part, recording},
		{"report", "--json", recording},
		{"report", "--json", cut},
		{"report", "--json", bundleOf(t, "leak.lostbeat", data)},
		{"config", "--json", "--theme", "dark"},
	} {
		out, _, _ := execute(t, args...)
		check(strings.Join(args, " "), out)
	}

	var out bytes.Buffer
	for _, row := range []doctorRow{{Name: "x", State: "yes"}, {"x", "off", "why", "what would help"}} {
		if err := plain.Object(&out, doctorSchema, row); err != nil {
			t.Fatal(err)
		}
	}
	check("doctor", out.String())

	out.Reset()
	if err := plain.Object(&out, topSchema, summarize(seenSample(t, recording))); err != nil {
		t.Fatal(err)
	}
	check("top", out.String())

	out.Reset()
	var b model.Builder
	b.AddFlow(model.Flow{
		Time: model.TimeOf(time.Now()), PID: 7, Process: "hbd", State: model.FlowProposed, LocalPort: 7000,
		Protocol: model.ProtocolUDP, Period: time.Second,
	})
	if err := jsonl.New(&out).Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	check("watch", out.String())

	used["lostbeat.trace/1"] = true // needs a trace: TestTraceFollowsItsSchema
	for name := range all {
		if !used[name] {
			t.Errorf("nothing was checked against %s", name)
		}
	}
}

// bundleOf writes a bundle with one file in it.
func bundleOf(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// seenSample is what top would have seen of a recording.
func seenSample(t *testing.T, path string) run.Seen {
	t.Helper()
	c, err := run.Open(path, run.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := fold.NewHistory()
	if err := c.Run(t.Context(), h.Write); err != nil {
		t.Fatal(err)
	}
	var b model.Builder
	at := model.TimeOf(time.Now())
	b.AddDrop(model.Drop{Time: at, Place: model.PlaceSocket, Reason: "SOCKET_RCVBUFF", Device: "eth0", Count: 3})
	b.AddProbe(model.Probe{Time: at, Name: "drop", State: model.ProbeOff, Reason: "no BTF", Hint: "use another kernel"})
	h.Apply(b.Take())
	h.Publish()
	return run.Seen{State: h, Findings: []model.Finding{{ID: "x", Start: at, End: at, Subject: model.Subject{PID: -1}}}}
}

// TestTraceFollowsItsSchema checks what info prints of a Windows trace.
func TestTraceFollowsItsSchema(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("LOSTBEAT_DATA"), "etl", "*.etl"))
	if len(files) == 0 {
		t.Skip("no traces: LOSTBEAT_DATA names the folder with them")
	}
	out, errs, _ := execute(t, "info", "--json", files[0])
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	if err := schemas(t)["lostbeat.trace/1"].Validate(value); err != nil {
		t.Error(err)
	}
}
