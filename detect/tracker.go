package detect

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"lostbeat/model"
)

// incident is one fault of one subject, from the first suspicion until it is
// forgotten.
type incident[T any] struct {
	// key is the subject, unique within its detector.
	key string
	// data is what the detector keeps about it.
	data T
	// start is when the fault began, seen when it last held.
	start, seen model.Time
	// raised is the number of ticks in a row in which the fault was plain.
	raised int
	// open says that a finding has been emitted and not closed.
	open bool
	// touched says that the fault held at the tick being judged.
	touched bool
	// emitted is the time of the last emission, lost the stream's loss when the incident began.
	emitted model.Time
	lost    uint64
	// last is the finding as it was last emitted.
	last model.Finding
}

// tracker turns a detector's judgements into findings: opening after
// confirmation, updates at a bounded rate, closing with hysteresis.
type tracker[T any] struct {
	detector string
	settings LifecycleSettings
	// instant says that single events are proof, however little of a second has been seen.
	instant   bool
	incidents map[string]*incident[T]
}

func newTracker[T any](detector string, s LifecycleSettings) tracker[T] {
	return tracker[T]{detector: detector, settings: s, incidents: make(map[string]*incident[T])}
}

// raise says that the fault is plain in this tick, and that it began at since
// if it is new. The incident is returned for the detector to update.
func (t *tracker[T]) raise(w *tick, key string, since model.Time) *incident[T] {
	in := t.incidents[key]
	if in == nil {
		in = &incident[T]{key: key, start: since, lost: w.Loss.Before(since)}
		t.incidents[key] = in
	}
	if !w.partial || t.instant {
		in.raised++
	}
	in.touched = true
	in.seen = w.Now
	return in
}

// keep says that the fault still holds, though it would not be enough to open
// a finding. It returns nil when there is no open finding for the key.
func (t *tracker[T]) keep(w *tick, key string) *incident[T] {
	in := t.incidents[key]
	if in == nil || !in.open {
		return nil
	}
	in.touched = true
	in.seen = w.Now
	return in
}

// isOpen reports whether a finding for the key is open.
func (t *tracker[T]) isOpen(key string) bool {
	in := t.incidents[key]
	return in != nil && in.open
}

// settle ends a tick: it opens what has been confirmed for the given number of
// ticks, updates, closes and forgets. build writes the finding; identity,
// times, loss and the detector's name are filled in here.
func (t *tracker[T]) settle(w *tick, confirm int, emit func(model.Finding), build func(*incident[T]) model.Finding) {
	for _, key := range slices.Sorted(maps.Keys(t.incidents)) {
		in := t.incidents[key]
		switch {
		case in.touched:
			in.touched = false
			if !in.open && in.raised < confirm {
				continue
			}
			if w.final {
				in.open = true // flush tells of it
				continue
			}
			f := t.finish(w, in, build(in), true)
			if !in.open || f.Severity != in.last.Severity || w.Now.Sub(in.emitted) >= t.settings.UpdateEvery.Std() {
				t.emit(w, in, f, emit)
			}
			in.open = true
		case in.open:
			in.raised = 0
			if w.Now.Sub(in.seen) >= t.settings.ClearAfter.Std() {
				in.open = false
				t.emit(w, in, t.finish(w, in, build(in), false), emit)
			}
		default:
			in.raised = 0
			if in.emitted == 0 || w.Now.Sub(in.seen) >= t.settings.ReopenWithin.Std() {
				delete(t.incidents, key)
			}
		}
	}
}

// flush emits the present state of every open incident.
func (t *tracker[T]) flush(w *tick, emit func(model.Finding), build func(*incident[T]) model.Finding) {
	for _, key := range slices.Sorted(maps.Keys(t.incidents)) {
		if in := t.incidents[key]; in.open {
			t.emit(w, in, t.finish(w, in, build(in), true), emit)
		}
	}
}

func (t *tracker[T]) emit(w *tick, in *incident[T], f model.Finding, emit func(model.Finding)) {
	in.emitted, in.last = w.Now, f
	emit(f)
}

func (t *tracker[T]) finish(w *tick, in *incident[T], f model.Finding, ongoing bool) model.Finding {
	f.ID = fmt.Sprintf("%s/%s/%d", t.detector, in.key, int64(in.start)/int64(time.Second))
	f.Detector = t.detector
	f.Start, f.End, f.Ongoing = in.start, in.seen, ongoing
	if f.Loss = w.Loss.Total - in.lost; f.Loss > 0 {
		f.Evidence = append(
			f.Evidence,
			model.Evidence{
				Name:  "events lost while this was formed: counts are lower bounds",
				Value: float64(f.Loss),
				Unit:  "events",
			},
		)
	}
	return f
}
