package fold

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Bounds of what is remembered of watched threads and of what was asked for.
const (
	maxWatched  = 1024
	maxReadings = 2048
	maxRivals   = 16
	maxStacks   = 32
	maxInputs   = 16
)

// StateTime is how long a watched thread was in one state.
type StateTime struct {
	State model.SchedState
	// Total is the time in it, Longest the longest single stay, Count how often it was entered.
	Total, Longest time.Duration
	Count          uint64
	// Detail is the system call or kernel function of the longest stay, Cgroup the control group that throttles or
	// freezes; empty unknown.
	Detail, Cgroup string
	// Limit and Period are the CPU quota of a throttled thread, 0 unknown.
	Limit, Period time.Duration
	// Cookie is the socket whose input it waited for longest, 0 none or several.
	Cookie uint64
}

// Rival is a task that ran while a watched thread waited for its CPU.
type Rival struct {
	PID, TID, CPU int32
	Task, Cgroup  string
	Policy        model.SchedPolicy
	Priority      int64
	// Run is the time that it ran meanwhile.
	Run time.Duration
}

// Watched is a thread whose scheduling is watched.
type Watched struct {
	PID, TID int32
	Task     string
	seconds  [MaxWindow]watchedSecond
	seen     model.Time
	// inputs are sockets whose input it has waited for.
	inputs []uint64
}

type watchedSecond struct {
	states []StateTime
	rivals []Rival
}

// Scheduling is what the watched threads of one process did in the window.
type Scheduling struct {
	// Threads is how many of them there are; 0 says that nothing is known.
	Threads int
	// Covered is the time over which they were watched, of the thread watched longest.
	Covered time.Duration
	// States are their times by state, the longest single stay of any thread first; Last is that of the last second alone.
	States, Last []StateTime
	// Rivals are the tasks that ran while one of them waited, the longest first.
	Rivals []Rival
}

// In returns the time in one state, a zero one when there was none.
func (s *Scheduling) In(state model.SchedState) StateTime { return in(s.States, state) }

// InLast is the same of the last second alone.
func (s *Scheduling) InLast(state model.SchedState) StateTime { return in(s.Last, state) }

func in(list []StateTime, state model.SchedState) StateTime {
	for _, t := range list {
		if t.State == state {
			return t
		}
	}
	return StateTime{State: state}
}

func (w *Fold) applySchedState(v model.SchedStateEvent) {
	t := w.watch(v.PID, v.TID, v.Task, v.Time)
	if t == nil {
		return
	}
	if v.State == model.SchedInput && v.Cookie != 0 && len(t.inputs) < maxInputs && !slices.Contains(t.inputs, v.Cookie) {
		t.inputs = append(t.inputs, v.Cookie)
	}
	t.seconds[w.Slot].states = addState(t.seconds[w.Slot].states, StateTime{
		State: v.State, Total: v.Total, Longest: v.Longest, Count: v.Count, Detail: v.Detail, Cgroup: v.Cgroup,
		Limit: v.Limit, Period: v.Period, Cookie: v.Cookie,
	})
}

func (w *Fold) applySchedRival(v model.SchedRival) {
	t := w.watch(int32(v.VictimPid), int32(v.VictimTID), v.Victim, v.Time)
	if t == nil {
		return
	}
	t.seconds[w.Slot].rivals = addRival(t.seconds[w.Slot].rivals, Rival{
		PID: v.PID, TID: v.TID, CPU: v.CPU, Task: v.Task, Cgroup: v.Cgroup, Policy: v.Policy, Priority: v.Priority,
		Run: v.Run,
	})
}

func (w *Fold) watch(pid, tid int32, task string, at model.Time) *Watched {
	t := w.watched[tid]
	if t == nil {
		if len(w.watched) >= maxWatched {
			return nil
		}
		t = &Watched{PID: pid, TID: tid}
		w.watched[tid] = t
	}
	if task != "" {
		t.Task = task
	}
	t.seen = max(t.seen, at)
	return t
}

