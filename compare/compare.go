package compare

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"lostbeat/internal/stats"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// floor is how great a difference has to be to matter: an amount and a ratio.
type floor struct{ amount, ratio float64 }

// floors are those of each group: 2 points of a CPU's time, 1 packet a second, 0.2 ms of waiting, 50 ports.
var floors = [groups]floor{
	groupDrops:      {1, 1.5},
	groupWaits:      {200e3, 2},
	groupDeferred:   {0.02, 1.5},
	groupInterrupts: {0.02, 1.5},
	groupFailures:   {0.1, 1.5},
	groupHeld:       {50, 1.5},
	groupTaken:      {1, 2},
	groupCounters:   {0.02, 1.5},
	groupCPU:        {0.1, 1.5},
}

// Limits of what is called a difference.
const (
	// level is the probability that any difference is reported where none is.
	level = 0.05
	// pairs is the share of pairs of values in which the same capture has to be greater.
	pairs = 0.8
	// maxListed bounds the differences and findings that a Result lists.
	maxListed = 200
)

// Result says what differs.
type Result struct {
	A Info `json:"a"`
	B Info `json:"b"`
	// Findings are those of either capture, those first that only one has.
	Findings []FindingDifference `json:"findings"`
	// Differences are the series that differ, those first that matter most; More is how many there are beyond those that
	// are listed.
	Differences []SeriesDifference `json:"differences"`
	More        int                `json:"differences_more,omitempty"`
	// Bursts are what happened during a finding that only one capture has, and too rarely to be a difference of the two.
	Bursts []Burst `json:"bursts"`
	// Levels are held ports: what is held in one second is held in the next, so that there are no independent values of
	// them.
	Levels []LevelDifference `json:"levels"`
	// Compared is how many series were compared, Small how many of all were too small to matter in both.
	Compared int `json:"compared"`
	Small    int `json:"small"`
	// Short says that no series has enough values to show a difference.
	Short bool `json:"short"`
	// NotCompared says what cannot be compared and why, a sentence each.
	NotCompared []string `json:"not_compared"`
	// Method says how differences and their uncertainty are found.
	Method string `json:"method"`
}

// Info is what is said of one capture.
type Info struct {
	File       string     `json:"file"`
	Host       string     `json:"host"`
	OS         string     `json:"os"`
	Start      model.Time `json:"start"`
	End        model.Time `json:"end"`
	Lost       uint64     `json:"lost"`
	Incomplete string     `json:"incomplete,omitempty"`
}

// FindingDifference is a finding of one capture, or of both.
type FindingDifference struct {
	// Only is "a", "b" or "both".
	Only string `json:"only"`
	// A and B are the finding in either capture.
	A *model.Finding `json:"finding_a,omitempty"`
	B *model.Finding `json:"finding_b,omitempty"`
	// Unjudged says that the other capture lacks what the finding goes by.
	Unjudged string `json:"unjudged,omitempty"`
}

