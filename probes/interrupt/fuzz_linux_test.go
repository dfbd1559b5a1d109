package interrupt

import (
	"testing"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzRecord decodes what the ringbuf could hold: an error, or an event in the form of its kind.
func FuzzRecord(f *testing.F) {
	fuzztest.Quick(f)
	seed := interruptRun{RunNs: 5, Action: 7, Irq: 24, Tid: 3, Result: 1}
	whole := ebpftest.Bytes(&seed)
	f.Add(whole)
	f.Add(whole[:17])
	process, sys := model.NewInterned("process"), f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b model.Builder
		a := &attached{
			env:   &ebpf.Env{InternedProcess: func(int32) *model.Interned { return &process }},
			names: names{sys: sys, lines: make(map[uint32]*line)},
		}
		_ = a.decode(ebpftest.Aligned(raw), &b)
		ebpftest.Formed(t, b.Take())
	})
}
