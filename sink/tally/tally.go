// Package tally counts what goes by, for a line of progress.
package tally

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"lostbeat/model"
	"lostbeat/pipeline"
)

// Tally is a sink that counts. Its methods may be called from any goroutine.
type Tally struct {
	mu    sync.Mutex
	count uint64
	loss  uint64
	ids   map[string]bool
	// proposed are the flows that look like heartbeats and were not followed, by socket.
	proposed map[uint64]model.Flow
}

// Write implements pipeline.Sink.
func (t *Tally) Write(b *model.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += uint64(len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		switch e.Kind { // for millions of others a view of the wrong kind costs too
		case model.KindLoss:
			if v, _ := b.Loss(e); v.Origin != pipeline.OriginOutput { // that one is of this line alone
				t.loss += v.Lost
			}
		case model.KindFlow:
			v, _ := b.Flow(e)
			if t.proposed == nil {
				t.proposed = map[uint64]model.Flow{}
			}
			if v.State == model.FlowProposed && len(t.proposed) < 256 {
				t.proposed[v.Cookie] = v
			} else if v.State != model.FlowEnded {
				delete(t.proposed, v.Cookie)
			}
		case model.KindFinding:
			if t.ids == nil {
				t.ids = map[string]bool{}
			}
			f, _ := b.Finding(e)
			t.ids[f.ID] = true
		}
	}
	return nil
}

// Events is the number of events so far.
func (t *Tally) Events() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// Lost is the number of events that nobody has seen.
func (t *Tally) Lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loss
}

// Findings is the number of findings so far.
func (t *Tally) Findings() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ids)
}

// Proposed are the flows that look like heartbeats and are not followed, by port.
func (t *Tally) Proposed() []model.Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.proposed), func(a, b model.Flow) int {
		return cmp.Or(
			cmp.Compare(a.ServicePort(), b.ServicePort()), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Cookie, b.Cookie),
		)
	})
}
