package socketdrop

import (
	"fmt"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// telling is what the sentences of one finding are made of.
type telling struct {
	*overflow
	ongoing bool
	at      moment
	// who is the program, port the socket, lost what was lost, and in which time.
	who, port, lost string
	// packets is what was lost without the time.
	packets string
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
		packets: words.Plural(lost, "packet") + " lost",
	}
	t.lost = t.packets + " in " + words.Span(length)
	if at.shared {
		t.who = "held by " + t.who + " and others"
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
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("queued when most was lost", float64(at.reading.QueuedBytes), "bytes"),
			detect.Evidence("queue limit (SO_RCVBUF)", float64(at.reading.LimitBytes), "bytes"),
			detect.Evidence(
				"readings that found the queue more than half full",
				fold.Ratio(float64(at.fullReadings), float64(at.readings)),
				"ratio",
			),
		)
		f.RuledOut = append(f.RuledOut, "loss on the network: the packets reached the socket's queue")
	}
	if data.maxLate > 0 && !cause.held() {
		f.Evidence = append(
			f.Evidence, detect.Evidence("longest time without a read while data waited", float64(data.maxLate), "ns"),
		)
	}
	subject := "the reader was "
	if !at.known {
		subject = "its threads were "
	}
	for _, st := range at.sched.States[:min(len(at.sched.States), 4)] {
		if cause.held() && st.State == at.stay.State {
			continue // it is told with its full length
		}
		name := fmt.Sprintf("%s%s, of %s watched", subject, reader.StateText(st.State), words.Span(at.sched.Covered))
		f.Evidence = append(f.Evidence, detect.Evidence(name, float64(st.Total), "ns"))
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

// held is the finding of a reader that something held up.
func (t *telling) held(f *model.Finding, cause overflowCause) {
	longest := t.longest[cause]
	stay := reader.Stay{
		StateTime: t.at.stay, Cause: reader.NoCPU + reader.Cause(cause-causeNoCPU), For: longest,
		Ongoing: t.ongoing && t.lasts && t.cause == cause, PID: t.socket.PID, Unread: t.maxLate,
		Rivals: t.at.sched.Rivals, Watched: t.at.sched.Covered,
	}
	why, causes, advice := stay.Explain(f)
	f.Causes = causes
	f.Title = fmt.Sprintf("%s %s and did not read %s in time: %s", t.who, why, t.port, t.packets)
	f.Evidence = append(f.Evidence, detect.Evidence("longest single time", float64(longest), "ns"))
	f.RuledOut = append(f.RuledOut, "the buffer size: any buffer fills while nobody reads")
	f.Advice = []string{advice, "A larger SO_RCVBUF helps only if the pauses are short relative to the packet rate"}
	if longest >= 2*time.Second {
		f.Severity = model.SeverityCritical
	}
}

func (t *telling) stopped(f *model.Finding) {
	f.Severity = model.SeverityCritical
	f.Title = fmt.Sprintf("%s %s not read %s for %s: its receive queue %s full, %s", t.who,
		words.Tense(t.ongoing && t.cause == causeStopped, "has", "had"), t.port, words.Span(t.maxLate),
		words.Tense(t.ongoing && t.cause == causeStopped, "is", "was"), t.packets)
	if t.at.shared {
		f.Title = fmt.Sprintf("%s (%s) %s not been read for %s: its receive queue %s full, %s", t.port, t.who,
			words.Tense(t.ongoing && t.cause == causeStopped, "has", "had"), words.Span(t.maxLate),
			words.Tense(t.ongoing && t.cause == causeStopped, "is", "was"), t.packets)
	}
	f.Causes = []string{
		"Nothing was read while data was waiting; " + t.why(),
		"Once the queue is full, every packet that arrives is dropped",
	}
	f.RuledOut = append(f.RuledOut, "the buffer size: a buffer of any size fills up when nobody reads")
	f.Advice = []string{
		fmt.Sprintf("Find out what the program waits for (its stack in /proc/%d/stack, gdb, strace "+
			"-p); not needed if it was stopped on purpose", max(t.socket.PID, 0)),
		fmt.Sprintf("Save its stacks first, then resume it if it is stopped (kill -CONT %d), or restart it",
			max(t.socket.PID, 0)),
		"Do not enlarge SO_RCVBUF: that only delays the loss",
	}
}

// why says what is not known of a reader that did not read, and what was seen of it.
func (t *telling) why() string {
	at := &t.at
	switch {
	case at.shared:
		return "Cause unknown: several processes hold the socket, and which one reads it was not observed"
	case !at.watched():
		return "Cause unknown: its reader was not watched at the time"
	case !at.known:
		return fmt.Sprintf("Cause unknown: of the %s watched, none was seen to read it%s",
			words.Plural(at.sched.Threads, "thread"), t.seen("one of them"))
	}
	return "Cause unknown: the thread that reads it was not seen to be held up for that long" + t.seen("it")
}

// seen says in which state the watched threads were longest, empty where they were in none for long.
func (t *telling) seen(who string) string {
	for _, st := range t.at.sched.States {
		if st.State == model.SchedRunning || st.Longest < 10*time.Millisecond {
			continue
		}
		text := fmt.Sprintf("; %s was %s for %s", who, reader.StateText(st.State), words.Span(st.Longest))
		if st.Detail != "" {
			text += " (" + fold.Printable(st.Detail) + ")"
		}
		return text
	}
	return ""
}

// late is the finding of a socket that was not read while data waited, where what kept its reader is not known.
func (t *telling) late(f *model.Finding) {
	f.Title = fmt.Sprintf("%s (%s) was not read for %s while data waited: %s", t.port, t.who, words.Span(t.maxLate),
		t.lost)
	f.Causes = []string{"Its queue filled up, and packets that arrived then were dropped", t.why()}
	f.Advice = []string{
		fmt.Sprintf("Find out whether the program got the CPU (/proc/%d/schedstat, cpu.stat and cgroup.events of its "+
			"control group, chrt -p), or was blocked or stopped (/proc/%d/stack)",
			max(t.socket.PID, 0), max(t.socket.PID, 0)),
		"A larger SO_RCVBUF only covers the pauses; if the program should have read in time, fix that instead",
	}
}

func (t *telling) slow(f *model.Finding) {
	last := t.at.reading
	reads := "it was reading again"
	if last.Idle > 0 {
		reads = fmt.Sprintf("it had last read %s before, when most was lost", words.Span(last.Idle))
	}
	f.Title = fmt.Sprintf("%s %s %s more slowly than packets arrive: %s", t.who, words.Tense(t.ongoing, "reads", "read"),
		t.port, t.lost)
	f.Causes = []string{
		fmt.Sprintf("The queue was more than half full in %d of %d readings although the program was reading (%s)",
			t.at.fullReadings, t.at.readings, reads),
	}
	f.RuledOut = append(f.RuledOut, "a stopped program: "+reads,
		"a burst: the queue did not empty in between")
	if t.at.watched() && t.at.known {
		f.RuledOut = append(f.RuledOut, "a lack of CPU: its reader never waited for one longer than "+
			words.Span(t.at.sched.In(model.SchedWaiting).Longest))
	}
	f.Advice = []string{
		"Make the program read faster (recvmmsg, more threads with SO_REUSEPORT, less work per packet), unless the sender " +
			"is at fault and should send less",
		"A larger SO_RCVBUF does not help in the long run: the queue would fill up too, and packets would wait longer",
	}
}

// frameBytes is what a full-sized Ethernet frame takes of a receive buffer, the kernel's overhead included.
const frameBytes = 2304

func (t *telling) small(f *model.Finding) {
	last := t.at.reading
	f.Title = fmt.Sprintf("The receive buffer of %s (%s) %s too small for its bursts: %s", t.port, t.who,
		words.Tense(t.ongoing, "is", "was"), t.lost)
	f.Causes = []string{
		fmt.Sprintf("Bursts overflow a buffer of %s bytes, although the program reads in time and the queue empties in "+
			"between", words.Number(last.LimitBytes)),
		fmt.Sprintf("The queue was at most half full in %d of %d readings", t.at.readings-t.at.fullReadings, t.at.readings),
	}
	if away := t.away(); t.at.sched.Threads == 1 {
		f.Causes = append(f.Causes,
			fmt.Sprintf("The thread that reads it was watched: it was never held up for longer than %s", words.Span(away)))
	}
	f.RuledOut = append(f.RuledOut, "a stopped or slow program: the queue empties in between",
		"a lack of CPU: its reader never waited for one longer than "+
			words.Span(t.at.sched.In(model.SchedWaiting).Longest))
	size, why := 4*max(last.LimitBytes, 1), "four times the present size"
	if last.Dropped > 0 {
		size = last.LimitBytes + last.Dropped*frameBytes
		why = "room for all that was lost in the worst second; less is enough if that was several bursts"
	}
	f.Advice = []string{
		fmt.Sprintf("Enlarge the buffer: SO_RCVBUF in the program, and its limit net.core.rmem_max, to %s bytes (%s); "+
			"packets may then wait longer in the queue",
			words.Itoa(words.RoundUp(size)), why),
	}
}

// away is the longest stay of the reader but for those in which it waited for input, or for work that another thread
// gives it.
func (t *telling) away() (longest time.Duration) {
	for _, st := range t.at.sched.States {
		if st.State != model.SchedInput && st.State != model.SchedRunning && !reader.IsFutex(&st) {
			longest = max(longest, st.Longest)
		}
	}
	return longest
}

// unproven is the finding of a queue that overflows for a reason that was not observed.
func (t *telling) unproven(f *model.Finding, cause overflowCause) {
	if t.socket.Port == 0 && t.socket.PID < 0 {
		// A counter over all sockets: Microsoft Winsock BSP.
		f.Title = fmt.Sprintf("Datagrams %s dropped at the full receive queue of an unknown socket: %s",
			words.Tense(t.ongoing, "are", "were"), t.lost)
		f.Causes = []string{
			"The queue was full when packets arrived; the queue was not observed, so whether the program was reading is unknown",
		}
		f.Advice = []string{
			"Find the socket: record a trace of Winsock-AFD, whose drop events name it; not needed if only one program " +
				"receives that much",
		}
		return
	}
	f.Title = fmt.Sprintf("Packets for %s (%s) %s lost at its full receive queue: %s", t.port, t.who,
		words.Tense(t.ongoing, "are", "were"), t.lost)
	if cause == causeUnproven {
		f.Causes = []string{"The queue empties in between; " + t.unseen()}
		if 2*t.at.fullReadings >= t.at.readings {
			rest := t.seen("the thread that reads it")
			if !t.reads {
				rest = "; whether the program was reading is not seen on this host" + t.seen("one of its threads")
			}
			f.Causes = []string{fmt.Sprintf("The queue was more than half full in %d of %d readings%s",
				t.at.fullReadings, t.at.readings, rest)}
		}
		f.Advice = []string{
			"Before changing anything, find out whether the reader got the CPU in time (perf sched, /proc/PID/schedstat); " +
				"enlarge SO_RCVBUF only if it did",
		}
		return
	}
	f.Causes = []string{
		"The queue was full when packets arrived; the queue was not observed, so whether the program was reading is unknown",
	}
	f.Advice = []string{
		"Check whether the program is reading (ss -uamn shows its queue); enlarge SO_RCVBUF only if it reads in time and " +
			"loses bursts",
	}
}

// unseen says what is missing to know whether a buffer is too small.
func (t *telling) unseen() string {
	const question = "whether its reader had the CPU when packets came and read in time "
	at := &t.at
	switch {
	case at.shared:
		return question + "is unknown: several processes hold the socket, and which one reads it was not observed"
	case !at.watched():
		return question + "was not watched"
	case !at.known:
		return question + fmt.Sprintf("is unknown: of the %s watched, none was seen to read it%s",
			words.Plural(at.sched.Threads, "thread"), t.seen("one of them"))
	}
	return "some data had not been read for a long time" + t.seen("the thread that reads it")
}
