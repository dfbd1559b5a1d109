package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/internal/redact"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/sink/metrics"
	"lostbeat/sink/recording"
	"lostbeat/sink/tally"
	"lostbeat/source"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// redactedRecording records a file anew, as record --redact would have.
func redactedRecording(t *testing.T, path string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "redacted.lostbeat")
	c, err := run.Open(path, run.OpenOptions{OpenOptions: source.OpenOptions{Everything: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := record.Create(out, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := new(redactFlag).recording(nil)
	if err := c.Run(t.Context(), func(b *model.Batch) error { return w.Write(names.Batch(b)) }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// verdictsOf are the findings of a file without what names are in, in an order of their own.
func verdictsOf(t *testing.T, path string) (list []model.Finding) {
	t.Helper()
	out, errs, status := execute(t, "findings", "--json", path)
	if status != exitOK {
		t.Fatalf("%s: status %d\n%s", path, status, errs)
	}
	for line := range strings.Lines(out) {
		var f model.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// sameVerdicts wants a file and what record --redact makes of it to have the same findings but for their names.
func sameVerdicts(t *testing.T, path string) {
	t.Helper()
	want, got := verdictsOf(t, path), verdictsOf(t, redactedRecording(t, path))
	anonymous := cmp.Options{
		cmpopts.IgnoreFields(model.Finding{}, "ID", "Title", "Causes", "RuledOut", "Advice"),
		cmpopts.IgnoreFields(model.Subject{}, "Process", "Netns", "Pool", "Queue"),
		cmpopts.IgnoreFields(model.Evidence{}, "Name"),
		cmpopts.SortSlices(func(a, b model.Finding) bool {
			return a.Detector < b.Detector || a.Detector == b.Detector && a.Start < b.Start
		}),
	}
	if diff := cmp.Diff(want, got, anonymous); diff != "" {
		t.Errorf("%s: the findings with pseudonyms differ (-names +pseudonyms):\n%s", filepath.Base(path), diff)
	}
	lengths := func(list []model.Finding) (out []int) {
		for _, f := range list {
			out = append(out, len(f.Causes), len(f.RuledOut), len(f.Advice))
		}
		return out
	}
	if !slices.Equal(lengths(want), lengths(got)) {
		t.Errorf("%s: causes, what was ruled out and advice: %v, with pseudonyms %v", filepath.Base(path), lengths(want),
			lengths(got))
	}
}

func TestRedactedRecordingHasTheSameVerdicts(t *testing.T) {
	sameVerdicts(t, privateRecording(t))
	sameVerdicts(t, sampleRecording(t))
}

// batches is a source of what a file has.
type batches struct{ path string }

func (s batches) Run(ctx context.Context, emit source.Emit) error {
	c, err := run.Open(s.path, run.OpenOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Run(ctx, emit)
}

// TestRecordRedact reads in no file that record --redact writes what was recorded, and the findings in all of them.
func TestRecordRedact(t *testing.T) {
	from := privateRecording(t)
	host := batches{from}
	dir := t.TempDir()
	hide := redactFlag{}
	names := hide.recording([]string{"mx-9=/opt/acme/app.log"})
	to, err := recording.New(filepath.Join(dir, "all.lostbeat"), record.Options{}, names)
	if err != nil {
		t.Fatal(err)
	}
	flight, err := recording.NewFlight(filepath.Join(dir, "flight.lostbeat"), recording.Options{
		FlightOptions: record.FlightOptions{Window: time.Minute, Ring: record.LeastRing, BootID: redact.Boot("acme-boot")},
		Redact:        names, Log: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ring []byte
	served := metrics.New(metrics.Options{Redact: names})
	for _, to := range []recording.Recorder{to, flight} {
		r := run.Recording{
			Source: host, Settings: all.Settings(), To: to, Tally: &tally.Tally{},
		}
		if to == flight {
			r.Outputs = []pipeline.Output{served.Output(), {Name: "ring", Sink: sinkFunc(func(*model.Batch) error {
				ring, err = os.ReadFile(filepath.Join(dir, "flight.ring"))
				return err
			})}}
		}
		if done, err := r.Run(t.Context()); err != nil || !done.Whole() {
			t.Fatal(done, err)
		}
	}
	if len(ring) == 0 {
		t.Error("there was no ring")
	}
	held := filepath.Join(t.TempDir(), "held.ring")
	if err := os.WriteFile(held, ring, 0o600); err != nil {
		t.Fatal(err)
	}
	inRing, errs, status := execute(t, "events", held)
	if !strings.Contains(inRing, "process-1") {
		t.Errorf("the ring has no pseudonym: status %d\n%s", status, errs)
	}
	page, err := served.Text()
	if err != nil {
		t.Error(err)
	}
	written := map[string]string{"flight.ring": string(ring), "events of flight.ring": inRing, "metrics": string(page)}
	files, _ := filepath.Glob(filepath.Join(dir, "*.lostbeat"))
	if len(files) < 2 {
		t.Fatalf("files: %v", files)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		plainText := filepath.Join(dir, "plain")
		unpack(t, path, plainText)
		text, err := os.ReadFile(plainText)
		if err != nil {
			t.Fatal(err)
		}
		printed, _, status := execute(t, "events", path)
		if status != exitOK || !strings.Contains(string(text), "process-1") {
			t.Fatalf("%s: status %d, no pseudonym", path, status)
		}
		written[filepath.Base(path)] = string(raw) + string(text) + printed
		if found := verdictsOf(t, path); len(found) < 2 {
			t.Errorf("%s has %d findings", path, len(found))
		}
	}
	for _, secret := range secrets {
		for name, text := range written {
			if at := strings.Index(strings.ToLower(text), secret); at >= 0 {
				t.Errorf("%s in %s: %q", secret, name, text[max(0, at-60):min(len(text), at+60)])
			}
		}
	}
}

type sinkFunc func(*model.Batch) error

func (f sinkFunc) Write(b *model.Batch) error { return f(b) }

// --also would write names beside a recording that has none.
func TestRecordRedactWithoutAlso(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.lostbeat")
	_, errs, status := execute(t, "record", "--redact", "--also", "jsonl=x", "-o", out)
	if status != exitError || !strings.Contains(errs, "--also writes names") {
		t.Errorf("status %d\n%s", status, errs)
	}
}

// TestLongRedactedVerdicts compares the verdicts of real recordings with those that record --redact would have
// given. It takes half a minute.
func TestLongRedactedVerdicts(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("LOSTBEAT_DATA"), "verdicts", "*.zst"))
	if len(files) == 0 {
		t.Skip("no recordings in $LOSTBEAT_DATA/verdicts")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(file), ".zst"))
			unpack(t, file, path)
			sameVerdicts(t, path)
		})
	}
}
