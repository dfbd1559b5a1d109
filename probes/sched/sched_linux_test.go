package sched

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// observed is what the probe said of one thread.
type observed struct {
	states map[model.SchedState][]model.SchedStateEvent
	rivals []model.SchedRival
	waits  []model.SchedHist
}

// total is the time in a state.
func (o *observed) total(state model.SchedState) (total time.Duration) {
	for _, s := range o.states[state] {
		total += s.Total
	}
	return total
}

// longest is the event with the longest stay in a state.
func (o *observed) longest(state model.SchedState) (longest model.SchedStateEvent) {
	for _, s := range o.states[state] {
		if s.Longest > longest.Longest {
			longest = s
		}
	}
	return longest
}

// ran is the time for which a rival ran.
func (o *observed) ran(tid int) (run time.Duration, of model.SchedRival) {
	for _, r := range o.rivals {
		if int(r.TID) == tid {
			run += r.Run
			of = r
		}
	}
	return run, of
}

// watching starts the probe and a request for the process of a child.
func watching(t *testing.T, request model.Request) *ebpftest.Session {
	t.Helper()
	s := ebpftest.Start(t, ebpf.Options{}, New())
	request.Kind = model.RequestSched
	ask(t, s, request)
	return s
}

func ask(t *testing.T, s *ebpftest.Session, request model.Request) {
	t.Helper()
	request.For = 30 * time.Second
	s.Request(request)
	s.WaitFor(10*time.Second, "request", func(b *model.Batch, e *model.Event) bool {
		r, ok := b.RequestEvent(e)
		if ok && r.State == model.RequestRefused {
			t.Fatalf("refused: %s", r.Reason)
		}
		return ok && r.State == model.RequestOn
	})
}

func processOf(c *child) model.Request { return model.Request{PID: int32(c.pid()), TID: -1, CPU: -1} }

// result ends the session and returns what was said of a thread.
func result(t *testing.T, s *ebpftest.Session, tid int) *observed {
	t.Helper()
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	o := &observed{states: make(map[model.SchedState][]model.SchedStateEvent)}
	shown := 0
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		of := false
		if v, ok := b.SchedStateEvent(e); ok && int(v.TID) == tid {
			o.states[v.State] = append(o.states[v.State], v)
			of = true
		}
		if v, ok := b.SchedRival(e); ok && int(v.VictimTID) == tid {
			o.rivals = append(o.rivals, v)
			of = true
		}
		if v, ok := b.SchedHist(e); ok && int(v.TID) == tid {
			o.waits = append(o.waits, v)
			of = true
		}
		if v, ok := b.Loss(e); ok {
			t.Errorf("lost: %+v", v)
		}
		if of && shown < 60 {
			shown++
			t.Logf("%s", model.AppendText(nil, b, e))
		}
	})
	return o
}

// near says whether got is within a share of want, and 20 ms.
func near(got, want time.Duration, share float64) bool {
	return (got - want).Abs() <= max(time.Duration(float64(want)*share), 20*time.Millisecond)
}

// A real-time task takes the reader's CPU: it is named, with its policy and
// priority, and it ran for as long as its own clock says.
func TestRivalIsNamed(t *testing.T) {
	reader := newChild(t, "read")
	hog := newChild(t, "spin")
	reader.pin(1)
	hog.pin(1)
	s := watching(t, processOf(reader))
	reader.begin()
	stop := send(t, reader.part.Port)
	s.Intervals(1)
	if err := unix.SchedSetAttr(
		hog.part.TID, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 42}, 0,
	); err != nil {
		t.Fatal(err)
	}
	hog.begin()
	time.Sleep(700 * time.Millisecond)
	hogged := time.Duration(hog.end().CPU)
	s.Intervals(1)
	stop()
	o := result(t, s, reader.part.TID)
	ran, of := o.ran(hog.part.TID)
	waited := o.total(model.SchedWaiting)
	t.Logf("the hog ran for %v; seen %v; the reader waited %v", hogged, ran, waited)
	if !near(ran, hogged, 0.1) || of.Policy != model.SchedPolicyFIFO || of.Priority != 42 ||
		int(of.PID) != hog.pid() || of.CPU != 1 || of.Task != "lb-spin" {
		t.Errorf("the hog ran for %v: %v, %+v", hogged, ran, of)
	}
	if waited < hogged*9/10 {
		t.Errorf("the reader waited %v behind a hog of %v", waited, hogged)
	}
	var all time.Duration
	for _, r := range o.rivals {
		all += r.Run
	}
	if all > waited+20*time.Millisecond {
		t.Errorf("rivals ran for %v while the reader waited %v", all, waited)
	}
}

