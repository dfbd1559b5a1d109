package socketdrop

import (
	_ "embed"
	"fmt"
	"maps"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// socketDrop finds receive queues that overflow, and says why: the program did
// not get the CPU, or was held up; has stopped reading; reads too slowly; or had
// the CPU and read in time, and its buffer is too small for the bursts.
type socketDrop struct {
	settings Settings
	cases    detect.Cases[overflow]
	// keys are the names of the cases that are kept, by socket; owners are their sockets, by name.
	keys   map[fold.SocketKey]string
	owners map[string]fold.SocketKey
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
	// lateAt is when one last found data that had not been read for long, 0 never; maxLate the longest time without a
	// read while data waited.
	lateAt  model.Time
	maxLate time.Duration
	// reads says that it is seen when the program reads: a kernel may not show that.
	reads bool
	// longest is the longest stay that was seen, by the cause that it is.
	longest [causes]time.Duration
	// lasts says that the cause is what holds now, rather than what held.
	lasts bool
	// cause is why the queue overflows now, moments why it did when most was lost.
	cause   overflowCause
	moments detect.Moments[overflowCause, moment]
}

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("socket", doc, New, limits) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &socketDrop{
		settings: s, cases: detect.NewCases[overflow]("socket-drop", l),
		keys: make(map[fold.SocketKey]string), owners: make(map[string]fold.SocketKey),
	}
}

func limits(s Settings, l *fold.Limits) {
	l.FullShare, l.StoppedIdle = s.SlowShare, s.StoppedIdle.Std()
}

// Judge implements detect.Detector.
func (d *socketDrop) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *socketDrop) Report(w *detect.Tick, emit func(model.Finding)) {
	for _, s := range w.SortedSockets() {
		d.request(w, s)
		key := d.key(s)
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
				if d.cases.Get(key) != nil {
					d.keys[s.Key], d.owners[key] = key, s.Key
				}
				in.Data = overflow{socket: s, base: s.Total - min(s.Total, drops)}
			}
		case drops > 0 || stopped:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		if d.cases.Get(key) != nil {
			w.Claim(detect.SocketDrops{Socket: s.Key})
		}
		data := &in.Data
		data.socket = s
		second := &s.Seconds[w.Slot]
		data.readings += second.Readings
		data.fullReadings += second.Full
		data.reads = data.reads || s.Last.Idle > 0 || s.Last.TID > 0
		if d.isLate(w, s) {
			data.lateAt, data.maxLate = w.Now, max(data.maxLate, s.Last.Idle)
		}
		d.note(w, data)
	}
	d.cases.Settle(w, confirmSocket, emit, d.describe)
	maps.DeleteFunc(d.keys, func(_ fold.SocketKey, key string) bool { return d.cases.Get(key) == nil })
	maps.DeleteFunc(d.owners, func(key string, _ fold.SocketKey) bool { return d.cases.Get(key) == nil })
}

// Finish implements detect.Detector.
func (d *socketDrop) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, d.describe)
}

// key names the case of a socket: by port and process, and where several sockets
// of one process share a port, by the socket, too. A case keeps its name when
// another process turns out to be the reader.
func (d *socketDrop) key(s *fold.Socket) string {
	if key, ok := d.keys[s.Key]; ok {
		return key
	}
	key := socketCaseKey(s)
	if of, ok := d.owners[key]; ok && of != s.Key && d.cases.Get(key) != nil {
		return key + fmt.Sprintf("/%x", s.Key.Cookie)
	}
	return key
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
	var m moment
	data.cause, m = d.look(w, data)
	data.longest[data.cause] = max(data.longest[data.cause], m.stay.Longest)
	data.lasts = d.lasts(w, data, &m)
	lost := s.Seconds[w.Slot].Drops()
	weight := float64(lost)
	switch data.cause {
	case causeUnknown, causeUnproven:
		weight *= unprovenWeight
	case causeLate:
		weight *= unexplainedWeight
	case causeSlow:
		if !m.known {
			weight *= unexplainedWeight
		}
	}
	data.moments.Note(data.cause, weight, m)
	if data.cause == before {
		return
	}
	// What was lost since the program last read, or since it was held up, was lost for the reason that is seen now.
	since := m.stay.Longest
	if data.cause == causeStopped {
		since = s.Last.Idle
	}
	if since > 0 {
		data.moments.Move(data.cause, float64(w.DropsSince(s, since+time.Second)-lost))
	}
}

// What a packet counts that was lost while nothing was known of the reader, or while it was seen that it did not keep
// up and not why, beside one lost for a reason that was seen.
const (
	unprovenWeight    = 0.25
	unexplainedWeight = 0.5
)

// lasts says that what was seen in the second being judged goes on at its end: a
// stop or a freeze ends with the first read, what comes and goes with the case.
func (d *socketDrop) lasts(w *detect.Tick, data *overflow, m *moment) bool {
	switch data.cause {
	case causeStopped:
		return true
	case causeFrozen, causeSuspended:
		return m.sched.InLast(m.stay.State).Total > 0 && d.isLate(w, data.socket)
	}
	return true
}

// watchFor is for how long the reader of a queue that fills is watched.
const watchFor = 15 * time.Second

// crowd is how many threads of a process are reported at most: of one with more, the reader may be left out.
const crowd = 32

// request asks for the scheduling of the program whose queue fills or drops.
func (d *socketDrop) request(w *detect.Tick, s *fold.Socket) {
	if second := &s.Seconds[w.Slot]; s.PID <= 0 || second.Drops() == 0 && second.Full == 0 {
		return
	}
	r := model.Request{
		Kind: model.RequestSched, CPU: -1, PID: s.PID, TID: -1, For: watchFor, Finding: "socket-drop/" + d.key(s),
	}
	w.Request(r)
	if of := w.SchedulingOf(s.PID); of.Threads >= crowd && s.Last.TID > 0 {
		r.TID = s.Last.TID
		w.Request(r)
	}
}
