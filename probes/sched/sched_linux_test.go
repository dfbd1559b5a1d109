package sched

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/cgroup"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
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

// accuracy is what is added to the inaccuracy that is allowed: times in an
// emulated guest are as coarse as they are slow.
func accuracy() float64 {
	if vmtest.Guest() {
		return 0.15
	}
	return 0
}

// between says whether got is within two times, or near one of them.
func between(got, low, high time.Duration, share float64) bool {
	return low <= got && got <= high || near(got, low, share) || near(got, high, share)
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not come", what)
		}
	}
}

// threadState reads the state of a thread, one letter.
func threadState(t *testing.T, tid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tid))
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	return fields[:1]
}

// near says whether got is within a share of want, and 20 ms.
func near(got, want time.Duration, share float64) bool {
	return (got - want).Abs() <= max(time.Duration(float64(want)*(share+accuracy())), 20*time.Millisecond)
}

// ranFor says whether a child was seen to run for as long as its own clock says.
// That clock stands still in interrupts where the kernel accounts them by
// themselves, and the probe does not see those of the local timer, which have no
// handler: in an emulated guest on a busy host they took 40 % of a CPU.
func ranFor(got time.Duration, p part, share float64) bool {
	if ran, wall := time.Duration(p.CPU), time.Duration(p.Wall); vmtest.Guest() && got > ran {
		return got <= wall+20*time.Millisecond
	}
	return near(got, time.Duration(p.CPU), share)
}

// A real-time task takes the CPU of a thread that always wants it: it is named,
// with its policy and priority, and it ran for as long as its own clock says.
func TestRivalIsNamed(t *testing.T) {
	victim := newChild(t, "spin")
	hog := newChild(t, "spin")
	victim.pin(1)
	hog.pin(1)
	s := watching(t, processOf(victim))
	victim.begin()
	s.Intervals(1)
	if err := unix.SchedSetAttr(
		hog.part.TID, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 42}, 0,
	); err != nil {
		t.Fatal(err)
	}
	hog.begin()
	time.Sleep(700 * time.Millisecond)
	played := hog.end()
	hogged := time.Duration(played.CPU)
	s.Intervals(1)
	o := result(t, s, victim.part.TID)
	ran, of := o.ran(hog.part.TID)
	waited, locked := o.total(model.SchedWaiting), o.total(model.SchedLock)
	t.Logf("the hog ran for %v; seen %v; it waited %v, in locks %v", hogged, ran, waited, locked)
	// The Go runtime takes the victim's thread off its work every 10 ms and gives it back from another thread,
	// which may itself wait behind the hog: the victim then waits for a lock, and not for the CPU.
	long := ranFor(ran, played, 0.1) || ranFor(ran+locked, played, 0.1)
	if !long || of.Policy != model.SchedPolicyFIFO || of.Priority != 42 ||
		int(of.PID) != hog.pid() || of.CPU != 1 || of.Task != "lb-spin" {
		t.Errorf("the hog ran for %v: %v, %+v", hogged, ran, of)
	}
	if waited+locked < hogged*9/10 || waited < hogged/2 {
		t.Errorf("it waited %v behind a hog of %v", waited, hogged)
	}
	var all time.Duration
	for _, r := range o.rivals {
		all += r.Run
	}
	if all > waited+20*time.Millisecond {
		t.Errorf("rivals ran for %v while it waited %v", all, waited)
	}
}

// throttledTime reads for how long a group was held back.
func throttledTime(folder string) time.Duration { return time.Duration(cgroup.ThrottledNS(folder)) }

// quotaGroup makes a control group that has 20 of 100 ms of a CPU.
func quotaGroup(t *testing.T) (folder string) {
	t.Helper()
	folder, unified := group(t, "cpu")
	if unified {
		put(t, filepath.Join(folder, "cpu.max"), "20000 100000")
	} else {
		put(t, filepath.Join(folder, "cpu.cfs_period_us"), "100000")
		put(t, filepath.Join(folder, "cpu.cfs_quota_us"), "20000")
	}
	return folder
}

// A quota holds the reader back, which is told with the group and its limit.
func TestThrottled(t *testing.T) {
	folder := quotaGroup(t)
	c := newChild(t, "spin", folder)
	s := watching(t, processOf(c))
	before := throttledTime(folder)
	c.begin()
	time.Sleep(2 * time.Second)
	p := c.end()
	held := throttledTime(folder) - before // the sum over CPUs
	s.Intervals(1)
	o := result(t, s, c.part.TID)
	got, want := o.total(model.SchedThrottled), time.Duration(p.Wall-p.CPU)-o.total(model.SchedWaiting)
	t.Logf("its own clock: %v; cpu.stat: %v; seen %v", want, held, got)
	if !near(got, want, 0.1) || got > held+20*time.Millisecond {
		t.Errorf("throttled for %v, its own clock says %v, cpu.stat %v", got, want, held)
	}
	of := o.longest(model.SchedThrottled)
	if of.Limit != 20*time.Millisecond || of.Period != 100*time.Millisecond ||
		filepath.Base(of.Cgroup) != filepath.Base(folder) {
		t.Errorf("%+v", of)
	}
}

