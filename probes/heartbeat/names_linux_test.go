package heartbeat

import (
	"fmt"
	"net"
	"testing"
	"time"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes/drop"
)

// Of packets that are dropped at a full queue it is told which followed flow they were of, to the packet: of a flow
// that is known, and of another port of its peer. Of another address nothing is told: the sockets of this process are
// followed as well, and what arrives there is not seen, as they are in the root control group.
func TestDropsByFlow(t *testing.T) {
	testutil.Privileged(t)
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			const known, each = 3, 3
			c := reader(t, true, network, fmt.Sprint(known*each), "1h")
			s := follow(t, model.ProtocolUDP, c.Port, drop.New(), New())
			s.WaitFor(time.Minute, "flow", func(b *model.Batch, e *model.Event) bool {
				v, ok := b.Flow(e)
				return ok && int(v.LocalPort) == c.Port
			})
			write := func(conn net.Conn, n int, size int) {
				for i := range n {
					if _, err := fmt.Fprintf(conn, "heartbeat %d%*s", i, size, ""); err != nil {
						t.Fatal(err)
					}
				}
			}
			var peers []net.Conn
			for range known {
				peers = append(peers, c.dial(t, network))
			}
			for i := range known * each {
				write(peers[i%known], 1, 0)
				var one taken
				if err := c.lines.Decode(&one); err != nil {
					t.Fatal(err)
				}
			}
			s.Intervals(2) // until the flows have their names
			write(peers[2], 2000, 1000)
			write(peers[2], 500, 0) // until there is no room for small ones either
			write(peers[0], 7, 0)
			write(peers[1], 5, 0)
			write(c.dial(t, network), 3, 0)
			unknown := uint64(0)
			want := map[string]uint64{portOf(peers[0]): 7, portOf(peers[1]): 5, "0": 3}
			if network == "udp4" {
				other, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, &net.UDPAddr{
					IP: net.IPv4(127, 0, 0, 1), Port: c.Port,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				write(other, 4, 0)
				unknown = 4
			}
			write(peers[2], 1, 0) // before Linux 6.11, a drop may be counted with the next one only
			s.Intervals(2)
			batches := s.Stop()
			if err := model.Validate(batches...); err != nil {
				t.Error(err)
			}
			got, all, flows := make(map[string]uint64), uint64(0), uint64(0)
			ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
				if v, ok := b.Drop(e); ok && int(v.LocalPort) == c.Port {
					all += v.Count
				}
				v, ok := b.FlowDrop(e)
				if !ok || int(v.LocalPort) != c.Port {
					return
				}
				flows += v.Count
				switch {
				case v.Direction != model.DirectionRX || v.Place != model.PlaceSocket:
					t.Errorf("%+v", v)
				case v.Cookie == c.Cookie && (v.RemoteAddr == "127.0.0.1" || v.RemoteAddr == "::1"):
					got[fmt.Sprint(v.RemotePort)] += v.Count
				default:
					t.Errorf("%+v", v)
				}
			})
			for port, n := range want {
				if got[port] != n {
					t.Errorf("%d packets of %s, want %d; all are %v", got[port], port, n, got)
				}
			}
			if filled := got[portOf(peers[2])]; filled == 0 || filled >= 2501 || flows+unknown != all {
				t.Errorf("%d packets of the flow that filled the queue; %d in flows of %d that were dropped", filled, flows, all)
			}
		})
	}
}

func portOf(c net.Conn) string {
	return fmt.Sprint(c.LocalAddr().(*net.UDPAddr).Port)
}
