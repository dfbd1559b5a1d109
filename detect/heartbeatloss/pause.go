package heartbeatloss

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// stood is a time in which the whole host stood still.
type stood struct {
	pause model.HostPause
	// flows are those that were followed, timeout the shortest of their protocols', 0 unknown.
	flows   []string
	timeout time.Duration
}

// judgePauses makes a case of each pause that is new.
func (d *heartbeatLoss) judgePauses(w *detect.Tick) {
	for _, p := range w.Pauses {
		if p.Time <= d.paused {
			continue
		}
		d.paused = p.Time
		in := d.pauses.Raise(w, "host-pause/"+strconv.FormatInt(int64(p.Time), 10), p.Time.Add(-p.Dur))
		in.Data.pause = p
		d.takeBack(w)
		seen := make(map[*fold.Followed]bool)
		for _, b := range w.SortedBeats() {
			s := b.Socket
			if b.Usual() == 0 || s.Ended != 0 || seen[s] {
				continue
			}
			seen[s] = true
			who := wordsOf(w, b)
			in.Data.flows = append(in.Data.flows, who.name())
			if s.Timeout > 0 && (in.Data.timeout == 0 || s.Timeout < in.Data.timeout) {
				in.Data.timeout = s.Timeout
			}
		}
	}
	for _, in := range d.pauses.All() {
		if !in.Touched {
			d.pauses.End(in.Key)
		}
	}
}

// takeBack makes notes of what was said of flows before it was known that the host slept.
func (d *heartbeatLoss) takeBack(w *detect.Tick) {
	for _, in := range d.cases.All() {
		g := &in.Data.worst.gap
		slept := pausedIn(w, g.From, max(g.To, w.Now))
		if slept > 0 && float64(slept) >= d.settings.HeldShare*float64(g.Delay()) {
			in.Data.slept = min(slept, w.Pauses[len(w.Pauses)-1].Paused)
			in.News()
		}
	}
}

// pausedIn is for how long the host slept within a time: a virtual machine that is stopped has no such time.
func pausedIn(w *detect.Tick, from, to model.Time) (sum time.Duration) {
	for _, p := range w.Pauses {
		if p.What == model.PauseSuspended {
			sum += fold.Span{From: p.Time.Add(-p.Paused - time.Second), To: p.Time}.In(from, to)
		}
	}
	return sum
}

func (d *heartbeatLoss) describePause(in *detect.Case[stood]) model.Finding {
	data := &in.Data
	p := &data.pause
	f := model.Finding{Severity: model.SeverityWarning, Subject: model.Subject{Kind: "host", CPU: -1, PID: -1}}
	long := words.Span(p.Paused)
	why := "it was suspended"
	if p.What == model.PauseStopped {
		long, why = "about "+long, "its virtual machine was stopped"
	}
	f.Title = fmt.Sprintf("This host was paused for %s: %s", long, why)
	if n := len(data.flows); n == 0 {
		f.Severity = model.SeverityInfo
	} else {
		f.Title += fmt.Sprintf("; its peers received nothing from %s", words.Plural(n, "followed flow"))
		f.Causes = append(f.Causes, "Nothing was sent or read in that time: "+
			strings.Join(data.flows[:min(n, 4)], ", "))
	}
	f.Causes = append(f.Causes, fmt.Sprintf("The %s advanced %s more than the clocks that programs use",
		fold.Printable(p.Clock), words.Span(p.Paused)))
	if data.timeout > 0 && p.Paused-p.Error >= data.timeout {
		f.Severity = model.SeverityCritical
	}
	f.Evidence = append(f.Evidence, detect.Evidence("paused for", float64(p.Paused), "ns"))
	if p.Error > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("uncertainty", float64(p.Error), "ns"))
	}
	if data.timeout > 0 {
		f.Evidence = append(f.Evidence,
			detect.Evidence("shortest timeout of the flows' protocols", float64(data.timeout), "ns"))
	}
	f.RuledOut = append(f.RuledOut, "the network: the host itself did nothing",
		"a program or a CPU of this host: all of them were paused")
	if p.What == model.PauseStopped {
		f.RuledOut = append(f.RuledOut, "a real-time clock set from the wall clock: the two would agree since then")
		f.Advice = append(f.Advice, "Find out what paused the virtual machine (a snapshot, a backup, a migration, an "+
			"overloaded hypervisor), unless somebody set the real-time clock by hand (hwclock) at that time")
	} else {
		f.Advice = append(f.Advice, "Find out who suspended the host (journalctl -u systemd-suspend) and disable it "+
			"(systemctl mask sleep.target), unless the host may sleep")
	}
	return f
}
