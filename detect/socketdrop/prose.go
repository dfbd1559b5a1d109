package socketdrop

import (
	"fmt"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// telling is what the sentences of one finding are made of.
type telling struct {
	*overflow
	ongoing   bool
	at        moment
	who, port string
	lost      string
}

func (d *socketDrop) describe(in *detect.Case[overflow]) model.Finding {
	data := &in.Data
	s := data.socket
	lost := s.Total - min(s.Total, data.base)
	length := max(in.Seen.Sub(in.Start), time.Second)
	cause, at := data.moments.Worst()
	t := telling{
		overflow: data, ongoing: in.Ongoing(), at: at,
		who: words.Task(s.Process, s.PID), port: s.Protocol.String() + "/" + words.Itoa(s.Port),
		lost: fmt.Sprintf("%s lost in %s", words.Plural(lost, "packet"), words.Span(length)),
	}
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject: model.Subject{
			Kind:     "socket",
			CPU:      -1,
			PID:      s.PID,
			Process:  fold.Printable(s.Process),
			Protocol: s.Protocol.String(),
			Port:     s.Port,
		},
		Evidence: []model.Evidence{
			detect.Evidence("dropped at the receive queue", float64(lost), "packets"),
			detect.Evidence("drop rate", float64(lost)/length.Seconds(), "packets/s"),
		},
	}
	if at.readings > 0 {
		last := at.reading
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("in the queue, when most was lost", float64(last.QueuedBytes), "bytes"),
			detect.Evidence("limit of the queue (SO_RCVBUF)", float64(last.LimitBytes), "bytes"),
			detect.Evidence(
				"readings that found the queue more than half full",
				fold.Ratio(float64(at.fullReadings), float64(at.readings)),
				"ratio",
			),
			detect.Evidence("time since the program had last read, when most was lost", float64(last.Idle), "ns"),
		)
		f.RuledOut = append(f.RuledOut, "not lost on the way: the packets reached the socket's queue")
	}
	for _, st := range at.sched.States[:min(len(at.sched.States), 4)] {
		f.Evidence = append(f.Evidence,
			detect.Evidence("the reader was "+stateText(st.State)+", of the last seconds", float64(st.Total), "ns"))
	}
	switch {
	case cause.held():
		t.held(&f, cause)
	case cause == causeStopped:
		t.stopped(&f)
	case cause == causeLate:
		t.late(&f)
	case cause == causeSlow:
		t.slow(&f)
	case cause == causeSmall:
		t.small(&f)
	default:
		t.unproven(&f, cause)
	}
	return f
}

