package packetdrop

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define("drops", doc, New, nil) }

// New returns the detector.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &packetDrop{settings: s, cases: detect.NewCases[loss](name, l)}
}

// name is the detector's name in findings.
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
}

// loss is one reason for which packets are lost at one place.
type loss struct {
	subject
	reason *Reason
	match  Match
	// lost is all packets since the case began, traffic what the device carried meanwhile.
	lost, traffic uint64
	owners        []owner
	locations     []string
	// removed is when the device went away, 0 never; linkDown when its link went down; what was lost after that.
	removed, linkDown         model.Time
	lostRemoved, lostLinkDown uint64
	// netnsName is the name of the network namespace where the number is not known.
	netnsName string
	// confirmed says what a reading showed in the worst second, ruledOut what it excluded.
	confirmed, ruledOut []string
	full                string
}

// subject is what the packets of one case have in common.
type subject struct {
	netns    uint32
	transmit bool
	place    model.Place
	reason   string
	location string // where the reason says nothing
	device   fold.DeviceKey
	protocol model.Protocol
	port     uint16
	pid      int32
}

// owner is a port or process that lost packets.
type owner struct {
	protocol model.Protocol
	port     uint16
	pid      int32
	process  string
	count    uint64
}

// ownPort says that the losses of each port are a fault of their own: whose
// socket it is, or that there is none, is the point.
func ownPort(k fold.DropKey) bool { return k.Place == model.PlaceSocket || k.Reason == "NO_SOCKET" }

// judgedElsewhere says that another detector knows more about a drop, whatever it finds.
func judgedElsewhere(w *detect.Tick, d *fold.Drop) bool {
	switch d.Key.Place {
	case model.PlaceRing, model.PlaceBacklog:
		return true
	case model.PlaceDevice:
		return w.Windows() // ring-drop: Windows does not tell the two apart
	case model.PlaceSocket:
		return fold.FullQueue(d.Key.Reason)
	}
	return false
}

func subjectOf(d *fold.Drop, match Match) subject {
	k := d.Key
	s := subject{netns: k.Netns, transmit: k.Transmit, place: k.Place, reason: k.Reason, device: k.Device, pid: -1}
	if match <= MatchFunction {
		s.location = k.Location
	}
	if ownPort(k) {
		s.protocol, s.port, s.pid = k.Protocol, k.Port, k.PID
		if k.Place == model.PlaceSocket {
			s.device = fold.DeviceKey{}
		}
	}
	return s
}

// key is the identity of a case.
func (s *subject) key() string {
	parts := []string{s.place.String(), fold.Printable(cmp.Or(s.reason, "unknown"))}
	if s.location != "" {
		parts = append(parts, fold.Printable(s.location))
	}
	if s.device.Name != "" || s.device.Ifindex != 0 {
		parts = append(parts, deviceName(s.device))
	}
	if s.port != 0 {
		parts = append(parts, s.protocol.String()+"/"+words.Itoa(s.port))
	}
	if s.pid > 0 {
		parts = append(parts, "pid"+words.Itoa(s.pid))
	}
	if s.transmit {
		parts = append(parts, "tx")
	}
	if s.netns != 0 {
		parts = append(parts, "netns"+words.Itoa(uint64(s.netns)))
	}
	return strings.Join(parts, "/")
}

func deviceName(k fold.DeviceKey) string {
	if k.Name == "" {
		return "interface " + words.Itoa(k.Ifindex)
	}
	return fold.Printable(k.Name)
}

// group is the drops of one subject in a window.
type group struct {
	subject
	entry *Reason
	match Match
	drops []*fold.Drop
	// sum is the packets of the window, second those of the second being judged.
	sum, second, most uint64
}

// Judge implements detect.Detector.
func (d *packetDrop) Judge(*detect.Tick) {}

// Report implements detect.Detector.
func (d *packetDrop) Report(w *detect.Tick, emit func(model.Finding)) {
	for _, g := range d.groups(w) {
		d.judge(w, g)
	}
	d.judgeListeners(w)
	d.cases.Settle(w, confirmDrops, emit, func(in *detect.Case[loss]) model.Finding { return d.describe(w, in) })
}

// Finish implements detect.Detector.
func (d *packetDrop) Finish(w *detect.Tick, emit func(model.Finding)) {
	d.cases.Flush(w, emit, func(in *detect.Case[loss]) model.Finding { return d.describe(w, in) })
}

