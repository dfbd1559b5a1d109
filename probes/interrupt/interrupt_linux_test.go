package interrupt

import (
	"testing"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"
)

func TestSmoke(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{Trace: true}, New())
	s.Intervals(2)
	n := map[model.Kind]int{}
	shown := 0
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		n[e.Kind]++
		if p, ok := b.Probe(e); ok {
			t.Logf("%+v", p)
		}
		if p, ok := b.InterruptHist(e); ok && shown < 10 {
			shown++
			t.Logf("%+v %v", p, p.RunHist)
		}
		if p, ok := b.InterruptRun(e); ok && n[e.Kind] < 10 {
			t.Logf("%+v", p)
		}
	})
	t.Log(n)
}
