package source

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"lostbeat/model"
)

const (
	// maxHeld bounds the events that a live merge holds back: beyond it the
	// oldest go on before their window is over, so that a burst costs order, which is
	// counted, and not memory.
	maxHeld = 1 << 16
	// copyBelow is the length below which a run of events is copied into a
	// common batch; longer runs go on as a slice of their own batch.
	copyBelow = 64
	// fullBatch is the size at which copied runs are handed on.
	fullBatch = 2048
	// originSource is the origin of loss events for sources that failed.
	originSource = "source"
)

// Merge returns the events of several sources as one stream in time order.
//
// A window above 0 is for live sources: an event is held back until every
// source has come past its time, but never longer than the window, measured both
// in event time and by the clock, so that an idle source does not stop the rest.
// An event that comes later than that is handed on as it arrives and is
// counted in a loss event whose origin is [model.OriginLate].
//
// A window of 0 is for recordings: every source is waited for, the order is
// exact and does not depend on the speed of the sources.
//
// A source that fails ends alone: a loss event says so, the others go on, and
// Run returns its error when all have ended.
func Merge(window time.Duration, sources ...Source) Source {
	if len(sources) == 1 {
		return sources[0]
	}
	return &merge{window: window, sources: sources}
}

type merge struct {
	window  time.Duration
	sources []Source
}

// arrival is what a source's goroutine hands to the merge.
type arrival struct {
	source int
	// batch is nil when the source has ended, with err.
	batch *model.Batch
	err   error
}

// Run implements Source.
func (m *merge) Run(ctx context.Context, emit Emit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	// A source whose ctx is done still hands over what was under way; gone says
	// that nobody takes it any more.
	gone := make(chan struct{})
	defer close(gone)
	defer cancel()

	feeds := make([]chan arrival, len(m.sources))
	all := make(chan arrival)
	for i, s := range m.sources {
		feeds[i] = all
		if m.window <= 0 {
			feeds[i] = make(chan arrival, 1)
		}
		wg.Go(func() {
			err := s.Run(ctx, func(b *model.Batch) error {
				if b == nil || len(b.Events) == 0 {
					return nil
				}
				select {
				case feeds[i] <- arrival{source: i, batch: b}:
					return nil
				case <-gone:
					return context.Canceled
				}
			})
			select {
			case feeds[i] <- arrival{source: i, err: err}:
			case <-gone:
			}
		})
	}
	q := &queue{emit: emit}
	var err error
	if m.window <= 0 {
		err = q.runOrdered(feeds)
	} else {
		err = q.runLive(all, len(m.sources), m.window)
	}
	return errors.Join(append([]error{err}, q.failures...)...)
}

// runOrdered merges with exactly one batch of each source at hand.
func (q *queue) runOrdered(feeds []chan arrival) error {
	waiting := make([]int, len(feeds))
	for i := range feeds {
		waiting[i] = i
	}
	for {
		for _, i := range waiting {
			if a := <-feeds[i]; a.batch != nil {
				q.push(a)
			} else if err := q.ended(a); err != nil {
				return err
			}
		}
		if len(q.cursors) == 0 {
			return q.finish()
		}
		// Up to the end of the batch that ends first, nothing is missing.
		limit := q.cursors[0].last()
		for _, c := range q.cursors {
			limit = min(limit, c.last())
		}
		waiting = waiting[:0]
		if err := q.advance(limit, func(c *cursor) { waiting = append(waiting, c.source) }); err != nil {
			return err
		}
		slices.Sort(waiting)
	}
}

