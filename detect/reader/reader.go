// Package reader says what kept a program from its socket, by what its watched threads did meanwhile, in the same
// words for every detector that asks.
package reader

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// Cause is what kept a thread from its socket.
type Cause int

const (
	// None: nothing that is known.
	None Cause = iota
	// NoCPU: it could have run, and other tasks had its CPU.
	NoCPU
	// Throttled: its control group had used up its CPU quota.
	Throttled
	// Frozen: its control group was frozen.
	Frozen
	// Suspended: it was stopped by a signal or a debugger.
	Suspended
	// Disk, Lock and Memory: it waited for something else.
	Disk
	Lock
	Memory
	// Asleep: it slept.
	Asleep
	// Elsewhere: it waited for another socket or file.
	Elsewhere
	// Busy: it computed, and left its socket alone.
	Busy
	// Stolen: the hypervisor had its CPU. It is not seen of a thread, but of the CPUs.
	Stolen
)

// names are the causes in the keys of cases.
var names = [...]string{
	"unknown", "no-cpu", "throttled", "frozen", "stopped", "disk", "lock", "memory", "asleep", "elsewhere", "busy",
	"stolen",
}

func (c Cause) String() string { return names[c] }

// heldBy are the causes by the state in which a thread was held up, and whether
// that is a state of all threads of a process: of any other it must be the one
// that is known to use the socket, as idle threads of any program wait for
// locks, for other sockets, and behind other tasks.
var heldBy = map[model.SchedState]struct {
	cause Cause
	all   bool
}{
	model.SchedWaiting:   {NoCPU, false},
	model.SchedThrottled: {Throttled, true},
	model.SchedFrozen:    {Frozen, true},
	model.SchedStopped:   {Suspended, true},
	model.SchedDisk:      {Disk, false},
	model.SchedLock:      {Lock, false},
	model.SchedMemory:    {Memory, false},
	model.SchedSleeping:  {Asleep, false},
	model.SchedInput:     {Elsewhere, false},
}

// HeldBy returns what keeps a thread in a state from its socket, and whether all threads of a process are in that
// state together; ok is false for states that keep it from nothing.
func HeldBy(state model.SchedState) (cause Cause, all, ok bool) {
	by, ok := heldBy[state]
	return by.cause, by.all, ok
}

// IsFutex says that a thread waited for another one of its process.
func IsFutex(stay *fold.StateTime) bool {
	return stay.State == model.SchedLock && strings.HasPrefix(stay.Detail, "futex")
}

// Behind returns what held up all threads of a process while one of them waited for another: the wait is its
// consequence then, however it was divided among the threads of a runtime that lends them out. threads are those of the
// process in the same time; ok is false where nothing held them up for at least half as long as the wait.
func Behind(wait *fold.StateTime, threads ...fold.Scheduling) (stay fold.StateTime, cause Cause, ok bool) {
	if !IsFutex(wait) {
		return stay, None, false
	}
	var most time.Duration
	for i := range threads {
		for _, s := range threads[i].States {
			of, all, held := HeldBy(s.State)
			if kept := max(s.Longest, min(s.Total, wait.Longest)); held && all && 2*kept >= wait.Longest && kept > most {
				stay, cause, ok, most = s, of, true, kept
			}
		}
	}
	return stay, cause, ok
}

// IsElsewhere says that a thread waited for input that cannot have been that of
// a socket: for one other descriptor, and not for several.
func IsElsewhere(cookie uint64, protocol model.Protocol, port uint16, stay *fold.StateTime) bool {
	if stay.Cookie != 0 {
		return cookie != 0 && stay.Cookie != cookie
	}
	call := stay.Detail
	if _, after, ok := strings.Cut(call, " eventpoll ["); ok {
		// All that it waits for is listed. One with the same port may be the socket.
		of, _, _ := strings.Cut(after, "]")
		return !slices.Contains(strings.Split(of, ", "), protocol.String()+":"+strconv.Itoa(int(port)))
	}
	call, _, _ = strings.Cut(call, ":")
	_, descriptor, ok := strings.Cut(call, " fd ")
	_, what, described := strings.Cut(descriptor, " ")
	if !ok || !described {
		return false // several, or not known
	}
	switch what {
	case "eventpoll", "io_uring", "socket", "udp", "tcp":
		return false // several, or a socket that could not be asked which it is
	}
	return true
}

// IsPoll says that a thread waited in a call that returns at once when data waits on one of its descriptors.
func IsPoll(stay *fold.StateTime) bool {
	call, _, _ := strings.Cut(stay.Detail, ":")
	return slices.Contains([]string{"poll", "ppoll", "select", "pselect6"}, call)
}

// StateText says what a thread does in a state.
func StateText(s model.SchedState) string {
	switch s {
	case model.SchedRunning:
		return "on a CPU"
	case model.SchedWaiting:
		return "waiting for a CPU"
	case model.SchedInput:
		return "waiting for input"
	case model.SchedDisk, model.SchedLock, model.SchedMemory:
		return "waiting for " + s.String()
	}
	return s.String()
}

