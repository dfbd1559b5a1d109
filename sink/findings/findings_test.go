package findings

import (
	"testing"
	"time"

	"lostbeat/model"
)

// TestSpan says of a moment no length, and of what ends on another day that day.
func TestSpan(t *testing.T) {
	start := model.TimeOf(time.Date(2026, 11, 14, 23, 59, 0, 0, time.UTC))
	for _, test := range []struct {
		length  time.Duration
		ongoing bool
		want    string
	}{
		{0, true, "2026-11-14 23:59:00.000 UTC"},
		{30 * time.Second, false, "2026-11-14 23:59:00.000 to 23:59:30.000 UTC, 30 s"},
		{time.Hour, true, "2026-11-14 23:59:00.000 to 2026-11-15 00:59:00.000 UTC, 60 min, still active when last seen"},
	} {
		f := model.Finding{Start: start, End: start.Add(test.length), Ongoing: test.ongoing}
		if got := span(f, time.UTC); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
