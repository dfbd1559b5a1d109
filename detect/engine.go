package detect

import (
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// Emit takes a finding that was opened, updated or closed at event time at. It
// is called in the order of at.
type Emit func(at model.Time, f model.Finding)

// maxSilentTicks is how many seconds without any event are judged one by one.
// After them every open finding has closed, and time jumps to the next event.
const maxSilentTicks = 120

// Detector is one way of looking at the facts. A detector keeps only its own
// cases; the facts are shared. At each tick every detector first judges, then
// every detector reports, so that a cause can silence its consequences whatever
// the order of the list.
type Detector interface {
	// Judge looks at the facts, raises cases, and claims what they explain.
	Judge(t *Tick)
	// Report drops what others have claimed, and emits what changed.
	Report(t *Tick, emit func(model.Finding))
	// Finish emits the latest state of every open case, at the end of the stream.
	Finish(t *Tick, emit func(model.Finding))
}

// Options change what an Engine works with; the zero value judges a stream by itself.
type Options struct {
	// Fold holds the facts. Nil makes one for this engine alone; a shared one is
	// fed by the engine and must be read between calls only.
	Fold *fold.Fold
	// Request takes requests for detail; nil, as for replays, drops them. The findings do not depend on it.
	Request func(model.Request)
	// Memory is that of the process in bytes, of which the facts get a part; 0 is budget.Default.
	Memory int64
}

// Engine runs the detectors over a stream. It is not safe for concurrent use.
type Engine struct {
	facts     *fold.Fold
	detectors []Detector
	requests  requests
	// next is the time of the next tick, 0 before the first event.
	next model.Time
	// last is the highest event time seen.
	last model.Time
	// found are the findings of the last minutes, in their latest state.
	found []model.Finding
	// unsampled is the detail that was asked for and is left out because of lostbeat's own CPU time.
	unsampled []unsampled
}

// unsampled is detail that a detector has asked for and that is left out.
type unsampled struct {
	// by is the id of the case, or its start, down to the name of the detector.
	by, why     string
	first, last model.Time
}

// maxUnsampled bounds what is kept of it, for foundFor.
const maxUnsampled = 64

// miss notes detail that is left out.
func (e *Engine) miss(now model.Time, by, why string) {
	e.unsampled = slices.DeleteFunc(e.unsampled, func(u unsampled) bool { return now.Sub(u.last) > foundFor })
	i := slices.IndexFunc(e.unsampled, func(u unsampled) bool { return u.by == by && u.why == why })
	switch {
	case i >= 0:
		e.unsampled[i].last = now
	case len(e.unsampled) < maxUnsampled:
		e.unsampled = append(e.unsampled, unsampled{by, why, now, now})
	}
}

// withUnsampled adds to a finding which detail was left out while the fault lasted.
func (e *Engine) withUnsampled(f model.Finding) model.Finding {
	for _, u := range e.unsampled {
		of := f.ID == u.by || f.Detector == u.by || strings.HasPrefix(f.ID, u.by+"/")
		if of && u.first <= f.End+fold.Second && u.last >= f.Start && !slices.Contains(f.Causes, u.why) {
			f.Causes = append(slices.Clip(f.Causes), u.why)
		}
	}
	return f
}

// How many findings others may see, and for how long after their end.
const (
	maxFound = 256
	foundFor = 2 * time.Minute
)

// keep lets other detectors see a finding.
func (e *Engine) keep(now model.Time, f model.Finding) {
	if i := slices.IndexFunc(e.found, func(o model.Finding) bool { return o.ID == f.ID }); i >= 0 {
		e.found[i] = f
		return
	}
	e.found = slices.DeleteFunc(e.found, func(o model.Finding) bool { return !o.Ongoing && now.Sub(o.End) > foundFor })
	if len(e.found) < maxFound {
		e.found = append(e.found, f)
	}
}

// New returns an engine with the given settings. Settings are not checked:
// see [Settings.Validate].
func New(s Settings, o Options) *Engine {
	e := &Engine{facts: o.Fold, requests: requests{send: o.Request}}
	if e.facts == nil {
		limits := s.limits()
		limits.Memory = o.Memory
		e.facts = fold.New(fold.Options{Judged: true, Limits: limits})
	}
	for i, d := range s.definitions {
		e.detectors = append(e.detectors, d.make(s.tables[i], *s.Lifecycle))
	}
	return e
}

// Facts returns what the engine knows of the host, to be read between calls only.
func (e *Engine) Facts() *fold.Fold { return e.facts }

// Detectors returns the detectors in their order, for those who need more of one than its findings.
func (e *Engine) Detectors() []Detector { return e.detectors }

// Show makes h share what the engine knows of the host: from now on it takes the
// events that Apply is given. The caller puts h.Begin and h.End around Apply and
// Finish, and gives h the findings that they emit.
func (e *Engine) Show(h *fold.History) { e.facts.Show(h) }

// Apply takes the events of b. Findings among them are ignored: they are
// derived from the rest.
func (e *Engine) Apply(b *model.Batch, emit Emit) {
	for i := range b.Events {
		ev := &b.Events[i]
		if ev.Flags&model.FlagDerived != 0 || ev.Kind == model.KindFinding {
			e.facts.Derived(b, ev)
			continue
		}
		if ev.Possible() {
			if ev.Time > e.next && !fold.Untimed(b, ev) {
				e.advance(ev.Time, emit)
			}
			e.last = max(e.last, ev.Time)
		}
		e.facts.Apply(b, ev)
	}
}

// Derived gives what others have made of the stream, such as a loss of their
// own, to the screen that shares the facts.
func (e *Engine) Derived(b *model.Batch) {
	for i := range b.Events {
		e.facts.Derived(b, &b.Events[i])
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
	for _, d := range e.detectors {
		d.Finish(t, func(f model.Finding) { emit(e.last, Typeset(e.withUnsampled(f))) })
	}
}

// advance runs the ticks that are due before an event at time t. A tick takes
// in the events of its own moment: live intervals end at whole seconds.
func (e *Engine) advance(t model.Time, emit Emit) {
	if e.next == 0 {
		e.next = t - t%fold.Second + fold.Second
		return
	}
	for ticks := 0; t > e.next; ticks++ {
		if !e.facts.CanJudge() { // the seconds up to t are judged with the one after them
			e.next = (t + fold.Second - 1) / fold.Second * fold.Second
			return
		}
		if ticks == maxSilentTicks {
			e.next = t - t%fold.Second
		}
		e.tick(e.next, false, emit)
		e.next += fold.Second
	}
}

// LeftOut returns how often there was no memory for a fact or a case, or no time
// for a judgement, since the last call, and what was left out, for a loss event
// of the origin model.OriginMemory.
func (e *Engine) LeftOut() (n uint64, what string) { return e.facts.LeftOut() }

// tick judges what has happened up to now; final says that the stream ends there.
func (e *Engine) tick(now model.Time, final bool, emit Emit) *Tick {
	t := &Tick{Fold: e.facts, Final: final, requests: &e.requests, engine: e}
	t.Partial = final && now-(e.next-fold.Second) < fold.Second/2
	e.facts.BeginTick(now, !t.Partial)
	for _, d := range e.detectors {
		d.Judge(t)
	}
	for _, d := range e.detectors {
		d.Report(t, func(f model.Finding) {
			f = Typeset(e.withUnsampled(f))
			e.keep(now, f)
			emit(now, f)
		})
	}
	e.facts.EndTick()
	return t
}

// Tick is one judgement: the facts as they are at its time, and what the
// detectors have claimed in it.
type Tick struct {
	*fold.Fold
	// Final says that the tick is the stream's last, whose second may be cut
	// short; Partial that less than half of it has been seen. A partial one adds
	// to a fault that is known, and confirms none.
	Final, Partial bool

	claims   map[Claim]bool
	requests *requests
	engine   *Engine
}

// Found returns the findings of the last minutes as they were reported last: of this tick, those of the detectors that
// are before the calling one in the list.
func (t *Tick) Found() []model.Finding { return t.engine.found }

// Claim is something that a finding explains, so that no other finding is needed for it.
type Claim interface{ claim() }

type (
	// DeviceDrops are the packets that a device lost.
	DeviceDrops struct{ Device fold.DeviceKey }
	// SocketDrops are the packets lost at a socket's receive queue.
	SocketDrops struct{ Socket fold.SocketKey }
	// RingDrops are the packets that a device's ring lost in one direction, of which ring-drop speaks.
	RingDrops struct {
		Device   fold.DeviceKey
		Transmit bool
	}
	// BacklogDrops are the packets lost at a CPU's backlog.
	BacklogDrops struct{ CPU int32 }
	// PoolRefusals are the allocations that a pool of ports refused, and the ports that are missing from it.
	PoolRefusals struct{ Pool fold.PoolKey }
	// TargetRefusals are the connections refused towards one destination. One
	// without an address is a destination that the probe could not read.
	TargetRefusals struct {
		Netns  int64
		Remote string
		Port   uint16
	}
)

func (DeviceDrops) claim()    {}
func (SocketDrops) claim()    {}
func (RingDrops) claim()      {}
func (BacklogDrops) claim()   {}
func (PoolRefusals) claim()   {}
func (TargetRefusals) claim() {}

// Claim says that a case of the calling detector explains c; to be called while
// judging, or while reporting for the detectors behind the calling one in the list.
func (t *Tick) Claim(c Claim) {
	if t.claims == nil {
		t.claims = make(map[Claim]bool)
	}
	t.claims[c] = true
}

// Claimed reports whether a case explains c; to be called while reporting.
func (t *Tick) Claimed(c Claim) bool { return t.claims[c] }

// Request asks the live source for detail. The same detail is asked for once
// while it is being given, whoever needs it.
func (t *Tick) Request(r model.Request) { t.ask(r, r.For) }

// Renew asks for detail that is wanted all the time: again when half of the time is over for which it was asked, so
// that it does not lapse.
func (t *Tick) Renew(r model.Request) {
	r.Standing = true
	t.ask(r, r.For/2)
}

func (t *Tick) ask(r model.Request, stands time.Duration) {
	if why := t.NotSampled(r.Kind); why != "" && !r.Standing {
		t.engine.miss(t.Now, r.Finding, why)
	}
	t.requests.add(t.Now, r, stands)
}

// maxRequests is how many requests may be out at a time; what is asked for beyond is not sent.
const maxRequests = 64

// requests are those that have been sent and whose time is not over.
type requests struct {
	send func(model.Request)
	out  []sentRequest
}

type sentRequest struct {
	model.Request
	until model.Time
}

// add sends a request unless it was sent within the last stands.
func (q *requests) add(now model.Time, r model.Request, stands time.Duration) {
	if q.send == nil {
		return
	}
	kept := q.out[:0]
	same := false
	for _, o := range q.out {
		if o.until <= now {
			continue
		}
		kept = append(kept, o)
		same = same || o.Same(r)
	}
	q.out = kept
	if same || len(q.out) >= maxRequests {
		return
	}
	q.out = append(q.out, sentRequest{r, now.Add(max(stands, time.Second))})
	q.send(r)
}
