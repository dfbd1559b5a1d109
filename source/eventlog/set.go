package eventlog

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/source"
)

// FormatName is the name of the format.
const FormatName = "eventlog"

// Logs is the format of event logs of Windows.
func Logs() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 20 << 20,
		OwnProgress:    true,
		Open: func(path string, o source.OpenOptions) (source.File, error) {
			return Open([]string{path}, o)
		},
		OpenAll: func(paths []string, o source.OpenOptions) (source.File, error) { return Open(paths, o) },
	}
}

// form is how a log is written.
type form uint8

const (
	formNone form = iota
	formEVTX
	formXML
	formCSV
	formText
	formTable
	formViewer
	formJSON
)

// Detect reports whether a file that begins with head is an event log.
func Detect(head []byte) bool { return formOf(head) != formNone }

// xmlEvent is how the first event of an XML file begins, with a root before it or not.
var xmlEvent = lazyregexp.New(
	`^\s*(?:<\?xml[^>]*>\s*)?(?:<\w+[^>]*>\s*)?<Event xmlns=['"]http://schemas\.microsoft\.com/win/`,
)

func formOf(head []byte) form {
	if bytes.HasPrefix(head, fileMagic) {
		return formEVTX
	}
	const most = 16 << 10
	text, err := io.ReadAll(source.UTF8Reader(bytes.NewReader(head[:min(len(head), most)&^1])))
	if err != nil && len(text) == 0 {
		return formNone
	}
	if xmlEvent.Match(text) {
		return formXML
	}
	if _, _, ok := csvHeader(bufio.NewReader(bytes.NewReader(text))); ok {
		return formCSV
	}
	switch {
	case isText(text):
		return formText
	case isTable(text):
		return formTable
	case isJSON(text):
		return formJSON
	case viewerSeparator(text) != 0:
		return formViewer
	}
	return formNone
}

// Set is one or several event logs that were opened together. It implements [source.File].
type Set struct {
	events []model.HostEvent
	most   int
	left   uint64
	// records counts the entries, start and end are the times of the first and the last.
	records    uint64
	start, end model.Time
	hosts      []string
	files      []string
	numberings map[numbering]int64
	zone       *time.Location
	zoned      bool
	assumed    []string
	notes      []string
	integrity  source.Integrity
	// dateless counts entries whose time could not be read.
	dateless int
}

// numbering is a log whose entries are numbered: those of a host's channel, in one file. A log that was cleared begins
// anew.
type numbering struct{ file, host, channel string }

var (
	_ source.File     = (*Set)(nil)
	_ source.Verified = (*Set)(nil)
)

// ErrFormat is the error of files without an entry.
var ErrFormat = errors.New("it has no entry that could be read")

// Open opens files of the format as one.
func Open(paths []string, o source.OpenOptions) (*Set, error) {
	s := &Set{numberings: map[numbering]int64{}}
	s.most = int(cmp.Or(o.Memory, budget.Default) / 4 / 512)
	s.zone, s.zoned = o.Zone()
	var failed error
	for i, path := range paths {
		if err := s.read(path); err != nil {
			err = fmt.Errorf("%s: %w", filepath.Base(path), err)
			failed = cmp.Or(failed, err)
			s.integrity.Add(err.Error(), 0)
		} else {
			s.files = append(s.files, filepath.Base(path))
		}
		if o.Progress != nil {
			o.Progress(int64(i+1), int64(len(paths)))
		}
	}
	if s.records == 0 || s.start == 0 {
		if failed == nil && len(s.integrity.Damage) > 0 {
			failed = errors.New(s.integrity.Damage[0])
		}
		return nil, cmp.Or(failed, ErrFormat)
	}
	s.arrange()
	return s, nil
}

func (s *Set) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const headBytes = 64 << 10
	b := bufio.NewReaderSize(f, headBytes)
	head, err := b.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	name := filepath.Base(path)
	switch formOf(head) {
	case formEVTX:
		return s.readEVTX(b, name)
	case formXML:
		return s.readXML(source.UTF8Reader(b), name)
	case formCSV:
		return s.readCSV(source.UTF8Reader(b), name)
	case formText:
		return s.readText(source.UTF8Reader(b), name)
	case formTable:
		return s.readTable(source.UTF8Reader(b), name)
	case formViewer:
		return s.readViewer(source.UTF8Reader(b), name)
	case formJSON:
		return s.readJSON(source.UTF8Reader(b), name)
	}
	return ErrFormat
}

