package linuxhost

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// titleLine is the first line of sar's text: system, release, host, date, machine, CPUs.
var titleLine = lazyregexp.New(`^Linux\s+(\S+)\s+\(([^)]*)\)\s+(\S+)\s+\S+\s+\((\d+) \S+\)`)

// clockText is the time at the beginning of a line: 10:00:05, 10.00.05, and as locales of Japan and China write it.
var clockText = lazyregexp.New(`^(\d{1,2})[:.時时](\d{2})[:.分](\d{2})秒?$`)

// isText reports whether head is text of sar: its title, and a table with times.
func isText(head []byte) bool {
	titled, timed := false, 0
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		switch {
		case titleLine.Match(line):
			titled = true
		case titled && len(line) > 0:
			if first, _, _ := strings.Cut(string(line), " "); clockText.MatchString(first) {
				timed++
			}
		}
	}
	return titled && timed >= 2
}

// textTable is which values a table of the text has: columns by their names without "/s" and "%".
type textTable struct {
	element string
	// unit is the column of the CPU or interface, -1 for none.
	unit    int
	columns []string
}

// tableOf returns the table of a line of names, nil for one that is not read.
func tableOf(names []string) *textTable {
	t := &textTable{unit: -1}
	has := map[string]bool{}
	for i, name := range names {
		plain := strings.TrimPrefix(strings.TrimSuffix(name, "/s"), "%")
		if plain == "CPU" || plain == "IFACE" {
			t.unit = i
		}
		has[name] = true
		t.columns = append(t.columns, plain)
	}
	switch {
	case t.unit >= 0 && has["%soft"]:
		t.element = "cpu"
	case t.unit >= 0 && has["dropd/s"]:
		t.element = "softnet"
	case t.unit >= 0 && has["rxpck/s"]:
		t.element = "net-dev"
	case t.unit >= 0 && has["rxdrop/s"]:
		t.element = "net-edev"
	case has["idgmerr/s"]:
		t.element = "net-udp"
	case has["totsck"]:
		t.element = "net-sock"
	}
	return t
}

// isNames reports whether the cells of a line name columns rather than hold values.
func isNames(cells []string) bool {
	words := 0
	for _, c := range cells {
		if _, ok := number(c); !ok && (strings.HasSuffix(c, "/s") || strings.HasPrefix(c, "%") || c == "CPU" ||
			c == "IFACE" ||
			c == "totsck" || c == "runq-sz" || c == "DEV" || strings.HasPrefix(c, "kb") || c == "dentunusd" || c == "INTR") {
			words++
		}
	}
	return words > 0
}

// textReader reads the output of sar. Each table goes over all of the time again, and names its columns anew now and
// then.
type textReader struct {
	s     *Set
	name  string
	of    sample
	table *textTable
	// key is the columns of the table.
	key string
	day time.Time
	// clock is the last time in seconds of the day, days how many midnights have passed in this table.
	clock, days int
	last        model.Time
	// restarts are times of day at which the host was started: what follows says whether they are in this table.
	restarts []int
	title    bool
}

// readText reads the output of sar.
func (s *Set) readText(r io.Reader, name string) error {
	in := bufio.NewReaderSize(r, 64<<10)
	given := s.zone
	defer func() { s.zone = given }()
	t := &textReader{s: s, name: name}
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			if err == nil {
				continue
			}
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		text := strings.TrimSpace(string(line))
		if m := titleLine.FindStringSubmatch(text); m != nil {
			t.restarted(true)
			if !t.begin(m, given) {
				return nil
			}
		} else if t.title {
			t.line(text)
		}
		if err != nil {
			t.restarted(true)
			return nil
		}
	}
}

// begin takes the title of an output; given is the zone of hosts that are not known.
func (t *textReader) begin(title []string, given *time.Location) bool {
	s := t.s
	t.of.host = title[2]
	s.host(t.of.host)
	s.kernels[t.of.host] = title[1]
	if s.zone = given; !s.zoned {
		if zone := s.zones[shortName(t.of.host)]; zone != nil {
			s.zone = zone // that of the host's bundle: sar was run on the host
		} else {
			s.assume("the times of sar's text have no zone; they are read as UTC (--log-time says it, XML of sadf -x has it)")
		}
	}
	day, ok := s.dayOf(title[3], t.name)
	if !ok {
		s.integrity.Add(fmt.Sprintf("%s: its date %q is not known: the rest of it was not read", t.name, title[3]), 0)
		return false
	}
	t.day, t.title, t.table, t.key, t.clock, t.days = day, true, nil, "", -1, 0
	return true
}

