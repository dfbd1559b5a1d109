package ringdrop

import (
	"cmp"
	_ "embed"
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/driverstat"
	"lostbeat/internal/words"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// ringDrop finds packets lost in a device's ring or in the layer just above
// it, and says whether the CPU was too slow or the ring too small for a burst.
type ringDrop struct {
	settings Settings
	cases    detect.Cases[ringLoss]
}

// confirmRing gives starvation, which explains most ring drops, time to speak first.
const confirmRing = 3

type ringLoss struct {
	device *fold.Device
	// netns is the name of its network namespace, empty for the host's and unknown: it outlives the namespace.
	netns string
	// transmit says that the packets were to be sent.
	transmit bool
	lost     uint64
	reasons  []fold.ReasonCount
	// signs are what the driver counted meanwhile that is no loss.
	signs []fold.ReasonCount
	// packets is what the device received, or sent, meanwhile.
	packets     uint64
	polledBy    []fold.BusyCPU
	full, polls uint64
	// gone is what became of the device, as in device events, at the time at, and lostGone what was lost from then on.
	gone     string
	at       model.Time
	lostGone uint64
}

// noteGone notes that the device has been removed or that its link is down: what it loses then is not lost because
// the ring is full.
func (l *ringLoss) noteGone(f *fold.Device, now uint64) {
	switch {
	case l.gone != "":
	case f.Removed != 0:
		l.gone, l.at = model.DeviceRemoved, f.Removed
	case f.LinkDown != 0:
		l.gone, l.at = model.DeviceLinkDown, f.LinkDown
	}
	if l.gone != "" {
		l.lostGone += now
	}
}

// isGone says that most was lost once the device had gone.
func (l *ringLoss) isGone() bool { return l.gone != "" && 2*l.lostGone >= l.lost }

// lostIn returns what was lost in a second or window in one direction, why, and
// what the device carried. Windows does not tell its device layer from the ring.
func lostIn(
	w *detect.Tick, s *fold.DeviceSecond, transmit bool,
) (n uint64, reasons []fold.ReasonCount, packets uint64) {
	switch {
	case transmit:
		return s.RingTX, s.RingTXReasons, s.TXPackets
	case w.Windows():
		return s.Ring + s.Device, append(slices.Clone(s.RingReasons), s.DeviceReasons...), s.Packets
	}
	return s.Ring, s.RingReasons, s.Packets
}

// addSecond counts one second of the fault.
func (l *ringLoss) addSecond(w *detect.Tick, s *fold.DeviceSecond) {
	n, reasons, packets := lostIn(w, s, l.transmit)
	l.lost += n
	l.packets += packets
	for _, r := range reasons {
		if len(l.reasons) < 32 {
			l.reasons = fold.AddReason(l.reasons, r)
		}
	}
	for _, sign := range s.Signs {
		if len(l.signs) < 32 {
			l.signs = fold.AddReason(l.signs, sign)
		}
	}
}

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("ring", doc, New, nil) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &ringDrop{settings: s, cases: detect.NewCases[ringLoss]("ring-drop", l)}
}

// Judge implements detect.Detector.
func (d *ringDrop) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *ringDrop) Report(w *detect.Tick, emit func(model.Finding)) {
	for _, f := range w.SortedDevices() {
		d.judge(w, f, false)
		d.judge(w, f, true)
	}
	d.cases.Settle(w, confirmRing, emit, func(in *detect.Case[ringLoss]) model.Finding { return d.describe(w, in) })
}

// judge decides whether a device's ring loses packets in one direction.
func (d *ringDrop) judge(w *detect.Tick, f *fold.Device, transmit bool) {
	key := f.Key.Name
	if key == "" {
		key = "if" + words.Itoa(f.Key.Ifindex)
	}
	if transmit {
		key += "/tx"
	}
	if f.Key.Netns != 0 {
		key += "/netns" + words.Itoa(uint64(f.Key.Netns))
	}
	if w.Claimed(detect.DeviceDrops{Device: f.Key}) && !d.cases.IsOpen(key) {
		return
	}
	drops, _, packets := lostIn(w, &f.Sum, transmit)
	var in *detect.Case[ringLoss]
	switch {
	case drops >= d.settings.MinDrops && fold.Ratio(float64(drops), float64(drops+packets)) >= d.settings.DropShare:
		fresh := d.cases.Get(key) == nil
		in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool {
			n, _, _ := lostIn(w, &f.Seconds[slot], transmit)
			return n > 0
		}))
		if fresh {
			in.Data = ringLoss{transmit: transmit}
			// What the window's earlier seconds lost belongs to the fault.
			for _, slot := range w.Recent() {
				if n, _, _ := lostIn(w, &f.Seconds[slot], transmit); slot != w.Slot && n > 0 {
					in.Data.addSecond(w, &f.Seconds[slot])
				}
			}
		}
	case drops > 0:
		in = d.cases.Keep(w, key)
	}
	if in == nil {
		return
	}
	w.Claim(detect.RingDrops{Device: f.Key, Transmit: transmit})
	data := &in.Data
	data.device, data.netns = f, cmp.Or(data.netns, w.NetnsName(f.Key.Netns))
	data.addSecond(w, &f.Seconds[w.Slot])
	now, _, _ := lostIn(w, &f.Seconds[w.Slot], transmit)
	data.noteGone(f, now)
	if !in.Worst(float64(now)) || transmit {
		return
	}
	data.polledBy, data.full, data.polls = nil, 0, 0
	for _, c := range w.SortedCPUs() {
		for _, n := range c.Sum.NAPI {
			if n.Device == f.Key && n.Polls > 0 {
				busy := c.Sum.BusyShare(time.Duration(w.WindowSeconds()) * time.Second)
				data.polledBy = append(data.polledBy, fold.BusyCPU{ID: c.ID, Busy: busy})
				data.full += n.Full
				data.polls += n.Polls
			}
		}
	}
}