// RivalName names a task that ran instead, with its policy where that says that others must wait.
func RivalName(r fold.Rival) string {
	name := fold.Printable(r.Task)
	if r.PID > 0 {
		name = words.Task(r.Task, r.PID)
	}
	switch r.Policy {
	case model.SchedPolicyFIFO, model.SchedPolicyRR:
		name += fmt.Sprintf(" (SCHED_%s %d)", words.Tense(r.Policy == model.SchedPolicyRR, "RR", "FIFO"), r.Priority)
	case model.SchedPolicyDeadline:
		name += " (SCHED_DEADLINE)"
	}
	return name
}

// Stay is a time in which something kept a thread from its socket.
type Stay struct {
	fold.StateTime
	Cause Cause
	// For is how long, Ongoing whether it still lasts.
	For     time.Duration
	Ongoing bool
	// PID is the process, Sends says that its thread sends rather than reads.
	PID   int32
	Sends bool
	// Writes says that its thread writes a log.
	Writes bool
	// Fits says that which thread it is was not seen, and that one was kept for just as long.
	Fits bool
	// Unread is the longest time for which data waited meanwhile, where that was seen.
	Unread time.Duration
	// Rivals are the tasks that had the CPU while its threads waited for it, in the time that Watched is long.
	Rivals  []fold.Rival
	Watched time.Duration
}

// Explain says why, in the words that follow the name of the program, gives the chain of causes, and advice. It adds to
// the evidence of f who had the CPU meanwhile.
func (s *Stay) Explain(f *model.Finding) (why string, causes []string, advice string) {
	long := words.Span(s.For)
	was := words.Tense(s.Ongoing, "has been", "was")
	thread, reads := "the thread that reads the socket", "reads"
	if s.Sends {
		thread, reads = "the thread that sends", "sends"
	}
	role, done := words.Tense(s.Sends, "sender", "reader"), words.Tense(s.Sends, "sent", "read")
	if s.Writes {
		thread, reads, role, done = "the thread that writes the log", "does the work", "program", "written"
	}
	if s.Fits {
		thread = "one of its threads, for as long as nothing was " + done + ","
	}
	group := ""
	if s.Cgroup != "" {
		group = " (" + fold.Printable(s.Cgroup) + ")"
	}
	detail := ""
	if s.Detail != "" {
		detail = " (" + fold.Printable(s.Detail) + ")"
	}
	if s.Writes {
		if why, causes, advice = s.quietly(thread, detail); why != "" {
			return why, causes, advice
		}
	}
	switch s.Cause {
	case NoCPU:
		why = "got no CPU for " + long
		causes = s.rivals(f)
		advice = fmt.Sprintf("Give the %s its own CPU or a higher priority (chrt, cpuset, nice), or move what "+
			"occupies its CPU elsewhere, unless that must run there", role)
	case Throttled:
		why = was + " throttled for " + long
		limit := "its control group" + group + " had used up its CPU quota"
		if s.Period > 0 {
			limit += fmt.Sprintf(": %s in each %s", words.Span(s.Limit), words.Span(s.Period))
		}
		causes = []string{limit}
		advice = "Raise or remove the quota (cpu.max, CPUQuota=, limits.cpu), or reduce the program's work; cpu.stat shows " +
			"how often it is throttled"
	case Frozen:
		why = was + " frozen for " + long
		causes = []string{"its control group" + group + " was frozen (cgroup.freeze, a container's pause, a checkpoint)"}
		advice = "Find out who froze the group and why, and thaw it (0 in cgroup.freeze, THAWED in freezer.state), unless " +
			"it was intended"
	case Suspended:
		why = was + " stopped for " + long
		causes = []string{"a signal or a debugger stopped it" + detail}
		advice = fmt.Sprintf("Find out who sent SIGSTOP or attached a debugger, and resume the program "+
			"(kill -CONT %d), unless it was intended", max(s.PID, 0))
	case Disk:
		why = "waited for the disk for " + long
		causes = []string{thread + " was blocked on storage" + detail}
		advice = "Take logging and files out of the thread that " + reads + ", or make them asynchronous, unless the " +
			"disk is at fault: look at iostat first"
	case Lock:
		why = "waited for a lock for " + long
		causes = []string{thread + " waited for a lock" + detail}
		if IsFutex(&s.StateTime) {
			why = "waited for another thread (futex: a lock or a condition) for " + long
			causes = []string{thread + " waited for another thread of its process" + detail +
				words.Tense(s.Sends || s.Writes, "", ", and nobody read the socket in that time")}
		}
		advice = "Find out who holds the lock (gdb, perf lock, /proc/PID/stack), unless the thread was just waiting for work"
	case Memory:
		why = "waited for memory for " + long
		causes = []string{thread + " waited for memory: reclaim or a page fault" + detail}
		advice = fmt.Sprintf("Give the host or its control group more memory, or lock the %s's (mlockall), unless "+
			"something leaks", role)
	case Busy:
		why = "was busy with other work for " + long
		all := "all the time"
		if !s.Sends && 4*s.For < 3*s.Unread {
			all = "for " + long + " of that time"
		}
		causes = []string{thread + " had a CPU " + all + ", and did not " + words.Tense(s.Sends, "send",
			"read: data waited for up to "+words.Span(s.Unread))}
		advice = "Read the socket in a separate thread, or do less work between two reads (perf top shows what it does), " +
			"unless that work is the processing of the packets"
		if s.Sends {
			advice = "Send from a separate thread, or do less work between two packets (perf top shows what it does), unless " +
				"that work produces the packets"
		}
	case Stolen:
		why = "had no CPU: the hypervisor took it for " + long
		causes = []string{"The hypervisor ran something else on the CPUs of this virtual machine (steal)"}
		advice = "Give the virtual machine dedicated CPUs, or move it to a host that is not overcommitted; first check " +
			"whether its own CPU limit is the reason"
	case Asleep:
		did, instead := sleepOf(s.Detail)
		why = did + " for " + long
		causes = []string{thread + " " + did + detail}
		if advice = instead; advice != "" {
			break
		}
		advice = "Take the sleep out of the thread that " + reads + ", or let another one do it, unless the program " +
			"means to pause"
	default:
		why = "waited for something else for " + long
		causes = []string{thread + " waited for other input" + detail}
		advice = "Wait for both at once (epoll), or read the socket in a separate thread, unless the pause is intended"
		if s.Sends {
			advice = "Send from a separate thread, unless the pause is intended"
		}
	}
	return why, causes, advice
}

