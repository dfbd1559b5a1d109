package tui

import (
	"math"
	"strconv"
	"time"

	units "lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// none is shown for a number that does not apply or is not known.
const none = "–"

// formatNanos writes a duration of ns nanoseconds.
func formatNanos(ns float64) string {
	if ns <= 0 {
		return "0 µs"
	}
	return words.Span(time.Duration(ns))
}

// formatSpan writes a length of time.
func formatSpan(d time.Duration) string {
	if d <= 0 {
		return "0 s"
	}
	return words.Span(d)
}

// formatCount writes a count or a rate; below ten with a digit after the point.
func formatCount(n float64) string {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return none
	case n < 0:
		return "-" + formatCount(-n)
	case n > 0 && n < 0.05:
		return "<0.1"
	case n < 9.95 && n != math.Trunc(n):
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return formatInt(int64(math.Round(min(n, math.MaxInt64/2))))
}

// formatInt writes a number with its thousands apart, from a million on in millions.
func formatInt(n int64) string { return words.Number(n) }

// formatPercent writes a ratio (0 to 1) as a percentage.
func formatPercent(ratio float64) string {
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		return none
	}
	return words.Percent(max(ratio, 0))
}

// formatBytes formats a size with its unit.
func formatBytes(n float64) string {
	const unit = 1024
	switch {
	case n < unit:
		return formatCount(n) + " B"
	case n < unit*unit:
		return formatCount(n/unit) + " KiB"
	case n < unit*unit*unit:
		return formatCount(n/unit/unit) + " MiB"
	}
	return formatCount(n/unit/unit/unit) + " GiB"
}

// formatValue formats a number that carries its unit as a word.
func formatValue(v float64, unit string) string {
	switch unit {
	case "ns":
		return formatNanos(v)
	case "s":
		return formatSpan(time.Duration(v * 1e9))
	case "ratio":
		return formatPercent(v)
	case "bytes":
		return formatBytes(v)
	case "":
		return formatCount(v)
	}
	return formatCount(v) + " " + units.Unit(v, unit)
}

// formatClock formats the time of day of t in loc.
func formatClock(t model.Time, loc *time.Location) string {
	if t == 0 {
		return "--:--:--"
	}
	return t.Std().In(loc).Format("15:04:05")
}

// formatMillis formats the time of day of t in loc with milliseconds.
func formatMillis(t model.Time, loc *time.Location) string {
	if t == 0 {
		return "--:--:--.---"
	}
	return t.Std().In(loc).Format("15:04:05.000")
}

// oneSecond says in a heading which second the numbers below it are of.
func (u *ui) oneSecond(v *view) string {
	end := v.frame.Start
	if end != 0 {
		end = end.Add(time.Second)
	}
	return "(1 s to " + formatClock(end, u.loc) + ")"
}

// plural returns "1 word" or "n words".
func plural(n int, word string, many ...string) string { return words.Plural(n, word, many...) }
