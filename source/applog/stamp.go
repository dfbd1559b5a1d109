package applog

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// form is the shape of a time stamp.
type form uint8

// Forms, in the order in which they are preferred when a log fits several.
const (
	// formISO is 2015-07-29 19:13:24,282 with '-', '/' or '.' in the date, and 'T', ' ', '_', '-' or ':' before the time.
	formISO form = iota
	// formMonth is Mar 30 2013 19:36:46.105, Oct 05 17:37:23 and Thu Jun  1 12:00:00 [CEST] 2023.
	formMonth
	// formDay is 14-May-2015::14:52:07, 10/Oct/2000:13:55:36 and 14 May 2015 14:52:07.
	formDay
	// formSlash is 03/30/2013 19:36:46 and 3/30/2013 7:36:46 PM.
	formSlash
	// formDots is 30.03.2013 19:36:46.
	formDots
	// formKlog is I0330 19:36:46.105000.
	formKlog
	// formEpoch is seconds, or milliseconds, since 1970.
	formEpoch
	// formClock is 19:36:46:105 at the start of a line, without a date.
	formClock
	forms
)

var formNames = [forms]string{
	"ISO 8601", "month day time", "day month year", "month/day/year", "day.month.year", "klog (MMDD)",
	"seconds since 1970", "time of day",
}

func (f form) String() string { return formNames[f] }

// stamp is what a line says of its time.
type stamp struct {
	// year, month and day are 0 where the line does not say them.
	year, month, day int
	// seconds are those of the day, or since 1970 for formEpoch.
	seconds int64
	nanos   int64
	// offset is local time minus UTC in seconds; zoned says that the line gives it.
	offset int64
	zoned  bool
	// fraction says that the time has decimals.
	fraction bool
	// swapped says that the second number of a date with slashes cannot be a day; plain that the first cannot be a month.
	swapped, plain bool
}

// maxStampOffset is how far into a line a stamp may begin.
const maxStampOffset = 96

// find looks for a stamp of the form, first at hint.
func find(b []byte, f form, hint int) (s stamp, at, end int, ok bool) {
	if hint < len(b) && boundary(b, hint) {
		if s, end, ok = parse(b, hint, f); ok {
			return s, hint, end, true
		}
	}
	if i := keyed(b); i >= 0 {
		if s, end, ok = parse(b, i, f); ok {
			return s, i, end, true
		}
	}
	if f == formClock || f != formEpoch && !hasClock(b) {
		return s, 0, 0, false // a time of day alone is at the start of the line only, and hint is that
	}
	for i := 0; i < min(len(b), maxStampOffset); i++ {
		if i == hint || !starts(b[i], f) || !boundary(b, i) {
			continue
		}
		if s, end, ok = parse(b, i, f); ok {
			return s, i, end, true
		}
	}
	return s, 0, 0, false
}

// maxKeyed is how far into a line the time of a record in JSON is looked for: some programs sort their keys.
const maxKeyed = 4 << 10

// timeKeys are the keys of the time in such records.
var timeKeys = [][]byte{
	[]byte(`"time":"`), []byte(`"ts":"`), []byte(`"timestamp":"`), []byte(`"@timestamp":"`), []byte(`"ts":`),
	[]byte(`"time":`), []byte(`"timestamp":`),
}

// keyed returns where the time of a record in JSON begins, -1 where the line is none.
func keyed(b []byte) int {
	if at(b, 0) != '{' {
		return -1
	}
	b = b[:min(len(b), maxKeyed)]
	for _, key := range timeKeys {
		if i := bytes.Index(b, key); i >= 0 {
			return i + len(key)
		}
	}
	return -1
}

// hasClock reports whether a time of day is near the beginning of a line.
func hasClock(b []byte) bool {
	b = b[:min(len(b), maxStampOffset+longestStamp)]
	for i := 0; ; i++ {
		j := bytes.IndexByte(b[i:], ':')
		if j < 0 {
			return false
		}
		if i += j; i > 0 && digit(b[i-1]) && two(b, i+1) >= 0 {
			return true
		}
	}
}

// longestStamp is the length of the longest stamp.
const longestStamp = 48

// starts reports whether a stamp of the form can begin with c.
func starts(c byte, f form) bool {
	if f == formMonth || f == formKlog {
		return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= utf8.RuneSelf
	}
	return digit(c)
}

// boundary reports whether a word can begin at i.
func boundary(b []byte, i int) bool {
	if i == 0 {
		return true
	}
	c := b[i-1]
	return !digit(c) && !letter(c) && c != '.' || c == 'T' && i == 1
}

func digit(c byte) bool  { return c-'0' <= 9 }
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= utf8.RuneSelf }