func addState(list []StateTime, s StateTime) []StateTime {
	for i := range list {
		have := &list[i]
		if have.State != s.State {
			continue
		}
		have.Total += s.Total
		have.Count += s.Count
		if s.Longest > have.Longest {
			have.Longest = s.Longest
			have.Detail, have.Cookie = cmp.Or(s.Detail, have.Detail), s.Cookie
		}
		have.Cgroup = cmp.Or(have.Cgroup, s.Cgroup)
		have.Limit, have.Period = max(have.Limit, s.Limit), max(have.Period, s.Period)
		return list
	}
	return append(list, s)
}

func addRival(list []Rival, r Rival) []Rival {
	for i := range list {
		have := &list[i]
		if have.TID == r.TID && have.CPU == r.CPU && have.Task == r.Task {
			have.Run += r.Run
			return list
		}
	}
	if len(list) >= maxRivals {
		return list
	}
	return append(list, r)
}

// SchedulingOf returns what the watched threads of a process did in the window.
func (w *Fold) SchedulingOf(pid int32) Scheduling {
	return w.scheduling(w.Recent(), func(t *Watched) bool { return t.PID == pid })
}

// ReaderOf returns what the threads that read a socket did in the window: those
// that were seen to read it or to wait for its input, or the only thread of the
// only process that holds it. Where they are not known, or not watched, known is
// false, and all watched threads of the process are added up.
func (w *Fold) ReaderOf(s *Socket) (sum Scheduling, known bool) {
	sum, seen := w.threadsOf(w.Recent(), s.PID, s.readers[:], s.Key.Cookie)
	return sum, seen || sum.Threads == 1 && s.readers[0] == 0 && !s.Shared
}

// threadsOf returns what certain threads of a process did in the given seconds: those listed, or that wait for the
// input of a socket. Where they are not watched, seen is false, and all threads of the process are added up.
func (w *Fold) threadsOf(slots []int, pid int32, list []int32, cookie uint64) (sum Scheduling, seen bool) {
	sum = w.scheduling(slots, func(t *Watched) bool {
		return t.PID == pid && (slices.Contains(list, t.TID) || cookie != 0 && slices.Contains(t.inputs, cookie))
	})
	if sum.Threads > 0 {
		return sum, true
	}
	return w.scheduling(slots, func(t *Watched) bool { return t.PID == pid }), false
}

// ReaderSince returns what the thread that reads a followed socket did from a time on: the one that read it last, else
// those that have, or that wait for its input, or the only one of its process. Where none of them is known, known is
// false, and all watched threads are added up.
func (w *Fold) ReaderSince(s *Followed, from model.Time) (sum Scheduling, known bool) {
	return w.userSince(s, &s.readers, s.Key.Cookie, from)
}

// SenderSince returns the same of the thread that sends from it.
func (w *Fold) SenderSince(s *Followed, from model.Time) (sum Scheduling, known bool) {
	return w.userSince(s, &s.senders, 0, from)
}

// SenderBefore returns what the thread that sends from a followed socket did before a time, as far back as is kept.
func (w *Fold) SenderBefore(s *Followed, at model.Time) Scheduling {
	slots := w.Recent()
	slots = slots[:max(len(slots)-len(w.Since(at)), 0)]
	sum, _ := w.threadsOf(slots, s.PID, s.senders[:1], 0)
	return sum
}

func (w *Fold) userSince(s *Followed, list *threads, cookie uint64, from model.Time) (sum Scheduling, known bool) {
	slots := w.Since(from)
	if list[0] != 0 {
		if sum, known = w.threadsOf(slots, s.PID, list[:1], 0); known {
			return sum, true
		}
	}
	sum, seen := w.threadsOf(slots, s.PID, list[:], cookie)
	return sum, seen || sum.Threads == 1 && list[0] == 0
}

