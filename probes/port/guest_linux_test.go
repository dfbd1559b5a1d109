package port

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/vmtest"
)

// TestFunctions runs the scenarios on a kernel that allows fentry, where the
// functions that take and give back ports are watched themselves.
func TestFunctions(t *testing.T) {
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		t.Run(kernel, func(t *testing.T) {
			out := vmtest.Run(t, vmtest.Options{
				Kernel: kernel, Package: "lostbeat/probes/port", Tests: "TestScenarios|TestLeak", Timeout: 5 * time.Minute,
			})
			if !strings.Contains(out, "functions: on") {
				t.Errorf("the guest has not watched the functions:\n%s", out)
			}
		})
	}
}
