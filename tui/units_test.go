package tui

import (
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// Processes are shown, filtered and added up by what they belong to.
func TestUnits(t *testing.T) {
	opt := bothFaults
	opt.Units = true
	s := loaded(opt)
	m := screen(s, 120, 40)
	press(m, "4")
	content := m.View().Content
	checkFrame(t, content, 120, 40)
	testutil.Golden(t, "units-120x40-ports.txt", text(content))
	press(m, "v", "/")
	for _, key := range "unit=billing" {
		press(m, string(key))
	}
	press(m, "enter")
	shows(t, m, "rpc-client[4312]")
	hides(t, m, "nginx[900]")
	press(m, "enter")
	shows(t, m, "ports of rpc-client[4312] (docker billing)")
	press(m, "esc", "esc", "u")
	shows(t, m, "docker billing")
	shows(t, m, "no unit")
	hides(t, m, "nginx[900]")
	testutil.Golden(t, "units-120x40-joined.txt", text(m.View().Content))
	press(m, "enter") // the processes of the first one
	shows(t, m, `filter: unit="docker`)
	shows(t, m, "rpc-client[4312]")
}

// What is printed once names no keys and marks no row.
func TestPrinted(t *testing.T) {
	got := Text(Options{State: loaded(bothFaults), Live: true, Width: 100, Height: 40})
	for _, unwanted := range []string{"q quit", "Enter: evidence", "▸deferred", "\n▸"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("the printed page has %q:\n%s", unwanted, got)
		}
	}
	if !strings.Contains(got, "CPU 0 spends 99.8 %") {
		t.Errorf("the printed page lacks the verdict:\n%s", got)
	}
}
