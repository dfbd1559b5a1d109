package hostcounters

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

// Bounds of what is said.
const (
	// criticalShare is the mean softirq share from which a loss is critical: little is left for anything else.
	criticalShare = 0.7
	// maxListed is how many sockets, devices and times a finding lists.
	maxListed = 4
	// sameWithin is by how much two counters of the same packets may differ: they are read one after the other.
	sameWithin = 0.01
	// coarse is the length of a sample from which it hides short bursts.
	coarse = 30 * time.Second
	// leastShare is the share of what came that must be lost at sockets for a warning.
	leastShare = 0.001
	// stolen is the share of a CPU that the hypervisor must have taken to be named.
	stolen = 0.1
)

// on names the host where there are several.
func (h *host) on() string {
	if h.several && h.name != "" {
		return " of " + fold.Printable(h.name)
	}
	return ""
}

func (h *host) cpuName(id int32) string { return "CPU " + words.Itoa(id) + h.on() }

// id begins a finding's identity.
func (h *host) id(what string) string {
	if h.name != "" {
		return fold.Printable(h.name) + "/" + what
	}
	return what
}

func hostSubject() model.Subject { return model.Subject{Kind: "host", CPU: -1, PID: -1} }

// times writes from when to when.
func times(from, to model.Time) string {
	a, b := from.Std(), to.Std()
	layout := "15:04:05"
	if a.Format(time.DateOnly) != b.Format(time.DateOnly) {
		layout = "2006-01-02 15:04:05"
	}
	return a.Format("2006-01-02 15:04:05") + " to " + b.Format(layout) + " UTC"
}

// shares writes the softirq share of a burst.
func (b *burst) shares() string {
	low, high := words.Percent(b.low), words.Percent(b.high)
	if b.samples < 2 || low == high {
		return words.Percent(b.mean)
	}
	return fmt.Sprintf("%s (%s to %s)", words.Percent(b.mean), low, high)
}

// every names the length of the samples.
func every(d time.Duration) string { return "mean of " + words.Span(d) }

