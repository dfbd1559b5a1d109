package packetdrop

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// restKey is a place whose losses another detector judges, or many ports that each lose a little.
type restKey struct {
	place    model.Place
	device   fold.DeviceKey
	transmit bool
	cpu      int32
	socket   fold.SocketKey
	reason   string
	netns    uint32
}

func compareRests(a, b restKey) int {
	flag := func(t bool) int {
		if t {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.place, b.place),
		cmp.Compare(a.reason, b.reason),
		fold.CompareDevices(a.device, b.device),
		cmp.Compare(flag(a.transmit), flag(b.transmit)),
		cmp.Compare(a.cpu, b.cpu),
		fold.CompareSockets(a.socket, b.socket),
		cmp.Compare(a.netns, b.netns),
	)
}

// restSeconds is over how many seconds what others leave is added up.
const restSeconds = 60

// maxRests bounds the places that are told apart.
const maxRests = 256

// rest is what a place lost that is too little, or too spread out, for its own detector.
type rest struct {
	key     restKey
	subject string // what loses, for a sentence
	seconds [restSeconds]uint64
	last    model.Time
	// sum is the packets of the last minute, lossy the seconds of it with a loss.
	sum   uint64
	lossy uint64
	// ports lost something at portsAt.
	ports   int
	portsAt model.Time
	pid     int32
	// port and protocol are the socket's.
	port     uint16
	protocol model.Protocol
}

// secondOf numbers the second being judged.
func secondOf(w *detect.Tick) model.Time { return (w.Now + fold.Second - 1) / fold.Second }

// note adds packets of the second being judged, one at least. A place of which another detector speaks has no rest.
func (d *packetDrop) note(w *detect.Tick, k restKey, n uint64, told bool) *rest {
	r := d.rests[k]
	if told {
		delete(d.rests, k)
		return nil
	}
	if r == nil {
		if len(d.rests) >= maxRests {
			w.LeaveOut("places with small losses")
			return nil
		}
		r = &rest{key: k, pid: -1}
		d.rests[k] = r
	}
	r.seconds[secondOf(w)%restSeconds] += n
	r.last = w.Now
	return r
}

// judgeRests finds losses that no detector reports because they stay below its
// thresholds, and that are sustained or large all the same.
func (d *packetDrop) judgeRests(w *detect.Tick) {
	d.noteRests(w)
	now := secondOf(w)
	for _, k := range slices.SortedFunc(maps.Keys(d.rests), compareRests) {
		r := d.rests[k]
		if w.Now.Sub(r.last) >= restSeconds*time.Second {
			delete(d.rests, k)
			continue
		}
		if r.last != w.Now {
			continue
		}
		r.sum, r.lossy = 0, 0
		for _, n := range r.seconds {
			r.sum += n
			r.lossy += min(n, 1)
		}
		second := r.seconds[now%restSeconds]
		key := r.caseKey()
		var in *detect.Case[loss]
		if d.isMuch(w, r) {
			fresh := d.cases.Get(key) == nil
			in = d.cases.Raise(w, key, r.first(now))
			if fresh {
				in.Data = loss{rest: r, lost: r.sum - second, subject: subject{pid: -1}}
			}
			in.Raised = max(in.Raised, confirmDrops) // a minute is proof enough
		} else {
			in = d.cases.Keep(w, key)
		}
		if in != nil {
			in.Data.rest = r
			in.Data.lost += second
		}
	}
	// The next second takes the place of the oldest one.
	next := (now + 1) % restSeconds
	for _, r := range d.rests {
		r.seconds[next] = 0
	}
}

// isMuch says that a rest is sustained or large. Of what many ports lose, only the second counts: each host hears
// some packets for ports that are closed.
func (d *packetDrop) isMuch(w *detect.Tick, r *rest) bool {
	if r.key.reason == "" {
		return r.sum >= d.settings.MinRest || r.lossy >= d.settings.SustainedSeconds
	}
	var sum uint64
	for ago := range min(w.WindowSeconds(), restSeconds) {
		sum += r.seconds[(secondOf(w)-model.Time(ago)+restSeconds)%restSeconds]
	}
	return sum >= d.settings.MinRest
}

// first is when the oldest second with a loss began.
func (r *rest) first(now model.Time) model.Time {
	for ago := model.Time(restSeconds - 1); ago > 0; ago-- {
		if r.seconds[(now-ago+restSeconds)%restSeconds] > 0 {
			return (now - ago - 1) * fold.Second
		}
	}
	return (now - 1) * fold.Second
}

// noteRests adds up what the other detectors leave in the second being judged. They have spoken before: this
// detector is behind them in the list.
func (d *packetDrop) noteRests(w *detect.Tick) {
	for _, dev := range w.SortedDevices() {
		second := &dev.Seconds[w.Slot]
		received := second.Ring
		if w.Windows() {
			received += second.Device
		}
		for _, transmit := range []bool{false, true} {
			n := received
			if transmit {
				n = second.RingTX
			}
			if n == 0 {
				continue
			}
			told := w.Claimed(detect.DeviceDrops{Device: dev.Key}) ||
				w.Claimed(detect.RingDrops{Device: dev.Key, Transmit: transmit})
			k := restKey{place: model.PlaceRing, device: dev.Key, transmit: transmit}
			if r := d.note(w, k, n, told); r != nil {
				r.subject = deviceName(dev.Key)
			}
		}
	}
	for _, c := range w.SortedCPUs() {
		n := c.Seconds[w.Slot].Softnet.Dropped
		if n == 0 {
			continue
		}
		k := restKey{place: model.PlaceBacklog, cpu: c.ID}
		if r := d.note(w, k, n, w.Claimed(detect.BacklogDrops{CPU: c.ID})); r != nil {
			r.subject = "CPU " + words.Itoa(c.ID)
		}
	}
	noted := 0
	for _, s := range w.SortedSockets() {
		n := s.Seconds[w.Slot].Drops()
		if n == 0 {
			continue
		}
		if noted++; noted > 2*maxRests { // nobody reads so many
			w.LeaveOut("places with small losses")
			break
		}
		k := restKey{place: model.PlaceSocket, socket: s.Key}
		if r := d.note(w, k, n, w.Claimed(detect.SocketDrops{Socket: s.Key})); r != nil {
			r.subject, r.pid, r.port, r.protocol = words.Socket(s), s.PID, s.Port, s.Protocol
		}
	}
}

