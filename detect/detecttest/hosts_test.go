package detecttest

import (
	"slices"
	"testing"

	"lostbeat/detect/all"
)

// The hosts are worth changing only where detectors have something to report of them.
func TestHosts(t *testing.T) {
	var found []string
	for _, b := range Hosts() {
		out := Run(b, 0)
		checkWords(t, out)
		for _, e := range out {
			found = append(found, e.Finding.Detector)
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) < 10 {
		t.Errorf("findings of %q only, there are %d detectors", found, len(all.Settings().Fields()))
	}
	t.Log(found)
}
