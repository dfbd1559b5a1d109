package tui

import (
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// span returns the first and the last moment that can be shown.
func (u *ui) span() (start, end model.Time) {
	if u.opt.Player != nil && u.play.end > u.play.start {
		return u.play.start, u.play.end
	}
	return u.snap.Oldest(), u.snap.Now
}

// playing is a command that does something to the player and then looks at what came of it. Commands run beside each
// other: each waits for the one before, so that keys that are pressed quickly act in their order.
func (u *ui) playing(do func(p Player)) command {
	p := u.opt.Player
	before, done := u.played, make(chan struct{})
	u.played = done
	return func() message {
		if before != nil {
			<-before
		}
		defer close(done)
		do(p)
		return u.poll()
	}
}

// goTo looks at time t: in the history when it is there, else by moving the
// play head.
func (u *ui) goTo(t model.Time) command {
	start, end := u.span()
	t = min(max(t, start), end)
	oldest, newest := u.snap.Oldest(), u.snap.Now
	if u.opt.Player == nil {
		u.paused = true
		u.cursor = min(max(t, oldest), newest)
		return nil
	}
	if u.snap.Len() > 0 && t >= oldest && t <= newest {
		u.cursor = t
		return u.playing(Player.Pause)
	}
	u.cursor = 0
	return u.playing(func(p Player) { p.Seek(t) })
}

func (u *ui) step(key string) command {
	by := fold.FrameStep
	if key != "left" && key != "right" {
		by = 60 * fold.FrameStep
	}
	if key == "left" || key == "shift+left" || key == "H" {
		by = -by
	}
	from := u.cursor
	if from == 0 {
		from = u.snap.Now
	}
	if u.opt.Player != nil && by > 0 && from+by > u.snap.Now {
		u.cursor = 0
		return u.playing(func(p Player) { p.Step(time.Duration(by)) })
	}
	return u.goTo(from + by)
}

func (u *ui) pause(string) command {
	if u.opt.Player == nil {
		if u.paused {
			u.follow()
		} else {
			u.paused = true
		}
		return nil
	}
	if at := u.cursor; at != 0 { // play on from where the reader looks
		u.cursor = 0
		return u.playing(func(p Player) {
			p.Seek(at)
			p.Resume()
		})
	}
	return u.playing(func(p Player) {
		if p.Paused() {
			p.Resume()
		} else {
			p.Pause()
		}
	})
}

// follow looks at the newest moment of a live session again.
func (u *ui) follow() {
	u.paused, u.cursor, u.snap = false, 0, u.newest
}

func (u *ui) home(string) command {
	start, _ := u.span()
	return u.goTo(start)
}

func (u *ui) end(string) command {
	if u.opt.Player == nil {
		u.follow()
		return nil
	}
	_, end := u.span()
	return u.goTo(end)
}

// goWorst goes to the worst finding of a recording, the longest of those that are as severe: to its end, where all of
// it is known, and from there to the second that shows it, see showWorst. It returns nil when there is none.
func (u *ui) goWorst() command {
	var worst *model.Finding
	for _, f := range u.snap.Findings {
		if worst == nil || f.Severity > worst.Severity ||
			f.Severity == worst.Severity && f.End.Sub(f.Start) > worst.End.Sub(worst.Start) {
			worst = f
		}
	}
	if worst == nil {
		return nil
	}
	u.list(findingsTable).selected = worst.ID
	at := worst.End
	u.cursor = 0
	u.worst = worst
	return u.playing(func(p Player) {
		p.Seek(at)
		p.Pause()
	})
}

// showWorst looks at the second of u.worst in which its subject lost most, or in which the longest gap of its flow
// ended, once the history up to its end is there. What is said of the finding stays that of its end.
func (u *ui) showWorst() {
	f := u.worst
	if u.snap.Now < min(f.End, u.play.end-u.play.end%fold.FrameStep) {
		return
	}
	u.worst = nil
	var most weight
	for i := range u.snap.Latest() + 1 {
		frame := u.snap.Frame(i)
		if frame.Start < f.Start-f.Start%fold.FrameStep || frame.Start > f.End {
			continue
		}
		if w := weigh(&f.Subject, frame); w.lost > most.lost || w.lost == most.lost && w.gap > most.gap {
			most, u.cursor, u.drawn = w, frame.Start, false
			u.foreseen.id, u.foreseen.at = f.ID, u.cursor
		}
	}
}

// weight is what a second shows of a fault: packets lost, and the longest gap of a flow in nanoseconds.
type weight struct{ lost, gap float32 }

// weigh returns what a second shows of the subject of a finding: its port, CPU or device.
func weigh(s *model.Subject, f *fold.Frame) weight {
	var w weight
	for _, d := range f.Drops {
		if s.Port != 0 && s.Port == d.Key.Port || s.Port == 0 && s.Device != "" && s.Device == d.Key.Device {
			w.lost += d.Value.Rate
		}
	}
	if s.Kind == "cpu" {
		for _, c := range f.Softnet {
			if c.Key.CPU == s.CPU {
				w.lost += c.Value.Dropped
			}
		}
	}
	for _, flow := range f.Flows {
		if s.Port != 0 && s.Port == flow.Key.LPort {
			w.gap = max(w.gap, flow.Value.Gap)
		}
	}
	return w
}

// jumpFinding looks at the start of the finding before or after this moment.
func (u *ui) jumpFinding(key string) command {
	at := u.cursor
	if at == 0 {
		at = u.snap.Now
	}
	var target *model.Finding
	back := key == "[" || key == "N"
	for _, f := range u.snap.Findings {
		if !back && f.Start > at {
			target = f
			break
		}
		if back && f.Start < at {
			target = f
		}
	}
	if target == nil {
		where := "after"
		if back {
			where = "before"
		}
		u.say("no finding "+where+" "+formatClock(at, u.loc), false)
		return nil
	}
	u.list(findingsTable).selected = target.ID
	return u.goTo(target.Start)
}

func (u *ui) changeSpeed(key string) command {
	faster := key == "+" || key == "="
	return u.playing(func(p Player) {
		speed := p.Speed() / 2
		if faster {
			speed *= 4
		}
		p.SetSpeed(min(max(speed, minSpeed), maxSpeed))
	})
}

// Limits of the speed of a replay.
const minSpeed, maxSpeed = 1.0 / 16, 1024
