package port

import (
	"container/heap"

	"lostbeat/model"
)

// resting is a connection in TIME_WAIT.
type resting struct {
	tuple
	cookie uint64 // of the socket that it was; of the TIME_WAIT itself when it was found by a listing
	since  model.Time
	until  model.Time
	comm   string
	pid    int32
	index  int // in restQueue.queue
	// announced says that the stream knows of it.
	announced bool
}

// restQueue holds the connections at rest, the one that ends first in front.
type restQueue struct {
	queue restHeap
	known map[tuple]*resting
}

func newRestQueue() restQueue { return restQueue{known: make(map[tuple]*resting)} }

func (q *restQueue) len() int { return len(q.queue) }

// add adds r in place of what is known of the same connection.
func (q *restQueue) add(r *resting) {
	if old := q.known[r.tuple]; old != nil {
		heap.Remove(&q.queue, old.index)
	}
	q.known[r.tuple] = r
	heap.Push(&q.queue, r)
}

// remove removes a connection and returns it, nil when it does not rest.
func (q *restQueue) remove(key tuple) *resting {
	r := q.known[key]
	if r != nil {
		heap.Remove(&q.queue, r.index)
		delete(q.known, key)
	}
	return r
}

// next removes and returns a connection whose rest is over at time now, nil
// when there is none.
func (q *restQueue) next(now model.Time) *resting {
	if len(q.queue) == 0 || q.queue[0].until > now {
		return nil
	}
	return q.remove(q.queue[0].tuple)
}

// prolong sets the end of a rest.
func (q *restQueue) prolong(r *resting, until model.Time) {
	r.until = until
	heap.Fix(&q.queue, r.index)
}

// restHeap implements heap.Interface.
type restHeap []*resting

func (h restHeap) Len() int           { return len(h) }
func (h restHeap) Less(i, j int) bool { return h[i].until < h[j].until }

func (h restHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *restHeap) Push(x any) {
	r := x.(*resting)
	r.index = len(*h)
	*h = append(*h, r)
}

func (h *restHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}