func parse(b []byte, i int, f form) (s stamp, end int, ok bool) {
	switch f {
	case formISO:
		return parseISO(b, i)
	case formMonth:
		return parseMonth(b, i)
	case formDay:
		return parseDay(b, i)
	case formSlash:
		return parseSlash(b, i)
	case formDots:
		return parseDots(b, i)
	case formKlog:
		return parseKlog(b, i)
	case formEpoch:
		return parseEpoch(b, i)
	case formClock:
		return parseClock(b, i)
	}
	return s, 0, false
}

// two reads two digits at i, -1 for none.
func two(b []byte, i int) int {
	if i+2 > len(b) || !digit(b[i]) || !digit(b[i+1]) {
		return -1
	}
	return int(b[i]-'0')*10 + int(b[i+1]-'0')
}

// upToTwo reads one or two digits at i.
func upToTwo(b []byte, i int) (v, end int) {
	if v = two(b, i); v >= 0 {
		return v, i + 2
	}
	if i < len(b) && digit(b[i]) {
		return int(b[i] - '0'), i + 1
	}
	return -1, i
}

// four reads a year at i, -1 for none.
func four(b []byte, i int) int {
	if i+4 > len(b) {
		return -1
	}
	high, low := two(b, i), two(b, i+2)
	if high < 0 || low < 0 {
		return -1
	}
	return high*100 + low
}

func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// leastYear and mostYear are the years in which a stamp is believed.
const leastYear, mostYear = 1980, 2199

func (s *stamp) dated() bool {
	return s.month >= 1 && s.month <= 12 && s.day >= 1 && s.day <= 31 &&
		(s.year == 0 || s.year >= leastYear && s.year <= mostYear)
}

func parseISO(b []byte, i int) (s stamp, end int, ok bool) {
	if i+19 > len(b) {
		return s, 0, false
	}
	sep := b[i+4]
	switch {
	case digit(sep): // 20150729 19:13:24
		s.year, s.month, s.day = four(b, i), two(b, i+4), two(b, i+6)
		i += 8
	case sep != '-' && sep != '/' && sep != '.' || b[i+7] != sep:
		return s, 0, false
	default:
		s.year, s.month, s.day = four(b, i), two(b, i+5), two(b, i+8)
		i += 10
	}
	if !s.dated() || s.year <= 0 {
		return s, 0, false
	}
	switch b[i] {
	case 'T', 't', ' ', '_', '-', '|':
		i++
	case ':':
		if i++; b[i] == ':' {
			i++
		}
	default:
		return s, 0, false
	}
	return s.clock(b, skipSpaces(b, i))
}

// clock reads the time of day at i, with what follows of fraction, half of the day and zone.
func (s *stamp) clock(b []byte, i int) (out stamp, end int, ok bool) {
	hour, next := upToTwo(b, i)
	if hour < 0 || hour > 23 || at(b, next) != ':' {
		return *s, 0, false
	}
	minute := two(b, next+1)
	if minute < 0 || minute > 59 || at(b, next+3) != ':' {
		return *s, 0, false
	}
	second := two(b, next+4)
	if second < 0 || second > 60 {
		return *s, 0, false
	}
	i = next + 6
	if c := at(b, i); (c == '.' || c == ',' || c == ':') && digit(at(b, i+1)) {
		start := i + 1
		n, scale := int64(0), int64(1e9)
		for i = start; i < len(b) && digit(b[i]) && i-start < 9; i++ {
			n = n*10 + int64(b[i]-'0')
			scale /= 10
		}
		switch {
		case c == ':' && i-start != 3: // 19:36:46:105 as ICM writes it; other numbers are no fraction
			i = start - 1
		default:
			s.nanos, s.fraction = n*scale, true
			for i < len(b) && digit(b[i]) {
				i++
			}
		}
	}
	if i < len(b) && (digit(b[i]) || letter(b[i]) && b[i] != 'Z' && b[i] != 'A' && b[i] != 'P') {
		return *s, 0, false
	}
	hour, i = halfOfDay(b, i, hour)
	s.seconds = int64(hour)*3600 + int64(minute)*60 + int64(second)
	i = s.zone(b, i)
	return *s, i, true
}

// halfOfDay reads AM or PM behind a time.
func halfOfDay(b []byte, i, hour int) (hour24, end int) {
	j := i
	if at(b, j) == ' ' {
		j++
	}
	half := at(b, j) | 0x20
	if half != 'a' && half != 'p' || at(b, j+1)|0x20 != 'm' || letter(at(b, j+2)) || hour > 12 {
		return hour, i
	}
	if hour %= 12; half == 'p' {
		hour += 12
	}
	return hour, j + 2
}