// sleepOf says what a thread did that slept, by where it did, and what to do; advice is empty where it just slept.
func sleepOf(detail string) (did, advice string) {
	_, function, _ := strings.Cut(detail, ": ")
	switch {
	case strings.HasSuffix(function, "pipe_write"):
		return "waited to write to a full pipe", "Find out why the program at the other end of the pipe does not read it " +
			"(ls -l /proc/*/fd, its log), unless it was stopped on purpose"
	case function == "__inet_stream_connect", function == "inet_wait_for_connect":
		return "waited for a connection to be made", "Check whether what it connects to answers (ss -tnp state syn-sent " +
			"shows it), or connect in another thread with a timeout, unless that may take so long"
	case function == "do_wait", function == "kernel_wait4", function == "wait_for_vfork_done":
		return "waited for another process to end", "Find out what it started and what that did (ps --ppid), or start it " +
			"from another thread, unless that may take so long"
	case function == "sk_stream_wait_memory", function == "sock_wait_for_wmem", function == "sock_alloc_send_pskb",
		function == "unix_wait_for_peer":
		return "waited for room to send on a socket", "Find out why its peer does not read (ss -tanp shows Send-Q), or " +
			"send without waiting, unless that may take so long"
	}
	return "slept", ""
}

// quietly explains why a program wrote nothing to its log though nothing kept it from that; why is empty where
// something did.
func (s *Stay) quietly(thread, detail string) (why string, causes []string, advice string) {
	long := words.Span(s.For)
	switch s.Cause {
	case Busy:
		return "was busy for " + long, []string{thread + " had a CPU all the time"},
			"Find out what it computes (perf top -p " + words.Itoa(max(s.PID, 0)) + "), unless that is its job"
	case Asleep:
		return "slept for " + long, []string{thread + " slept" + detail},
			"Look for the sleep in the program, unless the pause is intended"
	case Elsewhere:
		return "waited for input for " + long,
			[]string{thread + " waited for input" + detail + ": nothing came that it could log"},
			"Check what it waits for (its peers and clients), unless there was nothing to do"
	}
	return "", nil, ""
}

// rivals names who had the CPU meanwhile.
func (s *Stay) rivals(f *model.Finding) []string {
	if len(s.Rivals) == 0 {
		return []string{"Other tasks had its CPU; which ones is unknown"}
	}
	in := "in that time"
	if s.Watched > s.For {
		in = "in the " + words.Span(s.Watched) + " watched"
	}
	for _, r := range s.Rivals[:min(len(s.Rivals), 4)] {
		f.Evidence = append(f.Evidence,
			detect.Evidence(fmt.Sprintf("%s ran on CPU %d %s", RivalName(r), r.CPU, in), float64(r.Run), "ns"))
	}
	top := s.Rivals[0]
	f.Subject.CPU = top.CPU
	text := fmt.Sprintf("%s had CPU %d %s: %s", RivalName(top), top.CPU, in, words.Span(top.Run))
	if top.Cgroup != "" {
		text += " (" + fold.Printable(top.Cgroup) + ")"
	}
	return []string{text}
}
