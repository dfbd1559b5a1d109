package heartbeat

import (
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
)

// The stages are seen on the other kernels that can be had: 6.1 does not say when a program reads.
func TestLongGuestKernels(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		t.Run(kernel, func(t *testing.T) {
			vmtest.Nightly(t, kernel)
			t.Log(vmtest.Run(t, vmtest.Options{
				Kernel: kernel, CPUs: 2, Package: "lostbeat/probes/heartbeat", Timeout: 5 * time.Minute,
				Modules: []string{"llc", "stp", "garp", "mrp", "8021q", "tls", "bonding", "veth", "sch_tbf"},
				Tests: "TestStages|TestReset|TestDropsByFlow|TestLongFullQueue|TestRootGroup|TestNoFlow|TestStacked|TestQdisc|" +
					"TestLongZoom",
			}))
		})
	}
}
