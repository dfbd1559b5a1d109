package ebpf

import (
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"lostbeat/model"
)

// timesOf makes a batch of events with the given times.
func timesOf(times ...model.Time) *model.Batch {
	var b model.Builder
	for _, t := range times {
		b.AddMeta(model.Meta{Time: t, Key: "t", Value: t.String()})
	}
	return b.Take()
}

// collector keeps the times of what is emitted.
type collector struct {
	t     *testing.T
	times []model.Time
	sizes []int
}

func (c *collector) emit(b *model.Batch) error {
	c.t.Helper()
	c.sizes = append(c.sizes, len(b.Events))
	for i := range b.Events {
		m, ok := b.Meta(&b.Events[i])
		if !ok || m.Value != m.Time.String() {
			c.t.Errorf("event at %v has strings %q", m.Time, m.Value)
		}
		c.times = append(c.times, m.Time)
	}
	return nil
}

// countdown yields from, ... 2, 1: what takes most moves to sort.
func countdown(from model.Time) iter.Seq[model.Time] {
	return func(yield func(model.Time) bool) {
		for t := from; t > 0 && yield(t); t-- {
		}
	}
}

func TestReorder(t *testing.T) {
	for _, test := range []struct {
		name   string
		chunks [][]model.Time
		until  []model.Time
		want   []model.Time
		late   uint64
	}{
		{"in order", [][]model.Time{{1, 2}, {3, 4}}, []model.Time{10, 10}, []model.Time{1, 2, 3, 4}, 0},
		{"within a chunk", [][]model.Time{{2, 1, 3}}, []model.Time{10}, []model.Time{1, 2, 3}, 0},
		{"across a seam", [][]model.Time{{1, 2, 5}, {3, 4, 6}}, []model.Time{2, 10}, []model.Time{1, 2, 3, 4, 5, 6}, 0},
		{"backwards", [][]model.Time{slices.Collect(countdown(100))}, []model.Time{100}, slices.Sorted(countdown(100)), 0},
		{"held back", [][]model.Time{{1, 7}}, []model.Time{5}, []model.Time{1}, 0},
		{"equal times keep their order", [][]model.Time{{1, 1}, {1, 2}}, []model.Time{0, 5}, []model.Time{1, 1, 1, 2}, 0},
		{"too late", [][]model.Time{{1, 5}, {3, 4, 6}}, []model.Time{5, 10}, []model.Time{1, 5, 3, 4, 6}, 2},
		{"nothing", nil, []model.Time{10}, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r reorder
			c := collector{t: t}
			for i, until := range test.until {
				if i < len(test.chunks) {
					r.add(timesOf(test.chunks[i]...))
				}
				if err := r.release(until, c.emit); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(c.times, test.want) || r.late != test.late {
				t.Errorf("got %v, %d late; want %v, %d late", c.times, r.late, test.want, test.late)
			}
		})
	}
}

// Whatever overlaps, everything comes out once, in order, in batches of a
// bounded size.
func TestReorderRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r reorder
	c := collector{t: t}
	var put []model.Time
	var clock model.Time
	for range 200 {
		var chunk []model.Time
		for range random.IntN(2 * maxBatch) {
			clock += model.Time(random.IntN(10))
			chunk = append(chunk, max(1, clock-model.Time(random.IntN(50))))
		}
		put = append(put, chunk...)
		if len(chunk) > 0 {
			r.add(timesOf(chunk...))
		}
		if err := r.release(clock-100, c.emit); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.release(clock, c.emit); err != nil {
		t.Fatal(err)
	}
	slices.Sort(put)
	if !slices.Equal(c.times, put) {
		t.Errorf("%d events came out, %d were put in, or they are out of order", len(c.times), len(put))
	}
	if r.late != 0 || len(r.chunks) != 0 {
		t.Errorf("%d late, %d chunks left", r.late, len(r.chunks))
	}
	if most := slices.Max(c.sizes); most > maxBatch {
		t.Errorf("a batch of %d events", most)
	}
}

// Memory is used again when all batches with events in it have been released,
// and not before.
func TestMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var r reorder
	var builder model.Builder
	type kept struct {
		batch  *model.Batch
		events []model.Event
	}
	var held []kept
	places := make(map[*model.Event]bool)
	batches := 0
	emit := func(b *model.Batch) error {
		batches++
		places[&b.Events[0]] = true
		copied := *b
		copied.Release() // a copy has no say
		held = append(held, kept{b, slices.Clone(b.Events)})
		return nil
	}
	var clock model.Time
	for range 2000 {
		for range 1 + random.IntN(600) {
			clock += model.Time(random.IntN(3))
			builder.AddMeta(model.Meta{Time: max(1, clock-model.Time(random.IntN(50)))})
		}
		r.add(builder.Take())
		r.memory.provide(&builder)
		if err := r.release(clock-100, emit); err != nil {
			t.Fatal(err)
		}
		for len(held) > 3 {
			i := random.IntN(len(held))
			if !slices.Equal(held[i].batch.Events, held[i].events) {
				t.Fatal("the events of a batch have changed before it was released")
			}
			held[i].batch.Release()
			held = slices.Delete(held, i, i+1)
		}
	}
	if len(places) > batches*9/10 {
		t.Errorf("%d batches were at %d places of memory: hardly any was used again", batches, len(places))
	}
}

func BenchmarkReorder(b *testing.B) {
	chunks := make([]*model.Batch, 16)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		var r reorder
		for i := range chunks {
			events := make([]model.Event, maxBatch)
			for j := range events {
				events[j] = model.NewEvent(model.KindMeta, model.Time(1+i*maxBatch+j^1))
			}
			r.add(&model.Batch{Events: events})
		}
		if err := r.release(1<<62, func(*model.Batch) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(chunks)*maxBatch), "ns/event")
}
