package tui

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// loaded returns a State that has taken the whole stream.
func loaded(opt tuitest.Options) *fold.History {
	s := fold.NewHistory()
	for _, b := range tuitest.Stream(opt) {
		s.Apply(b)
	}
	s.Publish()
	return s
}

// screen returns a program of the given size on s.
func screen(s *fold.History, w, h int, change ...func(*Options)) *Model {
	opt := Options{State: s, Live: true, Location: time.UTC, Width: w, Height: h}
	for _, c := range change {
		if c != nil {
			c(&opt)
		}
	}
	return NewModel(opt)
}

var styles = regexp.MustCompile("\x1b\\[[0-9;]*m")

// text returns what a frame shows, without its styles and without the blanks
// at the ends of its lines.
func text(content string) string {
	lines := strings.Split(styles.ReplaceAllString(content, ""), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

var bothFaults = tuitest.Options{Seconds: 90, Flood: 70, Leak: 20}

// replaying makes a screen of a recording that has been searched for findings.
func replaying(o *Options) {
	o.Live, o.Source = false, "web-07.lostbeat"
	o.Player = &fakePlayer{speed: 4, position: tuitest.Start + 100*model.Time(time.Second),
		end: tuitest.Start + 100*model.Time(time.Second)}
	var found []model.Finding
	for _, f := range o.State.Snapshot().Findings {
		found = append(found, *f)
	}
	o.State.SetFindings(found)
}

// tooMuch is a host that is larger than any screen.
var tooMuch = tuitest.Options{
	Seconds:   20,
	CPUs:      96,
	Flood:     5,
	Leak:      2,
	Ports:     60_000,
	Processes: 10_000,
	Lost:      7200,
	Name:      strings.Repeat("-very-long", 6),
}

func TestFrames(t *testing.T) {
	sizes := []struct{ w, h int }{{80, 24}, {120, 40}, {40, 10}, {200, 60}, {20, 5}}
	hosts := []struct {
		name    string
		stream  tuitest.Options
		none    bool
		one     bool
		options func(*Options)
	}{
		{name: "none", none: true},
		{name: "one", one: true},
		{name: "quiet", stream: tuitest.Options{Seconds: 75}},
		{name: "faults", stream: bothFaults},
		{name: "ended", stream: tuitest.Options{Seconds: 100, Flood: 70, Leak: 20, Calm: 85}},
		{name: "replay", stream: tuitest.Options{Seconds: 100, Flood: 70, Leak: 20, Calm: 85}, options: replaying},
		{name: "stopped", stream: tuitest.Options{Seconds: 30, Lost: 12}, options: func(o *Options) {
			o.State.SetFault(errors.New("read the ring buffer: no such device"))
			o.State.SetIncomplete("incomplete: 91 of 182 buffers read; 64 KiB not readable")
		}},
		{name: "much", stream: tooMuch},
		{name: "blind", stream: tuitest.Options{Seconds: 20, Blind: true}},
		{name: "windows", stream: tuitest.Options{Seconds: 60, Windows: true, CPUs: 4, Flood: 30}},
	}
	for _, host := range hosts {
		s := fold.NewHistory()
		switch {
		case host.one:
			var b model.Builder
			b.AddDrop(
				model.Drop{
					Time:      tuitest.Start,
					Dur:       time.Second,
					CPU:       1,
					PID:       812,
					TID:       812,
					Place:     model.PlaceSocket,
					Count:     3,
					Protocol:  model.ProtocolUDP,
					LocalPort: 7000,
					Queue:     -1,
					Reason:    "SOCKET_RCVBUFF",
					Process:   "hbd",
				},
			)
			s.Apply(b.Take())
			s.Publish()
		case !host.none:
			s = loaded(host.stream)
		}
		for _, size := range sizes {
			name := fmt.Sprintf("%s-%dx%d", host.name, size.w, size.h)
			t.Run(name, func(t *testing.T) {
				m := screen(s, size.w, size.h, host.options)
				tick(m)
				a := screen(s, size.w, size.h, func(o *Options) { o.ASCII = true }, host.options)
				tick(a)
				var frames, inASCII strings.Builder
				for page := range pages() {
					press(m, fmt.Sprint(page+1))
					press(a, fmt.Sprint(page+1))
					content, ascii := m.View().Content, a.View().Content
					checkFrame(t, content, size.w, size.h)
					checkFrame(t, ascii, size.w, size.h)
					checkASCII(t, content, ascii)
					fmt.Fprintf(&frames, "-- %s --\n%s", pages()[page].name, text(content))
					fmt.Fprintf(&inASCII, "-- %s --\n%s", pages()[page].name, text(ascii))
				}
				testutil.Golden(t, name+".txt", frames.String())
				if host.name == "faults" && size.w != 200 {
					testutil.Golden(t, name+"-ascii.txt", inASCII.String())
				}
			})
		}
	}
}

func TestOpenedFrames(t *testing.T) {
	s := loaded(bothFaults)
	for _, tt := range []struct {
		name string
		keys string
	}{
		{"finding", "enter"},
		{"finding-end", "enter pgdown"},
		{"process", "4 v enter"},
		{"help", "2 ?"},
		{"probes", "d"},
		{"filter", "3 v / s o c k"},
		{"row", "2 enter"},
		{"commands", ": f i n d"},
		{"time", "g - 3 0 s"},
		{"back", "g - 3 0 s enter"},
		{"metric", "2 m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := showBoth(t, s, 100, 30, strings.Fields(tt.keys)...)
			testutil.Golden(t, "open-"+tt.name+".txt", text(content))
		})
	}
}

// checkASCII compares a frame with the same one in ASCII: that has ASCII characters only, and those of the frame are in
// the same cells, except on lines with what takes more cells in ASCII.
func checkASCII(t *testing.T, frame, ascii string) {
	t.Helper()
	lines := strings.Split(text(ascii), "\n")
	for i, line := range strings.Split(text(frame), "\n") {
		longer := strings.ContainsAny(line, "…↓↑←→")
		want, got := []rune(line), []rune("")
		if i < len(lines) {
			got = []rune(lines[i])
		}
		for j := range max(len(want), len(got)) {
			switch {
			case !longer && (j >= len(got) || j < len(want) && want[j] < 0x80 && got[j] != want[j]):
				t.Fatalf("line %d, cell %d differs in ASCII:\n%s\n%s", i, j, line, string(got))
			case j < len(got) && got[j] >= 0x80:
				t.Fatalf("line %d, cell %d is not ASCII: %s", i, j, string(got))
			}
		}
	}
}

// showBoth returns the frame after some keys, which it compares with the one in ASCII.
func showBoth(t *testing.T, s *fold.History, w, h int, keys ...string) string {
	t.Helper()
	var frames [2]string
	for i := range frames {
		m := screen(s, w, h, func(o *Options) { o.ASCII = i == 1 })
		m.View()
		press(m, keys...)
		frames[i] = m.View().Content
		checkFrame(t, frames[i], w, h)
	}
	checkASCII(t, frames[0], frames[1])
	return frames[0]
}

// checkFrame checks that a frame fills exactly its cells and holds no control
// character outside styles.
func checkFrame(t *testing.T, content string, w, h int) {
	t.Helper()
	lines := strings.Split(content, "\n")
	if w <= 0 || h <= 0 {
		if content != "" {
			t.Errorf("a screen of %dx%d shows %q", w, h, content)
		}
		return
	}
	if len(lines) != h {
		t.Errorf("%d lines, want %d", len(lines), h)
	}
	for i, line := range lines {
		if n := ansi.StringWidth(line); n != w {
			t.Errorf("line %d takes %d cells, want %d: %q", i, n, w, line)
		}
		for _, r := range styles.ReplaceAllString(line, "") {
			if hidden(r) {
				t.Errorf("line %d holds %U: %q", i, r, line)
			}
		}
	}
}

// Every size gives a frame of that size, on every page, in every mode.
func TestAnySize(t *testing.T) {
	states := map[string]*fold.History{
		"none":    fold.NewHistory(),
		"faults":  loaded(bothFaults),
		"windows": loaded(tuitest.Options{Seconds: 40, Windows: true, Flood: 20}),
		"fault":   fold.NewHistory(),
	}
	states["fault"].SetFault(errors.New("read: no such device"))
	states["windows"].SetIncomplete("incomplete: 91 of 182 buffers read; 64 KiB not readable")
	for name, s := range states {
		for _, w := range []int{0, 1, 2, 3, 7, 15, 20, 39, 60, 79, 110, 133, 300} {
			for _, h := range []int{0, 1, 2, 3, 4, 5, 8, 11, 12, 16, 17, 25, 90} {
				m := screen(s, w, h, func(o *Options) { o.ASCII = (w+h)%2 == 0 })
				for _, key := range []string{"1", "2", "3", "4", "v", "enter", "5", "6", "enter", "?", "d", "g", "1"} {
					press(m, key)
					checkFrame(t, m.View().Content, w, h)
				}
				if t.Failed() {
					t.Fatalf("%s at %dx%d", name, w, h)
				}
			}
		}
	}
}

func TestASCII(t *testing.T) {
	s := loaded(tuitest.Options{Seconds: 90, Flood: 70, Leak: 20, Name: "-µé世"})
	m := screen(s, 120, 40, func(o *Options) { o.ASCII = true })
	for _, key := range []string{"1", "2", "3", "4", "5", "6", "enter", "?", "d"} {
		press(m, key)
		for i, c := range []byte(m.View().Content) {
			if c >= 0x80 {
				t.Fatalf("after key %s: byte %#x at %d", key, c, i)
			}
		}
	}
	testutil.Golden(t, "ascii-120x40-overview.txt", text(func() string { press(m, "1"); return m.View().Content }()))
}

func TestNoColor(t *testing.T) {
	m := screen(loaded(bothFaults), 120, 40, func(o *Options) { o.NoColor = true })
	for _, key := range []string{"1", "2", "3", "4", "5", "6"} {
		press(m, key)
		for _, style := range styles.FindAllString(m.View().Content, -1) {
			if strings.Contains(style, "38;") || strings.Contains(style, "48;") {
				t.Fatalf("page %s uses the colour %q", key, style)
			}
		}
	}
}

// What a traced host calls its things must not reach the terminal as it is.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{
		"\x1b[2J\x1b]52;c;aGk=\x07", "\u009b31m", "\r\n\t", "\u202egnp.exe", "\u200b\u2066", "\xff\xfe", "\x7f",
		"世界世界", "e\u0301\u0301\u0301", "👩‍👩‍👧",
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			s := loaded(tuitest.Options{Seconds: 60, Flood: 30, Leak: 10, Name: name, Blind: true})
			s.SetFault(errors.New("failed" + name))
			s.SetIncomplete("incomplete" + name)
			s.SetOutput("output"+name, model.ProbeOff, errors.New("failed"+name))
			for _, ascii := range []bool{false, true} {
				m := screen(s, 120, 40, func(o *Options) { o.ASCII, o.Source = ascii, "file"+name })
				for _, key := range []string{"1", "enter", "2", "3", "4", "v", "enter", "5", "6", "enter", "d", "/", "x"} {
					press(m, key)
					checkFrame(t, m.View().Content, 120, 40)
				}
			}
			text := findingText(s.Snapshot().Findings[0], s.Snapshot().Meta, time.UTC)
			for _, r := range text {
				if hidden(r) && r != '\n' {
					t.Errorf("the text for a ticket holds %U: %q", r, text)
				}
			}
		})
	}
}

