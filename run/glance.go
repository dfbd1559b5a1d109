package run

import (
	"context"
	"errors"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// Glance watches a host for a while, without a screen.
type Glance struct {
	// Source is the host, Settings what it is judged by.
	Source   source.Source
	Settings detect.Settings
	// For is how long the host is watched.
	For time.Duration
}

// Seen is what a Glance has seen.
type Seen struct {
	// State is what a screen would show at the end.
	State *fold.History
	// Findings are the latest states of all findings, in the order in which they arose.
	Findings []model.Finding
}

// Run watches the host and returns what was seen. It ends early, with ctx's error, when ctx does.
func (g Glance) Run(ctx context.Context) (Seen, error) {
	watched, stop := context.WithTimeout(ctx, g.For)
	defer stop()
	state, found := fold.NewHistory(), new(lastStates)
	_, err := pipeline.Run(watched, g.Source, pipeline.Options{
		Detect: &g.Settings, Live: true, History: state,
		Outputs: []pipeline.Output{{
			Name: "findings", Sink: found, Kinds: []model.Kind{model.KindFinding}, Essential: true,
		}},
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	if err == nil {
		err = ctx.Err()
	}
	state.Publish()
	return Seen{State: state, Findings: found.list.All()}, err
}

// lastStates is a sink that keeps the latest state of each finding.
type lastStates struct{ list model.FindingList }

// Write implements pipeline.Sink.
func (l *lastStates) Write(b *model.Batch) error {
	for i := range b.Events {
		if f, ok := b.Finding(&b.Events[i]); ok {
			l.list.Add(f)
		}
	}
	return nil
}
