package ebpf_test

import (
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"
)

// echo is a probe that answers each reading with its name.
type echo struct{}

func (echo) Name() string                                            { return "echo" }
func (echo) Kinds() []model.Kind                                     { return []model.Kind{model.KindReading} }
func (e echo) Attach(*ebpf.Env) (ebpf.Attached, error)               { return e, nil }
func (echo) Status() []model.Probe                                   { return nil }
func (echo) Collect(model.Time, time.Duration, *model.Builder) error { return nil }
func (echo) Close() error                                            { return nil }
func (echo) Begin(model.Request) error                               { return nil }
func (echo) End(model.Request)                                       {}

func (echo) Answers() []model.RequestKind {
	return []model.RequestKind{model.RequestReading}
}

func (echo) Answer(r model.Request, now model.Time, b *model.Builder) (bool, error) {
	b.AddReading(model.Reading{Time: now, Name: r.Name})
	return true, nil
}

// What becomes of a request is in the stream, with the answer, soon and in order.
func TestRequestIsAnswered(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, echo{}, broken{})
	asked := time.Now()
	s.Request(model.Request{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "mtu", Finding: "f1"})
	s.Request(model.Request{Kind: model.RequestStacks, CPU: 0, PID: -1, TID: -1})
	s.WaitFor(10*time.Second, "answer", func(b *model.Batch, e *model.Event) bool {
		r, ok := b.RequestEvent(e)
		return ok && r.State == model.RequestOff
	})
	t.Logf("answered after %v", time.Since(asked))
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var got []string
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if r, ok := b.RequestEvent(e); ok {
			got = append(got, r.State.String()+" "+r.What.String()+" "+r.Name+" "+r.Finding)
		}
		if r, ok := b.Reading(e); ok {
			got = append(got, "reading "+r.Name)
		}
	})
	want := []string{
		"asked reading mtu f1", "on reading mtu f1", "asked stacks  ", "refused stacks  ",
		"reading mtu", "off reading mtu f1",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("event %d is %q, want %q", i, got[i], want[i])
		}
	}
}
