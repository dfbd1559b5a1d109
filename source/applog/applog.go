package applog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/transform"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "log"

// Logs is the format of text logs of applications. Every text with times fits
// it: it comes last.
func Logs() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 200 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			l, err := Open(path, o)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
	}
}

// headBytes and tailBytes are how much of a file's ends is looked at to find its shape and its span.
const (
	headBytes = 128 << 10
	tailBytes = 256 << 10
)

// Detect reports whether a file that begins with head is a text log: whether its lines have times.
func Detect(head []byte) bool {
	_, ok := shapeOf(text(head, head))
	return ok
}

// text decodes part of a file that begins with head.
func text(part, head []byte) []byte {
	if _, ok := utf16Order(head); !ok {
		return bytes.TrimPrefix(part, utf8Mark)
	}
	out, err := io.ReadAll(decoded(bytes.NewReader(part), head))
	if err != nil && !errors.Is(err, transform.ErrShortSrc) {
		return nil
	}
	return out
}

// Log is an open text log. It implements [source.File].
type Log struct {
	name     string
	file     *os.File
	size     int64
	head     []byte
	clock    clock
	patterns *patterns
	progress source.Progress
	// start and end are the times of the first and the last line that has one.
	start, end model.Time
	// assumed says what the times of the log leave open and where it was taken from, a sentence each.
	assumed []string
	// unzoned says that the zone is none that the lines say.
	unzoned bool
	// notes are those of the last run, nil before one has ended.
	notes atomic.Pointer[[]string]
	// lines are those with a time that the last run has read.
	lines atomic.Uint64
}

var _ source.File = (*Log)(nil)

// ErrFormat is the error of a text whose lines have no times.
var ErrFormat = errors.New("its lines have no time stamps that are known")

// Open opens the log at path.
func Open(path string, o source.OpenOptions) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l, err := newLog(f, o)
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func newLog(f *os.File, o source.OpenOptions) (*Log, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	l := &Log{name: filepath.Base(f.Name()), file: f, size: info.Size(), progress: o.Progress}
	if l.patterns, err = newPatterns(o.LogPatterns); err != nil {
		return nil, err
	}
	l.head = make([]byte, min(l.size, headBytes))
	if _, err := f.ReadAt(l.head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the beginning: %w", err)
	}
	from := max(l.size-tailBytes, 0) &^ 1
	tail := make([]byte, l.size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the end: %w", err)
	}
	beginning := text(l.head, l.head)
	sh, ok := shapeOf(beginning)
	if !ok {
		return nil, ErrFormat
	}
	first := l.stampIn(sh, beginning, false)
	last := l.stampIn(sh, text(tail, l.head), true)
	if first == nil {
		return nil, ErrFormat
	}
	if last == nil {
		last = first
	}
	l.settle(sh, o.LogTime, first, last, info.ModTime())
	c := l.clock
	l.start = c.time(first)
	if sh.yearless {
		c.year = l.yearOf(first, last)
	}
	l.end = max(l.start, c.time(last))
	return l, nil
}

// stampIn returns the first stamp of a text, or the last; nil for none.
func (l *Log) stampIn(sh shape, part []byte, last bool) *stamp {
	var found *stamp
	for line := range bytes.Lines(part) {
		if s, _, _, ok := find(uncoloured(bytes.TrimRight(line, "\r\n")), sh.form, sh.hint); ok {
			if found = &s; !last {
				break
			}
		}
	}
	return found
}

// yearOf returns the year of the last stamp, that of the first being known.
func (l *Log) yearOf(first, last *stamp) int {
	if newYear(first, last) {
		return l.clock.year + 1
	}
	return l.clock.year
}

// newYear reports whether a log that takes less than a year passes New Year's Eve.
func newYear(first, last *stamp) bool {
	return last.month < first.month || last.month == first.month && last.day < first.day
}

// dateInName is a date in the name of a file: 20130330, 2013-03-30.
var dateInName = lazyregexp.New(`(?:^|\D)(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?:\D|$)`)