// groups adds up the drops that no other finding explains.
func (d *packetDrop) groups(w *detect.Tick) []*group {
	var list []*group
	index := make(map[subject]*group)
	for _, drop := range w.SortedDrops() {
		if drop.Sum == 0 || judgedElsewhere(w, drop) || w.Claimed(detect.DeviceDrops{Device: drop.Key.Device}) {
			continue
		}
		entry, match := Lookup(drop.Key.Reason, drop.Key.Location)
		if entry.Cause == CauseNormal || match == MatchNone && w.Windows() {
			continue
		}
		s := subjectOf(drop, match)
		g := index[s]
		if g == nil {
			g = &group{subject: s, entry: entry, match: match}
			index[s] = g
			list = append(list, g)
		}
		g.drops = append(g.drops, drop)
		g.sum += drop.Sum
		g.second += drop.Seconds[w.Slot]
	}
	for _, g := range list {
		for _, slot := range w.Recent() {
			var n uint64
			for _, drop := range g.drops {
				n += drop.Seconds[slot]
			}
			g.most = max(g.most, n)
		}
	}
	return list
}

// least is the number of packets within the window that makes a fault.
func (d *packetDrop) least(g *group) uint64 {
	switch {
	case g.match == MatchNone:
		return d.settings.MinUnknown
	case g.entry.Healthy:
		return d.settings.MinHealthy
	}
	return d.settings.MinDrops
}

func (d *packetDrop) judge(w *detect.Tick, g *group) {
	key := g.key()
	least := d.least(g)
	traffic := d.traffic(w, g, w.Recent())
	plain := g.sum >= least
	if g.entry.Cause == CauseFilter && g.place == model.PlaceFilter {
		plain = plain && fold.Ratio(float64(g.sum), float64(g.sum+traffic)) >= d.settings.FilterShare
	}
	var in *detect.Case[loss]
	switch {
	case plain:
		fresh := d.cases.Get(key) == nil
		in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return lostIn(g, slot) > 0 }))
		if fresh {
			in.Data = loss{subject: g.subject, reason: g.entry, match: g.match}
			in.Data.lost = g.sum - g.second // what the window's earlier seconds lost belongs to the fault
			in.Data.traffic = traffic - d.traffic(w, g, []int{w.Slot})
			for _, drop := range g.drops {
				in.Data.addOwner(drop, drop.Sum-drop.Seconds[w.Slot])
			}
		}
		if g.most >= sureFactor*least {
			in.Raised = max(in.Raised, confirmDrops)
		}
	case g.second > 0:
		in = d.cases.Keep(w, key)
	}
	if in == nil {
		return
	}
	data := &in.Data
	data.lost += g.second
	data.traffic += d.traffic(w, g, []int{w.Slot})
	for _, drop := range g.drops {
		data.addOwner(drop, drop.Seconds[w.Slot])
		if l := drop.Key.Location; l != "" && len(data.locations) < 8 && !slices.Contains(data.locations, l) {
			data.locations = append(data.locations, l)
		}
	}
	switch dev := w.Devices[g.device]; {
	case dev == nil:
	case dev.Removed != 0:
		data.removed = dev.Removed
		data.lostRemoved += g.second
	case dev.LinkDown != 0:
		data.linkDown = dev.LinkDown
		data.lostLinkDown += g.second
	}
	if in.Worst(float64(g.second)) || len(data.confirmed) == 0 {
		d.confirm(w, data)
	}
	if in.Open || in.Raised >= 1 {
		d.request(w, in)
	}
}

func lostIn(g *group, slot int) (n uint64) {
	for _, drop := range g.drops {
		n += drop.Seconds[slot]
	}
	return n
}

// traffic is what the subject's device carried in the direction of the loss.
func (d *packetDrop) traffic(w *detect.Tick, g *group, slots []int) (n uint64) {
	dev := w.Devices[g.device]
	if dev == nil {
		return 0
	}
	for _, i := range slots {
		if g.transmit {
			n += dev.Seconds[i].TXPackets
		} else {
			n += dev.Seconds[i].Packets
		}
	}
	return n
}

// maxOwners bounds the owners that are told apart.
const maxOwners = 64

func (l *loss) addOwner(d *fold.Drop, n uint64) {
	if n == 0 {
		return
	}
	for i := range l.owners {
		o := &l.owners[i]
		if o.protocol == d.Key.Protocol && o.port == d.Key.Port && o.pid == d.Key.PID {
			o.count += n
			o.process = cmp.Or(o.process, d.Process)
			return
		}
	}
	if len(l.owners) < maxOwners {
		l.owners = append(l.owners, owner{d.Key.Protocol, d.Key.Port, d.Key.PID, d.Process, n})
	}
}

