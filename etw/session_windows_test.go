package etw_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/windows"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/etwfake"
	"lostbeat/internal/hint"
	"lostbeat/internal/testutil"
)

// fake is the DLL that plays ETW, as a test has set it up.
type fake struct {
	*etw.FakeETW
	log string
}

// newFake sets the DLL up with events and further settings, NAME=VALUE.
func newFake(t testing.TB, events []etwfake.Event, settings ...string) *fake {
	t.Helper()
	path := os.Getenv("LOSTBEAT_ETWFAKE")
	if path == "" {
		t.Skip("LOSTBEAT_ETWFAKE names no DLL that plays ETW; TestLongWine of internal/etwfake runs this under Wine")
	}
	dir, err := os.MkdirTemp("", "etw") // t.TempDir cannot be removed under Wine 8
	if err != nil {
		t.Fatal(err)
	}
	file, log := filepath.Join(dir, "events"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, etwfake.Encode(events), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"FAIL", "SESSIONS", "BUFFER_MS", "END_MS", "BUFFERS", "FOREIGN"} {
		t.Setenv("ETWFAKE_"+name, "")
	}
	for _, s := range append(settings, "EVENTS="+file, "LOG="+log) {
		name, value, _ := strings.Cut(s, "=")
		t.Setenv("ETWFAKE_"+name, value)
	}
	f, err := etw.NewFakeETW(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := windows.NewLazyDLL(path).NewProc("EtwFakeReset").Call(); !errors.Is(err, syscall.Errno(0)) {
		t.Fatal(err)
	}
	return &fake{f, log}
}

// start starts a session, which the end of the test stops.
func (f *fake) start(t testing.TB, system bool, buffers etw.BufferReader) *etw.FakeSession {
	t.Helper()
	kind := "user"
	if system {
		kind = "system"
	}
	s, err := f.Start(kind, system, buffers)
	if err != nil {
		t.Fatal(err)
	}
	if !system {
		for _, p := range []etw.GUID{etw.ProviderAFD, etw.ProviderRPC, etw.ProviderKernelNetwork} {
			if err := s.Enable(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// stop stops a session and returns what it lost since the last look.
func stop(t testing.TB, s *etw.FakeSession) uint64 {
	t.Helper()
	events, buffers, err := s.Stop()
	if err != nil || buffers != 0 {
		t.Fatal(buffers, err)
	}
	if err := s.Fault(); err != nil {
		t.Fatal(err)
	}
	return events
}

// datagrams are n datagrams that come every so often.
func datagrams(t testing.TB, n uint32, every time.Duration) []etwfake.Event {
	t.Helper()
	w := etltest.New(etltest.Options{})
	w.Datagram(0, 0, 43, 700, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 5405, 5405)
	events := fromETL(t, w.Bytes())
	events[0].Repeat, events[0].Every = n, every
	return events
}

// fromETL returns the events of a capture.
func fromETL(t testing.TB, data []byte) []etwfake.Event {
	t.Helper()
	events, err := etwfake.FromETL(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	later(events)
	return events
}

// later lets events come when the providers are enabled.
func later(events []etwfake.Event) {
	for i := range events {
		events[i].At += 100 * time.Millisecond
	}
}

// records returns what a session has received, each with its time after the first one.
func records(t testing.TB, s *etw.FakeSession) (all []etw.Record) {
	t.Helper()
	if err := s.Release(func(r *etw.Record) error {
		own := *r
		own.Payload, own.Extended = bytes.Clone(r.Payload), bytes.Clone(r.Extended)
		if own.Classic() {
			own.Flags, own.Payload = 0, nil // flags are those of EVENT_HEADER; payloads of PerfInfo begin with a time
		}
		all = append(all, own)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].Time -= all[0].Time * uint64(min(i, 1))
	}
	if len(all) > 0 {
		all[0].Time = 0
	}
	return all
}

// codes are the errors that the functions of ETW are documented to return.
var codes = []uint32{5, 50, 87, 112, 183, 1314, 1450, 1460, 4201}

// TestSessionErrors lets each function fail with each error: it is said what was tried, in a sentence of our own.
func TestSessionErrors(t *testing.T) {
	for _, code := range codes {
		for _, call := range []string{"user", "enable", "open", "process", "query"} {
			t.Run(fmt.Sprintf("%s/%d", call, code), func(t *testing.T) {
				f := newFake(t, nil, fmt.Sprintf("FAIL=%s=%d", call, code))
				s, err := f.Start("user", false, nil)
				if err == nil {
					defer stop(t, s)
					switch call {
					case "enable":
						err = s.Enable(etw.ProviderAFD, 1, 2)
					case "process":
						err = s.Ended(t.Context())
					case "query":
						_, _, err = s.Losses()
					}
				}
				var failed *etw.CallError
				if !errors.As(err, &failed) || failed.Code != code {
					t.Fatalf("%v, want error %d", err, code)
				}
				if number := fmt.Sprintf("(error %d)", code); !strings.HasSuffix(failed.Error(), number) || hint.Of(err) == "" {
					t.Errorf("%q, hint %q", failed.Error(), hint.Of(err))
				}
				if code == 1450 && call == "user" && len(failed.Sessions) != 0 {
					t.Errorf("sessions %q, of none that run", failed.Sessions)
				}
				if names, err := f.Sessions(); call != "process" && s == nil && (err != nil || len(names) != 0) {
					t.Errorf("left running: %q %v", names, err)
				}
			})
		}
	}
}

// TestSessionDuplicate starts two sessions of one name: the second start is refused with error 183.
func TestSessionDuplicate(t *testing.T) {
	f := newFake(t, nil)
	if err := f.StartOnly("other"); err != nil {
		t.Fatal(err)
	}
	var failed *etw.CallError
	if err := f.StartOnly("OTHER"); !errors.As(err, &failed) || failed.Code != 183 {
		t.Errorf("%v, want error 183", err)
	}
	if names, err := f.Sessions(); err != nil || !slices.Equal(names, []string{"other"}) {
		t.Errorf("%q %v", names, err)
	}
	if err := f.StopNamed("other"); err != nil {
		t.Error(err)
	}
	if err := f.StopNamed("other"); !errors.As(err, &failed) || failed.Code != 4201 {
		t.Errorf("%v, want error 4201", err)
	}
}

// TestSessionTakeover finds a session with our own name, and those of others.
func TestSessionTakeover(t *testing.T) {
	name := etw.SessionName("user")
	f := newFake(t, datagrams(t, 10, 0), "SESSIONS=NT Kernel Logger;lostbeat-999998-user;"+name)
	if stopped := f.StopStale(); !slices.Equal(stopped, []string{"lostbeat-999998-user", name}) {
		t.Errorf("stopped %q", stopped)
	}
	if names, err := f.Sessions(); err != nil || !slices.Equal(names, []string{"NT Kernel Logger"}) {
		t.Errorf("left are %q %v", names, err)
	}
	f = newFake(t, datagrams(t, 10, 0), "SESSIONS=NT Kernel Logger;"+name)
	s := f.start(t, false, nil)
	stop(t, s)
	log, err := os.ReadFile(f.log)
	if err != nil {
		t.Fatal(err)
	}
	if stopped := bytes.Index(log, []byte("stop "+name)); stopped < 0 ||
		!bytes.Contains(log[stopped:], []byte("start "+name)) {
		t.Errorf("it was not started anew:\n%s", log)
	}
}

// TestSessionSystem has a system logger beside a session with providers: each gets its own events.
func TestSessionSystem(t *testing.T) {
	data := etltest.DPCStorm(etltest.Options{FlushTimer: true})
	events := fromETL(t, data)
	var want [2]uint64
	for i := range events {
		events[i].At = (events[i].At-100*time.Millisecond)/50 + 100*time.Millisecond // faster than it was
		events[i].Began = 0
		want[events[i].Session]++
	}
	f := newFake(t, events)
	system, user := f.start(t, true, nil), f.start(t, false, nil)
	for session, s := range []*etw.FakeSession{system, user} {
		if err := s.Wait(t.Context(), want[session]); err != nil {
			t.Error(err)
		}
		stop(t, s)
		received, dropped := s.Counts()
		if received != want[session] || dropped != 0 || received == 0 {
			t.Errorf("session %d: %d received of %d, %d dropped", session, received, want[session], dropped)
		}
		for _, r := range records(t, s) {
			if r.Classic() != (session == 0) {
				t.Fatalf("session %d has %+v", session, r)
			}
		}
	}
}

// TestSessionBuffers takes the same events through callbacks and as whole buffers.
func TestSessionBuffers(t *testing.T) {
	events := fromETL(t, etltest.Everything(etltest.Options{}))
	for _, system := range []bool{true, false} {
		var got [2][]etw.Record
		for i, buffers := range []etw.BufferReader{nil, etl.NewBufferReader()} {
			f := newFake(t, events, "END_MS=0")
			s := f.start(t, system, buffers)
			if err := s.Ended(t.Context()); err != nil {
				t.Fatal(err)
			}
			stop(t, s)
			if s.Single() != nil {
				t.Error(s.Single())
			}
			got[i] = records(t, s)
		}
		if d := cmp.Diff(got[0], got[1]); d != "" || len(got[0]) < 5 {
			t.Errorf("system %v: %d records; one by one and from buffers differ (-one +buffers):\n%s", system, len(got[0]), d)
		}
	}
}

// TestSessionBuffersOfFiles plays the buffers of captures: their records are those that a file's reader finds.
func TestSessionBuffersOfFiles(t *testing.T) {
	files := map[string][]byte{
		"storm": etltest.DPCStorm(etltest.Options{Processors: 4}), "leak": etltest.PortLeak(etltest.Options{}),
		"mixture": etltest.Mixture(etltest.Options{BufferSize: 64 << 10, Processors: 3}, 20_000),
	}
	if data := os.Getenv("LOSTBEAT_DATA"); data != "" {
		real, err := filepath.Glob(filepath.Join(data, "etl", "*.etl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range real {
			if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			var want []etw.Key
			for r, err := range etl.Records(bytes.NewReader(data), int64(len(data))) {
				var damage *etl.Damage
				if err != nil && !errors.As(err, &damage) {
					t.Fatal(err)
				}
				if err == nil && r.Header != etw.HeaderMessage && r.Class != etw.ClassLost {
					want = append(want, r.Key())
				}
			}
			head, err := etl.ReadHeader(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if head.Compression != 0 {
				t.Skip("a session compresses only what it writes to a file")
			}
			f := newFake(t, nil, "END_MS=0")
			path := filepath.Join(filepath.Dir(f.log), "capture.etl")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			f = newFake(t, nil, "END_MS=0", "BUFFERS="+path)
			s := f.start(t, true, etl.NewBufferReader())
			if err := s.Ended(t.Context()); err != nil {
				t.Fatal(err)
			}
			stop(t, s)
			var got []etw.Key
			if err := s.Release(func(r *etw.Record) error {
				got = append(got, r.Key())
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			_, dropped := s.Counts()
			for _, keys := range [][]etw.Key{got, want} {
				slices.SortFunc(keys, func(a, b etw.Key) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
			if !slices.Equal(got, want) || dropped != 0 || len(want) == 0 {
				t.Errorf("%d records from the buffers, %d dropped, %d in the file", len(got), dropped, len(want))
			}
		})
	}
}

// TestSessionSlowConsumer lets the consumer wait: what the session loses meanwhile is counted.
func TestSessionSlowConsumer(t *testing.T) {
	const n = 2000
	f := newFake(t, datagrams(t, n, 500*time.Microsecond), "BUFFER_MS=100")
	s := f.start(t, false, nil)
	if err := s.Wait(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	release := s.Block()
	time.Sleep(500 * time.Millisecond)
	release()
	time.Sleep(time.Second) // until the last is due
	queried, _, err := s.Losses()
	if err != nil {
		t.Fatal(err)
	}
	lost := queried + stop(t, s)
	received, _ := s.Counts()
	if received+lost != n || lost == 0 || lost == n {
		t.Errorf("%d received and %d lost of %d", received, lost, n)
	}
}

// TestSessionLossCounters wants a loss that only one of the counters has to be reported once.
func TestSessionLossCounters(t *testing.T) {
	for name, c := range map[string]struct {
		by              etwfake.LostBy
		events, buffers uint64
	}{
		"EventsLost":           {etwfake.LostEvents, 20, 0},
		"RT_LostEvent":         {etwfake.LostRecord, 20, 0},
		"RealTimeBuffersLost":  {etwfake.LostBuffers, 0, 20},
		"RT_LostBuffer":        {etwfake.LostBufferRecord, 0, 20},
		"the time of the last": {etwfake.LostTime, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			lost := datagrams(t, 20, time.Millisecond)
			for i := range lost {
				lost[i].Lost = c.by
			}
			f := newFake(t, lost)
			s := f.start(t, false, nil)
			time.Sleep(500 * time.Millisecond) // until the last is due
			var events, buffers uint64
			for range 5 {
				e, b, err := s.Losses()
				if err != nil {
					t.Fatal(err)
				}
				events, buffers = events+e, buffers+b
			}
			e, b, err := s.Stop()
			if err != nil {
				t.Fatal(err)
			}
			if events, buffers = events+e, buffers+b; events != c.events || buffers != c.buffers {
				t.Errorf("%d events and %d buffers lost, want %d and %d", events, buffers, c.events, c.buffers)
			}
		})
	}
}

// TestSessionLossAtEnd wants the losses of a session that somebody else has stopped before they were asked for.
func TestSessionLossAtEnd(t *testing.T) {
	lost := datagrams(t, 20, time.Millisecond)
	for i := range lost {
		lost[i].Lost = etwfake.LostRecord
	}
	f := newFake(t, lost, "END_MS=0")
	s := f.start(t, false, nil)
	if err := s.Ended(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events := stop(t, s); events != 20 {
		t.Errorf("%d events lost, want 20", events)
	}
}

// TestSessionForeignThread is called back on a thread that is none of Go's.
func TestSessionForeignThread(t *testing.T) {
	const n = 10_000
	f := newFake(t, datagrams(t, n, 0), "FOREIGN=1", "END_MS=0")
	s := f.start(t, false, nil)
	if err := s.Ended(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	if got := len(records(t, s)); got != n {
		t.Errorf("%d records of %d", got, n)
	}
}

// TestSessionStopped is stopped by somebody else while it is read.
func TestSessionStopped(t *testing.T) {
	f := newFake(t, datagrams(t, 1_000_000, time.Millisecond))
	s := f.start(t, false, nil)
	if err := s.Wait(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if err := f.StopNamed(etw.SessionName("user")); err != nil {
		t.Fatal(err)
	}
	if err := s.Ended(t.Context()); err != nil {
		t.Errorf("ProcessTrace: %v", err)
	}
	var failed *etw.CallError
	if _, _, err := s.Losses(); !errors.As(err, &failed) || failed.Code != 4201 {
		t.Errorf("%v, want error 4201", err)
	}
	stop(t, s)
}

// TestSessionPanic lets the callback panic: that does not cross the frames of Windows, and is reported.
func TestSessionPanic(t *testing.T) {
	for _, buffers := range []etw.BufferReader{nil, etl.NewBufferReader()} {
		events := datagrams(t, 10, 0)
		f := newFake(t, events, "END_MS=0")
		s := f.start(t, false, buffers)
		s.Break()
		if err := s.Ended(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Stop(); err != nil {
			t.Error(err)
		}
		if s.Fault() == nil {
			t.Error("the panic is not reported")
		}
	}
}

// BenchmarkCallback receives a million records, each with a callback, or in whole buffers, and hands them through the
// merger. The time that the DLL takes to make them is part of it; "made" is that time alone, of records that are lost.
func BenchmarkCallback(b *testing.B) {
	const n = 1_000_000
	for _, c := range []struct {
		name    string
		buffers etw.BufferReader
		lost    etwfake.LostBy
	}{
		{name: "made", lost: etwfake.LostEvents}, {name: "records"}, {name: "buffers", buffers: etl.NewBufferReader()},
	} {
		b.Run(c.name, func(b *testing.B) {
			events := datagrams(b, n, 0)
			events[0].Lost = c.lost
			want := uint64(n)
			if c.lost != etwfake.NotLost {
				want = 0
			}
			var cpu time.Duration
			var before, after runtime.MemStats
			var allocated uint64
			for b.Loop() {
				f := newFake(b, events, "END_MS=0")
				runtime.ReadMemStats(&before)
				began := testutil.CPUTime(b)
				s := f.start(b, false, c.buffers)
				released := s.ReleaseUntilEnded(b)
				cpu += testutil.CPUTime(b) - began
				runtime.ReadMemStats(&after)
				allocated += after.Mallocs - before.Mallocs
				if received, dropped := s.Counts(); received != want || released+dropped != want {
					b.Fatalf("%d received, %d dropped, %d released of %d", received, dropped, released, want)
				}
				stop(b, s)
			}
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/n, "cpu-ns/record")
			b.ReportMetric(float64(allocated)/float64(b.N)/n, "allocs/record")
		})
	}
}
