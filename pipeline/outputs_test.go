package pipeline

import (
	"context"
	"errors"
	"lostbeat/detect/all"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// losses returns what the loss events of a stream add up to, and fails for one
// that does not name the output.
func (c *collect) losses(t *testing.T, name string) (lost uint64) {
	t.Helper()
	for _, b := range c.batches {
		for i := range b.Events {
			if v, ok := b.Loss(&b.Events[i]); ok {
				lost += v.Lost
				if v.Origin != OriginOutput || !strings.Contains(v.Detail, name) {
					t.Errorf("loss event %+v", v)
				}
			}
		}
	}
	return lost
}

// chop emits in as a live source that gives a piece each millisecond.
func chop(in *model.Batch, size int) source.Source {
	return sourceFunc(func(_ context.Context, emit source.Emit) error {
		for from := 0; from < len(in.Events); from += size {
			part := *in
			part.Events = in.Events[from:min(from+size, len(in.Events))]
			if err := emit(&part); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	})
}

// An output that sleeps holds up neither the detectors nor another output: the
// findings are those of a pipeline without it, each as soon as its cause, and
// what it missed is counted and reported in its stream, which still has every finding.
func TestSlowOutputDelaysNobody(t *testing.T) {
	settings := all.Settings()
	in := leakStream()
	var alone collect
	if _, err := Run(
		t.Context(), chop(in, 50), Options{Detect: &settings, Outputs: []Output{{Name: "alone", Sink: &alone}}},
	); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var slow, fast, findings collect
		sleepy := sinkFunc(func(b *model.Batch) error { time.Sleep(time.Hour); return slow.Write(b) })
		began := time.Now()
		var last time.Time
		prompt := sinkFunc(func(b *model.Batch) error { last = time.Now(); return fast.Write(b) })
		limit := sizeOf(in) / 4
		stats, err := Run(t.Context(), chop(in, 50), Options{
			Detect: &settings, Live: true, Drain: 1000 * time.Hour, QueueBytes: limit,
			Outputs: []Output{
				{Name: "slow", Sink: sleepy}, {Name: "fast", Sink: prompt},
				{Name: "findings", Sink: &findings, Kinds: []model.Kind{model.KindFinding}},
			},
		})
		if err != nil || stats.Dropped != 0 || stats.Of("fast").Missed != 0 || stats.Of("findings").Missed != 0 {
			t.Fatalf("stats %+v, %v", stats, err)
		}
		if took, pace := last.Sub(began), time.Duration(len(in.Events)/50+1)*time.Millisecond; took > pace {
			t.Errorf("the fast output had everything after %v, the source needs %v", took, pace)
		}
		want := alone.count(model.KindFinding)
		for name, c := range map[string]*collect{"slow": &slow, "fast": &fast, "findings": &findings} {
			if got := c.count(model.KindFinding); got != want || want == 0 {
				t.Errorf("output %s has %d findings, want %d", name, got, want)
			}
		}
		for _, b := range findings.batches {
			for _, e := range b.Events {
				if e.Kind != model.KindFinding {
					t.Errorf("output findings was given %v", e.Kind)
				}
			}
		}
		missed := stats.Of("slow").Missed
		if missed == 0 || slow.losses(t, "output slow") != missed || fast.losses(t, "") != 0 {
			t.Errorf("missed %d, reported %d", missed, slow.losses(t, "output slow"))
		}
		if got := stats.Of("slow").Events + missed; got != stats.Events+uint64(slow.count(model.KindLoss)) {
			t.Errorf("%d of %d events", got, stats.Events)
		}
	})
}