// runLive merges what arrives with a bounded delay.
func (q *queue) runLive(all <-chan arrival, sources int, window time.Duration) error {
	var (
		reached = make([]model.Time, sources) // the newest event of each source
		open    = make([]bool, sources)
		running = sources
		newest  model.Time
		pending []deadline
		timer   = time.NewTimer(window)
	)
	defer timer.Stop()
	for i := range open {
		open[i] = true
	}
	for running > 0 {
		var limit model.Time
		select {
		case a := <-all:
			if a.batch == nil {
				open[a.source] = false
				running--
				if err := q.ended(a); err != nil {
					return err
				}
			} else {
				q.push(a)
				last := a.batch.Events[len(a.batch.Events)-1].Time
				reached[a.source] = max(reached[a.source], last)
				newest = max(newest, last)
				if pending = append(pending, deadline{time.Now().Add(window), last}); len(pending) == 1 {
					timer.Reset(window)
				}
			}
			limit = newest
			for i, t := range reached {
				if open[i] {
					limit = min(limit, t)
				}
			}
			limit = max(limit, newest.Add(-window))
		case now := <-timer.C:
			for len(pending) > 0 && !pending[0].at.After(now) {
				limit = max(limit, pending[0].last)
				pending = pending[1:]
			}
		}
		for held := q.held; held > maxHeld && len(pending) > 0; held = q.heldAfter(limit) {
			limit = max(limit, pending[0].last)
			pending = pending[1:]
		}
		if err := q.advance(limit, nil); err != nil {
			return err
		}
		if err := q.flush(); err != nil {
			return err
		}
		for len(pending) > 0 && pending[0].last <= limit {
			pending = pending[1:]
		}
		if len(pending) > 0 {
			timer.Reset(time.Until(pending[0].at))
		}
	}
	return q.finish()
}

// deadline says by when the events up to last have to be handed on.
type deadline struct {
	at   time.Time
	last model.Time
}

// cursor is what is left of a batch that has arrived.
type cursor struct {
	batch  *model.Batch
	next   int
	source int
	seq    uint64
	remap  remap
}

func (c *cursor) time() model.Time { return c.batch.Events[c.next].Time }
func (c *cursor) last() model.Time { return c.batch.Events[len(c.batch.Events)-1].Time }

// order compares what two cursors hand on next: by time, then by source, then by arrival.
func (c *cursor) order(o *cursor) int {
	return cmp.Or(cmp.Compare(c.time(), o.time()), cmp.Compare(c.source, o.source), cmp.Compare(c.seq, o.seq))
}

// queue holds what has arrived and hands it on in order.
type queue struct {
	emit     Emit
	cursors  cursorHeap
	held     int
	seq      uint64
	failures []error

	builder    model.Builder
	generation uint64
	// newest is the time of the newest event handed on, built that of the newest in builder.
	newest, built model.Time
	// late counts events that were out of order since the last loss event; lateFrom is the oldest of them.
	late           uint64
	lateFrom, told model.Time
}

type cursorHeap []*cursor

func (h cursorHeap) Len() int           { return len(h) }
func (h cursorHeap) Less(i, j int) bool { return h[i].order(h[j]) < 0 }
func (h cursorHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}

func (q *queue) push(a arrival) {
	q.seq++
	q.held += len(a.batch.Events)
	heap.Push(&q.cursors, &cursor{batch: a.batch, source: a.source, seq: q.seq})
}

// ended notes that a source has ended; why it failed becomes part of the stream.
func (q *queue) ended(a arrival) error {
	if a.err == nil {
		return nil
	}
	q.failures = append(q.failures, a.err)
	if err := q.flush(); err != nil {
		return err
	}
	q.builder.AddLoss(
		model.Loss{
			Time:   q.newest,
			CPU:    -1,
			Lost:   1,
			Origin: originSource,
			Detail: fmt.Sprintf("source %d failed: %v", a.source, a.err),
		},
	)
	q.built = q.newest
	return q.flush()
}

// heldAfter returns how many events an advance to limit would leave.
func (q *queue) heldAfter(limit model.Time) int {
	n := 0
	for _, c := range q.cursors {
		rest := c.batch.Events[c.next:]
		n += len(rest) - after(rest, limit)
	}
	return n
}

// after returns the index of the first event later than t.
func after(events []model.Event, t model.Time) int {
	return sort.Search(len(events), func(i int) bool { return events[i].Time > t })
}

// advance hands on every event up to limit and calls exhausted for each batch
// that is used up.
func (q *queue) advance(limit model.Time, exhausted func(*cursor)) error {
	for len(q.cursors) > 0 && q.cursors[0].time() <= limit {
		c := heap.Pop(&q.cursors).(*cursor)
		bound := limit
		if len(q.cursors) > 0 {
			next := q.cursors[0]
			turn := next.time()
			if cmp.Or(cmp.Compare(c.source, next.source), cmp.Compare(c.seq, next.seq)) > 0 {
				turn--
			}
			bound = min(bound, turn)
		}
		n := max(1, after(c.batch.Events[c.next:], bound))
		if err := q.run(c, n); err != nil {
			return err
		}
		q.held -= n
		if c.next += n; c.next < len(c.batch.Events) {
			heap.Push(&q.cursors, c)
		} else if exhausted != nil {
			exhausted(c)
		}
	}
	return nil
}

