package source

import (
	"strconv"
	"time"
)

// PlainSpace replaces the spaces that Windows puts into times, and takes away its marks of direction: for strings.Map.
func PlainSpace(r rune) rune {
	switch r {
	case '\u202f', '\u00a0':
		return ' '
	case '\u200e', '\u200f':
		return -1
	}
	return r
}

// CultureTime returns the time whose parts a regular expression found, in its groups: 1 and 3 the day and the month, in
// which order dayFirst says, 4 the year, 5 to 7 the hour, minute and second, 8 the a or p of a clock of 12 hours. The
// second may be missing. ok is false for a date that does not exist.
func CultureTime(groups []string, dayFirst bool, zone *time.Location) (t time.Time, ok bool) {
	number := func(group int) int { n, _ := strconv.Atoi(groups[group]); return n }
	month, day, hour := number(1), number(3), number(5)
	if dayFirst {
		month, day = day, month
	}
	switch groups[8] {
	case "":
	case "p", "P":
		hour = hour%12 + 12
	default:
		hour %= 12
	}
	t = time.Date(number(4), time.Month(month), day, hour, number(6), number(7), 0, zone)
	return t, month >= 1 && month <= 12 && t.Day() == day
}