// Finish implements detect.Detector.
func (d *ringDrop) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, func(in *detect.Case[ringLoss]) model.Finding { return d.describe(w, in) })
}

func (d *ringDrop) describe(w *detect.Tick, in *detect.Case[ringLoss]) model.Finding {
	data := &in.Data
	dev := fold.Printable(data.device.Key.Name)
	if dev == "" {
		dev = "interface " + words.Itoa(data.device.Key.Ifindex)
	}
	ongoing := in.Ongoing()
	length := max(in.Seen.Sub(in.Start), time.Second)
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
	where, carried, ofWhat := "its ring", "received in that time", " of what arrived"
	if data.transmit {
		where, carried, ofWhat = "its transmit ring", "sent in that time", " of what it had to send"
	}
	whose := dev
	if data.netns != "" {
		whose += " in network namespace " + fold.Printable(data.netns)
	}
	f := model.Finding{
		Severity: model.SeverityWarning,
		Title: fmt.Sprintf(
			"%s %s packets in %s: %s in %s",
			whose,
			words.Tense(ongoing, "loses", "lost"),
			where,
			words.Number(data.lost),
			words.Span(length),
		),
		Subject:  model.Subject{Kind: "device", Device: dev, CPU: -1, PID: -1, Netns: fold.Printable(data.netns)},
		Evidence: []model.Evidence{detect.Evidence("lost in the ring", float64(data.lost), "packets")},
	}
	shareKnown := data.packets > 0 || !w.Windows() // a log need not have the counter of what was received
	if shareKnown {
		share := fold.Ratio(float64(data.lost), float64(data.lost+data.packets))
		f.Title += ", " + words.Percent(share) + ofWhat
		f.Evidence = append(f.Evidence, detect.Evidence(carried, float64(data.packets), "packets"))
		if share >= detect.CriticalLoss {
			f.Severity = model.SeverityCritical
		}
	}
	if len(reasons) > 0 && reasons[0].Queue >= 0 {
		f.Subject.Queue = words.Tense(!data.transmit, "rx-", "tx-") + words.Itoa(reasons[0].Queue)
	}
	for _, r := range reasons[:min(len(reasons), 4)] {
		name := fold.Printable(r.Reason)
		if r.Queue >= 0 {
			name += ", queue " + words.Itoa(r.Queue)
		}
		if r.Location != "" {
			name += " at " + fold.Printable(r.Location)
		}
		f.Evidence = append(f.Evidence, detect.Evidence(name, float64(r.Count), "packets"))
	}
	var busy *fold.BusyCPU
	for i := range data.polledBy {
		if c := &data.polledBy[i]; busy == nil || c.Busy > busy.Busy {
			busy = c
		}
	}
	full := fold.Ratio(float64(data.full), float64(data.polls))
	switch {
	case data.isGone():
		d.describeGone(&f, data, dev)
	case data.transmit:
		f.Causes = []string{
			"The driver did not accept packets for transmission: its ring was full, or the link was slow or down",
		}
		f.Advice = []string{
			fmt.Sprintf("check the device's own counters and its link (ip -s link show %s, ethtool -S %s), unless "+
				"the link was down on purpose", dev, dev),
		}
	case busy != nil && (busy.Busy >= d.settings.BusyShare || full >= d.settings.FullPollShare):
		f.Subject.CPU = busy.ID
		f.Evidence = append(
			f.Evidence,
			detect.Evidence(fmt.Sprintf("CPU %d busy", busy.ID), busy.Busy, "ratio"),
			detect.Evidence("polls that used their whole budget", full, "ratio"),
		)
		f.Causes = []string{
			fmt.Sprintf(
				"The ring fills because CPU %d, which empties it, is %s busy; %s of the polls left packets behind",
				busy.ID,
				words.Percent(busy.Busy),
				words.Percent(full),
			),
		}
		f.Advice = []string{
			"move work off that CPU (more queues, IRQ affinity, RPS), or reduce the traffic at the sender",
			"a larger ring helps only with bursts, not while the CPU is saturated",
		}
	case busy != nil:
		f.Evidence = append(f.Evidence, detect.Evidence(fmt.Sprintf("CPU %d busy", busy.ID), busy.Busy, "ratio"))
		f.Causes = []string{
			fmt.Sprintf(
				"Bursts fill the ring before it is polled: CPU %d, which empties it, has spare time (%s busy)",
				busy.ID,
				words.Percent(busy.Busy),
			),
		}
		f.RuledOut = []string{"a slow CPU: it is idle in between"}
		f.Advice = d.enlarge(w, dev, config, known)
	default:
		f.Causes = []string{
			"Which CPU empties the ring was not observed, so a slow CPU and a burst cannot be told apart",
		}
		f.Advice = d.enlarge(w, dev, config, known)
	}
	if !shareKnown {
		f.Causes = append(f.Causes, "The capture does not say how much was received, so the lost share is unknown")
	}
	if known && !data.isGone() {
		explain(&f, data, dev, config.Driver, reasons)
	}
	if known && config.RingSource != "" {
		f.Causes = append(f.Causes, "Counted from: "+fold.Printable(config.RingSource))
	}
	if known && config.RXRing > 0 {
		f.Evidence = append(f.Evidence, detect.Evidence("receive descriptors", float64(config.RXRing), "descriptors"))
	}
	return f
}

