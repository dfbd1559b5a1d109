package perfmon

import (
	"context"

	"lostbeat/model"
)

// note says what a reader came across besides samples.
type note uint8

const (
	// noteText is a line that is no sample: what typeperf says at its end.
	noteText note = iota
	// noteTorn is a sample that is not complete.
	noteTorn
	// noteDamage is a part of a binary log that could not be read.
	noteDamage
	// noteUnknown is a record of a binary log whose form is not known.
	noteUnknown
	// noteSummerTime is a step of the local clock by an hour that was taken for the end of summer time.
	noteSummerTime
	// noteBackwards is a sample that is not later than the one before it.
	noteBackwards
	// noteMissing is a sample that should lie between two that are too far apart.
	noteMissing
	// noteGap is a sample that should lie in a damaged part of the file.
	noteGap
	// noteColumns is a column beyond maxColumns.
	noteColumns
	noteCount
)

var noteNames = [noteCount]string{
	"lines of text that are not samples", "torn samples", "damaged parts", "records of unknown form", "changes of " +
		"summer time", "samples that are not later than the one before", "missing samples",
	"samples in damaged parts",
	"columns for which there is no room",
}

func (n note) String() string { return noteNames[n] }

// sink takes the samples of a log.
type sink interface {
	// columns says which columns a text log has; binary logs find theirs as they go.
	columns([]*column) error
	// begin starts a sample; ok is false when it is to be passed over.
	begin(at model.Time) (ok bool, err error)
	// wants reports whether the values of a column are of use.
	wants(*column) bool
	// value is the value of a column in the sample; count is by how much the counter under a rate has advanced, NaN when
	// that is unknown.
	value(c *column, v, count float64)
	// end ends the sample.
	end() error
	// note counts what else is found.
	note(what note, n int)
}

// reader reads the samples of a log.
type reader interface {
	// read hands samples to the sink: all, or those from the last before from on.
	read(ctx context.Context, from model.Time, to sink, progress func(int64)) error
	// last returns the time of the last sample, 0 for none.
	last() (model.Time, error)
}

// stopped reports whether a reader has been asked to stop, which is no error.
func stopped(ctx context.Context) bool { return ctx.Err() != nil }
