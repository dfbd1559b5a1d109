package etw

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// FakeETW is the functions of ETW from a DLL of the tests, in place of those of Windows.
type FakeETW struct{ api api }

// NewFakeETW returns the functions of the DLL at path.
func NewFakeETW(path string) (*FakeETW, error) {
	f := &FakeETW{apiOf(windows.NewLazyDLL(path))}
	return f, errors.Join(f.api.check(), f.api.openLogger.Find())
}

// SessionName returns the name of a session of this process.
func SessionName(kind string) string { return sessionName(kind) }

// StartOnly starts a session that nobody reads.
func (f *FakeETW) StartOnly(name string) error {
	p := newProperties()
	p.LogFileMode = modeRealTime
	_, err := f.api.start(name, p)
	return err
}

// StopNamed stops a session by its name.
func (f *FakeETW) StopNamed(name string) error {
	_, err := f.api.control(0, name, controlStop)
	return err
}

// StopStale stops what earlier processes have left.
func (f *FakeETW) StopStale() []string { return stopStale(&f.api) }

// Sessions lists the sessions.
func (f *FakeETW) Sessions() ([]string, error) { return f.api.sessions() }

// FakeSession is a session of ours that reads the events of the DLL.
type FakeSession struct {
	*session
	merger *Merger
	stream *Stream
}

// Start starts a session: a system logger, or one with providers. buffers is nil where records come one by one.
func (f *FakeETW) Start(kind string, system bool, buffers BufferReader) (*FakeSession, error) {
	s := &FakeSession{merger: NewMerger(0)}
	s.stream = s.merger.Stream()
	flags := uint32(0)
	if system {
		flags = kernelDPC
	}
	var err error
	s.session, err = startSession(&f.api, kind, flags, &consumer{stream: s.stream, buffers: buffers})
	return s, err
}

// Enable enables a provider, for events of the given ids or for all.
func (s *FakeSession) Enable(guid GUID, ids ...uint16) error {
	return s.enable(provider{guid: guid, name: "a provider", level: 5}, ids)
}

// Wait waits until the session has ended, or a second has passed after received records came.
func (s *FakeSession) Wait(ctx context.Context, received uint64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if n, _ := s.stream.Counts(); n >= received {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.err
		case <-time.After(time.Millisecond):
		}
	}
}

// Ended waits until ProcessTrace has returned, and returns its error.
func (s *FakeSession) Ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.err
	}
}

// Single says why records come one by one although buffers were asked for.
func (s *FakeSession) Single() error { return s.single }

// Block lets whoever hands over records wait until the function it returns is called.
func (s *FakeSession) Block() (release func()) {
	s.stream.mu.Lock()
	return s.stream.mu.Unlock
}

// Break lets the callback panic.
func (s *FakeSession) Break() { s.consumer.stream = nil }

// Fault returns the panic of the callback.
func (s *FakeSession) Fault() error {
	if fault := s.consumer.fault.Load(); fault != nil {
		return fault
	}
	return nil
}

// Counts returns how many records were received, and how many of them did not fit into memory.
func (s *FakeSession) Counts() (received, dropped uint64) { return s.stream.Counts() }

// Losses returns what the session has lost since the last call.
func (s *FakeSession) Losses() (events, buffers uint64, err error) { return s.losses() }

// Stop stops the session and returns the last of what it lost.
func (s *FakeSession) Stop() (events, buffers uint64, err error) { return s.stop() }

// ReleaseUntilEnded hands the records on to nobody while they come, and returns how many there were.
func (s *FakeSession) ReleaseUntilEnded(b *testing.B) (n uint64) {
	b.Helper()
	for ended := false; ; {
		if err := s.Release(func(*Record) error {
			n++
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		if ended {
			return n
		}
		select {
		case <-s.done:
			ended = true
		case <-time.After(livePoll):
		}
	}
}

// Release hands the records on, in order of time.
func (s *FakeSession) Release(each func(*Record) error) error {
	return s.merger.Release(^uint64(0), each)
}
