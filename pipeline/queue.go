package pipeline

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unsafe"

	"lostbeat/model"
)

// queues is the memory that the queue in front of the detectors and those of
// the outputs share. A batch that several queues hold counts once, and is
// released when the last of them is done with it.
//
// While the memory is used up, a source that can wait waits. A live one does
// not: the output with the longest queue loses its oldest batch, and once no
// output has one waiting, the source's newest is dropped. A slow output so costs
// neither the detectors nor the other outputs anything.
type queues struct {
	limit int64
	live  bool
	// room tells a waiting source that memory was given back.
	room chan struct{}

	mu      sync.Mutex
	used    int64
	input   *lane
	outputs []*lane
}

// item is a batch in queues.
type item struct {
	batch *model.Batch
	bytes int64
	// holders is how many queues hold it, and whoever has taken it from one.
	holders int
}

// lane is one queue. Its fields are guarded by queues.mu.
type lane struct {
	name  string
	only  map[model.Kind]bool // what goes into it; nil for everything
	items []*item
	bytes int64
	// saved are findings and losses out of batches that were dropped: they are always delivered.
	saved []*model.Batch
	// missed has not been reported in the lane, unseen is all that ever was.
	missed loss
	unseen uint64
	// events were taken.
	events uint64
	// closed ends the lane once it is empty; gone is one that nobody reads any more.
	closed, gone bool
	ready        chan struct{}
}

// loss is what was dropped since the last report.
type loss struct {
	events      uint64
	first, last model.Time
}

func (l *loss) add(b *model.Batch, events uint64) {
	if l.events == 0 {
		l.first = b.Events[0].Time
	}
	l.events += events
	l.last = max(l.last, b.Events[len(b.Events)-1].Time)
}

// report returns the loss as an event.
func (l *loss) report(origin, detail string) *model.Batch {
	var b model.Builder
	b.AddLoss(
		model.Loss{
			Time:   l.last,
			Dur:    time.Duration(l.last - l.first),
			CPU:    -1,
			Lost:   l.events,
			Origin: origin,
			Detail: detail,
		},
	)
	*l = loss{}
	return b.Take()
}

const (
	// OriginQueue is the origin of loss events for what did not reach the detectors, and so nobody.
	OriginQueue = "queue"
	// OriginOutput is the origin of loss events for what did not reach one output. They are in its stream only.
	OriginOutput = "output"
	// batchOverhead is about what a batch takes beside its events and strings.
	batchOverhead = 512
	// findingSize and textSize are about what a finding, and each of its sentences, takes.
	findingSize = 1024
	textSize    = 128
	// maxSaved bounds the batches that a lane saves.
	maxSaved = 1024
)

func newQueues(opts Options) *queues {
	q := &queues{limit: opts.QueueBytes, live: opts.Live, room: make(chan struct{}, 1), input: newLane("detectors", nil)}
	if q.limit == 0 {
		q.limit = defaultQueueBytes
	}
	for _, o := range opts.Outputs {
		q.outputs = append(q.outputs, newLane(o.Name, o.Kinds))
	}
	return q
}

func newLane(name string, kinds []model.Kind) *lane {
	l := &lane{name: name, ready: make(chan struct{}, 1)}
	for _, k := range kinds {
		if l.only == nil {
			l.only = map[model.Kind]bool{}
		}
		l.only[k] = true
	}
	return l
}

// sizeOf is about how much memory b takes.
func sizeOf(b *model.Batch) int64 {
	n := batchOverhead + len(b.Events)*int(unsafe.Sizeof(model.Event{})) +
		len(b.Hists)*int(unsafe.Sizeof(model.Histogram{}))
	for _, s := range b.Strings {
		n += len(s) + int(unsafe.Sizeof(s))
	}
	for i := range b.Findings {
		n += findingSize
		for _, list := range [][]string{b.Findings[i].Causes, b.Findings[i].RuledOut, b.Findings[i].Advice} {
			n += len(list) * textSize
		}
	}
	for _, s := range b.Stacks {
		n += len(s) * int(unsafe.Sizeof(model.Frame{}))
	}
	return int64(n)
}

