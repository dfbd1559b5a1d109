package counters

import (
	"cmp"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// run judges the log as it is now and emits what has changed.
func (d *counterWatch) run(w *detect.Tick, emit func(model.Finding)) {
	d.judged = w.Counters.Total
	groups := make(map[string][]judgedLoss)
	var judged []judgedLoss
	for _, host := range w.Counters.Hosts() {
		for _, j := range d.judge(w.Counters.Of(host)) {
			j.key.Host = host
			judged = append(judged, j)
		}
	}
	// The strongest verdict on a subject keeps the subject's name as its key, so
	// that a verdict that changes as the log grows stays one finding.
	strongest := make(map[string]counterVerdict)
	for i := range judged {
		j := &judged[i]
		if v, ok := strongest[j.subject()]; !ok || j.verdict < v {
			strongest[j.subject()] = j.verdict
		}
	}
	for _, j := range judged {
		if j.verdict == dpcUnproven {
			if j.mean < d.settings.BusyShare {
				continue // little DPC time and few samples: nothing to say
			}
			if strongest[j.subject()] == dpcCoincides {
				j.verdict = dpcCoincides // it adds to what another loss proves
			}
		}
		key := j.subject()
		if j.verdict != strongest[key] {
			key += "-" + counterVerdictKeys[j.verdict]
		}
		groups[key] = append(groups[key], j)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		list := groups[key]
		slices.SortStableFunc(
			list,
			func(a, b judgedLoss) int { return cmp.Or(cmp.Compare(a.p, b.p), cmp.Compare(b.samples, a.samples)) },
		)
		d.emit(w, key, d.describe(w, list), emit)
	}
	for _, key := range slices.Sorted(maps.Keys(d.emitted)) {
		if f := d.emitted[key]; len(groups[key]) == 0 && !strings.HasPrefix(f.Title, withdrawn) {
			f.Severity = model.SeverityInfo
			f.Title = withdrawn + f.Title
			d.emit(w, key, f, emit)
		}
	}
}

// withdrawn begins the title of a finding that more of the log has refuted.
const withdrawn = "Withdrawn, not confirmed by the rest of the log: "

// subject is what the verdict is about: a CPU, or the host.
func (j *judgedLoss) subject() string {
	host := ""
	if j.key.Host != "" {
		host = j.key.Host + "-"
	}
	if cpu := j.cpu(); cpu >= 0 && j.verdict != dpcNot {
		if workOf(j.key) != "DPCs" {
			return host + "cpu" + words.Itoa(cpu) + "-" + workOf(j.key)
		}
		return host + "cpu" + words.Itoa(cpu)
	}
	return host + "host"
}

// cpu is the CPU that stands for all that were busy together, the first; -1 for none.
func (j *judgedLoss) cpu() int32 {
	if len(j.together) > 0 {
		return j.together[0].cpu
	}
	return j.key.CPU
}

// maxNamed is how many CPUs a sentence names.
const maxNamed = 8

// who names the CPUs, and says "its" or "their".
func (j *judgedLoss) who() (name, whose string) {
	name, whose = j.cpus()
	if j.key.Host != "" {
		name += " of " + fold.Printable(j.key.Host)
	}
	return name, whose
}

func (j *judgedLoss) cpus() (name, whose string) {
	switch n := len(j.together); {
	case j.key.CPU < 0:
		return "_Total", "its"
	case n <= 1:
		return "CPU " + words.Itoa(j.key.CPU), "its"
	default:
		var list []string
		for _, b := range j.together[:min(n, maxNamed)] {
			list = append(list, words.Itoa(b.cpu))
		}
		if n > maxNamed {
			list = append(list, fmt.Sprintf("%d more", n-maxNamed))
		}
		last := len(list) - 1
		return "CPUs " + strings.Join(list[:last], ", ") + " and " + list[last], "their"
	}
}

// sustained reports whether the marks stand in a row for so long that no program
// on those CPUs can have kept its times.
func (j *judgedLoss) sustained(c *fold.Counters) bool {
	for i, first := 1, -1; i < len(j.marks); i++ {
		switch {
		case !j.marks[i]:
			first = -1
		case first < 0:
			first = i - 1
		case i-first >= sustainedSamples && c.Times[i].Sub(c.Times[first]) >= sustainedTime:
			return true
		}
	}
	return false
}

// sustainedTime and sustainedSamples are how long CPUs without time for anything
// else are a fault by themselves: most clusters give a heartbeat 5 to 10 s.
const (
	sustainedTime    = 10 * time.Second
	sustainedSamples = 3
)

// emit fills in the identity and sends a finding that is new or has changed.
func (d *counterWatch) emit(w *detect.Tick, key string, f model.Finding, emit func(model.Finding)) {
	if start, ok := d.starts[key]; ok {
		f.Start = start
	} else {
		d.starts[key] = f.Start
	}
	f.Detector = "counter-coincidence"
	f.ID = fmt.Sprintf("%s/%s/%d", f.Detector, key, int64(f.Start)/int64(time.Second))
	f.Loss = w.Loss.Total
	if last, ok := d.emitted[key]; ok && last.Title == f.Title && last.End == f.End {
		return
	}
	d.emitted[key] = f
	emit(f)
}

// describe writes the finding of losses that share a verdict and a CPU, the
// strongest first.
func (d *counterWatch) describe(w *detect.Tick, list []judgedLoss) model.Finding {
	j := &list[0]
	c := w.Counters.Of(j.key.Host)
	f := model.Finding{
		Severity: model.SeverityInfo,
		Subject:  model.Subject{Kind: "host", CPU: -1, PID: -1},
		End:      c.Times[j.last],
	}
	f.Start = c.Times[max(j.first-1, 0)]
	for i := range list {
		f.Start = min(f.Start, c.Times[max(list[i].first-1, 0)])
		f.End = max(f.End, c.Times[list[i].last])
	}
	if j.key.CPU >= 0 && j.verdict != dpcNot {
		f.Subject.Kind, f.Subject.CPU, f.Subject.Vector = "cpu", j.cpu(), strings.TrimSuffix(workOf(j.key), "s")
	}
	who, whose := j.who()
	what := j.counterLoss.describe()
	switch n := len(list) - 1; {
	case n == 1:
		what += " and 1 other loss"
	case n > 1:
		what += fmt.Sprintf(" and %d other losses", n)
	}
	usual, work := words.Percent(j.baseline.Median), workOf(j.key)
	switch j.verdict {
	case dpcCoincides:
		f.Severity = model.SeverityWarning
		if j.mean >= criticalShare {
			f.Severity = model.SeverityCritical
		}
		f.Title = fmt.Sprintf(
			"%s spent %s in %s during %s; usually %s, chance alone does that in %s",
			who,
			words.Percent(j.mean),
			work,
			what,
			usual,
			words.Chance(j.p),
		)
		f.Causes = []string{
			fmt.Sprintf(
				"%s %s no time for other queued work while %s run; a counter log does not say which driver's",
				who,
				map[string]string{"its": "has", "their": "have"}[whose],
				work,
			),
		}
		f.Advice = []string{
			"Name the driver: record a trace while it happens (wpr or xperf with DPC and INTERRUPT) and open it with " +
				"lostbeat; not needed if the driver is known",
			"Spread the receive work: Get-NetAdapterRss, unless the heartbeats are one UDP flow, which RSS leaves on one CPU",
		}
	case dpcWeak:
		f.Title = fmt.Sprintf(
			"weak evidence: _Total spent %s of the time in %s, usually %s, in the samples with %s; the log has no single CPUs",
			words.Percent(j.mean),
			work,
			usual,
			what,
		)
		f.Causes = []string{"_Total is the mean of all CPUs: it does not show which CPU was busy, or whether any was"}
		f.Advice = []string{`Log \Processor Information(*)\% DPC Time at 1 s; not needed on a machine with one CPU`}
	case dpcLittle:
		f.Title = fmt.Sprintf(
			"the time in %s rises with %s, but only to %s of %s: too little to starve it",
			work,
			what,
			words.Percent(j.mean),
			who,
		)
		f.Causes = []string{
			"Load raises both this share and the losses: look for what causes the load, or for a receiver that is too slow",
		}
		f.Advice = []string{
			"Do not tune DPCs for this; at intervals longer than 1 s a short burst looks this small, so log at 1 s to " +
				"exclude it",
		}
	case dpcUnproven:
		if j.p <= likely*d.settings.Significance {
			f.Severity = model.SeverityWarning
		}
		f.Title = fmt.Sprintf(
			"%s spent %s in %s during %s; usually %s, but in %d samples chance alone does that in %s",
			who,
			words.Percent(j.mean),
			work,
			what,
			usual,
			j.test.N,
			words.Chance(j.p),
		)
		f.Advice = []string{
			fmt.Sprintf(
				"Log for longer: below %d samples no coincidence can be distinguished from chance; not needed if a trace of the "+
					"moment exists",
				int(math.Ceil(float64(len(list))/d.settings.Significance)),
			),
		}
	case dpcUnlost:
		f.Title = fmt.Sprintf(
			"%s spent up to %s of %s time in %s, usually %s, in %s; %s",
			who,
			words.Percent(j.most),
			whose,
			work,
			usual,
			words.Plural(j.samples, "sample"),
			map[bool]string{
				true:  "no loss that the log shows goes with it",
				false: "the log has no counter that shows whether packets were lost",
			}[j.counted],
		)
		if !j.counted && j.sustained(c) {
			f.Severity = model.SeverityWarning
			f.Causes = []string{fmt.Sprintf(
				"While %s run, nothing else runs on %s: other queued work waits; a counter log does not say which driver's",
				work, who)}
			f.Advice = []string{
				"Name the driver: record a trace while it happens (wpr or xperf with DPC and INTERRUPT) and open it with lostbeat",
				"Also log \\UDPv4\\Datagrams Received Errors and \\Network Interface(*)\\Packets Received Discarded: they show " +
					"the loss",
			}
		}
		f.Advice = append(f.Advice, "Compare these times with the program's log; if nothing was late, this is not a fault")
	case dpcAlways:
		f.Title = fmt.Sprintf(
			"%s spent %s of its time in %s during %s, and as much at other times (%s): no evidence of a link",
			who,
			words.Percent(j.mean),
			work,
			what,
			usual,
		)
		f.Advice = []string{
			"Look for what is different when something is lost; a CPU that is always this busy needs a separate look",
		}
	case dpcNot:
		f.Title = fmt.Sprintf(
			"not DPC: in the samples with %s no CPU spent unusually long in DPCs or interrupts (highest: %s, %s)",
			what,
			who,
			words.Percent(j.mean),
		)
		f.Causes = []string{"The cause is elsewhere: a slow receiver, a full socket buffer, a switch, the peer"}
		f.Advice = []string{
			"Check the other counters named here; at intervals longer than 1 s a short burst stays hidden, so log at 1 s to " +
				"exclude it",
		}
	case dpcGauge:
		f.Title = fmt.Sprintf(
			"DPC Rate says nothing about %s: it is a gauge of one moment, and the log has no %% DPC Time",
			what,
		)
		f.Advice = []string{`Log \Processor Information(*)\% DPC Time at 1 s; not needed when a trace of the moment exists`}
	}
	d.addEvidence(c, list, &f)
	d.addRivals(c, j, &f)
	return f
}

// criticalShare is the mean share of DPC time at losses from which a
// coincidence is critical: little is left for anything else.
const criticalShare = 0.7

// likely is how many times the significance a coincidence may have and still
// be worth a warning, with its probability in the title.
const likely = 5

// describe says what was lost.
func (l *counterLoss) describe() string {
	if l.name == "late samples" {
		return words.Plural(l.samples, "late sample")
	}
	return fmt.Sprintf("%s (%s in %s)", l.label, words.Number(uint64(l.lost)), words.Plural(l.samples, "sample"))
}

func (d *counterWatch) addEvidence(c *fold.Counters, list []judgedLoss, f *model.Finding) {
	for i := range list[:min(len(list), 4)] {
		l := &list[i]
		if l.verdict == dpcUnlost {
			f.Evidence = append(f.Evidence, detect.Evidence("samples with little time for other work", float64(l.samples),
				"samples"))
			l.addShares(f)
			continue
		}
		f.Evidence = append(f.Evidence, detect.Evidence(l.label, l.lost, unitOfLoss(l.name)))
		if l.verdict == dpcGauge {
			continue
		}
		f.Evidence = append(f.Evidence,
			detect.Evidence("probability by chance, over all shifts of the log: "+l.name, l.p, "ratio"),
			detect.Evidence("share of "+workOf(l.key)+" when lost: "+l.name, l.mean, "ratio"))
		if i == 0 {
			l.addShares(f)
		}
	}
	j := &list[0]
	if j.verdict != dpcGauge {
		f.Evidence = append(
			f.Evidence,
			detect.Evidence("highest share when lost", j.most, "ratio"),
			detect.Evidence("usual share (median)", j.baseline.Median, "ratio"),
			detect.Evidence(
				"95th percentile of the share",
				j.baseline.High,
				"ratio",
			),
			detect.Evidence("distance from the usual", j.baseline.Z(j.mean, zFloor), "robust standard deviations"),
			detect.Evidence("samples judged", float64(j.test.N), "samples"),
		)
	}
	if text, ok := gauge(c, j.marks); ok {
		f.RuledOut = append(f.RuledOut, text)
	}
}

// addShares adds the share of each CPU that was busy with others.
func (j *judgedLoss) addShares(f *model.Finding) {
	if len(j.together) < 2 {
		return
	}
	for _, b := range j.together[:min(len(j.together), maxNamed)] {
		f.Evidence = append(f.Evidence, detect.Evidence("mean share of CPU "+words.Itoa(b.cpu)+" then", b.mean, "ratio"))
	}
}

func unitOfLoss(name string) string {
	switch name {
	case "late samples":
		return "samples"
	case "Network Interface/Packets Received Discarded", "Network Adapter/Packets Received Discarded":
		return "packets"
	}
	return "datagrams"
}

// gauge says why DPC Rate is no evidence: how high it is all the time.
func gauge(c *fold.Counters, marks []bool) (string, bool) {
	keys := c.Keys(fold.UseGauge)
	if len(keys) == 0 {
		return "", false
	}
	s := c.Series[keys[0]]
	of := "CPU " + words.Itoa(keys[0].CPU)
	if keys[0].CPU < 0 { // _Total comes before the CPUs
		of = fold.Printable(keys[0].Instance)
	}
	mean, _ := meanAt(s, marks)
	all := finite(s.Values)
	asHigh := 0
	for _, v := range all {
		if v >= mean {
			asHigh++
		}
	}
	return fmt.Sprintf(
		"DPC Rate was not used: it is an instantaneous reading; its mean on %s then, %.1f, is reached in %s of all samples",
		of,
		mean,
		words.Percent(fold.Ratio(float64(asHigh), float64(len(all)))),
	), true
}

// addRivals says which other counters rise with the losses, and which do not.
func (d *counterWatch) addRivals(c *fold.Counters, j *judgedLoss, f *model.Finding) {
	if j.verdict == dpcUnlost {
		return
	}
	for _, use := range [...]fold.CounterUse{fold.UseLoad, fold.UseRival} {
		for _, k := range c.Keys(use) {
			if k.Instance == "_Total" && use == fold.UseLoad {
				continue
			}
			s := c.Series[k]
			test := coincide(s.At, j.marks)
			name := s.Name
			if k.Instance != "" {
				name += " of " + fold.Printable(k.Instance)
			}
			rose := test.Marks > 0 && test.P <= d.settings.Significance && test.AtMarks > 1.1*test.Elsewhere
			switch {
			case rose && len(f.Causes) < 6:
				f.Causes = append(
					f.Causes,
					fmt.Sprintf(
						"It rises too: %s, %.4g at the losses, otherwise %.4g (by chance in %s)",
						name,
						test.AtMarks,
						test.Elsewhere,
						words.Chance(test.P),
					),
				)
			case !rose && use == fold.UseRival && test.Marks > 0 && len(f.RuledOut) < 6:
				f.RuledOut = append(
					f.RuledOut,
					fmt.Sprintf("%s does not rise with it: %.4g at the losses, otherwise %.4g", name, test.AtMarks, test.Elsewhere),
				)
			}
		}
	}
}
