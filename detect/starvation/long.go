package starvation

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// longWork is what is known about the DPCs, or the ISRs, of a Windows host that
// run for far longer than the guideline allows: one finding for all drivers.
type longWork struct {
	// what is "DPC" or "ISR".
	what       string
	guideline  time.Duration
	runs, over uint64
	drivers    []longDriver
	// index finds a driver by its name.
	index map[string]int
}

// maxDriversSeen is how many drivers are told apart: no host has as many.
const maxDriversSeen = 4096

// longDriver is one driver with runs beyond the guideline.
type longDriver struct {
	name, routine string
	cpu           int32
	worst         time.Duration
	over          uint64
}

// judgeLong notes DPCs and ISRs of Windows hosts that exceed the documented
// guideline by a factor. No victim is needed for a note of severity info.
func (d *starvation) judgeLong(w *detect.Tick) {
	d.judgeLongClass(w, "DPC", d.settings.DPCGuideline.Std(), func(s *fold.CPUSecond) []fold.Work { return s.Work })
	d.judgeLongClass(w, "ISR", d.settings.ISRGuideline.Std(), func(s *fold.CPUSecond) []fold.Work { return s.IRQs })
}

func (d *starvation) judgeLongClass(
	w *detect.Tick,
	what string,
	guideline time.Duration,
	list func(*fold.CPUSecond) []fold.Work,
) {
	limit := time.Duration(d.settings.GuidelineFactor * float64(guideline))
	var worst time.Duration
	for _, c := range w.CPUs {
		work := list(&c.Seconds[w.Slot])
		for i := range work {
			if isWindowsWork(work[i].Class) {
				worst = max(worst, work[i].MaxRun)
			}
		}
	}
	var in *detect.Case[longWork]
	switch {
	case worst >= limit:
		in = d.long.Raise(w, what, w.Now-fold.Second)
	case worst > guideline:
		in = d.long.Keep(w, what)
	}
	if in == nil {
		return
	}
	in.Data.what, in.Data.guideline = what, guideline
	for _, c := range w.SortedCPUs() {
		work := list(&c.Seconds[w.Slot])
		for i := range work {
			if isWindowsWork(work[i].Class) {
				in.Data.add(c.ID, &work[i])
			}
		}
	}
}

// isWindowsWork says that Windows' guidelines apply to a class.
func isWindowsWork(class model.Class) bool {
	switch class {
	case model.ClassDPC, model.ClassThreadedDPC, model.ClassTimerDPC, model.ClassISR, model.ClassISRMSI:
		return true
	}
	return false
}

// add folds in one second of one driver on one CPU.
func (l *longWork) add(cpu int32, f *fold.Work) {
	l.runs += f.Count
	if f.MaxRun <= l.guideline {
		return
	}
	over := max(f.OverLimit, 1)
	l.over += over
	name := fold.Printable(f.Label())
	i, known := l.index[name]
	if !known {
		if i = len(l.drivers); i >= maxDriversSeen {
			return
		}
		if l.index == nil {
			l.index = map[string]int{}
		}
		l.index[name] = i
		l.drivers = append(l.drivers, longDriver{name: name})
	}
	d := &l.drivers[i]
	d.over += over
	if f.MaxRun > d.worst {
		d.worst, d.cpu, d.routine = f.MaxRun, cpu, fold.Printable(f.WorstRoutine)
	}
}

func (d *starvation) settleLong(w *detect.Tick, emit func(model.Finding)) {
	d.long.Settle(w, 1, emit, d.describeLong)
}

// flushLong ends the notes with the stream. A burst that only happened to be
// the last thing seen is not called ongoing.
func (d *starvation) flushLong(w *detect.Tick, emit func(model.Finding)) {
	d.long.Flush(w, func(f model.Finding) {
		f.Ongoing = f.End.Sub(f.Start) >= d.long.Settings.ClearAfter.Std()
		emit(f)
	}, d.describeLong)
}

// maxLongDrivers is how many drivers a finding lists beside the worst.
const maxLongDrivers = 9

