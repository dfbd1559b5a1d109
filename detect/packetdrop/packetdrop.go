package packetdrop

import (
	"cmp"
	_ "embed"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define(name, doc, New, nil) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &packetDrop{
		settings: s, cases: detect.NewCases[loss](name, l), rests: make(map[restKey]*rest),
	}
}

// name is the detector's name, in findings and of its settings.
const name = "packet-drop"

// confirmDrops is the number of ticks in a row that must agree: starvation, the
// rings and the receive queues explain most losses, and speak first.
const confirmDrops = 3

// sureFactor is how many times the least number of packets makes one second proof enough.
const sureFactor = 10

// packetDrop finds packets that the host lost wherever no other finding
// explains them, and says where, why, whose, and what to do.
type packetDrop struct {
	settings Settings
	cases    detect.Cases[loss]
	// flows are the ports at which packets arrive regularly, at the tick being judged.
	flows map[fold.FlowPort]bool
	// rests are what other detectors leave, second by second.
	rests map[restKey]*rest
}

// loss is one reason for which packets are lost at one place.
type loss struct {
	subject
	reason *Reason
	match  Match
	// lost is all packets since the case began. carried is what the device's counter rose by from the first second
	// with losses to the last, and since those what is not known to belong to the fault yet; hasCarried says that
	// there is a counter.
	lost, carried, since uint64
	hasCarried           bool
	// counted is the last tick whose second is in carried or since.
	counted model.Time
	// lossy is how many seconds had losses, lossyAt the last of them.
	lossy   int
	lossyAt model.Time
	// owners lost packets; those beyond maxOwners lost ownersLeft.
	owners     []owner
	ownersLeft uint64
	// reasons and locations are all that were seen.
	reasons, locations names
	// regular says that a flow that comes regularly was hit.
	regular bool
	// at is when the device went away or its link went down, 0 when that is not the cause.
	at model.Time
	// netnsName is the name of the network namespace, which outlives it; empty for the
	// host's and unknown.
	netnsName string
	// confirmed says what a reading showed in the worst second, ruledOut what it excluded.
	confirmed, ruledOut []string
	full                string
	// rest is what another detector leaves, nil where the case is this detector's own.
	rest *rest
}

// Judge implements detect.Detector.
func (d *packetDrop) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *packetDrop) Report(w *detect.Tick, emit func(model.Finding)) {
	groups := d.groups(w)
	d.flows = nil
	if slices.ContainsFunc(groups, func(g *group) bool { return g.entry.Healthy }) {
		d.flows = w.RegularPorts()
	}
	for _, g := range groups {
		d.judge(w, g)
	}
	d.judgeListeners(w)
	d.noteScattered(w, groups)
	d.judgeRests(w)
	for _, in := range d.cases.All() {
		if data := &in.Data; in.Open && !in.Touched && data.rest == nil {
			data.since += d.carried(w, data.device, data.transmit, w.Slot)
		}
	}
	d.cases.Settle(w, confirmDrops, emit, func(in *detect.Case[loss]) model.Finding { return d.describe(w, in) })
}

// Finish implements detect.Detector.
func (d *packetDrop) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, func(in *detect.Case[loss]) model.Finding { return d.describe(w, in) })
}

// least is the number of packets within the window that makes a fault.
func (d *packetDrop) least(g *group, seen bool) uint64 {
	switch {
	case g.match == MatchNone:
		return d.settings.MinUnknown
	case g.entry.Healthy && !seen:
		return d.settings.MinHealthy
	}
	return d.settings.MinDrops
}

