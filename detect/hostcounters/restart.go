package hostcounters

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// bootTolerance is by how much the time of a boot may differ between two bundles: uptime has minutes.
const bootTolerance = 2 * time.Minute

// restart is whether a host was started anew between two bundles.
type restart struct {
	yes bool
	// at is when, 0 unknown.
	at model.Time
	// sure says that something shows whether it was, so that a counter that fell has wrapped if it was not.
	sure bool
}

// restarted says whether the host was started anew between two bundles: by the time of its boot, by sar, or because a
// total fell that does not wrap.
func (h *host) restarted(from, to model.Time) (r restart) {
	for _, k := range h.of("host/restart", model.CounterGauge) {
		for _, p := range h.c.Series[k] {
			if p.Time > from && p.Time <= to {
				r = restart{yes: true, at: p.Time, sure: true}
			}
		}
	}
	if r.yes {
		return r
	}
	fell := false
	for k, points := range h.c.Series {
		if k.Host != h.name || k.Mode != model.CounterTotal || k.Instance != "" {
			continue
		}
		cpuTime := k.Name == "cpu/softirq" || k.Name == "cpu/irq"
		if !cpuTime && !strings.HasPrefix(k.Name, "udp") && !strings.HasPrefix(k.Name, "tcp/") {
			continue
		}
		before, ok := valueAt(points, from)
		after, also := valueAt(points, to)
		if !ok || !also {
			continue
		}
		// CPU times may go back by a tick; those of a host that was started anew are seldom as large as before.
		fell = fell || before-after >= 1
		r.sure = r.sure || cpuTime && before > 0
	}
	boots := h.c.Series[fold.HostKey{Host: h.name, Name: "host/boot_time", CPU: -1, Mode: model.CounterGauge}]
	boot, ok := valueAt(boots, to)
	if !ok {
		r.yes, r.sure = fell, r.sure || fell
		return r
	}
	at := model.TimeOf(time.Unix(int64(boot), 0))
	before, known := valueAt(boots, from)
	switch {
	case known && boot-before > bootTolerance.Seconds() && at.Sub(from) > -bootTolerance,
		!known && at.Sub(from) > bootTolerance/2:
		r = restart{yes: true, at: at, sure: true}
	case known || at.Sub(from) < -bootTolerance:
		r.sure = true // it ran through: by its boot, its clock was set at most
	default:
		r.yes, r.sure = fell, r.sure || fell
	}
	if r.at <= from || r.at >= to {
		r.at = 0
	}
	return r
}

// valueAt returns the value of a series at a time.
func valueAt(points []fold.HostPoint, at model.Time) (float64, bool) {
	i := slices.IndexFunc(points, func(p fold.HostPoint) bool { return p.Time == at })
	if i < 0 {
		return 0, false
	}
	return points[i].Value, true
}

// when says of what time a step is, as a format with a place for the time.
func (s *step) when() string {
	switch {
	case !s.restarted:
		return "between two bundles (%s)"
	case s.timed:
		return "since the host was restarted (%s)"
	}
	return "since the host was restarted between two bundles (%s)"
}

// whenCauses says what a step leaves open.
func (s *step) whenCauses() []string {
	causes := []string{"The counters do not say when within that time"}
	if s.restarted {
		causes = append(causes, "Counters start at 0 after a restart: what was lost between the first bundle and the "+
			"restart is not counted")
	}
	return causes
}

// reboots says when the host was started anew between bundles, where sar does not say it.
func (h *host) reboots(steps []step) (out []model.Finding) {
	if len(h.of("host/restart", model.CounterGauge)) > 0 {
		return nil
	}
	var said []model.Time
	for _, s := range steps {
		if !s.restarted || slices.Contains(said, s.from) || len(said) >= maxListed {
			continue
		}
		said = append(said, s.from)
		what := "the host"
		if h.on() != "" {
			what = fold.Printable(h.name)
		}
		f := model.Finding{
			ID: h.id("restart"), Severity: model.SeverityInfo, Start: s.from, End: s.to, Subject: hostSubject(),
			Title: fmt.Sprintf("%s was restarted between two bundles (%s)", what, times(s.from, s.to)),
			Causes: []string{"A total that cannot wrap is smaller in the second bundle than in the first (two machines with " +
				"the same name look like this too)"},
		}
		if s.timed {
			f.End = f.Start
			f.Title = fmt.Sprintf("%s was restarted at about %s UTC", what, s.from.Std().Format(time.DateTime))
			f.Causes = []string{"The second bundle says so: its uptime, or the boot time in /proc/stat"}
		}
		f.Causes = append(f.Causes, "A restart within an outage is a reboot or a fence; counters start at 0 afterwards")
		out = append(out, f)
	}
	return out
}
