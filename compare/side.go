package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/model/state"
)

const (
	// maxBins bounds the values of a series: longer captures are compared by several seconds each.
	maxBins = 3600
	// maxSeries bounds the series of a capture; those of further CPUs, drivers and processes are left out and counted.
	maxSeries = 2000
)

// group is what kind of quantity a series has, in the order of what matters.
type group int

const (
	groupDrops group = iota
	groupWaits
	groupDeferred
	groupInterrupts
	groupFailures
	groupHeld
	groupTaken
	groupCounters
	groupCPU
	groups
)

// seriesKey identifies a series in both captures.
type seriesKey struct {
	group group
	// cpu is -1 where a series is of no CPU.
	cpu int32
	// name is a vector, driver, process or counter, detail a place of loss, pool or instance.
	name, detail string
}

// series is one quantity over the capture.
type series struct {
	values []float64
	// seen says which values there are, nil for all: where nothing ran, nothing waited.
	seen []bool
	hist model.Histogram
	// bin and now gather the waits of the bin under way.
	bin int
	now model.Histogram
}

// Side is one of the two captures.
type Side struct {
	// Path names it.
	Path string
	// Start and End are its span, Bin the length of a value.
	Start, End model.Time
	Bin        time.Duration
	// Host and OS are what it says of itself.
	Host, OS string
	// Lost are events that it lacks.
	Lost uint64
	// Findings are those of the capture.
	Findings []model.Finding
	// Incomplete says what of it could not be read, empty for nothing.
	Incomplete string

	// base is where the first value begins.
	base    model.Time
	bins    int
	series  map[seriesKey]*series
	left    int
	state   *state.State
	probes  map[string]string // the worst reason why a probe is off, empty while a part of it works
	has     map[signal]bool
	classes map[bool]bool // whether deferred work is of Windows
	cpus    map[int32]bool
	samples map[int]bool // the bins of counters
	gauged  int
	// tables are how many ports processes held in the last table of sockets.
	tables map[tableKey]uint64
}

// tableKey is what a table of sockets says the ports of.
type tableKey struct {
	process  string
	protocol model.Protocol
}

// topHolders is of how many processes the held ports are compared.
const topHolders = 64

// signal is what a capture may lack as a whole.
type signal string

const (
	signalDeferred   signal = "deferred work"
	signalInterrupts signal = "interrupts"
	signalDrops      signal = "dropped packets"
	signalPorts      signal = "ports"
	signalCPU        signal = "the time of CPUs"
	signalCounters   signal = "counters of sar and performance logs"
	signalTables     signal = "tables of sockets"
)

var signals = []signal{signalDeferred, signalInterrupts, signalDrops, signalPorts, signalCPU, signalCounters,
	signalTables}

// probeOf is the probe that shows a signal.
var probeOf = map[signal]string{
	signalDeferred: "deferred", signalInterrupts: "interrupt", signalDrops: "drop", signalPorts: "port",
}

// NewSide returns the side of a capture with a span.
func NewSide(path string, start, end model.Time) *Side {
	s := &Side{
		Path: path, Start: start, End: end, Bin: time.Second, series: map[seriesKey]*series{}, state: state.New(),
		probes: map[string]string{}, has: map[signal]bool{}, classes: map[bool]bool{}, cpus: map[int32]bool{},
		samples: map[int]bool{}, tables: map[tableKey]uint64{},
	}
	s.state.Ports.IndexHolders()
	for end.Sub(start)/s.Bin > maxBins {
		s.Bin += time.Second
	}
	s.base = start
	if start%model.Time(time.Second) != 0 {
		s.base = start.NextSecond() // live intervals end at whole seconds
	}
	s.bins = max(0, int(end.Sub(s.base)/s.Bin))
	return s
}

// Next begins another capture of the same side, which has a state of its own.
func (s *Side) Next() {
	s.gauge(s.End + 1)
	meta := s.state.Meta
	s.state, s.gauged = state.New(), 0
	s.state.Ports.IndexHolders()
	s.state.Meta = meta
}

// bin is the place of what ended at a time; ok is false outside the whole seconds of the capture.
func (s *Side) bin(at model.Time) (i int, ok bool) {
	i = int((at - 1 - s.base) / model.Time(s.Bin))
	return i, at > s.base && i < s.bins
}

