package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// keyCodes are the keys that are not a character.
var keyCodes = map[string]rune{
	"enter":     tea.KeyEnter,
	"esc":       tea.KeyEscape,
	"tab":       tea.KeyTab,
	"up":        tea.KeyUp,
	"down":      tea.KeyDown,
	"left":      tea.KeyLeft,
	"right":     tea.KeyRight,
	"home":      tea.KeyHome,
	"end":       tea.KeyEnd,
	"pgup":      tea.KeyPgUp,
	"pgdown":    tea.KeyPgDown,
	"backspace": tea.KeyBackspace,
	"f1":        tea.KeyF1,
}

// press sends keys to the program and runs the commands that they give; it
// returns the messages that went to the terminal program itself.
func press(m *Model, keys ...string) (out []tea.Msg) {
	for _, name := range keys {
		var k tea.KeyPressMsg
		switch base, shifted := strings.CutPrefix(name, "shift+"); {
		case name == "space":
			k = tea.KeyPressMsg{Code: ' ', Text: " "}
		case strings.HasPrefix(name, "ctrl+"):
			k = tea.KeyPressMsg{Code: rune(name[5]), Mod: tea.ModCtrl}
		case keyCodes[base] != 0:
			k = tea.KeyPressMsg{Code: keyCodes[base]}
			if shifted {
				k.Mod = tea.ModShift
			}
		default:
			k = tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		}
		_, cmd := m.Update(k)
		for range 4 { // a command's message may give another command
			if cmd == nil {
				break
			}
			msg := cmd()
			if msg == nil {
				break
			}
			switch msg.(type) {
			case quitMsg, copyMsg:
				out = append(out, msg)
			}
			_, cmd = m.Update(msg)
		}
		m.View()
	}
	return out
}

// tick brings the latest snapshot, as ten times a second.
func tick(m *Model) {
	cmd := m.ui.update(m.ui.poll())
	if cmd != nil {
		m.ui.update(cmd())
	}
	m.View()
}

func shows(t *testing.T, m *Model, want string) {
	t.Helper()
	if got := text(m.View().Content); !strings.Contains(got, want) {
		t.Errorf("the screen does not show %q:\n%s", want, got)
	}
}

func hides(t *testing.T, m *Model, unwanted string) {
	t.Helper()
	if got := text(m.View().Content); strings.Contains(got, unwanted) {
		t.Errorf("the screen shows %q:\n%s", unwanted, got)
	}
}

