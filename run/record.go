package run

import (
	"cmp"
	"context"
	"errors"
	"time"

	"lostbeat/detect"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/sink/recording"
	"lostbeat/sink/tally"
	"lostbeat/source"
)

// outputRecording is the name of the output that ends in files.
const outputRecording = "recording"

// afterDrain is how long a recording may take to be closed that was not written in time.
const afterDrain = time.Second

// Recording is a recording of a host under way.
type Recording struct {
	// Source is the host, Settings what it is judged by.
	Source   source.Source
	Settings detect.Settings
	// To takes the stream.
	To recording.Recorder
	// Tally counts what is recorded, for whoever shows progress.
	Tally *tally.Tally
	// Outputs are those beside the recording.
	Outputs []pipeline.Output
	// Failed is told that one of Outputs has failed; nil ignores it.
	Failed func(name string, err error)
}

// Recorded is what has become of a recording.
type Recorded struct {
	record.Stats
	// Disk says why the disk has not taken everything, nil when it has.
	Disk error
	// Late is the number of events that came faster than the disk took them; they are in no file.
	Late uint64
	// Lost is the number of events that are in no file, wherever they were lost.
	Lost uint64
	// Full says that it has reached its maximum size and is complete.
	Full bool
}

// Run records until ctx is done or the recording is full, and closes the files.
func (r Recording) Run(ctx context.Context) (Recorded, error) {
	outputs := append([]pipeline.Output{
		{Name: outputRecording, Sink: r.To, Essential: true}, {Name: "progress", Sink: r.Tally},
	}, r.Outputs...)
	stats, err := pipeline.Run(ctx, r.Source, pipeline.Options{
		Detect: &r.Settings, Live: true, Outputs: outputs, Failed: r.Failed,
	})
	var done Recorded
	if errors.Is(err, record.ErrMaxSize) {
		done.Full, err = true, nil
	}
	closed := closeRecording(r.To, err)
	if errors.Is(closed, record.ErrBlocked) {
		err = errors.Join(err, closed)
	}
	out := stats.Of(outputRecording)
	done.Stats = r.To.Stats()
	done.Disk = cmp.Or(closed, done.Stats.Fault)
	late := out.Missed + out.Unread
	done.Lost = r.Tally.Lost() + done.Stats.Lost + late
	if !done.Full {
		done.Late = late
	}
	return done, err
}

// Whole says that everything that was to be recorded is on disk.
func (d *Recorded) Whole() bool { return d.Disk == nil && d.Late == 0 }

// closeRecording ends a recording after the pipeline has ended with err.
func closeRecording(r recording.Recorder, err error) error {
	var drain *pipeline.DrainError
	if errors.As(err, &drain) {
		return r.CloseWithin(afterDrain)
	}
	return r.Close()
}
