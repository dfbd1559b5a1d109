package detect

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// Case is one fault of one subject, from the first suspicion until it is
// forgotten.
type Case[T any] struct {
	// Key is the subject, unique within its detector.
	Key string
	// Data is what the detector keeps about it.
	Data T
	// Start is when the fault began, Seen when it last held.
	Start, Seen model.Time
	// Raised is the number of ticks in a row in which the fault was plain.
	Raised int
	// Open says that a finding has been emitted and not closed.
	Open bool
	// Touched says that the fault held at the tick being judged.
	Touched bool

	id string
	// over says that the fault has ended for good.
	over bool
	// news says that what was emitted last is not true any more.
	news bool
	// emitted is the time of the last emission, lost the stream's loss when the case began.
	emitted model.Time
	lost    uint64
	// last is the finding as it was last emitted.
	last model.Finding
	// quoted is how many lines of logs the last finding quotes.
	quoted int
	// worst are the weights of the worst moment so far.
	worst []float64
}

// Ongoing says that the fault goes on, rather than that its end is being
// reported: it chooses the tense of what is said.
func (c *Case[T]) Ongoing() bool { return c.Open || c.emitted == 0 }

// Worst reports whether the moment being judged is the worst of the case so
// far, by what was lost in it; further weights decide between moments in which
// as much was lost, and of equal ones the last is the worst. Zero weights are no
// moment. What a detector says of cause, evidence and advice is what it saw then:
// the end of the fault, or of a process, changes the tense and the length of a
// finding, never its cause.
//
//	if c.Worst(float64(dropped)) {
//		c.Data.worst = what the fault looks like now
//	}
func (c *Case[T]) Worst(weights ...float64) bool {
	if slices.Max(weights) <= 0 || c.worst != nil && slices.Compare(weights, c.worst) < 0 {
		return false
	}
	c.worst = append(c.worst[:0], weights...)
	return true
}

// News says that what was said of the case is not true any more, so that it is said anew without waiting.
func (c *Case[T]) News() { c.news = true }

// ID is the identity of the case's findings.
func (c *Case[T]) ID() string { return c.id }

// Cases turns a detector's judgements into findings: opening after
// confirmation, updates at a bounded rate, closing with hysteresis.
type Cases[T any] struct {
	// Instant says that single events are proof, however little of a second has been seen.
	Instant bool
	// Quotes says that findings quote what the host's logs say at their time.
	Quotes bool
	// Settings say how findings open, update and close.
	Settings Lifecycle

	detector string
	cases    map[string]*Case[T]
}

// maxCases is how many cases of one detector are kept at a time: nobody reads more.
const maxCases = 1000

// Steps of work, see package budget, for a case in a tick: for what is said of
// it, and without.
const (
	buildSteps = 500
	caseSteps  = 20
)

// NewCases returns the cases of one detector, which has the given name in findings.
func NewCases[T any](detector string, l Lifecycle) Cases[T] {
	return Cases[T]{detector: detector, Settings: l, cases: make(map[string]*Case[T])}
}

// Raise says that the fault is plain in this tick, and that it began at since
// if it is new. The case is returned for the detector to update.
func (s *Cases[T]) Raise(t *Tick, key string, since model.Time) *Case[T] {
	c := s.cases[key]
	if c == nil {
		c = &Case[T]{Key: key, Start: since, lost: t.Loss.Before(since)}
		c.id = fmt.Sprintf("%s/%s/%d", s.detector, key, int64(since)/int64(fold.Second))
		if len(s.cases) < maxCases {
			s.cases[key] = c
		} else {
			t.LeaveOut("cases of " + s.detector)
		}
	}
	if !t.Partial || s.Instant {
		c.Raised++
	}
	c.Touched, c.over = true, false
	c.Seen = t.Now
	return c
}

// Keep says that the fault still holds, though it would not be enough to open
// a finding. It returns nil when there is no open finding for the key.
func (s *Cases[T]) Keep(t *Tick, key string) *Case[T] {
	c := s.cases[key]
	if c == nil || !c.Open {
		return nil
	}
	c.Touched, c.over = true, false
	c.Seen = t.Now
	return c
}

