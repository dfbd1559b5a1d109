package perfmon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
	"lostbeat/source"
)

// Signatures of the first cell.
const (
	signatureCSV = "(PDH-CSV "
	signatureTSV = "(PDH-TSV "
)

// textHeader is the header line of a text log.
type textHeader struct {
	// sep separates the cells.
	sep byte
	// zone is what stands for the time zone, empty for none.
	zone string
	// bias is the number of minutes from local time to UTC, known whether the header has one.
	bias  int
	known bool
	// offset is local time minus UTC, from the bias or from the user.
	offset time.Duration
	// page is the code page of the names, empty for UTF-8.
	page string
	// columns are the columns behind the time; nil for one that is no counter path.
	columns []*column
	// description is the text of a column that is no path, empty for none.
	description string
	// beyond is the number of columns that are not read, see maxColumns.
	beyond int
}

// textLog reads PDH CSV and TSV.
type textLog struct {
	r       io.ReaderAt
	size    int64
	width   width
	options *Options
	names   *names
	header  textHeader
	// headerStart is where the header line begins, dataStart where the line after it does.
	headerStart, dataStart int64
}

var (
	biasPattern = lazyregexp.New(`\)\((-?\d{1,4})\)?$`)
	zonePattern = lazyregexp.New(`^\(PDH-[CT]SV [\d.]+\) ?\(?(.*)$`)
)

// bom returns the width of a text by its byte order mark and the mark's length.
func bom(b []byte) (w width, n int64) {
	switch {
	case bytes.HasPrefix(b, []byte{0xef, 0xbb, 0xbf}):
		return narrow, 3
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return utf16LE, 2
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return utf16BE, 2
	}
	return narrow, 0
}

// detectText reports whether b begins a text log: its first line that is not
// empty starts with the signature, quoted or not.
func detectText(b []byte) bool {
	w, n := bom(b)
	b = b[n:]
	if w != narrow {
		b = source.AppendUTF16(nil, b, w == utf16BE)
	}
	return isHeader(bytes.TrimLeft(b, " \t\r\n"))
}

func isHeader(line []byte) bool {
	line = bytes.TrimPrefix(line, []byte{'"'})
	return bytes.HasPrefix(line, []byte(signatureCSV)) || bytes.HasPrefix(line, []byte(signatureTSV))
}

