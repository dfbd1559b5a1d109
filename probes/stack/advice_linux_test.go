package stack

import (
	"strings"
	"testing"
)

// A level that only kernels of Debian and Ubuntu know is named.
func TestRefusedAdvice(t *testing.T) {
	for level, named := range map[string]bool{"3": true, "4": true, "2": false, "-1": false, "": false} {
		if got := refusedAdvice(level); strings.Contains(got, "perf_event_paranoid is "+level+",") != named {
			t.Errorf("at level %q: %s", level, got)
		}
	}
}
