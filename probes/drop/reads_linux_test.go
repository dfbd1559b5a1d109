package drop

import (
	"runtime"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
)

// TestReadsOfIPv4 sees the reads of IPv4 sockets where the kernel has no tracepoint and no IPv6.
func TestReadsOfIPv4(t *testing.T) {
	reads := []ebpf.Set{
		{Programs: []string{"drop_recv_of_no_kernel"}},
		{Programs: []string{bpfProgDropRecv4}, Unseen: "IPv6 sockets are not seen"},
	}
	s := ebpftest.Start(t, ebpf.Options{}, &Probe{reads: reads})
	var got model.Probe
	s.WaitFor(10*time.Second, "the state of reads", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		got = p
		return ok && p.Part == partReads
	})
	if got.State == model.ProbeOff && (!vmtest.Guest() || runtime.GOARCH != "amd64") {
		t.Skip("this kernel does not allow fexit: ", got.Reason)
	}
	if got.State != model.ProbeDegraded || got.Reason != reads[1].Unseen {
		t.Errorf("reads: %+v", got)
	}
}