// backlog says when a CPU dropped packets at its backlog, by sar.
func (h *host) backlog(c *cpu, steps []step) (f model.Finding, ok bool) {
	b := worst(c.runs)
	if b == nil {
		return f, false
	}
	total := 0.0
	for i := range c.runs {
		total += c.runs[i].lost
	}
	who := h.cpuName(c.id)
	f = model.Finding{
		ID: h.id("cpu" + words.Itoa(c.id)), Severity: model.SeverityInfo, Start: c.runs[0].from,
		End:     c.runs[len(c.runs)-1].to,
		Subject: model.Subject{Kind: "cpu", CPU: c.id, PID: -1, Vector: "NET_RX"},
	}
	lost := words.About(b.lost)
	exact, counted := covers(steps, "softnet/dropped", c.id, b)
	if counted && math.Abs(exact.grown-b.lost) <= sameWithin*exact.grown {
		lost = words.Exact(uint64(exact.grown))
	} else {
		counted = false
	}
	unusual := h.unusual(c, b)
	proven := c.p <= h.settings.Significance
	switch {
	case unusual:
		f.Title = fmt.Sprintf("NET_RX on %s did not keep up: %s packets dropped at its backlog, softirqs took %s of it "+
			"(usually %s), from %s", who, lost, b.shares(), words.Percent(c.baseline.Median), times(b.from, b.to))
	case math.IsNaN(b.mean):
		f.Title = fmt.Sprintf("%s dropped %s packets at its backlog (softnet) from %s; sar has no softirq time per CPU",
			who, lost, times(b.from, b.to))
	default:
		f.Title = fmt.Sprintf("%s dropped %s packets at its backlog (softnet) from %s; softirqs took %s of it "+
			"(usually %s)", who, lost, times(b.from, b.to), b.shares(), words.Percent(c.baseline.Median))
	}
	if n := len(c.runs) - 1; n > 0 {
		f.Title += fmt.Sprintf("; %s packets in %s more", words.About(total-b.lost), words.Plural(n, "burst"))
	}
	if lostWithin(c.runs, time.Hour) >= float64(h.settings.LeastLost) {
		f.Severity = model.SeverityWarning
		if unusual && proven && b.mean >= criticalShare {
			f.Severity = model.SeverityCritical
		}
	}
	f.Causes = append(f.Causes, "Only NET_RX on the same CPU empties its backlog: it took packets off more slowly than "+
		"they arrived")
	switch {
	case unusual && proven:
		f.Causes = append(f.Causes, fmt.Sprintf("Softirq time is this high when packets are dropped; "+
			"by chance alone that happens in %s", words.Chance(c.p)))
	case unusual:
		f.Causes = append(f.Causes, fmt.Sprintf("In %d samples, losses fall on such times by chance alone in %s",
			c.test.N, words.Chance(c.p)))
	case !math.IsNaN(b.mean):
		f.Causes = append(f.Causes, "NET_RX was not busy all of that time: the packets came in bursts shorter than a "+
			"sample, or the backlog was too short")
	}
	if b.interval >= coarse {
		f.Causes = append(f.Causes, fmt.Sprintf("Each sample is the %s: the number lost is known "+
			"within 0.1 %%, but not when within the sample, and a burst of seconds looks small", every(b.interval)))
	}
	if share := h.mean("cpu/steal", c.id, b); share >= stolen {
		f.Causes = append(f.Causes, fmt.Sprintf("The hypervisor took %s of that CPU in the same time (steal)",
			words.Percent(share)))
	}
	h.sameAsDevice(&f, b)
	h.othersAtSockets(&f, b)
	if counted {
		f.Causes = append(f.Causes, fmt.Sprintf("The number is from the counters "+exact.when()+"; the rates of sar "+
			"come to %s",
			times(exact.from, exact.to), words.About(b.lost)))
	}
	if v := h.facts["net.core.netdev_max_backlog"]; v != "" {
		f.Causes = append(f.Causes, "The backlog holds "+fold.Printable(v)+" packets (net.core.netdev_max_backlog)")
	}
	h.backlogAdvice(&f, unusual)
	h.backlogEvidence(&f, c, b, total)
	return f, true
}

// mean is the mean share of a CPU in a burst, 0 where it was not seen.
func (h *host) mean(name string, cpu int32, b *burst) float64 {
	key := fold.HostKey{Host: h.name, Name: name, CPU: cpu, Mode: model.CounterShare}
	return fold.Ratio(lostIn(h.c.Series[key], b.from, b.to), b.to.Sub(b.from).Seconds())
}

// sameAsDevice says that a device counted the same packets.
func (h *host) sameAsDevice(f *model.Finding, b *burst) {
	all := 0.0
	for _, k := range h.of("softnet/dropped", model.CounterRate) {
		all += lostIn(h.c.Series[k], b.from, b.to)
	}
	for _, k := range h.of("device/rx_dropped", model.CounterRate) {
		if n := lostIn(h.c.Series[k], b.from, b.to); all > 0 && math.Abs(n-all) <= 2*sameWithin*all {
			f.Causes = append(f.Causes, fmt.Sprintf("rx_dropped of %s counted as many in that time: "+
				"these are the same packets", fold.Printable(k.Instance)))
			f.Subject.Device = fold.Printable(k.Instance)
			return
		}
	}
}

// othersAtSockets says what was lost at sockets in the same time.
func (h *host) othersAtSockets(f *model.Finding, b *burst) {
	n := 0.0
	for _, k := range h.of("udp/errors", model.CounterRate) {
		n += lostIn(h.c.Series[k], b.from, b.to)
	}
	if n >= 1 {
		f.Causes = append(f.Causes, fmt.Sprintf("Of the packets that NET_RX did handle, %s were lost at "+
			"UDP sockets in that time: these are other packets", words.About(n)))
	}
}

