package port

import (
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
)

// TestLongGuestFunctions runs the scenarios on a kernel that allows fentry, where the
// functions that take and give back ports are watched themselves.
func TestLongGuestFunctions(t *testing.T) {
	testutil.Privileged(t) // it is slow, and belongs to the tests that are
	if vmtest.Guest() {
		t.Skip("this is the guest")
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		for name, tests := range map[string]string{
			"scenarios": "TestScenarios$|TestScenariosWithoutFunctions|TestLeak|TestLongKernelSocket|TestLongActivity|" +
				"TestUsesOfIPv4",
			"attempts": "TestScenariosBySystemCalls|TestSilent|TestStacks|TestURing",
		} {
			t.Run(kernel+"/"+name, func(t *testing.T) {
				vmtest.Nightly(t, kernel)
				out := vmtest.Run(t, vmtest.Options{
					Kernel: kernel, Package: "lostbeat/probes/port", Tests: tests, Timeout: 5 * time.Minute,
					Modules: []string{"inet_diag", "tcp_diag", "udp_diag", "udp_tunnel", "ip6_udp_tunnel", "vxlan"},
				})
				parts := []string{"listing: on", "functions: on", "failures: on", "attempts: on", "activity: on"}
				if name == "attempts" {
					parts = []string{"listing: on", "failures: degraded"}
				}
				for _, part := range parts {
					if !strings.Contains(out, part) {
						t.Errorf("the guest does not say %q:\n%s", part, out)
					}
				}
			})
		}
	}
}

// TestLongKernelSocket has the kernel open a socket of its own, for a tunnel. With
// the functions its close is seen; without, the audit finds it.
func TestLongKernelSocket(t *testing.T) {
	functions := false
	s := ebpftest.Start(t, ebpf.Options{AuditInterval: time.Second}, New())
	s.WaitFor(patience, "status", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		functions = functions || ok && p.Part == "functions" && p.State == model.ProbeOn
		return ok && p.Part == "listing"
	})
	w := newWork(t)
	w.namespace(40000, 40100, func() {
		tunnel := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "lbvx0", MTU: 1400}, VxlanId: 5, Port: 8472}
		if err := netlink.LinkAdd(tunnel); err != nil {
			t.Skipf("this kernel has no tunnels: %v", err)
		}
		w.check("start the tunnel", netlink.LinkSetUp(tunnel))
		w.check("delete the tunnel", netlink.LinkDel(tunnel))
	})
	var cookie uint64
	s.WaitFor(patience, "acquisition by the kernel", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortAcquire(e)
		if ok && v.LocalPort == 8472 && v.How == model.HowKernel {
			cookie = v.Cookie
		}
		return cookie != 0
	})
	want := model.HowAudit
	if functions {
		want = model.HowClose
	}
	s.WaitFor(patience, "release by the kernel", func(b *model.Batch, e *model.Event) bool {
		v, ok := b.PortRelease(e)
		return ok && v.Cookie == cookie && v.How == want
	})
}
