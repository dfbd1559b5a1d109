package perfmon

import (
	"flag"
	"os"
	"strings"
	"testing"

	"lostbeat/model"
	"lostbeat/source/perfmon/perfmontest"
)

var update = flag.Bool("update", false, "write the golden files")

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
	const name = "testdata/events.golden"
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("events differ from %s (go test -update writes it):\n%s", name, b.String())
	}
}