func (h *host) backlogAdvice(f *model.Finding, unusual bool) {
	if unusual {
		f.Advice = append(f.Advice, "Find out what NET_RX does on that CPU: nft list ruleset, iptables-save, tc filter "+
			"show, bpftool net; perf record -C CPU while it lasts names the functions. If the packets are unwanted, stop "+
			"their sender instead")
	}
	f.Advice = append(f.Advice,
		"Check which CPUs receive: /sys/class/net/DEVICE/queues/*/rps_cpus and ethtool -x; one flow stays on one CPU, "+
			"whatever the number of queues",
		"To find the cause next time, keep the minutes around it: lostbeat record --flight 5m")
}

func (h *host) backlogEvidence(f *model.Finding, c *cpu, b *burst, total float64) {
	add := func(name string, v float64, unit string) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			f.Evidence = append(f.Evidence, detect.Evidence(name, v, unit))
		}
	}
	add("packets dropped at the backlog in all samples (rates times intervals)", math.Round(total), "packets")
	add("softirq share then", b.mean, "ratio")
	add("softirq share usually (median)", c.baseline.Median, "ratio")
	add("distance from the usual", c.baseline.Z(b.mean, zFloor), "robust standard deviations")
	add("probability by chance, over all shifts of the samples", c.p, "ratio")
	add("samples judged", float64(c.baseline.N), "samples")
	add("length of a sample", b.interval.Seconds(), "s")
	squeezed := 0.0
	for _, k := range h.of("softnet/squeezed", model.CounterRate) {
		if k.CPU == c.id {
			squeezed += lostIn(h.c.Series[k], b.from, b.to)
			if squeezed == 0 {
				f.RuledOut = append(f.RuledOut, "netdev_budget: time_squeeze did not rise. That alone does not clear NET_RX: a "+
					"single busy queue never exceeds the budget")
			}
		}
	}
	for _, id := range h.ids() {
		o := h.cpus[id]
		other := *b
		if o.share(&other); id != c.id && !math.IsNaN(other.mean) && !h.unusual(o, &other) && len(f.RuledOut) < maxListed {
			f.RuledOut = append(f.RuledOut, fmt.Sprintf("%s: softirqs took %s of it then (usually %s)", h.cpuName(id),
				words.Percent(other.mean), words.Percent(o.baseline.Median)))
		}
	}
}

// sustainedTime and sustainedSamples are how long a CPU without time for anything else is a fault by itself, as in
// package counters.
const (
	sustainedTime    = 10 * time.Second
	sustainedSamples = 3
)

// busy says which CPUs had next to no time beside softirqs while nothing was dropped at their backlogs.
func (h *host) busy() (out []model.Finding) {
	seen := len(h.of("softnet/dropped", model.CounterRate)) > 0
	for _, id := range h.ids() {
		c := h.cpus[id]
		if len(c.runs) > 0 || c.baseline.N < int(h.settings.MinSamples) {
			continue
		}
		var high []fold.HostPoint
		for _, p := range c.soft {
			if p.Value >= criticalShare && c.baseline.Z(p.Value, zFloor) >= h.settings.RobustZ {
				high = append(high, p)
			}
		}
		runs := bursts(high)
		b := worst(runs)
		if b == nil {
			continue
		}
		c.share(b)
		f := model.Finding{
			ID: h.id("cpu" + words.Itoa(id) + "-busy"), Severity: model.SeverityInfo, Start: b.from, End: b.to,
			Subject: model.Subject{Kind: "cpu", CPU: id, PID: -1, Vector: "softirq"},
		}
		loss := "nothing was dropped at its backlog then"
		if !seen {
			loss = "sar has no softnet counters, which show whether packets were dropped"
			if b.samples >= sustainedSamples && b.to.Sub(b.from) >= sustainedTime {
				f.Severity = model.SeverityWarning
			}
		}
		f.Title = fmt.Sprintf("softirqs took %s of %s from %s (usually %s); %s", b.shares(), h.cpuName(id), times(b.from,
			b.to),
			words.Percent(c.baseline.Median), loss)
		f.Causes = []string{"While softirqs run, no program runs on that CPU; sar does not say which softirqs"}
		f.Advice = []string{"Compare these times with the log of the program that was late; if nothing was late, this is " +
			"not a fault"}
		f.Evidence = []model.Evidence{
			detect.Evidence("softirq share then", b.mean, "ratio"),
			detect.Evidence("softirq share usually (median)", c.baseline.Median, "ratio"),
			detect.Evidence("samples judged", float64(c.baseline.N), "samples"),
		}
		out = append(out, f)
	}
	return out
}

