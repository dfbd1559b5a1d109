// Package hostcounters is the detector host-counters: what sar and bundles of
// Linux hosts counted as lost, when, and what the CPUs did then.
package hostcounters

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/stats"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Name is the detector's name in findings.
const Name = "host-counters"

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("hostcounters", doc, New, nil) }

// New returns the detector. It judges at the end: the counters are those of files.
func New(s Settings, _ detect.Lifecycle) detect.Detector { return &detector{settings: s} }

type detector struct{ settings Settings }

// Judge implements detect.Detector.
func (d *detector) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *detector) Report(*detect.Tick, func(model.Finding)) {}

// Finish implements detect.Detector.
func (d *detector) Finish(t *detect.Tick, emit func(model.Finding)) {
	if t.HostCounters.Total == 0 {
		return
	}
	hosts := t.HostCounters.Hosts()
	for _, name := range hosts {
		h := newHost(d.settings, t.HostCounters, name, len(hosts) > 1)
		h.facts = t.State.Meta
		for _, f := range h.judge() {
			f.Detector, f.Loss = Name, t.Loss.Total
			f.ID = fmt.Sprintf("%s/%s/%d", Name, f.ID, int64(f.Start)/int64(time.Second))
			emit(f)
		}
	}
}

// host is the counters of one host.
type host struct {
	settings Settings
	c        *fold.HostCounters
	// name is empty where the stream has one host.
	name    string
	several bool
	facts   map[string]string
	cpus    map[int32]*cpu
	// samples is how many sar has of the CPUs.
	samples int
	// deviceTold are the losses of devices that sar shows and a finding says.
	deviceTold map[fold.HostKey]burst
}

// cpu is what sar says of one CPU.
type cpu struct {
	id       int32
	soft     []fold.HostPoint
	baseline stats.Baseline
	runs     []burst
	test     stats.Coincidence
	p        float64
}

// burst is samples in a row in which something was lost, or a CPU was busy.
type burst struct {
	from, to model.Time
	lost     float64
	samples  int
	// interval is the longest of a sample.
	interval time.Duration
	// mean, low and high are the softirq share then, NaN where it was not seen.
	mean, low, high float64
}

func newHost(s Settings, c *fold.HostCounters, name string, several bool) *host {
	return &host{settings: s, c: c, name: name, several: several, cpus: map[int32]*cpu{},
		deviceTold: map[fold.HostKey]burst{}}
}

func (h *host) of(name string, mode model.CounterMode) []fold.HostKey {
	return h.c.Keys(h.name, name, mode)
}

// judge returns the findings of the host.
func (h *host) judge() (out []model.Finding) {
	h.see()
	steps := h.steps()
	for _, id := range h.ids() {
		if f, ok := h.backlog(h.cpus[id], steps); ok {
			out = append(out, f)
		}
	}
	out = append(out, h.busy()...)
	out = append(out, h.sockets(steps)...)
	out = append(out, h.differences(steps)...)
	out = append(out, h.devices(steps)...)
	for i := range deviceLosses {
		out = append(out, h.deviceDrops(&deviceLosses[i])...)
		out = append(out, h.deviceSteps(&deviceLosses[i], steps)...)
	}
	out = append(out, h.growth("sockets/udp", "UDP")...)
	out = append(out, h.growth("sockets/tcp", "TCP")...)
	if f, ok := h.sinceBoot(); ok {
		out = append(out, f)
	}
	return append(append(out, h.restarts()...), h.reboots(steps)...)
}