// zone reads Z, UTC, GMT, +01:00, -0500 or +02 at i; a number behind a space needs four digits.
func (s *stamp) zone(b []byte, i int) (end int) {
	spaced := at(b, i) == ' '
	j := i
	if spaced {
		j++
	}
	switch c := at(b, j); c {
	case 'Z':
		if spaced || letter(at(b, j+1)) {
			return i
		}
		s.zoned = true
		return j + 1
	case 'U', 'G':
		if j+3 <= len(b) && (string(b[j:j+3]) == "UTC" || string(b[j:j+3]) == "GMT") && !letter(at(b, j+3)) {
			s.zoned = true
			return j + 3
		}
	case '+', '-':
		hours := two(b, j+1)
		if hours < 0 || hours > 15 {
			return i
		}
		k := j + 3
		colon := at(b, k) == ':'
		if colon {
			k++
		}
		minutes := two(b, k)
		switch {
		case minutes >= 0 && minutes < 60:
			k += 2
		case spaced || colon:
			return i
		default:
			minutes = 0
		}
		if digit(at(b, k)) {
			return i
		}
		s.zoned, s.offset = true, int64(hours)*3600+int64(minutes)*60
		if c == '-' {
			s.offset = -s.offset
		}
		return k
	}
	return i
}

// parseMonth reads Mar 30 2013 19:36:46, Oct  5 17:37:23 and Jun  1 12:00:00 CEST 2023. A day of the week before it is
// passed over by find.
func parseMonth(b []byte, i int) (s stamp, end int, ok bool) {
	if i >= 2 && b[i-1] == ' ' && digit(b[i-2]) && (i == 3 || i > 3 && boundary(b, i-3) && digit(b[i-3])) {
		return s, 0, false // 29 Nov 26 19:36:46
	}
	s.month, i = month(b, i)
	if s.month == 0 || at(b, i) != ' ' {
		return s, 0, false
	}
	i = skipSpaces(b, i)
	s.day, i = upToTwo(b, i)
	if at(b, i) == ',' {
		i++
	}
	if at(b, i) != ' ' {
		return s, 0, false
	}
	i++
	if year := four(b, i); year >= 0 && (at(b, i+4) == ' ' || at(b, i+4) == ',') {
		s.year = year
		i += 5
		i = skipSpaces(b, i)
	}
	if !s.dated() {
		return s, 0, false
	}
	if s, i, ok = s.clock(b, i); !ok || s.year != 0 {
		return s, i, ok
	}
	// The year may follow, behind the name of a zone.
	j := i
	if at(b, j) == ' ' && at(b, j+1) >= 'A' && at(b, j+1) <= 'Z' {
		for j++; j < len(b) && b[j] >= 'A' && b[j] <= 'Z'; j++ {
		}
	}
	if year := four(b, j+1); at(b, j) == ' ' && year >= leastYear && year <= mostYear && !digit(at(b, j+5)) {
		s.year, i = year, j+5
	}
	return s, i, true
}

func parseDay(b []byte, i int) (s stamp, end int, ok bool) {
	s.day, i = upToTwo(b, i)
	if at(b, i) == '.' { // 14. Mai 2015
		i++
	}
	sep := at(b, i)
	if sep != '-' && sep != '/' && sep != ' ' {
		return s, 0, false
	}
	if s.month, i = month(b, i+1); s.month == 0 || at(b, i) != sep {
		return s, 0, false
	}
	if s.year = four(b, i+1); s.year >= 0 {
		i += 5
	} else if short := two(b, i+1); short >= 0 {
		s.year = 2000 + short
		i += 3
	}
	if !s.dated() || s.year <= 0 {
		return s, 0, false
	}
	switch at(b, i) {
	case ' ', ',', 'T':
		i++
	case ':':
		if i++; at(b, i) == ':' {
			i++
		}
	default:
		return s, 0, false
	}
	return s.clock(b, skipSpaces(b, i))
}

func parseSlash(b []byte, i int) (s stamp, end int, ok bool) {
	s.month, i = upToTwo(b, i)
	sep := at(b, i)
	if sep != '/' && sep != '-' {
		return s, 0, false
	}
	s.day, i = upToTwo(b, i+1)
	if at(b, i) != sep {
		return s, 0, false
	}
	s.year = four(b, i+1)
	i += 5
	s.swapped, s.plain = s.month > 12, s.day > 12
	if s.swapped {
		s.month, s.day = s.day, s.month
	}
	if !s.dated() || s.year <= 0 {
		return s, 0, false
	}
	switch at(b, i) {
	case ' ', ',', '-', 'T':
		i++
	default:
		return s, 0, false
	}
	return s.clock(b, skipSpaces(b, i))
}

