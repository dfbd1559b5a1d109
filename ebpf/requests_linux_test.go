package ebpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

// responder is a probe that answers requests and notes what is asked of it.
type responder struct {
	kinds []model.RequestKind
	calls []string
	err   error
}

func (*responder) Status() []model.Probe                                   { return nil }
func (*responder) Collect(model.Time, time.Duration, *model.Builder) error { return nil }
func (*responder) Close() error                                            { return nil }
func (f *responder) Answers() []model.RequestKind                          { return f.kinds }

func (f *responder) Begin(r model.Request) error {
	f.calls = append(f.calls, fmt.Sprintf("begin %v %s for %v", r.Kind, r.Name, r.For))
	return f.err
}

func (f *responder) End(r model.Request) {
	f.calls = append(f.calls, fmt.Sprintf("end %v %s", r.Kind, r.Name))
}

// answerer is a responder that has an answer after a while.
type answerer struct {
	responder
	after int
	fails error
}

func (f *answerer) Answer(r model.Request, now model.Time, b *model.Builder) (bool, error) {
	if f.after--; f.after > 0 {
		return false, nil
	}
	if f.fails != nil {
		return false, f.fails
	}
	b.AddReading(model.Reading{Time: now, Name: r.Name})
	return true, nil
}

// requestTest runs requests against fake probes; time passes by step.
type requestTest struct {
	t       *testing.T
	q       requests
	at      model.Time
	probes  []*attachedProbe
	builder model.Builder
}

func newRequestTest(t *testing.T, probes ...Attached) *requestTest {
	rt := &requestTest{t: t, q: requests{inbox: newInbox()}, at: model.Time(1000 * time.Second)}
	for i, p := range probes {
		rt.probes = append(rt.probes, &attachedProbe{Attached: p, name: fmt.Sprint("fake", i)})
	}
	return rt
}

func (rt *requestTest) ask(requests ...model.Request) {
	for _, r := range requests {
		rt.q.inbox.put(r)
	}
}

// step lets time pass and returns what is written then: one text for an event.
func (rt *requestTest) step(after time.Duration) []string {
	rt.t.Helper()
	rt.at = rt.at.Add(after)
	rt.q.step(rt.at, rt.probes, &rt.builder)
	return rt.take()
}

func (rt *requestTest) take() (lines []string) {
	rt.t.Helper()
	b := rt.builder.Take()
	if b == nil {
		return nil
	}
	if err := model.Validate(b); err != nil {
		rt.t.Error(err)
	}
	for i := range b.Events {
		if r, ok := b.RequestEvent(&b.Events[i]); ok {
			line := fmt.Sprintf("%v %v %s", r.State, r.What, r.Name)
			if r.Dur != 0 {
				line += " after " + r.Dur.String()
			}
			if r.Reason != "" {
				line += ": " + r.Reason
			}
			lines = append(lines, line)
		}
		if r, ok := b.Reading(&b.Events[i]); ok {
			lines = append(lines, "reading "+r.Name)
		}
	}
	return lines
}