// ids are the CPUs that sar shows, in order.
func (h *host) ids() (ids []int32) {
	for id := range h.cpus {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// see gathers what sar says of each CPU.
func (h *host) see() {
	of := func(id int32) *cpu {
		c := h.cpus[id]
		if c == nil {
			c = &cpu{id: id, p: 1}
			h.cpus[id] = c
		}
		return c
	}
	for _, k := range h.of("cpu/softirq", model.CounterShare) {
		c := of(k.CPU)
		c.soft = h.c.Series[k]
		h.samples = max(h.samples, len(c.soft))
		values := make([]float64, len(c.soft))
		for i, p := range c.soft {
			values[i] = p.Value
		}
		c.baseline = stats.NewBaseline(values)
	}
	dropped := h.of("softnet/dropped", model.CounterRate)
	tested := 0 // CPUs that lost packets: each of them could have been named
	for _, k := range dropped {
		c := of(k.CPU)
		points := h.c.Series[k]
		c.runs = bursts(points)
		for i := range c.runs {
			c.share(&c.runs[i])
		}
		lost := map[model.Time]bool{}
		for _, p := range points {
			lost[p.Time] = p.Value > 0
		}
		xs, marks := make([]float64, 0, len(c.soft)), make([]bool, 0, len(c.soft))
		for _, p := range c.soft {
			xs, marks = append(xs, p.Value), append(marks, lost[p.Time]) // a value that is missing is 0
		}
		c.test = stats.Coincide(xs, marks)
		if len(c.runs) > 0 {
			tested++
		}
	}
	for _, k := range dropped {
		c := of(k.CPU)
		c.p = min(1, c.test.P*float64(tested))
	}
}

// together is how many samples without a loss may lie within a burst.
const together = 2

// bursts returns the samples in a row that have a value, those that lie close together as one.
func bursts(points []fold.HostPoint) (out []burst) {
	for _, p := range points {
		if p.Value <= 0 || p.Span <= 0 {
			continue
		}
		n := len(out)
		if n == 0 || p.From().Sub(out[n-1].to) > together*p.Span {
			out = append(out, burst{from: p.From(), to: p.Time})
			n++
		}
		b := &out[n-1]
		b.to, b.interval = p.Time, max(b.interval, p.Span)
		b.lost += p.Value * p.Span.Seconds()
		b.samples++
	}
	for i := range out {
		out[i].trim(points)
	}
	return out
}

// edge is the share of a burst's mean rate below which its first or last sample is one in which it only began or ended.
const edge = 0.1

// trim takes off the samples at the ends in which little was lost: they belong to the count, and not to the time.
func (b *burst) trim(points []fold.HostPoint) {
	if b.samples < 3 {
		return
	}
	least := edge * b.lost / b.to.Sub(b.from).Seconds()
	from, to := b.from, b.to
	for _, p := range points {
		if p.Time > b.from && p.From() < b.to && p.Value < least {
			switch {
			case p.From() == from:
				from = p.Time
			case p.Time == to:
				to = p.From()
			}
		}
	}
	b.from, b.to = from, to
}

// lostIn adds up a rate over a time.
func lostIn(points []fold.HostPoint, from, to model.Time) (n float64) {
	for _, p := range points {
		if p.Time > from && p.From() < to {
			n += p.Value * p.Span.Seconds()
		}
	}
	return n
}

// share sets the CPU's softirq share in a burst.
func (c *cpu) share(b *burst) {
	sum, seconds := 0.0, 0.0
	b.low, b.high, b.mean = math.Inf(1), 0, math.NaN()
	for _, p := range c.soft {
		if p.Time <= b.from || p.From() >= b.to || p.Span <= 0 {
			continue
		}
		sum += p.Value * p.Span.Seconds()
		seconds += p.Span.Seconds()
		b.low, b.high = min(b.low, p.Value), max(b.high, p.Value)
	}
	if seconds > 0 {
		b.mean = sum / seconds
	}
}

// zFloor is the least spread of a share that counts, as in package counters.
const zFloor = 0.01

// unusual says that the softirq time of a burst is large and far from what is usual for the CPU.
func (h *host) unusual(c *cpu, b *burst) bool {
	return c.baseline.N >= int(h.settings.MinSamples) && b.mean >= h.settings.BusyShare &&
		c.baseline.Z(b.mean, zFloor) >= h.settings.RobustZ
}

// worst returns the burst with most lost; nil for none.
func worst(list []burst) (most *burst) {
	for i := range list {
		if most == nil || list[i].lost > most.lost {
			most = &list[i]
		}
	}
	return most
}

// lostWithin is the most that was lost in bursts that begin within so long.
func lostWithin(list []burst, span time.Duration) (most float64) {
	sum, first := 0.0, 0
	for i := range list {
		sum += list[i].lost
		for list[i].from.Sub(list[first].from) >= span {
			sum -= list[first].lost
			first++
		}
		most = max(most, sum)
	}
	return most
}

// step is what a total grew by between two bundles.
type step struct {
	key      fold.HostKey
	from, to model.Time
	grown    float64
	// restarted says that the host was started anew in between: grown is since then. timed says that from is when.
	restarted, timed bool
}

// steps returns by what totals grew from one bundle to the next, or since the host was started anew in between. A total
// that fell otherwise began anew, as that of a device whose driver was loaded again.
func (h *host) steps() (out []step) {
	known := map[[2]model.Time]restart{}
	for k, points := range h.c.Series {
		if k.Host != h.name || k.Mode != model.CounterTotal {
			continue
		}
		for i := 1; i < len(points); i++ {
			between := [2]model.Time{points[i-1].Time, points[i].Time}
			anew, ok := known[between]
			if !ok {
				anew = h.restarted(between[0], between[1])
				known[between] = anew
			}
			if anew.yes {
				from := cmp.Or(anew.at, between[0])
				out = append(out, step{k, from, between[1], points[i].Value, true, anew.at != 0})
				continue
			}
			grown := points[i].Value - points[i-1].Value
			const wrap = 1 << 32
			short := k.CPU >= 0 && k.Name != "softirq/NET_RX"
			if grown < 0 && anew.sure && short && points[i-1].Value >= wrap/2 && points[i-1].Value < wrap {
				grown += wrap // counters of /proc/net/softnet_stat have 32 bits
			}
			if grown >= 0 {
				out = append(out, step{k, between[0], between[1], grown, false, false})
			}
		}
	}
	slices.SortFunc(out, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.from, b.from), fold.CompareHostKeys(a.key, b.key))
	})
	return out
}

// find returns the step of a counter over a time that another step is of.
func find(steps []step, of step, name, instance string, cpu int32) (step, bool) {
	i := slices.IndexFunc(steps, func(s step) bool {
		return s.from == of.from && s.to == of.to && s.key.Name == name && s.key.Instance == instance && s.key.CPU == cpu
	})
	if i < 0 {
		return step{}, false
	}
	return steps[i], true
}

// covers returns the step of a counter within which a burst lies.
func covers(steps []step, name string, cpu int32, b *burst) (step, bool) {
	i := slices.IndexFunc(steps, func(s step) bool {
		return s.key.Name == name && s.key.CPU == cpu && s.from < b.to && s.to >= b.to &&
			s.from.Sub(b.from) < max(2*b.interval, time.Second)
	})
	if i < 0 {
		return step{}, false
	}
	return steps[i], true
}
