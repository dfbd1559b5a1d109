package model

// FindingList keeps the last state of each finding, in the order in which they
// arose. The zero FindingList is empty.
type FindingList struct {
	findings []Finding
	index    map[string]int
	bytes    int
	leftOut  uint64
}

// maxListBytes bounds the memory of a FindingList.
const maxListBytes = 24 << 20

// Size returns about how many bytes of memory the finding takes.
func (f *Finding) Size() int {
	n := 512 + len(f.ID) + len(f.Detector) + len(f.Title)
	for _, list := range [][]string{f.Causes, f.RuledOut, f.Advice} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	for i := range f.Evidence {
		n += 48 + len(f.Evidence[i].Name)
	}
	return n
}

// Add takes a finding or its update, and says whether it is a new one that is kept.
func (l *FindingList) Add(f Finding) (isNew bool) {
	if i, ok := l.index[f.ID]; ok {
		l.bytes += f.Size() - l.findings[i].Size()
		l.findings[i] = f
		return false
	}
	if l.bytes += f.Size(); l.bytes > maxListBytes {
		l.bytes -= f.Size()
		l.leftOut++
		return false
	}
	if l.index == nil {
		l.index = map[string]int{}
	}
	l.index[f.ID] = len(l.findings)
	l.findings = append(l.findings, f)
	return true
}

// LeftOut returns how many times a new finding was given for which there was no room.
func (l *FindingList) LeftOut() uint64 { return l.leftOut }

// All returns the findings. The list is valid until the next Add.
func (l *FindingList) All() []Finding { return l.findings }
