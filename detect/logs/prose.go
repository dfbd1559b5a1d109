package logs

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// finding writes what is known of the incident.
func (t *telling) finding(assumed map[string][]string) model.Finding {
	f := model.Finding{
		ID: t.id(), Detector: Name, Severity: model.SeverityInfo, Start: t.from, End: t.to,
		Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
	}
	if len(t.lines) > 0 {
		f.Severity = model.SeverityWarning
		f.End = max(f.End, t.lines[len(t.lines)-1].Time)
	}
	f.Title = t.victim() + t.heldUp() + t.verdict(&f)
	t.story(&f)
	t.evidence(&f)
	t.rivals(&f)
	for _, log := range t.logs() {
		for _, text := range assumed[log] {
			f.Causes = append(f.Causes, "assumed of "+fold.Printable(log)+": "+text)
		}
	}
	return f
}

// logs are those that take part, the main one first.
func (t *telling) logs() []string {
	out := []string{t.log}
	add := func(log string) {
		if !slices.Contains(out, log) {
			out = append(out, log)
		}
	}
	for _, g := range t.gaps {
		add(g.Log)
	}
	for _, l := range t.lines {
		add(l.Log)
	}
	return out
}

// victim says what the logs report.
func (t *telling) victim() string {
	log := fold.Printable(t.log)
	quoted := ""
	if t.line != nil {
		quoted = "“" + shorten(t.line.Text, 90) + "”"
		if t.line.Log != t.log {
			quoted = fold.Printable(t.line.Log) + " " + quoted
		}
	}
	switch {
	case t.gap != nil && t.line != nil:
		return fmt.Sprintf("%s has no line for %s, then %s", log, length(t.gap.Dur), quoted)
	case t.gap != nil:
		return fmt.Sprintf("%s has no line for %s (99 of 100 lines follow within %s)", log, length(t.gap.Dur),
			words.Span(t.gap.Usual))
	case t.line.Dur > 0:
		return fmt.Sprintf("%s: %s after %s", log, quoted, words.Span(t.line.Dur))
	}
	return fmt.Sprintf("%s: %s", log, quoted)
}

// time names what the counters were looked at for.
func (t *telling) time() string {
	if t.gap != nil || t.line.Dur > 0 {
		return "of it"
	}
	return "of the " + length(t.to.Sub(t.from)) + " before it"
}

