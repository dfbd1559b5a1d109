package socketdrop

import (
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/model"
)

// overflowCause is why a receive queue overflows.
type overflowCause int

const (
	// causeUnknown: neither the queue nor the reader was observed.
	causeUnknown overflowCause = iota
	// causeUnproven: whether the program read in time, or its reader had the CPU, was not observed.
	causeUnproven
	// causeLate: data waited in the queue and was not read for long; why was not observed.
	causeLate
	// causeSmall: the thread that reads had the CPU and read in time.
	causeSmall
	// causeSlow: the program reads all the time, and packets come faster.
	causeSlow
	// causeStopped: the program has read nothing for so long that it does not read any more.
	causeStopped
	// causeNoCPU: the reader could have run, and other tasks had its CPU. From here on these are the causes of package
	// reader, in its order.
	causeNoCPU
)

// Some of those causes, and the number of all.
const (
	causeFrozen    = causeNoCPU + overflowCause(reader.Frozen-reader.NoCPU)
	causeSuspended = causeNoCPU + overflowCause(reader.Suspended-reader.NoCPU)
	causeBusy      = causeNoCPU + overflowCause(reader.Busy-reader.NoCPU)
	causes         = causeBusy + 1
)

// heldCause is a cause that kept the program from reading.
func heldCause(c reader.Cause) overflowCause { return causeNoCPU + overflowCause(c-reader.NoCPU) }

// held says that something kept the program from reading, rather than the
// program or the buffer being at fault by themselves.
func (c overflowCause) held() bool { return c >= causeNoCPU }

// moment is what the queue and its reader looked like in one second.
type moment struct {
	reading model.SocketQueue
	// readings of the queue since the case began, and those that found it more than half full.
	readings, fullReadings uint64
	// stay is what held the reader up, sched all that is known of it.
	stay  fold.StateTime
	sched fold.Scheduling
	// known says that sched is that of the thread that reads the socket, shared that several processes hold it.
	known, shared bool
}

// watched says that the reader was observed for most of the window.
func (m *moment) watched() bool { return m.sched.Threads > 0 && m.sched.Covered >= time.Second/2 }

// look decides why the queue overflows in the second being judged.
func (d *socketDrop) look(w *detect.Tick, data *overflow) (overflowCause, moment) {
	s := data.socket
	m := moment{
		reading: s.Last, readings: data.readings, fullReadings: data.fullReadings, shared: s.Shared,
	}
	if s.PID > 0 {
		m.sched, m.known = w.ReaderOf(s)
	}
	if m.watched() {
		for _, stay := range m.sched.States {
			if d.heldUp(w, data, &m, stay) {
				m.stay = stay
				by, _, _ := reader.HeldBy(stay.State)
				if behind, cause, ok := reader.Behind(&stay, w.SchedulingOf(s.PID)); ok {
					m.stay, by = behind, cause
				}
				return heldCause(by), m
			}
		}
	}
	running := m.sched.In(model.SchedRunning)
	proven := m.known && m.watched()
	full := atLeast(data.fullReadings, d.settings.FullShare, data.readings)
	busy := proven && running.Total >= share(d.settings.BusyShare, m.sched.Covered)
	late := d.isLate(w, s)
	// One that waits for input although its queue is full is not slow: it does not wait for this socket.
	waits := proven && !busy && m.sched.In(model.SchedInput).Longest >= d.settings.LateIdle.Std()
	switch {
	case late && busy && m.sched.Threads == 1 && running.Longest >= d.settings.LateIdle.Std():
		m.stay = running
		return causeBusy, m
	case w.StoppedReading(s):
		return causeStopped, m
	case data.readings == 0:
		return causeUnknown, m
	case late, waits && full && data.maxLate > 0:
		return causeLate, m
	case waits && full:
		return causeUnproven, m
	case full, busy && atLeast(data.fullReadings, busyFullShare, data.readings):
		if !data.reads {
			return causeUnproven, m
		}
		return causeSlow, m
	case proven && !d.wasLate(w, data):
		return causeSmall, m
	}
	return causeUnproven, m
}

// busyFullShare is the share of readings that found the queue filled from which a
// reader that has the CPU all the time is slow: one that polls has it too, and
// finds nothing to read in between.
const busyFullShare = 0.5

// isLate says that data waited at the end of the second, and that nothing had been read for long. Where the queue is
// known from an earlier reading only, a packet that it dropped since the last read says so.
func (d *socketDrop) isLate(w *detect.Tick, s *fold.Socket) bool {
	waits := s.Last.QueuedBytes > 0
	if s.Last.Flags&model.FlagSecondary != 0 {
		waits = s.Last.Dropped > 0 && s.Last.Idle >= s.Last.Dur
	}
	return waits && s.Last.Time > w.Now-fold.Second && s.Last.Idle >= d.settings.LateIdle.Std()
}

// heldUp says that a stay in one state is why the socket was not read.
func (d *socketDrop) heldUp(w *detect.Tick, data *overflow, m *moment, stay fold.StateTime) bool {
	s := data.socket
	_, all, ok := reader.HeldBy(stay.State)
	if !ok || stay.Longest < d.settings.LateIdle.Std() || !all && !m.known {
		return false
	}
	if stay.State == model.SchedInput && !reader.IsElsewhere(s.Key.Cookie, s.Protocol, s.Port, &stay) {
		return false
	}
	if d.isLate(w, s) && 2*stay.Longest < s.Last.Idle {
		return false // data has waited for much longer than that: it is not why
	}
	// Of several threads that read, one may wait while another reads. And a thread that a runtime lends out waits in
	// futex while it has nothing to do. That the socket was not read meanwhile has to be seen.
	if !all && m.sched.Threads > 1 || reader.IsFutex(&stay) {
		return d.wasLate(w, data)
	}
	return true
}

// wasLate says that a reading of the window found data that had not been read for long.
func (d *socketDrop) wasLate(w *detect.Tick, data *overflow) bool {
	return data.lateAt != 0 && w.Now.Sub(data.lateAt) < time.Duration(w.WindowSeconds())*time.Second
}

func atLeast(n uint64, share float64, of uint64) bool {
	return of > 0 && float64(n) >= share*float64(of)
}

func share(s float64, of time.Duration) time.Duration { return time.Duration(s * float64(of)) }