// Every key does what the help says of it.
func TestKeys(t *testing.T) {
	s := loaded(bothFaults)
	for _, tt := range []struct {
		name, keys, want, unwanted string
	}{
		{"number", "4", "port pools (1 s to ", ""},
		{"tab", "tab", "CPU and deferred work", ""},
		{"tab around", "tab tab tab tab tab tab", "Enter: evidence", ""},
		{"shift tab", "shift+tab", "findings so far", ""},
		{"enter on the verdict", "enter", "ruled out", ""},
		{"escape", "enter esc", "Enter: evidence", "ruled out"},
		{"second finding", "j enter", "not ports at rest", ""},
		{"second finding, up again", "j k enter", "not the NIC", ""},
		{"arrows", "down enter", "not ports at rest", ""},
		{"next table", "1 v", "▸deferred work", ""},
		{"previous table", "1 v V", "Enter: evidence", "▸deferred work"},
		{"escape to the verdict", "1 v esc", "Enter: evidence", "▸deferred work"},
		{"row down", "2 j", "▸   1  NET_RX", ""},
		{"row up", "2 j k", "▸   0  NET_RX", ""},
		{"last row stays last", "2 pgdown pgdown pgdown j j", "▸   1  BLOCK", ""},
		{"page up", "2 pgdown pgup", "▸   0  NET_RX", ""},
		{"sort", "2 s", "runs/s▼", ""},
		{"reverse", "2 s S", "runs/s▲", ""},
		{"sort around", "2 s s s s s s s s", "share▼", ""},
		{"filter", "2 / t i m e r", "filter: timer", ""},
		{"filter applies", "2 / t i m e r enter", "TIMER", "  1  NET_RX"},
		{"filter edits", "2 / x x backspace backspace r c u enter", "filter: rcu", ""},
		{"filter edits in the middle", "2 / t m e r left left left i enter", "filter: timer", ""},
		{"filter deletes a word", "2 / t i m e r ctrl+w r c u enter", "filter: rcu", ""},
		{"filter knows no clipboard", "2 / r c u ctrl+v enter", "filter: rcu", ""},
		{"filter cancels", "2 / t i m e r esc", "", "filter:"},
		{"escape removes the filter", "2 / r c u enter esc", "", "filter:"},
		{"filter without match", "2 / x y z z y enter", "no row matches", ""},
		{"filter by a column", "2 / c p u = 1 space s h a r e > 1 % enter", "filter: cpu=1 share>1%", "▸   0"},
		{"filter that is wrong", "2 / w a i t > enter", `"wait>" has no value to`, ""},
		{"filter of all pages", "2 & c p u = 1 enter 3", "filter: cpu=1", ""},
		{"escape removes the filter of all", "2 & c p u = 1 enter esc 3", "devices", "filter:"},
		{"open a row", "2 enter", "findings about this", ""},
		{"a row knows its findings", "2 enter", "CPU 0 spends 99.8 %", ""},
		{"open a device", "3 enter", "rx ring", "4 Ports is"},
		{"back from a row", "2 enter esc", "▸   0  NET_RX", "findings about this"},
		{"commands", ":", "commands: type a part of the name", ""},
		{"a command", ": p r o b e enter", "probes: what is seen", ""},
		{"a command by choice", ": p a g e space down down enter", "devices (1 s to ", ""},
		{"a page by name", ": p o r t s enter", "port pools (1 s to ", ""},
		{"no command", ": x y z z y enter", "Enter: evidence", ""},
		{"commands, given up", ": esc", "Enter: evidence", "commands"},
		{"before a chosen finding", "j home", "PAUSED 13:58:28", ""},
		{"no note to keep", "b", "notes need a single .lostbeat file", "note at"},
		{"no notes", "B", "none yet; b writes one", ""},
		{"next finding with n", "home n", "PAUSED 13:58:48", ""},
		{"previous finding with N", "N", "PAUSED 13:59:38", ""},
		{"metric", "2 m", "run p99 (m changes)", ""},
		{"pause", "space", "‖ PAUSED 13:59:59", ""},
		{"go on", "space space", "● LIVE", ""},
		{"a second back", "left", "PAUSED 13:59:58 UTC (−1 s)", ""},
		{"a second forward", "left left right", "PAUSED 13:59:58", ""},
		{"a minute back", "H", "PAUSED 13:58:59", ""},
		{"a minute back and forward", "shift+left shift+right", "PAUSED 13:59:59", ""},
		{"before the flood", "g 1 3 : 5 9 : 3 0 enter", "PAUSED 13:59:30", "99.8 %"},
		{"back by a duration", "g - 3 0 s enter", "PAUSED 13:59:29", ""},
		{"not a time", "g n e v e r enter", `"never" is not a time`, ""},
		{"no time", "g enter", "LIVE", ""},
		{"previous finding", "[", "PAUSED 13:59:38", ""},
		{"the one before", "[ [", "PAUSED 13:58:48", ""},
		{"no more before", "[ [ [", "no finding before 13:58:48", ""},
		{"next finding", "home ]", "PAUSED 13:58:48", ""},
		{"oldest", "home", "PAUSED 13:58:28", ""},
		{"newest", "home end", "LIVE 13:59:59", ""},
		{"finding moves the clock", "6 enter", "PAUSED 13:59:38", ""},
		{"copy", "y", "copied the finding", ""},
		{"probes", "d", "probes: what is seen", ""},
		{"probes again", "d d", "Enter: evidence", ""},
		{"help", "2 ?", "heat map:", ""},
		{"help of another page", "4 ?", "keys on Ports", "heat map:"},
		{"help again", "? ?", "Enter: evidence", ""},
		{"process", "4 v enter", "ports of rpc-client[4312]", ""},
		{"stack", "4 v enter", "rpc_binding_new", ""},
		{"unknown key", "z", "Enter: evidence", ""},
		{"no recording to write", "w", "Enter: evidence", "write the recording"},
		{"no speed", "+", "Enter: evidence", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := screen(s, 100, 45)
			m.View()
			press(m, strings.Fields(tt.keys)...)
			if tt.want != "" {
				shows(t, m, tt.want)
			}
			if tt.unwanted != "" {
				hides(t, m, tt.unwanted)
			}
		})
	}
}

