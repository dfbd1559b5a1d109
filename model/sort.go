package model

import (
	"cmp"
	"slices"
)

func sortEvents(events []Event) {
	if slices.IsSortedFunc(events, compareTime) {
		return
	}
	slices.SortStableFunc(events, compareTime)
}

func compareTime(a, b Event) int { return cmp.Compare(a.Time, b.Time) }
