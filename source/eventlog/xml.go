package eventlog

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxEntry is how long an entry may be as text: records of a log have at most 64 KiB.
const maxEntry = 1 << 20

// The tags of an entry; the first is followed by a space or its end.
var (
	entryStart = []byte("<Event")
	entryEnd   = []byte("</Event>")
)

// xmlEntries cuts a text into its entries, for [bufio.Scanner]. One without an end is cut where the next begins; one
// that is too long is given as an empty token.
type xmlEntries struct {
	// searched is how much of the data has no end of an entry, and no start of another.
	searched int
	// strange counts bytes between entries that are no text: part of the file has another encoding.
	strange int
}

// startIn returns where an entry starts in data, -1 for nowhere.
func startIn(data []byte, from int) int {
	for from < len(data) {
		i := bytes.Index(data[from:], entryStart)
		if i < 0 {
			return -1
		}
		i += from
		if after := i + len(entryStart); after < len(data) {
			switch data[after] {
			case ' ', '>', '\t', '\r', '\n':
				return i
			}
		}
		from = i + 1
	}
	return -1
}

func (x *xmlEntries) split(data []byte, atEOF bool) (advance int, token []byte, err error) {
	start := 0
	if x.searched == 0 {
		start = startIn(data, 0)
		if start < 0 {
			// What may be the beginning of a tag is kept.
			if start = len(data); !atEOF {
				start = max(0, len(data)-len(entryStart))
			}
			x.outside(data[:start])
			return start, nil, nil
		}
		x.outside(data[:start])
	}
	data = data[start:]
	from := max(len(entryStart), x.searched-len(entryEnd))
	end, next := bytes.Index(data[from:], entryEnd), startIn(data, from)
	x.searched = 0
	switch {
	case end >= 0 && (next < 0 || from+end < next):
		n := from + end + len(entryEnd)
		return start + n, data[:n], nil
	case next > 0:
		return start + next, data[:next], nil
	case atEOF:
		return start + len(data), data, nil
	case len(data) >= maxEntry:
		return start + len(data) - len(entryEnd), []byte{}, nil
	}
	x.searched = len(data)
	return start, nil, nil
}

// outside looks at what is between entries.
func (x *xmlEntries) outside(data []byte) {
	for _, c := range bytes.TrimPrefix(data, []byte("\ufeff")) {
		if c == 0 || c >= utf8.RuneSelf {
			x.strange++
		}
	}
}

// readXML reads events one after another, whatever is around them. One that is damaged costs itself.
func (s *Set) readXML(r io.Reader, name string) error {
	var x xmlEntries
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxEntry+1)
	in.Split(x.split)
	var b builder
	bad, cut := 0, false
	for in.Scan() {
		err := b.readXML(in.Bytes())
		cut = errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil {
			bad++
		}
		// What the entry is of comes before what it says.
		if e := &b.entry; err == nil || e.provider != "" && e.host != "" && e.at != 0 {
			s.take(e, name)
		}
	}
	if cut {
		bad--
		s.integrity.Add(name+" ends within an entry", 0)
	}
	if bad > 0 {
		s.integrity.Add(fmt.Sprintf("%s: %d of its entries could not be read to the end", name, bad), 0)
	}
	if x.strange > 0 {
		s.integrity.Add(fmt.Sprintf("%s: bytes between entries are not text: a part of the file has another encoding",
			name), int64(x.strange))
	}
	if err := in.Err(); err != nil {
		s.integrity.Add(fmt.Sprintf("%s: %v", name, err), 0)
	}
	return nil
}

// readXML reads one entry. Characters that XML does not allow, which Windows writes nevertheless, count as spaces.
func (b *builder) readXML(text []byte) error {
	b.reset()
	d := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(bytes.Map(allowed, text), []byte("?"))))
	d.Strict = false
	for depth := 0; ; {
		token, err := d.Token()
		var syntax *xml.SyntaxError
		if errors.Is(err, io.EOF) || errors.As(err, &syntax) && syntax.Msg == "unexpected EOF" {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return errors.New("its elements lie too deep in one another")
			}
			b.start(t.Name.Local)
			for _, a := range t.Attr {
				b.attribute(a.Name.Local, a.Value)
			}
		case xml.CharData:
			b.chars(string(t))
		case xml.EndElement:
			depth--
			b.end()
			if t.Name.Local == "Event" {
				return nil
			}
		}
	}
}

// allowed replaces a character that XML does not allow.
func allowed(r rune) rune {
	if r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0xfffe || r == 0xffff {
		return ' '
	}
	return r
}
