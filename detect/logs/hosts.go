package logs

import (
	"cmp"
	"math"
	"slices"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/stats"
	"lostbeat/model"
)

// host is the counters of one host.
type host struct {
	name string
	c    *fold.Counters
	// keys are DPC and interrupt time of single CPUs or, total, of their mean.
	keys      []fold.SampleKey
	baselines []stats.Baseline
	total     bool
	// worst is the highest distance of any CPU from its own baseline in each sample; values counts those that have one.
	worst  []float64
	values int
	// usual is the time between two samples.
	usual time.Duration
}

// zFloor is the least spread of a share that counts, as in package counters.
const zFloor = 0.01

// newHost returns the host of these counters, nil when they show neither DPC, interrupt nor softirq time.
func newHost(name string, c *fold.Counters) *host {
	h := &host{name: name, c: c}
	var total []fold.SampleKey
	for _, k := range slices.Concat(c.Keys(fold.UseDPC), c.Keys(fold.UseSoftirq)) {
		if k.CPU >= 0 {
			h.keys = append(h.keys, k)
		} else if k.Instance == "_Total" {
			total = append(total, k)
		}
	}
	if len(h.keys) == 0 {
		h.keys, h.total = total, true
	}
	if len(h.keys) == 0 || len(c.Times) < 2 {
		return nil
	}
	h.worst = make([]float64, len(c.Times))
	for i := range h.worst {
		h.worst[i] = math.NaN()
	}
	for _, k := range h.keys {
		s := c.Series[k]
		b := stats.NewBaseline(slices.DeleteFunc(slices.Clone(s.Values), math.IsNaN))
		h.baselines = append(h.baselines, b)
		for i := range h.worst {
			if v := s.At(i); !math.IsNaN(v) {
				if z := b.Z(v, zFloor); !(z <= h.worst[i]) {
					h.worst[i] = z
				}
			}
		}
	}
	for _, v := range h.worst {
		if !math.IsNaN(v) {
			h.values++
		}
	}
	steps := make([]float64, 0, len(c.Times))
	for i := 1; i < len(c.Times); i++ {
		steps = append(steps, c.Times[i].Sub(c.Times[i-1]).Seconds())
	}
	h.usual = time.Duration(stats.Median(steps) * float64(time.Second))
	return h
}

// linux says that the counters are those of a Linux host, from sar.
func (h *host) linux() bool { return h.keys[0].Counter == softirqCounter }

// softirqCounter is the counter of softirq time.
const softirqCounter = "softirq"

// work names what its counters show: DPCs, or softirqs.
func (h *host) work() string { return workOf(fold.SampleKey{Counter: h.keys[0].Counter}) }

// works is work with interrupts, where those are counted.
func (h *host) works(joined string) string {
	if h.linux() {
		return "softirqs"
	}
	return "DPCs " + joined + " interrupts"
}

// hostVerdict is what the counters of a host say of a silence.
type hostVerdict uint8

const (
	// coincides: a CPU was busy with DPCs or interrupts, unusually for it, and not by chance.
	coincides hostVerdict = iota
	// stoodStill: the counter log has no samples in the silence either.
	stoodStill
	// unproven: as coincides, but it cannot be told from chance.
	unproven
	// little: DPC or interrupt time rose, by too little to hold anything up.
	little
	// always: it is as high at other times.
	always
	// quiet: no CPU was unusually busy.
	quiet
	// totalOnly: the counters are those of all CPUs together.
	totalOnly
	// coarse: the samples are further apart than the silence is long.
	coarse
	// fewSamples: there are too few samples for a baseline.
	fewSamples
	// uncovered: the counters are of another time.
	uncovered
)

// sight is what was seen of a silence on one host.
type sight struct {
	*host
	verdict hostVerdict
	// first and end bound the samples of the silence.
	first, end int
	// cpus are those that were as busy as the busiest, which is first.
	cpus []seen
	// p is the probability of the coincidence, corrected for what else was tested; 1 where nothing was unusual.
	p float64
	// missing is how long no sample was taken, where the host stood still.
	missing time.Duration
}

// seen is one CPU's share of a kind of work during the silence.
type seen struct {
	key          fold.SampleKey
	mean, median float64
	z            float64
}