// noteScattered adds up what many ports lose for one reason, each of them too little for a case of its own.
func (d *packetDrop) noteScattered(w *detect.Tick, groups []*group) {
	for _, g := range groups {
		if g.port == 0 && g.pid <= 0 || g.second == 0 || d.cases.Get(g.key()) != nil {
			continue
		}
		k := restKey{place: g.place, device: g.device, reason: g.reason, netns: g.netns, transmit: g.transmit}
		if r := d.note(w, k, g.second, false); r != nil {
			r.subject = deviceName(g.device)
			if r.portsAt != w.Now {
				r.ports, r.portsAt = 0, w.Now
			}
			r.ports++
		}
	}
}

func (r *rest) caseKey() string {
	k := r.key
	text := "rest/" + k.place.String()
	switch {
	case k.reason != "":
		text += "/" + fold.Printable(k.reason) + "/" + deviceName(k.device)
	case k.place == model.PlaceBacklog:
		text += "/cpu" + words.Itoa(k.cpu)
	case k.place == model.PlaceSocket:
		text += fmt.Sprintf("/%s/%d/pid%d/%x", r.protocol, r.port, r.pid, k.socket.Cookie)
	default:
		text += "/" + deviceName(k.device)
	}
	if k.transmit {
		text += "/tx"
	}
	if n := cmp.Or(k.netns, k.device.Netns); n != 0 {
		text += "/netns" + words.Itoa(uint64(n))
	}
	return text
}

// describeRest writes the note on what other detectors leave.
func (d *packetDrop) describeRest(w *detect.Tick, in *detect.Case[loss]) model.Finding {
	r, ongoing := in.Data.rest, in.Ongoing()
	k := r.key
	loses := words.Tense(ongoing, "loses", "lost")
	f := model.Finding{
		Severity: model.SeverityInfo,
		Subject:  model.Subject{Kind: "drop", CPU: -1, PID: -1, Device: fold.Printable(k.device.Name)},
	}
	below := func(settings, where string) {
		f.Title = fmt.Sprintf("%s %s a small part of its packets %s", r.subject, loses, where)
		f.Causes = []string{"The loss is too small for a verdict (" + settings + "), but it is sustained or large."}
	}
	switch {
	case k.reason != "":
		entry, _ := Lookup(k.reason, "")
		f.Title = "Many ports " + words.Tense(ongoing, "lose", "lost") + " a few packets each"
		if k.reason == reasonNoSocket {
			f.Title = fmt.Sprintf("Packets %s for many closed ports", words.Tense(ongoing, "arrive", "arrived"))
		}
		if r.subject != "" && k.device.Ifindex != 0 {
			f.Title += " on " + r.subject
		}
		f.Causes = []string{entry.Meaning}
		f.Advice = []string{entry.Advice}
		if k.reason == reasonNoSocket {
			f.Advice = []string{"No action is needed if it is a scan, or late answers to sockets that have closed. Find the " +
				"sender (tcpdump) if it lasts."}
		}
	case k.place == model.PlaceBacklog:
		f.Subject.Kind, f.Subject.CPU = "cpu", k.cpu
		below("starvation.min_drops, starvation.drop_share", "at its backlog")
		f.Advice = []string{"No action is needed if no program misses them. Compare /proc/net/softnet_stat before and after."}
	case k.place == model.PlaceSocket:
		f.Subject.PID, f.Subject.Port, f.Subject.Protocol = r.pid, r.port, protocolText(r.protocol)
		below("socket.min_drops", "at its receive queue")
		f.Advice = []string{"Find out whether the program reads in time. No action is needed if it can do without them."}
	default:
		f.Subject.Kind = "device"
		below("ring.min_drops, ring.drop_share", words.Tense(k.transmit, "in its transmit ring", "in its ring"))
		f.Advice = []string{"Compare the device's own counters (ethtool -S). No action is needed if no program misses the " +
			"packets."}
		if w.Windows() {
			f.Advice = []string{"Compare the adapter's counters (Get-NetAdapterStatistics). No action is needed if no " +
				"program misses the packets."}
		}
	}
	f.Title += fmt.Sprintf(": %s in %s", words.Number(in.Data.lost), words.Span(max(in.Seen.Sub(in.Start), time.Second)))
	f.Evidence = []model.Evidence{
		detect.Evidence("packets lost", float64(in.Data.lost), "packets"),
		detect.Evidence("packets lost in the last minute", float64(r.sum), "packets"),
		detect.Evidence("seconds of it with a loss", float64(r.lossy), "seconds"),
	}
	if r.ports > 1 {
		f.Evidence = append(f.Evidence, detect.Evidence("ports in the last second", float64(r.ports), "ports"))
	}
	f.Subject.Netns = fold.Printable(w.NetnsName(cmp.Or(k.netns, k.device.Netns)))
	if f.Subject.Netns != "" {
		f.Causes = append(f.Causes, "In network namespace "+f.Subject.Netns+".")
	}
	return f
}
