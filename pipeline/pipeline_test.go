package pipeline

import (
	"context"
	"errors"
	"lostbeat/detect/all"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/source"
)

// fourBatches is what four batches of one event take.
var fourBatches = 4 * sizeOf(meta(second, "n", "v"))

const second = model.Time(time.Second)

// batches is a source that emits n batches of one event each.
func batches(n int) source.Source {
	return sourceFunc(func(ctx context.Context, emit source.Emit) error {
		for i := range n {
			if ctx.Err() != nil {
				return nil
			}
			if err := emit(meta(model.Time(i+1)*second, "n", "v")); err != nil {
				return err
			}
		}
		return nil
	})
}

type sourceFunc func(context.Context, source.Emit) error

func (f sourceFunc) Run(ctx context.Context, emit source.Emit) error { return f(ctx, emit) }

type sinkFunc func(*model.Batch) error

func (f sinkFunc) Write(b *model.Batch) error { return f(b) }

func meta(at model.Time, key, value string) *model.Batch {
	var b model.Builder
	b.AddMeta(model.Meta{Time: at, Key: key, Value: value})
	return b.Take()
}

// collect is a sink that keeps the stream.
type collect struct{ batches []*model.Batch }

func (c *collect) Write(b *model.Batch) error {
	c.batches = append(c.batches, b)
	return nil
}

func (c *collect) count(kind model.Kind) (n int) {
	for _, b := range c.batches {
		for _, e := range b.Events {
			if e.Kind == kind {
				n++
			}
		}
	}
	return n
}

func TestOfflineSourceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got collect
		slow := sinkFunc(func(b *model.Batch) error { time.Sleep(time.Second); return got.Write(b) })
		stats, err := Run(
			t.Context(), batches(100), Options{Outputs: []Output{{Name: "slow", Sink: slow}}, QueueBytes: fourBatches},
		)
		if err != nil || stats.Events != 100 || stats.Dropped != 0 || got.count(model.KindMeta) != 100 {
			t.Errorf("stats %+v, %d events, %v", stats, got.count(model.KindMeta), err)
		}
	})
}

func TestLiveSourceIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got collect
		slow := sinkFunc(func(b *model.Batch) error { time.Sleep(time.Second); return got.Write(b) })
		began := time.Now()
		var took time.Duration
		src := sourceFunc(func(ctx context.Context, emit source.Emit) error {
			err := batches(100).Run(ctx, emit)
			took = time.Since(began)
			return err
		})
		stats, err := Run(
			t.Context(),
			src,
			Options{Outputs: []Output{{Name: "slow", Sink: slow}}, QueueBytes: fourBatches, Live: true, Drain: time.Hour},
		)
		if err != nil || took != 0 {
			t.Errorf("the source took %v, %v", took, err)
		}
		var lost uint64
		for _, b := range got.batches {
			for i := range b.Events {
				if v, ok := b.Loss(&b.Events[i]); ok {
					lost += v.Lost
				}
			}
		}
		written := uint64(got.count(model.KindMeta))
		if dropped := stats.Dropped + stats.Of("slow").Missed; dropped == 0 || lost != dropped || written+lost != 100 {
			t.Errorf("%d written and %d reported lost of 100, %d dropped", written, lost, dropped)
		}
	})
}

// A batch is released when all sinks have had it, or when it is dropped.
func TestBatchesAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written, released atomic.Int64
		slow := sinkFunc(func(b *model.Batch) error {
			time.Sleep(time.Second)
			if _, ok := b.Meta(&b.Events[0]); ok { // no report of losses
				written.Add(1)
			}
			return nil
		})
		const n = 100
		src := sourceFunc(func(_ context.Context, emit source.Emit) error {
			for i := range n {
				b := meta(model.Time(i+1)*second, "n", "v")
				b.OnRelease(func() { released.Add(1) })
				if err := emit(b); err != nil {
					return err
				}
			}
			return nil
		})
		stats, err := Run(
			t.Context(),
			src,
			Options{Outputs: []Output{{Name: "slow", Sink: slow}}, QueueBytes: fourBatches, Live: true, Drain: time.Hour},
		)
		dropped := stats.Dropped + stats.Of("slow").Missed
		if err != nil || released.Load() != n || dropped == 0 || uint64(written.Load())+dropped != n {
			t.Errorf(
				"%d of %d batches were released, %d written, %d dropped, %v", released.Load(), n, written.Load(), dropped, err,
			)
		}
	})
}

func TestBlockedSinkDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		blocked := sinkFunc(func(*model.Batch) error { <-release; return nil })
		_, err := Run(t.Context(), batches(3), Options{Outputs: []Output{{Name: "blocked", Sink: blocked}}, Live: true})
		var drain *DrainError
		if !errors.As(err, &drain) || drain.Hint() == "" {
			t.Errorf("got %v", err)
		}
	})
}

func TestFailingSinks(t *testing.T) {
	broken := errors.New("broken")
	fail := sinkFunc(func(*model.Batch) error { return broken })
	t.Run("is detached", func(t *testing.T) {
		var got collect
		var failed []string
		stats, err := Run(t.Context(), batches(5), Options{
			Outputs: []Output{{Name: "bad", Sink: fail}, {Name: "good", Sink: &got}},
			Failed:  func(name string, err error) { failed = append(failed, name) },
		})
		if err != nil || stats.Events != 5 || got.count(model.KindMeta) != 5 || !slices.Equal(failed, []string{"bad"}) {
			t.Errorf("stats %+v, failed %v, %v", stats, failed, err)
		}
	})
	t.Run("essential ends it", func(t *testing.T) {
		endless := sourceFunc(func(ctx context.Context, emit source.Emit) error {
			for {
				if err := emit(meta(second, "n", "v")); err != nil {
					return err
				}
			}
		})
		_, err := Run(t.Context(), endless, Options{Outputs: []Output{{Name: "disk", Sink: fail, Essential: true}}})
		if !errors.Is(err, broken) || err.Error() != "disk: broken" {
			t.Errorf("got %v", err)
		}
	})
}

