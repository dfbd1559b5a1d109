package perfmon

import (
	"strings"
	"testing"

	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/source/perfmon/perfmontest"
)

// TestGolden compares all events of a short log with testdata/events.golden.
func TestGolden(t *testing.T) {
	s := storm()
	s.Samples, s.Cores = 3, 2
	s.UDPErrors = func(i int) int { return i - 1 }
	l := open(t, s.Binary(&perfmontest.BLG{Bias: 300, Daylight: -60}, true).Bytes(), Options{})
	var b strings.Builder
	for _, batch := range collect(t, l) {
		for i := range batch.Events {
			b.Write(append(model.AppendText(nil, batch, &batch.Events[i]), '\n'))
		}
	}
	testutil.Golden(t, "events.golden", b.String())
}
