package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/model"
)

// scripted is a source that emits what its function says.
type scripted func(ctx context.Context, emit Emit) error

func (s scripted) Run(ctx context.Context, emit Emit) error { return s(ctx, emit) }

// at makes a batch of softnet events, marked with their source, at the given times.
func at(source int32, times ...model.Time) *model.Batch {
	var b model.Builder
	for _, t := range times {
		b.AddCounter(model.Counter{Time: t, CPU: source, Name: fmt.Sprint("source ", source)})
	}
	return b.Take()
}

// fixed emits the given batches without pause.
func fixed(batches ...*model.Batch) Source {
	return scripted(func(_ context.Context, emit Emit) error {
		for _, b := range batches {
			if err := emit(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// collector checks and keeps what a source emits.
type collector struct {
	model.Validator
	t       *testing.T
	got     []string
	batches int
	late    uint64
}

func (c *collector) emit(b *model.Batch) error {
	c.batches++
	if err := c.Check(b); err != nil {
		c.t.Error(err)
	}
	for i := range b.Events {
		e := &b.Events[i]
		if loss, ok := b.Loss(e); ok {
			if loss.Origin == model.OriginLate {
				c.late += loss.Lost
			} else {
				c.got = append(c.got, "loss: "+loss.Detail)
			}
			continue
		}
		if name := b.String(e.Str[0]); name != fmt.Sprint("source ", e.CPU) {
			c.t.Errorf("event of source %d has the name %q", e.CPU, name)
		}
		c.got = append(c.got, fmt.Sprintf("%d@%d", e.CPU, e.Time))
	}
	return nil
}

func (c *collector) want(want ...string) {
	c.t.Helper()
	if err := c.Finish(); err != nil {
		c.t.Error(err)
	}
	if !slices.Equal(c.got, want) {
		c.t.Errorf("got  %v\nwant %v", c.got, want)
	}
}

func TestMergeOrdered(t *testing.T) {
	c := &collector{t: t}
	m := Merge(0, fixed(at(0, 1, 4, 4), at(0, 9)), fixed(), fixed(at(2, 2, 4, 5), at(2, 5, 6), at(2, 20)))
	if err := m.Run(t.Context(), c.emit); err != nil {
		t.Fatal(err)
	}
	c.want("0@1", "2@2", "0@4", "0@4", "2@4", "2@5", "2@5", "2@6", "0@9", "2@20")
}

// TestMergeOrderedEqualsSort merges random streams, interleaved finely and
// coarsely, and compares with sorting all of them.
func TestMergeOrderedEqualsSort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		type event struct {
			time   model.Time
			source int
		}
		var all []event
		var sources []Source
		for s := range 1 + random.IntN(4) {
			now := model.Time(0)
			var batches []*model.Batch
			for range random.IntN(6) {
				var times []model.Time
				for range 1 + random.IntN(300) {
					now += model.Time(random.IntN(1 + round*round))
					times = append(times, now)
					all = append(all, event{now, s})
				}
				batches = append(batches, at(int32(s), times...))
			}
			sources = append(sources, fixed(batches...))
		}
		slices.SortStableFunc(all, func(a, b event) int { return int(a.time - b.time) })
		c := &collector{t: t}
		if err := Merge(0, sources...).Run(t.Context(), c.emit); err != nil {
			t.Fatal(err)
		}
		if err := c.Finish(); err != nil {
			t.Error(err)
		}
		if len(c.got) != len(all) {
			t.Fatalf("%d events of %d", len(c.got), len(all))
		}
		for i := range all {
			var source, now int
			if _, err := fmt.Sscanf(c.got[i], "%d@%d", &source, &now); err != nil {
				t.Fatal(err)
			}
			if model.Time(now) != all[i].time {
				t.Fatalf("event %d is %s, want time %d", i, c.got[i], all[i].time)
			}
		}
	}
}

func TestMergeOrderedWaitsForSlowSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := scripted(func(_ context.Context, emit Emit) error {
			time.Sleep(time.Hour)
			return emit(at(1, 1))
		})
		c := &collector{t: t}
		if err := Merge(0, fixed(at(0, 2)), slow).Run(t.Context(), c.emit); err != nil {
			t.Fatal(err)
		}
		c.want("1@1", "0@2")
	})
}

// ms is a time in milliseconds of event time.
func ms(n int) model.Time { return model.Time(n) * model.Time(time.Millisecond) }

func TestMergeLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var when []time.Duration
		c := &collector{t: t}
		emit := func(b *model.Batch) error {
			when = append(when, time.Since(start))
			return c.emit(b)
		}
		// Source 0 emits and falls idle, source 1 never says anything, source 2
		// is 50 ms behind, and once further than the window.
		busy := scripted(func(ctx context.Context, emit Emit) error {
			err := emit(at(0, ms(100)))
			time.Sleep(100 * time.Millisecond)
			err = errors.Join(err, emit(at(0, ms(200))))
			<-ctx.Done()
			return errors.Join(err, emit(at(0, ms(5000)))) // drained at the end
		})
		idle := scripted(func(ctx context.Context, _ Emit) error { <-ctx.Done(); return nil })
		behind := scripted(func(ctx context.Context, emit Emit) error {
			time.Sleep(50 * time.Millisecond)
			err := emit(at(2, ms(50), ms(150)))
			time.Sleep(time.Second)
			err = errors.Join(err, emit(at(2, ms(190), ms(1000))))
			<-ctx.Done()
			return err
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		if err := Merge(200*time.Millisecond, busy, idle, behind).Run(ctx, emit); err != nil {
			t.Fatal(err)
		}
		c.want("2@50000000", "0@100000000", "2@150000000", "0@200000000", "2@190000000", "2@1000000000", "0@5000000000")
		if c.late != 1 {
			t.Errorf("%d late events declared", c.late)
		}
		// The first arrives at 0 and may be held for 200 ms, not longer for the idle source.
		if when[0] != 200*time.Millisecond {
			t.Errorf("first batch after %v, all: %v", when[0], when)
		}
	})
}

// TestMergeLiveBurst sends more than is held back while another source idles.
func TestMergeLiveBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batches, size = 100, 4096
		burst := scripted(func(ctx context.Context, emit Emit) error {
			for i := range batches {
				times := make([]model.Time, size)
				for j := range times {
					times[j] = model.Time(i*size + j)
				}
				if err := emit(at(0, times...)); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		})
		idle := scripted(func(ctx context.Context, _ Emit) error { <-ctx.Done(); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		held := 0
		var v model.Validator
		n := 0
		err := Merge(time.Hour, burst, idle).Run(ctx, func(b *model.Batch) error {
			n += len(b.Events)
			held = max(held, batches*size-n)
			if n >= batches*size-maxHeld {
				cancel()
			}
			return v.Check(b)
		})
		if err != nil || n != batches*size {
			t.Errorf("%d events, error %v", n, err)
		}
	})
}

func TestMergeFailures(t *testing.T) {
	broken := errors.New("the probe broke")
	failing := scripted(func(_ context.Context, emit Emit) error {
		return errors.Join(emit(at(1, 5)), broken)
	})
	for _, window := range []time.Duration{0, time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			c := &collector{t: t}
			err := Merge(window, failing, fixed(at(0, 7), at(0, 8))).Run(t.Context(), c.emit)
			if !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			if len(c.got) != 4 || !slices.Contains(c.got, "loss: source 0 failed: the probe broke") {
				t.Errorf("got %v", c.got)
			}
		})
	}
}

func TestMergeReceiverGone(t *testing.T) {
	gone := errors.New("gone")
	for _, window := range []time.Duration{0, time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			endless := func(source int32) Source {
				return scripted(func(ctx context.Context, emit Emit) error {
					for i := model.Time(1); ctx.Err() == nil; i++ {
						if err := emit(at(source, i)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			calls := 0
			err := Merge(window, endless(0), endless(1)).Run(t.Context(), func(*model.Batch) error {
				calls++
				return gone
			})
			if !errors.Is(err, gone) || calls != 1 {
				t.Errorf("error %v after %d calls", err, calls)
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for name, step := range map[string]model.Time{"fine": 1, "coarse": 4096} {
		b.Run(name, func(b *testing.B) {
			var sources []Source
			for s := range 4 {
				var batches []*model.Batch
				for i := range 50 {
					times := make([]model.Time, 4096)
					for j := range times {
						n := model.Time(i*4096 + j)
						times[j] = n/step*step*4 + step*model.Time(s) + n%step
					}
					batches = append(batches, at(int32(s), times...))
				}
				sources = append(sources, fixed(batches...))
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := Merge(0, sources...).Run(
					b.Context(), func(batch *model.Batch) error { n += len(batch.Events); return nil },
				); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
