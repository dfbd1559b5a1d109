package counters_test

import (
	"testing"

	"lostbeat/detect/detecttest"
)

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "counters", nil, "counters.min_samples", "counters.busy_share", "counters.robust_z",
		"counters.significance", "counters.max_samples")
}