// length writes the length of a silence, to a tenth of a second below a minute: it is compared with timeouts.
func length(d time.Duration) string {
	if d < time.Second || d >= time.Minute {
		return words.Span(d)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// heldUp is what another line says of a program that did not run, empty for none.
func (t *telling) heldUp() string {
	for i, l := range t.lines {
		if l.Class == model.LogHeldUp && &t.lines[i] != t.line {
			return "; " + didNotRun(l, " of "+fold.Printable(l.Log))
		}
	}
	return ""
}

// didNotRun is what a line says of a program or a CPU that did not run; of names the log.
func didNotRun(l model.LogLine, of string) string {
	switch product, _, _ := strings.Cut(l.Pattern, "/"); product {
	case "kernel":
		return "the kernel" + of + " reports that a CPU was held up" + claimed(l)
	case "sbd", "systemd":
		return product + of + " reports that a process did not answer" + claimed(l)
	}
	return "the program" + of + " says itself that it did not run" + claimed(l)
}

// shorten cuts what stands before the message, as %CVP_8_5_ICM-6-X: does, and what is too long.
func shorten(text string, most int) string {
	if head, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(head, "%") {
		text = rest
	}
	if head, _, ok := strings.Cut(text, ". "); ok && len(head) > 20 {
		text = head
	}
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return fold.Printable(text)
}

// verdict says what the counters show of it, and sets subject and advice.
func (t *telling) verdict(f *model.Finding) string {
	best := t.best
	if best == nil {
		if len(t.lines) > 0 || t.gap != nil {
			f.Advice = []string{
				"Judge it together with the counter logs of both ends, on Windows: lostbeat findings LOG... COUNTERS.csv...; on " +
					"Linux, lostbeat record --flight 5m keeps the minutes around the next one; not needed if a trace of the " +
					"moment exists",
			}
		}
		return ""
	}
	if t.moved != nil {
		return t.movedVerdict(f)
	}
	name := fold.Printable(best.name)
	switch best.verdict {
	case coincides, unproven:
		who, share, usual := t.who(best)
		first := best.cpus[0].key
		f.Subject.Kind, f.Subject.CPU, f.Subject.Vector = "cpu", first.CPU, strings.TrimSuffix(workOf(first), "s")
		f.Causes = append(f.Causes, fmt.Sprintf(
			"While %s run, no program runs on that CPU, and other queued work waits; a counter log does not "+
				"say which driver's", workOf(first)))
		if best.linux() {
			f.Causes[len(f.Causes)-1] = "While softirqs run, no program runs on that CPU, and other queued work waits; sar " +
				"does not say which softirqs"
		}
		said := fmt.Sprintf("; %s spent %s %s in %s (usually %s), ", who, share, t.time(), workOf(first), usual)
		f.Advice = []string{
			"Name the driver: record a trace while it happens (wpr or xperf with DPC and INTERRUPT) and open it with " +
				"lostbeat; not needed if the driver is known",
			"Spread the receive work: Get-NetAdapterRss, unless the heartbeats are one UDP flow, which RSS leaves on one CPU",
		}
		if best.linux() {
			f.Advice = []string{
				"Find out what runs there: perf record -C CPU while it lasts, or lostbeat record --flight 5m for the next " +
					"time; not needed if it is clear from /proc/net/softnet_stat and the firewall rules",
			}
		}
		if best.verdict == unproven {
			f.Advice = append(f.Advice, "Log for longer: in "+words.Plural(best.values, "sample")+
				" chance cannot be ruled out; not needed if a trace of the moment exists")
			return said + "but chance alone does that in " + words.Chance(best.p)
		}
		return said + "which chance alone does in " + words.Chance(best.p)
	case stoodStill:
		f.Causes = append(f.Causes, "The counter logger took no samples, so it was held up too: a virtual machine that "+
			"was paused or migrated, a host out of memory, or a disk that did not write")
		f.Advice = []string{"Look for snapshots, backups and migrations at that time in the hypervisor's log (virtual " +
			"machines only)"}
		return fmt.Sprintf("; %s took no sample for %s then either: not this program alone was held up",
			name, words.Span(best.missing))
	case little:
		who, share, usual := t.who(best)
		f.Advice = []string{"Do not tune DPCs for this; look for what causes the load, or for a receiver that is too slow"}
		return fmt.Sprintf("; not %s: their time rises then, but only to %s of %s (usually %s): too little to starve it",
			best.work(), share, who, usual)
	case always:
		who, share, usual := t.who(best)
		f.Advice = []string{"Look for what is different in that time; a CPU that is always this busy needs a separate look"}
		return fmt.Sprintf("; %s spent %s %s in %s, and as much at other times (%s): no evidence of a link",
			who, share, t.time(), workOf(best.cpus[0].key), usual)
	case quiet:
		return t.quietVerdict(f)
	}
	f.Advice = []string{
		"Log \\Processor Information(*)\\% DPC Time and % Interrupt Time at 1 s on both ends; not needed if a trace of " +
			"the moment exists",
	}
	if best.linux() {
		f.Advice = []string{"Sample with sar at 1 s on both ends (sar -A -o FILE 1), or lostbeat record --flight 5m; not " +
			"needed if a trace of the moment exists"}
	}
	return "; cause unknown: " + t.blind(best)
}

// blind says why the counters of a host do not answer.
func (t *telling) blind(v *sight) string {
	name := fold.Printable(v.name)
	times := v.c.Times
	switch v.verdict {
	case totalOnly:
		first := v.cpus[0]
		return fmt.Sprintf("the counters of %s are _Total only (%s in %s then, usually %s), which hides a single busy CPU",
			name, words.Percent(first.mean), workOf(first.key), words.Percent(first.median))
	case coarse:
		return fmt.Sprintf("the counters of %s are sampled every %s, which averages a silence of %s away", name,
			words.Span(v.usual), length(t.to.Sub(t.from)))
	case fewSamples:
		return fmt.Sprintf("%s of %s are too few to know what is usual", words.Plural(v.values, "sample"), name)
	}
	return fmt.Sprintf("no counters of %s cover that time (they run from %s to %s UTC)", name,
		times[0].Std().Format("2006-01-02 15:04:05"), times[len(times)-1].Std().Format("2006-01-02 15:04:05"))
}

func (t *telling) quietVerdict(f *model.Finding) string {
	var quietHosts []string
	blind := ""
	for _, v := range t.sights {
		if v.verdict == quiet {
			quietHosts = append(quietHosts, fold.Printable(v.name))
		} else if blind == "" {
			blind = t.blind(v)
		}
	}
	top := t.best.cpus[0]
	highest := fmt.Sprintf("highest: %s, %s", cpuName(top.key, t.best.name), words.Percent(top.mean))
	f.Advice = []string{"Look at the program itself (garbage collection, a lock, a slow disk) and at the network " +
		"between the ends; at intervals longer than 1 s a short burst stays hidden"}
	names := strings.Join(quietHosts, " or ")
	switch {
	case blind != "":
		return fmt.Sprintf("; no CPU of %s was unusually busy with %s then (%s), but %s: cannot say", names,
			t.best.works("or"), highest, blind)
	case len(t.sights) == 1:
		f.Advice = append(f.Advice, "Add the counters of the other end of the connection; not needed if it was at rest")
		return fmt.Sprintf("; not %s of %s (%s); the counters of the other end are not here: cannot say more",
			t.best.work(), names, highest)
	}
	return fmt.Sprintf("; not %s: no CPU of %s was unusually busy with %s then (%s)", t.best.work(), names,
		t.best.works("or"), highest)
}

// movedVerdict says what would hold if the clock of the log were another.
func (t *telling) movedVerdict(f *model.Finding) string {
	who, share, usual := t.who(t.moved)
	later := "later"
	if t.offset < 0 {
		later = "earlier"
	}
	by := words.Span(t.offset.Abs())
	if t.offset.Abs()%time.Hour == 0 {
		by = fmt.Sprintf("%d h", t.offset.Abs()/time.Hour)
	}
	f.Advice = []string{fmt.Sprintf(
		"Find out the time zones of the log and of the counters and set them: --log-time for logs, --utc-offset for "+
			"counters; this finding has the times of the log, %s was not applied", by)}
	at := "no CPU was unusually busy at the times that the log has"
	if t.best.verdict == uncovered {
		at = "the counters do not cover the times that the log has"
	}
	return fmt.Sprintf("; cause unknown: %s, but exactly %s %s %s spent %s of as long a time in %s (usually %s; by "+
		"chance in %s): is the time zone wrong?", at, by, later, who, share, workOf(t.moved.cpus[0].key), usual,
		words.Chance(t.moved.p))
}

// who names the CPUs that were busy together, their mean share and what is usual for them.
func (t *telling) who(v *sight) (name, share, usual string) {
	list := v.together(t.settings)
	first := v.cpus[0]
	if len(list) < 2 {
		return cpuName(first.key, v.name), words.Percent(first.mean), words.Percent(first.median)
	}
	var numbers []string
	slices.SortFunc(list, func(a, b seen) int { return cmp.Compare(a.key.CPU, b.key.CPU) })
	low, high := math.Inf(1), 0.0
	for i, s := range list {
		if i < 8 {
			numbers = append(numbers, words.Itoa(s.key.CPU))
		}
		low, high = min(low, s.mean), max(high, s.mean)
	}
	if n := len(list) - 8; n > 0 {
		numbers = append(numbers, fmt.Sprintf("%d more", n))
	}
	last := len(numbers) - 1
	name = "CPUs " + strings.Join(numbers[:last], ", ") + " and " + numbers[last] + " of " + fold.Printable(v.name)
	share = words.Percent(low)
	if words.Percent(high) != share {
		share += " to " + words.Percent(high)
	}
	return name, share, words.Percent(first.median)
}

func cpuName(k fold.SampleKey, host string) string {
	if k.CPU < 0 {
		return "_Total of " + fold.Printable(host)
	}
	return "CPU " + words.Itoa(k.CPU) + " of " + fold.Printable(host)
}

// workOf names what a share of time was spent in.
func workOf(k fold.SampleKey) string {
	switch k.Counter {
	case "% Interrupt Time":
		return "interrupts"
	case softirqCounter:
		return "softirqs"
	}
	return "DPCs"
}

// maxStory is how many lines of logs a finding tells.
const maxStory = 6

// story adds the lines of the logs, in their order, and what they say of the cause.
func (t *telling) story(f *model.Finding) {
	all := slices.Concat(t.lines, t.others)
	slices.SortStableFunc(all, func(a, b model.LogLine) int { return cmp.Compare(a.Time, b.Time) })
	for _, l := range all {
		switch l.Class {
		case model.LogHeldUp:
			f.Causes = append([]string{didNotRun(l, "")}, f.Causes...)
		case model.LogDisk:
			f.Causes = append(f.Causes, "The program measured a slow disk"+claimed(l)+": another possible cause")
		default:
			continue
		}
		break
	}
	for i, l := range all {
		if i == maxStory {
			f.Causes = append(f.Causes, "and "+words.Plural(len(all)-i, "more line")+" like these")
			break
		}
		f.Causes = append(f.Causes, fmt.Sprintf("%s %s: %s", l.Time.Std().Format("15:04:05.000"), fold.Printable(l.Log),
			shorten(l.Text, 160)))
	}
}

func claimed(l model.LogLine) string {
	if l.Dur > 0 {
		return " for " + words.Span(l.Dur)
	}
	return ""
}

// shownCPUs is how many CPUs of a host the evidence lists for each kind of work.
const shownCPUs = 4

// evidence adds the numbers.
func (t *telling) evidence(f *model.Finding) {
	add := func(name string, v float64, unit string) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			f.Evidence = append(f.Evidence, detect.Evidence(name, v, unit))
		}
	}
	for _, g := range t.gaps {
		log := fold.Printable(g.Log)
		add("silence of "+log, g.Dur.Seconds(), "s")
		if g.ExpectedCount > 0 {
			add("logs like it ("+words.Number(g.Lines)+" lines) until chance makes one silence as long, at least",
				min(math.Round(1/g.ExpectedCount), 1e6), "logs")
		}
		add("longest other silence of "+log, g.Longest.Seconds(), "s")
	}
	if t.gap == nil && t.line.Dur == 0 && t.line.Silence > 0 {
		add("time without a line before it", t.line.Silence.Seconds(), "s")
	}
	for _, v := range t.sights {
		host := fold.Printable(v.name)
		for _, counter := range []string{"% DPC Time", "% Interrupt Time", softirqCounter} {
			n := 0
			for _, c := range v.cpus {
				if c.key.Counter != counter {
					continue
				}
				if n++; n > shownCPUs {
					break
				}
				add(cpuName(c.key, v.name)+", share of "+workOf(c.key)+" then", c.mean, "ratio")
				add(cpuName(c.key, v.name)+", usually", c.median, "ratio")
			}
		}
		if v.verdict <= little && len(v.cpus) > 0 {
			add("probability by chance of what "+host+" shows, corrected", v.p, "ratio")
		}
		if len(v.cpus) > 0 {
			add("samples of "+host+" judged", float64(v.values), "samples")
		}
		for _, k := range v.c.Keys(fold.UseLoss) {
			if s := v.c.Series[k]; v.grown(s) > 0 {
				add("lost by "+host+" then: "+s.Name, v.grown(s), "packets")
			}
		}
	}
}

