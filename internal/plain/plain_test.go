package plain

import (
	"math"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	if got, want := Text("a\x1b[31mb\nc\u009bd\u202ee ✖ é"), "a·[31mb·c·d·e ✖ é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQuantity(t *testing.T) {
	for want, got := range map[string]string{
		"0 packets":         Quantity(0, "packets"),
		"999 packets":       Quantity(999, "packets"),
		"1,000 packets":     Quantity(1000, "packets"),
		"1,234,567 packets": Quantity(1234567, "packets"),
		"1,234.5 packets/s": Quantity(1234.5, "packets/s"),
		"-999 packets":      Quantity(-999, "packets"),
		"-1,000 packets":    Quantity(-1000, "packets"),
		"1 packet":          Quantity(1, "packets"),
		"1 entry":           Quantity(1, "entries"),
		"1 port/s":          Quantity(1, "ports/s"),
		"1.5 packets":       Quantity(1.5, "packets"),
		"1 process":         Quantity(1, "processes"),
		"1 of it":           Quantity(1, "of it"),
		"12,345.25":         Quantity(12345.25, ""),
		"12 %":              Quantity(0.1234, "ratio"),
		"1.5 s":             Quantity(1.5e9, "ns"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Durations and numbers of made-up streams may be the least and the largest that there are.
func TestExtremes(t *testing.T) {
	if got, want := Percent(math.MaxFloat64), "1000000000000000 %"; got != want {
		t.Errorf("Percent: %s, want %s", got, want)
	}
	for _, d := range []time.Duration{math.MinInt64, math.MinInt64 + 1, math.MaxInt64} {
		sign := ""
		if d < 0 {
			sign = "-"
		}
		if got, want := Span(d), sign+"106752 days"; got != want {
			t.Errorf("Span: %s, want %s", got, want)
		}
	}
}
