package detect

import (
	"fmt"
	"time"

	"lostbeat/model"
)

// longWork is a Windows driver whose DPCs or ISRs run for far longer than the
// guideline allows, in general or on one CPU.
type longWork struct {
	driver, routine  string
	class            model.Class
	cpu              int32
	worst, guideline time.Duration
	runs, over       uint64
}

// judgeLong notes DPCs and ISRs of Windows hosts that exceed the documented
// guideline by a factor. No victim is needed for a note of severity info.
func (d *starvation) judgeLong(w *world, c *cpuFacts) {
	second := &c.seconds[w.slot]
	for _, list := range [][]workFacts{second.work, second.irqs} {
		for i := range list {
			f := &list[i]
			limit := d.guideline(f.class)
			if limit == 0 {
				continue
			}
			key := f.class.String() + "/" + f.label()
			in := d.long.incidents[key]
			if f.maxRun >= time.Duration(d.settings.GuidelineFactor*float64(limit)) {
				in = d.long.raise(w, key, w.now-tickEvery)
			} else if in != nil && f.overLimit > 0 {
				d.long.keep(w, key)
			}
			if in == nil {
				continue
			}
			data := &in.data
			data.driver, data.class, data.guideline = f.label(), f.class, limit
			data.runs += f.count
			data.over += f.overLimit
			if f.maxRun > data.worst {
				data.worst, data.cpu, data.routine = f.maxRun, c.id, f.worstRoutine
			}
		}
	}
}

// guideline returns the documented limit of a class, 0 where there is none.
func (d *starvation) guideline(class model.Class) time.Duration {
	switch class {
	case model.ClassDPC, model.ClassThreadedDPC, model.ClassTimerDPC:
		return d.settings.DPCGuideline.Std()
	case model.ClassISR, model.ClassISRMSI:
		return d.settings.ISRGuideline.Std()
	}
	return 0
}

func (d *starvation) settleLong(w *world, emit func(model.Finding)) {
	d.long.settle(w, 1, emit, func(in *incident[longWork]) model.Finding {
		f := describeLong(in)
		if in.data.worst >= d.settings.Watchdog.Std()/2 {
			f.Severity = model.SeverityCritical
			f.Causes = append(f.Causes, fmt.Sprintf("the DPC watchdog stops the system (bug check 0x133) when a single DPC runs for about %s", span(d.settings.Watchdog.Std())))
		}
		return f
	})
}

func describeLong(in *incident[longWork]) model.Finding {
	data := &in.data
	what := "DPC"
	if data.class == model.ClassISR || data.class == model.ClassISRMSI {
		what = "ISR"
	}
	return model.Finding{
		Severity: model.SeverityInfo,
		Title:    fmt.Sprintf("%s ran %s %s for %s on CPU %d, where the guideline is %s", data.driver, article(what), what, span(data.worst), data.cpu, span(data.guideline)),
		Subject:  model.Subject{Kind: "cpu", CPU: data.cpu, PID: -1, Driver: data.driver, Vector: clean(data.routine)},
		Evidence: []model.Evidence{
			evidence("longest "+what, float64(data.worst), "ns"),
			evidence(what+"s longer than the guideline", float64(data.over), "runs"),
			evidence(what+"s seen", float64(data.runs), "runs"),
		},
		RuledOut: []string{"not a starvation verdict: no packet or task was seen to be lost or delayed by it"},
		Advice:   []string{fmt.Sprintf("update or remove %s if delays of this size matter here; not when %s only wraps other drivers (ndis.sys, tcpip.sys, Wdf01000.sys, storport.sys): find the driver behind it first", data.driver, data.driver)},
	}
}

func article(what string) string {
	if what == "ISR" {
		return "an"
	}
	return "a"
}
