package plain

import (
	"strings"
	"testing"
)

func TestTie(t *testing.T) {
	for text, want := range map[string]string{ // ~ is the no-break space
		"lost 28,232 packets in 1.7 s, 95 % of CPU 0":   "lost 28,232~packets in 1.7~s, 95~% of CPU 0",
		"3.6 M packets/s (1 packet, <0.1 %)":            "3.6~M~packets/s (1~packet, <0.1~%)",
		"in 12 min ± 30 s":                              "in 12~min ± 30~s",
		"node-2 packets, CPU 0 and 1 more":              "node-2 packets, CPU 0 and 1 more",
		`the log says "took 5 s", 5 s later`:            `the log says "took 5 s", 5~s later`,
		"2,000 of 2,000 ports. 10 ports":                "2,000 of 2,000~ports. 10~ports",
		"up to 148 µs":                                  "up to 148~µs",
		"from 2026-11-28 to 21:03:04 UTC, at 0 percent": "from 2026-11-28 to 21:03:04 UTC, at 0 percent",
	} {
		want = strings.ReplaceAll(want, "~", noBreak)
		if got := Tie(text); got != want {
			t.Errorf("Tie(%q) = %q, want %q", text, got, want)
		}
		if got := Tie(Tie(text)); got != want {
			t.Errorf("Tie twice of %q: %q", text, got)
		}
	}
}
