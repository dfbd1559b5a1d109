package run

import (
	"context"

	"lostbeat/detect"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// Watch judges a host without a screen.
type Watch struct {
	// Source is the host, Settings what it is judged by.
	Source   source.Source
	Settings detect.Settings
	// To takes what is found; when it fails, watching ends.
	To pipeline.Output
	// Outputs are those beside it.
	Outputs []pipeline.Output
	// Failed is told that one of Outputs has failed; nil ignores it.
	Failed func(name string, err error)
}

// Run watches until ctx is done.
func (w Watch) Run(ctx context.Context) error {
	to := w.To
	to.Essential = true
	_, err := pipeline.Run(ctx, w.Source, pipeline.Options{
		Detect: &w.Settings, Live: true, Outputs: append([]pipeline.Output{to}, w.Outputs...), Failed: w.Failed,
	})
	return err
}
