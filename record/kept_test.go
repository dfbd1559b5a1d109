package record_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/record"
)

// kept is the folder of recordings that are never written again.
const kept = "testdata/kept"

// TestKept reads a small recording of each host of detecttest for each version of the format, as the release that had
// the version wrote it, and compares the events and the findings with what is kept beside it. After a change of the
// version, -update adds the recordings of the new one; it never changes an old one.
func TestKept(t *testing.T) {
	version := fmt.Sprintf("%d.%d", record.FormatMajor, record.FormatMinor)
	for i, b := range detecttest.Hosts() {
		path := filepath.Join(kept, fmt.Sprintf("%s-%d.lostbeat", version, i))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if flag.Lookup("update").Value.String() != "true" {
			t.Fatalf("there is no recording of version %s: go test ./record -run TestKept -update", version)
		}
		keep(t, path, b)
	}
	paths, err := filepath.Glob(filepath.Join(kept, "*.lostbeat"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".lostbeat")
		t.Run(name, func(t *testing.T) { testutil.Golden(t, "kept/"+name+".txt", judged(t, path)) })
	}
}

// keep writes a recording.
func keep(t *testing.T, path string, b *model.Batch) {
	t.Helper()
	if err := os.MkdirAll(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := record.Create(path, record.Options{Tool: "lostbeat", Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// judged says in text how many events of each kind a recording has, and what the detectors find in it.
func judged(t *testing.T, path string) string {
	t.Helper()
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var batches []*model.Batch
	if err := r.Run(t.Context(), func(b *model.Batch) error { batches = append(batches, b); return nil }); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, b := range batches {
		for i := range b.Events {
			counts[b.Events[i].Kind.String()]++
		}
	}
	var lines []string
	for kind, n := range counts {
		lines = append(lines, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(lines)
	for _, f := range detecttest.Latest(detecttest.RunBatches(batches)) {
		lines = append(lines, fmt.Sprintf("%s %s to %s: %s", f.Severity, f.Start, f.End, f.Title))
	}
	return strings.Join(lines, "\n") + "\n"
}
