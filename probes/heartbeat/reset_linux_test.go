package heartbeat

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// A connection that its peer resets is told, unless it had been closed before.
func TestReset(t *testing.T) {
	testutil.Privileged(t)
	for name, tt := range map[string]struct {
		end  func(*net.TCPConn) error
		want int
	}{
		"reset":         {func(c *net.TCPConn) error { return c.Close() }, 1},
		"closed before": {func(c *net.TCPConn) error { return errors.Join(c.CloseWrite(), c.Close()) }, 0},
		"open":          {func(*net.TCPConn) error { return nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := reader(t, true, "tcp4", "10", "0s")
			s := follow(t, model.ProtocolTCP, c.Port)
			conn := c.dial(t, "tcp4").(*net.TCPConn)
			s.WaitFor(time.Minute, "flow", func(b *model.Batch, e *model.Event) bool {
				v, ok := b.Flow(e)
				return ok && int(v.LocalPort) == c.Port && v.RemotePort != 0
			})
			for i := range 5 {
				var read taken
				if _, err := fmt.Fprintf(conn, "heartbeat %d", i); err != nil {
					t.Fatal(err)
				}
				if err := c.lines.Decode(&read); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(conn.SetLinger(0), tt.end(conn)); err != nil {
				t.Fatal(err)
			}
			s.Intervals(2)
			batches := s.Stop()
			resets := 0
			ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
				v, ok := b.FlowStall(e)
				if !ok || v.What != model.StallReset {
					return
				}
				resets++
				if int(v.LocalPort) != c.Port || v.RemoteAddr != "127.0.0.1" || v.Cookie != connection(batches, c.Port) ||
					v.Ongoing || int(v.RemotePort) != conn.LocalAddr().(*net.TCPAddr).Port {
					t.Errorf("%+v", v)
				}
			})
			if resets != tt.want {
				t.Errorf("%d resets, want %d", resets, tt.want)
			}
		})
	}
}
