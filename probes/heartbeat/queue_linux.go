package heartbeat

import (
	"time"

	"lostbeat/model"
)

const (
	// unknownLeft is LB_UNKNOWN of follow.h.
	unknownLeft = ^uint32(0)
	// maxQueued bounds the packets of a socket that wait to be read.
	maxQueued = 4096
	// inFlight is how long a packet may be on its way from the filter of its socket into the queue.
	inFlight = time.Millisecond
)

// arrival is a packet that has reached its socket.
type arrival struct {
	at     model.Time
	stack  time.Duration
	remote string
	port   uint16
	size   uint32
	endSeq uint32
}

// queue is what waits in a socket to be read, in order.
type queue struct {
	waiting []arrival
	out     []arrival
}

// arrived takes a packet up; of too many, the oldest is given up.
func (q *queue) arrived(p arrival) {
	if len(q.waiting) >= maxQueued {
		q.waiting = q.waiting[1:]
	}
	q.waiting = append(q.waiting, p)
}

// ordered puts the segment that came last in its place of the stream.
func (q *queue) ordered() {
	for i := len(q.waiting) - 1; i > 0 && int32(q.waiting[i].endSeq-q.waiting[i-1].endSeq) < 0; i-- {
		q.waiting[i], q.waiting[i-1] = q.waiting[i-1], q.waiting[i]
	}
}

// readable says that what waits could not be read before at: a segment was missing.
func (q *queue) readable(at model.Time) {
	for i := range q.waiting {
		q.waiting[i].at = max(q.waiting[i].at, at)
	}
}

// refused takes back the packet that came last: the queue was full.
func (q *queue) refused() {
	if n := len(q.waiting); n > 0 {
		q.waiting = q.waiting[:n-1]
	}
}

// read returns the packets that a read has taken out: for a stream those whose
// last byte it took, and otherwise one, the zero arrival at time at where it is
// not known. What it returns is valid until the next call.
func (q *queue) read(at model.Time, r *heartbeatLbRead) []arrival {
	q.out = q.out[:0]
	if r.Protocol == protocolTCP {
		for len(q.waiting) > 0 && int32(q.waiting[0].endSeq-r.ReadSeq) <= 0 {
			q.out = append(q.out, q.waiting[0])
			q.waiting = q.waiting[1:]
		}
		return q.out
	}
	if len(q.waiting) == 0 {
		return q.out
	}
	q.out = append(q.out, q.waiting[0])
	q.waiting = q.waiting[1:]
	if r.Left == 0 {
		// Nothing waits: what is left here did not get into the queue, or is on its way.
		for len(q.waiting) > 0 && at.Sub(q.waiting[0].at) > inFlight {
			q.waiting = q.waiting[1:]
		}
	}
	return q.out
}