func TestQuitAndCopy(t *testing.T) {
	m := screen(loaded(bothFaults), 100, 40)
	m.View()
	for _, key := range []string{"q", "ctrl+c"} {
		if out := press(m, key); len(out) != 1 || out[0] != (quitMsg{}) {
			t.Errorf("key %s gives %v, want quit", key, out)
		}
	}
	if out := press(m, "2", "/", "q", "ctrl+c"); len(out) != 1 {
		t.Errorf("ctrl+c in a prompt gives %v, want quit", out)
	}
	m = screen(loaded(bothFaults), 100, 40)
	m.View()
	out := press(m, "y")
	if len(out) != 1 {
		t.Fatalf("y gives %v, want one text", out)
	}
	got := out[0].(copyMsg).text
	for _, want := range []string{"CRITICAL: CPU 0 spends 99.8 %", "host web-07, Linux 6.18.0", "from 2026-11-22 " +
		"13:59:38.000 +00:00", "- dropped at the full backlog: 7.1 M packets", "Ruled out:", "What to do:", "Events lost " +
		"during this finding: 0"} {
		if !strings.Contains(got, want) {
			t.Errorf("the text lacks %q:\n%s", want, got)
		}
	}
}

func TestRecord(t *testing.T) {
	var wrote string
	m := screen(loaded(bothFaults), 100, 40, func(o *Options) {
		o.RecordPath = "web-07.lostbeat"
		o.Record = func(path string) error {
			wrote = path
			if strings.HasPrefix(path, "/") {
				return errors.New("read-only file system")
			}
			return nil
		}
	})
	m.View()
	press(m, "w")
	shows(t, m, "write the recording to: web-07.lostbeat")
	press(m, "enter")
	if wrote != "web-07.lostbeat" {
		t.Errorf("wrote %q", wrote)
	}
	shows(t, m, "wrote web-07.lostbeat")
	press(m, "w", "ctrl+u", "/", "x", "enter")
	shows(t, m, "the recording was not written: read-only file system")
	for range noticeTicks {
		tick(m)
	}
	hides(t, m, "not written")
}

// The live screen follows; a pause holds it, and going on shows what came since.
func TestFollowAndPause(t *testing.T) {
	stream := tuitest.Stream(tuitest.Options{Seconds: 40})
	s := fold.NewHistory()
	m := screen(s, 100, 30)
	feed := func(from, to int) {
		for _, b := range stream[from:to] {
			s.Apply(b)
		}
		s.Publish()
		tick(m)
	}
	shows(t, m, "waiting for the first events")
	feed(0, 11)
	shows(t, m, "LIVE 13:58:39")
	press(m, "space")
	feed(11, 21)
	shows(t, m, "PAUSED 13:58:39")
	press(m, "left", "left")
	shows(t, m, "PAUSED 13:58:37")
	press(m, "space")
	shows(t, m, "LIVE 13:58:49")
	feed(21, 31)
	shows(t, m, "LIVE 13:58:59")
}

// A row stays selected when its table is sorted anew or grows.
func TestSelectionFollowsItsRow(t *testing.T) {
	stream := tuitest.Stream(tuitest.Options{Seconds: 90, Flood: 70, Leak: 10})
	s := fold.NewHistory()
	m := screen(s, 100, 40)
	for _, b := range stream[:11] {
		s.Apply(b)
	}
	s.Publish()
	tick(m)
	press(m, "4", "v", "j")
	selected := m.ui.list("holders").selected
	if selected == "" || strings.HasPrefix(selected, "rpc-client") {
		t.Fatalf("selected %q", selected)
	}
	shows(t, m, "▸"+selected)
	for _, b := range stream[11:] {
		s.Apply(b)
	}
	s.Publish()
	tick(m)
	shows(t, m, "▸"+selected) // now below rpc-client, which holds most
	press(m, "s", "S", "s")
	shows(t, m, "▸"+selected)
}

// fakePlayer notes what it is told.
type fakePlayer struct {
	mu       sync.Mutex
	calls    []string
	paused   bool
	speed    float64
	position model.Time
	end      model.Time
}

func (p *fakePlayer) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
}

func (p *fakePlayer) Pause()                        { p.paused = true; p.note("pause") }
func (p *fakePlayer) Resume()                       { p.paused = false; p.note("resume") }
func (p *fakePlayer) Paused() bool                  { return p.paused }
func (p *fakePlayer) SetSpeed(speed float64)        { p.speed = speed; p.note("speed %g", speed) }
func (p *fakePlayer) Speed() float64                { return p.speed }
func (p *fakePlayer) Seek(t model.Time)             { p.position = t; p.note("seek %s", formatClock(t, time.UTC)) }
func (p *fakePlayer) Step(d time.Duration)          { p.note("step %s", d) }
func (p *fakePlayer) Position() model.Time          { return p.position }
func (p *fakePlayer) Span() (start, end model.Time) { return tuitest.Start, p.end }

