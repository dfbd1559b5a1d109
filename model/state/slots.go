package state

import "lostbeat/model"

// slots count how often each port is held and how often it rests. Ports that
// are in use lie close together: they stand in pages.
type slots map[slotPage]*page

// slotPage are pagePorts neighbouring ports.
type slotPage struct {
	netns    int64
	protocol model.Protocol
	number   uint16
}

const pagePorts = 16

type page struct {
	uses [pagePorts]slotUse
	// inUse is the number of uses that are not zero.
	inUse int
}

// slotUse is how often a port is held, by several sockets for example, and how
// often it rests.
type slotUse struct{ held, resting int32 }

// change changes by n how often p's port is held or rests, and returns its use
// before and after.
func (s slots) change(p *Port, n int32) (before, after slotUse) {
	k := slotPage{p.Netns, p.Protocol, p.LocalPort / pagePorts}
	of := s[k]
	if of == nil {
		of = &page{}
		s[k] = of
	}
	u := &of.uses[p.LocalPort%pagePorts]
	before = *u
	if p.Resting {
		u.resting += n
	} else {
		u.held += n
	}
	switch zero := (slotUse{}); {
	case before == zero && *u != zero:
		of.inUse++
	case before != zero && *u == zero:
		of.inUse--
	}
	if of.inUse == 0 {
		delete(s, k)
	}
	return before, *u
}

// Holders returns how many sockets hold a port, those of accepted connections
// left out.
func (s *State) Holders(protocol model.Protocol, netns int64, port uint16) int {
	of := s.slots[slotPage{netns, protocol, port / pagePorts}]
	if of == nil {
		return 0
	}
	return int(of.uses[port%pagePorts].held)
}

// each calls f for every port in use.
func (s slots) each(f func(protocol model.Protocol, netns int64, port uint16, u slotUse)) {
	for k, of := range s {
		for i, u := range of.uses {
			if u != (slotUse{}) {
				f(k.protocol, k.netns, k.number*pagePorts+uint16(i), u)
			}
		}
	}
}
