package leak_test

import (
	"fmt"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestKernelTakesReservedPorts has a host that mounts and mounts: nobody can be
// restarted, and there is no stack of a program to look for.
func TestKernelTakesReservedPorts(t *testing.T) {
	s := detecttest.Ports()
	s.Pool("sunrpc", model.ProtocolTCP, model.PoolReserved, 665, 1023)
	port := uint16(1023)
	k := detecttest.Socket{Protocol: model.ProtocolTCP, How: model.HowKernel, Local: "10.0.0.1", RPort: 2049}
	s.Seconds(100, func(int) {
		for i := 0; i < 5 && port >= 665; i++ {
			k.LPort, k.Remote = port, fmt.Sprintf("10.0.%d.%d", port/200, port%200+1)
			s.Acquire(time.Duration(i+1)*time.Second/10, k)
			port--
		}
	})
	detecttest.Check(t, s.Batch(), detecttest.Start, want{
		Detector: "port-leak", Severity: model.SeverityCritical, Within: 75 * time.Second,
		Contains: []string{
			"the kernel took 359 connection ports of pool sunrpc",
			"in-kernel sockets (NFS, SunRPC, tunnels)", "noresvport",
		},
		Lacks: []string{"Restart", "--stacks"},
	})
}