func parseDots(b []byte, i int) (s stamp, end int, ok bool) {
	if i+19 > len(b) || b[i+2] != '.' || b[i+5] != '.' {
		return s, 0, false
	}
	s.day, s.month, s.year = two(b, i), two(b, i+3), four(b, i+6)
	if i += 10; !s.dated() || s.year <= 0 || b[i] != ' ' && b[i] != ',' && b[i] != 'T' {
		return s, 0, false
	}
	return s.clock(b, skipSpaces(b, i+1))
}

func parseKlog(b []byte, i int) (s stamp, end int, ok bool) {
	switch at(b, i) {
	case 'I', 'W', 'E', 'F':
	default:
		return s, 0, false
	}
	if s.month, s.day = two(b, i+1), two(b, i+3); !s.dated() || at(b, i+5) != ' ' {
		return s, 0, false
	}
	if s, end, ok = s.clock(b, i+6); !s.fraction {
		return s, 0, false
	}
	return s, end, ok
}

// parseEpoch reads 1472250467.18 and 1472250467180: from 2001 to 2096.
func parseEpoch(b []byte, i int) (s stamp, end int, ok bool) {
	n, start := int64(0), i
	for ; i < len(b) && digit(b[i]) && i-start < 14; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	if i < len(b) && letter(b[i]) {
		return s, 0, false
	}
	switch i - start {
	case 10:
	case 13:
		s.nanos, s.fraction = n%1000*1e6, true
		n /= 1000
	default:
		return s, 0, false
	}
	if n < 1_000_000_000 || n > 3_999_999_999 {
		return s, 0, false
	}
	s.seconds, s.zoned = n, true
	if at(b, i) == '.' && digit(at(b, i+1)) && !s.fraction {
		scale := int64(1e9)
		for i++; i < len(b) && digit(b[i]); i++ {
			if scale > 1 {
				scale /= 10
				s.nanos += int64(b[i]-'0') * scale
			}
		}
		s.fraction = true
	}
	return s, i, true
}

func parseClock(b []byte, i int) (s stamp, end int, ok bool) {
	if i+9 > len(b) || b[i+2] != ':' {
		return s, 0, false
	}
	if s, end, ok = s.clock(b, i); !ok || at(b, end) != ' ' {
		return s, 0, false
	}
	return s, end, true
}

// skipSpaces returns where the spaces that begin at i end.
func skipSpaces(b []byte, i int) int {
	for at(b, i) == ' ' {
		i++
	}
	return i
}

// month reads the name of a month at i, short or long, English or of another language; 0 for none.
func month(b []byte, i int) (number, end int) {
	if i+3 > len(b) {
		return 0, i
	}
	if !letter(at(b, i+3)) && at(b, i+3) != '.' {
		if number = english(b[i], b[i+1], b[i+2]); number > 0 {
			return number, i + 3
		}
	}
	var name [maxMonthName]byte
	n := 0
	for end = i; end < len(b); {
		r, size := utf8.DecodeRune(b[end:])
		if !unicode.IsLetter(r) && !unicode.IsMark(r) {
			break
		}
		if n+utf8.UTFMax > len(name) {
			return 0, i
		}
		n += utf8.EncodeRune(name[n:], unicode.ToLower(r))
		end += size
	}
	if n == 0 {
		return 0, i
	}
	if at(b, end) == '.' {
		end++
	}
	return int(monthNames[string(name[:n])]), end
}

func english(a, b, c byte) int {
	switch uint32(a|0x20)<<16 | uint32(b|0x20)<<8 | uint32(c|0x20) {
	case 'j'<<16 | 'a'<<8 | 'n':
		return 1
	case 'f'<<16 | 'e'<<8 | 'b':
		return 2
	case 'm'<<16 | 'a'<<8 | 'r':
		return 3
	case 'a'<<16 | 'p'<<8 | 'r':
		return 4
	case 'm'<<16 | 'a'<<8 | 'y':
		return 5
	case 'j'<<16 | 'u'<<8 | 'n':
		return 6
	case 'j'<<16 | 'u'<<8 | 'l':
		return 7
	case 'a'<<16 | 'u'<<8 | 'g':
		return 8
	case 's'<<16 | 'e'<<8 | 'p':
		return 9
	case 'o'<<16 | 'c'<<8 | 't':
		return 10
	case 'n'<<16 | 'o'<<8 | 'v':
		return 11
	case 'd'<<16 | 'e'<<8 | 'c':
		return 12
	}
	return 0
}

// daysTo1970 is the number of days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const daysTo1970 = 719468

// days returns the number of days from 1970-01-01 to a date.
func days(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	ofEra := year - era*400
	ofYear := (153*(month-3)+2)/5 + day - 1
	return int64(era)*146097 + int64(ofEra*365+ofEra/4-ofEra/100+ofYear) - daysTo1970
}
