package model

import (
	"cmp"
	"slices"
)

func sortEvents(events []Event) {
	sorted := true
	for i := 1; i < len(events) && sorted; i++ {
		sorted = events[i-1].Time <= events[i].Time
	}
	if sorted {
		return
	}
	slices.SortStableFunc(events, compareTime)
}

func compareTime(a, b Event) int { return cmp.Compare(a.Time, b.Time) }
