package lab

import (
	"context"
	"encoding/json"
	"errors"
	"lostbeat/detect/all"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
)

// findingLog is a sink that writes down every finding with its time.
type findingLog struct{ lines []string }

func (l *findingLog) Write(b *model.Batch) error {
	for i := range b.Events {
		if v, ok := b.FindingEvent(&b.Events[i]); ok {
			l.lines = append(l.lines, v.Time.String()+" "+v.Body)
		}
	}
	return nil
}

// TestLongLiveEqualsReplay records a live run with two faults at a time and wants
// the same findings from the recording, byte for byte.
func TestLongLiveEqualsReplay(t *testing.T) {
	testutil.Privileged(t)
	if testing.Short() {
		t.Skip("it makes faults for a quarter of a minute")
	}
	path := filepath.Join(t.TempDir(), "both.lostbeat")
	writer, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	both := &Scenario{
		Name: "both", Doc: "a starved CPU and a port leak", Length: 10 * time.Second,
		Expect: []Expectation{
			{Detector: "dpc-starvation", Contains: []string{recvDevPrefix}},
			{Detector: "port-leak", Contains: []string{"bind"}},
		},
		Allow: []string{"packet-drop"}, // the flood goes where no program listens
		Run: func(ctx context.Context, e *Env) error {
			ns, err := e.Namespace(ctx, "leak")
			if err != nil {
				return err
			}
			if _, err := e.Start(ctx, ns, "leak", "-mode", "bind", "-rate", "40", "-count", "1000"); err != nil {
				return err
			}
			return pinnedFlood(ctx, e)
		},
	}
	var live findingLog
	settings := all.Settings()
	results, err := Run(t.Context(), []*Scenario{both}, Options{Settings: settings,
		Outputs: []pipeline.Output{{Name: "recording", Sink: writer, Essential: true}, {Name: "findings", Sink: &live}}})
	if err := errors.Join(err, writer.Close()); err != nil {
		t.Fatal(err)
	}
	var report strings.Builder
	if !Report(&report, results) {
		t.Errorf("\n%s", report.String())
	}

	reader, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if notes := reader.Notes(); len(notes) > 0 {
		t.Errorf("the recording is not whole: %q", notes)
	}
	var replayed []string
	engine := detect.New(settings, detect.Options{})
	emit := func(at model.Time, f model.Finding) {
		body, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		replayed = append(replayed, at.String()+" "+string(body))
	}
	if err := reader.Run(t.Context(), func(b *model.Batch) error { engine.Apply(b, emit); return nil }); err != nil {
		t.Fatal(err)
	}
	engine.Finish(emit)
	if len(live.lines) == 0 {
		t.Fatal("the live run had no finding")
	}
	for i := range max(len(live.lines), len(replayed)) {
		switch {
		case i >= len(live.lines):
			t.Errorf("only replayed: %s", replayed[i])
		case i >= len(replayed):
			t.Errorf("only live: %s", live.lines[i])
		case live.lines[i] != replayed[i]:
			t.Fatalf("finding %d differs:\nlive:     %s\nreplayed: %s", i, live.lines[i], replayed[i])
		}
	}
	t.Logf("%d findings and updates, the same live and replayed", len(live.lines))
}
