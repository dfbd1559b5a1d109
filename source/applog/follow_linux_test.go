package applog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"lostbeat/model"
	"lostbeat/source"
)

// following is a log that is followed by a clock of its own.
type following struct {
	t      *testing.T
	path   string
	l      *live
	now    time.Time
	events []LiveEvent
	// ahead is how much ahead of the host's clock the log's is, zone what stands behind its times.
	ahead  time.Duration
	zone   string
	layout string
	enc    encoding.Encoding
}

func follow(t *testing.T, o source.OpenOptions) *following {
	t.Helper()
	f := &following{
		t: t, path: filepath.Join(t.TempDir(), "app.log"), now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC),
		layout: "2006-01-02 15:04:05.000",
	}
	var err error
	put := func(e LiveEvent) { f.events = append(f.events, e) }
	if f.l, err = newLive(Followed{Path: f.path, Options: o}, put); err != nil {
		t.Fatal(err)
	}
	f.l.writer = writer{pid: -1, next: 1 << 62}
	t.Cleanup(func() { f.l.close() })
	return f
}

func (f *following) clock() model.Time { return model.TimeOf(f.now) }

// line writes what a line says at a time.
func (f *following) line(at time.Time, text string) string {
	return at.Add(f.ahead).Format(f.layout) + f.zone + " " + text + "\n"
}

// before makes the log of the last minutes, a line a second.
func (f *following) before(seconds int) *following {
	var b strings.Builder
	for i := seconds; i > 0; i-- {
		b.WriteString(f.line(f.now.Add(-time.Duration(i)*time.Second), "heartbeat sent"))
	}
	f.write(f.path, b.String())
	return f
}

func (f *following) write(path, text string) {
	f.t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	content := []byte(text)
	if f.enc != nil {
		if content, err = f.enc.NewEncoder().Bytes(content); err != nil {
			f.t.Fatal(err)
		}
	}
	if _, err := file.Write(content); err != nil {
		f.t.Fatal(err)
	}
}

func (f *following) start() *following {
	f.l.start(f.t.Context(), f.clock)
	return f
}

// pass lets time pass, and looks as often as Run does.
func (f *following) pass(d time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); {
		f.now = f.now.Add(pollEvery)
		f.l.poll(f.clock)
	}
}

// live writes a line a second.
func (f *following) live(seconds int, text string) {
	for range seconds {
		f.write(f.path, f.line(f.now, text))
		f.pass(time.Second)
	}
}

func (f *following) lines() (found []model.LogLine) {
	for _, e := range f.events {
		if e.line != nil {
			found = append(found, *e.line)
		}
	}
	return found
}

func (f *following) gaps() (found []model.LogGap) {
	for _, e := range f.events {
		if e.gap != nil {
			g := *e.gap
			g.Time = e.Wrote
			found = append(found, g)
		}
	}
	return found
}

func (f *following) losses() (n uint64) {
	for _, e := range f.events {
		if e.loss != nil {
			n += e.loss.Lost
		}
	}
	return n
}

func (f *following) state() model.LogState {
	for _, e := range slices.Backward(f.events) {
		if e.state != nil {
			return *e.state
		}
	}
	return model.LogState{}
}

// numbers are those of the lines "peer n missed 3 heartbeats", in the order in which they were found.
func (f *following) numbers() (out string) {
	for _, l := range f.lines() {
		var n int
		if _, err := fmt.Sscanf(l.Text, "peer %d missed", &n); err != nil {
			f.t.Errorf("found %q", l.Text)
		}
		out += fmt.Sprintf("%d ", n)
	}
	return strings.TrimSpace(out)
}