// SeriesDifference is a series that differs.
type SeriesDifference struct {
	// Text is the difference in one sentence.
	Text string `json:"text"`
	// Quantity is what was compared, CPU its CPU, Name and Detail the vector, driver, reason, process or pool.
	Quantity string `json:"quantity"`
	CPU      *int32 `json:"cpu,omitempty"`
	Name     string `json:"name,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Unit     string `json:"unit"`
	// A and B are the means, Low and High bound B-A at 95 %.
	A    float64 `json:"mean_a"`
	B    float64 `json:"mean_b"`
	Low  float64 `json:"difference_low"`
	High float64 `json:"difference_high"`
	// P is the probability of means so far apart by chance, of this series alone; Independent is how many values of each
	// capture are as good as independent.
	P           float64    `json:"p"`
	Independent [2]float64 `json:"independent"`
	// Waits are percentiles of all waits, in nanoseconds, where the quantity is one.
	Waits []WaitQuantile `json:"waits,omitempty"`

	key    seriesKey
	weight float64
	above  float64
}

// Burst is a series that was far above all of the other capture for some of its values.
type Burst struct {
	Text string `json:"text"`
	// In is "a" or "b", Finding the id of the finding in whose time it was.
	In      string `json:"in"`
	Finding string `json:"finding"`
	// Above is how many of Values are above the greatest one of the other capture, Max the greatest of all, Other that of
	// the other capture.
	Above  int     `json:"above"`
	Values int     `json:"values"`
	Max    float64 `json:"max"`
	Other  float64 `json:"max_other"`
	Unit   string  `json:"unit"`

	key seriesKey
}

// LevelDifference is held ports of which one capture had more, mostly, than the other one ever had.
type LevelDifference struct {
	Text string `json:"text"`
	// A and B are the middle values, or those of the last table of sockets; MaxA and MaxB the greatest.
	A    uint64 `json:"a_ports"`
	B    uint64 `json:"b_ports"`
	MaxA uint64 `json:"a_max_ports"`
	MaxB uint64 `json:"b_max_ports"`

	key seriesKey
}

// WaitQuantile is a percentile in both captures.
type WaitQuantile struct {
	Quantile float64 `json:"quantile"`
	A        uint64  `json:"a_ns"`
	B        uint64  `json:"b_ns"`
}

// Compare says how b differs from a.
func Compare(a, b *Side) Result {
	r := Result{
		A: a.info(), B: b.info(), Findings: []FindingDifference{}, Differences: []SeriesDifference{},
		NotCompared: []string{}, Levels: []LevelDifference{}, Bursts: []Burst{},
	}
	compared := r.signals(a, b)
	r.findings(a, b, compared)
	r.series(a, b, compared)
	r.bursts(a, b, compared)
	if compared[signalTables] {
		r.levels(a, b)
	}
	r.sortLevels()
	r.Method = method(a, b)
	return r
}

func (s *Side) info() Info {
	return Info{s.Path, s.Host, s.OS, s.Start, s.End, s.Lost, s.Incomplete}
}

// signalOf is what a group of series goes by.
var signalOf = [groups]signal{
	groupDrops: signalDrops, groupWaits: signalDeferred, groupDeferred: signalDeferred, groupInterrupts: signalInterrupts,
	groupFailures: signalPorts, groupHeld: signalPorts, groupTaken: signalPorts, groupCounters: signalCounters,
	groupCPU: signalCPU,
}

// signals returns what both captures have, and notes the rest.
func (r *Result) signals(a, b *Side) map[signal]bool {
	both := map[signal]bool{}
	for _, sig := range signals {
		switch {
		case a.has[sig] && b.has[sig]:
			both[sig] = true
		case a.has[sig]:
			r.NotCompared = append(r.NotCompared, fmt.Sprintf("%s: B has nothing of that%s", sig, b.why(sig)))
		case b.has[sig]:
			r.NotCompared = append(r.NotCompared, fmt.Sprintf("%s: A has nothing of that%s", sig, a.why(sig)))
		}
	}
	if both[signalDeferred] && a.classes[true] != b.classes[true] && len(a.classes) > 0 && len(b.classes) > 0 {
		both[signalDeferred], both[signalInterrupts] = false, false
		r.NotCompared = append(r.NotCompared,
			"deferred work and interrupts by name: one capture is of Linux, the other one of Windows")
	}
	if a.Bin != b.Bin {
		r.NotCompared = append(r.NotCompared, fmt.Sprintf("single seconds: a value of A is %s long, one of B %s",
			words.Span(a.Bin), words.Span(b.Bin)))
	}
	if n, m := len(a.cpus), len(b.cpus); n != m && n > 0 && m > 0 {
		r.NotCompared = append(r.NotCompared, fmt.Sprintf("CPUs by number: A has %d, B has %d; what only one of them "+
			"has is left out, and the same work may be spread otherwise", n, m))
	}
	for _, side := range []struct {
		name string
		s    *Side
	}{{"A", a}, {"B", b}} {
		if side.s.Lost > 0 {
			r.NotCompared = append(r.NotCompared, fmt.Sprintf("%s lacks %s: its counts may be too small", side.name,
				words.Plural(side.s.Lost, "event")))
		}
		if side.s.left > 0 {
			r.NotCompared = append(r.NotCompared, fmt.Sprintf("%s has more than %d series: the rest was left out",
				side.name, maxSeries))
		}
		if side.s.Incomplete != "" {
			r.NotCompared = append(r.NotCompared, side.name+" is "+side.s.Incomplete)
		}
	}
	return both
}

// why says why a capture has nothing of a signal.
func (s *Side) why(sig signal) string {
	if reason := s.probes[probeOf[sig]]; reason != "" {
		return " (" + reason + ")"
	}
	return ""
}

// findingKey identifies a finding in both captures: what it is about, whenever it was.
func findingKey(f *model.Finding) string {
	s := f.Subject
	return fmt.Sprintf("%s\x00%s\x00%d\x00%s\x00%s\x00%s\x00%s\x00%s\x00%s\x00%d",
		f.Detector, s.Kind, s.CPU, s.Vector, s.Driver, s.Device, s.Process, s.Pool, s.Protocol, s.Port)
}

// needs are the signals that detectors go by.
var needs = map[string]signal{
	"dpc-starvation": signalDeferred, "packet-drop": signalDrops, "ring-drop": signalDrops, "socket-drop": signalDrops,
	"port-leak": signalPorts, "port-exhaustion": signalPorts,
	"counter-coincidence": signalCounters, "host-counters": signalCounters,
}

func (r *Result) findings(a, b *Side, compared map[signal]bool) {
	worst := func(list []model.Finding) map[string]*model.Finding {
		out := map[string]*model.Finding{}
		for i := range list {
			f := &list[i]
			if f.Severity == model.SeverityInfo {
				continue
			}
			if known := out[findingKey(f)]; known == nil || f.Severity > known.Severity {
				out[findingKey(f)] = f
			}
		}
		return out
	}
	ofA, ofB := worst(a.Findings), worst(b.Findings)
	unjudged := func(f *model.Finding, other string) string {
		if sig, ok := needs[f.Detector]; ok && !compared[sig] {
			return fmt.Sprintf("%s has nothing of %s, so that it cannot have it", other, sig)
		}
		return ""
	}
	for key, f := range ofA {
		d := FindingDifference{Only: "both", A: f, B: ofB[key]}
		if d.B == nil {
			d.Only, d.Unjudged = "a", unjudged(f, "B")
		}
		r.Findings = append(r.Findings, d)
	}
	for key, f := range ofB {
		if ofA[key] == nil {
			r.Findings = append(r.Findings, FindingDifference{Only: "b", B: f, Unjudged: unjudged(f, "A")})
		}
	}
	slices.SortFunc(r.Findings, func(x, y FindingDifference) int {
		f, g := x.any(), y.any()
		return cmp.Or(boolFirst(x.Only != "both", y.Only != "both"), cmp.Compare(g.Severity, f.Severity),
			cmp.Compare(f.Start, g.Start), cmp.Compare(f.ID, g.ID))
	})
	r.Findings = r.Findings[:min(len(r.Findings), maxListed)]
}

func (d *FindingDifference) any() *model.Finding {
	if d.B != nil {
		return d.B
	}
	return d.A
}

// boolFirst puts what is true first.
func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// series compares all series that may matter.
func (r *Result) series(a, b *Side, compared map[signal]bool) {
	keys := map[seriesKey]bool{}
	for _, s := range []*Side{a, b} {
		for k := range s.series {
			if compared[signalOf[k.group]] && (k.cpu < 0 || k.group == groupCounters || a.cpus[k.cpu] && b.cpus[k.cpu]) {
				keys[k] = true
			}
		}
	}
	var all []SeriesDifference
	var ps []float64
	enough := 0
	for _, k := range slices.SortedFunc(maps.Keys(keys), compareKeys) {
		x, y := a.valuesOf(k), b.valuesOf(k)
		if len(x) == 0 || len(y) == 0 {
			continue
		}
		if max(stats.Mean(x), stats.Mean(y)) < floors[k.group].amount {
			r.Small++ // decided by the level of both, so that it does not favour those that differ
			continue
		}
		if k.group == groupHeld {
			r.Compared++
			enough++
			r.held(k, x, y)
			continue
		}
		d := stats.Compare(x, y, floors[k.group].amount)
		r.Compared++
		if !math.IsNaN(d.Low) {
			enough++
		}
		all = append(all, r.difference(k, d, a, b))
		ps = append(ps, d.P)
	}
	r.Short = enough == 0
	for i, yes := range stats.Holm(ps, level) {
		d := &all[i]
		f := floors[d.key.group]
		low, high := min(d.A, d.B), max(d.A, d.B)
		if !yes || high-low < f.amount || high < low*f.ratio || d.Low < 0 && d.High > 0 ||
			max(d.above, 1-d.above) < pairs {
			continue
		}
		d.weight = (high - low) / f.amount
		r.Differences = append(r.Differences, *d)
	}
	slices.SortStableFunc(r.Differences, func(x, y SeriesDifference) int {
		return cmp.Or(cmp.Compare(x.key.group, y.key.group), cmp.Compare(y.weight, x.weight))
	})
	if n := len(r.Differences); n > maxListed {
		r.Differences, r.More = r.Differences[:maxListed], n-maxListed
	}
}

// burstFloor is how many floors of its group the greatest value of a burst has to be above that of the other capture,
// burstRatio how many times as great, burstValues how many values have to be above all others.
const (
	burstFloor  = 10
	burstRatio  = 3
	burstValues = 2
)

// bursts looks during the findings of one capture for what the other one never had.
func (r *Result) bursts(a, b *Side, compared map[signal]bool) {
	differs := map[seriesKey]bool{}
	for i := range r.Differences {
		differs[r.Differences[i].key] = true
	}
	for i := range r.Levels {
		differs[r.Levels[i].key] = true
	}
	for _, f := range r.Findings {
		side, other := b, a
		if f.Only == "a" {
			side, other = a, b
		}
		if f.Only == "both" {
			continue
		}
		for _, k := range slices.SortedFunc(maps.Keys(side.series), compareKeys) {
			if k.group > groupHeld || differs[k] || !compared[signalOf[k.group]] {
				continue
			}
			if burst, ok := burstOf(k, side, other, f.any()); ok {
				differs[k] = true
				burst.In = f.Only
				r.Bursts = append(r.Bursts, burst)
			}
		}
	}
	slices.SortStableFunc(r.Bursts, func(x, y Burst) int {
		return cmp.Or(cmp.Compare(x.key.group, y.key.group),
			cmp.Compare(y.Max/floors[y.key.group].amount, x.Max/floors[x.key.group].amount))
	})
	r.Bursts = r.Bursts[:min(len(r.Bursts), maxListed)]
}

// burstOf looks for a burst of one series during a finding.
func burstOf(k seriesKey, side, other *Side, f *model.Finding) (burst Burst, ok bool) {
	v := side.series[k]
	before, during := 0.0, 0.0
	for _, x := range other.valuesOf(k) {
		before = max(before, x)
	}
	above, sum := 0, 0.0
	for i, x := range v.values {
		if x <= before {
			continue
		}
		above++
		sum += x * side.Bin.Seconds()
		at := side.base.Add(time.Duration(i+1) * side.Bin)
		if at >= f.Start && at.Add(-side.Bin) <= f.End {
			during = max(during, x)
		}
	}
	if during-before < burstFloor*floors[k.group].amount || during < burstRatio*before || above < burstValues {
		return Burst{}, false
	}
	burst = Burst{
		Finding: f.ID, Above: above, Values: len(v.values), Max: during, Other: before, Unit: quantities[k.group].unit,
		key: k,
	}
	burst.Text = fmt.Sprintf("%s: up to %s in %d of %s values; at most %s in the other capture", k.what(),
		k.value(during), above, words.Number(len(v.values)), k.value(before))
	if k.group == groupDrops || k.group == groupFailures {
		burst.Text += fmt.Sprintf("; %s in all", words.Number(int64(math.Round(sum))))
	}
	return burst, true
}

// held compares the ports held in every second.
func (r *Result) held(k seriesKey, x, y []float64) {
	l := LevelDifference{
		A: uint64(stats.Median(x)), B: uint64(stats.Median(y)), MaxA: uint64(slices.Max(x)), MaxB: uint64(slices.Max(y)),
		key: k,
	}
	f := floors[groupHeld]
	more := func(middle, most uint64) bool {
		return float64(middle) >= float64(most)+f.amount && float64(middle) >= float64(most)*f.ratio
	}
	if !more(l.A, l.MaxB) && !more(l.B, l.MaxA) {
		return
	}
	l.Text = fmt.Sprintf("%s: %s in the middle and at most %s in A, %s and %s in B", k.what(), words.Number(l.A),
		words.Number(l.MaxA), words.Number(l.B), words.Number(l.MaxB))
	r.Levels = append(r.Levels, l)
}

// levels compares what processes hold in tables of sockets.
func (r *Result) levels(a, b *Side) {
	keys := map[tableKey]bool{}
	for _, s := range []*Side{a, b} {
		for k := range s.tables {
			keys[k] = true
		}
	}
	for k := range keys {
		x, y := a.tables[k], b.tables[k]
		low, high := float64(min(x, y)), float64(max(x, y))
		if f := floors[groupHeld]; high-low < f.amount || high < low*f.ratio {
			continue
		}
		r.Levels = append(r.Levels, LevelDifference{
			Text: fmt.Sprintf("ports held by %s (%s): %s in A, %s in B, in tables of single moments: how much that varies "+
				"is not known", k.process, k.protocol, words.Number(x), words.Number(y)),
			A: x, B: y, MaxA: x, MaxB: y,
		})
	}
}

// sortLevels puts the highest levels first.
func (r *Result) sortLevels() {
	slices.SortFunc(r.Levels, func(x, y LevelDifference) int {
		return cmp.Or(cmp.Compare(max(y.A, y.B), max(x.A, x.B)), cmp.Compare(x.Text, y.Text))
	})
	r.Levels = r.Levels[:min(len(r.Levels), maxListed)]
}

func compareKeys(a, b seriesKey) int {
	return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.cpu, b.cpu), cmp.Compare(a.name, b.name),
		cmp.Compare(a.detail, b.detail))
}

// difference describes a series.
func (r *Result) difference(k seriesKey, d stats.Difference, a, b *Side) SeriesDifference {
	out := SeriesDifference{
		Quantity: quantities[k.group].name, Unit: quantities[k.group].unit, Name: k.name, Detail: k.detail,
		A: d.A, B: d.B, Low: d.Low, High: d.High, P: d.P, Independent: d.Independent, key: k, above: d.Above,
	}
	if math.IsNaN(d.Low) {
		out.Low, out.High = 0, 0 // not listed: its probability is 1
	}
	if k.cpu >= 0 {
		cpu := k.cpu
		out.CPU = &cpu
	}
	if k.group == groupWaits {
		for _, q := range []float64{0.5, 0.9, 0.99} {
			x, y := a.series[k], b.series[k]
			out.Waits = append(out.Waits, WaitQuantile{q, x.hist.Quantile(q), y.hist.Quantile(q)})
		}
	}
	out.Text = sentence(&out)
	return out
}
