package port

import (
	"runtime"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
)

// TestUsesOfIPv4 watches the uses of IPv4 sockets where the kernel has no tracepoint and no IPv6.
func TestUsesOfIPv4(t *testing.T) {
	uses := []ebpf.Set{
		{Programs: []string{"port_use_of_no_kernel"}},
		{Programs: []string{bpfProgPortUseReceive4, bpfProgPortUseSend4}, Unseen: "IPv6 sockets are not seen"},
	}
	s := ebpftest.Start(t, ebpf.Options{}, Probe{uses: uses})
	var functions, activity model.Probe
	s.WaitFor(10*time.Second, "the state of uses", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		if ok && p.Part == "functions" {
			functions = p
		}
		activity = p
		return ok && p.Part == "activity"
	})
	if functions.State == model.ProbeOff && (!vmtest.Guest() || runtime.GOARCH != "amd64") {
		t.Skip("this kernel does not allow fexit: ", functions.Reason)
	}
	if activity.State != model.ProbeDegraded || activity.Reason != uses[1].Unseen {
		t.Errorf("uses: %+v", activity)
	}
}