// put queues b for the detectors. When it does not fit, a live source's batch
// is dropped, and any other waits until it does or ctx is done.
func (q *queues) put(ctx context.Context, b *model.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	it := &item{batch: b, bytes: sizeOf(b), holders: 1}
	for {
		if errors.Is(context.Cause(ctx), errStopped) {
			return errStopped
		}
		if q.offer(it) {
			return nil
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// offer queues it for the detectors, or drops it when it is live; false asks to
// wait for room.
func (q *queues) offer(it *item) bool {
	q.mu.Lock()
	var free []*item
	defer func() { release(free) }()
	defer q.mu.Unlock()
	if q.live {
		free = q.shrink(it.bytes)
	}
	// Detectors that have nothing to do never wait for the memory of outputs.
	if q.used > 0 && q.used+it.bytes > q.limit && (!q.live || len(q.input.items) > 0) {
		if !q.live {
			return false
		}
		q.input.drop(it.batch)
		free = append(free, it)
		return true
	}
	q.report()
	q.add(q.input, it)
	return true
}

// report queues for the detectors what the source has lost, after the batches
// before it.
func (q *queues) report() {
	for _, b := range q.input.saved {
		q.add(q.input, &item{batch: b, bytes: sizeOf(b), holders: 1})
	}
	q.input.saved = nil
	if q.input.missed.events > 0 {
		b := q.input.missed.report(OriginQueue, "the detectors are slower than the host")
		q.add(q.input, &item{batch: b, bytes: sizeOf(b), holders: 1})
	}
}

// add puts an item that nobody else holds into a lane.
func (q *queues) add(l *lane, it *item) {
	q.used += it.bytes
	l.push(it)
}

func (l *lane) push(it *item) {
	l.items = append(l.items, it)
	l.bytes += it.bytes
	l.wake()
}

func (l *lane) pop() *item {
	it := l.items[0]
	l.items[0] = nil
	l.items = l.items[1:]
	l.bytes -= it.bytes
	return it
}

func (l *lane) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// drop counts a batch that the lane will not see, and saves what must be delivered.
func (l *lane) drop(b *model.Batch) {
	n := uint64(len(b.Events))
	if part := filter(b, mustDeliver); part != nil && len(l.saved) < maxSaved {
		l.saved = append(l.saved, part)
		n -= uint64(len(part.Events))
	}
	if n > 0 {
		l.missed.add(b, n)
		l.unseen += n
	}
	l.wake()
}

// mustDeliver says that events of kind k reach even an output that is too slow
// for the rest: what was concluded, and what was lost before.
func mustDeliver(k model.Kind) bool { return k == model.KindFinding || k == model.KindLoss }

// filter returns the events of b of the wanted kinds, nil for none. They share
// b's tables, which may be kept, and none of its events' memory.
func filter(b *model.Batch, wanted func(model.Kind) bool) *model.Batch {
	var events []model.Event
	for i := range b.Events {
		if wanted(b.Events[i].Kind) {
			events = append(events, b.Events[i])
		}
	}
	if events == nil {
		return nil
	}
	out := *b
	out.Events = events
	return &out
}

// shrink makes room for so many bytes, as far as outputs have batches waiting,
// and returns what is to be released.
func (q *queues) shrink(bytes int64) (free []*item) {
	for q.used+bytes > q.limit {
		var longest *lane
		for _, l := range q.outputs {
			if len(l.items) > 0 && (longest == nil || l.bytes > longest.bytes) {
				longest = l
			}
		}
		if longest == nil {
			return free
		}
		it := longest.pop()
		longest.drop(it.batch)
		free = q.let(free, it)
	}
	return free
}

// let takes a holder from it, and adds it to free when that was the last.
func (q *queues) let(free []*item, it *item) []*item {
	if it.holders--; it.holders > 0 {
		return free
	}
	q.used -= it.bytes
	select {
	case q.room <- struct{}{}:
	default:
	}
	return append(free, it)
}

// release gives batches back to their source, without holding any lock.
func release(items []*item) {
	for _, it := range items {
		it.batch.Release()
	}
}

// done says that whoever has taken it needs it no more.
func (q *queues) done(it *item) {
	q.mu.Lock()
	free := q.let(nil, it)
	q.mu.Unlock()
	release(free)
}

// fan hands what the detectors made of taken, which is b or taken itself, to
// the outputs; taken may be nil.
func (q *queues) fan(taken *item, b *model.Batch) {
	q.mu.Lock()
	var free []*item
	it := taken
	if it == nil || it.batch != b {
		it = &item{batch: b, bytes: sizeOf(b), holders: 1}
		q.used += it.bytes
		if taken != nil {
			free = q.let(free, taken)
		}
	}
	for _, l := range q.outputs {
		switch {
		case l.gone:
		case l.only == nil:
			it.holders++
			l.push(it)
		default:
			if part := filter(b, func(k model.Kind) bool { return l.only[k] }); part != nil {
				q.add(l, &item{batch: part, bytes: sizeOf(part), holders: 1})
			}
		}
	}
	free = q.let(free, it)
	if q.live {
		free = append(free, q.shrink(0)...)
	}
	q.mu.Unlock()
	release(free)
}

// take waits for the next batch of a lane; ok is false after the last. it is
// nil for a batch that was made for this lane alone.
func (q *queues) take(l *lane) (b *model.Batch, it *item, ok bool) {
	for {
		q.mu.Lock()
		switch {
		case len(l.saved) > 0 && l != q.input:
			b, l.saved = l.saved[0], l.saved[1:]
		case l.missed.events > 0 && l != q.input:
			b = l.missed.report(OriginOutput, "output "+l.name+" is slower than the host")
		case len(l.items) > 0:
			it = l.pop()
			b = it.batch
		case l.closed:
			q.mu.Unlock()
			return nil, nil, false
		}
		if b != nil {
			l.events += uint64(len(b.Events))
			q.mu.Unlock()
			return b, it, true
		}
		q.mu.Unlock()
		<-l.ready
	}
}

// close ends a lane once it is empty.
func (q *queues) close(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l == q.input {
		q.report()
	}
	l.closed = true
	l.wake()
}

// leave ends a lane that nobody reads any more.
func (q *queues) leave(l *lane) {
	q.mu.Lock()
	var free []*item
	for len(l.items) > 0 {
		free = q.let(free, l.pop())
	}
	l.gone, l.closed = true, true
	l.saved, l.missed = nil, loss{}
	q.mu.Unlock()
	release(free)
}

// unread is how many events wait in a lane.
func (l *lane) unread() uint64 {
	n := l.missed.events
	for _, it := range l.items {
		n += uint64(len(it.batch.Events))
	}
	for _, b := range l.saved {
		n += uint64(len(b.Events))
	}
	return n
}

// stats returns what has gone through the lanes of the outputs.
func (q *queues) stats() (dropped uint64, outputs []OutputStats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.outputs {
		outputs = append(outputs, OutputStats{Name: l.name, Events: l.events, Missed: l.unseen, Unread: l.unread()})
	}
	return q.input.unseen, slices.Clip(outputs)
}