// see judges a silence; tests is how many coincidences are tested in all.
func (h *host) see(from, to model.Time, s Settings, tests float64) *sight {
	t := &sight{host: h, verdict: uncovered, p: 1}
	times := h.c.Times
	if from < times[0].Add(-h.usual) || to > times[len(times)-1].Add(h.usual) {
		return t
	}
	// A silence of less than a sample may lie across two of them.
	least := min(h.usual/2, to.Sub(from)/2)
	after := func(at model.Time) int {
		i, _ := slices.BinarySearch(times, at)
		return i
	}
	for i := after(from); i < min(after(to)+1, len(times)); i++ {
		begin := times[i].Add(-h.usual)
		if i > 0 {
			begin = times[i-1]
		}
		both := min(to, times[i]).Sub(max(from, begin))
		if length := times[i].Sub(begin); length > h.usual*5/2 && both*2 >= to.Sub(from) {
			if i < len(h.c.Gaps) && h.c.Gaps[i] {
				return t // the file is damaged there
			}
			t.verdict, t.missing = stoodStill, length
			return t
		}
		if both > 0 && both >= least {
			if t.first == t.end {
				t.first = i
			}
			t.end = i + 1
		}
	}
	if h.usual > 2*to.Sub(from) {
		t.verdict = coarse
		return t
	}
	for i, k := range h.keys {
		v := seen{key: k, mean: t.mean(h.c.Series[k]), median: h.baselines[i].Median}
		v.z = h.baselines[i].Z(v.mean, zFloor)
		if !math.IsNaN(v.mean) {
			t.cpus = append(t.cpus, v)
		}
	}
	if len(t.cpus) == 0 {
		return t
	}
	rank := func(v seen) int {
		switch {
		case v.mean >= s.BusyShare && v.z >= s.RobustZ:
			return 2
		case v.z >= s.RobustZ:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(t.cpus, func(a, b seen) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(b.mean, a.mean))
	})
	best := t.cpus[0]
	large, unusual := best.mean >= s.BusyShare, best.z >= s.RobustZ
	if unusual && !h.total {
		t.chance(tests)
	}
	significant := t.p <= s.Significance
	switch {
	case h.total:
		t.verdict = totalOnly
	case h.values < int(s.MinSamples):
		t.verdict = fewSamples
	case large && unusual && significant:
		t.verdict = coincides
	case large && unusual:
		t.verdict = unproven
	case unusual && significant:
		t.verdict = little
	case large:
		t.verdict = always
	default:
		t.verdict = quiet
	}
	return t
}

// chance tests whether the silence falls on the highest values by chance.
func (t *sight) chance(tests float64) {
	var xs []float64
	var marks []bool
	for i, v := range t.worst {
		if !math.IsNaN(v) {
			xs, marks = append(xs, v), append(marks, i >= t.first && i < t.end)
		}
	}
	t.p = min(1, stats.Coincide(xs, marks).P*tests)
}

// mean returns the mean of a series during the silence, NaN where it has no value.
func (t *sight) mean(s *fold.Samples) float64 {
	sum, n := 0.0, 0
	for i := t.first; i < t.end; i++ {
		if v := s.At(i); !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// together returns the CPUs that were as unusually busy with the same work as the busiest.
func (t *sight) together(s Settings) []seen {
	var out []seen
	for _, v := range t.cpus {
		first := t.cpus[0]
		if v.key.Counter == first.key.Counter && v.mean >= first.mean/2 && v.z >= s.RobustZ && v.mean >= s.BusyShare {
			out = append(out, v)
		}
	}
	return out
}

// grown returns what a total has grown by during the silence.
func (t *sight) grown(s *fold.Samples) (n float64) {
	for i := max(t.first, 1); i < t.end; i++ {
		if d := s.At(i) - s.At(i-1); d > 0 {
			n += d
		}
	}
	return n
}

// offsetStep and maxOffset are the errors of a zone that are looked for.
const (
	offsetStep = 30 * time.Minute
	maxOffset  = 14 * time.Hour
)

// elsewhere looks for the one offset at which the silence would coincide on one
// of the hosts; nil for none, or several. The chance counts every offset tried.
func elsewhere(hosts []*host, from, to model.Time, s Settings, tests float64) (found *sight, offset time.Duration) {
	var offsets []time.Duration
	for o := -maxOffset; o <= maxOffset; o += offsetStep {
		if o != 0 && slices.ContainsFunc(hosts, func(h *host) bool {
			return from.Add(o) >= h.c.Times[0] && to.Add(o) <= h.c.Times[len(h.c.Times)-1]
		}) {
			offsets = append(offsets, o)
		}
	}
	for _, o := range offsets {
		for _, h := range hosts {
			t := h.see(from.Add(o), to.Add(o), s, tests*float64(len(offsets)))
			if t.verdict != coincides {
				continue
			}
			if found != nil && o != offset {
				return nil, 0 // each of them would be a guess
			}
			if found == nil || t.p < found.p {
				found, offset = t, o
			}
		}
	}
	return found, offset
}