// settle decides on what the stamps leave open, and notes what was assumed.
func (l *Log) settle(sh shape, said *source.LogTime, first, last *stamp, modified time.Time) {
	l.unzoned = !sh.zoned
	zone, from := time.UTC, "nothing says their zone: --log-time does"
	switch {
	case said != nil && said.Zone != nil:
		zone, from = said.Zone, said.Source
	case sh.cluster:
		from = "as Get-ClusterLog writes them without -UseLocalTime"
	}
	l.clock = clock{shape: sh, zone: zone}
	if l.unzoned {
		l.assume("its times have no zone; they are read as %s (%s)", zone, from)
	}
	modified = modified.In(zone)
	l.clock.year = cmp.Or(first.year, last.year, modified.Year()) // for single lines without one
	if sh.yearless {
		year := modified.Year()
		day := time.Date(year, time.Month(last.month), last.day, 0, 0, 0, 0, zone)
		if day.After(modified.AddDate(0, 0, 1)) {
			year--
		}
		if newYear(first, last) {
			year--
		}
		why := "from the file's modification time"
		if said != nil && said.Year != 0 {
			year, why = said.Year, said.Source
		}
		l.clock.year, l.clock.month = year, first.month
		l.assume("its times have no year; the first line is taken to be of %d (%s)", year, why)
	}
	if sh.dateless {
		day, why := days(modified.Year(), int(modified.Month()), modified.Day()), "from the file's modification time"
		if last.seconds < first.seconds {
			day--
		}
		if m := dateInName.FindStringSubmatch(l.name); m != nil {
			year, _ := strconv.Atoi(m[1])
			month, _ := strconv.Atoi(m[2])
			date, _ := strconv.Atoi(m[3])
			day, why = days(year, month, date), "from the file's name"
		}
		if said != nil && said.Day != 0 {
			day, why = days(said.Year, said.Month, said.Day), said.Source
		}
		l.clock.day, l.clock.before = day, first.seconds
		l.assume("its times have no date; the first line is taken to be of %s (%s)",
			time.Unix(day*86400, 0).UTC().Format(time.DateOnly), why)
	}
	if sh.form == formSlash && !sh.ordered {
		l.assume("its dates are read as month/day/year (no date among the first lines shows the order)")
	}
}

func (l *Log) assume(format string, args ...any) {
	l.assumed = append(l.assumed, fmt.Sprintf(format, args...))
}

// Assumed says what the times of the log leave open and how they are read, a sentence each.
func (l *Log) Assumed() []string { return l.assumed }

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Span returns the times of the first and the last line.
func (l *Log) Span() (start, end model.Time) { return l.start, l.end }

// Run reads the log and emits its gaps and the lines that were looked for.
// They are known at the end, when the log's cadence is.
func (l *Log) Run(ctx context.Context, emit source.Emit) error { return l.run(ctx, 0, emit) }

// RunFrom emits what the log says of itself as a keyframe, and what is there from t on.
func (l *Log) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	if t <= l.start {
		t = 0
	}
	return l.run(ctx, t, emit)
}

const (
	// maxRecord is how much of a record of several lines is looked at.
	maxRecord = 4 << 10
	// maxText is how much of a line an event carries, in bytes.
	maxText = 300
	// maxFound is how many lines are reported of a log; more are counted as lost.
	maxFound = 20000
	// checkEvery is how many lines are read between two looks at the context.
	checkEvery = 1 << 14
	// batchEvents is how many events a batch has.
	batchEvents = 1024
)

// scan is one pass over a log.
type scan struct {
	log     *Log
	clock   clock
	cadence cadence
	// record is the line with a time and those behind it that have none; body is where its text begins.
	record []byte
	body   int
	at     model.Time
	since  time.Duration
	// found are the lines that were looked for; left counts those for which there is no room.
	found []model.LogLine
	left  uint64
	// plain counts lines before the first time, unread what was in no line.
	plain int
}

func (l *Log) run(ctx context.Context, from model.Time, emit source.Emit) error {
	s := &scan{log: l, clock: l.clock}
	s.cadence.grain = time.Millisecond
	if !l.clock.fraction {
		s.cadence.grain = time.Second
	}
	reader := newLines(io.NewSectionReader(l.file, 0, l.size), l.head)
	for n := 0; ; n++ {
		if n%checkEvery == 0 {
			if ctx.Err() != nil {
				return nil
			}
			if l.progress != nil {
				l.progress(min(reader.bytes, l.size), l.size)
			}
		}
		line, err := reader.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(s.finish(from, reader, emit), fmt.Errorf("read %s: %w", l.name, err))
		}
		if s.clock.cluster {
			eachRecord(line, s.line)
		} else {
			s.line(line)
		}
	}
	if l.progress != nil {
		l.progress(l.size, l.size)
	}
	return s.finish(from, reader, emit)
}

// gluedRecord is how the next record of a cluster.log begins on the same line.
var gluedRecord = lazyregexp.New(`[0-9a-f]{8}\.[0-9a-f]{8}::20\d\d/`)

// eachRecord takes a line that may hold several records of a cluster.log apart.
func eachRecord(line []byte, do func([]byte)) {
	for bytes.Count(line, []byte("::20")) > 1 {
		at := gluedRecord.FindAllIndex(line, 2)
		next := slices.IndexFunc(at, func(m []int) bool { return m[0] > 0 })
		if next < 0 {
			break
		}
		do(line[:at[next][0]])
		line = line[at[next][0]:]
	}
	do(line)
}

