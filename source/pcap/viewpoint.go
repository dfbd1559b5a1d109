package pcap

import (
	"net/netip"

	"lostbeat/internal/frame"
)

// Bounds of what is counted to find the host on which packets were captured.
const (
	maxEnds = 1 << 12
	// leastFrames is how many packets have to say which host it is.
	leastFrames = 20
	// nearly is the share of packets that an address has to be in: a few others come from a switch that learns.
	nearly = 0.98
	// router is how many IP addresses are behind a hardware address that is no host's.
	router = 3
)

// viewpoint finds out on which host packets were captured: it is the one end that they have in common.
type viewpoint struct {
	frames   uint64
	macs     map[[6]byte]*end
	packets  uint64
	ips      map[netip.Addr]*end
	loopback uint64
	// said counts packets whose direction the file says.
	said uint64
	// local is the hardware address of the host, or its IP address; neither where that is not known.
	mac    [6]byte
	hasMAC bool
	ip     netip.Addr
}

// end is an address in packets that were sent to one host only.
type end struct {
	count uint64
	// sent says that packets came from it; short that one was shorter than the wire takes, which only the sender sees.
	sent, short bool
	// behind are some of the IP addresses that came from it.
	behind [router]netip.Addr
}

func newViewpoint() *viewpoint {
	return &viewpoint{macs: map[[6]byte]*end{}, ips: map[netip.Addr]*end{}}
}

// leastFrame is the length of the shortest frame that Ethernet carries, without its checksum.
const leastFrame = 60

// add takes a packet of a surveyed file.
func (v *viewpoint) add(p *frame.Packet, length int) {
	if p.Direction != frame.Unknown {
		v.said++
		return
	}
	if p.Source.IsLoopback() && p.Destination.IsLoopback() {
		v.loopback++
		return
	}
	if p.Group() {
		return
	}
	if p.HasMAC && p.SourceMAC != p.DestinationMAC {
		v.frames++
		if e := endOf(v.macs, p.SourceMAC); e != nil {
			e.count++
			e.sent, e.short = true, e.short || length < leastFrame
			e.hide(p.Source)
		}
		if e := endOf(v.macs, p.DestinationMAC); e != nil {
			e.count++
		}
	}
	if p.Source.IsValid() && p.Source != p.Destination {
		v.packets++
		for _, a := range [...]netip.Addr{p.Source, p.Destination} {
			if e := endOf(v.ips, a); e != nil {
				e.count++
			}
		}
	}
}

// endOf returns the end with an address, nil for a new one beyond the bound.
func endOf[A comparable](ends map[A]*end, address A) *end {
	e := ends[address]
	if e == nil && len(ends) < maxEnds {
		e = new(end)
		ends[address] = e
	}
	return e
}

// common returns the addresses that nearly all of so many packets have.
func common[A comparable](ends map[A]*end, packets uint64) (list []A) {
	for address, e := range ends {
		if packets >= leastFrames && float64(e.count) >= nearly*float64(packets) {
			list = append(list, address)
		}
	}
	return list
}

// hide notes an IP address that a hardware address sends from.
func (e *end) hide(a netip.Addr) {
	if !a.IsValid() || a.IsLinkLocalUnicast() {
		return
	}
	for i := range e.behind {
		if e.behind[i] == a {
			return
		}
		if !e.behind[i].IsValid() {
			e.behind[i] = a
			return
		}
	}
}

// router says that more addresses are behind it than a host has.
func (e *end) router() bool { return e.behind[router-1].IsValid() }

// settle decides, once all packets were added.
func (v *viewpoint) settle() {
	macs := common(v.macs, v.frames)
	switch len(macs) {
	case 1:
		v.mac, v.hasMAC = macs[0], true
		return
	case 2:
		a, b := v.macs[macs[0]], v.macs[macs[1]]
		for _, pair := range [...]struct {
			mac       [6]byte
			one, peer *end
		}{{macs[0], a, b}, {macs[1], b, a}} {
			// A router is no host, and frames that are too short for the wire have not been on it yet.
			if pair.peer.router() && !pair.one.router() || pair.one.short && pair.peer.sent && !pair.peer.short {
				if v.hasMAC {
					v.hasMAC = false
					return
				}
				v.mac, v.hasMAC = pair.mac, true
			}
		}
		return
	}
	if v.frames > 0 {
		return
	}
	if ips := common(v.ips, v.packets); len(ips) == 1 {
		v.ip = ips[0]
	}
}

// direct says which way a packet went, where its frame does not.
func (v *viewpoint) direct(p *frame.Packet) {
	if p.Direction != frame.Unknown {
		return
	}
	var from, to bool
	switch {
	case v.hasMAC && p.HasMAC:
		from, to = p.SourceMAC == v.mac, p.DestinationMAC == v.mac
	case v.ip.IsValid():
		from, to = p.Source == v.ip, p.Destination == v.ip
	default:
		return
	}
	switch {
	case from:
		p.Direction = frame.Out
	case to, p.Group():
		p.Direction = frame.In
	}
}
