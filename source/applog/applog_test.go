package applog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"
)

// opened returns a log with the given content.
func opened(t testing.TB, name string, content []byte, o source.OpenOptions) *Log {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	modified := time.Date(2013, 4, 1, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// read returns what a log emits, checked.
func read(t testing.TB, l *Log, from model.Time) (gaps []model.LogGap, found []model.LogLine) {
	t.Helper()
	var v model.Validator
	err := l.RunFrom(context.Background(), from, func(b *model.Batch) error {
		if err := v.Check(b); err != nil {
			t.Error(err)
		}
		for i := range b.Events {
			if g, ok := b.LogGap(&b.Events[i]); ok {
				gaps = append(gaps, g)
			}
			if line, ok := b.LogLine(&b.Events[i]); ok {
				found = append(found, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return gaps, found
}

var start = time.Date(2013, 3, 30, 19, 0, 0, 0, time.UTC)

// busy writes a line about every 150 ms for a time, and none from silent on for length; last is the line that ends
// that.
func busy(layout string, lasting, silent, length time.Duration, last string) []byte {
	random := rand.New(rand.NewPCG(7, 7))
	var b bytes.Buffer
	done := false
	for at := time.Duration(0); at < lasting; {
		at += time.Duration(1+random.ExpFloat64()*150) * time.Millisecond
		text := "routine work"
		if !done && at >= silent {
			done = true
			at, text = silent+length, last
		}
		fmt.Fprintf(&b, "%s%s\n", strings.Replace(start.Add(at).Format(layout), "#", "-0500", 1), text)
	}
	return b.Bytes()
}

const cvpLayout = "Jan 02 2006 15:04:05.000 #: "

const missed = "%CVP_8_5_ICM-6-LOGMSG_ICM_SS_GENERAL_INFO: Missed 2 VRU PIM\r\nheartbeats. Closing session"

func TestGap(t *testing.T) {
	content := busy(cvpLayout, time.Hour, 30*time.Minute, 10800*time.Millisecond, missed)
	for name, content := range map[string][]byte{
		"LF":     content,
		"CRLF":   bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n")),
		"UTF-16": encoded(t, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), content),
		"UTF-16, big endian, no mark": encoded(t, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
			content),
		"UTF-8 mark": append([]byte{0xef, 0xbb, 0xbf}, content...),
	} {
		l := opened(t, "cvp.log", content, source.OpenOptions{})
		gaps, found := read(t, l, 0)
		if len(gaps) != 1 || gaps[0].Dur < 10800*time.Millisecond || gaps[0].Dur > 12*time.Second ||
			gaps[0].ExpectedCount > 0.001 || !strings.Contains(gaps[0].After, "Missed 2") || gaps[0].Before != "routine work" {
			t.Errorf("%s: gaps %+v", name, gaps)
		}
		want := start.Add(5*time.Hour + 30*time.Minute + 10800*time.Millisecond)
		if len(found) != 1 || found[0].Time != model.TimeOf(want) || found[0].Pattern != "cvp/missed-heartbeats" ||
			found[0].Class != model.LogMissed || found[0].Silence != gaps[0].Dur ||
			!strings.HasSuffix(found[0].Text, "Missed 2 VRU PIM heartbeats. Closing session") {
			t.Errorf("%s: lines %+v", name, found)
		}
		if len(l.Assumed()) != 0 {
			t.Errorf("%s: assumed %q", name, l.Assumed())
		}
		if from, to := l.Span(); from.Sub(model.TimeOf(start.Add(5*time.Hour))).Abs() > time.Second ||
			to.Sub(from) < 59*time.Minute {
			t.Errorf("%s: span %v to %v", name, from, to)
		}
		// From the middle on, what lies before it is not emitted.
		if gaps, found := read(t, l, model.TimeOf(want.Add(time.Second))); len(gaps)+len(found) != 0 {
			t.Errorf("%s: behind the gap: %v %v", name, gaps, found)
		}
	}
}

func encoded(t *testing.T, e encoding.Encoding, content []byte) []byte {
	t.Helper()
	out, err := e.NewEncoder().Bytes(content)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNoGap has logs whose silences are theirs.
func TestNoGap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	lines := func(n int, next func(i int) time.Duration) []byte {
		var b bytes.Buffer
		at := start
		for i := range n {
			at = at.Add(next(i))
			fmt.Fprintln(&b, at.Format("2006-01-02T15:04:05.000Z")+" x")
		}
		return b.Bytes()
	}
	for name, content := range map[string][]byte{
		"quiet log": lines(3000, func(i int) time.Duration {
			if i%30 == 0 {
				return time.Duration(600+random.IntN(3000)) * time.Second
			}
			return time.Duration(random.IntN(1000)) * time.Millisecond
		}),
		"one burst, then nothing": lines(2000, func(i int) time.Duration {
			if i == 1999 {
				return time.Hour
			}
			return 20 * time.Millisecond
		}),
		"busy days, quiet nights": lines(20000, func(i int) time.Duration {
			if i%10000 > 9000 {
				return time.Duration(random.ExpFloat64() * 30 * float64(time.Second))
			}
			return time.Duration(random.ExpFloat64() * 100 * float64(time.Millisecond))
		}),
		"too few lines to know": lines(60, func(i int) time.Duration {
			if i == 40 {
				return time.Minute
			}
			return time.Second
		}),
		"heavy tail": lines(20000, func(int) time.Duration {
			return time.Duration(1000/(0.001+random.Float64())) * time.Microsecond * 10
		}),
	} {
		if gaps, _ := read(t, opened(t, "x.log", content, source.OpenOptions{}), 0); len(gaps) != 0 {
			t.Errorf("%s: %+v", name, gaps)
		}
	}
}

// TestGapOfTheDay has a log that is silent for minutes at night: 11 s at noon are a gap all the same.
func TestGapOfTheDay(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	var b bytes.Buffer
	at := start
	for i := range 60000 {
		mean := 100 * time.Millisecond
		if i%20000 > 19500 {
			mean = 30 * time.Second
		}
		at = at.Add(time.Duration(random.ExpFloat64() * float64(mean)))
		if i == 30000 {
			at = at.Add(11 * time.Second)
		}
		fmt.Fprintln(&b, at.Format("2006-01-02T15:04:05.000Z")+" x")
	}
	gaps, _ := read(t, opened(t, "x.log", b.Bytes(), source.OpenOptions{}), 0)
	if len(gaps) != 1 || gaps[0].Dur.Round(time.Second) != 11*time.Second {
		t.Errorf("%+v", gaps)
	}
}

// TestDamage has what real files hold: none of it may hide the gap or make another.
func TestDamage(t *testing.T) {
	whole := busy(cvpLayout, time.Hour, 30*time.Minute, 10800*time.Millisecond, missed)
	middle := bytes.IndexByte(whole[len(whole)/4:], '\n') + len(whole)/4 + 1
	with := func(junk []byte) []byte {
		return append(append(bytes.Clone(whole[:middle]), junk...), whole[middle:]...)
	}
	stamp := string(whole[middle : middle+31])
	for name, content := range map[string][]byte{
		"colours": bytes.ReplaceAll(bytes.ReplaceAll(whole, []byte("Mar"), []byte("\x1b[32mMar")), []byte(" Missed"),
			[]byte("\x1b[1;31m Missed")),
		"zeros":          with(make([]byte, 100_000)),
		"a long line":    with(append(bytes.Repeat([]byte("x"), 3<<20), '\n')),
		"bytes":          with([]byte("\xff\xfe\x00\x01\x80\n\x1b[31m\n")),
		"a step back":    with([]byte(stamp + " later\n" + string(whole[middle-200:middle]))),
		"no end of line": bytes.TrimRight(whole, "\n"),
		"cut in a stamp": append(bytes.Clone(whole), "Mar 30 2013 19:3"...),
		"a heading":      append([]byte("log of CVP\n\n"), whole...),
	} {
		gaps, found := read(t, opened(t, "cvp.log", content, source.OpenOptions{}), 0)
		if len(gaps) != 1 || len(found) != 1 || gaps[0].Dur < 10800*time.Millisecond {
			t.Errorf("%s: %d gaps %+v, %d lines", name, len(gaps), gaps, len(found))
		}
	}
}

func TestGlued(t *testing.T) {
	var b bytes.Buffer
	for i := range 400 {
		at := start.Add(time.Duration(i) * 100 * time.Millisecond)
		text := "INFO  [GUM] x"
		if i == 300 {
			text = "INFO  [IM] got event: NetftTwoFifthMissedHeartbeats event"
		}
		fmt.Fprintf(&b, "00000fe4.00001620::%s %s", at.Format("2006/01/02-15:04:05.000"), text)
		if i%5 == 4 {
			b.WriteString("\r\n")
		}
	}
	l := opened(t, "cluster.log", b.Bytes(), source.OpenOptions{})
	_, found := read(t, l, 0)
	if len(found) != 1 || found[0].Time != model.TimeOf(start.Add(30*time.Second)) ||
		found[0].Text != "INFO [IM] got event: NetftTwoFifthMissedHeartbeats event" ||
		found[0].Silence != 100*time.Millisecond {
		t.Errorf("%+v", found)
	}
	if a := l.Assumed(); len(a) != 1 || !strings.Contains(a[0], "UseLocalTime") {
		t.Errorf("assumed %q", a)
	}
}

// TestAssumed checks that what stamps leave open is said, and what the user says holds.
func TestAssumed(t *testing.T) {
	syslog := []byte("Dec 31 23:59:58 h x\nDec 31 23:59:59 h x\nJan  1 00:00:01 h x\n")
	slash := []byte("03/04/2013 19:00:00 x\n03/04/2013 19:00:01 x\n")
	zone := &source.LogTime{Zone: time.FixedZone("-05:00", -5*3600), Source: "--log-time"}
	for _, tt := range []struct {
		name, file string
		content    []byte
		said       *source.LogTime
		start      string
		assumed    []string
	}{
		{"no year", "messages", syslog, nil, "2012-12-31T23:59:58Z",
			[]string{"no zone; they are read as UTC (nothing says their zone", "taken to be of 2012 (from the file's mod"}},
		{"year and zone given", "messages", syslog,
			&source.LogTime{Zone: time.FixedZone("-05:00", -5*3600), Year: 2010, Source: "--log-time"},
			"2011-01-01T04:59:58Z", []string{"read as -05:00 (--log-time)", "of 2010 (--log-time)"}},
		{"ambiguous order", "x.log", slash, zone, "2013-03-05T00:00:00Z", []string{"-05:00", "month/day/year"}},
		{"known order", "x.log", append([]byte("13/04/2013 18:59:59 x\n"), slash...), zone, "2013-04-13T23:59:59Z",
			[]string{"-05:00"}},
		{"no date, in the name", "pim1_20130330.log", []byte("23:59:58:100 pg x\n00:00:01:200 pg x\n"), nil,
			"2013-03-30T23:59:58.1Z", []string{"zone", "of 2013-03-30 (from the file's name)"}},
		{"no date at all", "pim1.log", []byte("23:59:58:100 pg x\n00:00:01:200 pg x\n"), nil,
			"2013-03-31T23:59:58.1Z", []string{"zone", "of 2013-03-31 (from the file's modification time)"}},
		{"all is there", "x.log", []byte("2013-03-30T19:00:00Z x\n2013-03-30T19:00:01Z x\n"), zone,
			"2013-03-30T19:00:00Z", nil},
	} {
		l := opened(t, tt.file, tt.content, source.OpenOptions{LogTime: tt.said})
		if from, _ := l.Span(); from.Std().Format(time.RFC3339Nano) != tt.start {
			t.Errorf("%s: starts at %v, want %s", tt.name, from, tt.start)
		}
		got := l.Assumed()
		if len(got) != len(tt.assumed) {
			t.Errorf("%s: assumed %q", tt.name, got)
			continue
		}
		for i, want := range tt.assumed {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: assumed %q, want %q", tt.name, got[i], want)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	for content, want := range map[string]bool{
		"": false, "hello\n": false, "one 2013-03-30T19:00:00Z\n": false,
		"2013-03-30T19:00:00Z x\n2013-03-30T19:00:01Z x\n":                                                     true,
		strings.Repeat("prose without times\n", 100) + "2013-03-30T19:00:00Z x\n2013-03-30T19:00:01Z x\n":      false,
		"\"03/30/2013 19:00:00.000\",\"1\"\n\"03/30/2013 19:00:01.000\",\"2\"\n":                               false,
		strings.Repeat("1614834367 1614834368\nsome text\nmore text\n", 50):                                    false,
		"\x00\x01\x02\x03" + strings.Repeat("\x00", 4000) + "\n2013-03-30T19:00:00Z x\n2013-03-30T19:00:01Z\n": false,
	} {
		if got := Detect([]byte(content)); got != want {
			t.Errorf("%.60q is a log: %v", content, got)
		}
	}
}

// holds reports whether a text in lower case is in all that an expression matches.
func holds(re *syntax.Regexp, text string) bool {
	in := func(re *syntax.Regexp) bool { return holds(re, text) }
	switch re.Op {
	case syntax.OpLiteral:
		return strings.Contains(strings.ToLower(string(re.Rune)), text)
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		return slices.ContainsFunc(re.Sub, in)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(re *syntax.Regexp) bool { return !in(re) })
	}
	return false
}

// TestPatterns holds each pattern against its example, and all others.
func TestPatterns(t *testing.T) {
	p, err := newPatterns([]string{`(?i)plugin was stopped \w+`, `^x.*y$`})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, pattern := range Patterns {
		if names[pattern.Name] {
			t.Errorf("two patterns %s", pattern.Name)
		}
		names[pattern.Name] = true
		if pattern.Literal != strings.ToLower(pattern.Literal) || len(pattern.Literal) < leastLiteral {
			t.Errorf("%s: literal %q", pattern.Name, pattern.Literal)
		}
		if pattern.Match != nil {
			expression := reflect.ValueOf(pattern.Match).Elem().FieldByName("expression").String()
			if re, err := syntax.Parse(expression, syntax.Perl); err != nil || !holds(re, pattern.Literal) {
				t.Errorf("%s: some text that it matches does not have %q, %v", pattern.Name, pattern.Literal, err)
			}
		}
		got, _ := p.match([]byte("2013-03-30 19:00:00 " + pattern.Example))
		if got == nil || got.Name != pattern.Name {
			t.Errorf("%s: its example matches %v", pattern.Name, got)
		}
		if upper, _ := p.match([]byte(strings.ToUpper(pattern.Example))); upper == nil && pattern.Match == nil {
			t.Errorf("%s: not found in capitals", pattern.Name)
		}
	}
	for text, want := range map[string]string{
		"due to: Plugin was stopped by the application": `(?i)plugin was stopped \w+`, "x and y": `^x.*y$`,
		"plugin was stopped": "", "heartbeat sent to peer": "", "the last heartbeat arrived; missed nothing": "",
		"peer missed 3 heartbeats": "any/missed-heartbeats", "link is down": "",
		"stats: missed heartbeats: 0": "", "peer has missed 0 heartbeats": "", "missed 0 heartbeats": "",
		"why are missed heartbeats bad?": "", "the node has missed its heartbeat": "any/missed-heartbeats",
		"A new membership (1.52) was formed. Members joined: 3 left: 2": "corosync/members-left",
		"A new membership (1.52) was formed. Members joined: 2 3":       "",
		"turning message relay requesting on, nonlive peers: ":          "",
		"-odown master mymaster 10.0.0.2 6379":                          "",
		"raft: failed to contact: peer is gone":                         "",
		"Servant cluster is healthy (age: 0)":                           "",
		"kernel: Neighbour table overflow.":                             "kernel/neighbor-full",
		"Server app/web1 is DOWN, reason: Layer4 connection problem":    "",
	} {
		got, _ := p.match([]byte(text))
		if name := ""; got != nil && got.Name != want || got == nil && want != name {
			t.Errorf("%q matches %v, want %q", text, got, want)
		}
	}
	for text, want := range map[string]time.Duration{
		"Token has not been received in 750 ms": 750 * time.Millisecond,
		"token timed out (1000ms)":              0,
		"A processor failed, forming new configuration: token timed out (1000ms), waiting": time.Second,
		"A thread timer expired 3.988128 seconds ago":                                      3988128 * time.Microsecond,
		"has been missing for 75% of the timeout interval":                                 22500 * time.Millisecond,
		"nodes down due to local pause of 81905048065 > 5000000000":                        81905048065,
		"raft: failed to contact: server-id=a1b2 time=2.501s":                              2501 * time.Millisecond,
		"soft lockup - CPU#3 stuck for 23s!":                                               23 * time.Second,
	} {
		if _, got := p.match([]byte(text)); got != want {
			t.Errorf("%q says %v, want %v", text, got, want)
		}
	}
	if _, err := newPatterns([]string{"("}); err == nil {
		t.Error("an expression that is none was taken")
	}
}

// TestMatcher compares the search with a plain one on random texts of few letters.
func TestMatcher(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcAB ("[random.IntN(7)]
		}
		return string(b)
	}
	for range 2000 {
		var literals []string
		for range 1 + random.IntN(5) {
			literals = append(literals, strings.ToLower(word(3+random.IntN(5))))
		}
		text := word(random.IntN(60))
		found := newMatcher(literals).in([]byte(text), nil)
		for i, l := range literals {
			want := strings.Contains(strings.ToLower(text), l)
			got := false
			for _, f := range found {
				got = got || f == i
			}
			if got != want {
				t.Fatalf("%q in %q: %v", l, text, got)
			}
		}
	}
}

func FuzzLog(f *testing.F) {
	fuzztest.Quick(f)
	for _, tt := range stampTests {
		f.Add([]byte(tt.line + "\n" + tt.line + "\n"))
	}
	for _, p := range Patterns {
		f.Add([]byte("2013-03-30 19:00:00 x\n2013-03-30 19:00:01,5 " + p.Example + "\n"))
	}
	f.Add([]byte("00000fe4.00001620::2022/12/15-14:26:02.050 INFO x00000fe4.00001620::2022/12/15-14:26:03.050 INFO y\n"))
	f.Add([]byte("Jan 1 0:00:00 2000\nJan 1 0:00:00"))
	f.Add([]byte("Jun 1 10:00:00 A\nJan 1 0:00:00 Entering MASTER STATE\n"))
	f.Add([]byte("\xff\xfe2\x000\x001\x003\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if !Detect(content) {
			return
		}
		path := filepath.Join(testutil.TempDir(t), "x.log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path, source.OpenOptions{})
		if err != nil {
			t.Fatalf("detected and not opened: %v", err)
		}
		defer l.Close()
		gaps, found := read(t, l, 0)
		for _, g := range gaps {
			if g.Dur < leastGap || g.ExpectedCount > mostExpected {
				t.Errorf("%+v", g)
			}
		}
		for _, line := range found {
			if len(line.Text) > maxText+4 || line.Silence < 0 || line.Dur < 0 {
				t.Errorf("%+v", line)
			}
		}
	})
}

// TestNotes checks what is said of steps back and of long lines.
func TestNotes(t *testing.T) {
	whole := busy(cvpLayout, 10*time.Minute, 5*time.Minute, 10800*time.Millisecond, missed)
	var merged bytes.Buffer // two writers, of which one is 40 ms late
	for i, line := range bytes.SplitAfter(whole, []byte("\n")) {
		merged.Write(line)
		if i%50 == 0 && len(line) > 31 {
			at, err := time.Parse("Jan 02 2006 15:04:05.000", string(line[:24]))
			if err == nil {
				fmt.Fprintf(&merged, "%s -0500: late\n", at.Add(-40*time.Millisecond).Format("Jan 02 2006 15:04:05.000"))
			}
		}
	}
	long := append(bytes.Clone(whole[:len(whole)-1]), append(bytes.Repeat([]byte("x"), 3<<20), '\n')...)
	long = append(long, whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:]...)
	for _, tt := range []struct {
		name      string
		content   []byte
		gaps      int
		says, not string
	}{
		{"two writers", merged.Bytes(), 1, "lines with a time", "back"},
		{"the same log twice", append(bytes.Clone(whole), whole...), 2, "the time steps back by more than 5s 1 times", "KiB"},
		{"a long line", long, 1, "of 1 lines only the first 64 KiB were looked at", "back"},
	} {
		l := opened(t, "cvp.log", tt.content, source.OpenOptions{})
		gaps, _ := read(t, l, 0)
		notes := strings.Join(l.Notes(), "; ")
		if len(gaps) != tt.gaps || !strings.Contains(notes, tt.says) || strings.Contains(notes, tt.not) {
			t.Errorf("%s: %d gaps; %s", tt.name, len(gaps), notes)
		}
	}
}
