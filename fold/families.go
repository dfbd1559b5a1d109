package fold

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

// CompareFamilies orders families by the name of their processes.
func CompareFamilies(a, b *Family) int {
	return cmp.Or(
		cmp.Compare(a.key.process, b.key.process),
		cmp.Compare(a.key.protocol, b.key.protocol),
		cmp.Compare(a.key.netns, b.key.netns),
	)
}

// Family is what the processes of one name hold together: a server whose
// children keep a port each leaks as much as one process that keeps many.
type Family struct {
	key     familyKey
	Members []*Holder
	// Sum holds what all of them hold, nil while there is one.
	Sum *Holder
}

// join makes a holder a member of its family. TCP connections have none: each
// worker of a healthy pool keeps some.
func (p *Ports) join(h *Holder) {
	if h.Process == "" || h.Key.PID <= 0 || h.Key.Connections {
		return
	}
	k := familyKey{h.Process, h.Key.Protocol, h.Key.Netns}
	f := p.Families[k]
	if f == nil {
		f = &Family{key: k}
		p.Families[k] = f
	}
	h.Family = f
	f.Members = append(f.Members, h)
	switch {
	case f.Sum != nil:
		f.Sum.Held += h.Held
		f.Sum.present += h.present
	case f.hasTwo():
		f.Sum = &Holder{
			Key:     holderKey{PID: -1, process: h.Process, Protocol: k.protocol, Netns: k.netns},
			Process: h.Process,
			Family:  f,
		}
		for _, m := range f.Members {
			f.Sum.Held += m.Held
			f.Sum.present += m.present
		}
		f.Sum.ID = holderID(f.Sum.Key)
	}
}

// hasTwo says that the members are more than one process.
func (f *Family) hasTwo() bool {
	return slices.ContainsFunc(f.Members, func(m *Holder) bool { return m.Key.PID != f.Members[0].Key.PID })
}

// leave takes a holder that is forgotten out of its family.
func (p *Ports) leave(h *Holder) {
	f := h.Family
	if f == nil {
		return
	}
	f.Members = slices.DeleteFunc(f.Members, func(m *Holder) bool { return m == h })
	if len(f.Members) == 0 {
		delete(p.Families, f.key)
	}
}

// Growing returns how many members hold more than when observation began, and
// the one that has grown most.
func (f *Family) Growing() (n int, most *Holder) {
	for _, m := range f.Members {
		if m.Growth() <= 0 {
			continue
		}
		n++
		if most == nil || m.Growth() > most.Growth() || m.Growth() == most.Growth() && compareHolders(m.Key, most.Key) < 0 {
			most = m
		}
	}
	return n, most
}

// IsFamily says that the holder stands for the processes of one name.
func (h *Holder) IsFamily() bool { return h.Family != nil && h.Family.Sum == h }

// Owns says that a port counted to o is the holder's.
func (h *Holder) Owns(o *Holder) bool {
	return o == h || h.IsFamily() && o != nil && o.Family == h.Family
}
