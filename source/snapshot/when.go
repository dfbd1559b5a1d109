package snapshot

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
	"lostbeat/source"
)

// msDate is a date of ConvertTo-Json in Windows PowerShell: milliseconds since 1970, UTC.
var msDate = lazyregexp.New(`^\\?/Date\((-?\d{1,15})(?:[+-]\d{4})?\)\\?/$`)

// exactTime reads a time whose form leaves nothing open.
func exactTime(s string, zone *time.Location) (model.Time, bool) {
	if m := msDate.FindStringSubmatch(s); m != nil {
		ms, err := strconv.ParseInt(m[1], 10, 64)
		return plausible(time.UnixMilli(ms)), err == nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05",
		"2006/01/02 15:04:05", "2006/1/2 15:04:05", "2006-01-02 15:04", "2006/1/2 3:04:05 PM", "2006. 1. 2. 15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return plausible(t), true
		}
	}
	return 0, false
}

// plausible returns a time, 0 for one that no table can be of.
func plausible(t time.Time) model.Time {
	if t.Year() < 1995 || t.Year() > 2150 {
		return 0
	}
	return model.TimeOf(t)
}

// numericDate is a date whose order of day and month depends on the culture.
var numericDate = lazyregexp.New(
	`^(\d{1,2})([./-])(\d{1,2})[./-](\d{4}),?\s+(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\s*([AaPp])\.?\s?[Mm]\.?)?$`,
)

// dates reads the creation times whose order of day and month is decided over all of them.
func (p *parser) dates() {
	if len(p.created) == 0 {
		return
	}
	dayFirst, monthFirst, dotted, unread := false, false, false, 0
	parts := make([][]string, len(p.created))
	for i, c := range p.created {
		m := numericDate.FindStringSubmatch(strings.Map(source.PlainSpace, c.text))
		if parts[i] = m; m == nil {
			unread++
			continue
		}
		a, _ := strconv.Atoi(m[1])
		b, _ := strconv.Atoi(m[3])
		dayFirst, monthFirst, dotted = dayFirst || a > 12, monthFirst || b > 12, dotted || m[2] == "."
	}
	if dayFirst && monthFirst {
		p.set.note("%s: its CreationTime has both orders of day and month and was not used", p.file)
		return
	}
	if !dayFirst && !monthFirst {
		dayFirst = dotted
		if !dotted && unread < len(p.created) {
			p.set.assume("%s: CreationTime is read as month/day/year (no date shows the order)", p.file)
		}
	}
	for i, c := range p.created {
		m := parts[i]
		if m == nil {
			continue
		}
		t, ok := source.CultureTime(m, dayFirst, p.zone)
		if !ok {
			unread++
			continue
		}
		p.tables[c.table].rows[c.row].created = plausible(t)
	}
	if unread > 0 {
		p.set.note("%s: %d times of creation could not be read", p.file, unread)
	}
	p.created = nil
}

// isoDate is a date with a time anywhere in a line.
var isoDate = lazyregexp.New(
	`(?:^|[^\d])(20\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d(?::[0-5]\d)?(?:\.\d+)?(?:Z|[+-][0-2]\d:?[0-5]\d)?)(?:$|[^\d:])`,
)

// lineLayouts are what date and Get-Date print.
var lineLayouts = []string{
	time.UnixDate, time.ANSIC, "Mon 02 Jan 2006 03:04:05 PM MST", "Mon 02 Jan 2006 15:04:05 MST",
	"Mon 2 Jan 15:04:05 MST 2006", "Monday, January 2, 2006 3:04:05 PM", "Monday, 2 January 2006 15:04:05",
	"Monday, January 2, 2006 15:04:05", time.RFC1123, time.RFC1123Z, "01/02/2006 15:04:05", "02.01.2006 15:04:05",
	"1/2/2006 3:04:05 PM", "Mon 01/02/2006 15:04:05.99", "Mon 01/02/2006 15:04:05",
}

// dateLine takes a line that says when what follows was listed.
func (p *parser) dateLine(trimmed []byte) (model.Time, bool) {
	const most = 80
	if len(trimmed) > most || len(trimmed) < 8 || !bytes.ContainsAny(trimmed, "0123456789") {
		return 0, false
	}
	text := strings.Trim(strings.Map(source.PlainSpace, string(trimmed)), " =#-*")
	if m := isoDate.FindStringSubmatch(text); m != nil {
		s := strings.Replace(m[1], " ", "T", 1)
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05.999999999",
			"2006-01-02T15:04"} {
			if t, err := time.ParseInLocation(layout, s, p.zone); err == nil {
				at := plausible(t)
				return at, at != 0
			}
		}
	}
	for _, layout := range lineLayouts {
		if t, err := time.ParseInLocation(layout, text, p.zone); err == nil {
			at := plausible(t)
			return at, at != 0
		}
	}
	return 0, false
}

// nameDate is a date with a time in the name of a file.
var nameDate = lazyregexp.New(
	`(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_.T ]*([0-2]\d)[-_.:h]?([0-5]\d)(?:[-_.:m]?([0-5]\d))?(Z?)`,
)

// timeInName returns the time in a file's name, 0 without one.
func timeInName(name string, zone *time.Location) model.Time {
	m := nameDate.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	var n [7]int
	for i := range n[1:] {
		n[i+1], _ = strconv.Atoi(m[i+1])
	}
	if m[7] == "Z" {
		zone = time.UTC
	}
	t := time.Date(n[1], time.Month(n[2]), n[3], n[4], n[5], n[6], 0, zone)
	if n[2] < 1 || n[2] > 12 || t.Day() != n[3] || n[4] > 23 {
		return 0
	}
	return plausible(t)
}