// run hands on the next n events of c.
func (q *queue) run(c *cursor, n int) error {
	events := c.batch.Events[c.next : c.next+n]
	if late := sort.Search(n, func(i int) bool { return events[i].Time >= q.newest }); late > 0 {
		if q.late == 0 || events[0].Time < q.lateFrom {
			q.lateFrom = events[0].Time
		}
		q.late += uint64(late)
	}
	if n >= copyBelow || events[0].Time < q.built || q.builder.Len() >= fullBatch {
		if err := q.flush(); err != nil {
			return err
		}
	}
	q.newest = max(q.newest, events[n-1].Time)
	if n >= copyBelow {
		part := *c.batch
		part.Events = events
		return q.emit(&part)
	}
	c.remap.copy(&q.builder, q.generation, c.batch, events)
	q.built = events[n-1].Time
	return nil
}

// flush hands on what was copied, and the count of late events at most once a second.
func (q *queue) flush() error {
	if q.late > 0 && q.newest.Sub(q.told) >= Interval {
		if err := q.emitBuilt(); err != nil {
			return err
		}
		q.declareLate()
	}
	return q.emitBuilt()
}

func (q *queue) emitBuilt() error {
	b := q.builder.Take()
	q.generation++
	q.built = 0
	if b == nil {
		return nil
	}
	return q.emit(b)
}

func (q *queue) declareLate() {
	q.builder.AddLoss(
		model.Loss{
			Time:   q.newest,
			Dur:    q.newest.Sub(q.lateFrom),
			CPU:    -1,
			Lost:   q.late,
			Origin: model.OriginLate,
			Detail: "came too late to be put in order",
		},
	)
	q.late, q.told, q.built = 0, q.newest, q.newest
}

// finish hands on all that is left.
func (q *queue) finish() error {
	for len(q.cursors) > 0 {
		limit := q.cursors[0].last()
		for _, c := range q.cursors {
			limit = max(limit, c.last())
		}
		if err := q.advance(limit, nil); err != nil {
			return err
		}
	}
	if err := q.emitBuilt(); err != nil {
		return err
	}
	if q.late > 0 {
		q.declareLate()
	}
	return q.emitBuilt()
}

// remap carries events of one batch over into a Builder and remembers which
// ids its tables have there.
type remap struct {
	generation uint64
	strings    []model.StringID
	hists      []model.HistID
	stacks     []model.StackID
}

func (m *remap) copy(to *model.Builder, generation uint64, from *model.Batch, events []model.Event) {
	if m.generation != generation || m.strings == nil {
		m.generation = generation
		m.strings = append(m.strings[:0], make([]model.StringID, len(from.Strings)+1)...)
		m.hists = append(m.hists[:0], make([]model.HistID, len(from.Hists)+1)...)
		m.stacks = append(m.stacks[:0], make([]model.StackID, len(from.Stacks)+1)...)
	}
	for _, e := range events {
		for i, id := range e.Str {
			e.Str[i] = mapped(m.strings, id, func() model.StringID { return to.Intern(from.String(id)) })
		}
		for i, id := range e.Hist {
			e.Hist[i] = mapped(m.hists, id, func() model.HistID { return to.InternHist(from.Hist(id)) })
		}
		e.Stack = mapped(m.stacks, e.Stack, func() model.StackID { return to.InternStack(from.Stack(e.Stack)) })
		to.Add(e)
	}
}

// mapped returns the id that table holds for id, asking intern the first time;
// 0 for the empty entry and for an id outside the table.
func mapped[ID ~uint32](table []ID, id ID, intern func() ID) ID {
	if id == 0 || int(id) >= len(table)-1 {
		return 0
	}
	if table[id] == 0 {
		table[id] = intern()
	}
	return table[id]
}
