package counters

import (
	"cmp"
	_ "embed"
	"lostbeat/detect"
	"lostbeat/fold"
	"math"
	"slices"

	"lostbeat/internal/stats"
	"lostbeat/model"
)

// Counter logs (perfmon) are judged here. The published method takes any rise
// of a DPC counter at the time of a loss for the cause. This one asks how
// unusual the rise is for that CPU, how often marks like those of the losses
// would fall on such rises by chance, and whether the share of time is enough
// to starve anything; the statistics are those of package internal/stats.

// counterLoss is something that was lost, sample by sample.
type counterLoss struct {
	// name is the counter, label what is said of it.
	name, label string
	marks       []bool
	// lost is the sum of what was counted, samples how often.
	lost    float64
	samples int
	first   int
	last    int
}

// losses returns what the log shows as lost: totals that grew, and samples that
// came late, because then the logger itself was not run.
func losses(c *fold.Counters) []counterLoss {
	var out []counterLoss
	for _, k := range c.Keys(fold.UseLoss) {
		s := c.Series[k]
		l := counterLoss{name: s.Name, label: s.Name, marks: make([]bool, len(c.Times)), first: -1}
		if k.Instance != "" {
			l.label += " of " + fold.Printable(k.Instance)
		}
		last, gap := math.NaN(), false // the value before, whatever samples without one lie between
		for i := range c.Times {
			gap = gap || c.Gaps[i]
			v := s.At(i)
			if math.IsNaN(v) {
				continue
			}
			if d, _ := stats.Grown(last, v); d > 0 && !gap {
				l.mark(i, d)
			}
			last, gap = v, false
		}
		if l.samples > 0 {
			out = append(out, l)
		}
	}
	if l := lateSamples(c); l.samples > 0 {
		out = append(out, l)
	}
	return out
}

func (l *counterLoss) mark(i int, n float64) {
	l.marks[i] = true
	l.samples++
	l.lost += n
	l.last = i
	if l.first < 0 {
		l.first = i
	}
}

// lateFactor is how much longer than usual an interval is that counts as late:
// real logs of 1 s vary by 2.5 %.
const lateFactor = 1.5

func lateSamples(c *fold.Counters) counterLoss {
	l := counterLoss{
		name:  "late samples",
		label: "samples that came late (the logger itself was held up)",
		marks: make([]bool, len(c.Times)),
		first: -1,
	}
	intervals := make([]float64, 0, len(c.Times))
	for i := 1; i < len(c.Times); i++ {
		intervals = append(intervals, c.Times[i].Sub(c.Times[i-1]).Seconds())
	}
	usual := stats.Median(intervals)
	for i, d := range intervals {
		if d > lateFactor*usual && !c.Gaps[i+1] {
			l.mark(i+1, 1)
		}
	}
	return l
}

// zFloor is the least spread of a share of DPC time that counts: without it
// every microsecond is unusual on an idle machine.
const zFloor = 0.01

// work names what a share of time was spent in.
func workOf(k fold.SampleKey) string {
	if k.Counter == "% Interrupt Time" {
		return "interrupts"
	}
	return "DPCs"
}

// dpcTime is DPC and interrupt time over the log, of single CPUs or, weak, of their mean.
type dpcTime struct {
	keys      []fold.SampleKey
	baselines []stats.Baseline
	// worst is the highest distance of any CPU from its own baseline in each sample, NaN where there is no value.
	worst []float64
	weak  bool
}

func timeInDPC(c *fold.Counters) (d dpcTime) {
	var single, total []fold.SampleKey
	for _, k := range c.Keys(fold.UseDPC) {
		if k.CPU >= 0 {
			single = append(single, k)
		} else if k.Instance == "_Total" {
			total = append(total, k)
		}
	}
	d.keys = single
	if len(single) == 0 {
		d.keys, d.weak = total, true
	}
	d.worst = make([]float64, len(c.Times))
	for i := range d.worst {
		d.worst[i] = math.NaN()
	}
	for _, k := range d.keys {
		s := c.Series[k]
		b := stats.NewBaseline(finite(s.Values))
		d.baselines = append(d.baselines, b)
		for i := range d.worst {
			if v := s.At(i); !math.IsNaN(v) {
				if z := b.Z(v, zFloor); math.IsNaN(d.worst[i]) || z > d.worst[i] {
					d.worst[i] = z
				}
			}
		}
	}
	return d
}

func finite(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), math.IsNaN)
}

