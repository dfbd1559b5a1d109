package probes

import (
	"os"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// All probes run together on the other kernels that can be had, a preemptible
// one among them, and live through a processor that goes and comes back.
func TestLongGuestKernels(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []struct{ series, flavour string }{{"6.1", "cloud"}, {"6.12", "cloud"}, {"6.12", "rt"}} {
		t.Run(kernel.series+" "+kernel.flavour, func(t *testing.T) {
			vmtest.Run(t, vmtest.Options{
				Kernel: kernel.series, Flavour: kernel.flavour, CPUs: 2,
				Package: "lostbeat/probes", Tests: "TestAllTogether|TestProcessorGoesAway", Timeout: 5 * time.Minute,
			})
		})
	}
}

// TestProcessorGoesAway takes a processor offline in the middle of a session,
// and brings it back.
func TestProcessorGoesAway(t *testing.T) {
	if !vmtest.Guest() {
		t.Skip("runs in the guest of TestLongGuestKernels: other work may need this host's processors")
	}
	online := func(state string) {
		t.Helper()
		if err := os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte(state), 0); err != nil {
			t.Fatal(err)
		}
	}
	s := ebpftest.Start(t, ebpf.Options{}, All()...)
	s.Intervals(2)
	online("0")
	s.Intervals(3)
	online("1")
	s.Intervals(3)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var present []bool // by interval: the second processor was there all the time
	var runs, busy uint64
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.CPUTime(e); ok && v.CPU == 0 {
			present = append(present, false)
		} else if ok {
			present[len(present)-1] = true
		}
		if v, ok := b.DeferredHist(e); ok && v.CPU == 1 {
			runs += v.Count
			if v.Busy > 10*v.Dur {
				busy++
			}
		}
		if v, ok := b.Loss(e); ok && v.Lost > 0 {
			t.Errorf("lost: %+v", v)
		}
	})
	changes := 0
	for i := range present[1:] {
		if present[i+1] != present[i] {
			changes++
		}
	}
	if !present[0] || !present[len(present)-1] || changes != 2 {
		t.Errorf("the second processor was there in the intervals %v", present)
	}
	if runs == 0 || busy > 0 {
		t.Errorf("the second processor has %d runs, and more than there is time for in %d intervals", runs, busy)
	}
}
