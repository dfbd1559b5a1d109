package pipeline

import (
	"context"
	"lostbeat/detect/all"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/source"
	"lostbeat/tui/tuitest"

	"github.com/google/go-cmp/cmp"
)

// byKey makes rows comparable: series are numbered in the order in which a
// History meets them.
func byKey[K comparable, V any](rows []fold.Row[K, V]) map[K]V {
	out := make(map[K]V, len(rows))
	for _, r := range rows {
		out[r.Key] = r.Value
	}
	return out
}

// A screen that shares what the detectors know shows what one with a state of
// its own does, which gets the stream as an output.
func TestHistoryShared(t *testing.T) {
	shared, own := fold.NewHistory(), fold.NewHistory()
	settings := all.Settings()
	stream := tuitest.Stream(tuitest.Options{Seconds: 90, Flood: 30, Leak: 20})
	src := sourceFunc(func(_ context.Context, emit source.Emit) error {
		for _, b := range stream {
			if err := emit(b); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := Run(t.Context(), src, Options{
		Detect: &settings, History: shared, Outputs: []Output{{Name: "screen", Sink: own}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, want := shared.Publish(), own.Publish()
	if got.Len() != want.Len() || got.Len() < 80 || got.Events != want.Events || got.Now != want.Now {
		t.Fatalf("%d frames, %d events until %s; want %d, %d, %s",
			got.Len(), got.Events, got.Now, want.Len(), want.Events, want.Now)
	}
	if diff := cmp.Diff(want.Findings, got.Findings); diff != "" || len(want.Findings) == 0 {
		t.Errorf("%d findings (-own +shared):\n%s", len(want.Findings), diff)
	}
	for i := range want.Len() {
		a, b := want.Frame(i), got.Frame(i)
		for name, diff := range map[string]string{
			"work":    cmp.Diff(byKey(a.Deferred), byKey(b.Deferred)),
			"cpus":    cmp.Diff(byKey(a.CPUs), byKey(b.CPUs)),
			"drops":   cmp.Diff(byKey(a.Drops), byKey(b.Drops)),
			"sockets": cmp.Diff(byKey(a.Sockets), byKey(b.Sockets)),
			"devices": cmp.Diff(byKey(a.Devices), byKey(b.Devices)),
			"pools": cmp.Diff(
				byKey(a.Pools), byKey(b.Pools), cmp.FilterPath(isResting, cmp.Ignore()), cmp.Comparer(sameForecast),
			),
			"holders": cmp.Diff(byKey(a.Holders), byKey(b.Holders), cmp.FilterPath(isResting, cmp.Ignore())),
		} {
			if diff != "" {
				t.Fatalf("frame %d, %s (-own +shared):\n%s", i, name, diff)
			}
		}
	}
	pid := slices.Sorted(maps.Keys(byPID(want)))[0]
	a, n := own.Ports(pid, 3)
	b, m := shared.Ports(pid, 3)
	if diff := cmp.Diff(a, b, cmp.FilterPath(isMark, cmp.Ignore())); diff != "" || n != m || n == 0 {
		t.Errorf("%d and %d ports of %d (-own +shared):\n%s", n, m, pid, diff)
	}
}

// isMark says that a path leads to what the detectors note on a port.
func isMark(p cmp.Path) bool { return p.Last().String() == ".Mark" }

// sameForecast says that two forecasts say the same: the detectors' judgement of
// the end of a stream has seen a second more than a screen of its own.
func sameForecast(a, b fold.Forecast) bool {
	return math.Abs(a.PerSecond-b.PerSecond) < 0.01 && (a.Left-b.Left).Abs() < 2*time.Second
}

// isResting says that a path leads to the number of ports at rest: the detectors
// know when a rest is over, before an event says so.
func isResting(p cmp.Path) bool { return p.Last().String() == ".Resting" }

func byPID(s *fold.Snapshot) map[int32]bool {
	out := map[int32]bool{}
	for _, r := range s.Frame(s.Latest()).Holders {
		out[r.Key.PID] = true
	}
	return out
}
