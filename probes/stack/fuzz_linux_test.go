package stack

import (
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzRecord decodes what the ringbuf could hold, many samples one after the other.
func FuzzRecord(f *testing.F) {
	fuzztest.Quick(f)
	seed := stackSample{Tid: 3, Bytes: 16}
	seed.Frames[0], seed.Frames[1] = 0xffffffff81000000, 0xffffffff81000100
	whole := ebpftest.Bytes(&seed)
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b model.Builder
		a := &attached{online: func() ([]int, error) { return nil, nil }, env: &ebpf.Env{
			NamedProcess: func(_ int32, comm string) string { return comm },
			Symbol: func(addr uint64) string {
				return []string{"", "net_rx_action", "__do_softirq", "common_interrupt"}[addr%4]
			},
		}}
		for range 3 {
			if a.decode(ebpftest.Aligned(raw), &b) != nil {
				return
			}
		}
		if err := a.Collect(model.Time(time.Hour), time.Second, &b); err != nil {
			t.Fatal(err)
		}
		ebpftest.Formed(t, b.Take())
	})
}