// throttledTime reads for how long a group was held back.
func throttledTime(folder string) time.Duration { return time.Duration(readThrottled(folder)) }

// A quota holds the reader back, which is told with the group and its limit.
func TestThrottled(t *testing.T) {
	folder, unified := group(t, "cpu")
	if unified {
		put(t, filepath.Join(folder, "cpu.max"), "20000 100000")
	} else {
		put(t, filepath.Join(folder, "cpu.cfs_period_us"), "100000")
		put(t, filepath.Join(folder, "cpu.cfs_quota_us"), "20000")
	}
	c := newChild(t, "spin", folder)
	s := watching(t, processOf(c))
	before := throttledTime(folder)
	c.begin()
	time.Sleep(2 * time.Second)
	c.end()
	held := throttledTime(folder) - before
	s.Intervals(1)
	o := result(t, s, c.part.TID)
	got := o.total(model.SchedThrottled)
	t.Logf("cpu.stat: %v; seen %v", held, got)
	if !near(got, held, 0.2) {
		t.Errorf("throttled for %v, cpu.stat says %v", got, held)
	}
	of := o.longest(model.SchedThrottled)
	if of.Limit != 20*time.Millisecond || of.Period != 100*time.Millisecond ||
		filepath.Base(of.Cgroup) != filepath.Base(folder) {
		t.Errorf("%+v", of)
	}
}

// A frozen control group, both versions of it, while it is watched and before.
func TestFrozen(t *testing.T) {
	for _, version := range []string{"freezer", "freezer2"} {
		for _, role := range []string{"read", "sleep"} {
			for _, late := range []bool{false, true} {
				t.Run(version+" "+role+" late "+strconv.FormatBool(late), func(t *testing.T) {
					testFrozen(t, version, role, late)
				})
			}
		}
	}
}

func testFrozen(t *testing.T, version, role string, late bool) {
	folder, unified := group(t, version)
	freeze := func(on bool) {
		switch {
		case unified && on:
			put(t, filepath.Join(folder, "cgroup.freeze"), "1")
		case unified:
			put(t, filepath.Join(folder, "cgroup.freeze"), "0")
		case on:
			put(t, filepath.Join(folder, "freezer.state"), "FROZEN")
		default:
			put(t, filepath.Join(folder, "freezer.state"), "THAWED")
		}
	}
	c := newChild(t, role, folder)
	t.Cleanup(func() { freeze(false) })
	c.begin()
	stop := func() {}
	if role == "read" {
		stop = send(t, c.part.Port)
	}
	s := ebpftest.Start(t, ebpf.Options{}, New())
	request := processOf(c)
	request.Kind = model.RequestSched
	if !late {
		ask(t, s, request)
		s.Intervals(1)
	}
	began := time.Now()
	freeze(true)
	if late {
		time.Sleep(300 * time.Millisecond)
		ask(t, s, request)
	}
	watched := time.Now()
	time.Sleep(1500 * time.Millisecond)
	freeze(false)
	frozen, watchedFrozen := time.Since(began), time.Since(watched)
	s.Intervals(1)
	stop()
	o := result(t, s, c.part.TID)
	longest := o.longest(model.SchedFrozen)
	t.Logf("frozen for %v: seen %v in all, longest %v by %q", frozen,
		o.total(model.SchedFrozen), longest.Longest, longest.Cgroup)
	if filepath.Base(longest.Cgroup) != filepath.Base(folder) {
		t.Errorf("frozen by %q", longest.Cgroup)
	}
	if role == "read" && !near(o.total(model.SchedFrozen), watchedFrozen, 0.05) {
		t.Errorf("frozen for %v while watched, seen %v", watchedFrozen, o.total(model.SchedFrozen))
	}
	low, high := frozen-50*time.Millisecond, frozen+50*time.Millisecond
	if role == "sleep" {
		// It is frozen in its sleep, which is noticed when it is listed, or as it is woken.
		low, high = frozen-time.Second, frozen+time.Second
	}
	if longest.Longest < low || longest.Longest > high {
		t.Errorf("frozen for %v, seen %v", frozen, longest.Longest)
	}
}