// of returns a series, nil where there is no room for another one.
func (s *Side) of(k seriesKey) *series {
	v := s.series[k]
	if v == nil {
		if len(s.series) >= maxSeries {
			s.left++
			return nil
		}
		v = &series{values: make([]float64, s.bins), bin: -1}
		s.series[k] = v
	}
	return v
}

// add adds to a series what happened at a time.
func (s *Side) add(k seriesKey, at model.Time, value float64) {
	i, ok := s.bin(at)
	if v := s.of(k); v != nil && ok {
		v.values[i] += value
	}
}

// spread adds to a series the share of a CPU's time that was taken in an interval, to each value that it covers.
func (s *Side) spread(k seriesKey, e *model.Event, busy time.Duration) {
	v := s.of(k)
	if v == nil || e.Dur <= 0 || e.Time <= s.base {
		return
	}
	from := max(0, e.Start()-s.base)
	for i := int(from / model.Time(s.Bin)); i < s.bins; i++ {
		low := max(from, model.Time(i)*model.Time(s.Bin))
		high := min(e.Time-s.base, model.Time(i+1)*model.Time(s.Bin))
		if high <= low {
			break
		}
		v.values[i] += float64(busy) / float64(e.Dur) * float64(high-low) / float64(s.Bin)
	}
}

// Apply takes the events of a batch.
func (s *Side) Apply(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		s.gauge(e.Time)
		s.state.ApplyEvent(b, e)
		if e.Flags&model.FlagKeyframe == 0 {
			s.event(b, e)
		}
		if e.Kind == model.KindProbe {
			v, _ := b.Probe(e)
			s.probe(&v)
		}
	}
}

func (s *Side) probe(v *model.Probe) {
	reason, known := s.probes[v.Name]
	switch {
	case v.State != model.ProbeOff:
		s.probes[v.Name] = ""
	case !known:
		s.probes[v.Name] = cmp.Or(v.Reason, "the probe was off")
	case reason != "":
		s.probes[v.Name] = reason
	}
}

func (s *Side) event(b *model.Batch, e *model.Event) {
	second := 1 / s.Bin.Seconds()
	switch e.Kind {
	case model.KindDeferredHist:
		v, _ := b.DeferredHist(e)
		s.has[signalDeferred] = true
		s.classes[v.Class != model.ClassSoftirq] = true
		s.cpus[v.CPU] = true
		name := cmp.Or(v.Driver, v.Name)
		s.spread(seriesKey{groupDeferred, v.CPU, name, ""}, e, v.Busy)
		s.wait(seriesKey{groupWaits, v.CPU, name, ""}, e.Time, v.WaitHist)
	case model.KindInterruptHist:
		v, _ := b.InterruptHist(e)
		s.has[signalInterrupts] = true
		s.cpus[v.CPU] = true
		s.spread(seriesKey{groupInterrupts, v.CPU, cmp.Or(v.Driver, v.Name), ""}, e, v.Busy)
	case model.KindCPUTime:
		v, _ := b.CPUTime(e)
		s.has[signalCPU] = true
		s.cpus[v.CPU] = true
		s.spread(seriesKey{groupCPU, v.CPU, "programs and the kernel for them", ""}, e, v.User+v.System)
		s.spread(seriesKey{groupCPU, v.CPU, "the hypervisor", ""}, e, v.Steal)
	case model.KindDrop:
		v, _ := b.Drop(e)
		s.has[signalDrops] = true
		detail := "at the " + v.Place.String()
		if v.Place == model.PlaceUnknown {
			detail = "at a place that is not known"
		}
		if v.Flags&model.FlagTransmit != 0 {
			detail += " on the way out"
		}
		s.add(seriesKey{groupDrops, -1, v.Reason, detail}, e.Time, float64(v.Count)*second)
	case model.KindPortAcquire:
		v, _ := b.PortAcquire(e)
		s.has[signalPorts] = true
		s.add(seriesKey{groupTaken, -1, v.Process, v.Protocol.String()}, e.Time, second)
	case model.KindPortFail:
		v, _ := b.PortFail(e)
		s.has[signalPorts] = true
		s.add(seriesKey{groupFailures, -1, v.Process, cmp.Or(v.ErrorName, "refused")}, e.Time, second)
	case model.KindPortRelease, model.KindPortRest, model.KindPortActive:
		s.has[signalPorts] = true
	case model.KindPortHolder:
		v, _ := b.PortHolder(e)
		s.has[signalTables] = true
		s.tables[tableKey{cmp.Or(v.Process, words.Task("", v.PID)), v.Protocol}] = v.Ports
	case model.KindPortTable:
		s.has[signalTables] = true
	case model.KindCounter:
		s.counter(b, e)
	case model.KindLoss:
		if v, _ := b.Loss(e); v.Origin != model.OriginLate {
			s.Lost += v.Lost
		}
	}
}