func (d *starvation) describeLong(in *detect.Case[longWork]) model.Finding {
	data := &in.Data
	ranked := slices.SortedFunc(slices.Values(data.drivers), func(a, b longDriver) int {
		return cmp.Or(
			cmp.Compare(b.worst, a.worst),
			cmp.Compare(unknownImage(a.name), unknownImage(b.name)),
			cmp.Compare(a.name, b.name),
		)
	})
	top, others := ranked[0], ranked[1:]
	what := data.what
	title := fmt.Sprintf(
		"%s ran %s %s for %s on CPU %d, where the guideline is %s",
		top.name,
		article(what),
		what,
		words.Span(top.worst),
		top.cpu,
		words.Span(data.guideline),
	)
	if len(others) > 0 {
		title += "; " + words.Plural(len(others), "other driver") + " exceeded it too"
	}
	f := model.Finding{
		Severity: model.SeverityInfo,
		Title:    title,
		Subject:  model.Subject{Kind: "cpu", CPU: top.cpu, PID: -1, Driver: top.name, Vector: top.routine},
		Evidence: []model.Evidence{
			detect.Evidence(
				fmt.Sprintf("longest %s: %s on CPU %d", what, cmp.Or(top.routine, top.name), top.cpu),
				float64(top.worst),
				"ns",
			),
			detect.Evidence(what+"s longer than the guideline", float64(data.over), "runs"),
			detect.Evidence(what+"s seen", float64(data.runs), "runs"),
		},
		Advice: driverAdvice(top.name, top.routine),
	}
	if !d.harmOn(top.cpu) {
		f.RuledOut = []string{"starvation: no packet was lost and no task delayed by it, as far as the capture shows"}
	}
	for _, o := range others[:min(len(others), maxLongDrivers)] {
		f.Evidence = append(
			f.Evidence,
			detect.Evidence(
				fmt.Sprintf("longest of %s: %s on CPU %d", o.name, cmp.Or(o.routine, o.name), o.cpu),
				float64(o.worst),
				"ns",
			),
		)
	}
	if hidden := len(others) - maxLongDrivers; hidden > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("further drivers beyond the guideline", float64(hidden), "drivers"))
	}
	if top.worst >= d.settings.Watchdog.Std()/2 {
		f.Severity = model.SeverityCritical
		f.Causes = append(
			f.Causes,
			fmt.Sprintf(
				"the DPC watchdog stops the system (bug check 0x133) when a single DPC runs for about %s",
				words.Span(d.settings.Watchdog.Std()),
			),
		)
	}
	return f
}

// wrapped says whose work a driver of Windows runs inside its own routines; ""
// when it is not known to run any.
func wrapped(driver string) string {
	switch strings.ToLower(driver) {
	case "ndis.sys":
		return "the network adapter's driver or a filter driver (security software, teaming, virtual switch)"
	case "tcpip.sys", "netio.sys":
		return "a callout of the Windows Filtering Platform (firewall, security software, VPN) or the adapter's driver " +
			"below it"
	case "wdf01000.sys":
		return "a driver built on the KMDF framework"
	case "storport.sys", "ataport.sys", "scsiport.sys":
		return "the storage adapter's driver"
	case "portcls.sys":
		return "the audio driver"
	case "dxgkrnl.sys":
		return "the display driver"
	}
	return ""
}

// isKernelImage says that a routine is Windows' own: nobody can update or remove it alone.
func isKernelImage(driver string) bool {
	switch strings.ToLower(driver) {
	case "ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe", "hal.dll", "halmacpi.dll", "halaacpi.dll":
		return true
	}
	return false
}

// unknownImage is 1 when the capture has no image for a routine.
func unknownImage(driver string) int {
	if driver == "" || strings.HasPrefix(driver, "<") {
		return 1
	}
	return 0
}

// driverAdvice says what to do about a driver whose DPCs or ISRs are the
// trouble, and when not to.
func driverAdvice(driver, routine string) []string {
	if hidden := wrapped(driver); hidden != "" {
		return []string{
			fmt.Sprintf(
				"Find the driver behind %s before changing anything: it only wraps other drivers, and most of the time is spent "+
					"in %s; record it again with stacks (xperf -on PROC_THREAD+LOADER+DPC+INTERRUPT+PROFILE -stackwalk Profile)",
				driver,
				hidden,
			),
		}
	}
	if isKernelImage(driver) {
		return []string{
			fmt.Sprintf(
				"Find out what keeps %s busy: %s is part of Windows and runs work that others queued; open the trace in Windows "+
					"Performance Analyzer with symbols to name the routine; there is no driver to update",
				cmp.Or(routine, driver),
				driver,
			),
		}
	}
	if unknownImage(driver) > 0 {
		return []string{
			"Record again with the image list (LOADER for xperf, img for logman) and stop the session properly: this capture " +
				"does not say which driver the routine's address belongs to",
		}
	}
	return []string{
		fmt.Sprintf(
			"Update or remove %s if delays of this size matter; if its device works and nothing else is affected, leave it",
			driver,
		),
	}
}

func article(what string) string {
	if what == "ISR" {
		return "an"
	}
	return "a"
}

// harmOn reports whether a verdict of starvation on a CPU has a victim.
func (d *starvation) harmOn(cpu int32) bool {
	in := d.cases.Get("cpu" + words.Itoa(cpu))
	return in != nil && (in.Data.dropped > 0 || in.Data.late > 0 || in.Data.deviceDrops > 0 || len(in.Data.silences) > 0)
}
