package metrics

import (
	"slices"

	"lostbeat/model"
)

// maxKnown bounds the findings that are told apart.
const maxKnown = 4096

// findings counts findings by detector and severity.
type findings struct {
	detectors []string
	known     map[string]*known
	// order are the ids in the order in which they came.
	order   []string
	began   map[string]*[severities]uint64
	leftOut int
}

// known is a finding that has been seen.
type known struct {
	detector string
	severity model.Severity
	// counted are the severities that it has had.
	counted [severities]bool
	ongoing bool
}

func newFindings(detectors []string) findings {
	f := findings{
		detectors: append(slices.Clone(detectors), otherLabel),
		known:     map[string]*known{},
		began:     map[string]*[severities]uint64{},
	}
	for _, d := range f.detectors {
		f.began[d] = &[severities]uint64{}
	}
	return f
}

// add takes a finding or its update.
func (s *findings) add(f *model.Finding) {
	if int(f.Severity) >= severities {
		return
	}
	k := s.known[f.ID]
	if k == nil {
		k = &known{detector: otherLabel}
		if slices.Contains(s.detectors, f.Detector) {
			k.detector = f.Detector
		}
		if s.makeRoom() {
			s.known[f.ID] = k
			s.order = append(s.order, f.ID)
		} else {
			s.leftOut++ // it counts as begun, and at its updates again
		}
	}
	k.severity, k.ongoing = f.Severity, f.Ongoing
	if !k.counted[f.Severity] {
		k.counted[f.Severity] = true
		s.began[k.detector][f.Severity]++
	}
}

// makeRoom forgets the oldest finding that is over when there are too many.
func (s *findings) makeRoom() bool {
	if len(s.order) < maxKnown {
		return true
	}
	i := slices.IndexFunc(s.order, func(id string) bool { return !s.known[id].ongoing })
	if i < 0 {
		return false
	}
	delete(s.known, s.order[i])
	s.order = slices.Delete(s.order, i, i+1)
	return true
}

func (s *findings) show(p *page) {
	active := map[string]*[severities]int{}
	for _, d := range s.detectors {
		active[d] = &[severities]int{}
	}
	for _, k := range s.known {
		if k.ongoing {
			active[k.detector][k.severity]++
		}
	}
	for _, d := range s.detectors {
		for i := range severities {
			p.gauge(nameActive, float64(active[d][i]), d, model.Severity(i).String())
		}
	}
	for _, d := range s.detectors {
		for i := range severities {
			p.counter(nameFindings, float64(s.began[d][i]), d, model.Severity(i).String())
		}
	}
}