func missedBy(n int) string { return fmt.Sprintf("peer %d missed 3 heartbeats", n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFollowFile has what happens to files that are followed: every line is found, once.
func TestFollowFile(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(f *following)
		want string
	}{
		"rotated by rename, the program goes over later": {func(f *following) {
			old := f.path + ".1"
			f.before(10).start()
			f.write(f.path, f.line(f.now, missedBy(1)))
			must(f.t, os.Rename(f.path, old)) // before it was read
			f.write(f.path, "")
			f.pass(time.Second)
			f.write(old, f.line(f.now, missedBy(2)))
			f.pass(time.Second)
			f.write(f.path, f.line(f.now, missedBy(3)))
			f.pass(time.Second)
		}, "1 2 3"},
		"rotated twice": {func(f *following) {
			f.before(10).start()
			for i := range 3 {
				f.write(f.path, f.line(f.now, missedBy(i)))
				f.pass(time.Second)
				must(f.t, os.Rename(f.path, f.path+".1"))
			}
			f.pass(time.Second)
		}, "0 1 2"},
		"copied and truncated": {func(f *following) {
			f.before(10).start()
			f.write(f.path, f.line(f.now, missedBy(1)))
			f.pass(time.Second)
			must(f.t, os.Truncate(f.path, 0))
			f.write(f.path, f.line(f.now, missedBy(2)))
			f.pass(time.Second)
		}, "1 2"},
		"truncated and at once longer than before": {func(f *following) {
			f.before(10).start()
			f.pass(time.Second)
			must(f.t, os.Truncate(f.path, 0))
			var b strings.Builder
			for i := range 20 {
				b.WriteString(f.line(f.now, missedBy(i)))
			}
			f.write(f.path, b.String())
			f.pass(time.Second)
		}, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"},
		"truncated below a writer that does not append": {func(f *following) {
			f.before(10).start()
			file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
			must(f.t, err)
			defer file.Close()
			_, err = file.Seek(0, 2)
			must(f.t, err)
			must(f.t, os.Truncate(f.path, 0))
			f.pass(time.Second)
			_, err = file.WriteString(f.line(f.now, missedBy(7)))
			must(f.t, err)
			f.pass(time.Second)
		}, "7"},
		"not there yet": {func(f *following) {
			f.start()
			f.pass(time.Second)
			if s := f.state(); s.State != model.LogMissing || !strings.Contains(s.Clock, "there is no file") {
				f.t.Errorf("state %+v", s)
			}
			f.write(f.path, f.line(f.now, missedBy(1)))
			f.pass(time.Second)
			f.write(f.path, f.line(f.now, missedBy(2)))
			f.pass(time.Second)
			if s := f.state(); s.State != model.LogFollowed {
				f.t.Errorf("state %+v", s)
			}
		}, "1 2"},
		"deleted, written to, and there again": {func(f *following) {
			f.before(10).start()
			file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0)
			must(f.t, err)
			defer file.Close()
			must(f.t, os.Remove(f.path))
			f.pass(time.Second)
			if s := f.state(); s.State != model.LogDeleted {
				f.t.Errorf("state %+v", s)
			}
			_, err = file.WriteString(f.line(f.now, missedBy(1)))
			must(f.t, err)
			f.pass(time.Second)
			f.write(f.path, f.line(f.now, missedBy(2)))
			f.pass(time.Second)
		}, "1 2"},
		"a line in halves, and a record of several lines": {func(f *following) {
			f.before(10).start()
			text := f.line(f.now, missedBy(1))
			f.write(f.path, text[:30])
			f.pass(2 * time.Second)
			f.write(f.path, text[30:])
			f.pass(time.Second)
			f.write(f.path, f.line(f.now, "peer 2 missed 3"))
			f.write(f.path, "  heartbeats, and more\n  peer 3 missed 3 heartbeats\n")
			f.pass(time.Second)
		}, "1 2"},
		"UTF-16": {func(f *following) {
			f.enc = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
			f.before(10)
			f.enc = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
			f.start()
			f.write(f.path, f.line(f.now, missedBy(1)+" 𝄞"))
			f.pass(time.Second)
		}, "1"},
		"UTF-16, from its beginning": {func(f *following) {
			f.start()
			f.enc = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
			f.write(f.path, f.line(f.now, missedBy(1)))
			f.pass(time.Second)
		}, "1"},
		"no times": {func(f *following) {
			f.layout = "worker"
			f.before(50).start()
			f.write(f.path, "peer 1 missed 3 heartbeats\n")
			f.pass(time.Second)
			if s := f.state(); !strings.Contains(s.Clock, "the moments at which they are written") {
				f.t.Errorf("state %+v", s)
			}
		}, "1"},
		"the time steps back": {func(f *following) {
			f.before(300).start()
			f.live(3, missedBy(1))
			f.ahead -= time.Hour
			f.live(3, missedBy(2))
			if g := f.gaps(); len(g) > 0 {
				f.t.Errorf("gaps %+v", g)
			}
		}, "1 1 1 2 2 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, source.OpenOptions{})
			tt.do(f)
			if got := f.numbers(); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
			if n := f.losses(); n > 0 {
				t.Errorf("%d lost", n)
			}
		})
	}
}

