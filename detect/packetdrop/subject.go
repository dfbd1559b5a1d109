package packetdrop

import (
	"cmp"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

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
	// gone is what became of the device, as in device events, where that is the cause; empty otherwise.
	gone string
}

// ownPort says that the losses of each port are a fault of their own: whose
// socket it is, or that there is none, is the point.
func ownPort(k fold.DropKey) bool { return k.Place == model.PlaceSocket || k.Reason == reasonNoSocket }

// judgedElsewhere says that another detector knows more about a drop. What it
// leaves is [packetDrop.judgeRests]'s.
func judgedElsewhere(w *detect.Tick, d *fold.Drop) bool {
	if fold.Reported(d.Key.Location) {
		return true // packet-monitor
	}
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

func subjectOf(d *fold.Drop, entry *Reason, match Match) subject {
	k := d.Key
	s := subject{netns: k.Netns, transmit: k.Transmit, place: k.Place, reason: k.Reason, device: k.Device, pid: -1}
	switch {
	case entry.With != "":
		s.reason = entry.With
	case match <= MatchFunction, entry.In != "":
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

// foreseen is how long before a device is seen to be down packets are lost by it already: when the other end of a
// link is taken down, it throws packets away until this end notices.
const foreseen = 3 * time.Second

// goneBy says what became of the device of a drop, as in device events, where
// that is why packets were lost in the second in a slot: they are of a kind that
// is lost then, and either the second lies behind the event, or the first of
// them was lost when it came.
func goneBy(w *detect.Tick, d *fold.Drop, entry *Reason, slot int) string {
	dev := w.Devices[d.Key.Device]
	if dev == nil || !entry.Gone {
		return ""
	}
	ago := model.Time((w.Slot - slot + fold.MaxWindow) % fold.MaxWindow)
	end := (secondOf(w) - ago) * fold.Second
	fits := func(at model.Time, before time.Duration) bool {
		return at != 0 && (end.Sub(at) >= time.Second || d.First >= at.Add(-before))
	}
	switch {
	case fits(dev.Removed, time.Second):
		return model.DeviceRemoved
	case fits(dev.LinkDown, foreseen):
		return model.DeviceLinkDown
	}
	return ""
}

// goneSubject is what the losses by a device that went away have in common.
func goneSubject(d *fold.Drop, what string) subject {
	return subject{netns: d.Key.Netns, transmit: true, place: model.PlaceDevice, device: d.Key.Device, pid: -1, gone: what}
}

// key is the identity of a case.
func (s *subject) key() string {
	parts := []string{s.place.String(), fold.Printable(cmp.Or(s.reason, s.gone, "unknown"))}
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
	drops []part
	// sum is the packets of the window, second those of the second being judged, most those of the worst second.
	sum, second, most uint64
}

// part is a drop and the packets of it that belong to a group, by slot.
type part struct {
	*fold.Drop
	seconds [fold.MaxWindow]uint64
}

// groups adds up the drops that no other finding explains.
func (d *packetDrop) groups(w *detect.Tick) []*group {
	var list []*group
	index := make(map[subject]*group)
	recent := w.Recent()
	take := func(s subject, drop *fold.Drop, entry *Reason, match Match, seconds *[fold.MaxWindow]uint64) {
		g := index[s]
		if g == nil {
			g = &group{subject: s, entry: entry, match: match}
			index[s] = g
			list = append(list, g)
		}
		if entry.Name == s.reason && g.entry.Name != s.reason {
			g.entry, g.match = entry, match // the one that others of the group follow from
		}
		g.drops = append(g.drops, part{drop, *seconds})
	}
	for _, drop := range w.SortedDrops() {
		if drop.Sum == 0 || judgedElsewhere(w, drop) || w.Claimed(detect.DeviceDrops{Device: drop.Key.Device}) {
			continue
		}
		entry, match := lookup(w, &drop.Key)
		if match == MatchNone && w.Windows() {
			entry = &unknownOnWindows
		}
		own, gone, what := split(w, drop, entry, recent)
		if what != "" {
			take(goneSubject(drop, what), drop, goneReasons[what], MatchReason, &gone)
		}
		if entry.Cause != CauseNormal && fold.SumOf(&own, recent) > 0 {
			take(subjectOf(drop, entry, match), drop, entry, match, &own)
		}
	}
	for _, g := range list {
		for _, slot := range recent {
			n := lostIn(g, slot)
			g.sum += n
			g.most = max(g.most, n)
		}
		g.second = lostIn(g, w.Slot)
	}
	return list
}

// split divides the packets of a drop between its reason and what became of its device.
func split(w *detect.Tick, drop *fold.Drop, entry *Reason, recent []int) (
	own, gone [fold.MaxWindow]uint64, what string,
) {
	for _, slot := range recent {
		n := drop.Seconds[slot]
		if n == 0 {
			continue
		}
		if by := goneBy(w, drop, entry, slot); by != "" {
			gone[slot], what = n, by
			continue
		}
		own[slot] = n
	}
	return own, gone, what
}

func lostIn(g *group, slot int) (n uint64) {
	for i := range g.drops {
		n += g.drops[i].seconds[slot]
	}
	return n
}