// Every batch is released exactly once, when nobody holds it any more, and the
// memory of all queues stays below the one bound, whatever the outputs' speeds.
func TestQueuesShareOneBound(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			const n, names = 400, "abcd"
			writing := map[*model.Batch]*atomic.Int64{} // how many outputs have it in hand
			var released atomic.Int64
			var made []*model.Batch
			for i := range n {
				b := meta(model.Time(i+1)*second, "n", strings.Repeat("v", random.IntN(2000)))
				writing[b] = new(atomic.Int64)
				b.OnRelease(func() {
					released.Add(1)
					if writing[b].Load() != 0 {
						t.Error("a batch was released while an output read it")
					}
				})
				made = append(made, b)
			}
			opts := Options{Live: true, Drain: 1000 * time.Hour, QueueBytes: 20_000}
			for i := range names {
				pause := time.Duration(random.IntN(40)) * time.Millisecond
				opts.Outputs = append(opts.Outputs, Output{Name: names[i : i+1], Sink: sinkFunc(func(b *model.Batch) error {
					if held := writing[b]; held != nil {
						held.Add(1)
						defer held.Add(-1)
					}
					time.Sleep(pause)
					return nil
				})})
			}
			var q *queues
			highest := int64(0)
			src := sourceFunc(func(_ context.Context, emit source.Emit) error {
				for _, b := range made {
					if err := emit(b); err != nil {
						return err
					}
					q.mu.Lock()
					highest = max(highest, q.used)
					q.mu.Unlock()
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				}
				return nil
			})
			r := &runner{opts: opts, queues: newQueues(opts)}
			q = r.queues
			stats, err := r.run(t.Context(), src)
			if err != nil || released.Load() != n || q.used != 0 || stats.Dropped != 0 {
				t.Errorf("%d of %d released, %d bytes in use, %+v, %v", released.Load(), n, q.used, stats, err)
			}
			if most := opts.QueueBytes + int64(len(names)+1)*3000; highest > most {
				t.Errorf("%d bytes were in use, the bound is %d", highest, most)
			}
			for _, o := range stats.Outputs {
				if o.Events-reports(o, stats)+o.Missed != n || o.Unread != 0 {
					t.Errorf("output %+v of %d events", o, n)
				}
			}
		})
	}
}

// reports is how many loss events are among an output's events.
func reports(o OutputStats, s Stats) uint64 { return o.Events + o.Missed - s.Events }

// Reading a file, a slow output holds the source back: no output misses anything.
func TestFilesLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, fast collect
		sleepy := sinkFunc(func(b *model.Batch) error { time.Sleep(time.Second); return slow.Write(b) })
		stats, err := Run(t.Context(), batches(100), Options{
			QueueBytes: fourBatches,
			Outputs:    []Output{{Name: "slow", Sink: sleepy}, {Name: "fast", Sink: &fast}},
		})
		if err != nil || slow.count(model.KindMeta) != 100 || fast.count(model.KindMeta) != 100 ||
			stats.Of("slow") != (OutputStats{Name: "slow", Events: 100}) {
			t.Errorf("%+v, %v", stats, err)
		}
	})
}

// Live, whatever does not end is named once its time is over, and what it has
// not taken is counted.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resume := make(chan struct{})
		defer close(resume)
		endless := sourceFunc(func(context.Context, source.Emit) error { <-resume; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		_, err := Run(ctx, endless, Options{Live: true})
		if took := time.Since(began); took != defaultDrain || err == nil || !strings.Contains(err.Error(), "probes") {
			t.Errorf("after %v: %v", took, err)
		}
		blocked := sinkFunc(func(*model.Batch) error { <-resume; return nil })
		var good collect
		began = time.Now()
		stats, err := Run(t.Context(), batches(10), Options{Live: true, Drain: time.Second, Outputs: []Output{
			{Name: "bad", Sink: blocked}, {Name: "good", Sink: &good},
		}})
		var drain *DrainError
		if !errors.As(err, &drain) || err.Error() != "output bad did not finish within 1s of the end" {
			t.Errorf("got %v", err)
		}
		if time.Since(began) != time.Second || good.count(model.KindMeta) != 10 || stats.Of("bad").Unread != 9 {
			t.Errorf("after %v, %+v", time.Since(began), stats)
		}
	})
}
