// Package notify hands findings to others as they arise, get worse and end: to a program, or to a URL.
//
// Each message is the finding as one JSON object, as docs/schema/finding.json describes it. Messages wait in a
// bounded queue, so that a receiver which hangs delays nothing; those that find the queue full, and those that could
// not be delivered, are counted and said.
package notify

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/sink/findings"
	"lostbeat/sink/jsonl"
)

// queueLength is how many messages wait for one lane.
const queueLength = 256

// message is a finding to deliver.
type message struct {
	finding model.Finding
	body    []byte
	// queued is when it came.
	queued time.Time
}

// Notifier is a sink that delivers findings. Write never waits.
type Notifier struct {
	name    string
	changes findings.Changes
	say     func(string)
	// names ends the line that says why a message was not delivered: with which one.
	names func(m *message) string
	lanes []chan message
	work  guard.Background
	// stop ends deliveries that go on; hurry is closed when there is no time left to try again.
	stop  context.CancelFunc
	hurry chan struct{}
	// total counts the messages, lost those that were not delivered.
	total, lost atomic.Uint64
}

// deliver delivers a message, or says why it could not. It ends soon after ctx is done, and does not try again once
// hurry is closed.
type deliver func(ctx context.Context, hurry <-chan struct{}, m message) error

// start begins to deliver, in as many lanes. Messages of one finding stay in order. say is told what went wrong.
func start(name string, lanes int, say func(string), send deliver) *Notifier {
	ctx, stop := context.WithCancel(context.Background())
	n := &Notifier{name: name, say: say, names: findingID, stop: stop, hurry: make(chan struct{})}
	for range lanes {
		lane := make(chan message, queueLength)
		n.lanes = append(n.lanes, lane)
		n.work.Go(name, func() {
			for m := range lane {
				err := ctx.Err()
				if err == nil {
					err = send(ctx, n.hurry, m)
				}
				if err != nil {
					n.fail(m, err)
				}
			}
		})
	}
	return n
}

// fail counts a message that was not delivered, and says why.
func (n *Notifier) fail(m message, err error) {
	n.lost.Add(1)
	n.say(fmt.Sprintf("%s: %v%s", n.name, err, plain.Text(n.names(&m))))
}

func findingID(m *message) string { return " (" + m.finding.ID + ")" }

// Write implements pipeline.Sink.
func (n *Notifier) Write(b *model.Batch) error {
	n.work.Rethrow()
	for i := range b.Events {
		f, ok := b.Finding(&b.Events[i])
		if !ok || !n.changes.New(f) {
			continue
		}
		var body bytes.Buffer
		if err := plain.Object(&body, jsonl.FindingSchema, f); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		n.total.Add(1)
		m := message{f, body.Bytes(), time.Now()}
		select {
		case n.lanes[n.laneOf(f.ID)] <- m:
		default:
			n.fail(m, errFull)
		}
	}
	return nil
}

// errFull is why a message is not delivered that nobody had room for.
var errFull = fmt.Errorf("%d messages wait already, this one is left out", queueLength)

// laneOf returns the lane of a finding.
func (n *Notifier) laneOf(id string) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % uint32(len(n.lanes)))
}

// Close delivers what waits, for at most the given time and without trying again, and says how much was not delivered.
func (n *Notifier) Close(within time.Duration) {
	close(n.hurry)
	for _, lane := range n.lanes {
		close(lane)
	}
	late := time.AfterFunc(within, n.stop)
	n.work.Wait()
	late.Stop()
	n.stop()
	if lost := n.lost.Load(); lost > 0 {
		n.say(fmt.Sprintf("%s: %d of %d messages were not delivered", n.name, lost, n.total.Load()))
	}
}
