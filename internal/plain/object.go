package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Object writes v, which has to be an object in JSON, as JSON does, with the name and version of its schema as
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
