package snapshot

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"lostbeat/source"

	"golang.org/x/text/encoding/charmap"
)

// maxLine is the longest line that is looked at, in bytes; more of it is skipped.
const maxLine = 64 << 10

// lines reads lines of text whose encoding may change from one to the next:
// UTF-16 in either order, or bytes.
type lines struct {
	r *bufio.Reader
	// wide is 0 for bytes, else the position of the zero byte of an ASCII character plus one.
	wide    int
	started bool
	raw     []byte
	text    []byte
	// read counts bytes, long the lines of which a part was skipped.
	read int64
	long int
	// torn says that the last line has no end, or ends within a character.
	torn bool
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, 256<<10)}
}

// look decides how the next line is encoded.
func (l *lines) look() {
	head, _ := l.r.Peek(64)
	if !l.started {
		l.started = true
		switch {
		case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
			l.wide = 2
			l.skip(2)
			return
		case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
			l.wide = 1
			l.skip(2)
			return
		case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
			l.skip(3)
			return
		}
	}
	if bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}) { // appended file
		l.wide = 2
		if head[0] == 0xfe {
			l.wide = 1
		}
		l.skip(2)
		return
	}
	if l.wide != 0 && zeroAt(head, l.wide-1) && !zeroAt(head, 2-l.wide) {
		return
	}
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		head = head[:min(i+2, len(head))]
	}
	odd, even := zeroAt(head, 1), zeroAt(head, 0)
	switch {
	case odd && !even:
		l.wide = 2
	case even && !odd:
		l.wide = 1
	case !odd && !even && l.wide == 0 || len(head) > 0 && !odd && !even && ascii(head):
		l.wide = 0
	}
}

// zeroAt reports whether there is a zero byte at an even (0) or odd (1) position.
func zeroAt(b []byte, parity int) bool {
	for i := parity; i < len(b); i += 2 {
		if b[i] == 0 {
			return true
		}
	}
	return false
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (l *lines) skip(n int) {
	k, _ := l.r.Discard(n)
	l.read += int64(k)
}

// next returns the next line without its end, valid until the call after. Its
// bytes are UTF-8 or of a code page. io.EOF comes after the last.
func (l *lines) next() ([]byte, error) {
	l.look()
	l.raw = l.raw[:0]
	cut := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.read += int64(len(part))
		if room := maxLine - len(l.raw); len(part) > room {
			cut = true
			l.raw = append(l.raw, part[:max(room, 0)]...)
		} else {
			l.raw = append(l.raw, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if errors.Is(err, io.EOF) {
			if len(l.raw) == 0 {
				return nil, io.EOF
			}
			l.torn = true
			break
		}
		if l.wide == 0 || cut {
			break
		}
		if l.wide == 1 { // the zero byte came before
			if n := len(l.raw); n%2 == 0 && n >= 2 && l.raw[n-2] == 0 {
				break
			}
			continue
		}
		if len(l.raw)%2 == 1 {
			if after, _ := l.r.Peek(1); len(after) == 1 && after[0] == 0 {
				l.skip(1)
				l.raw = append(l.raw, 0)
				break
			} else if len(after) == 0 {
				l.torn = true
				break
			}
		}
	}
	if cut {
		l.long++
	}
	if l.wide == 0 {
		return bytes.TrimRight(l.raw, "\r\n"), nil
	}
	l.text = source.AppendUTF16(l.text[:0], l.raw, l.wide == 1)
	return bytes.TrimRight(l.text, "\r\n"), nil
}

// name returns a name for people: what is no UTF-8 is taken for Windows' western code page.
func name(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out, err := charmap.Windows1252.NewDecoder().Bytes(b)
	if err != nil {
		return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
	}
	return string(out)
}
