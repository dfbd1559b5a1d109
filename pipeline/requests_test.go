package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/source"
)

// noSettings are the settings of the detectors of this file.
type noSettings struct{}

func (*noSettings) Fields() []detect.Field { return nil }

// curious is a detector that always finds something and wants to know more.
type curious struct{ judge func(*detect.Tick) }

func (c curious) Judge(t *detect.Tick)                     { c.judge(t) }
func (c curious) Finish(*detect.Tick, func(model.Finding)) {}
func (c curious) Report(t *detect.Tick, emit func(model.Finding)) {
	emit(model.Finding{ID: "x", Title: "x", Start: second, End: t.Now, Subject: model.Subject{CPU: -1, PID: -1}})
}

func curiously(judge func(*detect.Tick)) *detect.Settings {
	s := detect.NewSettings(detect.Define("curious", "", func(noSettings, detect.Lifecycle) detect.Detector {
		return curious{judge}
	}, nil))
	return &s
}

// host is a source that answers requests with events.
type host struct {
	source.Source
	asked chan model.Request
}

func (h host) Request(r model.Request) { h.asked <- r }

// A live source is given what the detectors ask for; a file is asked nothing,
// and gives the same findings.
func TestRequests(t *testing.T) {
	want := model.Request{Kind: model.RequestStacks, CPU: 0, PID: -1, TID: -1, For: time.Hour, Finding: "x"}
	settings := curiously(func(t *detect.Tick) { t.Request(want) })
	found := map[bool]int{}
	for _, live := range []bool{true, false} {
		var got collect
		h := host{batches(10), make(chan model.Request, 10)}
		opts := Options{Detect: settings, Live: live, Outputs: []Output{{Name: "keep", Sink: &got}}}
		if _, err := Run(t.Context(), h, opts); err != nil {
			t.Fatal(err)
		}
		close(h.asked)
		n := 0
		for r := range h.asked {
			n++
			if r != want {
				t.Errorf("asked for %+v", r)
			}
		}
		if live && n != 1 || !live && n != 0 {
			t.Errorf("live %v: %d requests", live, n)
		}
		found[live] = got.count(model.KindFinding)
	}
	if found[true] == 0 || found[true] != found[false] {
		t.Errorf("findings: %v", found)
	}
	// A source that takes no requests is asked nothing.
	if _, err := Run(t.Context(), batches(3), Options{Detect: settings, Live: true}); err != nil {
		t.Error(err)
	}
}

// A panic of a detector ends the pipeline; the outputs write what came before.
func TestPanicOfADetector(t *testing.T) {
	settings := curiously(func(t *detect.Tick) {
		if t.Now >= 5*second {
			panic("broken")
		}
	})
	var got collect
	endless := sourceFunc(func(ctx context.Context, emit source.Emit) error {
		for i := 0; ctx.Err() == nil; i++ {
			if err := emit(meta(model.Time(i+1)*second, "n", "v")); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := Run(t.Context(), endless, Options{Detect: settings, Outputs: []Output{{Name: "keep", Sink: &got}}})
	var panicked *guard.PanicError
	if !errors.As(err, &panicked) || panicked.Where != "the detectors" || got.count(model.KindMeta) < 4 {
		t.Errorf("%d events, %v", got.count(model.KindMeta), err)
	}
}
