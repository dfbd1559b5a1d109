package fold

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

const second = model.Time(time.Second)

func apply(s *History, build func(b *model.Builder)) *Snapshot {
	var b model.Builder
	build(&b)
	s.Apply(b.Take())
	s.Publish()
	return s.Snapshot()
}

func drop(end model.Time, dur time.Duration, count uint64) model.Drop {
	return model.Drop{
		Time:   end,
		Dur:    dur,
		CPU:    0,
		PID:    -1,
		TID:    -1,
		Place:  model.PlaceBacklog,
		Count:  count,
		Queue:  -1,
		Reason: "CPU_BACKLOG",
	}
}

func TestIntervalsAreSpread(t *testing.T) {
	start := tuitest.Start
	for _, tt := range []struct {
		name   string
		end    model.Time
		dur    time.Duration
		count  uint64
		frames map[model.Time]float32 // seconds after the start
	}{
		{"a whole second", start + 10*second, time.Second, 100, map[model.Time]float32{9: 100}},
		{"half and half", start + 10*second + second/2, time.Second, 100, map[model.Time]float32{9: 50, 10: 50}},
		{"a quarter before", start + 10*second + second*3/4, time.Second, 100, map[model.Time]float32{9: 25, 10: 75}},
		{"within a second", start + 10*second + second/2, time.Second / 4, 100, map[model.Time]float32{10: 100}},
		{"ten seconds", start + 20*second, 10 * time.Second, 100, map[model.Time]float32{10: 10, 15: 10, 19: 10}},
		{"a moment", start + 10*second + second/2, 0, 7, map[model.Time]float32{10: 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewHistory()
			// What a device counted over the same time covers every frame.
			for i := range model.Time(30) {
				apply(s, func(b *model.Builder) {
					b.AddSoftnet(model.Softnet{Time: start + (i+1)*second, Dur: time.Second, CPU: 0, Processed: 1})
					if i == 0 { // frames stay open for as long as the longest interval so far
						b.AddCounter(model.Counter{Time: start + (i+1)*second, Dur: tt.dur, CPU: -1, Name: "x"})
					}
					if tt.end > start+i*second && tt.end <= start+(i+1)*second {
						b.AddDrop(drop(tt.end, tt.dur, tt.count))
					}
					b.SortByTime()
				})
			}
			snap := s.Snapshot()
			var sum float32
			for i := range snap.Len() {
				f := snap.Frame(i)
				for _, r := range f.Drops {
					sum += r.Value.Rate
				}
				if want, ok := tt.frames[(f.Start-start)/second]; ok {
					if len(f.Drops) != 1 || math.Abs(float64(f.Drops[0].Value.Rate-want)) > 0.01 {
						t.Errorf("second %d has %v, want %g", (f.Start-start)/second, f.Drops, want)
					}
				}
			}
			if math.Abs(float64(sum)-float64(tt.count)) > 0.01 {
				t.Errorf("all frames have %g together, want %d", sum, tt.count)
			}
			if got := snap.Places[model.PlaceBacklog]; got != tt.count {
				t.Errorf("total %d, want %d", got, tt.count)
			}
		})
	}
}

