package ebpf_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/platform"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// burst writes n bursts on the given processor and returns the processor time
// that they took.
func burst(t testing.TB, flood *ebpftest.Flood, cpu, n int, pause time.Duration) (writing time.Duration) {
	runtime.LockOSThread() // ends with its goroutine, the affinity with it
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Errorf("run on CPU %d: %v", cpu, err)
		return 0
	}
	start, before := time.Now(), cpuTime(t, unix.CLOCK_THREAD_CPUTIME_ID)
	for i := range n {
		if err := flood.Burst(); err != nil {
			t.Errorf("burst: %v", err)
			return 0
		}
		time.Sleep(time.Until(start.Add(time.Duration(i+1) * pause)))
	}
	return cpuTime(t, unix.CLOCK_THREAD_CPUTIME_ID) - before
}

// cpuTime reads a clock of processor time. Unlike the times of getrusage, these
// clocks count up to the moment of the call, not to the last timer tick.
func cpuTime(t testing.TB, clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		t.Error(err)
	}
	return time.Duration(ts.Nano())
}

// totals counts the flood's events, and what the loss events say, and fails the
// test when events are out of order, twice there, or not there without a loss.
func totals(t *testing.T, batches []*model.Batch) (events, lost uint64) {
	t.Helper()
	last := make(map[int32]uint64)
	var previous model.Time
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if e.Time < previous {
			t.Fatalf("event at %v after one at %v", e.Time, previous)
		}
		previous = e.Time
		if run, ok := b.DeferredRun(e); ok {
			events++
			if run.Routine <= last[run.CPU] {
				t.Fatalf("CPU %d: record %d after record %d", run.CPU, run.Routine, last[run.CPU])
			}
			last[run.CPU] = run.Routine
		}
		if loss, ok := b.Loss(e); ok {
			if loss.Origin != "ringbuf" || loss.Detail != "flood: deferred.run" || loss.CPU < 0 {
				t.Errorf("unexpected loss: %+v", loss)
			}
			lost += loss.Lost
		}
	})
	return events, lost
}

func TestEveryRecordArrives(t *testing.T) {
	flood := &ebpftest.Flood{}
	s := ebpftest.Start(t, ebpf.Options{}, flood)
	const bursts = 100
	var wg sync.WaitGroup
	cpus := onlineCPUs(t)
	for _, cpu := range cpus {
		wg.Go(func() { burst(t, flood, cpu, bursts, 20*time.Millisecond) })
	}
	wg.Wait()
	events, lost := totals(t, s.Stop())
	if want := uint64(bursts * ebpftest.FloodBurst * len(cpus)); events != want || lost != 0 {
		t.Errorf("%d events, %d lost; %d records were written", events, lost, want)
	}
}

func TestLossIsCounted(t *testing.T) {
	flood := &ebpftest.Flood{}
	s := ebpftest.Start(t, ebpf.Options{RingBytes: os.Getpagesize()}, flood)
	const bursts = 100
	burst(t, flood, onlineCPUs(t)[0], bursts, 0)
	events, lost := totals(t, s.Stop())
	if want := uint64(bursts * ebpftest.FloodBurst); events+lost != want || lost == 0 || events == 0 {
		t.Errorf("%d events + %d lost = %d; %d records were written", events, lost, events+lost, want)
	}
}

// A reader that is stopped must not slow the host: a full ringbuf costs less
// per record than one that is read.
func TestStoppedReader(t *testing.T) {
	flood := &ebpftest.Flood{}
	testutil.Privileged(t)
	live, err := ebpf.New(ebpf.Options{}, []ebpf.Probe{flood})
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	started := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		first := true
		done <- live.Run(ctx, func(*model.Batch) error {
			if first {
				first = false
				close(started)
				return nil
			}
			<-gate // a reader that hangs
			return nil
		})
	}()
	<-started
	measure := func() time.Duration {
		best := time.Hour
		for range 50 {
			start := time.Now()
			if err := flood.Burst(); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	reading := measure() // fills the ringbuf: 50 bursts of 200 KB into 8 MiB, read or not
	for range 50 {
		if err := flood.Burst(); err != nil {
			t.Fatal(err)
		}
	}
	stopped := measure()
	t.Logf(
		"%v per record while there is room, %v with a stopped reader",
		reading/ebpftest.FloodBurst,
		stopped/ebpftest.FloodBurst,
	)
	if stopped > 2*reading {
		t.Errorf("a burst takes %v with a stopped reader, %v while there is room", stopped, reading)
	}
	close(gate)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func onlineCPUs(t *testing.T) []int {
	t.Helper()
	cpus, err := platform.OnlineCPUs()
	if err != nil {
		t.Fatal(err)
	}
	return cpus
}

func TestFirstBatchDescribesTheStream(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, &ebpftest.Flood{}, broken{})
	first := s.Stop()[0]
	keys := make(map[string]string)
	var clocks int
	states := make(map[string]model.Probe)
	for i := range first.Events {
		e := &first.Events[i]
		if m, ok := first.Meta(e); ok {
			keys[m.Key] = m.Value
		}
		if c, ok := first.Clock(e); ok {
			clocks++
			if d := time.Duration(c.Wall - c.Time); d.Abs() > time.Second {
				t.Errorf("wall clock is %v from event time", d)
			}
			if c.Bracket <= 0 || c.Bracket > time.Millisecond {
				t.Errorf("clocks were read in a bracket of %v", c.Bracket)
			}
		}
		if p, ok := first.Probe(e); ok {
			states[p.Name] = p
		}
	}
	for _, key := range []string{
		"host", "os", "kernel", "arch", "cpus", "boot_id", "tool", "source", "clock", "start_wall",
	} {
		if keys[key] == "" {
			t.Errorf("no meta %s", key)
		}
	}
	if keys["os"] != "linux" || keys["source"] != "live" {
		t.Errorf("os %q, source %q", keys["os"], keys["source"])
	}
	if clocks != 1 {
		t.Errorf("%d clock events", clocks)
	}
	if s := states["flood"]; s.State != model.ProbeOn {
		t.Errorf("flood: %+v", s)
	}
	if s := states["broken"]; s.State != model.ProbeOff || s.Reason != "no such hook" || s.Hint != "get one" {
		t.Errorf("broken: %+v", s)
	}
}

// broken is a probe that does not attach.
type broken struct{}

func (broken) Name() string                            { return "broken" }
func (broken) Kinds() []model.Kind                     { return nil }
func (broken) Attach(*ebpf.Env) (ebpf.Attached, error) { return nil, noHookError{} }

type noHookError struct{}

func (noHookError) Error() string { return "no such hook" }
func (noHookError) Hint() string  { return "get one" }

// ending is a probe that does something before it loads a program, and something when it is attached.
type ending struct {
	*ebpftest.Flood
	before, after func()
	loaded        error
	closed        bool
}

func (p *ending) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	p.before()
	_, p.loaded = p.Flood.Attach(env)
	p.after()
	return p, p.loaded
}

