package starvation

import (
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
)

// shownLoads is how many other CPUs a finding lists.
const shownLoads = 8

// loads are how busy all CPUs are in one tick: of a host with thousands, each
// that starves would otherwise be compared with all others.
type loads struct {
	first []fold.BusyCPU
	// idlest are the two least busy, one of which may be the one that starves.
	idlest []fold.BusyCPU
}

func (d *starvation) allCPUs(w *detect.Tick) *loads {
	if d.loads != nil {
		return d.loads
	}
	l := &loads{}
	window := time.Duration(w.WindowSeconds()) * time.Second
	for _, c := range w.SortedCPUs() {
		b := fold.BusyCPU{ID: c.ID, Busy: c.Sum.BusyShare(window)}
		if len(l.first) <= shownLoads {
			l.first = append(l.first, b)
		}
		at := 0
		for at < len(l.idlest) && l.idlest[at].Busy <= b.Busy {
			at++
		}
		if at < 2 {
			l.idlest = slices.Insert(l.idlest, at, b)
			l.idlest = l.idlest[:min(len(l.idlest), 2)]
		}
	}
	d.loads = l
	return l
}

// otherCPUs returns how busy the first of the other CPUs are and, last where it
// is none of them, the least busy one.
func (d *starvation) otherCPUs(w *detect.Tick, self int32) []fold.BusyCPU {
	all := d.allCPUs(w)
	isSelf := func(b fold.BusyCPU) bool { return b.ID == self }
	others := slices.DeleteFunc(slices.Clone(all.first), isSelf)
	others = others[:min(len(others), shownLoads)]
	for _, b := range all.idlest {
		if !isSelf(b) {
			if !slices.Contains(others, b) {
				others = append(others, b)
			}
			break
		}
	}
	return others
}
