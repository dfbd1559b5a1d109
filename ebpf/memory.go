package ebpf

import (
	"sync"
	"sync/atomic"

	"lostbeat/model"
)

// memory is the room that events take on their way: what the receivers of
// batches have released holds later events. Without that, 3 million events per
// second are 360 MB of garbage, and most of what they cost is the kernel's work
// of giving and taking that.
type memory struct {
	free sync.Pool // of *[]model.Event
}

// provide gives an empty builder memory that is free.
func (m *memory) provide(b *model.Builder) {
	if free, ok := m.free.Get().(*[]model.Event); ok {
		b.Reuse(*free)
	}
}

// lease returns a first share of the memory that events are in.
func (m *memory) lease(events []model.Event) *lease {
	l := &lease{memory: m, events: events}
	l.shares.Store(1)
	return l
}

// lease is memory that holds events until its last share has ended.
type lease struct {
	memory *memory
	events []model.Event
	shares atomic.Int32
}

// share makes b, whose events are in the memory, a share that its release ends.
func (l *lease) share(b *model.Batch) {
	l.shares.Add(1)
	b.OnRelease(l.end)
}

// end ends a share.
func (l *lease) end() {
	if l.shares.Add(-1) == 0 {
		l.memory.free.Put(&l.events)
	}
}
