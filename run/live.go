package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/probes/heartbeat"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/tui"
)

// memoryWindow is how much of a live session can be saved.
const memoryWindow = 15 * time.Minute

// Live is a live terminal UI.
type Live struct {
	// Source is the host, Settings what it is judged by.
	Source   source.Source
	Settings detect.Settings
	// State is what the screen shows, nil for a new one.
	State *fold.History
	// UI are the options of the screen; Run adds what to show.
	UI tui.Options
	// Tool is the name and version of the program, for recordings.
	Tool string
	// Outputs are those beside the screen.
	Outputs []pipeline.Output
	// Followed says that the source is a file that grows: it waits for the detectors, and nothing is dropped.
	Followed bool
	// Beside runs as long as the UI is open; nil for nothing.
	Beside func(context.Context) error
}

// Run shows the session until the user leaves it.
func (l Live) Run(ctx context.Context) error {
	state := l.State
	if state == nil {
		state = fold.NewHistory()
	}
	flight, err := record.NewFlight("", record.FlightOptions{Options: record.Options{Tool: l.Tool}, Window: memoryWindow})
	if err != nil {
		return err
	}
	opts := l.UI
	opts.State, opts.Live = state, true
	opts.Record = func(path string) error {
		if err := flight.Save(path); err != nil {
			return err
		}
		return record.AppendNotes(path, state.Snapshot().Notes)
	}
	opts.Note = func(n model.Note) error { state.AddNotes(n); return nil }
	if r, ok := l.Source.(source.Requester); ok {
		opts.Follow = func(flow string) error {
			if _, err := heartbeat.ParseFlow(flow); err != nil {
				return fmt.Errorf("%q: %w", plain.Text(flow), err)
			}
			r.Request(model.Request{Kind: model.RequestFollow, CPU: -1, PID: -1, TID: -1, Name: flow})
			return nil
		}
	}
	opts.RecordPath = time.Now().UTC().Format("lostbeat-20060102-150405.lostbeat")

	ctx, all := begin(ctx)
	// A fault is shown while the screen is open, and returned when it closes.
	shown := func(err error) error {
		if err != nil && ctx.Err() == nil {
			state.SetFault(err)
		}
		return err
	}
	all.run("the pipeline", func() error {
		_, err := pipeline.Run(ctx, l.Source, pipeline.Options{
			Detect: &l.Settings, Live: !l.Followed, History: state,
			Outputs: append([]pipeline.Output{{Name: "memory", Sink: flight}}, l.Outputs...),
			Failed:  func(name string, err error) { state.SetOutput(name, model.ProbeOff, err) },
		})
		return shown(err)
	})
	all.run("the terminal check", func() error { watchTerminal(ctx, all.stop); return nil })
	if l.Beside != nil {
		all.run("the fault", func() error {
			if err := l.Beside(ctx); !errors.Is(err, context.Canceled) {
				return shown(err)
			}
			return nil
		})
	}
	all.call("the screen", func() error { return tui.Run(ctx, opts) })
	return all.end()
}
