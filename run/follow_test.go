package run

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/detect/all"
	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/source"
)

// sinkFunc is a pipeline.Sink.
type sinkFunc func(*model.Batch) error

func (f sinkFunc) Write(b *model.Batch) error { return f(b) }

// titles returns what the detectors say of a stream.
func titles(t *testing.T, src source.Source) (out []string) {
	t.Helper()
	var list model.FindingList
	settings := all.Settings()
	_, err := pipeline.Run(t.Context(), src, pipeline.Options{
		Detect: &settings,
		Outputs: []pipeline.Output{{Name: "test", Sink: sinkFunc(func(b *model.Batch) error {
			for i := range b.Events {
				if f, ok := b.Finding(&b.Events[i]); ok {
					list.Add(f)
				}
			}
			return nil
		})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list.All() {
		out = append(out, f.Title)
	}
	return out
}

// TestFollowFindings follows files that grow while they are read: what is found is what is found in the whole file.
func TestFollowFindings(t *testing.T) {
	dir := t.TempDir()
	trace := etltest.DPCStorm(etltest.Options{FlushTimer: true})
	whole := filepath.Join(dir, "whole.etl")
	if err := os.WriteFile(whole, trace, 0o600); err != nil {
		t.Fatal(err)
	}
	c := opened(t, whole, OpenOptions{})
	want := titles(t, c)
	if len(want) == 0 {
		t.Fatal("nothing is found in the trace")
	}

	recorded := filepath.Join(dir, "whole.lostbeat")
	w, err := record.Create(recorded, record.Options{Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), w.Write); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	recording, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}

	// Of a session that goes on, time goes on when nothing is written: only one that has stopped is the same each time.
	for _, path := range []string{whole, filepath.Join(dir, "live.lostbeat")} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := Follow(path, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			grown := make(chan error, 1)
			go func() {
				if path == whole {
					grown <- nil
					return
				}
				grown <- grow(t.Context(), path, recording)
			}()
			got := titles(t, src)
			if err := <-grown; err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("whole and followed (-whole +followed):\n%s", d)
			}
		})
	}
}

// grow writes a file piece by piece, each while those before may be read.
func grow(ctx context.Context, path string, data []byte) error {
	const pieces = 7
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range pieces {
		if _, err := f.Write(data[len(data)*i/pieces : len(data)*(i+1)/pieces]); err != nil {
			return err
		}
		select { // the follower looks ten times a second
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(60 * time.Millisecond):
		}
	}
	return nil
}

// TestFollowRefuses says why a file cannot be followed.
func TestFollowRefuses(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "app.log")
	if err := os.WriteFile(log, []byte("2026-11-29T12:00:00Z started\n2026-11-29T12:00:01Z ready\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a text log":         log,
		"a directory":        dir,
		"a name without end": filepath.Join(dir, "later"),
	} {
		if _, err := Follow(path, OpenOptions{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
