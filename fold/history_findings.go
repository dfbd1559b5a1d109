package fold

import (
	"cmp"
	"maps"
	"slices"

	"lostbeat/model"
)

// Finding takes a finding as its event at time at would bring it; between Begin
// and End.
func (h *History) Finding(at model.Time, f model.Finding) {
	h.note(&model.Event{Time: at, Kind: model.KindFinding})
	h.finding(f)
}

// finding keeps a version of a finding, in the order of what they had seen.
func (h *History) finding(f model.Finding) {
	old := h.findings[f.ID]
	at, found := slices.BinarySearchFunc(
		old,
		f.End,
		func(v *model.Finding, end model.Time) int { return cmp.Compare(v.End, end) },
	)
	versions := make([]*model.Finding, 0, len(old)+1)
	versions = append(append(versions, old[:at]...), &f)
	if found {
		at++
	}
	versions = append(versions, old[at:]...)
	if len(versions) > maxVersions { // the first, the last and every other one
		versions = slices.Clone(versions)
		thin := versions[:0]
		for i, v := range versions {
			if i%2 == 0 || i == len(versions)-1 {
				thin = append(thin, v)
			}
		}
		versions = thin
	}
	h.findings[f.ID] = versions
	h.sorted = nil
	h.dirty.Store(true)
	if len(h.findings) > maxFindings { // those that ended first are in nobody's way any more
		oldest := ""
		for id, v := range h.findings {
			if oldest == "" || latestVersion(v).End < latestVersion(h.findings[oldest]).End ||
				(latestVersion(v).End == latestVersion(h.findings[oldest]).End && id < oldest) {
				oldest = id
			}
		}
		delete(h.findings, oldest)
	}
}

func latestVersion(versions []*model.Finding) *model.Finding { return versions[len(versions)-1] }

// sortedFindings returns the versions of all findings by their start.
func (h *History) sortedFindings() [][]*model.Finding {
	if h.sorted == nil {
		h.sorted = slices.SortedFunc(maps.Values(h.findings), func(a, b []*model.Finding) int {
			x, y := latestVersion(a), latestVersion(b)
			return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.ID, y.ID))
		})
	}
	return h.sorted
}

// sameVersions says that a and b are one list.
func sameVersions(a, b [][]*model.Finding) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
