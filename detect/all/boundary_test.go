package all_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// faults is a stream in which a CPU starves, is quiet, and so on, for so many
// seconds each.
func faults(lengths ...int) func() *model.Batch {
	return func() *model.Batch {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		for i, n := range lengths {
			s.Seconds(n, func(int) {
				if i%2 == 0 {
					s.Starved()
				} else {
					s.Quiet()
				}
			})
		}
		return s.Batch()
	}
}

// TestBoundaries tries each setting at the value that just holds and just beyond.
func TestBoundaries(t *testing.T) {
	detecttest.Boundaries(t, "lifecycle", boundaries)
}

var boundaries = []detecttest.Boundary{
	{Setting: "lifecycle.window", At: 3 * time.Second, Upper: true, Says: "dpc-starvation",
		With:   map[string]string{"starvation.min_drops": "600"},
		Stream: detecttest.Loaded(detecttest.Load{NetRX: 0.95, Packets: 2000, Dropped: 200})},
	{Setting: "lifecycle.update_every", At: 2 * time.Second, Says: "emitted 6 times", Stream: faults(12, 0, 0, 0)},
	// The last sign is from 12 s, the last judgement from 24.999 s.
	{Setting: "lifecycle.clear_after", At: 12999 * time.Millisecond, Says: "closed", Stream: faults(12, 13, 0, 0)},
	// The last sign is from 6 s; at 31 s there is one again.
	{Setting: "lifecycle.reopen_within", At: 24 * time.Second, Says: "2 findings", Stream: faults(6, 24, 6, 0)},
}

// TestEverySettingHasBoundaries wants the package of each detector to try its settings.
func TestEverySettingHasBoundaries(t *testing.T) {
	files, err := filepath.Glob("../*/boundary_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tried := make(map[string]bool)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), `detecttest.Boundaries(t, "`)
		prefix, _, _ := strings.Cut(after, `"`)
		tried[prefix] = true
	}
	for _, f := range all.Settings().Fields() {
		prefix, _, _ := strings.Cut(f.Name, ".")
		if !tried[prefix] {
			t.Errorf("no boundary_test.go tries %s", f.Name)
			tried[prefix] = true
		}
	}
}
