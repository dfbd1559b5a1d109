package hostile

import (
	"math/rand/v2"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// Whatever the edits, every event has the form of its kind; that the stream contradicts itself is wanted.
func TestStream(t *testing.T) {
	base := detecttest.Hosts()
	random := rand.New(rand.NewPCG(1, 2))
	kinds := make(map[model.Kind]bool)
	for i := range model.Specs {
		for _, b := range Stream([]byte{0, editNew, 0, 0, byte(i)}, base...) {
			for j := range b.Events {
				kinds[b.Events[j].Kind] = true
			}
		}
	}
	for range 300 {
		data := make([]byte, 1+editSize*random.IntN(60))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		for _, b := range Stream(data, base...) {
			v := model.Validator{Partial: true}
			if err := v.Check(&model.Batch{
				Events: []model.Event{b.Events[0]}, Strings: b.Strings, Stacks: b.Stacks, Hists: b.Hists, Findings: b.Findings,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range model.Specs {
		if !kinds[model.Specs[i].Kind] {
			t.Errorf("no stream has %s", model.Specs[i].Name)
		}
	}
}
