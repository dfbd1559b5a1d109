package etl

import (
	"bytes"
	"slices"
	"testing"

	"lostbeat/etw/etl/etltest"
	"lostbeat/model"
	"lostbeat/probes"
)

// TestSurveyEnds reads only the beginning and the end of a file in advance: the
// names of drivers stand at its end.
func TestSurveyEnds(t *testing.T) {
	data := etltest.DPCStorm(etltest.Options{BufferSize: 4096})
	f, err := New(bytes.NewReader(data), int64(len(data)), Options{Probes: probes.ETW})
	if err != nil {
		t.Fatal(err)
	}
	f.advance = 16 << 10
	seen := false
	err = f.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			v, ok := b.DeferredRun(&b.Events[i])
			seen = seen || ok
			if ok && v.Driver != "badnic.sys" {
				t.Errorf("%+v", v)
			}
		}
		return nil
	})
	if err != nil || !seen {
		t.Errorf("runs seen: %v, %v", seen, err)
	}
}

func TestEnds(t *testing.T) {
	var buffers []buffer
	for i := range 100 {
		buffers = append(buffers, buffer{offset: int64(i) * 10, size: 10, flushed: int64(100 - i)})
	}
	kept := ends(buffers, 200)
	if len(kept) != 20 || !slices.IsSortedFunc(kept, func(a, b buffer) int { return int(a.offset - b.offset) }) {
		t.Errorf("%d buffers kept", len(kept))
	}
	first, last := 0, 0
	for _, b := range kept {
		if b.flushed <= 5 {
			first++
		}
		if b.flushed > 85 {
			last++
		}
	}
	if first != 5 || last != 15 {
		t.Errorf("%d from the beginning, %d from the end", first, last)
	}
	if all := ends(buffers, 1<<40); len(all) != 100 {
		t.Errorf("%d of 100 buffers", len(all))
	}
}
