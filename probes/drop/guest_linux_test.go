package drop

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// TestLongGuestReads runs on a kernel without the tracepoint of reads that allows fexit. It takes 15 s.
func TestLongGuestReads(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	out := vmtest.Run(t, vmtest.Options{
		Kernel: "6.1", Package: "lostbeat/probes/drop", Tests: "TestReadsOfIPv4|TestParts", Timeout: 3 * time.Minute,
	})
	for _, line := range []string{"--- PASS: TestReadsOfIPv4", "reads        on"} {
		if !strings.Contains(out, line) {
			t.Errorf("the guest does not say %q:\n%s", line, out)
		}
	}
}
