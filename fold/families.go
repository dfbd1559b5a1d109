package fold

import (
	"cmp"
	"slices"
	"strconv"

	"lostbeat/model"
	"lostbeat/model/state"
)

// Program is what tells the processes of one interpreter apart: the name of the
// executable, its command line without numbers, and the parent process. What is
// not known of a process is empty, and equal among such processes.
type Program struct {
	Name    string
	Cmdline string
	Parent  int64
}

// programOf returns the program of a process that has the given name.
func programOf(st *state.State, pid int32, name string) Program {
	p, known := st.Processes[pid]
	if !known || p.Name != name {
		return Program{Name: name}
	}
	return Program{name, model.WithoutNumbers(p.Cmdline), p.PPID}
}

// familyKey is what the processes of a family share: their program and the
// kind of port.
type familyKey struct {
	program  Program
	protocol model.Protocol
	netns    int64
}

// CompareFamilies orders families by their program.
func CompareFamilies(a, b *Family) int {
	return cmp.Or(
		cmp.Compare(a.key.program.Name, b.key.program.Name),
		cmp.Compare(a.key.protocol, b.key.protocol),
		cmp.Compare(a.key.netns, b.key.netns),
		cmp.Compare(a.key.program.Cmdline, b.key.program.Cmdline),
		cmp.Compare(a.key.program.Parent, b.key.program.Parent),
	)
}

// Family is what the processes of one program hold together: a server whose
// children keep a port each leaks as much as one process that keeps many.
type Family struct {
	key     familyKey
	Members []*Holder
	// Sum holds what all of them hold, nil while there is one.
	Sum *Holder
}

// join makes a holder a member of its family. TCP connections have none: each
// worker of a healthy pool keeps some.
func (p *Ports) join(st *state.State, h *Holder) {
	if h.Process == "" || h.Key.PID <= 0 {
		return
	}
	h.Program = programOf(st, h.Key.PID, h.Process)
	if h.Key.Connections {
		return
	}
	k := familyKey{h.Program, h.Key.Protocol, h.Key.Netns}
	f := p.Families[k]
	if f == nil {
		f = &Family{key: k}
		p.Families[k] = f
	}
	h.Family = f
	f.Members = append(f.Members, h)
	switch {
	case f.Sum != nil:
		f.Sum.add(h)
	case f.hasTwo():
		f.Sum = &Holder{
			Key:     holderKey{PID: -1, process: h.Process, Protocol: k.protocol, Netns: k.netns},
			Process: h.Process,
			Program: h.Program,
			Family:  f,
		}
		for _, m := range f.Members {
			f.Sum.add(m)
		}
		// Families of one interpreter are told apart by their first process.
		f.Sum.ID = holderID(f.Sum.Key) + "/from" + strconv.Itoa(int(f.Members[0].Key.PID))
	}
}

// add takes up what a member holds and has taken so far.
func (h *Holder) add(m *Holder) {
	h.Held += m.Held
	h.present += m.present
	for how, n := range m.How {
		h.How[how] += n
	}
	if h.First == 0 || m.First != 0 && m.First < h.First {
		h.First = m.First
	}
	h.last = max(h.last, m.last)
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

// IsFamily says that the holder stands for the processes of one program.
func (h *Holder) IsFamily() bool { return h.Family != nil && h.Family.Sum == h }

// Owns says that a port counted to o is the holder's.
func (h *Holder) Owns(o *Holder) bool {
	return o == h || h.IsFamily() && o != nil && o.Family == h.Family
}