// sockets says what was lost at UDP sockets, by sar or by two bundles.
func (h *host) sockets(steps []step) (out []model.Finding) {
	for _, k := range h.of("udp/errors", model.CounterRate) {
		points := h.c.Series[k]
		runs := bursts(points)
		b := worst(runs)
		if b == nil {
			continue
		}
		received := 0.0
		for _, r := range h.of("udp/received", model.CounterRate) {
			if r.Instance == k.Instance {
				received += lostIn(h.c.Series[r], b.from, b.to)
			}
		}
		share := fold.Ratio(b.lost, b.lost+received)
		f := model.Finding{
			ID: h.id("udp"), Severity: model.SeverityInfo, Start: runs[0].from, End: runs[len(runs)-1].to,
			Subject: model.Subject{Kind: "socket", CPU: -1, PID: -1, Protocol: "udp"},
			Title: fmt.Sprintf("UDP sockets%s lost %s datagrams from %s, %s of those received", h.on(), words.About(b.lost),
				times(b.from, b.to), words.Percent(share)),
		}
		if n := len(runs) - 1; n > 0 {
			f.Title += fmt.Sprintf("; and some in %s more", words.Plural(n, "burst"))
		}
		if b.lost >= float64(h.settings.LeastLost) && share >= leastShare {
			f.Severity = model.SeverityWarning
		}
		f.Causes = append(f.Causes, "UDP's error counter (idgmerr) almost always means a full receive queue: the program "+
			"did not read in time")
		for _, id := range h.ids() {
			c := h.cpus[id]
			for i := range c.runs {
				if r := &c.runs[i]; r.from < b.to && b.from < r.to {
					f.Causes = append(f.Causes, fmt.Sprintf("In the same time %s dropped other packets at its "+
						"backlog: a program that runs only on that CPU has no time to read", h.cpuName(id)))
					break
				}
			}
		}
		h.sameOfSockets(&f, b, steps)
		h.listSockets(&f)
		f.Evidence = append(f.Evidence, detect.Evidence("datagrams lost (rates times intervals)", math.Round(b.lost),
			"datagrams"),
			detect.Evidence("datagrams received then", math.Round(received), "datagrams"),
			detect.Evidence("length of a sample", b.interval.Seconds(), "s"))
		out = append(out, f)
	}
	return out
}

// sameOfSockets gives the exact number where two bundles have it.
func (h *host) sameOfSockets(f *model.Finding, b *burst, steps []step) {
	for _, s := range steps {
		if s.key.Name == "udp/buffer_errors" && s.grown > 0 && s.from < b.to && s.to >= b.to &&
			math.Abs(s.grown-b.lost) <= sameWithin*s.grown {
			f.Causes = append(f.Causes, fmt.Sprintf("The counters of two bundles%s show %s, all "+
				"because receive queues were full (RcvbufErrors)", in(s.key.Instance), words.Exact(uint64(s.grown))))
		}
	}
}

// in names a network namespace.
func in(netns string) string {
	if netns == "" {
		return ""
	}
	return " in network namespace " + fold.Printable(netns)
}

