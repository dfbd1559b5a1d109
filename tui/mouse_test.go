package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// clickOn clicks at the first place on the screen that shows text, dx cells to its right.
func clickOn(t *testing.T, m *Model, what string, dx int) {
	t.Helper()
	for y, l := range strings.Split(text(m.View().Content), "\n") {
		if at := strings.Index(l, what); at >= 0 {
			m.Update(tea.MouseClickMsg{X: width(l[:at]) + dx, Y: y, Button: tea.MouseLeft})
			m.View()
			return
		}
	}
	t.Fatalf("the screen does not show %q", what)
}

func TestClicks(t *testing.T) {
	m := screen(loaded(bothFaults), 120, 40)
	m.View()
	clickOn(t, m, "2 Deferred", 2)
	shows(t, m, "CPU and deferred work")
	clickOn(t, m, "max run", 1) // a head sorts, once more reverses
	shows(t, m, "max run▼")
	clickOn(t, m, "max run", 1)
	shows(t, m, "max run▲")
	clickOn(t, m, "BLOCK          <0.1 %", 3) // a row is selected, then opened
	shows(t, m, "▸   1  BLOCK")
	clickOn(t, m, "BLOCK          <0.1 %", 3)
	shows(t, m, "Esc back")
	shows(t, m, "findings about this")
	press(m, "esc")

	press(m, "1")
	clickOn(t, m, "rpc-client[4312] took", 4) // another finding of the verdict
	shows(t, m, "takes ports by bind")
	clickOn(t, m, "rpc-client[4312] took", 4)
	shows(t, m, "what to do")
	press(m, "esc")

	m.Update(tea.MouseClickMsg{X: 9, Y: 39, Button: tea.MouseLeft}) // the time line's oldest moment
	m.View()
	shows(t, m, "PAUSED 13:58:28")
	m.Update(tea.MouseClickMsg{X: 60, Y: 39, Button: tea.MouseRight})
	shows(t, m, "PAUSED 13:58:28")
	m.Update(tea.MouseClickMsg{X: 119, Y: 39, Button: tea.MouseLeft}) // beside it
	shows(t, m, "PAUSED 13:58:28")
}

// Clicks anywhere, on every page and at every size, do no harm.
func TestClicksEverywhere(t *testing.T) {
	for _, size := range [][2]int{{20, 5}, {80, 24}, {120, 30}} {
		m := screen(loaded(bothFaults), size[0], size[1])
		for _, page := range []string{"1", "2", "3", "4", "5", "6", "d", "?", ":"} {
			press(m, page)
			for y := range size[1] {
				for x := 0; x < size[0]; x += 19 {
					m.Update(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
					checkFrame(t, m.View().Content, size[0], size[1])
				}
			}
			press(m, "esc", "esc")
		}
	}
}

func TestNoMouse(t *testing.T) {
	m := screen(loaded(bothFaults), 80, 24)
	if m.View().MouseMode == tea.MouseModeNone {
		t.Error("the mouse is not taken by default")
	}
	m = screen(loaded(bothFaults), 80, 24, func(o *Options) { o.NoMouse = true })
	if m.View().MouseMode != tea.MouseModeNone {
		t.Error("the mouse is taken although it is not wanted")
	}
}