// The page of the heartbeats and what Enter opens there: the worst gap, a healthy flow, and one without stages.
func TestHeartbeatFrames(t *testing.T) {
	s := loaded(tuitest.Options{Seconds: 60, Gap: 45})
	lasting := loaded(tuitest.Options{Seconds: 60, Gap: 45})
	logs := loaded(tuitest.Options{Seconds: 60, Gap: 45, Log: 45})
	silent := loaded(tuitest.Options{Seconds: 60, Log: 62})
	cut := loaded(tuitest.Options{Seconds: 60, Gap: 200, Cut: 52})
	var b model.Builder
	b.AddMeta(model.Meta{Time: s.Snapshot().Now.Add(3 * time.Second), Key: "x", Value: "y"})
	lasting.Apply(b.Take())
	lasting.Publish()
	proposed := loaded(tuitest.Options{Seconds: 30, Proposed: true})
	both := loaded(tuitest.Options{Seconds: 60, Gap: 45, Proposed: true})
	for _, tt := range []struct {
		name, keys string
		state      *fold.History
		w, h       int
	}{
		{"beats-80x24", "5", s, 80, 24},
		{"beats-120x40", "5", s, 120, 40},
		{"beats-200x60", "5", s, 200, 60},
		{"beats-lasting-120x40", "5", lasting, 120, 40},
		{"beat-worst-100x40", "5 enter", s, 100, 40},
		{"beat-healthy-100x40", "5 j j j enter", s, 100, 40},
		{"beat-reads-100x40", "5 j j enter", s, 100, 40},
		{"beat-lasting-80x24", "5 enter", lasting, 80, 24},
		{"beats-overview-80x24", "1", lasting, 80, 24},
		{"beats-overview-120x40", "1", s, 120, 40},
		{"beats-20x5", "5", s, 20, 5},
		{"cut-overview-120x40", "1", cut, 120, 40},
		{"cut-overview-200x60", "1", cut, 200, 60},
		{"cut-80x24", "5", cut, 80, 24},
		{"cut-beat-100x40", "5 enter", cut, 100, 40},
		{"proposals-80x24", "5", proposed, 80, 24},
		{"proposals-120x40", "5", both, 120, 40},
		{"beat-logs-100x40", "5 enter", logs, 100, 40},
		{"logs-120x40", "5", logs, 120, 40},
		{"logs-silent-80x24", "5", silent, 80, 24},
		{"log-100x40", "5 v enter", logs, 100, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := showBoth(t, tt.state, tt.w, tt.h, strings.Fields(tt.keys)...)
			testutil.Golden(t, tt.name+".txt", text(content))
		})
	}
}