func TestPartOfASecond(t *testing.T) {
	snap := apply(NewHistory(), func(b *model.Builder) {
		b.AddDeferredHist(
			model.DeferredHist{
				Time:   tuitest.Start + second/4,
				Dur:    time.Second / 4,
				CPU:    3,
				Class:  model.ClassDPC,
				Count:  10,
				Busy:   time.Second / 8,
				Name:   "ndis.sys!x",
				Driver: "ndis.sys",
			},
		)
	})
	w := snap.Frame(snap.Latest()).Deferred[0].Value
	if math.Abs(float64(w.Busy)-0.5) > 1e-3 || math.Abs(float64(w.Count)-40) > 1e-3 {
		t.Errorf("share %g and %g runs a second, want 0.5 and 40", w.Busy, w.Count)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := NewHistory()
	for i := range model.Time(2 * historyFrames) {
		apply(s, func(b *model.Builder) {
			b.AddDrop(drop(tuitest.Start+(i+1)*second, time.Second, 1))
		})
	}
	snap := s.Snapshot()
	if snap.Len() > historyFrames || snap.Len() < historyFrames-openFrames {
		t.Errorf("%d frames, want about %d", snap.Len(), historyFrames)
	}
	for i := 1; i < snap.Len(); i++ {
		if snap.Frame(i).Start != snap.Frame(i-1).End() {
			t.Fatalf("a gap before frame %d", i)
		}
	}
	if snap.Frame(-1) != nil || snap.Frame(snap.Len()) != nil {
		t.Error("frames outside the history")
	}
	// A silence that is longer than the history leaves nothing of before.
	snap = apply(s, func(b *model.Builder) { b.AddDrop(drop(tuitest.Start+10*historyFrames*second, time.Second, 1)) })
	if snap.Len() > openFrames {
		t.Errorf("%d frames after a long silence", snap.Len())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	s := NewHistory()
	stream := tuitest.Stream(tuitest.Options{Seconds: 3, CPUs: 256, Flood: 1})
	for second := range model.Time(1000) {
		b := *stream[2]
		b.Events = append([]model.Event(nil), b.Events...)
		for i := range b.Events {
			b.Events[i].Time = tuitest.Start + (second+1)*model.Time(time.Second)
		}
		s.Apply(&b)
	}
	s.Publish()
	if used := (heap() - before) >> 20; used > 100 {
		t.Errorf("%d MiB in use", used)
	} else {
		t.Logf("%d MiB in use for %d frames with %d rows", used, s.Snapshot().Len(), s.rows)
	}
	runtime.KeepAlive(s)
}

func TestSeriesAreForgotten(t *testing.T) {
	s := NewHistory()
	for i := range 3 * maxSeries {
		d := drop(tuitest.Start+model.Time(i)*second/4, 0, 1)
		d.LocalPort, d.PID = uint16(i), int32(i)
		var b model.Builder
		b.AddDrop(d)
		s.Apply(b.Take())
	}
	if n := len(s.series.drops.keys); n > maxSeries {
		t.Errorf("%d series are remembered", n)
	}
	s.Publish()
	if n := s.Snapshot().Places[model.PlaceBacklog]; n != 3*maxSeries {
		t.Errorf("total %d, want %d", n, 3*maxSeries)
	}
}

func TestSeekDropsWhatWasBefore(t *testing.T) {
	s := loaded(bothFaults)
	if len(s.Snapshot().Findings) != 2 {
		t.Fatalf("%d findings", len(s.Snapshot().Findings))
	}
	// A keyframe that lies before what was seen can only come from a seek.
	snap := apply(s, func(b *model.Builder) {
		b.AddMeta(model.Meta{Time: tuitest.Start + 5*second, Flags: model.FlagKeyframe, Key: "host", Value: "web-07"})
		b.AddDrop(drop(tuitest.Start+6*second, time.Second, 1))
	})
	if snap.Now != tuitest.Start+6*second || snap.Len() > 2 || snap.Places[model.PlaceBacklog] != 1 {
		t.Errorf("now %s, %d frames, %d lost", snap.Now, snap.Len(), snap.Places[model.PlaceBacklog])
	}
	if len(snap.Findings) != 2 {
		t.Errorf("%d findings after a seek, want 2", len(snap.Findings))
	}
	s.Reset()
	if snap = s.Snapshot(); snap.Now != 0 || snap.Len() != 0 || snap.Events != 0 {
		t.Errorf("after Reset: now %s, %d frames, %d events", snap.Now, snap.Len(), snap.Events)
	}
}

func TestFindingAtAMoment(t *testing.T) {
	s := NewHistory()
	version := func(end int, title string) model.Finding {
		return model.Finding{
			ID:      "x",
			Title:   title,
			Start:   tuitest.Start,
			End:     tuitest.Start + model.Time(end)*second,
			Ongoing: true,
		}
	}
	var all []model.Finding
	for i := range 100 {
		all = append(all, version(i+1, fmt.Sprint(i+1)))
	}
	s.SetFindings(all[90:]) // the end first, as from a search of the whole file
	s.SetFindings(all[:90])
	snap := s.Snapshot()
	if len(snap.Findings) != 1 || snap.Findings[0].Title != "100" {
		t.Fatalf("the latest is %+v", snap.Findings[0])
	}
	if n := len(snap.versions[0]); n > maxVersions {
		t.Errorf("%d versions", n)
	}
	for _, at := range []int{0, 1, 30, 50, 99, 100, 200} {
		f := snap.FindingAt(0, tuitest.Start+model.Time(at)*second)
		if f.End > tuitest.Start+model.Time(max(at, 1))*second {
			t.Errorf("at %d s the finding has seen %s", at, f.End.Sub(f.Start))
		}
	}
}

func TestBuckets(t *testing.T) {
	var h model.Histogram
	for _, d := range []time.Duration{
		50 * time.Microsecond, 200 * time.Microsecond, 300 * time.Microsecond, 700 * time.Microsecond,
		1500 * time.Microsecond, 3 * time.Millisecond, 9 * time.Millisecond, time.Second,
	} {
		h.Observe(uint64(d))
	}
	snap := apply(NewHistory(), func(b *model.Builder) {
		for cpu := range int32(2) {
			b.AddDeferredHist(
				model.DeferredHist{
					Time:    tuitest.Start,
					Dur:     time.Second,
					CPU:     cpu,
					Class:   model.ClassDPC,
					Count:   h.Count,
					MaxRun:  time.Second,
					Name:    "ndis.sys!" + fmt.Sprint(cpu),
					Driver:  "ndis.sys",
					RunHist: &h,
				},
			)
		}
	})
	if len(snap.Work) != 1 {
		t.Fatalf("%d drivers, want 1", len(snap.Work))
	}
	if want := [...]uint64{2, 2, 2, 2, 2, 2, 4}; snap.Work[0].Buckets != want {
		t.Errorf("buckets %v, want %v", snap.Work[0].Buckets, want)
	}
}

func TestRunningTotalsBecomeRates(t *testing.T) {
	s := NewHistory()
	count := func(at model.Time, value float64) *Snapshot {
		return apply(s, func(b *model.Builder) {
			b.AddCounter(
				model.Counter{
					Time:  at,
					Dur:   time.Second,
					CPU:   -1,
					Name:  "Udp.RcvbufErrors",
					Mode:  model.CounterTotal,
					Value: value,
				},
			)
		})
	}
	if snap := count(tuitest.Start, 1000); len(snap.Counters) != 0 {
		t.Errorf("one reading of a total gives %v", snap.Counters)
	}
	if snap := count(tuitest.Start+2*second, 1500); len(snap.Counters) != 1 || snap.Counters[0].Value != 250 {
		t.Errorf("500 in 2 s gives %v", snap.Counters)
	}
	if snap := count(tuitest.Start+3*second, 10); snap.Counters[0].Value != 250 { // it began anew
		t.Errorf("a total that fell gives %v", snap.Counters)
	}
}

func TestOpenCalls(t *testing.T) {
	at := tuitest.Start
	snap := apply(NewHistory(), func(b *model.Builder) {
		b.AddRPCCall(
			model.RPCCall{Time: at, Dur: time.Millisecond, PID: 7, TID: 8, Interface: "i", Endpoint: "135", Process: "p"},
		)
		for tid := range int32(2) {
			b.AddRPCActive(
				model.RPCActive{
					Time:      at + second,
					Dur:       time.Minute,
					PID:       7,
					TID:       9 + tid,
					Interface: "i",
					Endpoint:  "135",
					Process:   "p",
				},
			)
		}
	})
	if len(snap.RPC) != 1 || snap.RPC[0].Calls != 1 || snap.RPC[0].Open != 2 || snap.RPC[0].Longest != time.Minute {
		t.Errorf("%+v", snap.RPC)
	}
}

// loaded returns a History that has taken the whole stream.
func loaded(opt tuitest.Options) *History {
	h := NewHistory()
	for _, b := range tuitest.Stream(opt) {
		h.Apply(b)
	}
	h.Publish()
	return h
}

var bothFaults = tuitest.Options{Seconds: 90, Flood: 70, Leak: 20}
