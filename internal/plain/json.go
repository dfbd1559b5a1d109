package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// Object writes v, which has to be an object in JSON, as one line of JSON, with the name and version of its schema as
// the first key: "lostbeat.finding/1". docs/schema has the schemas.
func Object(w io.Writer, schema string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fields, ok := bytes.CutPrefix(line, []byte("{"))
	if !ok {
		return fmt.Errorf("%s is no JSON object", schema)
	}
	head := `{"schema":"` + schema + `"`
	if len(fields) > 1 {
		head += ","
	}
	return write(w, append([]byte(head), fields...))
}

// write writes a line of JSON in which nothing steers a terminal: what [Text] replaces is escaped, so that a
// program still reads the name as it was.
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
