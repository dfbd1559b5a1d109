package perfmon

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"lostbeat/source"
)

// maxLine is the longest line that is read: more than 500,000 columns.
const maxLine = 32 << 20

var errLine = fmt.Errorf("a line is longer than %d MiB", maxLine>>20)

// width says how the characters of a text log are stored.
type width uint8

const (
	narrow  width = iota // one byte to a character that matters: ASCII, UTF-8, a code page
	utf16LE              // PowerShell's redirection
	utf16BE
)

// lineReader reads the lines of a text log without their ends.
type lineReader struct {
	r     io.Reader
	width width
	buf   []byte
	// start and end bound what was read but not returned.
	start, end int
	// offset is the position in the file of buf[start].
	offset int64
	eof    bool
	wide   []byte
}

func newLineReader(r io.ReaderAt, offset, size int64, w width) *lineReader {
	return &lineReader{
		r:      io.NewSectionReader(r, offset, size-offset),
		width:  w,
		offset: offset,
		buf:    make([]byte, 256<<10),
	}
}

// next returns the next line, valid until the call after, and whether it was
// complete; io.EOF after the last.
func (l *lineReader) next() (line []byte, complete bool, err error) {
	scanned := 0
	for {
		if i := l.findEnd(l.buf[l.start+scanned : l.end]); i >= 0 {
			n := scanned + i + l.unit()
			line = l.take(n)
			return line, true, nil
		}
		if l.eof {
			if l.end-l.start == 0 {
				return nil, false, io.EOF
			}
			return l.take(l.end - l.start), false, nil
		}
		// Only whole characters were looked at.
		scanned = (l.end - l.start) / l.unit() * l.unit()
		if err := l.fill(); err != nil {
			return nil, false, err
		}
	}
}

func (l *lineReader) unit() int {
	if l.width == narrow {
		return 1
	}
	return 2
}

// findEnd returns the position of the first line feed, -1 for none.
func (l *lineReader) findEnd(b []byte) int {
	if l.width == narrow {
		return bytes.IndexByte(b, '\n')
	}
	high, low := 1, 0
	if l.width == utf16BE {
		high, low = 0, 1
	}
	for i := 0; i+1 < len(b); i += 2 {
		if b[i+low] == '\n' && b[i+high] == 0 {
			return i
		}
	}
	return -1
}

// take returns the next n bytes as a line in UTF-8 or in its code page.
func (l *lineReader) take(n int) []byte {
	b := l.buf[l.start : l.start+n]
	l.start += n
	l.offset += int64(n)
	if l.width != narrow {
		l.wide = source.AppendUTF16(l.wide[:0], b, l.width == utf16BE)
		b = l.wide
	}
	return bytes.TrimRight(b, "\r\n")
}

// fill reads more, growing the buffer up to maxLine.
func (l *lineReader) fill() error {
	if l.start > 0 {
		copy(l.buf, l.buf[l.start:l.end])
		l.end -= l.start
		l.start = 0
	}
	if l.end == len(l.buf) {
		if l.end >= maxLine {
			return errLine
		}
		grown := make([]byte, 2*len(l.buf))
		copy(grown, l.buf[:l.end])
		l.buf = grown
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	if errors.Is(err, io.EOF) {
		l.eof = true
		return nil
	}
	return err
}

// cells reads the cells of a line.
type cells struct {
	line []byte
	sep  byte
}

// next returns the next cell without its quotes. A quote ends a cell only
// before a separator or the end of the line: PDH does not escape the quotes in
// the name of an instance.
func (c *cells) next() (cell []byte, ok bool) {
	line := c.line
	if line == nil {
		return nil, false
	}
	if len(line) > 0 && line[0] == '"' {
		for i := 1; ; i++ {
			j := bytes.IndexByte(line[i:], '"')
			if j < 0 {
				c.line = nil
				return line[1:], true
			}
			if i += j; i+1 == len(line) {
				c.line = nil
				return line[1:i], true
			}
			if line[i+1] == c.sep {
				c.line = line[i+2:]
				return line[1:i], true
			}
		}
	}
	if i := bytes.IndexByte(line, c.sep); i >= 0 {
		c.line = line[i+1:]
		return line[:i], true
	}
	c.line = nil
	return line, true
}
