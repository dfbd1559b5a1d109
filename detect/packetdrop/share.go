package packetdrop

import (
	"strings"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

// carried is what a device's counter of the direction of a loss rose by in a second.
func (d *packetDrop) carried(w *detect.Tick, device fold.DeviceKey, transmit bool, slot int) uint64 {
	dev := w.Devices[device]
	switch {
	case dev == nil:
		return 0
	case transmit:
		return dev.Seconds[slot].TXPackets
	}
	return dev.Seconds[slot].Packets
}

// isCounted says that the device has counted a packet before it is lost at a place: the counter contains what was
// lost. A received packet is counted by its driver, which loses it in a ring or at the other end of a veth before
// that. A packet to be sent is counted last of all, but for the devices that count what they get before they look
// for a port to send it to.
func isCounted(s *subject, function string) bool {
	if s.transmit {
		return s.reason == "NO_TX_TARGET" || strings.HasPrefix(function, "br_")
	}
	switch s.place {
	case model.PlaceRing, model.PlaceBacklog:
		return false
	case model.PlaceDevice:
		// Without a function it is a driver's statistic: the frame never became a packet.
		return function != "" && !strings.HasSuffix(function, "_xmit") && !strings.HasSuffix(function, "dev_forward_skb")
	}
	return true
}

// total is how many packets there were, of which so many were lost.
func total(s *subject, function string, lost, carried uint64) uint64 {
	if isCounted(s, function) {
		return max(carried, lost) // a reading of the counter may be a moment old
	}
	return carried + lost
}

// share is which part of the packets was lost; false where the device's counter is not known.
func (l *loss) share() (share float64, ok bool) {
	if !l.hasCarried {
		return 0, false
	}
	function := ""
	if len(l.locations.list) > 0 {
		function = l.locations.list[0]
	}
	return fold.Ratio(float64(l.lost), float64(total(&l.subject, function, l.lost, l.carried))), true
}

// windowShare is which part of the window's packets a group lost, from the first second with losses on; 1 where the
// device's counter is not known.
func (d *packetDrop) windowShare(w *detect.Tick, g *group) float64 {
	var lost, carried uint64
	for _, slot := range w.Recent() {
		n := lostIn(g, slot)
		if lost == 0 && n == 0 {
			continue
		}
		lost += n
		carried += d.carried(w, g.device, g.transmit, slot)
	}
	return fold.Ratio(float64(lost), float64(total(&g.subject, g.drops[0].Key.Location, lost, carried)))
}