// ranked are the owners that are known, the largest first.
func (l *loss) ranked() []owner {
	list := slices.DeleteFunc(slices.Clone(l.owners), func(o owner) bool { return o.port == 0 && o.pid <= 0 })
	slices.SortFunc(list, func(a, b owner) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.port, b.port), cmp.Compare(a.pid, b.pid),
			cmp.Compare(a.protocol, b.protocol))
	})
	return list
}

func (o *owner) name() string {
	text := ""
	if o.port != 0 {
		text = o.protocol.String() + "/" + words.Itoa(o.port)
	}
	if o.pid > 0 || o.process != "" {
		if text != "" {
			return text + " (" + words.Task(o.process, o.pid) + ")"
		}
		return words.Task(o.process, o.pid)
	}
	return text
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

// describe writes the finding.
func (d *packetDrop) describe(w *detect.Tick, in *detect.Case[loss]) model.Finding {
	data := &in.Data
	length := max(in.Seen.Sub(in.Start), time.Second)
	f := model.Finding{
		Severity: model.SeverityWarning,
		Title:    fmt.Sprintf("%s: %s", d.title(data, in.Ongoing()), lostText(data.lost, length)),
		Subject:  model.Subject{Kind: "drop", CPU: -1, PID: -1, Protocol: protocolText(data.protocol), Port: data.port},
		Causes:   []string{data.reason.Meaning},
		RuledOut: slices.Clone(data.ruledOut),
		Advice:   []string{data.reason.Advice},
	}
	if data.device.Name != "" {
		f.Subject.Device = fold.Printable(data.device.Name)
	}
	f.Subject.Netns = fold.Printable(cmp.Or(w.NetnsName(data.netns), data.netnsName))
	if data.pid > 0 {
		f.Subject.PID = data.pid
	}
	share := fold.Ratio(float64(data.lost), float64(data.lost+data.traffic))
	if data.match == MatchNone {
		f.Severity = model.SeverityInfo
	} else if data.traffic > 0 && share >= d.settings.CriticalLoss && !data.reason.Healthy {
		f.Severity = model.SeverityCritical
	}
	f.Evidence = append(f.Evidence, detect.Evidence("packets lost", float64(data.lost), "packets"))
	if data.traffic > 0 {
		direction := "received"
		if data.transmit {
			direction = "sent"
		}
		f.Evidence = append(f.Evidence,
			detect.Evidence(direction+" by "+deviceName(data.device)+" meanwhile", float64(data.traffic), "packets"))
	}
	owners := data.ranked()
	for _, o := range owners[:min(len(owners), 4)] {
		f.Evidence = append(f.Evidence, detect.Evidence("lost by "+o.name(), float64(o.count), "packets"))
		if f.Subject.PID < 0 && o.pid > 0 {
			f.Subject.PID, f.Subject.Process = o.pid, fold.Printable(o.process)
		}
	}
	where := "reason " + fold.Printable(cmp.Or(data.subject.reason, "not given"))
	if len(data.locations) > 0 {
		where += ", freed in " + fold.Printable(strings.Join(data.locations, ", "))
	}
	f.Causes = append(f.Causes, where)
	if data.subject.reason == reasonNotSpecified {
		f.Causes = append(f.Causes, "the kernel gives no reason here: what happened is concluded from the function")
	}
	f.Causes = append(f.Causes, data.confirmed...)
	if f.Subject.Netns != "" {
		f.Causes = append(f.Causes, "in network namespace "+f.Subject.Netns)
	}
	if gone := d.gone(data); gone != "" {
		f.Causes = append([]string{gone}, f.Causes...)
		f.Advice = []string{"find out who removed the device or took its link down, and what still sends to it (ip route, " +
			"ip neigh); nothing if it was meant to go"}
	}
	return f
}

// wasRemoved says that most was lost after the device had been removed.
func (l *loss) wasRemoved() bool { return l.removed != 0 && 2*l.lostRemoved >= l.lost }

// gone says that the device went away or down while packets were lost by it.
func (d *packetDrop) gone(data *loss) string {
	switch {
	case data.wasRemoved():
		return fmt.Sprintf("%s was removed at %s while packets still went to it",
			deviceName(data.device), data.removed.Std().Format("15:04:05"))
	case 2*data.lostLinkDown >= data.lost && data.linkDown != 0:
		return fmt.Sprintf("the link of %s went down at %s", deviceName(data.device), data.linkDown.Std().Format("15:04:05"))
	}
	return ""
}

func lostText(n uint64, length time.Duration) string {
	return words.Plural(n, "packet") + " lost in " + words.Span(length)
}

func protocolText(p model.Protocol) string {
	if p == model.ProtocolUnknown {
		return ""
	}
	return p.String()
}
