package state

import "lostbeat/model"

// slots count how often each port is held and how often it rests. Ports that
// are in use lie close together: they stand in pages. Nearly all counts are
// small, and take two bytes; the few others stand in many.
type slots struct {
	pages map[slotPage]*page
	many  map[slotKey]slotUse
}

// slotPage are pagePorts neighbouring ports.
type slotPage struct {
	netns    int64
	protocol model.Protocol
	number   uint16
}

// slotKey is one port.
type slotKey struct {
	slotPage
	place uint16
}

const pagePorts = 64

type page struct {
	uses [pagePorts]smallUse
	// inUse is the number of uses that are not zero.
	inUse uint8
}

// smallUse is a slotUse that fits; the value inMany stands for one that does not.
type smallUse struct{ held, resting uint8 }

// inMany is the smallUse of a port whose slotUse is in slots.many.
var inMany = smallUse{255, 255}

// slotUse is how often a port is held, by several sockets for example, and how
// often it rests.
type slotUse struct{ held, resting int32 }

// small says that u fits into a smallUse.
func (u slotUse) small() bool {
	return u.held >= 0 && u.resting >= 0 && u.held < 255 && u.resting < 255
}

func newSlots() slots { return slots{pages: make(map[slotPage]*page)} }

// use returns the use of a port of a page.
func (s *slots) use(k slotPage, of *page, place uint16) slotUse {
	if u := of.uses[place]; u != inMany {
		return slotUse{int32(u.held), int32(u.resting)}
	}
	return s.many[slotKey{k, place}]
}

// change changes by n how often p's port is held or rests, and returns its use
// before and after.
func (s *slots) change(p *Port, n int32) (before, after slotUse) {
	k, place := slotPage{p.Netns, p.Protocol, p.LocalPort / pagePorts}, p.LocalPort%pagePorts
	of := s.pages[k]
	if of == nil {
		of = &page{}
		s.pages[k] = of
	}
	before = s.use(k, of, place)
	after = before
	if p.Resting {
		after.resting += n
	} else {
		after.held += n
	}
	if after.small() {
		if of.uses[place] == inMany {
			delete(s.many, slotKey{k, place})
		}
		of.uses[place] = smallUse{uint8(after.held), uint8(after.resting)}
	} else {
		if s.many == nil {
			s.many = make(map[slotKey]slotUse)
		}
		of.uses[place], s.many[slotKey{k, place}] = inMany, after
	}
	switch zero := (slotUse{}); {
	case before == zero && after != zero:
		of.inUse++
	case before != zero && after == zero:
		of.inUse--
	}
	if of.inUse == 0 {
		delete(s.pages, k)
	}
	return before, after
}

// Holders returns how many sockets hold a port, those of accepted connections
// left out.
func (s *State) Holders(protocol model.Protocol, netns int64, port uint16) int {
	return int(s.slots.at(protocol, netns, port).held)
}

// Rests returns how many closed sockets keep a port at rest.
func (s *State) Rests(protocol model.Protocol, netns int64, port uint16) int {
	return int(s.slots.at(protocol, netns, port).resting)
}

// at returns what has a port.
func (s *slots) at(protocol model.Protocol, netns int64, port uint16) slotUse {
	k := slotPage{netns, protocol, port / pagePorts}
	of := s.pages[k]
	if of == nil {
		return slotUse{}
	}
	return s.use(k, of, port%pagePorts)
}

// each calls f for every port in use.
func (s *slots) each(f func(protocol model.Protocol, netns int64, port uint16, u slotUse)) {
	for k, of := range s.pages {
		for place := range uint16(pagePorts) {
			if u := s.use(k, of, place); u != (slotUse{}) {
				f(k.protocol, k.netns, k.number*pagePorts+place, u)
			}
		}
	}
}
