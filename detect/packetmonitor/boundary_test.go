package packetmonitor_test

import (
	"testing"

	"lostbeat/detect/detecttest"
)

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "packetmonitor", []detecttest.Boundary{
		{Setting: "packetmonitor.warn_lost", At: 12, Says: "warning packet-monitor", Stream: drops(query(12))},
		{Setting: "packetmonitor.unwanted", At: 12, Says: "Nothing listened", Stream: drops(unwanted(12, 5405, 40000))},
	})
}
