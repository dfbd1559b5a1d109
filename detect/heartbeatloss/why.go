package heartbeatloss

import (
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/reader"
	"lostbeat/fold"
	"lostbeat/model"
)

// cpuFacts are what the CPU did that had the packet.
type cpuFacts struct {
	// top is the deferred work that took most of it, share its share; wait is the longest wait of NET_RX.
	top   string
	share float64
	wait  time.Duration
	// steal is the share that the hypervisor took.
	steal float64
	// ksoftirqd is how its thread was scheduled.
	ksoftirqd fold.Scheduling
}

// longStays are the states in which a thread is for long only when something is wrong: their sum counts, as one that is
// throttled or preempted is so again and again.
var longStays = []model.SchedState{
	model.SchedWaiting, model.SchedThrottled, model.SchedDisk, model.SchedMemory,
}

// ranShare is the share of a delay in which a thread that shares its CPU has run, and could have read its socket.
const ranShare = 0.2

// slack is by how much a stay may be longer than the gap that it explains: where it began and ended is not known
// better.
const slack = 20 * time.Millisecond

// why finds what kept the program from reading or sending for most of a delay.
func (d *heartbeatLoss) why(w *detect.Tick, b *fold.Beat, m *moment, delay time.Duration) {
	sends := b.Key.Direction == model.DirectionTX
	if b.Socket.PID <= 0 {
		return
	}
	if sends {
		m.sched, m.known = w.SenderSince(b.Socket, m.gap.From)
	} else {
		m.sched, m.known = w.ReaderSince(b.Socket, m.gap.From)
	}
	enough := func(kept time.Duration) bool { return float64(kept) >= d.settings.HeldShare*float64(delay) }
	s := b.Socket
	var best time.Duration
	for _, stay := range m.sched.States {
		cause, all, ok := reader.HeldBy(stay.State)
		if !ok || !all && !m.known {
			continue
		}
		if stay.State == model.SchedInput && (sends || !reader.IsElsewhere(s.Key.Cookie, s.Protocol, s.Port, &stay) &&
			(m.gap.Main() != fold.StageQueue || stay.Longest > m.gap.Queue+slack || !reader.IsPoll(&stay))) {
			continue
		}
		kept := stay.Longest
		if kept > m.gap.Length()+slack {
			if main := m.gap.Main(); !all || main != fold.StageQueue && main != fold.StageReturn {
				continue // whoever read or sent at its ends was not kept for as long
			}
			kept = m.gap.Length() // the packet before had waited, too
		}
		if slices.Contains(longStays, stay.State) {
			kept = max(kept, min(stay.Total, m.gap.Delay()))
		}
		if enough(kept) && kept > best {
			best = kept
			m.reason, m.stay, m.kept = cause, stay, kept
		}
	}
	if behind, cause, ok := reader.Behind(&m.stay, w.ThreadsSince(b.Socket.PID, m.gap.From)...); ok {
		m.reason, m.stay, m.kept = cause, behind, min(max(behind.Longest, behind.Total), m.kept)
	}
	if m.reason == reader.None && !m.known {
		d.fitting(w, b, m, delay)
	}
	running := m.sched.In(model.SchedRunning)
	usual := fold.Scheduling{}
	if sends {
		usual = w.SenderBefore(b.Socket, m.gap.From)
		if m.reason == reader.Asleep && 2*usual.In(model.SchedSleeping).Total >= usual.Covered && usual.Covered > 0 {
			// It sleeps between its packets as it means to, now for longer.
			m.reason, m.stay, m.kept, m.paced = reader.None, fold.StateTime{}, 0, true
		}
	}
	if m.reason == reader.None && m.known && (sends || m.gap.Main() != fold.StageAbsent) &&
		2*usual.In(model.SchedRunning).Total <= usual.Covered &&
		(enough(running.Longest) && running.Longest <= m.gap.Length()+slack ||
			float64(running.Total) >= d.settings.BusyShare*float64(min(delay, m.sched.Covered))) {
		m.reason, m.stay, m.kept = reader.Busy, running, max(running.Longest, min(running.Total, m.gap.Delay()))
	}
	if m.reason == reader.NoCPU && m.known && !sends && !enough(m.stay.Longest) &&
		float64(running.Total) >= ranShare*float64(delay) {
		m.reason, m.stay, m.kept = reader.Busy, running, min(running.Total, m.gap.Delay()) // it shared the CPU
	}
	switch m.reason {
	case reader.None, reader.NoCPU, reader.Busy: // a thread whose CPU was taken seems to run, or to wait for it
		if stolen := min(mostStolen(w, m.gap.From), m.gap.Delay()); m.gap.Main() != fold.StageAbsent || sends {
			if enough(stolen) {
				m.reason, m.kept = reader.Stolen, stolen
				m.stay = fold.StateTime{Total: stolen, Longest: stolen}
			}
		}
	}
}

// mostStolen is the time that the hypervisor took of the CPU of which it took most, since a time.
func mostStolen(w *detect.Tick, from model.Time) (most time.Duration) {
	for _, c := range w.CPUs {
		var sum time.Duration
		for _, slot := range w.Since(from) {
			sum += c.Seconds[slot].Time.Steal
		}
		most = max(most, sum)
	}
	return most
}

// fits is the share of a delay from which a stay is just as long.
const fits = 0.9

// fitting finds what kept the program where it is not known which of its threads reads or sends: the one state in which
// a thread was just as long as the gap, and that no idle thread is in.
func (d *heartbeatLoss) fitting(w *detect.Tick, b *fold.Beat, m *moment, delay time.Duration) {
	for _, sched := range w.ThreadsSince(b.Socket.PID, m.gap.From) {
		for _, stay := range sched.States {
			cause, all, _ := reader.HeldBy(stay.State)
			switch cause {
			case reader.NoCPU, reader.Disk, reader.Lock, reader.Memory:
			default:
				continue
			}
			if all || reader.IsFutex(&stay) || float64(stay.Longest) < fits*float64(delay) ||
				stay.Longest > m.gap.Length()+slack {
				continue
			}
			if m.reason != reader.None && m.reason != cause {
				m.reason, m.stay, m.kept, m.fits = reader.None, fold.StateTime{}, 0, false
				return // it may be either
			}
			m.reason, m.stay, m.kept, m.fits = cause, stay, stay.Longest, true
			m.sched.Rivals = sched.Rivals
		}
	}
}

// lookAt returns what the CPU did that had the packet of a gap.
func lookAt(w *detect.Tick, g *fold.Gap) (f cpuFacts) {
	c := w.CPUs[g.CPU]
	if c == nil {
		return f
	}
	slots := w.Since(g.To.Add(-g.Stack - g.Queue))
	busy := make(map[string]time.Duration)
	var most, steal, covered time.Duration
	for _, slot := range slots {
		second := &c.Seconds[slot]
		steal += second.Time.Steal
		covered += second.Time.Covered
		for i := range second.Work {
			k := &second.Work[i]
			busy[k.Label()] += k.Busy
			if n := busy[k.Label()]; n > most || n == most && k.Label() < f.top {
				f.top, most = k.Label(), n
			}
			if k.Name == "NET_RX" {
				f.wait = max(f.wait, k.MaxWait)
			}
		}
	}
	f.share = min(fold.Ratio(float64(most), float64(time.Duration(len(slots))*time.Second)), 1)
	f.steal = fold.Ratio(float64(steal), float64(covered))
	f.ksoftirqd = w.KsoftirqdOf(g.CPU)
	return f
}
