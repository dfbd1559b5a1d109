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
		// Findings hold text and finite numbers only: they always encode.
		_ = derived.AddFinding(v.At, v.Finding)
	}
	add := derived.Take()
	if add == nil {
		return b
	}
	out := &model.Batch{Stacks: b.Stacks, Hists: b.Hists, Strings: slices.Clone(b.Strings)}
	if len(out.Strings) == 0 {
		out.Strings = []string{""}
	}
	shift := model.StringID(len(out.Strings) - 1)
	out.Strings = append(out.Strings, add.Strings[1:]...)
	out.Events = make([]model.Event, 0, len(b.Events)+len(add.Events))
	next := 0
	for _, e := range add.Events {
		for i, id := range e.Str {
			if id != 0 {
				e.Str[i] = id + shift
			}
		}
		for next < len(b.Events) && b.Events[next].Time < e.Time {
			out.Events = append(out.Events, b.Events[next])
			next++
		}
		out.Events = append(out.Events, e)
	}
	out.Events = append(out.Events, b.Events[next:]...)
	return out
}
