package pipeline

import (
	"context"
	"lostbeat/detect/all"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
	"lostbeat/source"
)

// leakStream is a process that leaks ports for 20 s.
func leakStream() *model.Batch {
	s := detecttest.New()
	s.Pool("ephemeral", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
	for i := range 20 {
		s.Quiet()
		for j := range 30 {
			s.Acquire(
				time.Duration(j)*30*time.Millisecond,
				detecttest.Socket{
					PID:      9,
					Process:  "leaky",
					Protocol: model.ProtocolUDP,
					How:      model.HowBindAny,
					LPort:    uint16(33000 + 30*i + j),
				},
			)
		}
		s.Next()
	}
	return s.Batch()
}

// TestFindingsStandInOrder checks that findings stand in the stream at their
// time, marked derived, and that the detectors conclude the same from a stream
// that already carries them, however it is cut.
func TestFindingsStandInOrder(t *testing.T) {
	settings := all.Settings()
	pass := func(in *model.Batch, size int) *model.Batch {
		var out model.Builder
		sink := sinkFunc(func(b *model.Batch) error { out.Import(b, b.Events...); return nil })
		src := sourceFunc(func(_ context.Context, emit source.Emit) error {
			for from := 0; from < len(in.Events); from += size {
				part := *in
				part.Events = in.Events[from:min(from+size, len(in.Events))]
				if err := emit(&part); err != nil {
					return err
				}
			}
			return nil
		})
		if _, err := Run(
			t.Context(), src, Options{Detect: &settings, Outputs: []Output{{Name: "out", Sink: sink}}},
		); err != nil {
			t.Fatal(err)
		}
		return out.Take()
	}
	findings := func(b *model.Batch) (lines []string) {
		for i := range b.Events {
			e := &b.Events[i]
			if i > 0 && e.Time < b.Events[i-1].Time {
				t.Errorf("event %d stands before an earlier one", i)
			}
			if f, ok := b.FindingEvent(e); ok {
				lines = append(lines, e.Time.String()+" "+f.Body)
				if e.Flags&model.FlagDerived == 0 {
					t.Error("a finding is not marked derived")
				}
			}
		}
		return lines
	}
	first := findings(pass(leakStream(), 100))
	if len(first) == 0 {
		t.Fatal("no finding")
	}
	// Every finding of the first pass stands in the input of the second, and again in its output.
	second := findings(pass(pass(leakStream(), 100), 33))
	if len(second) != 2*len(first) {
		t.Fatalf("%d findings, want %d twice", len(second), len(first))
	}
	for _, line := range first {
		if n := strings.Count(strings.Join(second, "\n"), line); n != 2 {
			t.Errorf("%d times instead of twice: %s", n, line)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	in := leakStream()
	settings := all.Settings()
	src := sourceFunc(func(_ context.Context, emit source.Emit) error {
		for range b.N {
			if err := emit(in); err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportAllocs()
	if _, err := Run(b.Context(), src, Options{Detect: &settings}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(in.Events)), "ns/event")
}