// wait notes how long deferred work waited.
func (s *Side) wait(k seriesKey, at model.Time, h *model.Histogram) {
	i, ok := s.bin(at)
	if !ok || h == nil || h.Count == 0 {
		return
	}
	v := s.of(k)
	if v == nil {
		return
	}
	if v.seen == nil {
		v.seen = make([]bool, s.bins)
	}
	if i != v.bin {
		v.flush()
		v.bin = i
	}
	v.now.Merge(h)
	v.hist.Merge(h)
}

// waitQuantile is which of the waits of a second are compared.
const waitQuantile = 0.99

// flush ends the bin under way.
func (v *series) flush() {
	if v.bin >= 0 && v.now.Count > 0 {
		v.values[v.bin], v.seen[v.bin] = float64(v.now.Quantile(waitQuantile)), true
	}
	v.now = model.Histogram{}
}

// lossy are parts of the names of counters that count what is lost; busy are those that say how long interrupts and
// their deferred work take a CPU.
var (
	lossy = []string{"dropped", "discard", "errors", "missed", "fifo", "listen_drops", "squeezed"}
	busy  = []string{"cpu/softirq", "cpu/irq", "cpu/steal", "% dpc time", "% interrupt time"}
)

func (s *Side) counter(b *model.Batch, e *model.Event) {
	v, _ := b.Counter(e)
	i, ok := s.bin(e.Time)
	if !ok || v.Host != "" {
		return
	}
	s.has[signalCounters] = true
	s.samples[i] = true
	name := strings.ToLower(v.Name)
	part := func(p string) bool { return strings.Contains(name, p) }
	k := seriesKey{groupCounters, v.CPU, v.Name, v.Instance}
	switch {
	case v.Mode == model.CounterShare && slices.ContainsFunc(busy, part),
		v.Mode == model.CounterRate && slices.ContainsFunc(lossy, part):
		if series := s.of(k); series != nil {
			series.values[i] = v.Value
		}
	}
}

// gauge notes the held ports at the end of each second before a time.
func (s *Side) gauge(at model.Time) {
	for s.gauged < s.bins && at > s.base.Add(time.Duration(s.gauged+1)*s.Bin) {
		for _, p := range s.state.SortedPools() {
			k := seriesKey{groupHeld, -1, "", fmt.Sprintf("of %s (%s %d-%d)", p.Name, p.Protocol, p.Low, p.High)}
			if v := s.of(k); v != nil {
				v.values[s.gauged] += float64(p.Used)
			}
		}
		for _, h := range s.state.Ports.TopHolders(topHolders) {
			if v := s.of(seriesKey{groupHeld, -1, h.Process, ""}); v != nil && h.Process != "" {
				v.values[s.gauged] += float64(h.Held)
			}
		}
		s.gauged++
	}
}

// Finish ends the capture with what its detectors say.
func (s *Side) Finish(findings []model.Finding) {
	s.gauge(s.End + 1)
	for _, v := range s.series {
		if v.seen != nil {
			v.flush()
		}
	}
	s.Findings = findings
	s.Host, s.OS = s.state.Meta["host"], s.state.Meta["os"]
	if !s.has[signalPorts] && len(s.state.Pools) > 0 {
		s.has[signalPorts] = true
	}
	for sig, probe := range probeOf {
		if reason, ok := s.probes[probe]; ok && reason == "" {
			s.has[sig] = true // it was looked at, and nothing happened
		}
	}
}

// valuesOf returns the values that there are.
func (s *Side) valuesOf(k seriesKey) []float64 {
	v := s.series[k]
	if k.group == groupCounters {
		out := make([]float64, 0, len(s.samples))
		for i := range s.bins {
			switch {
			case !s.samples[i]:
			case v == nil:
				out = append(out, 0)
			default:
				out = append(out, v.values[i])
			}
		}
		return out
	}
	if v == nil {
		if k.group == groupWaits {
			return nil
		}
		return make([]float64, s.bins)
	}
	if v.seen == nil {
		return v.values
	}
	out := make([]float64, 0, len(v.values))
	for i, x := range v.values {
		if v.seen[i] {
			out = append(out, x)
		}
	}
	return out
}
