package detect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lostbeat/model"
)

// ringDrop finds packets lost in a device's ring or in the layer just above
// it, and says whether the CPU was too slow or the ring too small for a burst.
type ringDrop struct {
	settings   RingSettings
	starvation StarvationSettings
	cases      tracker[ringLoss]
}

// confirmRing gives starvation, which explains most ring drops, time to speak first.
const confirmRing = 3

// criticalLoss is the share of lost packets from which a finding is critical.
const criticalLoss = 0.25

type ringLoss struct {
	device      *deviceFacts
	baseRing    uint64
	baseDevice  uint64
	reasons     []reasonCount
	packets     uint64
	polledBy    []otherCPU
	full, polls uint64
}

// addSecond counts one second of the fault.
func (l *ringLoss) addSecond(s *deviceSecond) {
	l.packets += s.packets
	for _, r := range append(slices.Clone(s.ringReasons), s.deviceReasons...) {
		if len(l.reasons) < 32 {
			l.reasons = addReason(l.reasons, r)
		}
	}
}

func newRingDrop(s Settings) detector {
	return &ringDrop{s.Ring, s.Starvation, newTracker[ringLoss]("ring-drop", s.Lifecycle)}
}

func (d *ringDrop) tick(w *world, emit func(model.Finding)) {
	for _, f := range w.deviceList() {
		key := f.key.name
		if key == "" {
			key = "if" + itoa(f.key.ifindex)
		}
		if w.explained[f.key] && !d.cases.isOpen(key) {
			continue
		}
		drops := f.sum.drops()
		var in *incident[ringLoss]
		switch {
		case drops >= d.settings.MinDrops && ratio(float64(drops), float64(drops+f.sum.packets)) >= d.settings.DropShare:
			fresh := d.cases.incidents[key] == nil
			in = d.cases.raise(w, key, w.firstSecond(func(slot int) bool { return f.seconds[slot].drops() > 0 }))
			if fresh {
				in.data = ringLoss{baseRing: f.ringTotal - f.sum.ring, baseDevice: f.deviceTotal - f.sum.device}
				// What the window's earlier seconds lost belongs to the fault.
				for _, slot := range w.recent() {
					if slot != w.slot && f.seconds[slot].drops() > 0 {
						in.data.addSecond(&f.seconds[slot])
					}
				}
			}
		case drops > 0:
			in = d.cases.keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.data
		data.device = f
		data.addSecond(&f.seconds[w.slot])
		data.polledBy, data.full, data.polls = nil, 0, 0
		for _, c := range w.cpuList() {
			for _, n := range c.sum.napi {
				if n.device == f.key && n.polls > 0 {
					data.polledBy = append(
						data.polledBy,
						otherCPU{c.id, c.sum.busyShare(time.Duration(w.windowSeconds()) * time.Second)},
					)
					data.full += n.full
					data.polls += n.polls
				}
			}
		}
	}
	d.cases.settle(w, confirmRing, emit, func(in *incident[ringLoss]) model.Finding { return d.describe(w, in) })
}

func (d *ringDrop) finish(w *world, emit func(model.Finding)) {
	d.cases.flush(w, emit, func(in *incident[ringLoss]) model.Finding { return d.describe(w, in) })
}

func (d *ringDrop) describe(w *world, in *incident[ringLoss]) model.Finding {
	data := &in.data
	dev := clean(data.device.key.name)
	if dev == "" {
		dev = "interface " + itoa(data.device.key.ifindex)
	}
	ongoing := in.touchedOrOpen()
	ring, device := data.device.ringTotal-data.baseRing, data.device.deviceTotal-data.baseDevice
	length := max(in.seen.Sub(in.start), time.Second)
	reasons := slices.Clone(data.reasons)
	slices.SortFunc(reasons, func(a, b reasonCount) int {
		return cmp.Or(
			cmp.Compare(b.count, a.count),
			cmp.Compare(a.queue, b.queue),
			cmp.Compare(a.reason, b.reason),
			cmp.Compare(a.location, b.location),
		)
	})
	config, known := w.deviceConfig(data.device.key)
	where := "its ring"
	if ring == 0 {
		where = "its device layer"
	}
	f := model.Finding{
		Severity: model.SeverityWarning,
		Title: fmt.Sprintf(
			"%s %s packets in %s: %s in %s",
			dev,
			tense(ongoing, "loses", "lost"),
			where,
			number(ring+device),
			span(length),
		),
		Subject: model.Subject{Kind: "device", Device: dev, CPU: -1, PID: -1},
		Evidence: []model.Evidence{
			evidence("lost in the ring", float64(ring), "packets"),
			evidence("lost in the device layer", float64(device), "packets"),
		},
	}
	shareKnown := data.packets > 0 || !w.windows() // a log need not have the counter of what was received
	if shareKnown {
		share := ratio(float64(ring+device), float64(ring+device+data.packets))
		f.Title += ", " + percent(share) + " of what arrived"
		f.Evidence = append(f.Evidence, evidence("received meanwhile", float64(data.packets), "packets"))
		if share >= criticalLoss {
			f.Severity = model.SeverityCritical
		}
	}
	if len(reasons) > 0 && reasons[0].queue >= 0 && ring > 0 {
		f.Subject.Queue = "rx-" + itoa(reasons[0].queue)
	}
	for _, r := range reasons[:min(len(reasons), 4)] {
		name := clean(r.reason)
		if r.queue >= 0 {
			name += ", queue " + itoa(r.queue)
		}
		if r.location != "" {
			name += " at " + clean(r.location)
		}
		f.Evidence = append(f.Evidence, evidence(name, float64(r.count), "packets"))
	}
	var busy *otherCPU
	for i := range data.polledBy {
		if c := &data.polledBy[i]; busy == nil || c.busy > busy.busy {
			busy = c
		}
	}
	full := ratio(float64(data.full), float64(data.polls))
	switch {
	case busy != nil && (busy.busy >= d.starvation.BusyShare || full >= d.starvation.FullPollShare):
		f.Subject.CPU = busy.id
		f.Evidence = append(
			f.Evidence,
			evidence(fmt.Sprintf("CPU %d busy", busy.id), busy.busy, "ratio"),
			evidence("polls that used their whole budget", full, "ratio"),
		)
		f.Causes = []string{
			fmt.Sprintf(
				"the ring fills because CPU %d, which empties it, is %s busy; %s of the polls left packets behind",
				busy.id,
				percent(busy.busy),
				percent(full),
			),
		}
		f.Advice = []string{
			"take work off that CPU: more queues, IRQ affinity, RPS; not when the sender should send less",
			"a larger ring only helps bursts; not while the CPU is busy all the time",
		}
	case busy != nil:
		f.Evidence = append(f.Evidence, evidence(fmt.Sprintf("CPU %d busy", busy.id), busy.busy, "ratio"))
		f.Causes = []string{
			fmt.Sprintf(
				"bursts fill the ring before it is polled: CPU %d, which empties it, has time to spare (%s busy)",
				busy.id,
				percent(busy.busy),
			),
		}
		f.RuledOut = []string{"not a CPU that is too slow: it is idle in between"}
		f.Advice = d.enlarge(w, dev, config, known)
	default:
		f.Causes = []string{
			"which CPU empties the ring is not seen here, so that a slow CPU and a burst cannot be told apart",
		}
		f.Advice = d.enlarge(w, dev, config, known)
	}
	if !shareKnown {
		f.Causes = append(f.Causes, "how much was received is not in the capture: the share that was lost is not known")
	}
	if known && config.RingSource != "" {
		f.RuledOut = append(f.RuledOut, "counted from: "+clean(config.RingSource))
	}
	if known && config.RXRing > 0 {
		f.Evidence = append(f.Evidence, evidence("receive descriptors", float64(config.RXRing), "descriptors"))
	}
	return f
}

// enlarge advises a larger ring as far as the device takes one.
func (d *ringDrop) enlarge(w *world, dev string, config model.DeviceConfig, known bool) []string {
	switch {
	case w.windows():
		return []string{
			fmt.Sprintf(
				"see whether the ring can be enlarged (Get-NetAdapterAdvancedProperty of %s, Receive Buffers); not when "+
					"packets then wait too long in it",
				dev,
			),
		}
	case known && config.RXRing > 0 && config.RXRing < config.RXRingMax:
		return []string{
			fmt.Sprintf(
				"enlarge the ring: ethtool -G %s rx %d (now %d); not when packets then wait too long in it",
				dev,
				config.RXRingMax,
				config.RXRing,
			),
		}
	case known && config.RXRing > 0 && config.RXRingMax > 0:
		return []string{
			fmt.Sprintf(
				"the ring already has its maximum of %d descriptors: shorten the bursts or add queues; not when the loss is rare",
				config.RXRingMax,
			),
		}
	}
	return []string{
		fmt.Sprintf("see whether the ring can be enlarged (ethtool -g %s); not when packets then wait too long in it", dev),
	}
}