// End says that the fault is over for good, as with the process that was it:
// an open finding closes in this tick, however short the time since.
func (s *Cases[T]) End(key string) {
	if c := s.cases[key]; c != nil && c.Open {
		c.Touched, c.over = false, true
	}
}

// Get returns the case of a subject, nil without one.
func (s *Cases[T]) Get(key string) *Case[T] { return s.cases[key] }

// All returns the cases by their keys.
func (s *Cases[T]) All() []*Case[T] {
	list := make([]*Case[T], 0, len(s.cases))
	for _, key := range slices.Sorted(maps.Keys(s.cases)) {
		list = append(list, s.cases[key])
	}
	return list
}

// IsOpen reports whether a finding for the key is open.
func (s *Cases[T]) IsOpen(key string) bool {
	c := s.cases[key]
	return c != nil && c.Open
}

// Settle ends a tick: it opens what has been confirmed for the given number of
// ticks, updates, closes and forgets. build writes the finding; identity,
// times, loss and the detector's name are filled in here.
func (s *Cases[T]) Settle(t *Tick, confirm int, emit func(model.Finding), build func(*Case[T]) model.Finding) {
	t.Work(caseSteps * len(s.cases))
	for _, c := range s.All() {
		switch {
		case c.Touched:
			c.Touched = false
			if !c.Open && c.Raised < confirm {
				continue
			}
			if t.Final {
				c.Open = true // Flush says it
				continue
			}
			t.Work(buildSteps)
			opens := !c.Open
			c.Open = true // also while it is described: what opens again goes on
			f := s.finish(t, c, build(c), true)
			if opens || c.news || f.Severity != c.last.Severity || t.Now.Sub(c.emitted) >= s.Settings.UpdateEvery.Std() {
				s.emit(t, c, f, emit)
			}
			c.news = false
		case c.Open:
			c.Raised = 0
			if c.over || t.Now.Sub(c.Seen) >= s.Settings.ClearAfter.Std() {
				t.Work(buildSteps)
				c.Open, c.over = false, false
				s.emit(t, c, s.finish(t, c, build(c), false), emit)
			}
		default:
			c.Raised = 0
			if c.emitted == 0 || t.Now.Sub(c.Seen) >= s.Settings.ReopenWithin.Std() {
				delete(s.cases, c.Key)
				continue
			}
			// A program may say what it was when it is over.
			if s.Quotes && t.Now.Sub(c.Seen) <= quoteAfter+time.Second && len(quotes(t, c.Start, c.Seen)) > c.quoted {
				s.emit(t, c, s.finish(t, c, build(c), false), emit)
			}
		}
	}
}

// Flush emits the present state of every open case.
func (s *Cases[T]) Flush(t *Tick, emit func(model.Finding), build func(*Case[T]) model.Finding) {
	for _, c := range s.All() {
		if c.Open {
			s.emit(t, c, s.finish(t, c, build(c), true), emit)
		}
	}
}

func (s *Cases[T]) emit(t *Tick, c *Case[T], f model.Finding, emit func(model.Finding)) {
	c.emitted, c.last = t.Now, f
	emit(f)
}

func (s *Cases[T]) finish(t *Tick, c *Case[T], f model.Finding, ongoing bool) model.Finding {
	f.ID = c.id
	f.Detector = s.detector
	f.Start, f.End, f.Ongoing = c.Start, c.Seen, ongoing
	if s.Quotes {
		lines := quotes(t, c.Start, c.Seen)
		f.Causes, c.quoted = append(f.Causes, lines...), len(lines)
	}
	if f.Loss = t.Loss.Total - c.lost; f.Loss > 0 {
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

// CriticalLoss is the share of lost packets from which a finding is critical.
const CriticalLoss = 0.25

// Evidence is short for one number of a finding, rounded to what it can mean.
func Evidence(name string, value float64, unit string) model.Evidence {
	if value != math.Trunc(value) {
		value, _ = strconv.ParseFloat(strconv.FormatFloat(value, 'g', 6, 64), 64)
	}
	return model.Evidence{Name: name, Value: value, Unit: unit}
}
