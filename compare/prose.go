package compare

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"lostbeat/internal/words"
)

// quantities say what the groups are.
var quantities = [groups]struct{ name, unit string }{
	groupDrops:      {"dropped packets", "packets/s"},
	groupWaits:      {"wait of deferred work, 99th percentile of a second", "ns"},
	groupDeferred:   {"share of a CPU in deferred work", "ratio"},
	groupInterrupts: {"share of a CPU in interrupts", "ratio"},
	groupFailures:   {"refused ports", "ports/s"},
	groupHeld:       {"held ports", "ports"},
	groupTaken:      {"taken ports", "ports/s"},
	groupCounters:   {"counter", ""},
	groupCPU:        {"share of a CPU", "ratio"},
}

// what names the quantity of a series.
func (k *seriesKey) what() string {
	cpu := fmt.Sprintf("CPU %d", k.cpu)
	switch k.group {
	case groupDrops:
		return fmt.Sprintf("packets dropped %s for %s", k.detail, cmp.Or(k.name, "no reason that the kernel gives"))
	case groupWaits:
		return fmt.Sprintf("%s on %s waited (99th percentile of a second)", k.name, cpu)
	case groupDeferred, groupInterrupts, groupCPU:
		return fmt.Sprintf("%s took %s", cmp.Or(k.name, "what has no name"), cpu)
	case groupFailures:
		return fmt.Sprintf("ports refused to %s (%s)", cmp.Or(k.name, "unknown programs"), k.detail)
	case groupHeld:
		return "ports held " + cmp.Or(k.detail, "by "+k.name)
	case groupTaken:
		return fmt.Sprintf("ports taken by %s (%s)", cmp.Or(k.name, "unknown programs"), k.detail)
	}
	text := k.name
	if k.detail != "" {
		text += " of " + k.detail
	}
	if k.cpu >= 0 {
		text += " of " + cpu
	}
	return text
}

// value writes a value of a series.
func (k *seriesKey) value(v float64) string {
	switch k.group {
	case groupWaits:
		return words.Span(time.Duration(v))
	case groupDeferred, groupInterrupts, groupCPU:
		return words.Percent(v)
	case groupHeld:
		return words.Number(int64(math.Round(v)))
	case groupCounters:
		return fmt.Sprintf("%.3g", v)
	}
	return words.Rate(v) + "/s"
}

// span writes the bounds of a difference.
func (k *seriesKey) span(low, high float64) string {
	sign := func(v float64) string {
		sign := "+"
		if v < 0 {
			v, sign = -v, "-"
		}
		switch k.group {
		case groupDeferred, groupInterrupts, groupCPU:
			return sign + fmt.Sprintf("%.1f", 100*v)
		case groupWaits, groupHeld, groupCounters:
			return sign + k.value(v)
		}
		return sign + words.Rate(v)
	}
	text := sign(low) + " to " + sign(high)
	switch k.group {
	case groupDeferred, groupInterrupts, groupCPU:
		text += " points"
	case groupDrops, groupFailures, groupTaken:
		text += "/s"
	}
	return text + " at 95 %"
}

// sentence says how a series differs.
func sentence(d *SeriesDifference) string {
	k := &d.key
	text := fmt.Sprintf("%s: %s in A, %s in B (%s)", k.what(), k.value(d.A), k.value(d.B), k.span(d.Low, d.High))
	if len(d.Waits) > 0 {
		text += "; of all waits, the median is " + words.Span(time.Duration(d.Waits[0].A)) + " in A and " +
			words.Span(time.Duration(d.Waits[0].B)) + " in B"
	}
	return text
}

// method says how differences are found.
func method(a, b *Side) string {
	return fmt.Sprintf("means of A and B over values of %s; the range is that of B-A at 95 %% (block bootstrap). A "+
		"difference is reported where chance explains the means in fewer than 5 of 100 cases, all that was compared "+
		"counted (Welch's t-test on a scale of ratios, values that resemble their neighbours counted as fewer, Holm's "+
		"correction), where 80 %% of the pairs of values differ in one direction, and where it matters: by half, and by "+
		"2 points of a CPU's time (10 for programs), 1 packet or port a second; by 0.2 ms and twice as long in waits. "+
		"Held ports are reported where one capture mostly has half as many again, and 50, as the other one ever had",
		words.Span(max(a.Bin, b.Bin)))
}