// listSockets names the sockets that lost datagrams, those with most first.
func (h *host) listSockets(f *model.Finding) {
	keys := h.of("socket/dropped", model.CounterTotal)
	last := func(k fold.HostKey) float64 { p := h.c.Series[k]; return p[len(p)-1].Value }
	slices.SortStableFunc(keys, func(a, b fold.HostKey) int { return cmp.Compare(last(b), last(a)) })
	for _, k := range keys[:min(len(keys), maxListed)] {
		text := fmt.Sprintf("Socket %s lost %s datagrams since it was opened", fold.Printable(k.Instance),
			words.Exact(uint64(last(k))))
		queued, size := k, k
		queued.Name, queued.Mode = "socket/queued_bytes", model.CounterGauge
		size.Name, size.Mode = "socket/buffer_bytes", model.CounterGauge
		if q, s := h.c.Series[queued], h.c.Series[size]; len(q) > 0 && len(s) > 0 {
			text += fmt.Sprintf("; when it was listed, %s of %s bytes of its receive buffer were in use",
				words.Exact(uint64(q[len(q)-1].Value)), words.Exact(uint64(s[len(s)-1].Value)))
		}
		f.Causes = append(f.Causes, text)
	}
}

// differences says what two bundles counted between them, where sar does not say it.
func (h *host) differences(steps []step) (out []model.Finding) {
	for _, s := range steps {
		lost := s.grown
		if lost < 1 {
			continue
		}
		f := model.Finding{
			Severity: model.SeverityInfo, Start: s.from, End: s.to,
			Evidence: []model.Evidence{detect.Evidence("lost in that time", lost, "packets")},
		}
		if lost >= float64(h.settings.LeastLost) {
			f.Severity = model.SeverityWarning
		}
		switch s.key.Name {
		case "softnet/dropped":
			if c := h.cpus[s.key.CPU]; c != nil && toldOf(c.runs, s) {
				continue
			}
			h.backlogStep(&f, s, steps)
		case "udp/buffer_errors", "udp6/buffer_errors":
			if h.toldOfSockets(s) {
				continue
			}
			f.ID, f.Subject = h.id("udp"+s.key.Instance+s.key.Name), model.Subject{Kind: "socket", CPU: -1, PID: -1,
				Protocol: "udp"}
			f.Subject.Netns = fold.Printable(s.key.Instance)
			f.Title = fmt.Sprintf("UDP sockets%s%s lost %s datagrams "+s.when()+", because their receive queues were full",
				h.on(), in(s.key.Instance), words.Exact(uint64(lost)), times(s.from, s.to))
			f.Causes = append([]string{"The program did not read in time",
				"They are not the packets dropped at a backlog, which never reach a socket"}, s.whenCauses()...)
			h.listSockets(&f)
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

// toldOf says that sar has told when a step was.
func toldOf(runs []burst, s step) bool {
	told := 0.0
	for _, b := range runs {
		if b.from < s.to && b.to > s.from {
			told += b.lost
		}
	}
	return told >= s.grown*(1-2*sameWithin)
}

func (h *host) toldOfSockets(s step) bool {
	for _, k := range h.of("udp/errors", model.CounterRate) {
		if toldOf(bursts(h.c.Series[k]), s) {
			return true
		}
	}
	return false
}

// backlogStep says what a CPU dropped at its backlog between two bundles.
func (h *host) backlogStep(f *model.Finding, s step, steps []step) {
	id := s.key.CPU
	f.ID, f.Subject = h.id("cpu"+words.Itoa(id)+"-step"), model.Subject{Kind: "cpu", CPU: id, PID: -1, Vector: "NET_RX"}
	f.Title = fmt.Sprintf("%s dropped %s packets at its backlog (softnet) "+s.when()+": NET_RX on that CPU did not keep "+
		"up", h.cpuName(id), words.Exact(uint64(s.grown)), times(s.from, s.to))
	f.Causes = s.whenCauses()
	if soft, ok := find(steps, s, "cpu/softirq", "", id); ok && s.to > s.from && (!s.restarted || s.timed) {
		share := soft.grown / s.to.Sub(s.from).Seconds()
		f.Causes = append(f.Causes, fmt.Sprintf("Softirqs took %s of that CPU on average over the %s", words.Percent(share),
			words.Span(s.to.Sub(s.from))))
		f.Evidence = append(f.Evidence, detect.Evidence("softirq share of the CPU between them", share, "ratio"))
	}
	all := 0.0
	for _, o := range steps {
		if o.key.Name == "softnet/dropped" && o.from == s.from && o.to == s.to {
			all += o.grown
		}
	}
	for _, o := range steps {
		if o.key.Name == "device/rx_dropped" && o.from == s.from && o.to == s.to && math.Abs(o.grown-all) <= sameWithin*all {
			f.Causes = append(f.Causes, fmt.Sprintf("rx_dropped of %s grew by %s: these are the same packets",
				fold.Printable(o.key.Instance), words.Exact(uint64(o.grown))))
		}
	}
	for _, o := range steps {
		if (o.key.Name == "udp/buffer_errors") && o.grown >= 1 && o.from == s.from && o.to == s.to {
			f.Causes = append(f.Causes, fmt.Sprintf("UDP sockets%s lost %s datagrams in that time: these are other packets",
				in(o.key.Instance), words.Exact(uint64(o.grown))))
		}
	}
	if runs, ok := find(steps, s, "softirq/NET_RX", "", id); ok {
		f.Evidence = append(f.Evidence, detect.Evidence("runs of NET_RX on the CPU", runs.grown, "runs"))
	}
	if squeezed, ok := find(steps, s, "softnet/squeezed", "", id); ok && squeezed.grown == 0 {
		f.RuledOut = append(f.RuledOut, "netdev_budget: time_squeeze did not rise. That alone does not clear NET_RX: a "+
			"single busy queue never exceeds the budget")
	}
	h.backlogAdvice(f, true)
}

// isRing reports whether a counter is of packets for which a device had no room: all of devices but those of the
// kernel.
func isRing(name string) bool {
	device, ok := strings.CutPrefix(name, "device/")
	return ok && device != "rx_packets" && device != "rx_dropped" && device != "rx_errors"
}

// sameRing are the counters of a device that grew by as many packets for which there was no room as one of them. They
// are most likely one counter under several names; the kernel's own, rx_missed_errors, comes first.
func sameRing(steps []step, s step) (names []string) {
	for _, o := range steps {
		if isRing(o.key.Name) && o.key.Instance == s.key.Instance && o.from == s.from && o.to == s.to && o.grown == s.grown {
			names = append(names, strings.TrimPrefix(o.key.Name, "device/"))
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(-cmp.Compare(strings.Count(a, "rx_missed_errors"), strings.Count(b, "rx_missed_errors")),
			cmp.Compare(a, b))
	})
	return names
}

// devices says what devices lost for want of room, by two bundles or sar.
func (h *host) devices(steps []step) (out []model.Finding) {
	for _, s := range steps {
		if !isRing(s.key.Name) || s.grown < 1 {
			continue
		}
		name := strings.TrimPrefix(s.key.Name, "device/")
		names := sameRing(steps, s)
		if names[0] != name {
			continue
		}
		f := h.ringFinding(s.key.Instance, name, s.from, s.to, words.Exact(uint64(s.grown)), s.grown, s.when())
		if len(names) > 1 {
			f.Causes = append(f.Causes, fold.Printable(strings.Join(names[1:], ", "))+
				" grew by as many, which are most likely the same packets")
		}
		out = append(out, f)
	}
	for _, k := range h.of("device/rx_fifo", model.CounterRate) {
		runs := bursts(h.c.Series[k])
		if b := worst(runs); b != nil {
			out = append(out, h.ringFinding(k.Instance, "rx_fifo", b.from, b.to, words.About(b.lost), b.lost, "(%s)"))
		}
	}
	return out
}

func (h *host) ringFinding(dev, counter string, from, to model.Time, lost string, n float64,
	when string) model.Finding {
	f := model.Finding{
		ID: h.id(dev + "/" + counter), Severity: model.SeverityInfo, Start: from, End: to,
		Subject: model.Subject{Kind: "device", CPU: -1, PID: -1, Device: fold.Printable(dev)},
		Title: fmt.Sprintf("%s%s lost %s received packets "+when+" because it had no free receive descriptor (%s)",
			fold.Printable(dev), h.on(), lost, times(from, to), fold.Printable(counter)),
		Causes: []string{"NET_RX, or the host's memory bus, did not free descriptors as fast as packets arrived; the " +
			"lost packets never reached a backlog or a socket"},
		Advice: []string{"Compare with the softirq time of the CPU that handles its interrupt; a larger ring (ethtool " +
			"-G) helps only with bursts"},
		Evidence: []model.Evidence{detect.Evidence("packets lost: "+counter, math.Round(n), "packets")},
	}
	if n >= float64(h.settings.LeastLost) {
		f.Severity = model.SeverityWarning
	}
	if sizes := h.facts["rx_ring:"+dev]; sizes != "" {
		f.Causes = append(f.Causes, "Its receive ring has "+fold.Printable(sizes)+" descriptors")
	}
	return f
}

// sinceBoot says what one bundle counted: how much, not when.
func (h *host) sinceBoot() (f model.Finding, ok bool) {
	f = model.Finding{ID: h.id("since-boot"), Severity: model.SeverityInfo, Subject: hostSubject()}
	var said []string
	for _, k := range h.of("softnet/dropped", model.CounterTotal) {
		p := h.c.Series[k][0]
		f.Start, f.End = p.Time, p.Time
		if len(h.c.Series[k]) > 1 {
			return f, false // the difference is said
		}
		if p.Value > 0 && len(said) < maxListed {
			said = append(said, fmt.Sprintf("%s dropped %s packets at its backlog", h.cpuName(k.CPU),
				words.Exact(uint64(p.Value))))
		}
	}
	for _, name := range []string{"udp/buffer_errors", "udp6/buffer_errors"} {
		for _, k := range h.of(name, model.CounterTotal) {
			p := h.c.Series[k][0]
			f.Start, f.End = p.Time, p.Time
			if p.Value > 0 && len(said) < 2*maxListed && len(h.c.Series[k]) == 1 {
				said = append(said, fmt.Sprintf("UDP sockets%s lost %s datagrams at full receive queues", in(k.Instance),
					words.Exact(uint64(p.Value))))
			}
		}
	}
	for _, k := range h.c.Devices(h.name) {
		p := h.c.Series[k][0]
		name := strings.TrimPrefix(k.Name, "device/")
		if p.Value > 0 && name != "rx_packets" && len(said) < 3*maxListed && len(h.c.Series[k]) == 1 {
			f.Start, f.End = p.Time, p.Time
			said = append(said, fmt.Sprintf("%s counted %s in %s", fold.Printable(k.Instance), words.Exact(uint64(p.Value)),
				fold.Printable(name)))
		}
	}
	if len(said) == 0 {
		return f, false
	}
	f.Title = "Since boot" + h.on() + " " + strings.Join(said, "; ") + ": time unknown"
	f.Causes = []string{"Counters since boot are a single reading: they do not show whether anything is being lost now",
		"Counters of different layers may count the same packets and must not be added"}
	h.listSockets(&f)
	f.Advice = []string{"Take a second bundle (or cat /proc/net/softnet_stat; nstat -az; ip -s link twice) and open " +
		"both: the difference covers a known time"}
	return f, true
}

// restarts says when the host was started.
func (h *host) restarts() (out []model.Finding) {
	for _, k := range h.of("host/restart", model.CounterGauge) {
		points := h.c.Series[k]
		var list []string
		for _, p := range points[:min(len(points), 2*maxListed)] {
			list = append(list, p.Time.Std().Format("2006-01-02 15:04:05"))
		}
		what := "the host"
		if h.on() != "" {
			what = fold.Printable(h.name)
		}
		out = append(out, model.Finding{
			ID: h.id("restart"), Severity: model.SeverityInfo, Start: points[0].Time, End: points[len(points)-1].Time,
			Subject: hostSubject(),
			Title:   fmt.Sprintf("%s was restarted at %s UTC", what, strings.Join(list, ", ")),
			Causes:  []string{"A restart within an outage is a reboot or a fence; counters start at 0 afterwards"},
		})
	}
	return out
}
