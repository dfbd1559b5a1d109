package detect

import (
	"cmp"
	"fmt"
	"lostbeat/fold"
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
	device      *fold.Device
	baseRing    uint64
	baseDevice  uint64
	reasons     []fold.ReasonCount
	packets     uint64
	polledBy    []otherCPU
	full, polls uint64
}

// addSecond counts one second of the fault.
func (l *ringLoss) addSecond(s *fold.DeviceSecond) {
	l.packets += s.Packets
	for _, r := range append(slices.Clone(s.RingReasons), s.DeviceReasons...) {
		if len(l.reasons) < 32 {
			l.reasons = fold.AddReason(l.reasons, r)
		}
	}
}

func newRingDrop(s Settings) detector {
	return &ringDrop{s.Ring, s.Starvation, newTracker[ringLoss]("ring-drop", s.Lifecycle)}
}

func (d *ringDrop) tick(w *tick, emit func(model.Finding)) {
	for _, f := range w.SortedDevices() {
		key := f.Key.Name
		if key == "" {
			key = "if" + itoa(f.Key.Ifindex)
		}
		if w.explained[f.Key] && !d.cases.isOpen(key) {
			continue
		}
		drops := f.Sum.Drops()
		var in *incident[ringLoss]
		switch {
		case drops >= d.settings.MinDrops && fold.Ratio(float64(drops), float64(drops+f.Sum.Packets)) >= d.settings.DropShare:
			fresh := d.cases.incidents[key] == nil
			in = d.cases.raise(w, key, w.FirstSecond(func(slot int) bool { return f.Seconds[slot].Drops() > 0 }))
			if fresh {
				in.data = ringLoss{baseRing: f.RingTotal - f.Sum.Ring, baseDevice: f.DeviceTotal - f.Sum.Device}
				// What the window's earlier seconds lost belongs to the fault.
				for _, slot := range w.Recent() {
					if slot != w.Slot && f.Seconds[slot].Drops() > 0 {
						in.data.addSecond(&f.Seconds[slot])
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
		data.addSecond(&f.Seconds[w.Slot])
		data.polledBy, data.full, data.polls = nil, 0, 0
		for _, c := range w.SortedCPUs() {
			for _, n := range c.Sum.NAPI {
				if n.Device == f.Key && n.Polls > 0 {
					data.polledBy = append(
						data.polledBy,
						otherCPU{c.ID, c.Sum.BusyShare(time.Duration(w.WindowSeconds()) * time.Second)},
					)
					data.full += n.Full
					data.polls += n.Polls
				}
			}
		}
	}
	d.cases.settle(w, confirmRing, emit, func(in *incident[ringLoss]) model.Finding { return d.describe(w, in) })
}

func (d *ringDrop) finish(w *tick, emit func(model.Finding)) {
	d.cases.flush(w, emit, func(in *incident[ringLoss]) model.Finding { return d.describe(w, in) })
}

func (d *ringDrop) describe(w *tick, in *incident[ringLoss]) model.Finding {
	data := &in.data
	dev := fold.Printable(data.device.Key.Name)
	if dev == "" {
		dev = "interface " + itoa(data.device.Key.Ifindex)
	}
	ongoing := in.touchedOrOpen()
	ring, device := data.device.RingTotal-data.baseRing, data.device.DeviceTotal-data.baseDevice
	length := max(in.seen.Sub(in.start), time.Second)
	reasons := slices.Clone(data.reasons)
	slices.SortFunc(reasons, func(a, b fold.ReasonCount) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Queue, b.Queue),
			cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Location, b.Location),
		)
	})
	config, known := w.DeviceConfig(data.device.Key)
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
	shareKnown := data.packets > 0 || !w.Windows() // a log need not have the counter of what was received
	if shareKnown {
		share := fold.Ratio(float64(ring+device), float64(ring+device+data.packets))
		f.Title += ", " + percent(share) + " of what arrived"
		f.Evidence = append(f.Evidence, evidence("received meanwhile", float64(data.packets), "packets"))
		if share >= criticalLoss {
			f.Severity = model.SeverityCritical
		}
	}
	if len(reasons) > 0 && reasons[0].Queue >= 0 && ring > 0 {
		f.Subject.Queue = "rx-" + itoa(reasons[0].Queue)
	}
	for _, r := range reasons[:min(len(reasons), 4)] {
		name := fold.Printable(r.Reason)
		if r.Queue >= 0 {
			name += ", queue " + itoa(r.Queue)
		}
		if r.Location != "" {
			name += " at " + fold.Printable(r.Location)
		}
		f.Evidence = append(f.Evidence, evidence(name, float64(r.Count), "packets"))
	}
	var busy *otherCPU
	for i := range data.polledBy {
		if c := &data.polledBy[i]; busy == nil || c.busy > busy.busy {
			busy = c
		}
	}
	full := fold.Ratio(float64(data.full), float64(data.polls))
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
		f.RuledOut = append(f.RuledOut, "counted from: "+fold.Printable(config.RingSource))
	}
	if known && config.RXRing > 0 {
		f.Evidence = append(f.Evidence, evidence("receive descriptors", float64(config.RXRing), "descriptors"))
	}
	return f
}

// enlarge advises a larger ring as far as the device takes one.
func (d *ringDrop) enlarge(w *tick, dev string, config model.DeviceConfig, known bool) []string {
	switch {
	case w.Windows():
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
