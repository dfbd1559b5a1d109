package applog

import (
	"bytes"
	"time"

	"lostbeat/model"
)

// shape is how the lines of a log say their time.
type shape struct {
	form form
	// hint is where the stamp of a line usually begins.
	hint int
	// zoned says that the stamps have a zone, yearless that their year is missing, dateless that they have no date.
	zoned, yearless, dateless bool
	// fraction says that the stamps have decimals.
	fraction bool
	// dayFirst says that the first number of a date with slashes is the day; ordered that a date in the log shows that.
	dayFirst, ordered bool
	// cluster says that this is a cluster.log of WSFC, whose records may be glued together.
	cluster bool
}

// Least numbers of lines by which a text is taken for a log.
const (
	leastStamped = 2
	manyStamped  = 20
)

// shapeOf finds the shape of a log from its beginning, which is UTF-8 or a code page.
func shapeOf(head []byte) (sh shape, ok bool) {
	if junk := bytes.Count(head, []byte{0}); junk > len(head)/4 {
		return sh, false
	}
	var list [][]byte
	for line := range bytes.Lines(head) {
		if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 {
			list = append(list, uncoloured(bytes.Clone(line[:min(len(line), maxLine)])))
		}
	}
	best, total := 0, len(list)
	for f := range forms {
		n, candidate := look(list, f)
		need := max(leastStamped, total/20)
		switch f {
		case formEpoch, formClock: // other numbers look like these
			need = max(leastStamped, total/2)
		}
		if n >= min(need, max(manyStamped, total/50)) && n > best {
			if (f == formEpoch || f == formClock) && n < need {
				continue
			}
			best, sh, ok = n, candidate, true
		}
	}
	return sh, ok
}

// look counts the lines that have a stamp of the form.
func look(list [][]byte, f form) (n int, sh shape) {
	sh = shape{form: f}
	quoted, zoned, yearless := 0, 0, 0
	places := map[int]int{}
	for _, line := range list {
		s, at, end, ok := find(line, f, sh.hint)
		if !ok {
			continue
		}
		if f == formEpoch && !epochPlace(line, at) {
			continue
		}
		n++
		places[at]++
		if places[at] > places[sh.hint] {
			sh.hint = at
		}
		if at == 1 && line[0] == '"' && bytes.HasPrefix(line[end:], []byte(`",`)) {
			quoted++
		}
		if s.zoned {
			zoned++
		}
		if s.year == 0 && s.month != 0 {
			yearless++
		}
		sh.dateless = f == formClock
		sh.fraction = sh.fraction || s.fraction
		sh.dayFirst = sh.dayFirst || s.swapped
		sh.ordered = sh.ordered || s.swapped || s.plain
		sh.cluster = sh.cluster || at >= 10 && line[at-1] == ':' && line[at-2] == ':'
	}
	sh.zoned, sh.yearless = zoned*2 > n, yearless*2 > n // a line may be cut in its stamp
	if quoted*2 > n {                                   // a table of values, whose heading is missing
		return 0, sh
	}
	return n, sh
}

// epochPlace reports whether a number at i may be a time: at the start of the
// line, in brackets, or behind the key of an object.
func epochPlace(line []byte, i int) bool {
	return i == 0 || line[i-1] == '[' || line[i-1] == ':' || bytes.HasSuffix(line[:i], []byte(`": `))
}

// clock turns stamps into times.
type clock struct {
	shape
	zone *time.Location
	// year and month are those of the last line, for stamps without a year; day is the day of the last line, since 1970,
	// for those without a date, and before its seconds.
	year, month int
	day, before int64
	// offset is that of zone, in seconds, in the hour since 1970 that was asked for last, once cached.
	hour, offset int64
	cached       bool
}

// time returns the moment of a stamp.
func (c *clock) time(s *stamp) model.Time {
	seconds := s.seconds
	switch {
	case c.form == formEpoch:
	case s.month == 0:
		if seconds < c.before-12*3600 { // past midnight
			c.day++
		}
		c.before = seconds
		seconds += c.day * 86400
	default:
		year := s.year
		if year == 0 {
			if c.month-s.month > 6 { // past New Year's Eve
				c.year++
			} else if s.month-c.month > 6 && c.month != 0 { // an older line among those of January
				c.year--
			}
			year = c.year
		}
		c.year, c.month = year, s.month // a line without a year among those with one is of theirs
		month, day := s.month, s.day
		if c.form == formSlash && c.dayFirst && !s.swapped && !s.plain {
			month, day = day, month
		}
		seconds += days(year, month, day) * 86400
	}
	offset := s.offset
	if !s.zoned {
		offset = c.zoneOffset(seconds)
	}
	return model.Time(min(max(seconds-offset, 0), lastSecond)*int64(time.Second) + s.nanos)
}

// lastSecond is the end of the last year that a stamp may have, in seconds since 1970. Stamps in disorder that have no
// year, or no date, may add up to more.
var lastSecond = days(mostYear+1, 1, 1)*86400 - 1

// zoneOffset returns local time minus UTC, in seconds, at a local time.
func (c *clock) zoneOffset(local int64) int64 {
	if hour := local / 3600; hour != c.hour || !c.cached {
		t := time.Unix(local, 0).UTC()
		_, offset := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), 0, 0, 0, c.zone).Zone()
		c.hour, c.offset, c.cached = hour, int64(offset), true
	}
	return c.offset
}