// line takes one line.
func (s *scan) line(line []byte) {
	st, at, end, ok := find(line, s.clock.form, s.clock.hint)
	if !ok {
		switch {
		case s.at == 0:
			s.plain++
		case len(s.record) < maxRecord: // text that was wrapped reads as one line
			s.record = append(bytes.TrimRight(s.record, " \t\r"), ' ')
			s.record = append(s.record, bytes.TrimLeft(line[:min(len(line), maxRecord)], " \t")...)
		}
		return
	}
	s.clock.hint = at
	s.endRecord()
	t := s.clock.time(&st)
	var before []byte
	if s.at != 0 {
		before = s.record[s.body:]
	}
	s.since = s.cadence.line(t, before, line[end:])
	s.at, s.body = t, end
	s.record = append(s.record[:0], line[:max(min(len(line), maxRecord), end)]...)
}

// endRecord looks for the patterns in the record that is complete.
func (s *scan) endRecord() {
	if s.at == 0 {
		return
	}
	p, claimed := s.log.patterns.match(s.record)
	switch {
	case p == nil:
	case len(s.found) >= maxFound:
		s.left++
	default:
		s.found = append(s.found, model.LogLine{
			Time: s.at, Dur: claimed, Class: p.Class, Silence: s.since,
			Log: s.log.name, Pattern: p.Name, Text: clean(s.record[s.body:]),
		})
	}
}

// finish emits what was found, in order of time.
func (s *scan) finish(from model.Time, reader *lines, emit source.Emit) error {
	s.endRecord()
	gaps, longest := s.cadence.gaps()
	usual := s.cadence.quantile(0.99)
	s.note(reader, usual)
	var b model.Builder
	type event struct {
		at  model.Time
		add func()
	}
	var events []event
	add := func(at model.Time, f func()) {
		if at >= from {
			events = append(events, event{at, f})
		}
	}
	for _, g := range gaps {
		add(g.end, func() {
			b.AddLogGap(model.LogGap{
				Time: g.end, Dur: g.length, ExpectedCount: g.expected, Usual: usual, Longest: longest,
				Lines: s.cadence.lines, Log: s.log.name, Before: g.before, After: g.after,
			})
		})
	}
	for _, line := range s.found {
		add(line.Time, func() { b.AddLogLine(line) })
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	at, flags := s.log.start, model.Flags(0)
	switch {
	case from != 0:
		at, flags = from, model.FlagKeyframe
	case len(events) > 0: // the first line of a log need not be its earliest
		at = min(at, events[0].at)
	}
	s.describe(&b, at, flags)
	for _, e := range events {
		e.add()
		if b.Len() >= batchEvents {
			if err := emit(b.Take()); err != nil {
				return err
			}
		}
	}
	if s.left > 0 {
		b.AddLoss(model.Loss{
			Time: max(s.log.end, from, s.at), CPU: -1, Lost: s.left, Origin: model.OriginMemory,
			Detail: "lines of " + s.log.name + " beyond the first that were found",
		})
	}
	if b.Len() > 0 {
		return emit(b.Take())
	}
	return nil
}

// describe adds what the log says of itself.
func (s *scan) describe(b *model.Builder, at model.Time, flags model.Flags) {
	meta := func(key, value string) { b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value}) }
	meta("source", "log "+s.log.name)
	meta("clock", "as the log has it")
	if len(s.log.assumed) > 0 {
		meta("assumed", strings.Join(s.log.assumed, "; "))
	}
	b.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
}

// Notes says what else was found by the last run, a sentence each.
func (l *Log) Notes() []string {
	notes := slices.Clone(l.assumed)
	if n := l.notes.Load(); n != nil {
		notes = append(notes, *n...)
	}
	return notes
}

func (s *scan) note(reader *lines, usual time.Duration) {
	c := &s.cadence
	s.log.lines.Store(c.lines)
	notes := []string{fmt.Sprintf("%d lines with a time (%s), 99 of 100 within %v of the one before",
		c.lines, s.clock.form, round(usual))}
	if s.plain > 0 {
		notes = append(notes, fmt.Sprintf("%d lines before the first time were not read", s.plain))
	}
	if c.back > 0 {
		notes = append(notes, fmt.Sprintf("the time steps back by more than %v %d times", moment, c.back))
	}
	if reader.cut > 0 {
		notes = append(notes, fmt.Sprintf("of %d lines only the first %d KiB were looked at", reader.cut, maxLine>>10))
	}
	s.log.notes.Store(&notes)
}

// clean returns text for people: one line, without control characters, shortened.
func clean(b []byte) string {
	b = bytes.TrimLeft(b[:min(len(b), 4*maxText)], " \t:-]|,\"")
	var out strings.Builder
	space := false
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			space = out.Len() > 0
			continue
		case space:
			out.WriteByte(' ')
			space = false
		}
		if out.Len()+size > maxText {
			out.WriteString("…")
			break
		}
		out.WriteRune(r)
	}
	return out.String()
}

// round keeps three digits of a duration.
func round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
