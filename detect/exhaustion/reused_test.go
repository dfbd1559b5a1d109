package exhaustion_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// TestReusedPorts has all ports towards one destination at rest and connections
// refused, until ports at rest are given out again, as with tcp_tw_reuse: that
// ends the fault, although as many rest as before. Without it the fault goes on.
func TestReusedPorts(t *testing.T) {
	const size = 64
	for _, reused := range []bool{false, true} {
		s := detecttest.New()
		s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 40000, 40000+size-1)
		dial := func(after time.Duration, port uint16) {
			k := detecttest.Dialer()
			k.LPort = port
			s.Rest(after+time.Millisecond, time.Minute, s.Acquire(after, k))
		}
		s.Seconds(35, func(i int) {
			s.Quiet()
			switch {
			case i == 0:
				for n := range uint16(size) {
					dial(time.Duration(n)*2*time.Millisecond, 40000+n)
				}
			case i < 10 || !reused:
				s.Fail(500*time.Millisecond, detecttest.Dialer(), 99, "EADDRNOTAVAIL")
			default:
				dial(500*time.Millisecond, 40000+uint16(i))
			}
		})
		detecttest.Check(t, s.Batch(), detecttest.Start, want{
			Detector: "port-exhaustion", Severity: model.SeverityCritical, Closed: reused,
			Contains: []string{"to 10.0.0.9", "in TIME_WAIT"},
		})
	}
}
