package probes

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
	"lostbeat/record"

	"golang.org/x/sys/unix"
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
			if kernel.flavour != "rt" {
				vmtest.Nightly(t, kernel.series)
			}
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
	online := func(state string) { setOnline(t, state) }
	s := ebpftest.Start(t, ebpf.Options{}, All()...)
	s.Intervals(2)
	online("0")
	s.Intervals(3)
	online("1")
	s.Intervals(3)
	stop := busyCPU(t, 1)
	s.Request(model.Request{Kind: model.RequestStacks, CPU: -1, For: 10 * time.Second})
	s.WaitFor(30*time.Second, "stacks of the CPU that has come back", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.StackSample(e)
		return ok && v.CPU == 1
	})
	stop()
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
		// Of two handlers that first run in one moment, the kernel may have no memory for the second one yet.
		if v, ok := b.Loss(e); ok && (v.Lost > 1 || v.Lost == 1 && v.Detail != "interrupt: interrupt.hist") {
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

// setOnline takes the second processor offline ("0"), or brings it back ("1").
func setOnline(t *testing.T, state string) {
	t.Helper()
	if err := os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte(state), 0); err != nil {
		t.Fatal(err)
	}
}

// busyCPU sends datagrams over the loopback device from a processor until it is stopped, while that is online.
func busyCPU(t *testing.T, cpu int) (stop func()) {
	t.Helper()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		var set unix.CPUSet
		set.Set(cpu)
		for !over.Load() {
			if unix.SchedSetaffinity(0, &set) != nil {
				time.Sleep(10 * time.Millisecond) // it is offline
				continue
			}
			for range 100 {
				_, _ = to.WriteTo(make([]byte, 64), to.LocalAddr()) // a full queue is no fault
			}
			time.Sleep(time.Millisecond)
		}
	})
	stop = sync.OnceFunc(func() { over.Store(true); wait.Wait(); to.Close() })
	t.Cleanup(stop)
	return stop
}

// TestLongGuestProcessorGoesAwayWhileShedding takes a processor of a guest offline while a recorder leaves out detail
// because of --max-cpu, and brings it back. It takes two minutes.
func TestLongGuestProcessorGoesAwayWhileShedding(t *testing.T) {
	testutil.Privileged(t)
	if vmtest.Guest() {
		recordHotplug(t)
		return
	}
	vmtest.Run(t, vmtest.Options{
		Kernel: "6.12", CPUs: 2, Package: "lostbeat/probes", Tests: "TestLongGuestProcessorGoesAwayWhileShedding",
		Programs: map[string]string{"lostbeat": "lostbeat/cmd/lostbeat"}, Timeout: 4 * time.Minute,
	})
}

// hotplug is what a recording says of a processor that goes away.
type hotplug struct {
	shed, restored []string
	// states are those of the part "CPU 1", at the times from and to.
	states   []model.ProbeState
	from, to model.Time
	// present says, by interval, whether the second processor has a time.
	present []bool
	// hists are the ends of its intervals with runs.
	hists  []model.Time
	kernel []float64
	lost   uint64
}

func (h *hotplug) add(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if v, ok := b.Probe(e); ok {
			h.addProbe(&v)
		} else if v, ok := b.CPUTime(e); ok && v.CPU == 0 {
			h.present = append(h.present, false)
		} else if ok && len(h.present) > 0 {
			h.present[len(h.present)-1] = true
		} else if v, ok := b.DeferredHist(e); ok && v.CPU == 1 && v.Count > 0 {
			h.hists = append(h.hists, v.Time)
		} else if v, ok := b.Counter(e); ok && v.Name == "self.kernel_cpu" {
			h.kernel = append(h.kernel, v.Value)
		} else if v, ok := b.Loss(e); ok && v.Origin != "recursion" {
			h.lost += v.Lost
		}
	}
}

func (h *hotplug) addProbe(v *model.Probe) {
	part := v.Name + "/" + v.Part
	switch {
	case v.Shed():
		h.shed = append(h.shed, part)
	case slices.Contains(h.shed, part):
		h.restored = append(h.restored, part)
	case part == "deferred/CPU 1":
		if h.states = append(h.states, v.State); v.State == model.ProbeOff {
			h.from = v.Time
		} else {
			h.to = v.Time
		}
	}
}

// recordHotplug records in the guest, and checks the recording.
func recordHotplug(t *testing.T) {
	const path = "/tmp/out.lostbeat"
	cmd := exec.Command("/lostbeat", "record", "-o", path, "--trace", "--max-cpu", "0.1%")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if info, err := os.Stat(path); err == nil && info.Size() > 4096 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the recorder does not start")
		}
	}
	stop := busyCPU(t, 1)
	for _, state := range []string{"0", "1"} {
		time.Sleep(6 * time.Second) // a step of the bound takes 10 s
		setOnline(t, state)
		time.Sleep(6 * time.Second)
	}
	stop()
	if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	r, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var h hotplug
	if err := r.Run(t.Context(), func(b *model.Batch) error { h.add(b); return nil }); err != nil {
		t.Fatal(err)
	}
	h.check(t)
}

func (h *hotplug) check(t *testing.T) {
	t.Helper()
	t.Logf("left out: %v; CPU 1: %v; its time is known: %v; in the kernel: %.4f to %.4f of a CPU", h.shed, h.states,
		h.present, slices.Min(h.kernel), slices.Max(h.kernel))
	want := []string{"deferred/full tracing", "interrupt/full tracing", "stack/requests"}
	if len(h.shed) < len(want) || !slices.Equal(h.shed[:len(want)], want) || len(h.restored) > 0 {
		t.Errorf("left out: %v, taken up again: %v", h.shed, h.restored)
	}
	if !slices.Equal(h.states, []model.ProbeState{model.ProbeOff, model.ProbeOn}) {
		t.Fatalf("CPU 1: %v", h.states)
	}
	changes := 0
	for i := range h.present[1:] {
		if h.present[i+1] != h.present[i] {
			changes++
		}
	}
	if !h.present[0] || !h.present[len(h.present)-1] || changes != 2 {
		t.Errorf("the second processor has a time in the intervals %v", h.present)
	}
	away, after := 0, 0
	for _, at := range h.hists {
		if at > h.from && at < h.to {
			away++
		} else if at > h.to {
			after++
		}
	}
	if away > 0 || after < 3 {
		t.Errorf("runs of the second processor in %d intervals while it is away, in %d after that", away, after)
	}
	if slices.Min(h.kernel) < 0 || slices.Max(h.kernel) > 2 || slices.Max(h.kernel) == 0 {
		t.Errorf("cost in the kernel: %v", h.kernel)
	}
	if h.lost > 0 {
		t.Errorf("%d events are lost", h.lost)
	}
}