// A frozen control group, both versions of it, while it is watched and before.
func TestLongFrozen(t *testing.T) {
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
	await(t, "the freeze", func() bool { return isFrozen(t, folder, unified) })
	took := time.Since(began)
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
	t.Logf(
		"frozen for %v: seen %v in all, longest %v by %q",
		frozen, o.total(model.SchedFrozen), longest.Longest, longest.Cgroup,
	)
	if filepath.Base(longest.Cgroup) != filepath.Base(folder) {
		t.Errorf("frozen by %q", longest.Cgroup)
	}
	slack := 50*time.Millisecond + time.Duration(float64(frozen)*accuracy())
	if total := o.total(model.SchedFrozen); role == "read" && (total < watchedFrozen-slack || total > frozen+slack) {
		t.Errorf("frozen for %v, %v of it watched, seen %v", frozen, watchedFrozen, total)
	}
	low, high := frozen-took-slack, frozen+slack
	if role == "sleep" {
		// It is frozen in its sleep, which is noticed when it is listed, or as it is woken.
		low, high = frozen-time.Second, frozen+time.Second
	}
	if longest.Longest < low || longest.Longest > high {
		t.Errorf("frozen for %v, seen %v", frozen, longest.Longest)
	}
}

// isFrozen says that all tasks of a group are.
func isFrozen(t *testing.T, folder string, unified bool) bool {
	t.Helper()
	file, want := "freezer.state", "FROZEN"
	if unified {
		file, want = "cgroup.events", "frozen 1"
	}
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), want)
}

// A stopped process, while it is watched and before.
func TestLongStopped(t *testing.T) {
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
			await(t, "the stop", func() bool { return threadState(t, c.part.TID) == "T" })
			took := time.Since(began) // until it had a CPU to stop on
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
			t.Logf("stopped for %v, the stop took %v of it: seen %v", stopped, took, longest.Longest)
			if !between(longest.Longest, stopped-took, stopped, 0.05) || longest.Detail != "SIGSTOP" {
				t.Errorf("stopped for %v: %+v", stopped, longest)
			}
		})
	}
}

// blocked is a case of TestLongBlocked.
type blocked struct {
	role, argument string
	state          model.SchedState
	detail         string
	// groups are the control groups of the child, share the inaccuracy that is allowed.
	groups []string
	share  float64
	during func(t *testing.T)
}

// Where a thread blocks is told by state and detail, for as long as its own
// clock says.
func TestLongBlocked(t *testing.T) {
	for _, test := range []blocked{
		{role: "pipe", state: model.SchedInput, detail: "read fd "},
		{role: "futex", state: model.SchedLock, detail: "futex: futex_"},
		{role: "sleep", state: model.SchedSleeping, detail: "nanosleep: "},
		lockedFile(t),
		slowDisk(t),
		littleMemory(t),
	} {
		t.Run(test.role, func(t *testing.T) {
			if test.role == "" {
				t.Skip("not on this host")
			}
			testBlocked(t, test)
		})
	}
}

func testBlocked(t *testing.T, test blocked) {
	c := newChild(t, test.role+" "+test.argument, test.groups...)
	s := watching(t, processOf(c))
	c.begin()
	if test.during != nil {
		test.during(t)
	} else {
		time.Sleep(2500 * time.Millisecond)
	}
	p := c.end()
	s.Intervals(1)
	o := result(t, s, c.part.TID)
	longest := o.longest(test.state)
	// What its clock saw pass in the call, without the time that it ran or waited to run.
	blocked, seen := time.Duration(p.Blocked-p.CPU)-o.total(model.SchedWaiting), o.total(test.state)
	t.Logf("blocked for %v, and %v on the CPU; seen %v", blocked, time.Duration(p.CPU), seen)
	if !near(seen, blocked, test.share+0.1) || !strings.HasPrefix(longest.Detail, test.detail) {
		t.Errorf("blocked for %v, seen %v: %+v", blocked, seen, longest)
	}
}

