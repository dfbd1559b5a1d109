package starvation

import (
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"time"

	"lostbeat/model"
)

// hush is a silence as a victim of starvation.
type hush struct {
	flow  *fold.Flow
	usual time.Duration
	from  model.Time
}

// length returns how long the silence was, or has been at time now.
func (h *hush) length(now model.Time) time.Duration {
	if s := h.flow.Silence; s.From == h.from {
		now = s.To
	}
	return now.Sub(h.from)
}

// name says which flow it was.
func (h *hush) name() string {
	k := &h.flow.Key
	return words.Task(
		h.flow.Process,
		k.PID,
	) + " (" + k.Protocol.String() + "/" + words.Itoa(
		k.LocalPort,
	) + " from " + fold.Printable(
		k.Remote,
	) + ")"
}

// longestHush returns the longest of the silences, nil when there is none.
func longestHush(list []hush, now model.Time) *hush {
	var longest *hush
	for i := range list {
		if longest == nil || list[i].length(now) > longest.length(now) {
			longest = &list[i]
		}
	}
	return longest
}

// addHushes adds the flows that have fallen silent, each silence once.
func addHushes(list []hush, flows []*fold.Flow) []hush {
	for _, f := range flows {
		if len(list) < 16 && !slices.ContainsFunc(list, func(h hush) bool { return h.flow == f && h.from == f.Last }) {
			list = append(list, hush{f, f.Usual(), f.Last})
		}
	}
	return list
}