func TestSourceErrorsAndCancellation(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Run(
		t.Context(), sourceFunc(func(context.Context, source.Emit) error { return broken }), Options{},
	); !errors.Is(
		err,
		broken,
	) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got collect
	src := sourceFunc(func(ctx context.Context, emit source.Emit) error {
		if err := emit(meta(second, "first", "v")); err != nil {
			return err
		}
		cancel()
		<-ctx.Done()
		return emit(meta(2*second, "drained", "v"))
	})
	if _, err := Run(ctx, src, Options{Outputs: []Output{{Name: "keep", Sink: &got}}}); err != nil ||
		got.count(model.KindMeta) != 2 {
		t.Errorf("%d events, %v: what was under way at the end is lost", got.count(model.KindMeta), err)
	}
}

func TestDetectorsAreFedAndFinished(t *testing.T) {
	settings := all.Settings()
	var got collect
	if _, err := Run(
		t.Context(), batches(3), Options{Detect: &settings, Outputs: []Output{{Name: "keep", Sink: &got}}},
	); err != nil {
		t.Fatal(err)
	}
	if n := got.count(model.KindFinding); n != 0 {
		t.Errorf("a quiet stream gave %d findings", n)
	}
}

func TestInterleave(t *testing.T) {
	var in model.Builder
	for i := range 3 {
		in.AddMeta(model.Meta{Time: model.Time(i+1) * second, Key: "k", Value: "v"})
	}
	b := in.Take()
	out := Interleave(b, []Verdict{
		{
			At: second,
			Finding: model.Finding{
				ID:      "a",
				Title:   "first",
				Start:   second,
				End:     second,
				Subject: model.Subject{CPU: -1, PID: -1},
			},
		},
		{
			At: 3 * second,
			Finding: model.Finding{
				ID:      "b",
				Title:   "second",
				Start:   second,
				End:     3 * second,
				Subject: model.Subject{CPU: -1, PID: -1},
			},
		},
		{
			At: 9 * second,
			Finding: model.Finding{
				ID:      "c",
				Title:   "third",
				Start:   second,
				End:     9 * second,
				Subject: model.Subject{CPU: -1, PID: -1},
			},
		},
	})
	var order []string
	for i := range out.Events {
		e := &out.Events[i]
		if f, ok := out.Finding(e); ok {
			order = append(order, f.ID)
		} else {
			v, _ := out.Meta(e)
			order = append(order, v.Key+v.Value)
		}
	}
	if want := []string{"a", "kv", "kv", "b", "kv", "c"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	if err := model.Validate(out); err != nil {
		t.Error(err)
	}
	if len(b.Events) != 3 || len(b.Strings) != 3 {
		t.Error("the batch was changed")
	}
	if got := Interleave(b, nil); got != b {
		t.Error("a batch without verdicts was copied")
	}
}

// A panic of the source or of a sink ends the pipeline with its place and trace.
func TestPanics(t *testing.T) {
	broken := sinkFunc(func(*model.Batch) error { panic("broken") })
	live := sourceFunc(func(ctx context.Context, emit source.Emit) error {
		err := emit(meta(second, "n", "v"))
		<-ctx.Done()
		return err
	})
	for name, c := range map[string]struct {
		src   source.Source
		opts  Options
		where string
	}{
		"source": {sourceFunc(func(context.Context, source.Emit) error { panic("broken") }), Options{}, "the source"},
		"sink":   {batches(10), Options{Outputs: []Output{{Name: "x", Sink: broken}}}, "output x"},
		"sink of a live source": {
			live, Options{Live: true, Outputs: []Output{{Name: "x", Sink: broken}}}, "output x",
		},
	} {
		_, err := Run(t.Context(), c.src, c.opts)
		var panicked *guard.PanicError
		if !errors.As(err, &panicked) || panicked.Error() != "internal error in "+c.where+": broken" ||
			len(panicked.Trace) == 0 || panicked.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The other outputs write what they have when one panics.
func TestPanicOfOneOutputSparesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got collect
		slow := sinkFunc(func(b *model.Batch) error { time.Sleep(time.Second); return got.Write(b) })
		count := 0
		broken := sinkFunc(func(*model.Batch) error {
			if count++; count == 5 {
				panic("broken")
			}
			return nil
		})
		emitted := 0
		src := sourceFunc(func(ctx context.Context, emit source.Emit) error {
			for ctx.Err() == nil {
				if err := emit(meta(model.Time(emitted+1)*second, "n", "v")); err != nil {
					return err
				}
				emitted++
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		opts := Options{Live: true, Outputs: []Output{{Name: "recording", Sink: slow}, {Name: "bad", Sink: broken}}}
		_, err := Run(t.Context(), src, opts)
		var panicked *guard.PanicError
		if !errors.As(err, &panicked) || got.count(model.KindMeta) != emitted || emitted < 5 {
			t.Errorf("%d of %d events were written: %v", got.count(model.KindMeta), emitted, err)
		}
	})
}
