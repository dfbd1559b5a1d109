package run

import (
	"context"
	"errors"
	"lostbeat/detect/all"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/record"
	"lostbeat/sink/recording"
	"lostbeat/sink/tally"
	"lostbeat/source"
)

const second = model.Time(time.Second)

type sourceFunc func(context.Context, source.Emit) error

func (f sourceFunc) Run(ctx context.Context, emit source.Emit) error { return f(ctx, emit) }

// opened opens a file, which is closed when the test ends.
func opened(t *testing.T, path string, options OpenOptions) *Capture {
	t.Helper()
	c, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// judgementOf is what all detectors say of a capture, with their default settings.
func judgementOf(t *testing.T, c *Capture) Judgement {
	t.Helper()
	j, err := Findings(t.Context(), c, all.Settings(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// seconds emits a batch for each of n seconds of event time.
func seconds(n int, emit source.Emit) error {
	for i := range n {
		var b model.Builder
		b.AddCPUTime(model.CPUTime{Time: model.Time(i+1) * second, Dur: time.Second, CPU: 0, Idle: time.Second})
		if err := emit(b.Take()); err != nil {
			return err
		}
	}
	return nil
}

// A panic ends a recording with an error that names the place; what was
// recorded until then is complete.
func TestPanicClosesTheRecording(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lostbeat")
	to, err := recording.New(path, record.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	src := sourceFunc(func(_ context.Context, emit source.Emit) error {
		if err := seconds(20, emit); err != nil {
			return err
		}
		panic("broken")
	})
	done, err := Recording{Source: src, Settings: all.Settings(), To: to, Tally: &tally.Tally{}}.Run(t.Context())
	var panicked *guard.PanicError
	if !errors.As(err, &panicked) || panicked.Where != "the source" || done.Events != 20 {
		t.Errorf("%+v, %v", done, err)
	}
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if info := r.Stat(); !info.Closed || info.Events != 20 {
		t.Errorf("%+v", info)
	}
}

// A recording that is full is complete, and says so.
func TestFullRecording(t *testing.T) {
	to, err := recording.New(filepath.Join(t.TempDir(), "x.lostbeat"), record.Options{MaxSize: 4000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	src := sourceFunc(func(ctx context.Context, emit source.Emit) error {
		for ctx.Err() == nil {
			if err := seconds(1000, emit); err != nil {
				return err
			}
		}
		return nil
	})
	done, err := Recording{Source: src, Settings: all.Settings(), To: to, Tally: &tally.Tally{}}.Run(t.Context())
	if err != nil || !done.Full || done.Bytes > 4000 {
		t.Errorf("%+v, %v", done, err)
	}
}

// Goroutines of a session end together when one of them panics.
func TestGroup(t *testing.T) {
	ctx, all := begin(t.Context())
	broken := errors.New("broken")
	all.run("one", func() error { <-ctx.Done(); return broken })
	all.run("two", func() error { panic("oops") })
	all.call("screen", func() error { <-ctx.Done(); return nil })
	err := all.end()
	var panicked *guard.PanicError
	if !errors.As(err, &panicked) || panicked.Where != "two" || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestFormats(t *testing.T) {
	names := map[string]bool{}
	for _, f := range Formats {
		if f.Name == "" || names[f.Name] || f.Sniff == nil || f.Open == nil || f.BytesPerSecond == 0 {
			t.Errorf("format %+v", f)
		}
		names[f.Name] = true
	}
	if _, err := FormatOf(t.TempDir()); err == nil {
		t.Error("an empty directory has a format")
	}
	if _, err := FormatOf(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a missing file has a format")
	}
}
