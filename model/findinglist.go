package model

// FindingList keeps the last state of each finding, in the order in which they
// arose. The zero FindingList is empty.
type FindingList struct {
	findings []Finding
	index    map[string]int
}

// Add takes a finding or its update, and says whether it is a new one.
func (l *FindingList) Add(f Finding) (isNew bool) {
	if i, ok := l.index[f.ID]; ok {
		l.findings[i] = f
		return false
	}
	if l.index == nil {
		l.index = map[string]int{}
	}
	l.index[f.ID] = len(l.findings)
	l.findings = append(l.findings, f)
	return true
}

// All returns the findings. The list is valid until the next Add.
func (l *FindingList) All() []Finding { return l.findings }
