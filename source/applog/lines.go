package applog

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// bufferBytes is how much of a file is read at a time.
	bufferBytes = 1 << 20
	// maxLine is how much of a line is looked at; the rest of it is passed over.
	maxLine = 64 << 10
)

// lines reads the lines of a text without their ends, whatever its encoding.
type lines struct {
	r          io.Reader
	buf        []byte
	start, end int
	eof        bool
	// long says that the rest of a line that is too long is passed over.
	long bool
	// cut counts lines of which only the beginning was looked at, bytes what was read.
	cut   int
	bytes int64
}

// newLines returns the lines of r, which begins with head.
func newLines(r io.Reader, head []byte) *lines {
	return &lines{r: decoded(r, head), buf: make([]byte, bufferBytes)}
}

// decoded returns r as UTF-8 where it is UTF-16, by its byte order mark or by the zeros in every other byte. Other
// encodings are read as they are: their stamps are ASCII.
func decoded(r io.Reader, head []byte) io.Reader {
	order, ok := utf16Order(head)
	if !ok {
		return r
	}
	return transform.NewReader(r, unicode.UTF16(order, unicode.UseBOM).NewDecoder())
}

// utf8Mark is the byte order mark of UTF-8.
var utf8Mark = []byte{0xef, 0xbb, 0xbf}

func utf16Order(head []byte) (order unicode.Endianness, ok bool) {
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return unicode.LittleEndian, true
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return unicode.BigEndian, true
	}
	part := head[:min(len(head), 512)/2*2]
	var zeros [2]int
	for i, c := range part {
		if c == 0 {
			zeros[i&1]++
		}
	}
	switch half := len(part) / 2; {
	case half < 16:
	case zeros[1]*10 > half*8 && zeros[0]*10 < half:
		return unicode.LittleEndian, true
	case zeros[0]*10 > half*8 && zeros[1]*10 < half:
		return unicode.BigEndian, true
	}
	return order, false
}

// next returns the next line, valid until the call after; io.EOF after the last.
func (l *lines) next() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(l.buf[l.start+scanned:l.end], '\n'); i >= 0 {
			line := l.buf[l.start : l.start+scanned+i]
			l.start += scanned + i + 1
			l.bytes += int64(len(line)) + 1
			if l.long {
				l.long, scanned = false, 0
				continue
			}
			if l.bytes == int64(len(line))+1 {
				line = bytes.TrimPrefix(line, utf8Mark)
			}
			return l.trim(line), nil
		}
		scanned = l.end - l.start
		switch {
		case l.eof && (scanned == 0 || l.long):
			return nil, io.EOF
		case l.eof:
			line := l.buf[l.start:l.end]
			l.start = l.end
			l.bytes += int64(scanned)
			return l.trim(line), nil
		case l.long:
			l.bytes += int64(scanned)
			l.start, l.end, scanned = 0, 0, 0
		case scanned >= len(l.buf)/2:
			line := l.buf[l.start : l.start+maxLine]
			l.bytes += int64(scanned)
			l.start, l.long = l.end, true
			return l.trim(line), nil
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

func (l *lines) trim(line []byte) []byte {
	if len(line) >= maxLine {
		line = line[:maxLine]
		l.cut++
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return uncoloured(line)
}

// uncoloured returns a line without the sequences that colour it on a terminal, in place.
func uncoloured(line []byte) []byte {
	at := bytes.IndexByte(line, 0x1b)
	if at < 0 {
		return line
	}
	out := line[:at]
	for i := at; i < len(line); i++ {
		if line[i] != 0x1b || i+1 == len(line) || line[i+1] != '[' {
			out = append(out, line[i])
			continue
		}
		for i += 2; i < len(line) && (line[i] < '@' || line[i] > '~'); i++ {
		}
	}
	return out
}

func (l *lines) fill() error {
	if l.start > 0 {
		copy(l.buf, l.buf[l.start:l.end])
		l.end -= l.start
		l.start = 0
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	if errors.Is(err, io.EOF) {
		l.eof = true
		return nil
	}
	return err
}