// ThreadsSince returns what each watched thread of a process did from a time on.
func (w *Fold) ThreadsSince(pid int32, from model.Time) (list []Scheduling) {
	slots := w.Since(from)
	for _, id := range slices.Sorted(maps.Keys(w.watched)) {
		if w.watched[id].PID == pid {
			list = append(list, w.scheduling(slots, func(t *Watched) bool { return t.TID == id }))
		}
	}
	return list
}

// Since returns the slots of the seconds from a time on, oldest first, as far back as they are kept.
func (w *Fold) Since(from model.Time) []int {
	n := int((w.Now-1)/Second - from/Second + 1)
	n = min(max(n, 1), MaxWindow)
	slots := make([]int, n)
	for i := range slots {
		slots[i] = (w.Slot - n + 1 + i + MaxWindow) % MaxWindow
	}
	return slots
}

func (w *Fold) scheduling(slots []int, match func(*Watched) bool) (s Scheduling) {
	for _, id := range slices.Sorted(maps.Keys(w.watched)) {
		t := w.watched[id]
		if !match(t) {
			continue
		}
		var covered time.Duration
		for _, i := range slots {
			for _, st := range t.seconds[i].states {
				s.States = addState(s.States, st)
				covered += st.Total
				if i == w.Slot {
					s.Last = addState(s.Last, st)
				}
			}
			for _, r := range t.seconds[i].rivals {
				s.Rivals = addRival(s.Rivals, r)
			}
		}
		if covered > 0 {
			s.Threads++
			s.Covered = max(s.Covered, covered)
		}
	}
	slices.SortStableFunc(s.States, func(a, b StateTime) int {
		return cmp.Or(cmp.Compare(b.Longest, a.Longest), cmp.Compare(a.State, b.State))
	})
	slices.SortStableFunc(s.Rivals, func(a, b Rival) int {
		return cmp.Or(cmp.Compare(b.Run, a.Run), cmp.Compare(a.TID, b.TID), cmp.Compare(a.CPU, b.CPU))
	})
	return s
}

// KsoftirqdOf returns what ksoftirqd of a CPU did in the window, where it is watched.
func (w *Fold) KsoftirqdOf(cpu int32) Scheduling {
	name := "ksoftirqd/" + strconv.Itoa(int(cpu))
	return w.scheduling(w.Recent(), func(t *Watched) bool { return t.Task == name })
}

// Reading is a value that was read because a detector asked for it.
type Reading struct {
	// At is when it was read, Previous the reading before, of which only At and Value are kept.
	At           model.Time
	Value, Limit float64
	Unit, Detail string
	PreviousAt   model.Time
	Previous     float64
}

// Rate is the rise per second between the last two readings, 0 when there was one only.
func (r *Reading) Rate() float64 {
	if r.PreviousAt == 0 || r.At <= r.PreviousAt {
		return 0
	}
	return (r.Value - r.Previous) / r.At.Sub(r.PreviousAt).Seconds()
}

// ReadingKey identifies a reading.
type ReadingKey struct {
	Name, Instance string
	// Netns is the network namespace, 0 the host's or none; Ifindex the device, 0 none.
	Netns   int64
	Ifindex int64
}

func (w *Fold) applyReading(v model.Reading) {
	if v.Name == model.ReadingSocketTables {
		p := w.Ports
		p.TablesAt = v.Time
		if p.TablesFrom == 0 {
			p.TablesFrom = v.Time
		}
	}
	k := ReadingKey{Name: v.Name, Instance: v.Instance, Netns: v.Netns, Ifindex: v.Ifindex}
	r := Reading{At: v.Time, Value: v.Value, Limit: v.Limit, Unit: v.Unit, Detail: v.Detail}
	if old, ok := w.readings[k]; ok {
		r.PreviousAt, r.Previous = old.At, old.Value
	} else if len(w.readings) >= maxReadings {
		return
	}
	w.readings[k] = r
}

// Readings returns the readings of a name in a network namespace, by instance.
// A namespace of 0 matches all.
func (w *Fold) Readings(name string, netns int64) (keys []ReadingKey, values []Reading) {
	for k := range w.readings {
		if k.Name == name && (netns == 0 || k.Netns == netns) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b ReadingKey) int {
		return cmp.Or(cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.Instance, b.Instance))
	})
	for _, k := range keys {
		values = append(values, w.readings[k])
	}
	return keys, values
}

