// Package recording writes the stream to recordings: all of it, or the time
// around each finding.
package recording

import (
	"fmt"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/record"
)

// Recorder is a sink that ends in files.
type Recorder interface {
	// Write implements pipeline.Sink.
	Write(*model.Batch) error
	// Close ends the file, CloseWithin in a time of its own: see record.Writer.
	Close() error
	CloseWithin(time.Duration) error
	// Stats are those of the files. They do not wait for the disk.
	Stats() record.Stats
}

// New begins a recording of everything.
func New(path string, o record.Options) (Recorder, error) {
	w, err := record.Create(path, o)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// flight keeps the last minutes in memory and writes the time around each
// finding to a file.
type flight struct {
	*record.Flight
	window time.Duration
	seen   map[string]bool
	// failing says that the last finding could not be recorded.
	failing bool
	log     func(line string)
}

// NewFlight returns a recorder that keeps the window in memory and writes it,
// and what follows, to a file when a finding of weight arises. log is told of
// each; it must not block.
func NewFlight(path string, window time.Duration, o record.Options, log func(line string)) (Recorder, error) {
	if o.MaxSize > 0 || o.RotateSize > 0 || o.RotateEvery > 0 {
		return nil, hint.New(
			"--flight writes a file to each finding: --max-size, --rotate-size and --rotate-every do not apply",
			"bound its files with --total-cap",
		)
	}
	f, err := record.NewFlight(path, record.FlightOptions{Options: o, Window: window})
	if err != nil {
		return nil, err
	}
	return &flight{Flight: f, window: window, seen: map[string]bool{}, log: log}, nil
}

// Write implements pipeline.Sink: a new finding, and every update of one that
// is still going on, asks for the time around it.
func (r *flight) Write(b *model.Batch) error {
	if err := r.Flight.Write(b); err != nil {
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		v, ok := b.Finding(e)
		if !ok || v.Severity < model.SeverityWarning || !v.Ongoing && r.seen[v.ID] {
			continue
		}
		err := r.Trigger(e.Time, r.window)
		first := !r.seen[v.ID]
		r.seen[v.ID] = true
		switch failing := r.failing; {
		case err != nil:
			r.failing = true
			if first || !failing {
				r.log(plain.Text(fmt.Sprintf("%s: it cannot be recorded now: %v", v.Title, err)))
			}
		case first || failing:
			r.failing = false
			r.log(plain.Text(fmt.Sprintf("%s: recording it to %s", v.Title, r.Stats().Path)))
		}
	}
	return nil
}
