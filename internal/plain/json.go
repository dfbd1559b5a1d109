package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// JSON writes v as one line of JSON in which nothing steers a terminal: what [Text] replaces is escaped, so
// that a program still reads the name as it was.
func JSON(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return write(w, line)
}

// write writes a line of JSON with what steers a terminal escaped.
func write(w io.Writer, line []byte) error {
	var out bytes.Buffer
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		if steers(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.Write(line[:size])
		}
		line = line[size:]
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}