// stateText says what a thread does in a state.
func stateText(s model.SchedState) string {
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

// held is the finding of a reader that something held up.
func (t *telling) held(f *model.Finding, cause overflowCause) {
	stay := t.at.stay
	long := words.Span(stay.Longest)
	was := words.Tense(t.ongoing, "is", "was")
	group := ""
	if stay.Cgroup != "" {
		group = " (" + fold.Printable(stay.Cgroup) + ")"
	}
	detail := ""
	if stay.Detail != "" {
		detail = " (" + fold.Printable(stay.Detail) + ")"
	}
	var why, advice string
	switch cause {
	case causeNoCPU:
		why = "got no CPU for " + long
		f.Causes = t.rivals(f)
		advice = "give the reader a CPU of its own or a higher priority (chrt, cpuset, nice), or move away what holds " +
			"its CPU; " +
			"not when that must run there"
	case causeThrottled:
		why = was + " throttled for " + long
		limit := "its control group" + group + " had used up its CPU quota"
		if stay.Period > 0 {
			limit += fmt.Sprintf(": %s in each %s", words.Span(stay.Limit), words.Span(stay.Period))
		}
		f.Causes = []string{limit}
		advice = "raise the quota (cpu.max, CPUQuota=, limits.cpu) or remove it; not when the program should do less: " +
			"cpu.stat " +
			"shows how often it is throttled"
	case causeFrozen:
		why = was + " frozen for " + long
		f.Causes = []string{"its control group" + group + " was frozen (cgroup.freeze, a container's pause, a checkpoint)"}
		advice = "find out who froze the group and why; nothing when it was meant"
	case causeSuspended:
		why = was + " stopped for " + long
		f.Causes = []string{"a signal or a debugger stopped it" + detail}
		advice = "find out who sent SIGSTOP or attached a debugger; nothing when it was meant"
	case causeDisk:
		why = "waited for the disk for " + long
		f.Causes = []string{"the thread that reads the socket was blocked on storage" + detail}
		advice = "take logging and files out of the thread that reads, or make them asynchronous; not when the disk is " +
			"at fault: " +
			"look at iostat first"
	case causeLock:
		why = "waited for a lock for " + long
		f.Causes = []string{"the thread that reads the socket waited for a lock" + detail}
		advice = "find out who holds the lock (gdb, perf lock, /proc/PID/stack); not when the wait is for work to come"
	case causeMemory:
		why = "waited for memory for " + long
		f.Causes = []string{"the thread that reads the socket waited for memory: reclaim or a page fault" + detail}
		advice = "give the host or its control group more memory, or lock the reader's (mlockall); not when something leaks"
	default:
		why = "did something else for " + long
		f.Causes = []string{"the thread that reads the socket waited elsewhere" + detail}
		advice = "let a thread of its own read the socket; not when the wait is a pause that the program means to make"
	}
	f.Title = fmt.Sprintf("%s %s and did not read %s in time: %s", t.who, why, t.port, t.lost)
	f.Evidence = append(f.Evidence, detect.Evidence("longest single stay", float64(stay.Longest), "ns"))
	f.RuledOut = append(f.RuledOut, "not the size of the buffer: any buffer fills while nobody reads")
	f.Advice = []string{advice, "a larger SO_RCVBUF only bridges pauses that are short for the rate of the packets"}
	if stay.Longest >= 2*time.Second {
		f.Severity = model.SeverityCritical
	}
}

// rivals names who had the CPU meanwhile.
func (t *telling) rivals(f *model.Finding) []string {
	rivals := t.at.sched.Rivals
	if len(rivals) == 0 {
		return []string{"other tasks had its CPU; which is not known"}
	}
	for _, r := range rivals[:min(len(rivals), 4)] {
		f.Evidence = append(f.Evidence,
			detect.Evidence(fmt.Sprintf("%s ran on CPU %d meanwhile", rivalName(r), r.CPU), float64(r.Run), "ns"))
	}
	top := rivals[0]
	f.Subject.CPU = top.CPU
	text := fmt.Sprintf("%s had CPU %d meanwhile: %s", rivalName(top), top.CPU, words.Span(top.Run))
	if top.Cgroup != "" {
		text += " (" + fold.Printable(top.Cgroup) + ")"
	}
	return []string{text}
}

func rivalName(r fold.Rival) string {
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

func (t *telling) stopped(f *model.Finding) {
	f.Severity = model.SeverityCritical
	f.Title = fmt.Sprintf("%s %s not read %s for %s: its receive queue is full, %s", t.who,
		words.Tense(t.ongoing, "has", "had"), t.port, words.Span(max(t.maxIdle, t.at.reading.Idle)), t.lost)
	f.Causes = []string{
		t.who + " stopped reading: it is blocked, stopped or busy elsewhere",
		"every packet that arrives after the queue has filled is dropped",
	}
	f.RuledOut = append(f.RuledOut, "not the size of the buffer: a buffer of any size fills up when nobody reads")
	f.Advice = []string{
		fmt.Sprintf("find out what %s waits for (its stack in /proc/%d/stack, gdb, strace -p); not needed when it was "+
			"stopped "+
			"on purpose", t.who, max(t.socket.PID, 0)),
		"do not enlarge SO_RCVBUF: that only delays the loss",
	}
}

// late is the finding of a reader that left data waiting, where what kept it from reading is not known.
func (t *telling) late(f *model.Finding) {
	f.Title = fmt.Sprintf("%s %s %s late, up to %s behind: %s", t.who, words.Tense(t.ongoing, "reads", "read"), t.port,
		words.Span(max(t.at.reading.Idle, 0)), t.lost)
	why := "whether it had the CPU was not watched"
	if t.at.watched() {
		why = "none of its threads was seen to be held up for that long, or it is not known which of them reads the socket"
	}
	f.Causes = []string{
		fmt.Sprintf("data waited in the queue, and the program had read nothing for %s", words.Span(t.at.reading.Idle)),
		"why it did not read is not known: " + why,
	}
	f.Advice = []string{
		fmt.Sprintf("find out whether the program got the CPU (/proc/%d/schedstat, cpu.stat and cgroup.events of its "+
			"control "+
			"group, chrt -p), or was blocked or stopped (/proc/%d/stack)", max(t.socket.PID, 0), max(t.socket.PID, 0)),
		"a larger SO_RCVBUF only bridges the pauses; not when the program should have read in time",
	}
}

func (t *telling) slow(f *model.Finding) {
	last := t.at.reading
	reads := fmt.Sprintf("the program had last read %s before, when most was lost", words.Span(last.Idle))
	f.Title = fmt.Sprintf("%s %s %s more slowly than packets arrive: %s", t.who, words.Tense(t.ongoing, "reads", "read"),
		t.port, t.lost)
	f.Causes = []string{
		fmt.Sprintf("the queue was more than half full in %d of %d readings although the program does read (%s)",
			t.at.fullReadings, t.at.readings, reads),
	}
	f.RuledOut = append(f.RuledOut, "not a program that has stopped: "+reads,
		"not a burst: the queue does not empty in between")
	if t.at.watched() {
		f.RuledOut = append(f.RuledOut, "not a lack of CPU: its reader waited for one no longer than "+
			words.Span(t.at.sched.In(model.SchedWaiting).Longest))
	}
	f.Advice = []string{
		"make the program read faster (recvmmsg, more threads with SO_REUSEPORT, less work per packet); not when the " +
			"sender is at fault and should send less",
		"a larger SO_RCVBUF does not help in the long run: the queue would fill as well, and packets would wait longer",
	}
}

func (t *telling) small(f *model.Finding) {
	last := t.at.reading
	f.Title = fmt.Sprintf("The receive buffer of %s (%s) %s too small for its bursts: %s", t.port, t.who,
		words.Tense(t.ongoing, "is", "was"), t.lost)
	f.Causes = []string{
		fmt.Sprintf("bursts overflow a buffer of %s bytes, while the program reads in time and the queue empties in between",
			words.Number(last.LimitBytes)),
		fmt.Sprintf("the queue was at most half full in %d of %d readings", t.at.readings-t.at.fullReadings, t.at.readings),
	}
	f.RuledOut = append(f.RuledOut, "not a program that has stopped or is slow: the queue empties in between",
		"not a lack of CPU: its reader waited for one no longer than "+
			words.Span(t.at.sched.In(model.SchedWaiting).Longest))
	f.Advice = []string{
		fmt.Sprintf("enlarge the buffer: SO_RCVBUF in the program, up to net.core.rmem_max (at least %s bytes here); not "+
			"when "+
			"the program then reads late: a larger queue is a longer delay",
			words.Number(words.RoundUp(4*max(last.LimitBytes, 1)))),
	}
}

// unproven is the finding of a queue that overflows for a reason that was not observed.
func (t *telling) unproven(f *model.Finding, cause overflowCause) {
	if t.socket.Port == 0 && t.socket.PID < 0 {
		// A counter over all sockets: Microsoft Winsock BSP.
		f.Title = fmt.Sprintf("Datagrams %s dropped because a socket's receive queue was full, which socket is not known: %s",
			words.Tense(t.ongoing, "are", "were"), t.lost)
		f.Causes = []string{
			"the queue is full when packets arrive; whether the program reads is not known, its queue was not observed",
		}
		f.Advice = []string{
			"find the socket: record a trace of Winsock-AFD, whose drop events name it; not needed when only one program " +
				"receives that much",
		}
		return
	}
	f.Title = fmt.Sprintf("Packets for %s (%s) %s lost at its full receive queue: %s", t.port, t.who,
		words.Tense(t.ongoing, "are", "were"), t.lost)
	if cause == causeUnproven {
		f.Causes = []string{
			"the program reads, and the queue is empty in between; whether it had the CPU when packets came was not watched",
		}
		f.Advice = []string{
			"find out whether the reader got the CPU in time (perf sched, /proc/PID/schedstat) before anything is changed; " +
				"enlarge SO_RCVBUF only when it did",
		}
		return
	}
	f.Causes = []string{
		"the queue is full when packets arrive; whether the program reads is not known, its queue was not observed",
	}
	f.Advice = []string{
		"see whether the program reads (ss -uamn shows its queue); enlarge SO_RCVBUF only when it reads in time and " +
			"loses bursts",
	}
}