// line takes a line behind the title.
func (t *textReader) line(text string) {
	cells := strings.Fields(text)
	seconds, rest, ok := clockOf(cells)
	switch {
	case !ok: // means at the end, an empty line
	case strings.Contains(text, "LINUX RESTART"):
		const most = 1000
		if len(t.restarts) < most {
			t.restarts = append(t.restarts, seconds)
		}
		t.table = nil
	case isNames(rest):
		key := strings.Join(rest, " ")
		if key == t.key && t.table != nil {
			return
		}
		if t.restarted(key == t.key); key == t.key {
			t.pass(seconds)
		} else {
			t.clock, t.days = seconds, 0
		}
		t.key, t.table = key, tableOf(rest)
		t.last = t.s.momentAt(t.day, t.days, seconds)
	case t.table != nil && t.table.element != "" && len(rest) == len(t.table.columns):
		t.pass(seconds)
		if at := t.s.momentAt(t.day, t.days, seconds); at != t.of.at {
			t.of.span = min(max(at.Sub(t.last), 0), maxSpan)
			t.of.at, t.last = at, at
		}
		unit := ""
		if t.table.unit >= 0 {
			unit = rest[t.table.unit]
		}
		for i, c := range t.table.columns {
			if i != t.table.unit {
				t.s.value(t.of, t.table.element, c, unit, rest[i])
			}
		}
	}
}

// midnight reports whether a time of day is one of the next day.
func (t *textReader) midnight(seconds int) bool {
	return seconds < t.clock && t.clock-seconds > 12*3600
}

// pass goes on to a time of day.
func (t *textReader) pass(seconds int) {
	if t.midnight(seconds) {
		t.days++
	}
	t.clock = seconds
}

// restarted takes the restarts that were read. A table says a restart where it is, and one at its beginning before its
// columns: same says that the table goes on, or was the last. Else the day of some is not known; another table says it.
func (t *textReader) restarted(same bool) {
	for _, seconds := range t.restarts {
		if !same && (t.days > 0 || t.midnight(seconds)) {
			continue
		}
		if same {
			t.pass(seconds)
		}
		t.s.restart(t.of.host, t.s.momentAt(t.day, t.days, seconds))
	}
	t.restarts = t.restarts[:0]
}

// momentAt returns a time of day of sar's text.
func (s *Set) momentAt(day time.Time, days, seconds int) model.Time {
	return model.TimeOf(time.Date(day.Year(), day.Month(), day.Day()+days, 0, 0, seconds, 0, s.zone))
}

// clockOf takes the time from the beginning of a line: of 24 hours, or of 12 with AM or PM behind it.
func clockOf(cells []string) (seconds int, rest []string, ok bool) {
	if len(cells) == 0 {
		return 0, nil, false
	}
	m := clockText.FindStringSubmatch(cells[0])
	if m == nil {
		return 0, nil, false
	}
	hour, _ := strconv.Atoi(m[1])
	minute, _ := strconv.Atoi(m[2])
	second, _ := strconv.Atoi(m[3])
	rest = cells[1:]
	if len(rest) > 0 {
		switch strings.ToUpper(strings.ReplaceAll(rest[0], ".", "")) {
		case "AM":
			hour, rest = hour%12, rest[1:]
		case "PM":
			hour, rest = hour%12+12, rest[1:]
		}
	}
	return hour*3600 + minute*60 + second, rest, hour < 24 && minute < 60 && second <= 60
}

// dayInName is the day of the month in the name of a file of sar: sar28, sa28.txt, and with the whole date sar20261128.
var dayInName = lazyregexp.New(`sar?(?:20\d{4})?(\d{2})(?:\D|$)`)

// dayOf reads the date of a title, whose order is that of a locale.
func (s *Set) dayOf(text, name string) (time.Time, bool) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) != 3 {
		return time.Time{}, false
	}
	var n [3]int
	for i, p := range parts {
		n[i], _ = strconv.Atoi(p)
	}
	year, month, day := n[2], n[0], n[1]
	switch {
	case len(parts[0]) == 4:
		year, month, day = n[0], n[1], n[2]
	case strings.Contains(text, ".") || n[0] > 12:
		month, day = n[1], n[0]
	case n[1] <= 12 && n[0] != n[1]:
		m := dayInName.FindStringSubmatch(name)
		of := 0
		if m != nil {
			of, _ = strconv.Atoi(m[1])
		}
		switch of {
		case n[1]:
		case n[0]:
			month, day = n[1], n[0]
		default:
			s.assume("the date %s of sar is read as month/day/year", text)
		}
	}
	if year < 100 {
		year += 2000
	}
	d := time.Date(year, time.Month(month), day, 0, 0, 0, 0, s.zone)
	return d, month >= 1 && month <= 12 && d.Day() == day && year >= 1990 && year < 2200
}
