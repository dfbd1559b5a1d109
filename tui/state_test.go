package tui

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

const second = model.Time(time.Second)

// apply makes a batch and adds it to s.
func apply(s *fold.History, build func(b *model.Builder)) *fold.Snapshot {
	var b model.Builder
	build(&b)
	s.Apply(b.Take())
	s.Publish()
	return s.Snapshot()
}

func drop(end model.Time, dur time.Duration, count uint64) model.Drop {
	return model.Drop{
		Time:   end,
		Dur:    dur,
		CPU:    0,
		PID:    -1,
		TID:    -1,
		Place:  model.PlaceBacklog,
		Count:  count,
		Queue:  -1,
		Reason: "CPU_BACKLOG",
	}
}

// An interval gives each second its part, and nothing is lost or counted twice.
// A stream shorter than a second gives shares of what was seen of it.
// Memory stays within tens of MiB on a host with very many sources.
// Drop series of short-lived ports do not pile up.
func TestForecast(t *testing.T) {
	for _, tt := range []struct {
		name  string
		used  func(i int) int
		want  float64
		grows bool
	}{
		{"steady", func(i int) int { return 2 * i }, 2, true},
		{"flat", func(int) int { return 50 }, 0, false},
		{"shrinks", func(i int) int { return 200 - i }, 0, false},
		{"up and down", func(i int) int { return 50 + 40*(i%10) }, 0, false},
		{"one step", func(i int) int { return 10 + 100*(i/90) }, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fold.NewHistory()
			held := 0
			for i := range 100 {
				apply(s, func(b *model.Builder) {
					at := tuitest.Start + model.Time(i+1)*second
					if i == 0 {
						b.AddPortPool(
							model.PortPool{Time: at, Protocol: model.ProtocolUDP, Low: 5000, High: 5999, Size: 1000, Name: "rpc"},
						)
					}
					for ; held < tt.used(i); held++ {
						b.AddPortAcquire(
							model.PortAcquire{
								Time:      at,
								PID:       1,
								TID:       1,
								Cookie:    uint64(held + 1),
								Protocol:  model.ProtocolUDP,
								LocalPort: uint16(5000 + held),
								How:       model.HowBindAny,
							},
						)
					}
					for ; held > tt.used(i); held-- {
						b.AddPortRelease(
							model.PortRelease{
								Time:      at,
								PID:       1,
								TID:       1,
								Cookie:    uint64(held),
								Protocol:  model.ProtocolUDP,
								LocalPort: uint16(5000 + held - 1),
								How:       model.HowClose,
							},
						)
					}
					b.AddDrop(drop(at, time.Second, 1))
				})
			}
			snap := s.Snapshot()
			rate := snap.Frame(snap.Latest()).Pools[0].Value.Filling.PerSecond
			grows := rate > 0
			if grows != tt.grows || math.Abs(rate-tt.want) > 0.1 {
				t.Errorf("forecast %g a second, %t; want %g, %t", rate, grows, tt.want, tt.grows)
			}
		})
	}
}

// Snapshots are read while the stream is written: run with -race.
func TestSnapshotsAreImmutable(t *testing.T) {
	stream := tuitest.Stream(bothFaults)
	s := fold.NewHistory()
	var wait sync.WaitGroup
	wait.Go(func() {
		for _, b := range stream {
			if err := s.Write(b); err != nil {
				t.Error(err)
			}
			s.Publish()
		}
	})
	m := screen(s, 120, 40)
	for i := range 60 {
		tick(m)
		press(m, fmt.Sprint(i%6+1))
		if i%7 == 0 {
			ports, total := s.Ports(4312, 10)
			if len(ports) > 10 || len(ports) > total {
				t.Errorf("%d of %d ports", len(ports), total)
			}
		}
	}
	wait.Wait()
	old := s.Snapshot()
	m = screen(s, 120, 40)
	press(m, "space")
	before := m.View().Content
	s.Reset()
	s.SetFault(hinted{errors.New("gone")})
	tick(m)
	if m.View().Content != before || old.Len() == 0 {
		t.Error("a paused screen has changed")
	}
	press(m, "space")
	shows(t, m, "the stream ended: gone (plug it in)")
}

