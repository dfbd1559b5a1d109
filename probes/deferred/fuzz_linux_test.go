package deferred

import (
	"testing"

	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzRecord decodes what the ringbuf could hold: an error, or an event in the form of its kind.
func FuzzRecord(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(record(run(1, 42, 9, 3, 5, 3), ""))
	f.Add(record(run(0, 16, 9, 3, 5, 7), "ksoftirqd/0"))
	f.Add(record(run(1, 0, 9, 3, 0, 1), "")[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b model.Builder
		a := decoder()
		_ = a.decode(ebpftest.Aligned(raw), &b)
		_ = a.decode(ebpftest.Aligned(raw), &b)
		ebpftest.Formed(t, b.Take())
	})
}
