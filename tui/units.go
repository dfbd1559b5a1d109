package tui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
)

// none is shown for a number that does not apply or is not known.
const none = "–"

// formatNanos formats a duration of ns nanoseconds with two or three digits and its unit.
func formatNanos(ns float64) string {
	switch {
	case ns <= 0:
		return "0 µs"
	case ns < 1e4:
		return strconv.FormatFloat(ns/1e3, 'f', 1, 64) + " µs"
	case ns < 999.5e3:
		return strconv.FormatFloat(ns/1e3, 'f', 0, 64) + " µs"
	case ns < 9.95e6:
		return strconv.FormatFloat(ns/1e6, 'f', 1, 64) + " ms"
	case ns < 999.5e6:
		return strconv.FormatFloat(ns/1e6, 'f', 0, 64) + " ms"
	case ns < 99.5e9:
		return strconv.FormatFloat(ns/1e9, 'f', 1, 64) + " s"
	}
	return formatSpan(time.Duration(ns))
}

// formatSpan formats a length of time for people: "12 s", "4 min 12 s", "3 h 20 min".
func formatSpan(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second && d%time.Second != 0:
		return formatNanos(float64(d))
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 10*time.Minute:
		if s := int(d.Seconds()) % 60; s != 0 {
			return fmt.Sprintf("%d min %d s", int(d.Minutes()), s)
		}
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		if m := int(d.Minutes()) % 60; m != 0 {
			return fmt.Sprintf("%d h %d min", int(d.Hours()), m)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// formatCount formats a count or a rate with three to four digits: 0, 12, 9,870, 301.2k, 3.6M.
func formatCount(n float64) string {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return none
	case n < 0:
		return "-" + formatCount(-n)
	case n == 0:
		return "0"
	case n < 9.95 && n != math.Trunc(n):
		if n < 0.05 {
			return "<0.1"
		}
		return strconv.FormatFloat(n, 'f', 1, 64)
	case n < 9999.5:
		return formatInt(int64(math.Round(n)))
	case n < 999.95e3:
		return strconv.FormatFloat(n/1e3, 'f', 1, 64) + "k"
	case n < 999.95e6:
		return strconv.FormatFloat(n/1e6, 'f', 1, 64) + "M"
	case n < 999.95e9:
		return strconv.FormatFloat(n/1e9, 'f', 1, 64) + "G"
	}
	return strconv.FormatFloat(n/1e12, 'f', 1, 64) + "T"
}

// formatInt formats n with thousands separated.
func formatInt(n int64) string {
	s := strconv.FormatInt(n, 10)
	if len(s) <= 3 || (n < 0 && len(s) <= 4) {
		return s
	}
	var b strings.Builder
	if n < 0 {
		b.WriteByte('-')
		s = s[1:]
	}
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// formatPercent formats a ratio (0 to 1) as a percentage.
func formatPercent(ratio float64) string {
	switch p := ratio * 100; {
	case math.IsNaN(p):
		return none
	case p <= 0:
		return "0 %"
	case p < 0.1:
		return "<0.1 %"
	case p < 99.95 || p > 100.05:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return "100 %"
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
	return formatCount(v) + " " + unit
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

// plural returns "1 word" or "n words".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return formatInt(int64(n)) + " " + word + "s"
}