// rivals says which hosts did not show it.
func (t *telling) rivals(f *model.Finding) {
	for _, v := range t.sights {
		if v == t.best {
			continue
		}
		switch v.verdict {
		case quiet:
			top := v.cpus[0]
			f.RuledOut = append(f.RuledOut, fmt.Sprintf("%s of %s: the highest share then was %s of %s "+
				"(usually %s)", v.works("and"), fold.Printable(v.name), words.Percent(top.mean), cpuName(top.key, v.name),
				words.Percent(top.median)))
		case always:
			top := v.cpus[0]
			f.RuledOut = append(f.RuledOut, fmt.Sprintf("%s of %s: %s at other times, too", v.work(),
				cpuName(top.key, v.name), words.Percent(top.median)))
		case coincides, unproven, little:
			who, share, usual := t.who(v)
			f.Causes = append(f.Causes, fmt.Sprintf("%s spent %s in %s then, too (usually %s; by chance in %s)", who, share,
				workOf(v.cpus[0].key), usual, words.Chance(v.p)))
		case stoodStill:
			f.Causes = append(f.Causes, fold.Printable(v.name)+" took no sample for "+words.Span(v.missing)+" then")
		default:
			f.Causes = append(f.Causes, "not judged: "+t.blind(v))
		}
	}
	if t.best != nil && len(t.sights) == 1 && t.best.verdict <= unproven {
		f.Causes = append(f.Causes, "only the counters of "+fold.Printable(t.best.name)+
			" are here: the other end of the connection was not judged")
	}
}
