package pipeline

import (
	"slices"

	"lostbeat/model"
)

// Verdict is a finding as it stood at a moment.
type Verdict struct {
	// At is when it was concluded, in event time.
	At      model.Time
	Finding model.Finding
}

// Interleave returns b with the verdicts, which are in order of At, put in as
// derived events: each before the first event that is not earlier. b itself
// stays as it is.
func Interleave(b *model.Batch, verdicts []Verdict) *model.Batch {
	var derived model.Builder
	for _, v := range verdicts {
		derived.AddFinding(v.At, v.Finding)
	}
	add := derived.Take()
	if add == nil {
		return b
	}
	out := &model.Batch{
		Stacks: b.Stacks, Hists: b.Hists, Strings: slices.Clone(b.Strings), Findings: slices.Clone(b.Findings),
	}
	out.Events = make([]model.Event, 0, len(b.Events)+len(add.Events))
	found := out.Adopt(add)
	next := 0
	for _, e := range found {
		for next < len(b.Events) && b.Events[next].Time < e.Time {
			out.Events = append(out.Events, b.Events[next])
			next++
		}
		out.Events = append(out.Events, e)
	}
	out.Events = append(out.Events, b.Events[next:]...)
	return out
}
