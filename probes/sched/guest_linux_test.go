package sched

import (
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
)

// The cases run on the other kernels that can be had, which have version 2 of
// control groups only: memory that is short, and quotas of the other kind.
func TestLongGuestKernels(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		t.Run(kernel, func(t *testing.T) {
			vmtest.Nightly(t, kernel)
			out := vmtest.Run(t, vmtest.Options{
				Kernel: kernel, CPUs: 2, Package: "lostbeat/probes/sched", Timeout: 5 * time.Minute,
				Tests: "TestRivalIsNamed|TestThrottled|TestLongFrozen/freezer2|TestLongStopped|TestLongBlocked|TestBusyItself|" +
					"TestRefused",
			})
			t.Log(out)
		})
	}
}
