package deferred

import (
	"net"
	"runtime"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { vmtest.Main(m) }

// TestLongGuestPreemptRT counts run time on a PREEMPT_RT kernel, in a guest with one processor. It takes half a minute.
func TestLongGuestPreemptRT(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	t.Log(vmtest.Run(t, vmtest.Options{
		Kernel: "6.12", Flavour: "rt", Package: "lostbeat/probes/deferred", Tests: "TestPreempted|TestThreshold",
		Modules: []string{"veth"}, Timeout: 4 * time.Minute,
	}))
}

// For so long a thread of a higher priority takes the processor away at a time, out of each second.
const taken = 600 * time.Millisecond

// TestPreempted: a softirq whose thread loses the processor to another one has not run meanwhile.
func TestPreempted(t *testing.T) {
	if !vmtest.Guest() || !platform.PreemptRT() {
		t.Skip("runs in the guest of TestLongGuestPreemptRT: softirqs are not preempted on other kernels")
	}
	flood(t)
	s := ebpftest.Start(t, ebpf.Options{}, New())
	stop := make(chan struct{})
	used := make(chan time.Duration)
	go func() { used <- preempt(stop) }()
	s.Intervals(8)
	close(stop)
	hog := <-used
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var busy, wall, longest time.Duration
	var runs uint64
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if h, ok := b.DeferredHist(e); ok {
			busy, runs, longest = busy+h.Busy, runs+h.Count, max(longest, h.MaxRun)
		}
		if c, ok := b.CPUTime(e); ok {
			wall += c.Dur
		}
	})
	t.Logf("%d runs, busy for %v of %v, the longest %v; another thread had the processor for %v",
		runs, busy, wall, longest, hog)
	if hog < 3*taken || runs < 1000 || busy < wall/20 {
		t.Error("the thread of the higher priority met no softirq")
	}
	if longest >= taken/2 {
		t.Errorf("a run of %v contains the time of another thread", longest)
	}
	if busy > wall-hog+wall/10 {
		t.Errorf("softirqs ran for %v of %v, of which another thread had %v", busy, wall, hog)
	}
}

// preempt takes the processor again and again, and returns for how long it has had it.
func preempt(stop <-chan struct{}) time.Duration {
	runtime.LockOSThread() // never unlocked: the thread ends with its priority
	parameters := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}
	if err := unix.SchedSetAttr(0, parameters, 0); err != nil {
		panic(err)
	}
	for {
		select {
		case <-stop:
			var used unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
				panic(err)
			}
			return time.Duration(used.Nano())
		default:
		}
		for began := time.Now(); time.Since(began) < taken; {
		}
		pause := unix.NsecToTimespec(int64(time.Second - taken))
		_ = unix.Nanosleep(&pause, nil) // cut short, it begins sooner
	}
}

// flood sends packets over a veth pair whose ends poll (NAPI) in softirqs, until the test ends.
func flood(t *testing.T) {
	t.Helper()
	near := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
	if err := netlink.LinkAdd(near); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"far", "near"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	link, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr("192.0.2.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	if err := netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(192, 0, 2, 2),
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2},
	}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp4", "192.0.2.2:9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		payload := make([]byte, 64)
		for {
			if _, err := c.Write(payload); err != nil {
				return // it is closed
			}
		}
	}()
}