func (d *packetDrop) judge(w *detect.Tick, g *group) {
	key := d.keyOf(w, g)
	seen, regular := false, false
	if g.entry.Healthy {
		seen, regular = d.hitsFlow(w, g)
	}
	least := d.least(g, seen)
	plain := g.sum >= least
	if g.entry.Name == reasonListenOverflow {
		plain = plain || d.refuses(w, g.sum, func(slot int) uint64 { return lostIn(g, slot) })
	}
	if g.entry.Cause == CauseFilter && g.place == model.PlaceFilter && !seen {
		plain = plain && d.windowShare(w, g) >= d.settings.FilterShare
	}
	var in *detect.Case[loss]
	switch {
	case plain:
		fresh := d.cases.Get(key) == nil
		in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return lostIn(g, slot) > 0 }))
		if fresh {
			in.Data = d.begin(w, g)
		}
		if g.most >= sureFactor*least && !g.entry.Gone { // what became of the device may be seen a moment later
			in.Raised = max(in.Raised, confirmDrops)
		}
	case g.second > 0:
		in = d.cases.Keep(w, key)
	}
	if in == nil {
		return
	}
	data := &in.Data
	data.regular = data.regular || regular
	netns := cmp.Or(data.netnsName, w.NetnsName(g.netns))
	switch {
	case g.gone != "" && data.gone == "":
		before := *data
		*data = d.begin(w, g)
		data.lost = max(data.lost, before.lost)
	case data.gone == "" && g.entry.Name == g.reason:
		data.reason, data.match = g.entry, g.match
	}
	data.netnsName = netns
	d.addSecond(w, data, g, w.Slot)
	if dev := w.Devices[g.device]; dev != nil && data.at == 0 {
		switch data.gone {
		case model.DeviceRemoved:
			data.at = dev.Removed
		case model.DeviceLinkDown:
			data.at = dev.LinkDown
		}
	}
	if in.Worst(float64(g.second)) || len(data.confirmed) == 0 {
		d.confirm(w, data)
	}
	if in.Open || in.Raised >= 1 {
		d.request(w, in)
	}
}

// begin returns what a case begins with: what the window's earlier seconds lost belongs to the fault.
func (d *packetDrop) begin(w *detect.Tick, g *group) loss {
	data := loss{subject: g.subject, reason: g.entry, match: g.match}
	for _, slot := range w.Recent() {
		if slot != w.Slot && (data.lost > 0 || lostIn(g, slot) > 0) {
			d.addSecond(w, &data, g, slot)
		}
	}
	return data
}

// keyOf is the key of the case of a group. What a device loses that has just gone joins the case of what it began to
// lose shortly before: one fault is one case.
func (d *packetDrop) keyOf(w *detect.Tick, g *group) string {
	dev := w.Devices[g.device]
	if g.gone == "" || dev == nil {
		return g.key()
	}
	at := dev.LinkDown
	if g.gone == model.DeviceRemoved {
		at = dev.Removed
	}
	for _, c := range d.cases.All() {
		data := &c.Data
		switch {
		case data.device != g.device || data.rest != nil:
		case data.gone != "":
			return c.Key
		case data.transmit && data.reason.Gone && c.Start >= at.Add(-foreseen):
			return c.Key
		}
	}
	return g.key()
}

// addSecond adds to a case what was lost in one second.
func (d *packetDrop) addSecond(w *detect.Tick, data *loss, g *group, slot int) {
	if slot != w.Slot || data.counted != w.Now {
		dev := w.Devices[g.device]
		data.hasCarried = data.hasCarried || dev != nil && dev.Seconds[slot].Counted()
		data.since += d.carried(w, g.device, g.transmit, slot)
	}
	if slot == w.Slot {
		data.counted = w.Now
	}
	n := lostIn(g, slot)
	if n == 0 {
		return
	}
	if at := w.Now - model.Time((w.Slot-slot+fold.MaxWindow)%fold.MaxWindow)*fold.Second; data.lossyAt != at {
		data.lossy, data.lossyAt = data.lossy+1, at
	}
	data.lost += n
	data.carried, data.since = data.carried+data.since, 0
	for i := range g.drops {
		p := &g.drops[i]
		if n := p.seconds[slot]; n > 0 {
			data.addOwner(p.Drop, n)
			data.locations.add(p.Key.Location)
			if p.Key.Reason != reasonNotSpecified {
				data.reasons.add(p.Key.Reason)
			}
		}
	}
}

// requestFor is for how long what confirms a case is read again and again.
const requestFor = 10 * time.Second

// request asks for the readings that confirm the cause.
func (d *packetDrop) request(w *detect.Tick, in *detect.Case[loss]) {
	for _, what := range in.Data.reason.Confirm {
		if !slices.Contains(readable[:], what) {
			continue
		}
		w.Request(model.Request{
			Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Netns: int64(in.Data.netns),
			Ifindex: in.Data.device.Ifindex, Name: what, For: requestFor, Finding: in.ID(),
		})
	}
}
