package snapshot

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"lostbeat/source"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// isJSON says that a file which begins with head is JSON with sockets.
func isJSON(head []byte) bool {
	text := bytes.TrimSpace(decodeHead(head))
	return len(text) > 0 && (text[0] == '[' || text[0] == '{') && bytes.Contains(text, []byte(`"LocalPort"`))
}

// decodeHead returns the beginning of a file as text.
func decodeHead(head []byte) []byte {
	l := newLines(bytes.NewReader(head))
	var out []byte
	for {
		line, err := l.next()
		if err != nil {
			return out
		}
		out = append(append(out, line...), '\n')
	}
}

// parseJSON reads the output of ConvertTo-Json: an object, or an array of objects.
func (p *parser) parseJSON(r io.Reader, head []byte) error {
	counted := &countingReader{r: r, set: p.set}
	var in io.Reader = counted
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), len(head) > 1 && head[1] == 0:
		in = transform.NewReader(in, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder())
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}), len(head) > 1 && head[0] == 0:
		in = transform.NewReader(in, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder())
	default:
		in = transform.NewReader(in, unicode.UTF8BOM.NewDecoder())
	}
	err := p.jsonObjects(bufio.NewReaderSize(in, 64<<10))
	p.set.done += counted.n
	if err != nil {
		p.set.damage("%s: %v", p.file, err)
		for _, t := range p.tables {
			t.damaged = true
		}
	}
	p.dates()
	p.finish()
	return nil
}

// jsonText takes JSON that is within other text, on one line.
func (p *parser) jsonText(text []byte) bool {
	return bytes.Contains(text, []byte(`"LocalPort"`)) && p.jsonObjects(bufio.NewReader(bytes.NewReader(text))) == nil
}

// maxObject is the largest object that is read; one of CIM with all its properties has some 3 KiB.
const maxObject = 64 << 10

// errTorn says that JSON ends too early.
var errTorn = errors.New("the file ends within a row")

// jsonObjects reads objects one after the other.
func (p *parser) jsonObjects(r *bufio.Reader) error {
	_, err := source.EachObject(r, maxObject, p.jsonObject)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// jsonObject takes one object.
func (p *parser) jsonObject(text []byte) {
	var object map[string]json.RawMessage
	if len(text) > maxObject || json.Unmarshal(text, &object) != nil {
		p.bad++
		return
	}
	item := map[string]string{}
	for key, value := range object {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = strings.TrimSpace(string(value))
		}
		if text != "null" && len(text) < 256 {
			item[strings.ToLower(key)] = text
		}
	}
	if _, ok := item["localport"]; ok && !p.object(func(k string) string { return item[k] }) {
		p.bad++
	}
}

// countingReader counts what is read, for progress.
type countingReader struct {
	r   io.Reader
	set *set
	n   int64
}

// Read implements io.Reader.
func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	if c.set.progress != nil {
		c.set.progress(c.set.done+c.n, max(c.set.size, c.set.done+c.n))
	}
	return n, err
}
