package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"lostbeat/model"
)

// Responder is an [Attached] probe that answers requests for detail. Its
// methods are called by the engine's goroutine, like all others of a probe.
type Responder interface {
	// Answers lists the kinds of requests that it takes.
	Answers() []model.RequestKind
	// Begin starts to serve a request, whose For is the time that it is given.
	// It must return quickly. An error refuses the request and is its reason.
	// The same request (model.Request.Same) is not begun twice: the engine
	// lengthens the time of the one that is being served.
	Begin(r model.Request) error
	// End stops what Begin has started: its time is over, or the stream ends.
	// What was found until then may still be emitted by Collect.
	End(r model.Request)
}

// Answerer is a [Responder] whose requests are over once they are answered.
type Answerer interface {
	// Answer is called at each flush for each request that is being served. It
	// adds what has been found, at time now, and says whether that is all: then
	// End follows. An error refuses the request after all.
	Answer(r model.Request, now model.Time, b *model.Builder) (done bool, err error)
}

// requestLimit bounds what one kind of request may cost the host.
type requestLimit struct {
	// usual is how long a request is served that does not say, longest the most
	// at a time; asking again lengthens it.
	usual, longest time.Duration
	// atOnce is how many are served at the same time, perMinute how many are
	// begun within a minute.
	atOnce, perMinute int
	// again is how long the answer to a request stands: the same one is not
	// served anew before.
	again time.Duration
}

// requestLimits are the limits by model.RequestKind.
var requestLimits = [requestKinds]requestLimit{
	model.RequestStacks:  {usual: 2 * time.Second, longest: 10 * time.Second, atOnce: 8, perMinute: 30},
	model.RequestSched:   {usual: 10 * time.Second, longest: 30 * time.Second, atOnce: 64, perMinute: 240},
	model.RequestReading: {usual: answerTime, longest: answerTime, atOnce: 64, perMinute: 240, again: time.Second},
	model.RequestZoom:    {usual: 10 * time.Second, longest: 30 * time.Second, atOnce: 4, perMinute: 12},
	model.RequestFollow:  {usual: forGood, longest: forGood, atOnce: 64, perMinute: 64},
}

const (
	// answerTime is how long an Answerer may take.
	answerTime = 5 * time.Second
	// forGood is longer than any stream.
	forGood = 100 * 365 * 24 * time.Hour
	// refusalStands is how long a refusal for the same reason is not written again.
	refusalStands = time.Minute
)

// requests is the state of all requests of one run; the engine's goroutine owns it.
type requests struct {
	inbox *inbox
	// served are the requests that are on, in the order in which they began.
	served []servedRequest
	// begun are the times of the last minute at which requests began, by kind.
	begun [requestKinds][]model.Time
	// shed are the kinds that are refused because of lostbeat's own CPU time.
	shed [requestKinds]bool
	// recent are the requests that were refused or answered a while ago at most.
	recent []recentRequest
}

// servedRequest is a request that is on.
type servedRequest struct {
	model.Request
	by           Responder
	began, until model.Time
}

// recentRequest is what has become of a request.
type recentRequest struct {
	model.Request
	at model.Time
	// refused is the reason, empty for a request that was answered.
	refused string
}

// step takes the requests that wait, asks for answers, and ends what is over.
func (q *requests) step(at model.Time, probes []*attachedProbe, b *model.Builder) {
	q.expire(at, b)
	for range maxWaiting {
		select {
		case r := <-q.inbox.waiting:
			q.take(r, at, probes, b)
			continue
		default:
		}
		break
	}
	for kind := range q.inbox.missed {
		if n := q.inbox.missed[kind].Swap(0); n > 0 {
			missed := model.Request{Kind: model.RequestKind(kind), CPU: -1, PID: -1, TID: -1}
			why := fmt.Sprintf("%d requests arrived at once: the queue is full", n)
			addRequest(b, at, missed, model.RequestRefused, 0, why)
		}
	}
}

// take serves a request, lengthens the time of the same one, or refuses it.
func (q *requests) take(r model.Request, at model.Time, probes []*attachedProbe, b *model.Builder) {
	limit := &requestLimits[r.Kind]
	if r.For <= 0 {
		r.For = limit.usual
	}
	r.For = min(r.For, limit.longest)
	if i := slices.IndexFunc(q.served, func(s servedRequest) bool { return s.Same(r) }); i >= 0 {
		q.served[i].until = max(q.served[i].until, at.Add(r.For))
		q.served[i].Standing = q.served[i].Standing || r.Standing
		return
	}
	if slices.ContainsFunc(q.recent, func(o recentRequest) bool {
		return o.refused == "" && at.Sub(o.at) < limit.again && o.Same(r)
	}) {
		return
	}
	by, err := q.begin(r, at, probes)
	if err != nil {
		q.refuse(r, at, oneLine(err.Error()), true, b)
		return
	}
	addRequest(b, at, r, model.RequestAsked, 0, "")
	addRequest(b, at, r, model.RequestOn, 0, "")
	q.served = append(q.served, servedRequest{Request: r, by: by, began: at, until: at.Add(r.For)})
}

