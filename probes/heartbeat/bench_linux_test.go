package heartbeat

import (
	"net"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes/drop"
)

// BenchmarkPrograms is what the programs take for one datagram over the loopback device that is sent and read, with the
// drop probe beside it as usual: of a host that follows nothing, of one that follows another port, of a followed one.
func BenchmarkPrograms(b *testing.B) {
	testutil.Privileged(b)
	for _, tt := range []struct {
		name     string
		follow   int // what is added to the port; -1 follows nothing
		followed bool
		probes   []ebpf.Probe
	}{
		{"nothing followed", -1, false, []ebpf.Probe{drop.New(), New()}},
		{"another port", 1, false, []ebpf.Probe{drop.New(), New()}},
		{"another port, without the drop probe", 1, false, []ebpf.Probe{New()}},
		{"followed", 0, true, []ebpf.Probe{drop.New(), New()}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			defer in.Close()
			port := in.LocalAddr().(*net.UDPAddr).Port
			out, err := net.Dial("udp4", in.LocalAddr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer out.Close()
			options := ebpf.Options{HeartbeatRoot: true} // this process may be in the root control group
			if tt.follow >= 0 {
				options.Heartbeats = []ebpf.Heartbeat{{Protocol: model.ProtocolUDP, Port: uint16(port + tt.follow)}}
			}
			costs := ebpftest.Costs(b, "")
			s := ebpftest.Start(b, options, tt.probes...)
			if tt.followed {
				s.Intervals(3) // the sockets are found
			}
			buffer := make([]byte, 64)
			for b.Loop() {
				if _, err := out.Write(buffer); err != nil {
					b.Fatal(err)
				}
				if _, err := in.Read(buffer); err != nil {
					b.Fatal(err)
				}
				if tt.followed {
					time.Sleep(100 * time.Microsecond) // no more than are recorded
				}
			}
			for name, cost := range costs() {
				switch name {
				case "drop_recv", "hb_read", "hb_ingress", "hb_egress":
					if cost.Runs > 0 {
						b.ReportMetric(float64(cost.Time)/float64(cost.Runs), name+"-ns/run")
					}
				}
			}
		})
	}
}
