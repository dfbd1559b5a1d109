package detect

import (
	"fmt"
	"lostbeat/fold"
	"time"

	"lostbeat/model"
)

// socketDrop finds receive queues that overflow, and says why: the program has
// stopped reading, reads too slowly, or reads in time but its buffer is too
// small for the bursts.
type socketDrop struct {
	settings SocketSettings
	cases    tracker[overflow]
}

// confirmSocket is one tick more than starvation needs, so that drops which a
// starved CPU explains are not reported twice.
const confirmSocket = 3

// overflow is what is known about one socket's overflowing queue.
type overflow struct {
	socket *fold.Socket
	base   uint64
	// fullReadings of readings found the queue more than half full.
	readings, fullReadings uint64
	maxIdle                time.Duration
	cause                  overflowCause
}

type overflowCause int

const (
	causeUnknown overflowCause = iota
	causeSmall
	causeSlow
	causeStopped
)

func newSocketDrop(s Settings) detector {
	return &socketDrop{s.Socket, newTracker[overflow]("socket-drop", s.Lifecycle)}
}

func (d *socketDrop) tick(w *tick, emit func(model.Finding)) {
	for _, s := range w.SortedSockets() {
		key := socketCaseKey(s)
		if w.explained[s.Key] && !d.cases.isOpen(key) {
			continue
		}
		drops := s.Sum.Drops()
		stopped := stoppedReading(w, s)
		var in *incident[overflow]
		switch {
		case drops >= d.settings.MinDrops, drops > 0 && stopped:
			fresh := d.cases.incidents[key] == nil
			in = d.cases.raise(w, key, w.FirstSecond(func(slot int) bool { return s.Seconds[slot].Drops() > 0 }))
			if fresh {
				in.data = overflow{socket: s, base: s.Total - min(s.Total, drops)}
			}
		case drops > 0 || stopped:
			in = d.cases.keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.data
		data.socket = s
		second := &s.Seconds[w.Slot]
		data.readings += second.Readings
		data.fullReadings += second.Full
		data.maxIdle = max(data.maxIdle, second.MaxIdle)
		data.cause = d.cause(w, data)
	}
	d.cases.settle(w, confirmSocket, emit, d.describe)
}

func (d *socketDrop) finish(w *tick, emit func(model.Finding)) { d.cases.flush(w, emit, d.describe) }

func socketCaseKey(s *fold.Socket) string {
	key := fmt.Sprintf("%s/%d", s.Protocol, s.Port)
	if s.PID > 0 {
		key += "/pid" + itoa(s.PID)
	}
	if s.Port == 0 {
		key += fmt.Sprintf("/%x", s.Key.Cookie)
	}
	return key
}

// stoppedReading says that the program has taken nothing out of a full queue
// for so long that it does not read any more.
func stoppedReading(w *tick, s *fold.Socket) bool {
	return s.Sum.MaxIdle > 0 && s.Last.Idle >= w.settings.Socket.StoppedIdle.Std() &&
		fold.Ratio(float64(s.Last.QueuedBytes), float64(s.Last.LimitBytes)) >= w.settings.Socket.SlowShare
}

// cause decides why the queue overflows.
func (d *socketDrop) cause(w *tick, data *overflow) overflowCause {
	switch {
	case stoppedReading(w, data.socket):
		return causeStopped
	case data.readings == 0:
		return causeUnknown
	case float64(data.fullReadings) >= d.settings.FullShare*float64(data.readings):
		return causeSlow
	}
	return causeSmall
}

// socketName names a socket by its port and process.
func socketName(s *fold.Socket) string {
	name := s.Protocol.String() + "/" + itoa(s.Port)
	if s.Port == 0 {
		name = "a " + s.Protocol.String() + " socket"
	}
	if s.Process != "" || s.PID > 0 {
		name += " " + task(s.Process, s.PID)
	}
	return name
}

func (d *socketDrop) describe(in *incident[overflow]) model.Finding {
	data := &in.data
	s := data.socket
	ongoing := in.touchedOrOpen()
	lost := s.Total - min(s.Total, data.base)
	length := max(in.seen.Sub(in.start), time.Second)
	who := task(s.Process, s.PID)
	port := s.Protocol.String() + "/" + itoa(s.Port)
	last := s.Last
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
			evidence("dropped at the receive queue", float64(lost), "packets"),
			evidence("drop rate", float64(lost)/length.Seconds(), "packets/s"),
		},
	}
	if data.readings > 0 {
		f.Evidence = append(
			f.Evidence,
			evidence("in the queue, last reading", float64(last.QueuedBytes), "bytes"),
			evidence("limit of the queue (SO_RCVBUF)", float64(last.LimitBytes), "bytes"),
			evidence(
				"readings that found the queue more than half full",
				fold.Ratio(float64(data.fullReadings), float64(data.readings)),
				"ratio",
			),
			evidence("time since the program last read", float64(last.Idle), "ns"),
		)
		f.RuledOut = append(f.RuledOut, "not lost on the way: the packets reached the socket's queue")
	}
	lostText := fmt.Sprintf("%s packets lost in %s", number(lost), span(length))
	reads := fmt.Sprintf("the program last read %s before the last reading", span(last.Idle))
	switch {
	case data.cause == causeStopped:
		f.Severity = model.SeverityCritical
		f.Title = fmt.Sprintf(
			"%s %s not read %s for %s: its receive queue is full, %s",
			who,
			tense(ongoing, "has", "had"),
			port,
			span(max(data.maxIdle, last.Idle)),
			lostText,
		)
		f.Causes = []string{
			fmt.Sprintf("%s stopped reading: it is blocked, stopped or busy elsewhere", who),
			"every packet that arrives after the queue has filled is dropped",
		}
		f.RuledOut = append(f.RuledOut, "not a small buffer: a buffer of any size fills up when nobody reads")
		f.Advice = []string{
			fmt.Sprintf(
				"find out what %s waits for (its stack in /proc/%d/stack, gdb, strace -p); not needed when it was stopped on "+
					"purpose",
				who,
				max(s.PID, 0),
			),
			"do not enlarge SO_RCVBUF: that only delays the loss",
		}
	case data.cause == causeSlow:
		f.Title = fmt.Sprintf(
			"%s %s %s more slowly than packets arrive: %s",
			who,
			tense(ongoing, "reads", "read"),
			port,
			lostText,
		)
		f.Causes = []string{
			fmt.Sprintf(
				"the queue was more than half full in %d of %d readings although the program does read (%s)",
				data.fullReadings,
				data.readings,
				reads,
			),
		}
		f.RuledOut = append(
			f.RuledOut,
			"not a program that has stopped: "+reads,
			"not a burst: the queue does not empty in between",
		)
		f.Advice = []string{
			"make the program read faster (recvmmsg, more threads with SO_REUSEPORT, less work per packet); not when the " +
				"sender is at fault and should send less",
			"a larger SO_RCVBUF does not help in the long run: the queue would fill as well, and packets would wait longer",
		}
	case data.cause == causeSmall:
		f.Title = fmt.Sprintf(
			"The receive buffer of %s (%s) %s too small for its bursts: %s",
			port,
			who,
			tense(ongoing, "is", "was"),
			lostText,
		)
		f.Causes = []string{
			fmt.Sprintf(
				"bursts overflow a buffer of %s bytes, while the program reads in time and the queue empties in between",
				number(last.LimitBytes),
			),
			fmt.Sprintf(
				"the queue was at most half full in %d of %d readings (%s)",
				data.readings-data.fullReadings,
				data.readings,
				reads,
			),
		}
		f.RuledOut = append(f.RuledOut, "not a program that has stopped or is slow: "+reads)
		f.Advice = []string{
			fmt.Sprintf(
				"enlarge the buffer: SO_RCVBUF in the program, up to net.core.rmem_max (at least %s bytes here); not when the "+
					"program then reads late: a larger queue is a longer delay",
				number(roundUp(4*max(last.LimitBytes, 1))),
			),
		}
	case s.Port == 0 && s.PID < 0:
		// A counter over all sockets: Microsoft Winsock BSP.
		f.Title = fmt.Sprintf(
			"Datagrams %s dropped because a socket's receive queue was full, which socket is not known: %s",
			tense(ongoing, "are", "were"),
			lostText,
		)
		f.Causes = []string{
			"the queue is full when packets arrive; whether the program reads is not known, its queue was not observed",
		}
		f.Advice = []string{
			"find the socket: record a trace of Winsock-AFD, whose drop events name it; not needed when only one program " +
				"receives that much",
		}
	default:
		f.Title = fmt.Sprintf(
			"Packets for %s (%s) %s lost at its full receive queue: %s",
			port,
			who,
			tense(ongoing, "are", "were"),
			lostText,
		)
		f.Causes = []string{
			"the queue is full when packets arrive; whether the program reads is not known, its queue was not observed",
		}
		f.Advice = []string{
			"see whether the program reads (ss -uamn shows its queue); enlarge SO_RCVBUF only when it reads in time and " +
				"loses bursts",
		}
	}
	return f
}
