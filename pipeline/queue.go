package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"

	"lostbeat/model"
)

// queue carries batches from the source to the writer, bounded in events. A
// live queue drops what does not fit and reports it by a loss event in front
// of the next batch that does.
type queue struct {
	batches chan *model.Batch
	live    bool
	limit   int
	room    chan struct{} // tells a waiting source that something was taken

	mu      sync.Mutex
	events  int
	dropped loss
	total   uint64
}

// loss is what was dropped since the last report.
type loss struct {
	events      uint64
	first, last model.Time
}

func newQueue(opts Options) *queue {
	limit := opts.QueueEvents
	if limit == 0 {
		limit = defaultQueueEvents
	}
	return &queue{
		batches: make(chan *model.Batch, queueBatches),
		live:    opts.Live,
		limit:   limit,
		room:    make(chan struct{}, 1),
	}
}

// put queues b. When it does not fit, a live queue drops it and any other waits
// until it does or ctx is done.
func (q *queue) put(ctx context.Context, b *model.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	for {
		if errors.Is(context.Cause(ctx), errStopped) {
			return errStopped
		}
		if q.offer(b) {
			return nil
		}
		if q.live {
			q.drop(b)
			return nil
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// offer queues b, and before it a report of what was dropped, if there is room.
// One place is left for the report that close makes.
func (q *queue) offer(b *model.Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.events > 0 && q.events+len(b.Events) > q.limit || len(q.batches) > cap(q.batches)-3 {
		return false
	}
	q.report()
	q.events += len(b.Events)
	q.batches <- b
	return true
}

// report queues a loss event; the caller has seen to it that there is room.
func (q *queue) report() {
	if q.dropped.events == 0 {
		return
	}
	var report model.Builder
	report.AddLoss(
		model.Loss{
			Time:   q.dropped.last,
			Dur:    time.Duration(q.dropped.last - q.dropped.first),
			CPU:    -1,
			Lost:   q.dropped.events,
			Origin: "queue",
			Detail: "the outputs are slower than the host",
		},
	)
	q.dropped = loss{}
	q.events++
	q.batches <- report.Take()
}

func (q *queue) drop(b *model.Batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dropped.events == 0 {
		q.dropped.first = b.Events[0].Time
	}
	q.dropped.events += uint64(len(b.Events))
	q.dropped.last = b.Events[len(b.Events)-1].Time
	q.total += uint64(len(b.Events))
	b.Release()
}

// taken says that the writer has taken n events.
func (q *queue) taken(n int) {
	q.mu.Lock()
	q.events -= n
	q.mu.Unlock()
	select {
	case q.room <- struct{}{}:
	default:
	}
}

// close reports what was dropped last and ends the queue.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.report()
	close(q.batches)
}

func (q *queue) droppedTotal() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}