// take takes an entry.
func (s *Set) take(e *entry, log string) {
	s.records++
	if e.at == 0 {
		s.dateless++
		return
	}
	if s.start == 0 || e.at < s.start {
		s.start = e.at
	}
	s.end = max(s.end, e.at)
	const mostHosts = 256
	if e.host != "" && len(s.hosts) < mostHosts && !slices.Contains(s.hosts, e.host) {
		s.hosts = append(s.hosts, e.host)
	}
	v, ok := e.event(log)
	if !ok {
		return
	}
	if len(s.events) >= s.most {
		s.left++
		return
	}
	if e.record > 0 && e.record <= math.MaxInt64 {
		v.Record, v.Numbering = int64(e.record), s.numbering(numbering{log, e.host, e.channel})
	}
	s.events = append(s.events, v)
}

// numbering returns the number of a log, 0 when there are too many.
func (s *Set) numbering(n numbering) int64 {
	const most = 4096
	id, ok := s.numberings[n]
	if !ok && len(s.numberings) < most {
		id = int64(len(s.numberings) + 1)
		s.numberings[n] = id
	}
	return id
}

// csvColumns are the columns of Get-WinEvent | Export-Csv that are read.
type csvColumns struct{ id, provider, time, host, message, record, channel int }

// csvHeader reads the line of names, and the one of Windows PowerShell before it that names the type.
func csvHeader(r *bufio.Reader) (names []string, separator rune, ok bool) {
	line, _ := r.ReadString('\n')
	if strings.HasPrefix(line, "#TYPE") {
		line, _ = r.ReadString('\n')
	}
	for _, sep := range []string{",", ";", "\t"} {
		names = names[:0]
		for _, n := range strings.Split(strings.TrimSpace(line), sep) {
			names = append(names, strings.Trim(n, `"`))
		}
		if slices.Contains(names, "ProviderName") && slices.Contains(names, "TimeCreated") && slices.Contains(names, "Id") {
			return names, rune(sep[0]), true
		}
	}
	return nil, 0, false
}

// readCSV reads the output of Get-WinEvent | Export-Csv. Its times are local, in the order of the culture.
func (s *Set) readCSV(r io.Reader, name string) error {
	limited := source.LimitedReader(r, maxEntry)
	in := bufio.NewReaderSize(limited, 64<<10)
	names, separator, ok := csvHeader(in)
	if !ok {
		return ErrFormat
	}
	at := csvColumns{slices.Index(names, "Id"), slices.Index(names, "ProviderName"), slices.Index(names, "TimeCreated"),
		slices.Index(names, "MachineName"), slices.Index(names, "Message"), slices.Index(names, "RecordId"),
		slices.Index(names, "LogName")}
	rows := &timedEntries{}
	bad := 0
	s.eachRow(in, limited, separator, name, func(fields []string) {
		field := func(i int) string {
			if i < 0 || i >= len(fields) {
				return ""
			}
			return strings.Clone(fields[i][:min(len(fields[i]), maxValue)])
		}
		id, err := strconv.ParseInt(field(at.id), 10, 32)
		if err != nil || len(fields) < len(names) {
			if field(at.id) != "Id" && !strings.HasPrefix(fields[0], "#TYPE") { // the names, once more
				bad++
			}
			return
		}
		e := entry{provider: field(at.provider), id: id, host: field(at.host), channel: field(at.channel)}
		e.record, _ = strconv.ParseUint(field(at.record), 10, 64)
		e.data = []datum{{messageName, field(at.message)}}
		s.hold(rows, e, field(at.time))
	})
	if bad > 0 {
		s.integrity.Add(fmt.Sprintf("%s: %d of its lines could not be read", name, bad), 0)
	}
	s.takeTimed(rows, name)
	return nil
}

// eachRow calls do with each row of a file with separators, whose fields are valid until it returns. in reads from
// limited, which bounds a row.
func (s *Set) eachRow(in *bufio.Reader, limited *source.Limited, separator rune, name string, do func([]string)) {
	c := csv.NewReader(in)
	c.Comma, c.LazyQuotes, c.FieldsPerRecord, c.ReuseRecord = separator, true, -1, true
	for {
		limited.Next()
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
			return
		}
		do(fields)
	}
}

// timedEntries are entries whose times are texts, until all of a file show the order of day and month.
type timedEntries struct {
	rows  []timedEntry
	order dateOrder
	// local says that one of the times has no zone.
	local bool
}

type timedEntry struct {
	entry
	when string
}

// hold keeps an entry until the times of its file can be read.
func (s *Set) hold(t *timedEntries, e entry, when string) {
	t.order.see(when)
	if _, err := time.Parse(time.RFC3339Nano, plainTime(when)); err != nil {
		t.local = true
	}
	if len(t.rows) >= 4*s.most {
		s.left++
		return
	}
	if _, ok := whatOf(e.provider, e.id); !ok {
		e.data = nil // it is only counted
	}
	t.rows = append(t.rows, timedEntry{e, when})
}