// An output that fails is said once, also while the screen is paused, and marked until it works again.
func TestFailingOutput(t *testing.T) {
	s := loaded(tuitest.Options{Seconds: 20})
	m := screen(s, 120, 40)
	tick(m)
	hides(t, m, "output fails")
	fault := hinted{errors.New("write metrics: no space left")}
	press(m, "space")
	s.SetOutput("metrics file", model.ProbeDegraded, fault)
	tick(m)
	shows(t, m, "metrics file: write metrics: no space left")
	press(m, "space")
	for range noticeTicks {
		s.SetOutput("metrics file", model.ProbeDegraded, fault)
		tick(m)
	}
	hides(t, m, "no space left")
	shows(t, m, "output fails: d")
	press(m, "d")
	shows(t, m, "no space left")
	shows(t, m, "plug it in")
	press(m, "esc")
	s.SetOutput("metrics file", model.ProbeOn, nil)
	tick(m)
	shows(t, m, "metrics file: works again")
	hides(t, m, "output fails")
}

type hinted struct{ error }

func (hinted) Hint() string { return "plug it in" }

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{formatNanos(0), "0 µs"}, {formatNanos(900), "900 ns"}, {formatNanos(9999), "10 µs"},
		{formatNanos(180e3), "180 µs"}, {formatNanos(1.9e6), "1.9 ms"},
		{formatNanos(353e6), "353 ms"}, {formatNanos(999.9e6), "1 s"}, {formatNanos(10.797e9), "11 s"},
		{formatNanos(125e9), "2.1 min"},
		{formatCount(0), "0"}, {formatCount(0.01), "<0.1"}, {formatCount(1.25), "1.2"},
		{formatCount(12), "12"}, {formatCount(9870), "9,870"}, {formatCount(301_200), "301,200"},
		{formatCount(3.6e6), "3.6 M"}, {formatCount(-5), "-5"}, {formatCount(math.NaN()), none},
		{formatCount(2e15), "2000.0 T"},
		{formatPercent(0), "0 %"}, {formatPercent(0.0001), "<0.1 %"}, {formatPercent(0.0005), "0.1 %"},
		{formatPercent(0.998), "99.8 %"},
		{formatPercent(1), "100 %"}, {formatPercent(1.5), "150 %"},
		{formatBytes(512), "512 B"}, {formatBytes(208 << 10), "208 KiB"},
		{formatBytes(38 << 20), "38 MiB"}, {formatBytes(3 << 30), "3 GiB"},
		{formatSpan(-1), "0 s"}, {formatSpan(12 * time.Second), "12 s"}, {formatSpan(252 * time.Second), "4.2 min"},
		{formatSpan(16 * time.Minute), "16 min"}, {formatSpan(200 * time.Minute), "3.3 h"},
		{formatSpan(100 * time.Hour), "4.2 days"},
		{formatInt(-1234567), "-1,234,567"}, {formatInt(999), "999"},
		{formatValue(0.998, "ratio"), "99.8 %"}, {formatValue(4e6, "ns"), "4 ms"}, {formatValue(960, "s"), "16 min"}, {
			formatValue(3.6e6, "packets"), "3.6 M packets",
		},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text string
		w    int
		want string
	}{
		{"one two three", 7, "one two|three"}, {"one", 0, ""}, {"abcdefgh", 3, "abc|def|gh"},
		{"世界世界", 4, "世界|世界"}, {"世", 1, ""}, {"  a   b ", 80, "a b"}, {"", 5, ""},
		{"took 430 s.", 8, "took|430 s."}, {"a 5\u00a0ms", 4, "a|5\u00a0ms"}, {"is s", 3, "is|s"},
		{"at 20 % of", 6, "at|20 %|of"},
	} {
		if got := strings.Join(wrap(tt.text, tt.w), "|"); got != tt.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", tt.text, tt.w, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	fuzztest.Quick(f)
	for _, s := range []string{"eth0", "\x1b[2J", "\u009b31m", "\u202egnp.exe", "\xff", "世界", "e\u0301", "5\u00a0ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, ascii := range []bool{false, true} {
			got := clean(s, ascii)
			for _, r := range got {
				if hidden(r) || (ascii && r >= 0x80 && string(r) != noBreak) {
					t.Errorf("clean(%q, %t) holds %U", s, ascii, r)
				}
			}
			if again := clean(got, ascii); again != got {
				t.Errorf("clean(%q) = %q, cleaned again %q", s, got, again)
			}
			l := newLine(newTheme(ascii, "mono"), 10).put(plain, s)
			line := l.String()
			if line == "" || l.used != 10 {
				t.Errorf("a line of %q takes %d cells", s, l.used)
			}
			if ascii && !printable(line) {
				t.Errorf("a line of %q in ASCII holds %q", s, line)
			}
		}
	})
}

// Calls that are open at a capture's end stand with those that have ended.