// TestFollowGlued has records of a cluster.log on one line.
func TestFollowGlued(t *testing.T) {
	f := follow(t, source.OpenOptions{})
	record := func(text string) string {
		return "00000fe4.00001620::" + f.now.Format("2006/01/02-15:04:05.000") + " INFO  [IM] " + text
	}
	f.write(f.path, strings.Repeat(record("x")+"\n", 30))
	f.start()
	f.write(f.path, record("got event: LocalEndpoint 10.0.1.14:~3343~ has missed two consecutive heartbeats from "+
		"10.0.1.13:~3343~")+
		record("y")+"\n")
	f.pass(time.Second)
	if l := f.lines(); len(l) != 1 || strings.Contains(l[0].Text, "00000fe4") {
		t.Errorf("found %+v", l)
	}
}

// TestFollowSilence has a silence while it lasts and after it.
func TestFollowSilence(t *testing.T) {
	f := follow(t, source.OpenOptions{}).before(300).start()
	f.live(5, "heartbeat sent")
	last := f.now.Add(-time.Second)
	f.pass(1500 * time.Millisecond)
	if g := f.gaps(); len(g) > 0 && g[0].ExpectedCount < 0.01 {
		t.Errorf("after 2.5 s: %+v", g)
	}
	f.pass(2500 * time.Millisecond)
	gaps := f.gaps()
	if n := len(gaps); n == 0 || !gaps[n-1].Lasts || gaps[n-1].ExpectedCount > 0.01 || gaps[n-1].Dur < 3*time.Second {
		t.Fatalf("while it lasts: %+v", gaps)
	}
	f.write(f.path, f.line(f.now, missedBy(4)))
	f.pass(time.Second)
	gaps = f.gaps()
	g := gaps[len(gaps)-1]
	if want := f.now.Add(-time.Second).Sub(last); g.Lasts || (g.Dur-want).Abs() > 150*time.Millisecond ||
		g.After != missedBy(4) || g.Before != "heartbeat sent" || g.ExpectedCount > 0.001 {
		t.Errorf("%+v, want %v", g, want)
	}
	for _, o := range gaps {
		if o.Time.Add(-o.Dur) != g.Time.Add(-g.Dur) {
			t.Errorf("began at %v and %v", o.Time.Add(-o.Dur), g.Time.Add(-g.Dur))
		}
	}
	if l := f.lines(); len(l) != 1 || l[0].Silence != g.Dur {
		t.Errorf("lines %+v", l)
	}
}

// TestFollowNoGap has silences that are none to speak of.
func TestFollowNoGap(t *testing.T) {
	for name, do := range map[string]func(f *following){
		"the end of a burst": func(f *following) {
			f.before(600).start()
			for i := range 40 {
				f.write(f.path, strings.Repeat(f.line(f.now, fmt.Sprint("busy ", i)), 20))
				f.pass(100 * time.Millisecond)
			}
			f.pass(4 * time.Second)
			f.live(70, "heartbeat sent")
		},
		"few lines": func(f *following) {
			f.before(30).start()
			f.live(10, "x")
			f.pass(30 * time.Second)
			f.live(3, "x")
		},
		"silent before the start": func(f *following) {
			f.before(300)
			f.now = f.now.Add(time.Minute)
			f.start()
			f.pass(5 * time.Second)
			f.live(3, "x")
		},
		"a buffer of 10 s": func(f *following) {
			f.before(300).start()
			for range 12 {
				var b strings.Builder
				for i := range 10 {
					b.WriteString(f.line(f.now.Add(time.Duration(i)*time.Second), "x"))
				}
				f.pass(10 * time.Second)
				f.write(f.path, b.String())
			}
			f.events = nil // that of the first buffer could not be known
			f.pass(9 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, source.OpenOptions{})
			do(f)
			for _, g := range f.gaps() {
				if g.ExpectedCount < 0.01 {
					t.Errorf("%+v", g)
				}
			}
		})
	}
}

