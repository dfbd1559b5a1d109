package ebpf

import (
	"sync/atomic"

	"lostbeat/model"
)

const (
	// maxWaiting is how many requests wait for the engine's goroutine, which
	// takes them at least ten times a second.
	maxWaiting = 256
	// requestKinds bounds model.RequestKind.
	requestKinds = 5
)

// inbox hands requests from any goroutine to the engine's.
type inbox struct {
	waiting chan model.Request
	// missed counts, by kind, the requests for which there was no room.
	missed [requestKinds]atomic.Uint64
}

func newInbox() *inbox { return &inbox{waiting: make(chan model.Request, maxWaiting)} }

// put never blocks. A request of a kind that this version does not know is left
// out.
func (i *inbox) put(r model.Request) {
	if int(r.Kind) >= requestKinds {
		return
	}
	select {
	case i.waiting <- r:
	default:
		i.missed[r.Kind].Add(1)
	}
}
