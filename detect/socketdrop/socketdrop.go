package socketdrop

import (
	_ "embed"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"time"

	"lostbeat/model"
)

// socketDrop finds receive queues that overflow, and says why: the program has
// stopped reading, reads too slowly, or reads in time but its buffer is too
// small for the bursts.
type socketDrop struct {
	settings Settings
	cases    detect.Cases[overflow]
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
	// cause is why the queue overflows now, moments why it did when most was lost.
	cause   overflowCause
	moments detect.Moments[overflowCause, moment]
}

// moment is what the queue and its reader looked like in one second.
type moment struct {
	reading                model.SocketQueue
	readings, fullReadings uint64
}

type overflowCause int

const (
	causeUnknown overflowCause = iota
	causeSmall
	causeSlow
	causeStopped
)

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("socket", doc, New, limits) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &socketDrop{settings: s, cases: detect.NewCases[overflow]("socket-drop", l)}
}

func limits(s Settings, l *fold.Limits) {
	l.FullShare, l.StoppedIdle = s.SlowShare, s.StoppedIdle.Std()
}

// Judge implements detect.Detector.
func (d *socketDrop) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *socketDrop) Report(w *detect.Tick, emit func(model.Finding)) {
	for _, s := range w.SortedSockets() {
		key := socketCaseKey(s)
		if w.Claimed(detect.SocketDrops{Socket: s.Key}) && !d.cases.IsOpen(key) {
			continue
		}
		drops := s.Sum.Drops()
		stopped := w.StoppedReading(s)
		var in *detect.Case[overflow]
		switch {
		case drops >= d.settings.MinDrops, drops > 0 && stopped:
			fresh := d.cases.Get(key) == nil
			in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return s.Seconds[slot].Drops() > 0 }))
			if fresh {
				in.Data = overflow{socket: s, base: s.Total - min(s.Total, drops)}
			}
		case drops > 0 || stopped:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.Data
		data.socket = s
		second := &s.Seconds[w.Slot]
		data.readings += second.Readings
		data.fullReadings += second.Full
		data.maxIdle = max(data.maxIdle, second.MaxIdle)
		d.note(w, data)
	}
	d.cases.Settle(w, confirmSocket, emit, d.describe)
}

// Finish implements detect.Detector.
func (d *socketDrop) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, d.describe)
}

func socketCaseKey(s *fold.Socket) string {
	key := fmt.Sprintf("%s/%d", s.Protocol, s.Port)
	if s.PID > 0 {
		key += "/pid" + words.Itoa(s.PID)
	}
	if s.Port == 0 {
		key += fmt.Sprintf("/%x", s.Key.Cookie)
	}
	return key
}

// note takes up why the queue overflows in the second being judged.
func (d *socketDrop) note(w *detect.Tick, data *overflow) {
	s := data.socket
	before := data.cause
	data.cause = d.cause(w, data)
	lost := s.Seconds[w.Slot].Drops()
	data.moments.Note(data.cause, float64(lost), moment{s.Last, data.readings, data.fullReadings})
	if data.cause == causeStopped && before != causeStopped {
		// All that was lost since the program last read is lost for that reason.
		data.moments.Move(causeStopped, float64(w.DropsSince(s, s.Last.Idle)-lost))
	}
}

// cause decides why the queue overflows.
func (d *socketDrop) cause(w *detect.Tick, data *overflow) overflowCause {
	switch {
	case w.StoppedReading(data.socket):
		return causeStopped
	case data.readings == 0:
		return causeUnknown
	case float64(data.fullReadings) >= d.settings.FullShare*float64(data.readings):
		return causeSlow
	}
	return causeSmall
}

func (d *socketDrop) describe(in *detect.Case[overflow]) model.Finding {
	data := &in.Data
	s := data.socket
	ongoing := in.Ongoing()
	lost := s.Total - min(s.Total, data.base)
	length := max(in.Seen.Sub(in.Start), time.Second)
	who := words.Task(s.Process, s.PID)
	port := s.Protocol.String() + "/" + words.Itoa(s.Port)
	cause, at := data.moments.Worst()
	last := at.reading
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
	lostText := fmt.Sprintf("%s packets lost in %s", words.Number(lost), words.Span(length))
	reads := fmt.Sprintf("the program had last read %s before, when most was lost", words.Span(last.Idle))
	switch {
	case cause == causeStopped:
		f.Severity = model.SeverityCritical
		f.Title = fmt.Sprintf(
			"%s %s not read %s for %s: its receive queue is full, %s",
			who,
			words.Tense(ongoing, "has", "had"),
			port,
			words.Span(max(data.maxIdle, last.Idle)),
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
	case cause == causeSlow:
		f.Title = fmt.Sprintf(
			"%s %s %s more slowly than packets arrive: %s",
			who,
			words.Tense(ongoing, "reads", "read"),
			port,
			lostText,
		)
		f.Causes = []string{
			fmt.Sprintf(
				"the queue was more than half full in %d of %d readings although the program does read (%s)",
				at.fullReadings,
				at.readings,
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
	case cause == causeSmall:
		f.Title = fmt.Sprintf(
			"The receive buffer of %s (%s) %s too small for its bursts: %s",
			port,
			who,
			words.Tense(ongoing, "is", "was"),
			lostText,
		)
		f.Causes = []string{
			fmt.Sprintf(
				"bursts overflow a buffer of %s bytes, while the program reads in time and the queue empties in between",
				words.Number(last.LimitBytes),
			),
			fmt.Sprintf(
				"the queue was at most half full in %d of %d readings (%s)",
				at.readings-at.fullReadings,
				at.readings,
				reads,
			),
		}
		f.RuledOut = append(f.RuledOut, "not a program that has stopped or is slow: "+reads)
		f.Advice = []string{
			fmt.Sprintf(
				"enlarge the buffer: SO_RCVBUF in the program, up to net.core.rmem_max (at least %s bytes here); not when the "+
					"program then reads late: a larger queue is a longer delay",
				words.Number(words.RoundUp(4*max(last.LimitBytes, 1))),
			),
		}
	case s.Port == 0 && s.PID < 0:
		// A counter over all sockets: Microsoft Winsock BSP.
		f.Title = fmt.Sprintf(
			"Datagrams %s dropped because a socket's receive queue was full, which socket is not known: %s",
			words.Tense(ongoing, "are", "were"),
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
			words.Tense(ongoing, "are", "were"),
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
