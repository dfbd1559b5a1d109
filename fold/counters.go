package fold

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// CounterUse says what a counter is to the judgement.
type CounterUse uint8

const (
	useNone CounterUse = iota
	// UseDPC is a CPU's share of DPC time, or of interrupt time.
	UseDPC
	// UseGauge is DPC Rate, the length of a queue at one moment.
	UseGauge
	// UseLoss is a running total of losses.
	UseLoss
	// UseLoad is traffic, which raises DPC time and losses alike.
	UseLoad
	// UseRival is another thing that holds programs up.
	UseRival
	// UseSoftirq is a CPU's share of softirq time on Linux (sar).
	UseSoftirq
)

// usedCounters are the counters that are judged, by the names that
// source/perfmon gives them.
var usedCounters = map[string]CounterUse{
	"Processor/% DPC Time":                         UseDPC,
	"Processor Information/% DPC Time":             UseDPC,
	"Processor/% Interrupt Time":                   UseDPC,
	"Processor Information/% Interrupt Time":       UseDPC,
	"Processor/DPC Rate":                           UseGauge,
	"Processor Information/DPC Rate":               UseGauge,
	"Network Interface/Packets Received Discarded": UseLoss,
	"Network Adapter/Packets Received Discarded":   UseLoss,
	"UDPv4/Datagrams Received Errors":              UseLoss,
	"UDPv6/Datagrams Received Errors":              UseLoss,
	"Microsoft Winsock BSP/Dropped Datagrams":      UseLoss,
	"Network Interface/Packets Received/sec":       UseLoad,
	"Network Adapter/Packets Received/sec":         UseLoad,
	"System/Processor Queue Length":                UseRival,
	"Memory/Pages/sec":                             UseRival,
	"PhysicalDisk/Avg. Disk sec/Transfer":          UseRival,
	"cpu/softirq":                                  UseSoftirq,
}

// maxSampleSeries bounds the series that are kept: CPUs, adapters, disks.
const maxSampleSeries = 8192

// SampleKey identifies a series: what stands behind the slash of the name, as
// two objects may count the same; the instance; the CPU, -1 for none; the host
// where the stream has counters of several.
type SampleKey struct {
	use                     CounterUse
	Counter, Instance, Host string
	CPU                     int32
}

// CompareSamples orders series.
func CompareSamples(a, b SampleKey) int {
	return cmp.Or(
		cmp.Compare(a.Host, b.Host),
		cmp.Compare(a.use, b.use),
		cmp.Compare(a.CPU, b.CPU),
		cmp.Compare(a.Counter, b.Counter),
		cmp.Compare(a.Instance, b.Instance),
	)
}

// Counters keeps the sampled counters that detectors judge.
type Counters struct {
	max int
	// Times are those of the samples; the values of a series stand at the same index, NaN for none.
	Times []model.Time
	// Gaps says which samples stand behind a part of the file that could not be read.
	Gaps   []bool
	Series map[SampleKey]*Samples
	// Total is the number of samples since the stream began, those that are no longer kept included.
	Total int
	room  *budget.Budget
	// gap is Gaps for the next sample.
	gap bool
}

// Samples is one series of a counter.
type Samples struct {
	// Name is the counter that the values come from.
	Name   string
	Values []float64
}

func newCounterFacts(max int, room *budget.Budget) *Counters {
	return &Counters{max: max, Series: make(map[SampleKey]*Samples), room: room}
}

// countable says that something can have been counted to v: no counter has more than 64 bits.
func countable(v float64) bool { return math.Abs(v) <= 1<<64 }

// add takes one value. Values of one time are one sample.
func (c *Counters) add(v *model.Counter) {
	use := usedCounters[v.Name]
	if use == useNone || use == UseSoftirq && v.Mode != model.CounterShare || !countable(v.Value) {
		return
	}
	value := v.Value
	if use == UseDPC || use == UseSoftirq {
		value = max(0, min(value, 1)) // a share: Windows writes a little more than all of it now and then
	}
	if n := len(c.Times); n == 0 || v.Time > c.Times[n-1] {
		c.Times, c.Gaps = append(c.Times, v.Time), append(c.Gaps, c.gap)
		c.gap = false
		c.Total++
		c.trim()
	}
	key := SampleKey{use: use, Host: v.Host, CPU: v.CPU}
	switch {
	case v.CPU >= 0:
	case strings.HasSuffix(v.Instance, "_Total"):
		key.Instance = "_Total"
	default:
		key.Instance = v.Instance
	}
	_, key.Counter, _ = strings.Cut(v.Name, "/")
	if strings.HasPrefix(v.Name, "UDPv6/") {
		key.Counter = v.Name
	}
	s := c.Series[key]
	if s == nil {
		if len(c.Series) >= maxSampleSeries {
			c.room.LeaveOut("counters")
			return
		}
		if !c.room.Take("counters", seriesBytes+len(key.Instance)+len(key.Host)) {
			return
		}
		s = &Samples{Name: v.Name}
		c.Series[key] = s
	}
	at := len(c.Times) - 1
	if s.Name != v.Name || len(s.Values) > at {
		return // Processor and Processor Information say the same: the first counts
	}
	if !c.room.Take("samples of counters", sampleBytes*(at+1-len(s.Values))) {
		return
	}
	for len(s.Values) < at {
		s.Values = append(s.Values, math.NaN())
	}
	s.Values = append(s.Values, value)
}

// trim forgets the older half of the samples when there are too many.
func (c *Counters) trim() {
	if len(c.Times) <= max(c.max, 2) {
		return
	}
	half := len(c.Times) / 2
	c.Times, c.Gaps = slices.Delete(c.Times, 0, half), slices.Delete(c.Gaps, 0, half)
	for _, s := range c.Series {
		gone := min(half, len(s.Values))
		s.Values = slices.Delete(s.Values, 0, gone)
		c.room.Give(sampleBytes * gone)
	}
}

// At returns a series' value at sample i, NaN for none.
func (s *Samples) At(i int) float64 {
	if s == nil || i >= len(s.Values) {
		return math.NaN()
	}
	return s.Values[i]
}

// Keys returns the series of one use in a fixed order.
func (c *Counters) Keys(use CounterUse) []SampleKey {
	var out []SampleKey
	for k := range c.Series {
		if k.use == use {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, CompareSamples)
	return out
}

// Hosts returns the hosts whose counters there are, in a fixed order; "" is that of the stream.
func (c *Counters) Hosts() []string {
	var out []string
	for k := range c.Series {
		if !slices.Contains(out, k.Host) {
			out = append(out, k.Host)
		}
	}
	slices.Sort(out)
	return out
}

// Of returns the counters of one host. It shares the samples with c, which must not grow while it is used.
func (c *Counters) Of(host string) *Counters {
	of := *c
	of.Series = make(map[SampleKey]*Samples)
	for k, s := range c.Series {
		if k.Host == host {
			of.Series[k] = s
		}
	}
	return &of
}
