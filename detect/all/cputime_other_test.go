//go:build !linux

package all_test

import "time"

var started = time.Now()

// cpuTime is the time since the start where that of the process is not had.
func cpuTime() time.Duration { return time.Since(started) }