// explain adds what the driver's statistics mean, and what else it counted.
func explain(f *model.Finding, data *ringLoss, dev, driver string, reasons []fold.ReasonCount) {
	var told []string
	for _, r := range reasons {
		s := driverstat.Explain(driver, r.Reason)
		if s == nil || slices.Contains(told, s.Meaning) {
			continue
		}
		told = append(told, s.Meaning)
		f.Causes = append(f.Causes, fold.Printable(r.Reason)+": "+s.Meaning)
		if s.Class == driverstat.Buffer {
			f.Advice = append(f.Advice, s.AdviceFor(dev))
		}
	}
	for _, sign := range data.signs {
		s := driverstat.Explain(driver, sign.Reason)
		if s == nil || data.transmit {
			continue
		}
		f.Evidence = append(f.Evidence, detect.Evidence(fold.Printable(sign.Reason), float64(sign.Count), "events"))
		if s.Class != driverstat.Occasion {
			f.Causes = append(f.Causes, fmt.Sprintf("%s rose by %s: %s", fold.Printable(sign.Reason),
				words.Number(sign.Count), s.Meaning))
		}
	}
}

// describeGone writes the finding of a device that was removed or whose link went down.
func (d *ringDrop) describeGone(f *model.Finding, data *ringLoss, dev string) {
	f.Severity = model.SeverityWarning
	at := data.at.Std().Format("15:04:05")
	_, lost, _ := strings.Cut(f.Title, ": ")
	if data.gone == model.DeviceRemoved {
		f.Title = dev + " was removed while packets were passing through it: " + lost
		f.Causes = []string{dev + " was removed at " + at + ": its ring was emptied, not overrun"}
		f.Advice = []string{"find out what removed the device, unless it was removed on purpose"}
		return
	}
	f.Title = dev + " lost packets while its link was down: " + lost
	f.Causes = []string{"The link of " + dev + " went down at " + at + ": its ring was not overrun"}
	f.Advice = []string{
		"find out why the link went down (cable, switch, peer), unless it was taken down on purpose",
	}
}

// enlarge advises a larger ring as far as the device takes one.
func (d *ringDrop) enlarge(w *detect.Tick, dev string, config model.DeviceConfig, known bool) []string {
	switch {
	case w.Windows():
		return []string{
			fmt.Sprintf(
				"check whether the ring can be enlarged (Get-NetAdapterAdvancedProperty of %s, Receive Buffers); packets may "+
					"then wait longer in it",
				dev,
			),
		}
	case known && config.RXRing > 0 && config.RXRing < config.RXRingMax:
		return []string{
			fmt.Sprintf(
				"enlarge the ring: ethtool -G %s rx %d (now %d); packets may then wait longer in it",
				dev,
				config.RXRingMax,
				config.RXRing,
			),
		}
	case known && config.RXRing > 0 && config.RXRingMax > 0:
		return []string{
			fmt.Sprintf(
				"the ring already has its maximum of %s descriptors: shorten the bursts or add queues, unless the loss is rare",
				words.Number(config.RXRingMax),
			),
		}
	}
	return []string{
		fmt.Sprintf("check whether the ring can be enlarged (ethtool -g %s); packets may then wait longer in it", dev),
	}
}
