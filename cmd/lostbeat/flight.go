package main

import (
	"fmt"
	"io"
	"time"

	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"

	"github.com/dustin/go-humanize"
)

// flightRecorder keeps the last minutes in memory and writes the time around
// each finding to a file.
type flightRecorder struct {
	*record.Flight
	window time.Duration
	seen   map[string]bool
	log    io.Writer
}

func newFlightRecorder(
	path string,
	window time.Duration,
	opts record.Options,
	log io.Writer,
) (*flightRecorder, error) {
	if opts.MaxSize > 0 || opts.RotateSize > 0 || opts.RotateEvery > 0 {
		return nil, &usageError{
			"--flight writes a file to each finding: --max-size, --rotate-size and --rotate-every do not apply",
			"bound its files with --total-cap",
		}
	}
	f, err := record.NewFlight(path, record.FlightOptions{Options: opts, Window: window})
	if err != nil {
		return nil, err
	}
	return &flightRecorder{Flight: f, window: window, seen: map[string]bool{}, log: log}, nil
}

// Write implements pipeline.Sink: a new finding, and every update of one that
// is still going on, asks for the time around it.
func (r *flightRecorder) Write(b *model.Batch) error {
	if err := r.Flight.Write(b); err != nil {
		return err
	}
	for i := range b.Events {
		v, ok := b.FindingEvent(&b.Events[i])
		if !ok || v.Severity < model.SeverityWarning || !v.Ongoing && r.seen[v.ID] {
			continue
		}
		if err := r.Trigger(v.Time, r.window); err != nil {
			fmt.Fprintf(r.log, "lostbeat: %v\n", err)
		}
		if !r.seen[v.ID] {
			r.seen[v.ID] = true
			fmt.Fprintf(r.log, "lostbeat: %s: recording it to %s\n", printable(v.Title), printable(r.Stats().Path))
		}
	}
	return nil
}

func (r *flightRecorder) size() (uint64, uint64) {
	s := r.Stats()
	return s.Bytes, s.Lost
}

func (r *flightRecorder) summary(p pipeline.Stats, t *tally) string {
	s := r.Stats()
	if s.Files == 0 {
		return fmt.Sprintf("watched %s events; no finding, so nothing was written", humanize.Comma(int64(t.events())))
	}
	return fmt.Sprintf(
		"recorded %s events around %d findings, %s in %d files, the last %s; %s lost",
		humanize.Comma(
			int64(s.Events),
		),
		t.findings(),
		humanize.IBytes(s.Bytes),
		s.Files,
		printable(s.Path),
		humanize.Comma(int64(t.lost()+s.Lost+p.Of(outputRecording).Missed+p.Of(outputRecording).Unread)),
	)
}
