package source

import (
	"testing"
	"time"

	"lostbeat/model"
)

func TestPlausible(t *testing.T) {
	good := model.Event{Kind: model.KindSoftnet, Time: model.Time(time.Hour), CPU: MaxCPUs - 1}
	with := func(change func(*model.Event)) model.Event {
		e := good
		change(&e)
		return e
	}
	for name, test := range map[string]struct {
		event model.Event
		ok    bool
	}{
		"the last CPU":        {good, true},
		"a CPU too many":      {with(func(e *model.Event) { e.CPU = MaxCPUs }), false},
		"no CPU":              {with(func(e *model.Event) { e.CPU = -1 }), true},
		"1970":                {with(func(e *model.Event) { e.Time = earliest }), true},
		"before 1970":         {with(func(e *model.Event) { e.Time = earliest - 1 }), false},
		"the last moment":     {with(func(e *model.Event) { e.Time = latest - 1 }), true},
		"after it":            {with(func(e *model.Event) { e.Time = latest }), false},
		"no duration":         {with(func(e *model.Event) { e.Dur = 0 }), true},
		"a negative duration": {with(func(e *model.Event) { e.Dur = -1 }), false},
	} {
		var got, lost uint64
		run := func(emit Emit) error {
			return emit(&model.Batch{Events: []model.Event{good, test.event, good}})
		}
		left, err := Plausible(run, func(b *model.Batch) error {
			for i := range b.Events {
				if v, ok := b.Loss(&b.Events[i]); ok {
					lost += v.Lost
				} else {
					got++
				}
			}
			return nil
		})
		want := uint64(2)
		if test.ok {
			want = 3
		}
		if err != nil || got != want || lost != 3-want || left != lost {
			t.Errorf("%s: %d events and %d lost, %v", name, got, lost, err)
		}
	}
	if got := latest.Std().Year(); got != 2199 && got != 2200 {
		t.Errorf("the latest time is in %d", got)
	}
}