// coincide is stats.Coincide over the samples that have a value.
func coincide(values func(int) float64, marks []bool) stats.Coincidence {
	xs, kept := make([]float64, 0, len(marks)), make([]bool, 0, len(marks))
	for i, m := range marks {
		if v := values(i); !math.IsNaN(v) {
			xs, kept = append(xs, v), append(kept, m)
		}
	}
	return stats.Coincide(xs, kept)
}

// meanAt returns the mean and the maximum of a series at the marks.
func meanAt(s *fold.Samples, marks []bool) (mean, most float64) {
	n := 0
	for i, m := range marks {
		if v := s.At(i); m && !math.IsNaN(v) {
			mean += v
			most = max(most, v)
			n++
		}
	}
	return fold.Ratio(mean, float64(n)), most
}

// counterVerdict is how the losses of a log relate to its DPC time.
type counterVerdict uint8

const (
	// dpcCoincides: a CPU was busy with DPCs, unusually for it, when something was lost, and not by chance.
	dpcCoincides counterVerdict = iota
	// dpcWeak: DPC time of _Total rose with the losses.
	dpcWeak
	// dpcLittle: DPC time rose with the losses, by too little to starve anything.
	dpcLittle
	// dpcUnproven: as dpcCoincides, but it cannot be told from chance.
	dpcUnproven
	// dpcUnlost: a CPU had no time left beside DPCs, unusually for it, and nothing was lost that the log shows.
	dpcUnlost
	// dpcAlways: DPC time is high when something is lost, and as high at other times.
	dpcAlways
	// dpcNot: DPC time has nothing to do with the losses.
	dpcNot
	// dpcGauge: the log has DPC Rate only, which says nothing.
	dpcGauge
)

var counterVerdictKeys = [...]string{"coincides", "total", "little", "unproven", "unlost", "always", "not", "gauge"}

// judgedLoss is one loss with what was found about it.
type judgedLoss struct {
	counterLoss
	verdict counterVerdict
	// key is the CPU, or _Total, with the highest share at the marks.
	key        fold.SampleKey
	baseline   stats.Baseline
	mean, most float64
	test       stats.Coincidence
	// p is the test's p-value, corrected for the number of losses that were tested.
	p float64
	// together are the CPUs that were busy at the marks as key was, key's among them, by number.
	together []busyCPU
	// counted says that the log has a counter of losses at all.
	counted bool
}

// busyCPU is a CPU with its share of time at the marks.
type busyCPU struct {
	cpu  int32
	mean float64
}

// has reports whether k is one of the CPUs that j is about.
func (j *judgedLoss) has(k fold.SampleKey) bool {
	return j.key == k || workOf(j.key) == workOf(k) &&
		slices.ContainsFunc(j.together, func(b busyCPU) bool { return b.cpu == k.CPU })
}

// counterWatch judges counter logs. The whole log is judged at its end, and
// what there is of it each time it has grown by half.
type counterWatch struct {
	settings Settings
	next     int
	// starts and emitted are the findings so far, by key.
	starts  map[string]model.Time
	emitted map[string]model.Finding
	judged  int
}

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("counters", doc, New, limits) }

// New returns the detector. Its findings live by samples rather than by seconds.
func New(s Settings, _ detect.Lifecycle) detect.Detector {
	return &counterWatch{
		settings: s,
		next:     int(s.MinSamples),
		starts:   make(map[string]model.Time),
		emitted:  make(map[string]model.Finding),
	}
}

func limits(s Settings, l *fold.Limits) { l.MaxSamples = int(s.MaxSamples) }

// Judge implements detect.Detector.
func (d *counterWatch) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *counterWatch) Report(w *detect.Tick, emit func(model.Finding)) {
	if w.Counters.Total < max(d.next, 2) {
		return
	}
	d.next = w.Counters.Total + max(w.Counters.Total/2, int(d.settings.MinSamples))
	d.run(w, emit)
}

// Finish implements detect.Detector.
func (d *counterWatch) Finish(w *detect.Tick, emit func(model.Finding)) {
	if w.Counters.Total >= 2 && w.Counters.Total != d.judged {
		d.run(w, emit)
	}
}