func TestReplayKeys(t *testing.T) {
	second := model.Time(time.Second)
	for _, tt := range []struct {
		keys  string
		calls []string
	}{
		{"space", []string{"pause"}},
		{"space space", []string{"pause", "resume"}},
		{"+", []string{"speed 2"}},
		{"- -", []string{"speed 0.5", "speed 0.25"}},
		{"left", []string{"pause"}},
		{"left left right", []string{"pause", "pause", "pause"}},
		{"right", []string{"step 1s"}},
		{"L", []string{"step 1m0s"}},
		{"end", []string{"seek 14:08:29"}},
		{"]", []string{"seek 14:03:29"}},
		{"[", []string{"pause"}},
		{"g 1 4 : 0 5 enter", []string{"seek 14:05:00"}},
		{"left space", []string{"pause", "seek 13:59:58", "resume"}},
		{"6 enter", []string{"seek 14:03:29"}},
	} {
		t.Run(tt.keys, func(t *testing.T) {
			s := loaded(bothFaults)
			ahead := model.Finding{
				ID:       "ahead",
				Detector: "port-leak",
				Severity: model.SeverityWarning,
				Title:    "a finding ahead of the play head",
				Start:    tuitest.Start + 300*second,
				End:      tuitest.Start + 320*second,
			}
			s.SetFindings([]model.Finding{ahead})
			p := &fakePlayer{speed: 1, position: tuitest.Start + 90*second, end: tuitest.Start + 600*second}
			m := screen(s, 100, 40, func(o *Options) { o.Live, o.Player, o.Source = false, p, "web-07.lostbeat" })
			tick(m)
			shows(t, m, "REPLAY 13:59:59")
			press(m, strings.Fields(tt.keys)...)
			if !slices.Equal(p.calls, tt.calls) {
				t.Errorf("the player was told %v, want %v", p.calls, tt.calls)
			}
		})
	}
}

// With a recording the first page says what lies ahead, and how far the search for findings has come.
func TestReplayAhead(t *testing.T) {
	second := model.Time(time.Second)
	s := loaded(tuitest.Options{Seconds: 30})
	p := &fakePlayer{speed: 4, position: tuitest.Start, end: tuitest.Start + 600*second}
	m := screen(s, 100, 30, func(o *Options) { o.Live, o.Player = false, p })
	s.SetProgress(30, 100)
	s.Publish()
	tick(m)
	shows(t, m, "looking for findings in the whole file: 30 %")
	shows(t, m, "REPLAY 13:58:59 UTC ×4")
	s.SetFindings(
		[]model.Finding{
			{
				ID:       "a",
				Severity: model.SeverityCritical,
				Title:    "ahead",
				Start:    tuitest.Start + 300*second,
				End:      tuitest.Start + 320*second,
			},
		},
	)
	tick(m)
	shows(t, m, "No fault found in 30 s; the next one is at 14:03:29")
	hides(t, m, "looking for findings")
	testutil.Golden(t, "replay-100x30-overview.txt", text(m.View().Content))
}

// Before the search is finished, nothing says that the file has no fault; a single table has no length.
func TestReplaySearches(t *testing.T) {
	s := fold.NewHistory()
	var b model.Builder
	b.AddMeta(model.Meta{Time: tuitest.Start, Key: "host", Value: "web-07"})
	s.Apply(b.Take())
	s.Publish()
	p := &fakePlayer{speed: 1, position: tuitest.Start, end: tuitest.Start}
	m := screen(s, 100, 30, func(o *Options) { o.Live, o.Player = false, p })
	tick(m)
	shows(t, m, "No fault found so far (still searching the file)")
	s.SetFindings(nil)
	s.Publish()
	tick(m)
	shows(t, m, "No fault found in this file")
	hides(t, m, "so far")
}

