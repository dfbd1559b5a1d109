package record

import (
	"fmt"
	"io"
	"testing"

	"lostbeat/model"
)

// writeText writes the events of b in the text form, one a line, which
// ReadText reads back.
func writeText(w io.Writer, b *model.Batch) error {
	var buf []byte
	for i := range b.Events {
		buf = append(model.AppendText(buf, b, &b.Events[i]), '\n')
		if len(buf) >= 64<<10 || i == len(b.Events)-1 {
			if _, err := w.Write(buf); err != nil {
				return fmt.Errorf("write text: %w", err)
			}
			buf = buf[:0]
		}
	}
	return nil
}

// stat describes the recording at path.
func stat(t *testing.T, path string) *Info {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Stat()
}