// judge tests every loss against DPC and interrupt time.
func (d *counterWatch) judge(c *fold.Counters) []judgedLoss {
	losses := losses(c)
	dpc := timeInDPC(c)
	var out []judgedLoss
	for _, l := range losses {
		j := judgedLoss{counterLoss: l, verdict: dpcGauge, key: fold.SampleKey{CPU: -1}}
		if len(dpc.keys) == 0 {
			if len(c.Keys(fold.UseGauge)) > 0 {
				out = append(out, j)
			}
			continue
		}
		j.test = coincide(func(i int) float64 { return dpc.worst[i] }, l.marks)
		if j.test.Marks == 0 {
			continue
		}
		j.p = min(1, j.test.P*float64(len(losses)))
		for i, k := range dpc.keys {
			if mean, most := meanAt(c.Series[k], l.marks); i == 0 || mean > j.mean {
				j.key, j.baseline, j.mean, j.most = k, dpc.baselines[i], mean, most
			}
		}
		j.verdict = d.decide(&j, dpc.weak, len(losses))
		if !dpc.weak && j.verdict <= dpcUnproven {
			d.gather(c, &j, &dpc)
		}
		out = append(out, j)
	}
	if dpc.weak {
		return out
	}
	counted := len(c.Keys(fold.UseLoss)) > 0
	lost := len(out)
	for i, k := range dpc.keys {
		if slices.ContainsFunc(out[:lost], func(o judgedLoss) bool { return o.verdict <= dpcUnproven && o.has(k) }) {
			continue
		}
		j := d.unlost(c, k, dpc.baselines[i])
		if j == nil {
			continue
		}
		j.counted = counted
		j.together = []busyCPU{{k.CPU, j.mean}}
		// CPUs that were busy at the same times are one matter.
		same := slices.IndexFunc(out[lost:], func(o judgedLoss) bool {
			return workOf(o.key) == workOf(k) && overlap(o.marks, j.marks) >= sameTimes
		})
		if same < 0 {
			out = append(out, *j)
			continue
		}
		o := &out[lost+same]
		o.together = append(o.together, j.together...)
		if j.mean > o.mean {
			j.together = o.together
			*o = *j
		}
	}
	for i := range out {
		slices.SortFunc(out[i].together, func(a, b busyCPU) int { return cmp.Compare(a.cpu, b.cpu) })
	}
	return out
}

// sameTimes is the share of the busy samples that two CPUs have in common from
// which on they count as busy together.
const sameTimes = 0.5

// overlap is the share of the marks of either that both have.
func overlap(a, b []bool) float64 {
	both, either := 0, 0
	for i := range a {
		if a[i] && b[i] {
			both++
		}
		if a[i] || b[i] {
			either++
		}
	}
	return fold.Ratio(float64(both), float64(either))
}

// gather adds the CPUs that were as unusually busy at the marks as the busiest:
// that one of them had a little more is no reason to blame it alone.
func (d *counterWatch) gather(c *fold.Counters, j *judgedLoss, dpc *dpcTime) {
	for i, k := range dpc.keys {
		if workOf(k) != workOf(j.key) {
			continue
		}
		mean, _ := meanAt(c.Series[k], j.marks)
		if k == j.key || mean >= d.settings.BusyShare && mean >= sameTimes*j.mean &&
			dpc.baselines[i].Z(mean, zFloor) >= d.settings.RobustZ {
			j.together = append(j.together, busyCPU{k.CPU, mean})
		}
	}
}

// unlost returns a CPU's samples in which next to nothing but DPCs ran, where
// that is unusual for it; nil for none.
func (d *counterWatch) unlost(c *fold.Counters, k fold.SampleKey, b stats.Baseline) *judgedLoss {
	s := c.Series[k]
	j := &judgedLoss{
		counterLoss: counterLoss{name: s.Name, label: "nothing lost", marks: make([]bool, len(c.Times)), first: -1},
		verdict:     dpcUnlost,
		key:         k,
		baseline:    b,
	}
	for i := range c.Times {
		if v := s.At(i); v >= criticalShare && b.Z(v, zFloor) >= d.settings.RobustZ {
			j.mark(i, 1)
		}
	}
	if j.samples == 0 || b.N < int(d.settings.MinSamples) {
		return nil
	}
	j.mean, j.most = meanAt(s, j.marks)
	j.test.N, j.p = b.N, 1
	return j
}

// decide chooses the verdict. A coincidence must be significant, unusual for
// the CPU, and large enough to matter.
func (d *counterWatch) decide(j *judgedLoss, weak bool, tests int) counterVerdict {
	s := d.settings
	significant := j.p <= s.Significance
	large := j.mean >= s.BusyShare
	unusual := j.baseline.Z(j.mean, zFloor) >= s.RobustZ
	short := j.test.N < int(s.MinSamples) || float64(tests)/float64(j.test.N) > s.Significance
	switch {
	case weak && significant:
		return dpcWeak
	case significant && large && unusual:
		return dpcCoincides
	case significant:
		return dpcLittle
	case large && unusual || short || weak:
		return dpcUnproven
	case large:
		return dpcAlways
	}
	return dpcNot
}
