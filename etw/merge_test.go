package etw

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// releaseAll returns the times that are released, and checks that payloads have stayed with their records.
func releaseAll(t *testing.T, m *Merger, until uint64) (times []uint64) {
	t.Helper()
	if err := m.Release(until, func(r *Record) error {
		if got, want := string(r.Payload)+"/"+string(r.Extended), fmt.Sprintf("%d/x%d", r.Time, r.Time); got != want {
			t.Errorf("payload %q, want %q", got, want)
		}
		times = append(times, r.Time)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return times
}

func put(s *Stream, time uint64) bool {
	return s.Put(&Record{Time: time, Payload: fmt.Append(nil, time), Extended: fmt.Append(nil, "x", time)})
}

// TestMergerOrder puts two streams, one of them not in order, into order.
func TestMergerOrder(t *testing.T) {
	m := NewMerger(0)
	a, b := m.Stream(), m.Stream()
	random := rand.New(rand.NewPCG(1, 2))
	var got []uint64
	for now := uint64(0); now < 50_000; now += 100 {
		for i := range uint64(100) {
			put(a, now+i)
			put(b, now+uint64(random.IntN(1000)))
		}
		if now >= 1000 {
			got = append(got, releaseAll(t, m, now-1000)...)
		}
	}
	got = append(got, releaseAll(t, m, ^uint64(0))...)
	if !slices.IsSorted(got) || len(got) != 100_000 || m.Late() != 0 || m.Dropped() != 0 {
		t.Errorf("%d records, sorted %v, %d late, %d dropped", len(got), slices.IsSorted(got), m.Late(), m.Dropped())
	}
}

// TestMergerLate counts what comes after a later record was released, and what is of the same time is not late.
func TestMergerLate(t *testing.T) {
	m := NewMerger(0)
	a, b := m.Stream(), m.Stream()
	put(a, 10)
	put(a, 20)
	if got := releaseAll(t, m, 15); !slices.Equal(got, []uint64{10}) {
		t.Errorf("released %v", got)
	}
	put(b, 10)
	put(b, 9)
	if got := releaseAll(t, m, 20); !slices.Equal(got, []uint64{9, 10, 20}) || m.Late() != 1 {
		t.Errorf("released %v, %d late", got, m.Late())
	}
}

// TestMergerMemory drops what does not fit and takes records again when there is room.
func TestMergerMemory(t *testing.T) {
	m := NewMerger(1 << 20)
	s := m.Stream()
	n := 0
	for ; put(s, uint64(n)); n++ {
		if n > 1<<16 {
			t.Fatal("the limit is not kept")
		}
	}
	if !m.Filling() || m.Dropped() != 1 {
		t.Errorf("filling %v, %d dropped", m.Filling(), m.Dropped())
	}
	if got := releaseAll(t, m, ^uint64(0)); len(got) != n {
		t.Errorf("%d of %d released", len(got), n)
	}
	if m.Filling() || !put(s, uint64(n)) {
		t.Error("no room after all were released")
	}
	if s.Put(&Record{Payload: make([]byte, 2<<20)}) {
		t.Error("a record above the limit fits")
	}
	if received, dropped := s.Counts(); received != uint64(n)+3 || dropped != 2 {
		t.Errorf("%d received, %d dropped", received, dropped)
	}
}

// TestMergerConcurrent feeds streams from goroutines of their own.
func TestMergerConcurrent(t *testing.T) {
	m := NewMerger(0)
	var feeders sync.WaitGroup
	const each = 20_000
	for range 3 {
		s := m.Stream()
		feeders.Go(func() {
			for i := range uint64(each) {
				put(s, i)
			}
		})
	}
	done := make(chan struct{})
	go func() { feeders.Wait(); close(done) }()
	n := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		n += len(releaseAll(t, m, ^uint64(0)))
	}
	if n != 3*each {
		t.Errorf("%d of %d records", n, 3*each)
	}
}

// BenchmarkMerger is the way of a record through the merger.
func BenchmarkMerger(b *testing.B) {
	m := NewMerger(0)
	s, other := m.Stream(), m.Stream()
	r := Record{Payload: make([]byte, 16)}
	b.ReportAllocs()
	for i := range uint64(b.N) {
		r.Time = i
		if i%2 == 0 {
			s.Put(&r)
		} else {
			other.Put(&r)
		}
		if i%4096 == 0 {
			_ = m.Release(max(i, 10_000)-10_000, func(*Record) error { return nil })
		}
	}
}
