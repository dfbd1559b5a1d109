package hostcounters

import (
	"fmt"
	"math"
	"slices"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/stats"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// leastDropped is the share of a device's packets from which its drops are a warning: frames of protocols that nobody
// asked for are dropped on every host.
const leastDropped = 0.01

// rateFloor is the least spread of a rate that counts, in packets a second.
const rateFloor = 1

// deviceLoss is a counter of a device that says that packets were lost, and not where.
type deviceLoss struct {
	// name is that of the counter, did what the device did with so many packets.
	name, did     string
	cause, advice string
	// again says that the packets of backlogs are counted here once more.
	again bool
}

var deviceLosses = []deviceLoss{
	{
		name: "rx_dropped", did: "dropped %s received packets", again: true,
		cause: "rx_dropped counts what the kernel dropped after the driver: backlog, unhandled protocol, filter; the " +
			"counter does not say which",
		advice: "Compare with ip -s -s link and /proc/net/softnet_stat while it lasts; lostbeat record --flight 5m " +
			"names the reason of each drop",
	},
	{
		name: "rx_errors", did: "received %s packets with errors",
		cause: "rx_errors counts packets that the adapter could not use: damaged on the wire (CRC), too long or too " +
			"short, and with some drivers those without a free receive descriptor",
		advice: "Find out which errors: ethtool -S, ip -s -s link; for CRC errors, change the cable, the transceiver or " +
			"the switch port",
	},
}

func (l *deviceLoss) finding(h *host, dev string, from, to model.Time, title string) model.Finding {
	return model.Finding{
		ID: h.id(fold.Printable(dev) + "/" + l.name), Severity: model.SeverityInfo, Start: from, End: to,
		Subject: model.Subject{Kind: "device", CPU: -1, PID: -1, Device: fold.Printable(dev)},
		Title:   title, Causes: []string{l.cause}, Advice: []string{l.advice},
	}
}

// weigh makes a loss that is a large part of what a device received a warning.
func weigh(f *model.Finding, lost, received float64) {
	if lost < leastDropped*received {
		return
	}
	f.Severity = model.SeverityWarning
	if received > 0 {
		f.Title += fmt.Sprintf(", %s of what it received", words.Percent(min(1, lost/received)))
	}
}

// overlap says that backlogs counted a part of the packets of a device.
func overlap(f *model.Finding, backlog string) {
	f.Causes = append(f.Causes, "of backlogs, "+backlog+" were counted in the same time: the two overlap and must not "+
		"be added")
}

// rateSamples is how many samples sar has: zeros are left out of most series, behind the first.
func (h *host) rateSamples(points []fold.HostPoint) int {
	n := max(h.samples, len(points))
	last := model.Time(0)
	for k, s := range h.c.Series {
		if k.Host == h.name && k.Mode == model.CounterRate {
			n = max(n, len(s))
			last = max(last, s[len(s)-1].Time)
		}
	}
	// With nothing but such series, the time says it.
	if p := points[0]; uint64(n) < h.settings.MinSamples && p.Value == 0 && p.Span > 0 {
		n = max(n, int(last.Sub(p.From())/p.Span))
	}
	return n
}

// deviceDrops says which devices lost unusually many packets that no backlog counted, by sar.
func (h *host) deviceDrops(l *deviceLoss) (out []model.Finding) {
	for _, k := range h.of("device/"+l.name, model.CounterRate) {
		points := h.c.Series[k]
		values := make([]float64, h.rateSamples(points)) // those that are missing are 0
		for i, p := range points {
			values[i] = p.Value
		}
		usual := stats.NewBaseline(values)
		var high []fold.HostPoint
		for _, p := range points {
			if usual.Z(p.Value, rateFloor) >= h.settings.RobustZ {
				high = append(high, p)
			}
		}
		b := worst(bursts(high))
		if b == nil || usual.N < int(h.settings.MinSamples) || b.lost < float64(h.settings.LeastLost) {
			continue
		}
		backlog := 0.0
		for _, s := range h.of("softnet/dropped", model.CounterRate) {
			backlog += lostIn(h.c.Series[s], b.from, b.to)
		}
		if l.again && math.Abs(backlog-b.lost) <= 2*sameWithin*backlog {
			continue // the same packets
		}
		f := l.finding(h, k.Instance, b.from, b.to, fmt.Sprintf("%s%s "+l.did+" from %s (%s; usually %s a second)",
			fold.Printable(k.Instance), h.on(), words.About(b.lost), times(b.from, b.to), l.name, words.Rate(usual.Median)))
		f.Evidence = []model.Evidence{
			detect.Evidence("packets lost (rates times intervals)", math.Round(b.lost), "packets"),
			detect.Evidence("length of a sample", b.interval.Seconds(), "s"),
		}
		for _, r := range h.of("device/rx_packets", model.CounterRate) {
			if r.Instance == k.Instance {
				weigh(&f, b.lost, lostIn(h.c.Series[r], b.from, b.to))
			}
		}
		if l.again && backlog > 0 {
			overlap(&f, words.About(backlog))
		}
		h.deviceTold[k] = *b
		out = append(out, f)
	}
	return out
}

// deviceSteps says what devices lost between two bundles, where neither a backlog, a ring nor sar says it.
func (h *host) deviceSteps(l *deviceLoss, steps []step) (out []model.Finding) {
	for i := range steps {
		s := &steps[i]
		if s.key.Name != "device/"+l.name || s.grown < float64(h.settings.LeastLost) {
			continue
		}
		told := s.key
		told.Mode = model.CounterRate
		if b, ok := h.deviceTold[told]; ok && toldOf([]burst{b}, *s) {
			continue
		}
		backlog := 0.0
		for _, o := range steps {
			if o.key.Name == "softnet/dropped" && o.from == s.from && o.to == s.to {
				backlog += o.grown
			}
		}
		if l.again && math.Abs(backlog-s.grown) <= sameWithin*backlog {
			continue // the same packets
		}
		if slices.ContainsFunc(steps, func(o step) bool {
			return isRing(o.key.Name) && o.key.Instance == s.key.Instance && o.from == s.from && o.to == s.to &&
				math.Abs(o.grown-s.grown) <= sameWithin*s.grown
		}) {
			continue // drivers count those without a descriptor here, too
		}
		f := l.finding(h, s.key.Instance, s.from, s.to, fmt.Sprintf("%s%s "+l.did+" (%s) "+s.when(),
			fold.Printable(s.key.Instance), h.on(), words.Exact(uint64(s.grown)), l.name, times(s.from, s.to)))
		f.ID += "-step"
		f.Causes = append(f.Causes, s.whenCauses()...)
		f.Evidence = []model.Evidence{detect.Evidence("lost between the two bundles: "+l.name, s.grown, "packets")}
		if received, ok := find(steps, *s, "device/rx_packets", s.key.Instance, -1); ok {
			weigh(&f, s.grown, received.grown)
		}
		if l.again && backlog > 0 {
			overlap(&f, words.Exact(uint64(backlog)))
		}
		out = append(out, f)
	}
	return out
}