func (rt *requestTest) want(what string, got []string, want ...string) {
	rt.t.Helper()
	if !slices.Equal(got, want) {
		rt.t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func askStacks(name string, wanted time.Duration) model.Request {
	return model.Request{Kind: model.RequestStacks, CPU: -1, PID: -1, TID: -1, Name: name, For: wanted}
}

func askReading(name string) model.Request {
	return model.Request{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: name}
}

func TestRequestIsServedForItsTime(t *testing.T) {
	p := &responder{kinds: []model.RequestKind{model.RequestStacks}}
	rt := newRequestTest(t, p)
	rt.ask(askStacks("a", 0), askStacks("b", time.Hour))
	rt.want("asked", rt.step(0), "asked stacks a", "on stacks a", "asked stacks b", "on stacks b")
	rt.want("just before the end", rt.step(2*time.Second-1))
	rt.want("the usual time", rt.step(1), "off stacks a after 2s")
	rt.want("just before the longest", rt.step(8*time.Second-1))
	rt.want("the longest time", rt.step(1), "off stacks b after 10s")
	rt.want("calls", p.calls,
		"begin stacks a for 2s", "begin stacks b for 10s", "end stacks a", "end stacks b")
}

func TestTheSameRequestIsLengthened(t *testing.T) {
	p := &responder{kinds: []model.RequestKind{model.RequestStacks}}
	rt := newRequestTest(t, p)
	first, again := askStacks("a", 2*time.Second), askStacks("a", 2*time.Second)
	first.Finding, again.Finding = "f1", "f2"
	rt.ask(first)
	rt.want("asked", rt.step(0), "asked stacks a", "on stacks a")
	rt.ask(again, askStacks("a", time.Nanosecond)) // the last does not shorten it
	rt.want("asked again", rt.step(time.Second))
	rt.want("end of the first", rt.step(2*time.Second-1))
	rt.want("end of the second", rt.step(1), "off stacks a after 3s")
	rt.want("calls", p.calls, "begin stacks a for 2s", "end stacks a")
	rt.ask(first)
	rt.want("anew", rt.step(0), "asked stacks a", "on stacks a")
}

func TestRequestIsRefused(t *testing.T) {
	p := &responder{kinds: []model.RequestKind{model.RequestStacks}, err: errors.New("no perf events")}
	rt := newRequestTest(t, p)
	rt.ask(askStacks("a", 0), askReading("mtu"))
	nobody := "refused reading mtu: no running probe handles requests for reading"
	rt.want("refused", rt.step(0),
		"asked stacks a", "refused stacks a: no perf events", "asked reading mtu", nobody)
	rt.ask(askStacks("a", 0), askReading("mtu"))
	rt.want("refused again", rt.step(refusalStands-1))
	p.err = errors.New("no CPU")
	rt.ask(askStacks("a", 0), askReading("mtu"))
	rt.want("another reason, and a minute later", rt.step(1),
		"asked stacks a", "refused stacks a: no CPU", "asked reading mtu", nobody)
	p.err = nil
	rt.ask(askStacks("a", 0))
	rt.want("served at last", rt.step(0), "asked stacks a", "on stacks a")
}

// The second probe that answers a kind serves what the first refuses.
func TestAnotherProbeServes(t *testing.T) {
	kinds := []model.RequestKind{model.RequestSched, model.RequestStacks}
	first, second := &responder{kinds: kinds, err: errors.New("not mine")}, &responder{kinds: kinds[1:]}
	rt := newRequestTest(t, first, second)
	sched := askStacks("b", 0)
	sched.Kind = model.RequestSched
	rt.ask(askStacks("a", 0), sched)
	rt.want("served by the second", rt.step(0),
		"asked stacks a", "on stacks a", "asked sched b", "refused sched b: not mine")
	rt.want("its calls", second.calls, "begin stacks a for 2s")
}

func TestAnswerEndsTheRequest(t *testing.T) {
	p := &answerer{responder: responder{kinds: []model.RequestKind{model.RequestReading}}, after: 3}
	rt := newRequestTest(t, p)
	rt.ask(askReading("mtu"))
	rt.want("asked", rt.step(0), "asked reading mtu", "on reading mtu")
	rt.want("no answer yet", rt.step(10))
	rt.want("no answer yet", rt.step(10))
	rt.want("answer", rt.step(10), "reading mtu", "off reading mtu after 30ns")
	rt.ask(askReading("mtu"))
	rt.want("the answer stands", rt.step(time.Second-1))
	rt.ask(askReading("mtu"))
	rt.want("a second later", rt.step(1), "asked reading mtu", "on reading mtu")
	p.after, p.fails = 0, errors.New("network namespace is gone")
	rt.want("no answer", rt.step(10), "refused reading mtu: network namespace is gone")
	p.after, p.fails = 100, nil
	rt.ask(askReading("slow"))
	rt.step(0)
	rt.want("just in time", rt.step(answerTime-1))
	rt.want("too late", rt.step(1), "refused reading slow: no answer within 5s")
	rt.want("calls", p.calls, "begin reading mtu for 5s", "end reading mtu", "begin reading mtu for 5s", "end reading mtu",
		"begin reading slow for 5s", "end reading slow")
}

func TestRequestsAreBounded(t *testing.T) {
	p := &responder{kinds: []model.RequestKind{model.RequestStacks}}
	rt := newRequestTest(t, p)
	limit := requestLimits[model.RequestStacks]
	started := 0
	for i := range limit.atOnce {
		rt.ask(askStacks(fmt.Sprint(i), 0))
		started++
	}
	if got := rt.step(0); len(got) != 2*limit.atOnce || strings.Contains(strings.Join(got, " "), "refused") {
		t.Fatalf("%d requests at once: %q", limit.atOnce, got)
	}
	rt.ask(askStacks("more", 0))
	rt.want("one more at once", rt.step(0),
		"asked stacks more", "refused stacks more: 8 requests for stacks are already active (the limit)")
	for started < limit.perMinute {
		rt.step(2 * time.Second)
		rt.ask(askStacks(fmt.Sprint(started), 0))
		started++
		if got := rt.step(0); len(got) != 2 {
			t.Fatalf("request %d: %q", started, got)
		}
	}
	rt.step(2 * time.Second)
	rt.ask(askStacks("more", 0))
	rt.want("one more in a minute", rt.step(0),
		"asked stacks more", "refused stacks more: 30 requests for stacks within a minute (the limit)")
	rt.ask(askStacks("more", 0))
	rt.step(time.Minute - rt.at.Sub(model.Time(1000*time.Second)) - 1)
	if len(p.calls) != 2*started {
		t.Errorf("%d calls for %d requests", len(p.calls), started)
	}
	rt.ask(askStacks("more", 0))
	rt.want("a minute after the first", rt.step(1), "asked stacks more", "on stacks more")
}

// A flood of requests neither blocks nor is silently lost.
func TestInboxIsBounded(t *testing.T) {
	rt := newRequestTest(t)
	for range maxWaiting + 5 {
		rt.ask(askStacks("a", 0))
	}
	rt.ask(model.Request{Kind: requestKinds})
	rt.want("the rest is counted", rt.step(0),
		"asked stacks a", "refused stacks a: no running probe handles requests for stacks",
		"refused stacks : 5 requests arrived at once: the queue is full")
	for i := range 3 * maxWaiting {
		rt.ask(askStacks(fmt.Sprint(i), 0))
		rt.step(0)
	}
	if len(rt.q.recent) > maxWaiting {
		t.Errorf("%d refusals are kept", len(rt.q.recent))
	}
	if got := len(model.RequestKindEnum.Names); got != requestKinds {
		t.Errorf("%d kinds of requests, the engine knows %d", got, requestKinds)
	}
}

func TestRequestsEndWithTheStream(t *testing.T) {
	p := &responder{kinds: []model.RequestKind{model.RequestStacks}}
	rt := newRequestTest(t, p)
	rt.ask(askStacks("a", 0))
	rt.step(0)
	rt.q.end(rt.at.Add(time.Second), &rt.builder)
	rt.want("end", rt.take(), "off stacks a after 1s: the stream ended")
	rt.want("calls", p.calls, "begin stacks a for 2s", "end stacks a")
}
