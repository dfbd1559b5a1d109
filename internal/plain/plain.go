// Package plain formats what people read on a terminal: names, durations and quantities.
package plain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Quantity formats a value with its unit for people, with a comma between thousands.
func Quantity(v float64, unit string) string {
	switch unit {
	case "ns":
		return Span(time.Duration(v))
	case "s":
		return Span(time.Duration(v * float64(time.Second)))
	case "ratio":
		return Percent(v)
	case "":
		return grouped(v, -1)
	}
	digits := 0
	if v != float64(int64(v)) {
		digits = 1
	}
	return grouped(v, digits) + " " + Unit(v, unit)
}

// Unit is the unit of a value of evidence, such as "packets" or "ports/s", in the singular for one.
func Unit(v float64, unit string) string {
	noun, per, rate := strings.Cut(unit, "/")
	switch {
	case v != 1:
	case strings.HasSuffix(noun, "ies"):
		noun = strings.TrimSuffix(noun, "ies") + "y"
	case strings.HasSuffix(noun, "sses"):
		noun = strings.TrimSuffix(noun, "es")
	case len(noun) > 1 && !strings.HasSuffix(noun, "ss"):
		noun = strings.TrimSuffix(noun, "s")
	}
	if rate {
		return noun + "/" + per
	}
	return noun
}

// grouped formats a number with so many decimals, with commas between the thousands in front of them.
func grouped(v float64, decimals int) string {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	whole, fraction, hasFraction := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if hasFraction {
		return whole + "." + fraction
	}
	return whole
}

// Percent writes a share (0 to 1) with as many digits as mean something.
func Percent(share float64) string {
	p := min(share*100, 1e15) // no share, but not infinite either
	switch {
	case p == 0 || p >= 99.95:
		return fmt.Sprintf("%.0f %%", p)
	case p > 0 && p < 0.05:
		return "<0.1 %"
	case p >= 95 || p < 10:
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.0f %%", p)
}

// opposite returns -d, which the least duration does not have: it is a nanosecond less.
func opposite(d time.Duration) time.Duration { return -max(d, -math.MaxInt64) }

// Span writes a duration with two or three significant digits.
func Span(d time.Duration) string {
	unit := func(v float64, name string) string {
		if v < 9.95 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + name
		}
		return fmt.Sprintf("%.0f %s", v, name)
	}
	switch f := float64(d); {
	case d < 0:
		return "-" + Span(opposite(d))
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case f < 999.5e3:
		return unit(f/1e3, "µs")
	case f < 999.5e6:
		return unit(f/1e6, "ms")
	case f < 119.5e9:
		return unit(f/1e9, "s")
	case d < 2*time.Hour:
		return unit(d.Minutes(), "min")
	case d < 48*time.Hour:
		return unit(d.Hours(), "h")
	}
	return unit(d.Hours()/24, "days")
}

// Moment writes a time for people: its day, its time to the millisecond, and the name of the zone.
func Moment(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("2006-01-02 15:04:05.000 MST")
}

// Text replaces the control characters of s, so that names from a traced host
// cannot steer the terminal.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return '·'
		}
		return r
	}, s)
}

// steers says whether a terminal may take r for an order: control characters, breaks of lines, and what
// turns the direction of the text.
func steers(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e ||
		r >= 0x2066 && r <= 0x2069
}