// A stopped process, while it is watched and before.
func TestStopped(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run("late "+strconv.FormatBool(late), func(t *testing.T) {
			c := newChild(t, "read")
			c.begin()
			stop := send(t, c.part.Port)
			defer stop()
			time.Sleep(50 * time.Millisecond)
			s := ebpftest.Start(t, ebpf.Options{}, New())
			request := processOf(c)
			request.Kind = model.RequestSched
			if !late {
				ask(t, s, request)
				s.Intervals(1)
			}
			began := time.Now()
			if err := c.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if late {
				time.Sleep(300 * time.Millisecond)
				ask(t, s, request)
			}
			time.Sleep(1200 * time.Millisecond)
			if err := c.cmd.Process.Signal(unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			stopped := time.Since(began)
			s.Intervals(1)
			o := result(t, s, c.part.TID)
			longest := o.longest(model.SchedStopped)
			t.Logf("stopped for %v: seen %v", stopped, longest.Longest)
			if !near(longest.Longest, stopped, 0.05) || longest.Detail != "SIGSTOP" {
				t.Errorf("stopped for %v: %+v", stopped, longest)
			}
		})
	}
}

// Where a thread blocks is told by state and detail, for as long as its own
// clock says.
func TestBlocked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(file, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		role, argument string
		state          model.SchedState
		detail         string
	}{
		{"pipe", "", model.SchedInput, "read fd "},
		{"futex", "", model.SchedLock, "futex: "},
		{"sleep", "", model.SchedSleeping, "nanosleep"},
	} {
		t.Run(test.role, func(t *testing.T) {
			c := newChild(t, test.role+" "+test.argument)
			s := watching(t, processOf(c))
			c.begin()
			time.Sleep(2500 * time.Millisecond)
			blocked := time.Duration(c.end().Blocked)
			s.Intervals(1)
			o := result(t, s, c.part.TID)
			longest := o.longest(test.state)
			t.Logf("blocked for %v, seen %v", blocked, o.total(test.state))
			if !near(o.total(test.state), blocked, 0.1) || !strings.HasPrefix(longest.Detail, test.detail) {
				t.Errorf("blocked for %v, seen %v: %+v", blocked, o.total(test.state), longest)
			}
		})
	}
}

// A reader that waits for its own datagrams waits for input, of its own socket.
func TestInputOfItsOwnSocket(t *testing.T) {
	c := newChild(t, "read")
	c.begin()
	stop := send(t, c.part.Port)
	s := watching(t, processOf(c))
	s.Intervals(2)
	stop()
	o := result(t, s, c.part.TID)
	longest := o.states[model.SchedInput][1] // a whole second
	if longest.Cookie != c.part.Cookie || !strings.Contains(longest.Detail, "udp:"+strconv.Itoa(c.part.Port)) {
		t.Errorf("socket %d with port %d: %+v", c.part.Cookie, c.part.Port, longest)
	}
	if longest.Count < 50 {
		t.Errorf("%d waits for a datagram every 10 ms", longest.Count)
	}
}