// TestFollowClock has the clocks of logs, measured by the moments of writing.
func TestFollowClock(t *testing.T) {
	zone := &source.LogTime{Zone: time.FixedZone("+01:00", 3600), Source: "--log-time"}
	for name, tt := range map[string]struct {
		ahead   time.Duration
		zone    string
		said    *source.LogTime
		want    string
		without string
	}{
		"no zone, UTC":       {0, "", nil, "times without a zone: measured to be UTC+00:00", "wrong"},
		"no zone, two hours": {2 * time.Hour, "", nil, "measured to be UTC+02:00", "wrong"},
		"no zone, west":      {-210 * time.Minute, "", nil, "measured to be UTC-03:30", "wrong"},
		"said rightly":       {time.Hour, "", zone, "--log-time agrees with the moments of writing", "measured"},
		"said wrongly": {2 * time.Hour, "", zone,
			"--log-time is wrong by +01:00 h: its times are measured to be UTC+02:00", ""},
		"in its lines, rightly": {time.Hour, " +0100", nil, "agrees with the moments of writing", "wrong"},
		"in its lines, wrongly": {2 * time.Hour, " +0100", nil,
			"the zone in its lines is wrong by +01:00 h: measured to be UTC+02:00", ""},
		"a clock ahead": {20 * time.Second, " +0000", nil,
			"its clock is 19.9 s ahead of this host's", "zone in its lines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, source.OpenOptions{LogTime: tt.said})
			f.ahead, f.zone = tt.ahead, tt.zone
			f.before(300).start()
			f.live(3, "heartbeat sent")
			written := f.now
			f.write(f.path, f.line(f.now, missedBy(1)))
			f.pass(time.Second)
			s := f.state()
			if !strings.Contains(s.Clock, tt.want) || tt.without != "" && strings.Contains(s.Clock, tt.without) {
				t.Errorf("%q, want %q", s.Clock, tt.want)
			}
			for _, e := range f.events {
				if e.line != nil && e.Wrote.Sub(model.TimeOf(written)).Abs() > 200*time.Millisecond {
					t.Errorf("the line was written at %v, %v after it was", e.Wrote, e.Wrote.Sub(model.TimeOf(written)))
				}
			}
			if g := f.gaps(); len(g) > 0 {
				t.Errorf("gaps %+v", g)
			}
		})
	}
}

// TestFollowFlood has more than can be read, and more than can be told.
func TestFollowFlood(t *testing.T) {
	f := follow(t, source.OpenOptions{LogPatterns: []string{`asked \d+`}}).before(300).start()
	f.live(2, "heartbeat sent")
	line := f.line(f.now, "routine")
	text := bytes.Repeat([]byte(line), (maxBehind+maxLook)/len(line)+1)
	f.write(f.path, string(text))
	f.pass(time.Second)
	s := f.state()
	if n := f.losses(); n == 0 || s.LostBytes < maxBehind/2 || s.LostBytes > maxBehind+maxLook {
		t.Errorf("%d lines and %d bytes lost", n, s.LostBytes)
	}
	f.events = nil
	f.write(f.path, strings.Repeat(f.line(f.now, "asked 7"), 3000))
	f.pass(3 * time.Second)
	if n, lost := len(f.lines()), f.losses(); uint64(n)+lost != 3000 || n < maxTokens || n > maxTokens+200 {
		t.Errorf("%d told, %d lost", n, lost)
	}
	if g := f.gaps(); len(g) > 0 {
		t.Errorf("gaps %+v", g)
	}
}
