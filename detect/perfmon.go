package detect

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"lostbeat/internal/stats"
	"lostbeat/model"
)

// Counter logs (perfmon) are judged here. The published method takes any rise
// of a DPC counter at the time of a loss for the cause. This one asks how
// unusual the rise is for that CPU, how often marks like those of the losses
// would fall on such rises by chance, and whether the share of time is enough
// to starve anything; the statistics are those of package internal/stats.

// counterUse says what a counter is to the judgement.
type counterUse uint8

const (
	useNone counterUse = iota
	// useDPC is a CPU's share of DPC time, or of interrupt time.
	useDPC
	// useGauge is DPC Rate, the length of a queue at one moment.
	useGauge
	// useLoss is a running total of losses.
	useLoss
	// useLoad is traffic, which raises DPC time and losses alike.
	useLoad
	// useRival is another thing that holds programs up.
	useRival
)

// usedCounters are the counters that are judged, by the names that
// source/perfmon gives them.
var usedCounters = map[string]counterUse{
	"Processor/% DPC Time":                         useDPC,
	"Processor Information/% DPC Time":             useDPC,
	"Processor/% Interrupt Time":                   useDPC,
	"Processor Information/% Interrupt Time":       useDPC,
	"Processor/DPC Rate":                           useGauge,
	"Processor Information/DPC Rate":               useGauge,
	"Network Interface/Packets Received Discarded": useLoss,
	"Network Adapter/Packets Received Discarded":   useLoss,
	"UDPv4/Datagrams Received Errors":              useLoss,
	"UDPv6/Datagrams Received Errors":              useLoss,
	"Microsoft Winsock BSP/Dropped Datagrams":      useLoss,
	"Network Interface/Packets Received/sec":       useLoad,
	"Network Adapter/Packets Received/sec":         useLoad,
	"System/Processor Queue Length":                useRival,
	"Memory/Pages/sec":                             useRival,
	"PhysicalDisk/Avg. Disk sec/Transfer":          useRival,
}

// maxSeries bounds the series that are kept: CPUs, adapters, disks.
const maxSeries = 8192

// seriesKey identifies a series: what stands behind the slash of the name, as
// two objects may count the same; the instance; the CPU, -1 for none.
type seriesKey struct {
	use               counterUse
	counter, instance string
	cpu               int32
}

func compareSeries(a, b seriesKey) int {
	return cmp.Or(
		cmp.Compare(a.use, b.use),
		cmp.Compare(a.cpu, b.cpu),
		cmp.Compare(a.counter, b.counter),
		cmp.Compare(a.instance, b.instance),
	)
}

// counterFacts keeps the sampled counters that detectors judge.
type counterFacts struct {
	max int
	// times are those of the samples; the values of a series stand at the same index, NaN for none.
	times  []model.Time
	series map[seriesKey]*counterSeries
	// total is the number of samples since the stream began, those that are no longer kept included.
	total int
}

type counterSeries struct {
	// name is the counter that the values come from.
	name   string
	values []float64
}

func newCounterFacts(max int) *counterFacts {
	return &counterFacts{max: max, series: make(map[seriesKey]*counterSeries)}
}

// add takes one value. Values of one time are one sample.
func (c *counterFacts) add(v model.Counter) {
	use := usedCounters[v.Name]
	if use == useNone {
		return
	}
	if n := len(c.times); n == 0 || v.Time > c.times[n-1] {
		c.times = append(c.times, v.Time)
		c.total++
		c.trim()
	}
	key := seriesKey{use: use, cpu: v.CPU}
	switch {
	case v.CPU >= 0:
	case strings.HasSuffix(v.Instance, "_Total"):
		key.instance = "_Total"
	default:
		key.instance = v.Instance
	}
	_, key.counter, _ = strings.Cut(v.Name, "/")
	if strings.HasPrefix(v.Name, "UDPv6/") {
		key.counter = v.Name
	}
	s := c.series[key]
	if s == nil {
		if len(c.series) >= maxSeries {
			return
		}
		s = &counterSeries{name: v.Name}
		c.series[key] = s
	}
	at := len(c.times) - 1
	if s.name != v.Name || len(s.values) > at {
		return // Processor and Processor Information say the same: the first counts
	}
	for len(s.values) < at {
		s.values = append(s.values, math.NaN())
	}
	s.values = append(s.values, v.Value)
}

// trim forgets the older half of the samples when there are too many.
func (c *counterFacts) trim() {
	if len(c.times) <= max(c.max, 2) {
		return
	}
	half := len(c.times) / 2
	c.times = slices.Delete(c.times, 0, half)
	for _, s := range c.series {
		s.values = slices.Delete(s.values, 0, min(half, len(s.values)))
	}
}

// at returns a series' value at sample i, NaN for none.
func (s *counterSeries) at(i int) float64 {
	if s == nil || i >= len(s.values) {
		return math.NaN()
	}
	return s.values[i]
}