// begin finds a probe that serves r.
func (q *requests) begin(r model.Request, at model.Time, probes []*attachedProbe) (Responder, error) {
	if q.shed[r.Kind] && !r.Standing {
		return nil, errors.New(model.NotSampled)
	}
	limit := &requestLimits[r.Kind]
	var responders []Responder
	for _, p := range probes {
		if responder, ok := p.Attached.(Responder); ok && slices.Contains(responder.Answers(), r.Kind) {
			responders = append(responders, responder)
		}
	}
	if len(responders) == 0 {
		return nil, fmt.Errorf("no running probe handles requests for %v", r.Kind)
	}
	sameKind := 0
	for i := range q.served {
		if q.served[i].Kind == r.Kind {
			sameKind++
		}
	}
	if sameKind >= limit.atOnce {
		return nil, fmt.Errorf("%d requests for %v are already active (the limit)", sameKind, r.Kind)
	}
	begun := slices.DeleteFunc(q.begun[r.Kind], func(t model.Time) bool { return at.Sub(t) >= time.Minute })
	q.begun[r.Kind] = begun
	if len(begun) >= limit.perMinute {
		return nil, fmt.Errorf("%d requests for %v within a minute (the limit)", len(begun), r.Kind)
	}
	q.begun[r.Kind] = append(begun, at)
	var errs []error
	for _, responder := range responders {
		err := responder.Begin(r)
		if err == nil {
			return responder, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// refuse writes why a request is not served, once for as long as it is asked
// again and the reason stays the same.
func (q *requests) refuse(r model.Request, at model.Time, reason string, asked bool, b *model.Builder) {
	q.recent = slices.DeleteFunc(q.recent, func(o recentRequest) bool { return at.Sub(o.at) >= refusalStands })
	if asked && slices.ContainsFunc(q.recent, func(o recentRequest) bool { return o.refused == reason && o.Same(r) }) {
		return
	}
	if asked {
		addRequest(b, at, r, model.RequestAsked, 0, "")
	}
	addRequest(b, at, r, model.RequestRefused, 0, reason)
	q.remember(recentRequest{r, at, reason})
}

// remember keeps what has become of a request; the oldest makes room.
func (q *requests) remember(o recentRequest) {
	if len(q.recent) >= maxWaiting {
		q.recent = slices.Delete(q.recent, 0, 1)
	}
	q.recent = append(q.recent, o)
}

// expire ends the requests that are answered or whose time is over.
func (q *requests) expire(at model.Time, b *model.Builder) {
	q.served = slices.DeleteFunc(q.served, func(s servedRequest) bool {
		answerer, answers := s.by.(Answerer)
		if answers {
			done, err := answerer.Answer(s.Request, at, b)
			if err == nil && !done && at >= s.until {
				err = fmt.Errorf("no answer within %v", answerTime)
			}
			if err != nil {
				s.by.End(s.Request)
				q.refuse(s.Request, at, cmp.Or(oneLine(err.Error()), "failed"), false, b)
				return true
			}
			if !done {
				return false
			}
		} else if at < s.until {
			return false
		}
		s.by.End(s.Request)
		addRequest(b, at, s.Request, model.RequestOff, at.Sub(s.began), "")
		q.remember(recentRequest{Request: s.Request, at: at})
		return true
	})
}

// end ends all requests: the stream is over.
func (q *requests) end(at model.Time, b *model.Builder) {
	for _, s := range q.served {
		s.by.End(s.Request)
		addRequest(b, at, s.Request, model.RequestOff, at.Sub(s.began), "the stream ended")
	}
	q.served = nil
}

// idle says that a probe has nothing attached unless it serves a request, and serves none.
func (q *requests) idle(probe string) bool {
	for _, p := range model.ShedParts {
		if p.Probe == probe && p.Part == model.PartRequests {
			return !slices.ContainsFunc(q.served, func(s servedRequest) bool { return s.Kind == p.Request })
		}
	}
	return false
}

// setShed ends the requests of a kind but the standing ones and refuses others from now on, or serves them again.
func (q *requests) setShed(kind model.RequestKind, shed bool, at model.Time, b *model.Builder) {
	q.shed[kind] = shed
	if !shed {
		q.recent = slices.DeleteFunc(q.recent, func(o recentRequest) bool { return o.refused == model.NotSampled })
		return
	}
	q.served = slices.DeleteFunc(q.served, func(s servedRequest) bool {
		if s.Kind != kind || s.Standing {
			return false
		}
		s.by.End(s.Request)
		addRequest(b, at, s.Request, model.RequestOff, at.Sub(s.began), model.NotSampled)
		return true
	})
}

// addRequest writes what has become of a request.
func addRequest(
	b *model.Builder, at model.Time, r model.Request, state model.RequestState, dur time.Duration, reason string,
) {
	b.AddRequestEvent(model.RequestEvent{
		Time: at, Dur: dur, CPU: r.CPU, PID: r.PID, TID: r.TID,
		What: r.Kind, State: state, For: r.For, Netns: r.Netns,
		Name: r.Name, Finding: r.Finding, Reason: reason,
	})
}