// openText reads the header of a text log.
func openText(r io.ReaderAt, size int64, options *Options, n *names) (*textLog, error) {
	var start [3]byte
	if _, err := r.ReadAt(start[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	t := &textLog{r: r, size: size, options: options, names: n}
	t.width, t.headerStart = bom(start[:])
	lines := newLineReader(r, t.headerStart, size, t.width)
	for {
		t.headerStart = lines.offset
		line, _, err := lines.next()
		if err != nil {
			return nil, fmt.Errorf("read the header: %w", err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !isHeader(line) {
			return nil, ErrFormat
		}
		t.dataStart = lines.offset
		t.header, err = t.parseHeader(line)
		return t, err
	}
}

// parseHeader reads a header line: the first, or that of a log that was appended.
func (t *textLog) parseHeader(line []byte) (textHeader, error) {
	h, err := parseTextHeader(line, t.options.CodePage, t.names)
	if err != nil {
		return h, err
	}
	switch {
	case t.options.UTCOffset != nil:
		h.offset = *t.options.UTCOffset
	case h.known:
		h.offset = -time.Duration(h.bias) * time.Minute
	default:
		return h, &OffsetError{Zone: printable(h.zone)}
	}
	return h, nil
}

// parseTextHeader reads a header line.
func parseTextHeader(line []byte, pageName string, n *names) (textHeader, error) {
	h := textHeader{sep: headerSeparator(line)}
	var raw []string
	for c := (cells{line, h.sep}); ; {
		cell, ok := c.next()
		if !ok {
			break
		}
		if len(raw) > maxColumns {
			h.beyond++
			continue
		}
		raw = append(raw, string(cell))
	}
	decode := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	if pageName != "" {
		page, err := codePageNamed(pageName)
		if err != nil {
			return h, err
		}
		h.page, decode = page.name, page.decode
	} else if page, ok := guessCodePage(raw, n); ok {
		h.page, decode = page.name, page.decode
	}
	if m := zonePattern.FindStringSubmatch(decode(raw[0])); m != nil {
		h.zone = m[1]
		if b := biasPattern.FindStringSubmatch(h.zone); b != nil {
			// A bias is within a day and a half; anything else is part of a name.
			if v, err := strconv.Atoi(b[1]); err == nil && v > -36*60 && v < 36*60 {
				h.bias, h.known = v, true
				h.zone = strings.TrimSuffix(h.zone, b[0])
			}
		}
	}
	h.columns = make([]*column, 0, len(raw)-1)
	foreign := 0
	for _, cell := range raw[1:] {
		p, ok := parsePath(decode(cell))
		if !ok {
			if text := strings.TrimSpace(decode(cell)); text != "" {
				h.description = text
			}
			h.columns = append(h.columns, nil)
			continue
		}
		switch p.object {
		case "Physical Cpu", "Group Cpu", "Vcpu":
			foreign++
		}
		known, spec := n.find(p.object, p.counter)
		h.columns = append(h.columns, newColumn(p, known, spec))
	}
	if foreign > 0 {
		return h, &ForeignError{Program: "VMware esxtop"}
	}
	return h, nil
}

// headerSeparator returns what separates the cells of a header line: what
// follows the first cell.
func headerSeparator(line []byte) byte {
	if line[0] == '"' {
		if i := bytes.IndexByte(line[1:], '"'); i >= 0 && i+2 < len(line) {
			return line[i+2]
		}
	} else if i := bytes.IndexAny(line, ",;\t"); i >= 0 {
		return line[i]
	}
	if bytes.Contains(line[:min(len(line), 12)], []byte(signatureTSV)) {
		return '\t'
	}
	return ','
}

// parseTextTime reads a sample's local time as if it were UTC: MM/DD/YYYY
// HH:MM:SS with any number of decimals, as PDH writes it in every locale; also
// YYYY-MM-DD and DD.MM.YYYY, which other programs make of it.
func parseTextTime(cell []byte) (model.Time, bool) {
	s := string(cell)
	if len(s) < 16 {
		return 0, false
	}
	layout := "2006-01-02 15:04:05"
	switch {
	case s[2] == '/':
		layout = "01/02/2006 15:04:05"
	case s[2] == '.':
		layout = "02.01.2006 15:04:05"
	case s[10] == 'T':
		layout = "2006-01-02T15:04:05"
	}
	t, err := time.Parse(layout, s)
	if err != nil || t.Year() < 1980 || t.Year() > 2200 {
		return 0, false
	}
	return model.TimeOf(t), true
}

// parseValue reads a cell; ok is false for one without a number.
func parseValue(cell []byte) (v float64, ok bool) {
	if len(cell) == 0 || cell[0] == ' ' && len(bytes.TrimSpace(cell)) == 0 {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(cell), 64)
	if err != nil {
		s := strings.TrimSpace(string(cell))
		if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
			s = strings.Replace(s, ",", ".", 1)
		}
		if v, err = strconv.ParseFloat(s, 64); err != nil {
			return 0, false
		}
	}
	return v, !math.IsNaN(v) && !math.IsInf(v, 0)
}

// read hands the samples from the last before from on to the sink; from 0
// reads all.
func (t *textLog) read(ctx context.Context, from model.Time, to sink, progress func(int64)) error {
	if from != 0 {
		// A log to which another was appended has the header that stands before
		// from, which only reading finds; one header is the rule.
		offset, err := t.find(from)
		if err != nil {
			return err
		}
		return t.readFrom(ctx, offset, to, progress)
	}
	return t.readFrom(ctx, t.dataStart, to, progress)
}

func (t *textLog) readFrom(ctx context.Context, offset int64, to sink, progress func(int64)) error {
	lines := newLineReader(t.r, offset, t.size, t.width)
	h := t.header
	clock := localClock{offset: h.offset, stepped: to.note}
	if err := to.columns(h.columns); err != nil {
		return err
	}
	h.noteBeyond(to)
	pending, usual := 0, -1 // the cells of a line
	for n := 0; ; n++ {
		if n&15 == 0 {
			if stopped(ctx) {
				return nil
			}
			progress(lines.offset)
		}
		line, complete, err := lines.next()
		if errors.Is(err, io.EOF) {
			to.note(noteText, pending)
			progress(t.size)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read sample at offset %d: %w", lines.offset, err)
		}
		c := cells{line, h.sep}
		cell, _ := c.next()
		local, ok := parseTextTime(cell)
		if !ok {
			switch {
			case len(bytes.TrimSpace(line)) == 0:
			case isHeader(line):
				if h, err = t.parseHeader(line); err != nil {
					return fmt.Errorf("header at offset %d: %w", lines.offset, err)
				}
				clock.offset, usual = h.offset, -1
				if err := to.columns(h.columns); err != nil {
					return err
				}
				h.noteBeyond(to)
			case !complete && (line[0] == '"' || line[0] >= '0' && line[0] <= '9'):
				to.note(noteTorn, 1) // the file ends within the time of a sample
			default:
				pending++
			}
			continue
		}
		// Text at the end is what typeperf says; between samples it is damage.
		to.note(noteDamage, pending)
		pending = 0
		if !complete && (c.count() < len(h.columns)-1 || openCell(line)) {
			// The program was stopped while it wrote this line, or the file was cut off.
			to.note(noteTorn, 1)
			continue
		}
		n := c.count()
		if usual < 0 {
			usual = n
		}
		if n != usual || n < len(h.columns)-1 || !h.values(c.line) {
			to.note(noteDamage, 1)
			continue
		}
		if err := h.sample(clock.utc(local), &c, to); err != nil {
			return err
		}
	}
}

// openCell reports whether the last cell of a quoted line has no end: its value is not all there.
func openCell(line []byte) bool { return line[0] == '"' && bytes.Count(line, []byte{'"'})%2 != 0 }

// valueBytes are the bytes of which values consist, with what stands around them.
var valueBytes = func() (set [256]bool) {
	for _, c := range "0123456789+-.,eE\" \t;\r#INDQAS" {
		set[c] = true
	}
	return set
}()

// values reports whether b, the rest of a line behind its time, consists of values.
func (h *textHeader) values(b []byte) bool {
	for _, c := range b {
		if !valueBytes[c] && c != h.sep {
			return false
		}
	}
	return true
}

// noteBeyond notes the columns that are not read.
func (h *textHeader) noteBeyond(to sink) {
	if h.beyond > 0 {
		to.note(noteColumns, h.beyond)
	}
}

// count returns the number of cells left, without reading them.
func (c cells) count() (n int) {
	for {
		if _, ok := c.next(); !ok {
			return n
		}
		n++
	}
}

// sample hands the cells of one line to the sink.
func (h *textHeader) sample(at model.Time, c *cells, to sink) error {
	ok, err := to.begin(at)
	if !ok || err != nil {
		return err
	}
	for _, col := range h.columns {
		cell, more := c.next()
		if !more {
			break
		}
		if col == nil || !to.wants(col) {
			continue
		}
		if v, ok := parseValue(cell); ok {
			to.value(col, v, math.NaN())
		}
	}
	return to.end()
}

// find returns the offset of the last line whose time is before from, or of
// the first line.
func (t *textLog) find(from model.Time) (int64, error) {
	low, high := t.dataStart, t.size
	for high-low > 1<<16 {
		middle := low + (high-low)/2
		if t.width != narrow {
			middle &^= 1
		}
		at, offset, err := t.firstTime(middle)
		if err != nil {
			return 0, err
		}
		if offset < high && at != 0 && at < from {
			low = offset
		} else {
			high = middle
		}
	}
	// The rest is read line by line.
	lines := newLineReader(t.r, low, t.size, t.width)
	best := low
	for {
		offset := lines.offset
		line, _, err := lines.next()
		if errors.Is(err, io.EOF) {
			return best, nil
		}
		if err != nil {
			return 0, err
		}
		c := cells{line, t.header.sep}
		cell, _ := c.next()
		if local, ok := parseTextTime(cell); ok {
			if local.Add(-t.header.offset) >= from {
				return best, nil
			}
			best = offset
		}
	}
}

// firstTime returns the time and the offset of the first whole line after offset.
func (t *textLog) firstTime(offset int64) (model.Time, int64, error) {
	lines := newLineReader(t.r, offset, t.size, t.width)
	if _, _, err := lines.next(); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return 0, t.size, err
	}
	for {
		start := lines.offset
		line, _, err := lines.next()
		if errors.Is(err, io.EOF) {
			return 0, t.size, nil
		}
		if err != nil {
			return 0, 0, err
		}
		c := cells{line, t.header.sep}
		cell, _ := c.next()
		if local, ok := parseTextTime(cell); ok {
			return local.Add(-t.header.offset), start, nil
		}
	}
}

// last returns the time of the last sample, 0 for none.
func (t *textLog) last() (model.Time, error) {
	for back := int64(256 << 10); ; back *= 4 {
		offset := max(t.size-back, t.dataStart)
		if t.width != narrow {
			offset &^= 1
		}
		lines := newLineReader(t.r, offset, t.size, t.width)
		var last model.Time
		for {
			line, complete, err := lines.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			c := cells{line, t.header.sep}
			cell, _ := c.next()
			if local, ok := parseTextTime(cell); ok && (complete || c.count() >= len(t.header.columns)-1) {
				last = local.Add(-t.header.offset)
			}
		}
		if last != 0 || offset <= t.dataStart {
			return last, nil
		}
	}
}

// localClock turns the local times of consecutive samples into UTC. A log has
// one offset, that of its start; where the machine's clock went back by an hour
// at the end of summer time, the samples after it would come before those
// before it.
type localClock struct {
	offset time.Duration
	before model.Time
	// stepped is told of each such change.
	stepped func(note, int)
}

func (c *localClock) utc(local model.Time) model.Time {
	at := local.Add(-c.offset)
	if back := c.before.Sub(at); c.before != 0 && back > 50*time.Minute && back <= time.Hour {
		c.offset -= time.Hour
		at = local.Add(-c.offset)
		c.stepped(noteSummerTime, 1)
	}
	c.before = at
	return at
}
