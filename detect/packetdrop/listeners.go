package packetdrop

import (
	"strings"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// listenOverflows is the kernel's counter of connections that a full accept
// queue refused. Not all of them come as a drop with a reason.
const listenOverflows = "TcpExt.ListenOverflows"

// reasonListenOverflow is the reason of those that do.
const reasonListenOverflow = "TCP_LISTEN_OVERFLOW"

// judgeListeners finds accept queues that are full, by the kernel's counter for
// each network namespace; drops that name the socket say more, and come first.
func (d *packetDrop) judgeListeners(w *detect.Tick) {
	for _, c := range w.ProtocolCounters(listenOverflows) {
		if c.Sum == 0 {
			continue
		}
		s := subject{
			netns: w.NetnsInode(c.Key.Netns), place: model.PlaceSocket, reason: reasonListenOverflow,
			protocol: model.ProtocolTCP, pid: -1,
		}
		if d.dropsOverflow(w, s.netns) {
			continue
		}
		key := "counted/" + reasonListenOverflow + "/" + fold.Printable(c.Key.Netns)
		entry, match := Lookup(reasonListenOverflow, "")
		var in *detect.Case[loss]
		switch {
		case c.Sum >= d.settings.MinDrops, d.refuses(w, c.Sum, func(slot int) uint64 { return c.Seconds[slot] }):
			fresh := d.cases.Get(key) == nil
			in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return c.Seconds[slot] > 0 }))
			if fresh {
				in.Data = loss{subject: s, reason: entry, match: match, lost: c.Sum - c.Seconds[w.Slot]}
			}
		case c.Seconds[w.Slot] > 0:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		data := &in.Data
		data.lost += c.Seconds[w.Slot]
		data.netns, data.netnsName = s.netns, c.Key.Netns
		if s.netns == 0 && c.Key.Netns != "" {
			continue // its number is not known yet: nothing can be read there
		}
		if in.Worst(float64(c.Seconds[w.Slot])) || data.port == 0 {
			d.fullListener(w, data)
			d.confirm(w, data)
		}
		d.request(w, in)
	}
}

// refuses says that a full accept queue refuses connections again and again; sum is how many in the window, in those of
// one second. Their clients try rarely: what is lost in a second is little.
func (d *packetDrop) refuses(w *detect.Tick, sum uint64, in func(slot int) uint64) bool {
	seconds := 0
	for _, slot := range w.Recent() {
		if in(slot) > 0 {
			seconds++
		}
	}
	return sum >= d.settings.MinRefused && seconds > 1
}

// dropsOverflow says that a drop event of the window has a full accept queue as its reason.
func (d *packetDrop) dropsOverflow(w *detect.Tick, netns uint32) bool {
	for _, drop := range w.SortedDrops() {
		if drop.Sum > 0 && drop.Key.Reason == reasonListenOverflow && (netns == 0 || drop.Key.Netns == netns) {
			return true
		}
	}
	return false
}

// fullListener takes the port of the fullest accept queue from what was read.
func (d *packetDrop) fullListener(w *detect.Tick, data *loss) {
	keys, values := w.Readings(ReadListenQueue, int64(data.netns))
	most := 0.0
	for i, v := range values {
		if v.Value <= v.Limit || v.Value <= most {
			continue
		}
		at := strings.LastIndexByte(keys[i].Instance, ':')
		if port, ok := words.Port(keys[i].Instance[at+1:]); ok {
			most, data.port = v.Value, port
		}
	}
}