func (p *ending) Close() error {
	p.closed = true
	return p.Flood.Close()
}

// A run that ends before all probes are attached attaches no more, and says of none that it failed. One whose deadline
// passes meanwhile goes on.
func TestEndWhileAttaching(t *testing.T) {
	testutil.Privileged(t)
	nothing := func() {}
	run := func(ctx context.Context, before, after func()) (first, second *ending, said int) {
		first = &ending{Flood: &ebpftest.Flood{}, before: before, after: after}
		second = &ending{Flood: &ebpftest.Flood{}, before: nothing, after: nothing, loaded: errors.New("not tried")}
		live, err := ebpf.New(ebpf.Options{}, []ebpf.Probe{first, second})
		if err != nil {
			t.Fatal(err)
		}
		if err := live.Run(ctx, func(b *model.Batch) error {
			for i := range b.Events {
				if p, ok := b.Probe(&b.Events[i]); ok && p.Name == first.Name() {
					said++
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		return first, second, said
	}
	for name, early := range map[string]bool{"before it loads a program": true, "when it is attached": false} {
		ctx, cancel := context.WithCancel(t.Context())
		before, after := nothing, cancel
		if early {
			before, after = cancel, nothing
		}
		first, second, said := run(ctx, before, after)
		if early != errors.Is(first.loaded, context.Canceled) || early == first.closed || second.loaded == nil || said > 0 {
			t.Errorf("ended %s: loaded %v, closed %v; the next one %v; %d states", name, first.loaded, first.closed,
				second.loaded, said)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if first, second, said := run(ctx, nothing, nothing); first.loaded != nil || second.loaded != nil || said == 0 {
		t.Errorf("after a deadline: %v, %v, %d states", first.loaded, second.loaded, said)
	}
}

func TestIntervalsEndOnWholeSeconds(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, &ebpftest.Flood{})
	s.Intervals(3)
	var ends []model.Time
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if c, ok := b.Counter(e); ok && c.Name == "self.cpu" {
			if n := len(ends); n > 0 && c.Time.Add(-c.Dur) != ends[n-1] {
				t.Errorf("an interval from %v follows one up to %v", c.Time.Add(-c.Dur), ends[n-1])
			}
			ends = append(ends, c.Time)
		}
	})
	whole := len(slices.DeleteFunc(slices.Clone(ends), func(t model.Time) bool { return t%model.Time(time.Second) != 0 }))
	if whole < len(ends)-2 { // the last ends with the session; one may have come late on a busy machine
		t.Errorf("%d of %d intervals end on a whole second: %v", whole, len(ends), ends)
	}
}

// unprivileged tells this test binary that it runs as nobody.
const unprivileged = "LOSTBEAT_TEST_UNPRIVILEGED"

func TestMissingPrivileges(t *testing.T) {
	if os.Getenv(unprivileged) == "" {
		if os.Getuid() != 0 {
			t.Skip("only root can become nobody")
		}
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run=^TestMissingPrivileges$", "-test.v")
		file, err := os.Open(binary) // nobody may not enter the folder that it is in
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.ExtraFiles = []*os.File{file}
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), unprivileged+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestMissingPrivileges") {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
		return
	}
	_, err := ebpf.New(ebpf.Options{}, nil)
	var privilege *platform.PrivilegeError
	if !errors.As(err, &privilege) {
		t.Fatalf("New: %v, want a PrivilegeError", err)
	}
	if want := []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}; !slices.Equal(privilege.Missing, want) {
		t.Errorf("missing %q, want %q", privilege.Missing, want)
	}
	if !strings.Contains(privilege.Hint(), "sudo") {
		t.Errorf("hint %q does not say how", privilege.Hint())
	}
}

func TestNewRefuses(t *testing.T) {
	testutil.Privileged(t)
	for name, options := range map[string]ebpf.Options{
		"ring of odd size": {RingBytes: 3 << 20},
		"ring of one byte": {RingBytes: 1},
		"negative ring":    {RingBytes: -4096},
		"unknown probe":    {Only: []string{"nosuch"}},
	} {
		if _, err := ebpf.New(options, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
