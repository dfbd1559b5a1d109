package detect

import (
	"lostbeat/fold"
	"lostbeat/model"
)

// Emit takes a finding that was opened, updated or closed at event time at. It
// is called in the order of at.
type Emit func(at model.Time, f model.Finding)

// tickEvery is the time between two judgements.
const tickEvery = fold.Second

// maxSilentTicks is how many seconds without any event are judged one by one.
// After them every open finding has closed, and time jumps to the next event.
const maxSilentTicks = 120

// detector is one way of looking at the facts. Detectors keep only their own
// incidents; the facts are shared.
type detector interface {
	// tick judges the seconds up to w.now and emits what changed.
	tick(w *tick, emit func(model.Finding))
	// finish emits the latest state of every open incident.
	finish(w *tick, emit func(model.Finding))
}

// Engine runs the detectors over a stream. It is not safe for concurrent use.
type Engine struct {
	world     *fold.Fold
	settings  Settings
	detectors []detector
	// next is the time of the next tick, 0 before the first event.
	next model.Time
	// last is the highest event time seen.
	last model.Time
}

// New returns an engine with the given settings. Settings are not checked:
// see [Settings.Validate].
func New(s Settings) *Engine {
	return &Engine{
		world:    fold.New(s.limits()),
		settings: s,
		// The order matters: a detector that names a cause comes before those
		// that would otherwise report its consequences.
		detectors: []detector{
			newStarvation(s),
			newRingDrop(s),
			newSocketDrop(s),
			newPortExhaustion(s),
			newPortLeak(s),
			newPortRefusal(s),
			newCounterWatch(s),
		},
	}
}

// Show makes h share what the engine knows of the host: from now on it takes the
// events that Apply is given. The caller puts h.Begin and h.End around Apply and
// Finish, and gives h the findings that they emit.
func (e *Engine) Show(h *fold.History) { e.world.Show(h) }

// Apply takes the events of b. Findings among them are ignored: they are
// derived from the rest.
func (e *Engine) Apply(b *model.Batch, emit Emit) {
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Flags&model.FlagDerived != 0 || ev.Kind == model.KindFinding {
			e.world.Derived(b, ev)
			continue
		}
		if ev.Time > e.next {
			e.advance(ev.Time, emit)
		}
		e.last = max(e.last, ev.Time)
		e.world.Apply(b, ev)
	}
}

// Finish judges the last second, as far as it has been seen, and emits the
// latest state of every finding that is still open, at the time of the last
// event. The findings stay ongoing: that the stream ended does not mean that
// the fault did.
func (e *Engine) Finish(emit Emit) {
	if e.last == 0 {
		return
	}
	t := e.tick(e.last, true, emit)
	out := func(f model.Finding) { emit(e.last, f) }
	for _, d := range e.detectors {
		d.finish(t, out)
	}
}

// advance runs the ticks that are due before an event at time t. A tick takes
// in the events of its own moment: live intervals end at whole seconds.
func (e *Engine) advance(t model.Time, emit Emit) {
	if e.next == 0 {
		e.next = t - t%tickEvery + tickEvery
		return
	}
	for ticks := 0; t > e.next; ticks++ {
		if ticks == maxSilentTicks {
			e.next = t - t%tickEvery
		}
		e.tick(e.next, false, emit)
		e.next += tickEvery
	}
}

// tick judges what has happened up to now; final says that the stream ends there.
func (e *Engine) tick(now model.Time, final bool, emit Emit) *tick {
	t := &tick{Fold: e.world, settings: e.settings, explained: make(map[any]bool), final: final}
	t.partial = final && now-(e.next-fold.Second) < fold.Second/2
	e.world.BeginTick(now, !t.partial)
	out := func(f model.Finding) { emit(now, f) }
	for _, d := range e.detectors {
		d.tick(t, out)
	}
	e.world.EndTick()
	return t
}

// tick is one judgement: the facts as they are at its time.
type tick struct {
	*fold.Fold
	settings Settings
	// final says that the tick is the stream's last, whose second may be cut
	// short; partial that less than half of it has been seen. A partial one tells
	// more of a fault that is known, and confirms none.
	final, partial bool
	// explained holds the devices and sockets whose drops, and the pools and destinations whose refusals, a finding of
	// this tick already explains.
	explained map[any]bool
}

// limits are what the fold needs of the settings.
func (s *Settings) limits() fold.Limits {
	return fold.Limits{
		Window:       s.Lifecycle.Window.Std(),
		LateWait:     s.Starvation.LateWait.Std(),
		LongRun:      s.Starvation.LongRun.Std(),
		DPCGuideline: s.Starvation.DPCGuideline.Std(),
		ISRGuideline: s.Starvation.ISRGuideline.Std(),
		LeastSilence: s.Starvation.LeastSilence.Std(),
		SilentGaps:   s.Starvation.SilentGaps,
		FullShare:    s.Socket.SlowShare,
		RestLinux:    s.Leak.RestLinux.Std(),
		RestWindows:  s.Leak.RestWindows.Std(),
		MaxSamples:   int(s.Counters.MaxSamples),
	}
}
