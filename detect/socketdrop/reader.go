package socketdrop

import (
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

// overflowCause is why a receive queue overflows.
type overflowCause int

const (
	// causeUnknown: neither the queue nor the reader was observed.
	causeUnknown overflowCause = iota
	// causeUnproven: the program reads; whether it had the CPU was not observed.
	causeUnproven
	// causeLate: data waited in the queue and was not read for long; why was not observed.
	causeLate
	// causeSmall: the reader had the CPU and read in time.
	causeSmall
	// causeSlow: the program reads all the time, and packets come faster.
	causeSlow
	// causeStopped: the program has read nothing for so long that it does not read any more.
	causeStopped
	// causeNoCPU: the reader could have run, and other tasks had its CPU.
	causeNoCPU
	// causeThrottled: its control group had used up its CPU quota.
	causeThrottled
	// causeFrozen: its control group was frozen.
	causeFrozen
	// causeSuspended: it was stopped by a signal or a debugger.
	causeSuspended
	// causeDisk, causeLock and causeMemory: it waited for something else.
	causeDisk
	causeLock
	causeMemory
	// causeElsewhere: it slept, or waited for another socket or file.
	causeElsewhere
)

// heldBy are the causes by the state in which a reader was held up, and whether
// that must be the state of a thread that is known to read the socket: idle
// threads of any program wait for locks and for other sockets.
var heldBy = map[model.SchedState]struct {
	cause      overflowCause
	readerOnly bool
}{
	model.SchedWaiting:   {causeNoCPU, false},
	model.SchedThrottled: {causeThrottled, false},
	model.SchedFrozen:    {causeFrozen, false},
	model.SchedStopped:   {causeSuspended, false},
	model.SchedDisk:      {causeDisk, true},
	model.SchedLock:      {causeLock, true},
	model.SchedMemory:    {causeMemory, true},
	model.SchedSleeping:  {causeElsewhere, true},
	model.SchedInput:     {causeElsewhere, true},
}

// held says that something kept the program from reading, rather than the
// program or the buffer being at fault by themselves.
func (c overflowCause) held() bool { return c >= causeNoCPU }

// moment is what the queue and its reader looked like in one second.
type moment struct {
	reading                model.SocketQueue
	readings, fullReadings uint64
	// stay is what held the reader up, sched all that is known of it.
	stay  fold.StateTime
	sched fold.Scheduling
}

// watched says that the reader was observed for most of the window.
func (m *moment) watched() bool { return m.sched.Threads > 0 && m.sched.Covered >= time.Second/2 }

// look decides why the queue overflows in the second being judged.
func (d *socketDrop) look(w *detect.Tick, data *overflow) (overflowCause, moment) {
	s := data.socket
	m := moment{reading: s.Last, readings: data.readings, fullReadings: data.fullReadings}
	known := false
	if s.PID > 0 {
		m.sched, known = w.ReaderOf(s)
	}
	if m.watched() {
		for _, stay := range m.sched.States {
			by, ok := heldBy[stay.State]
			if !ok || by.readerOnly && !known || stay.Longest < d.settings.LateIdle.Std() {
				continue
			}
			if stay.State == model.SchedInput && (stay.Cookie == 0 || stay.Cookie == s.Key.Cookie) {
				continue // it waits for this socket, or for several
			}
			if s.Last.QueuedBytes > 0 && 2*stay.Longest < s.Last.Idle {
				continue // data has waited for much longer than that: it is not why
			}
			m.stay = stay
			return by.cause, m
		}
	}
	full := data.readings > 0 && float64(data.fullReadings) >= d.settings.FullShare*float64(data.readings)
	lateRead := s.Last.QueuedBytes > 0 && s.Last.Idle >= d.settings.LateIdle.Std()
	switch {
	case w.StoppedReading(s):
		return causeStopped, m
	case data.readings == 0:
		return causeUnknown, m
	case m.watched() && m.sched.In(model.SchedRunning).Total >= share(d.settings.BusyShare, m.sched.Covered):
		return causeSlow, m
	case lateRead:
		return causeLate, m
	case full:
		return causeSlow, m
	case m.watched():
		return causeSmall, m
	}
	return causeUnproven, m
}

func share(s float64, of time.Duration) time.Duration { return time.Duration(s * float64(of)) }
