package fold

import (
	"testing"

	"lostbeat/model"
)

// A flow is proposed until it is followed, or its socket is closed; what is proposed is not followed.
func TestProposals(t *testing.T) {
	flow := func(cookie uint64, state model.FlowState) model.Flow {
		return model.Flow{
			Time: 1, PID: 7, TID: -1, NetnsInode: 1, Cookie: cookie, Protocol: model.ProtocolUDP, LocalPort: 7000,
			State: state, Process: "hbd",
		}
	}
	w := New(Options{})
	apply := func(flows ...model.Flow) {
		var b model.Builder
		for _, f := range flows {
			b.AddFlow(f)
		}
		batch := b.Take()
		for i := range batch.Events {
			w.Apply(batch, &batch.Events[i])
		}
	}
	apply(flow(1, model.FlowProposed), flow(2, model.FlowProposed), flow(1, model.FlowProposed))
	if got := w.proposed(); len(got) != 2 || len(w.follows) != 0 {
		t.Fatalf("proposed %+v, followed %d", got, len(w.follows))
	}
	apply(flow(1, model.FlowFollowed), flow(2, model.FlowEnded))
	if got := w.proposed(); len(got) != 0 || len(w.follows) != 1 {
		t.Errorf("proposed %+v, followed %d", got, len(w.follows))
	}
	for i := range uint64(maxProposals + 10) {
		apply(flow(100+i, model.FlowProposed))
	}
	if got := w.proposed(); len(got) != maxProposals {
		t.Errorf("%d proposed", len(got))
	}
}