// takeTimed takes the entries of a file whose times are texts.
func (s *Set) takeTimed(t *timedEntries, name string) {
	order := t.order
	if order.both() {
		s.note("%s: its times have both orders of day and month", name)
		order = dateOrder{}
	}
	if len(t.rows) > 0 && !order.open && !order.dayFirst && order.numeric {
		s.assume("%s: its dates are read as month/day/year", name)
	}
	if !s.zoned && t.local {
		s.assume("times in %s have no zone; they are read as UTC (--log-time says it)", name)
	}
	for i := range t.rows {
		t.rows[i].at = order.time(t.rows[i].when, s.zone)
		s.take(&t.rows[i].entry, name)
	}
}

// dateOrder decides over all times of a file whether the day comes before the month.
type dateOrder struct{ dayFirst, monthFirst, numeric, open bool }

// numericTime is a time whose order of day and month depends on the culture.
var numericTime = lazyregexp.New(
	`^(\d{1,2})([./-])(\d{1,2})[./-](\d{4}),?\s+(\d{1,2})[:.](\d{2})[:.](\d{2})(?:\s*([AaPp])\.?\s?[Mm]\.?)?$`,
)

func (o *dateOrder) see(text string) {
	m := numericTime.FindStringSubmatch(plainTime(text))
	if m == nil {
		return
	}
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[3])
	o.numeric = true
	o.dayFirst = o.dayFirst || a > 12 || m[2] == "."
	o.monthFirst = o.monthFirst || b > 12
	o.open = o.open || a > 12 || b > 12
}

func (o *dateOrder) both() bool { return o.dayFirst && o.monthFirst }

func plainTime(text string) string { return strings.Map(source.PlainSpace, strings.TrimSpace(text)) }

func (o *dateOrder) time(text string, zone *time.Location) model.Time {
	text = plainTime(text)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.9999999", "2006-01-02 15:04:05",
		"2006/01/02 15:04:05", "2006/1/2 15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return plausible(t)
		}
	}
	m := numericTime.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	t, ok := source.CultureTime(m, o.dayFirst, zone)
	if !ok {
		return 0
	}
	return plausible(t)
}

func (s *Set) assume(format string, args ...any) {
	const most = 16
	if text := fmt.Sprintf(format, args...); len(s.assumed) < most && !slices.Contains(s.assumed, text) {
		s.assumed = append(s.assumed, text)
	}
}

func (s *Set) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// arrange puts the events into order, each once.
func (s *Set) arrange() {
	slices.SortStableFunc(s.events, func(a, b model.HostEvent) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Provider, b.Provider),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.About, b.About))
	})
	s.events = slices.CompactFunc(s.events, func(a, b model.HostEvent) bool {
		a.Log, a.Record, a.Numbering = b.Log, b.Record, b.Numbering
		return a == b
	})
	s.note("%d records, of which %d bear on heartbeats or ports", s.records, len(s.events))
	if s.dateless > 0 {
		s.integrity.Add(fmt.Sprintf("%d of the entries have a time that cannot be read: they were not used", s.dateless), 0)
	}
}

// Span implements source.Seekable.
func (s *Set) Span() (start, end model.Time) { return s.start, s.end }

// Close implements io.Closer.
func (s *Set) Close() error { return nil }

// Integrity implements source.Verified.
func (s *Set) Integrity() source.Integrity {
	i := s.integrity
	i.Unit, i.Read = "record", s.records
	return i
}

// Assumed says what was assumed of the times, a sentence each.
func (s *Set) Assumed() []string { return s.assumed }

// Notes says what else was found, a sentence each.
func (s *Set) Notes() []string { return append(slices.Clone(s.assumed), s.notes...) }

// Run implements source.Source.
func (s *Set) Run(ctx context.Context, emit source.Emit) error { return s.RunFrom(ctx, 0, emit) }

// RunFrom implements source.Seekable. Entries are all that there is: there is no state before t.
func (s *Set) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	const batchEvents = 4096
	first, _ := slices.BinarySearchFunc(s.events, t, func(e model.HostEvent, t model.Time) int {
		return cmp.Compare(e.Time, t)
	})
	at, flags := s.start, model.Flags(0)
	if t > s.start {
		at, flags = min(t, s.end), model.FlagKeyframe
	}
	var b model.Builder
	meta := func(key, value string) { b.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value}) }
	if len(s.hosts) == 1 {
		meta("host", s.hosts[0])
	}
	meta("os", "windows")
	meta("source", "event log "+strings.Join(s.files[:min(len(s.files), 4)], ", "))
	if len(s.assumed) > 0 {
		meta("assumed", strings.Join(s.assumed, "; "))
	}
	b.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
	for _, e := range s.events[first:] {
		b.AddHostEvent(e)
		if b.Len() >= batchEvents {
			if err := emit(b.Take()); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
	if s.left > 0 {
		b.AddLoss(model.Loss{
			Time: s.end, CPU: -1, Lost: s.left, Origin: model.OriginMemory, Detail: "entries beyond the memory for event logs",
		})
	}
	return emit(b.Take())
}
