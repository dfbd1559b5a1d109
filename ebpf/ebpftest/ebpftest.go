//go:build linux

// Package ebpftest runs probes on the real kernel in tests.
package ebpftest

import (
	"context"
	"sync"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/source"
)

// startTimeout bounds the wait for the probes to be attached.
const startTimeout = 30 * time.Second

// Session is a running engine that keeps what it emits.
type Session struct {
	t       testing.TB
	live    *ebpf.Live
	cancel  context.CancelFunc
	done    chan error
	started chan struct{}

	mu      sync.Mutex
	batches []*model.Batch
	changed *sync.Cond
	stopped bool
}

// Start attaches the probes and returns when they run; what does not run is
// logged. It skips the test without privileges (see testutil.Privileged). The
// session ends with Stop, or with the test.
func Start(t testing.TB, options ebpf.Options, probes ...ebpf.Probe) *Session {
	t.Helper()
	testutil.Privileged(t)
	live, err := ebpf.New(options, probes)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &Session{t: t, live: live, cancel: cancel, done: make(chan error, 1), started: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	go func() { s.done <- live.Run(ctx, s.emit) }()
	t.Cleanup(func() { s.Stop() })
	select {
	case <-s.started:
		s.logStates()
	case err := <-s.done:
		s.done <- err
		t.Fatalf("Run ended before the probes were attached: %v", err)
	case <-time.After(startTimeout):
		t.Fatalf("no probes attached within %v", startTimeout)
	}
	return s
}

// logStates logs what does not run.
func (s *Session) logStates() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.batches[0].Events {
		if p, ok := s.batches[0].Probe(&s.batches[0].Events[i]); ok && p.State != model.ProbeOn {
			s.t.Logf("%s %s is %v: %s (%s)", p.Name, p.Part, p.State, p.Reason, p.Hint)
		}
	}
}

func (s *Session) emit(b *model.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		close(s.started)
	}
	s.batches = append(s.batches, b)
	s.changed.Broadcast()
	return nil
}

// Request asks the running probes for detail, as a detector does.
func (s *Session) Request(r model.Request) { s.live.Request(r) }

// WaitFor blocks until an event satisfies match, and fails the test when none
// has within the timeout. Events from the start of the session count.
func (s *Session) WaitFor(timeout time.Duration, what string, match func(b *model.Batch, e *model.Event) bool) {
	s.t.Helper()
	s.waitFrom(0, timeout, what, match)
}

// Intervals blocks until n more intervals have begun and ended.
func (s *Session) Intervals(n int) {
	s.t.Helper()
	s.mu.Lock()
	from := len(s.batches)
	s.mu.Unlock()
	ended := make(map[model.Time]bool)
	s.waitFrom(
		from,
		time.Duration(n)*source.Interval+startTimeout,
		"interval",
		func(b *model.Batch, e *model.Event) bool {
			if c, ok := b.Counter(e); ok && c.Name == "self.cpu" {
				ended[c.Time] = true
			}
			return len(ended) > n // the first had begun before
		},
	)
}

func (s *Session) waitFrom(
	next int,
	timeout time.Duration,
	what string,
	match func(b *model.Batch, e *model.Event) bool,
) {
	s.t.Helper()
	expired := false
	timer := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		expired = true
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for ; next < len(s.batches); next++ {
			b := s.batches[next]
			for i := range b.Events {
				if match(b, &b.Events[i]) {
					return
				}
			}
		}
		if expired {
			s.t.Fatalf("no %s within %v", what, timeout)
		}
		s.changed.Wait()
	}
}

// Stop ends the session and returns everything that it emitted. It fails the
// test when the engine reports an error. Further calls return the same.
func (s *Session) Stop() []*model.Batch {
	s.t.Helper()
	if !s.stopped {
		s.stopped = true
		s.cancel()
		if err := <-s.done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches
}

// Each calls f for every event of the batches.
func Each(batches []*model.Batch, f func(b *model.Batch, e *model.Event)) {
	for _, b := range batches {
		for i := range b.Events {
			f(b, &b.Events[i])
		}
	}
}