// StackCount is how often a function was sampled in a task on one CPU.
type StackCount struct {
	Task, Function, Entry string
	PID                   int32
	// Softirq says that deferred work was running.
	Softirq bool
	Samples uint64
}

// Stacks are the kernel stacks sampled on one CPU in the window.
type Stacks struct {
	// Samples is all samples of the CPU, those of user code included; 0 says that it was not sampled.
	Samples uint64
	// Counts are the functions, the most frequent first.
	Counts []StackCount
}

type stackSecond struct {
	of     uint64
	counts []StackCount
}

func (w *Fold) applyStackSample(v model.StackSample) {
	if v.CPU < 0 {
		return
	}
	c := w.cpu(v.CPU)
	if c == &w.room.cpu {
		return
	}
	s := &c.stacks[w.Slot]
	s.of = max(s.of, v.Of)
	n := len(s.counts)
	s.counts = addStack(s.counts, StackCount{
		Task: v.Task, Function: v.Function, Entry: v.Entry, PID: v.PID, Softirq: v.Softirq, Samples: v.Samples,
	})
	list(&w.room, "kernel stacks", &s.counts, n, sampledBytes)
}

func addStack(list []StackCount, c StackCount) []StackCount {
	for i := range list {
		have := &list[i]
		if have.Task == c.Task && have.Function == c.Function && have.Entry == c.Entry && have.Softirq == c.Softirq {
			have.Samples += c.Samples
			return list
		}
	}
	if len(list) >= maxStacks {
		return list
	}
	return append(list, c)
}

// StacksOf returns what was sampled on a CPU in the window.
func (w *Fold) StacksOf(cpu int32) (s Stacks) {
	c := w.CPUs[cpu]
	if c == nil {
		return s
	}
	for _, i := range w.Recent() {
		s.Samples += c.stacks[i].of
		for _, n := range c.stacks[i].counts {
			s.Counts = addStack(s.Counts, n)
		}
	}
	slices.SortStableFunc(s.Counts, func(a, b StackCount) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Task, b.Task))
	})
	return s
}

// Refusal returns why a request for detail was refused, empty when it was not.
func (w *Fold) Refusal(kind model.RequestKind, name string) string {
	return w.refused[refusedRequest{kind, name}]
}

// NotSampled says why detail of a kind is missing, in a sentence: lostbeat leaves it out to stay within its own CPU
// time. It is empty when that is not so.
func (w *Fold) NotSampled(kind model.RequestKind) string {
	for _, p := range model.ShedParts {
		if p.Trace || p.Request != kind {
			continue
		}
		if now, ok := w.State.Probes[state.ProbeKey{Name: p.Probe, Part: p.Part}]; ok && now.Shed() {
			return p.What + " " + model.NotSampled + " (--max-cpu)"
		}
	}
	return ""
}

type refusedRequest struct {
	kind model.RequestKind
	name string
}

func (w *Fold) applyRequest(v model.RequestEvent) {
	k := refusedRequest{v.What, v.Name}
	switch v.State {
	case model.RequestRefused:
		if len(w.refused) < maxReadings {
			w.refused[k] = v.Reason
		}
	case model.RequestOn:
		delete(w.refused, k)
	}
}

// endWatched opens the next second and forgets what is no longer watched.
func (w *Fold) endWatched() {
	for id, t := range w.watched {
		t.seconds[w.Slot] = watchedSecond{}
		if w.Now.Sub(t.seen) > forgetWatched {
			delete(w.watched, id)
		}
	}
	for k, r := range w.readings {
		if w.Now.Sub(r.At) > forgetReading {
			delete(w.readings, k)
		}
	}
	for _, c := range w.CPUs {
		w.room.Give(len(c.stacks[w.Slot].counts) * sampledBytes)
		c.stacks[w.Slot] = stackSecond{}
	}
}
