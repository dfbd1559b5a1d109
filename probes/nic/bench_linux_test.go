package nic

import (
	"fmt"
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
// network namespaces with a veth pair between each two.
func BenchmarkCollect(b *testing.B) {
	testutil.Privileged(b)
	for _, pairs := range []int{0, 10, 50} {
		b.Run(fmt.Sprintf("namespaces=%d", 2*pairs), func(b *testing.B) {
			for range pairs {
				testutil.VethPair(b)
			}
			var h held
			ebpftest.Start(b, ebpf.Options{}, &h)
			now := model.Time(time.Second)
			for b.Loop() {
				var builder model.Builder
				h.running.othersDue = time.Time{}
				now += model.Time(time.Second)
				if err := h.running.Collect(now, time.Second, &builder); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
