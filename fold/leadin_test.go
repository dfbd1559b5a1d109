package fold

import (
	"reflect"
	"testing"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/tui/tuitest"
)

// bars is how far back the bars of a page go, in seconds.
const bars = 120

// byKey makes rows comparable: series are numbered in the order in which a
// History meets them.
func byKey[K comparable, V any](rows []Row[K, V]) map[K]V {
	out := make(map[K]V, len(rows))
	for _, r := range rows {
		out[r.Key] = r.Value
	}
	return out
}

// contents is all that a frame holds.
func contents(f *Frame) []any {
	pools := byKey(f.Pools)
	for k, v := range pools { // forecasts look back for minutes, and are better for it
		v.Filling = Forecast{}
		pools[k] = v
	}
	return []any{
		f.Start,
		f.Events,
		f.Lost,
		byKey(f.Deferred),
		byKey(f.Interrupts),
		byKey(f.CPUs),
		byKey(f.Softnet),
		byKey(f.NAPI),
		byKey(f.Devices),
		byKey(f.Drops),
		byKey(f.Sockets),
		byKey(f.Tasks),
		byKey(f.Counters),
		byKey(f.Flows),
		pools,
		byKey(f.Holders),
		f.Runs,
	}
}

// jumped returns a History as a player leaves it that jumps to the end of a
// stream: what held at the time lead before that, and what followed.
func jumped(t *testing.T, batches []*model.Batch, lead time.Duration) *History {
	t.Helper()
	last := batches[len(batches)-1]
	from := last.Events[len(last.Events)-1].Time.Add(-lead)
	s, before := NewHistory(), state.New()
	var begun bool
	for _, b := range batches {
		if b.Events[len(b.Events)-1].Time < from {
			before.Apply(b)
			continue
		}
		if !begun {
			begun = true
			var keyframe model.Builder
			before.Snapshot(b.Events[0].Time, &keyframe)
			s.Apply(keyframe.Take())
		}
		s.Apply(b)
	}
	s.Publish()
	return s
}

// TestLeadInShowsTheSame compares what a History has at a moment after playing
// up to it with what it has after a jump to it with a lead-in: the same history,
// for as long as bars of a second each go back. What a page counts since the
// start, and says so, is counted since the start of the lead-in.
func TestLeadInShowsTheSame(t *testing.T) {
	for _, opt := range []tuitest.Options{
		{Seconds: 300, Flood: 200, Leak: 50}, {Seconds: 300, Windows: true, CPUs: 4, Flood: 200},
	} {
		batches := tuitest.Stream(opt)
		played := NewHistory()
		for _, b := range batches {
			played.Apply(b)
		}
		played.Publish()
		after := jumped(t, batches, (bars+3)*time.Second)
		a, b := played.Snapshot(), after.Snapshot()
		for i := 1; i <= bars; i++ {
			want, got := contents(a.Frame(a.Len()-i)), contents(b.Frame(b.Len()-i))
			if !reflect.DeepEqual(want, got) {
				t.Fatalf("windows %v, frame %d from the end: played\n%v\njumped\n%v", opt.Windows, i, want, got)
			}
		}
		if short := jumped(t, batches, 2*time.Second).Snapshot(); short.Len() > 5 {
			t.Errorf("%d frames without a lead-in: the comparison shows nothing", short.Len())
		}
	}
}