// lockedFile is a file that this process locks.
func lockedFile(t *testing.T) blocked {
	file := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return blocked{
		role: "flock", argument: file, state: model.SchedLock, detail: "flock fd ",
		during: func(t *testing.T) {
			for range 2 {
				f, err := os.Open(file)
				if err == nil {
					err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(800 * time.Millisecond)
				f.Close()
			}
		},
	}
}

// slowDisk is a file on a device that gives the child's control group two reads a second.
func slowDisk(t *testing.T) blocked {
	file := filepath.Join(testutil.Root(t), "probes/sched", ".direct")
	if vmtest.Guest() {
		return blocked{}
	}
	if err := os.WriteFile(file, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file) })
	var stat unix.Stat_t
	if err := unix.Stat(file, &stat); err != nil {
		t.Fatal(err)
	}
	folder, unified := group(t, "blkio")
	device := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	if unified {
		put(t, filepath.Join(folder, "io.max"), device+" riops=2")
	} else {
		put(t, filepath.Join(folder, "blkio.throttle.read_iops_device"), device+" 2")
	}
	return blocked{
		role: "direct", argument: file, state: model.SchedDisk, detail: "pread64 fd ", groups: []string{folder},
	}
}

// littleMemory is a group that has less memory than its process wants.
func littleMemory(t *testing.T) blocked {
	folder, unified := group(t, "memory")
	if !unified {
		return blocked{} // version 1 reclaims on the CPU: see the guests
	}
	put(t, filepath.Join(folder, "memory.high"), "16M")
	return blocked{
		role: "memory", argument: strconv.Itoa(64 << 20), state: model.SchedMemory, groups: []string{folder}, share: 0.2,
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

// A thread that computes is told as running, for as long as its own clock says.
func TestBusyItself(t *testing.T) {
	c := newChild(t, "spin")
	s := watching(t, processOf(c))
	c.begin()
	time.Sleep(1500 * time.Millisecond)
	played := c.end()
	s.Intervals(1)
	o := result(t, s, c.part.TID)
	if got := o.total(model.SchedRunning); !ranFor(got, played, 0.05) {
		t.Errorf("it ran for %v of %v, seen %v", time.Duration(played.CPU), time.Duration(played.Wall), got)
	}
}

// Interrupts on another CPU's behalf are served by that CPU's ksoftirqd, which
// is found by the CPU.
func TestKsoftirqdOfACPU(t *testing.T) {
	tids := kernelThreads("/proc", func(name string) bool { return name == "ksoftirqd/0" })
	if len(tids) != 1 {
		t.Fatalf("ksoftirqd/0: %v", tids)
	}
	s := watching(t, model.Request{PID: -1, TID: -1, CPU: 0})
	s.Intervals(2)
	o := result(t, s, int(tids[0]))
	sleeps := o.longest(model.SchedSleeping)
	if sleeps.Task != "ksoftirqd/0" || sleeps.Detail != "smpboot_thread_fn" || sleeps.Total == 0 {
		t.Errorf("%+v", o.states)
	}
}

// Threads that begin while their process is watched are followed.
func TestNewThreads(t *testing.T) {
	c := newChild(t, "threads")
	s := watching(t, processOf(c))
	c.begin()
	time.Sleep(1200 * time.Millisecond)
	c.end()
	s.Intervals(1)
	seen := make(map[int32]time.Duration)
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.SchedStateEvent(e); ok && v.State == model.SchedRunning {
			seen[v.TID] += v.Total
		}
	})
	var ran time.Duration
	for _, tid := range c.part.Threads {
		ran += seen[int32(tid)]
	}
	if want := time.Duration(c.part.Blocked); len(c.part.Threads) < 5 || !near(ran, want, 0.2) {
		t.Errorf("threads %v ran for %v, seen %v: %v", c.part.Threads, want, ran, seen)
	}
}

// What is not there is refused, and nothing stays attached.
func TestRefused(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	for _, r := range []model.Request{
		{PID: 1 << 30, TID: -1, CPU: -1},
		{PID: -1, TID: 1 << 30, CPU: -1},
		{PID: -1, TID: -1, CPU: 100000},
		{PID: -1, TID: -1, CPU: -1},
		{PID: -1, TID: -1, CPU: -1, Name: "no such thread"},
	} {
		r.Kind = model.RequestSched
		s.Request(r)
	}
	s.Intervals(1)
	refused := 0
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if r, ok := b.RequestEvent(e); ok && r.State == model.RequestRefused {
			refused++
			t.Log(r.Reason)
		}
		if e.Kind == model.KindSchedState {
			t.Error("something is watched")
		}
	})
	if refused != 5 {
		t.Errorf("%d of 5 requests are refused", refused)
	}
}