// keys returns the series of one use in a fixed order.
func (c *counterFacts) keys(use counterUse) []seriesKey {
	var out []seriesKey
	for k := range c.series {
		if k.use == use {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compareSeries)
	return out
}

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
func (c *counterFacts) losses() []counterLoss {
	var out []counterLoss
	for _, k := range c.keys(useLoss) {
		s := c.series[k]
		l := counterLoss{name: s.name, label: s.name, marks: make([]bool, len(c.times)), first: -1}
		if k.instance != "" {
			l.label += " of " + clean(k.instance)
		}
		for i := 1; i < len(c.times); i++ {
			if d := s.at(i) - s.at(i-1); d > 0 {
				l.mark(i, d)
			}
		}
		if l.samples > 0 {
			out = append(out, l)
		}
	}
	if l := c.lateSamples(); l.samples > 0 {
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

func (c *counterFacts) lateSamples() counterLoss {
	l := counterLoss{
		name:  "late samples",
		label: "samples that came late (the logger itself was held up)",
		marks: make([]bool, len(c.times)),
		first: -1,
	}
	intervals := make([]float64, 0, len(c.times))
	for i := 1; i < len(c.times); i++ {
		intervals = append(intervals, c.times[i].Sub(c.times[i-1]).Seconds())
	}
	usual := stats.Median(intervals)
	for i, d := range intervals {
		if d > lateFactor*usual {
			l.mark(i+1, 1)
		}
	}
	return l
}

// zFloor is the least spread of a share of DPC time that counts: without it
// every microsecond is unusual on an idle machine.
const zFloor = 0.01

// work names what a share of time was spent in.
func (k seriesKey) work() string {
	if k.counter == "% Interrupt Time" {
		return "interrupts"
	}
	return "DPCs"
}

// dpcTime is DPC and interrupt time over the log, of single CPUs or, weak, of their mean.
type dpcTime struct {
	keys      []seriesKey
	baselines []stats.Baseline
	// worst is the highest distance of any CPU from its own baseline in each sample, NaN where there is no value.
	worst []float64
	weak  bool
}

func (c *counterFacts) dpcTime() (d dpcTime) {
	var single, total []seriesKey
	for _, k := range c.keys(useDPC) {
		if k.cpu >= 0 {
			single = append(single, k)
		} else if k.instance == "_Total" {
			total = append(total, k)
		}
	}
	d.keys = single
	if len(single) == 0 {
		d.keys, d.weak = total, true
	}
	d.worst = make([]float64, len(c.times))
	for i := range d.worst {
		d.worst[i] = math.NaN()
	}
	for _, k := range d.keys {
		s := c.series[k]
		b := stats.NewBaseline(finite(s.values))
		d.baselines = append(d.baselines, b)
		for i := range d.worst {
			if v := s.at(i); !math.IsNaN(v) {
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
func (s *counterSeries) meanAt(marks []bool) (mean, most float64) {
	n := 0
	for i, m := range marks {
		if v := s.at(i); m && !math.IsNaN(v) {
			mean += v
			most = max(most, v)
			n++
		}
	}
	return ratio(mean, float64(n)), most
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
	key        seriesKey
	baseline   stats.Baseline
	mean, most float64
	test       stats.Coincidence
	// p is the test's p-value, corrected for the number of losses that were tested.
	p float64
}

// counterWatch judges counter logs. The whole log is judged at its end, and
// what there is of it each time it has grown by half.
type counterWatch struct {
	settings CounterSettings
	next     int
	// starts and emitted are the findings so far, by key.
	starts  map[string]model.Time
	emitted map[string]model.Finding
	judged  int
}

func newCounterWatch(s Settings) detector {
	return &counterWatch{
		settings: s.Counters,
		next:     int(s.Counters.MinSamples),
		starts:   make(map[string]model.Time),
		emitted:  make(map[string]model.Finding),
	}
}

func (d *counterWatch) tick(w *world, emit func(model.Finding)) {
	if w.series.total < max(d.next, 2) {
		return
	}
	d.next = w.series.total + max(w.series.total/2, int(d.settings.MinSamples))
	d.run(w, emit)
}

func (d *counterWatch) finish(w *world, emit func(model.Finding)) {
	if w.series.total >= 2 && w.series.total != d.judged {
		d.run(w, emit)
	}
}

// judge tests every loss against DPC and interrupt time.
func (d *counterWatch) judge(c *counterFacts) []judgedLoss {
	losses := c.losses()
	dpc := c.dpcTime()
	var out []judgedLoss
	for _, l := range losses {
		j := judgedLoss{counterLoss: l, verdict: dpcGauge, key: seriesKey{cpu: -1}}
		if len(dpc.keys) == 0 {
			if len(c.keys(useGauge)) > 0 {
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
			if mean, most := c.series[k].meanAt(l.marks); i == 0 || mean > j.mean {
				j.key, j.baseline, j.mean, j.most = k, dpc.baselines[i], mean, most
			}
		}
		j.verdict = d.decide(&j, dpc.weak, len(losses))
		out = append(out, j)
	}
	if dpc.weak {
		return out
	}
	for i, k := range dpc.keys {
		if j := d.unlost(c, k, dpc.baselines[i]); j != nil &&
			!slices.ContainsFunc(out, func(o judgedLoss) bool { return o.key == k && o.verdict <= dpcUnproven }) {
			out = append(out, *j)
		}
	}
	return out
}

// unlost returns a CPU's samples in which next to nothing but DPCs ran, where
// that is unusual for it; nil for none.
func (d *counterWatch) unlost(c *counterFacts, k seriesKey, b stats.Baseline) *judgedLoss {
	s := c.series[k]
	j := &judgedLoss{
		counterLoss: counterLoss{name: s.name, label: "nothing lost", marks: make([]bool, len(c.times)), first: -1},
		verdict:     dpcUnlost,
		key:         k,
		baseline:    b,
	}
	for i := range c.times {
		if v := s.at(i); v >= criticalShare && b.Z(v, zFloor) >= d.settings.RobustZ {
			j.mark(i, 1)
		}
	}
	if j.samples == 0 || b.N < int(d.settings.MinSamples) {
		return nil
	}
	j.mean, j.most = s.meanAt(j.marks)
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
