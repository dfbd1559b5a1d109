package drop

import (
	"fmt"
	"net"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// held is the probe as the engine runs it, but collected by the benchmark.
type held struct {
	Probe
	running *attached
}

func (h *held) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	a, err := h.Probe.Attach(env)
	if err != nil {
		return nil, err
	}
	h.running = a.(*attached)
	return idle{a}, nil
}

// idle collects nothing.
type idle struct{ ebpf.Attached }

func (idle) Collect(model.Time, time.Duration, *model.Builder) error { return nil }

// BenchmarkCollect is what an interval costs in user space, by the number of
// open UDP sockets, all of whose queues are looked at.
func BenchmarkCollect(b *testing.B) {
	testutil.Privileged(b)
	for _, open := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("sockets=%d", open), func(b *testing.B) {
			n := testutil.NewNetns(b)
			n.Do(b, func() error {
				for range open {
					c, err := net.ListenPacket("udp4", "127.0.0.1:0")
					if err != nil {
						return err
					}
					b.Cleanup(func() { c.Close() })
				}
				return nil
			})
			var h held
			ebpftest.Start(b, ebpf.Options{}, &h)
			now := model.Time(time.Second)
			for b.Loop() {
				var builder model.Builder
				h.running.sockets.walked = time.Time{}
				now += model.Time(time.Second)
				if err := h.running.Collect(now, time.Second, &builder); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
