package fold

import "time"

// What has come and gone is forgotten so long after the last sign of it. Each is
// longer than a case of a detector stays open or can be reopened without one.
const (
	forgetDevice  = 2 * time.Minute
	forgetSocket  = 2 * time.Minute
	forgetFlow    = 2 * time.Minute
	forgetBeat    = 10 * time.Minute
	forgetDrop    = 2 * time.Minute
	forgetFailure = time.Minute
	forgetEnd     = time.Minute
	// forgetHolder is for processes that hold nothing any more.
	forgetHolder = 5 * time.Minute
	// forgetReuse is for pools that are no longer known.
	forgetReuse = 10 * time.Minute
	// forgetWatched is for threads that are no longer watched, forgetReading for values that were read once.
	forgetWatched = time.Minute
	forgetReading = 10 * time.Minute
)
