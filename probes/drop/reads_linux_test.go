package drop

import (
	"runtime"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/vmtest"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// allowsFexit tries a program that does nothing, and returns why the kernel refuses it.
func allowsFexit() error {
	program, err := cebpf.NewProgram(&cebpf.ProgramSpec{
		Type: cebpf.Tracing, AttachType: cebpf.AttachTraceFExit, AttachTo: "inet_recvmsg", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer program.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return err
	}
	return l.Close()
}

// TestReadsOfIPv4 has the programs that see the reads of IPv4 sockets where the kernel has no tracepoint and no IPv6.
func TestReadsOfIPv4(t *testing.T) {
	reads := []ebpf.Set{{Programs: []string{bpfProgDropRecv4}, Unseen: "IPv6 sockets are not seen"}}
	s := ebpftest.Start(t, ebpf.Options{}, &Probe{reads: reads})
	if err := allowsFexit(); err != nil && (!vmtest.Guest() || runtime.GOARCH != "amd64") {
		t.Skip("this kernel does not allow fexit: ", err)
	}
	var got model.Probe
	s.WaitFor(10*time.Second, "the state of reads", func(b *model.Batch, e *model.Event) bool {
		p, ok := b.Probe(e)
		got = p
		return ok && p.Part == partReads
	})
	if got.State != model.ProbeDegraded || got.Reason != reads[0].Unseen {
		t.Errorf("reads: %+v", got)
	}
}