// What is followed already is not offered again.
func TestUnfollowed(t *testing.T) {
	for _, tt := range []struct {
		name         string
		parts        []string
		live         bool
		shows, hides string
	}{
		{"nothing named, live", nil, true, "F follows one (udp:5405, corosync), or finds them (auto)", "so far"},
		{"nothing named, recorded", nil, false, "--heartbeat auto finds them", "so far"},
		{"auto", []string{"flows", "search"}, true, "no heartbeats found so far", "(auto)"},
		{"one that is not open", []string{"flows"}, true, "None of the requested flows has an open socket", "--heartbeat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fold.NewHistory()
			var b model.Builder
			for _, part := range append([]string{"arrivals"}, tt.parts...) {
				b.AddProbe(model.Probe{Time: tuitest.Start, Name: "heartbeat", Part: part, State: model.ProbeOn})
			}
			if tt.parts == nil {
				b.AddProbe(model.Probe{
					Time: tuitest.Start, Name: "heartbeat", Part: "flows", State: model.ProbeOn, Reason: "no flow was given",
				})
			}
			s.Apply(b.Take())
			s.Publish()
			m := screen(s, 120, 30, func(o *Options) {
				if o.Live = tt.live; tt.live {
					o.Follow = func(string) error { return nil }
				}
			})
			press(m, "5")
			shows(t, m, tt.shows)
			hides(t, m, tt.hides)
		})
	}
}

func TestParseTime(t *testing.T) {
	at := tuitest.Start
	now := at.Add(90 * time.Second)
	for _, tt := range []struct {
		text string
		want string // "" for an error
	}{
		{"14:03:09", "2026-11-22T14:03:09.000000000Z"}, {" 14:03 ", "2026-11-22T14:03:00.000000000Z"}, {
			"14:03:09.25", "2026-11-22T14:03:09.250000000Z",
		},
		{"-90s", at.String()}, {"-1m30s", at.String()}, {"10s", at.Add(10 * time.Second).String()}, {
			"+10s", at.Add(10 * time.Second).String(),
		},
		{"2026-11-22T14:03:09Z", "2026-11-22T14:03:09.000000000Z"}, {
			"2026-11-22T15:03:09+01:00", "2026-11-22T14:03:09.000000000Z",
		},
		{"", ""}, {"25:00", ""}, {"yesterday", ""}, {"90", ""},
	} {
		got, err := parseTime(tt.text, at, now, time.UTC)
		if (err != nil) != (tt.want == "") || (err == nil && got.String() != tt.want) {
			t.Errorf("parseTime(%q) = %s, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

// Each key stands in the table once, and each with a help.
func TestBindings(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range bindings() {
		if b.help == "" || b.run == nil {
			t.Errorf("keys %v have no help or do nothing", b.keys)
		}
		for _, k := range b.keys {
			if seen[k] {
				t.Errorf("key %q is bound twice", k)
			}
			seen[k] = true
		}
	}
}

func TestMouse(t *testing.T) {
	m := screen(loaded(bothFaults), 100, 40)
	m.View()
	line := strings.Split(text(m.View().Content), "\n")[1]
	m.Update(tea.MouseClickMsg{X: strings.Index(line, "Ports"), Y: 1, Button: tea.MouseLeft})
	shows(t, m, "port pools (1 s to ")
	m.Update(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	shows(t, m, "▸ephemeral tcp")
}

// f follows the proposed flow that is selected, F one that is named; neither is there without a host.
func TestFollow(t *testing.T) {
	s := loaded(tuitest.Options{Seconds: 30, Proposed: true})
	for _, tt := range []struct{ name, keys, followed, want string }{
		{"the first one", "5 f", "udp:7000", "following udp:7000"},
		{"the next one", "5 j f", "tcp:5000", "following tcp:5000"},
		{"by Enter", "5 j enter", "tcp:5000", "following tcp:5000"},
		{"of those that the filter leaves", "5 / m y a p p enter f", "udp:7000", "following udp:7000"},
		{"a name", "5 F e t c d enter", "etcd", "following etcd"},
		{"no name", "5 F enter", "", "looks like a heartbeat"},
		{"what names none", "5 F x enter", "x", "not a flow"},
		{"on another page", "4 f", "", "ports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			followed := ""
			m := screen(s, 100, 30, func(o *Options) {
				o.Follow = func(flow string) error {
					followed = flow
					if flow == "x" {
						return errors.New("not a flow")
					}
					return nil
				}
			})
			m.View()
			press(m, strings.Fields(tt.keys)...)
			shows(t, m, tt.want)
			if followed != tt.followed {
				t.Errorf("followed %q", followed)
			}
		})
	}
	m := screen(s, 100, 30)
	m.View()
	press(m, "5", "f", "F", "enter")
	shows(t, m, "looks like a heartbeat")
	hides(t, m, "follow it")
}
