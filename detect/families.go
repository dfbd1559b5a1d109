package detect

import (
	"cmp"
	"slices"

	"lostbeat/model"
)

// familyKey is what the processes of one program share: their name and the
// kind of port.
type familyKey struct {
	process  string
	protocol model.Protocol
	netns    int64
}

func compareFamilies(a, b familyKey) int {
	return cmp.Or(cmp.Compare(a.process, b.process), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.netns, b.netns))
}

// family is what the processes of one name hold together: a server whose
// children keep a port each leaks as much as one process that keeps many.
type family struct {
	key     familyKey
	members []*holder
	// sum holds what all of them hold, nil while there is one.
	sum *holder
}

// join makes a holder a member of its family. TCP connections have none: each
// worker of a healthy pool keeps some.
func (p *portFacts) join(h *holder) {
	if h.process == "" || h.key.pid <= 0 || h.key.connections {
		return
	}
	k := familyKey{h.process, h.key.protocol, h.key.netns}
	f := p.families[k]
	if f == nil {
		f = &family{key: k}
		p.families[k] = f
	}
	h.family = f
	f.members = append(f.members, h)
	switch {
	case f.sum != nil:
		f.sum.held += h.held
		f.sum.present += h.present
	case f.hasTwo():
		f.sum = &holder{
			key:     holderKey{pid: -1, process: h.process, protocol: k.protocol, netns: k.netns},
			process: h.process,
			family:  f,
		}
		for _, m := range f.members {
			f.sum.held += m.held
			f.sum.present += m.present
		}
		f.sum.id = leakKey(f.sum.key)
	}
}

// hasTwo says that the members are more than one process.
func (f *family) hasTwo() bool {
	return slices.ContainsFunc(f.members, func(m *holder) bool { return m.key.pid != f.members[0].key.pid })
}

// leave takes a holder that is forgotten out of its family.
func (p *portFacts) leave(h *holder) {
	f := h.family
	if f == nil {
		return
	}
	f.members = slices.DeleteFunc(f.members, func(m *holder) bool { return m == h })
	if len(f.members) == 0 {
		delete(p.families, f.key)
	}
}

// growing returns how many members hold more than when observation began, and
// the one that has grown most.
func (f *family) growing() (n int, most *holder) {
	for _, m := range f.members {
		if m.growth() <= 0 {
			continue
		}
		n++
		if most == nil || m.growth() > most.growth() || m.growth() == most.growth() && compareHolders(m.key, most.key) < 0 {
			most = m
		}
	}
	return n, most
}

// isFamily says that the holder stands for the processes of one name.
func (h *holder) isFamily() bool { return h.family != nil && h.family.sum == h }

// owns says that a port counted to o is the holder's.
func (h *holder) owns(o *holder) bool {
	return o == h || h.isFamily() && o != nil && o.family == h.family
}
