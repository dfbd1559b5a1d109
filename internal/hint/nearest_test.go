package hint

import "testing"

func TestNearest(t *testing.T) {
	known := []string{
		"theme", "threshold", "utc", "leak.min_ports", "leak.min_ports_fast", "starvation.late_wait", "NETFILTER_DROP",
	}
	for name, want := range map[string]string{
		"theme":                  "theme",
		"thmee":                  "theme",
		"themes":                 "theme",
		"treshold":               "threshold",
		"utx":                    "utc",
		"leak.min_port":          "leak.min_ports",
		"leak.minports":          "leak.min_ports",
		"starvation.wait":        "starvation.late_wait",
		"starvation.latewaiting": "starvation.late_wait",
		"netfilter_drp":          "NETFILTER_DROP",
		"THEME":                  "theme",
		"colour":                 "",
		"":                       "",
		"ut":                     "utc",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
