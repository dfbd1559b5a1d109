package plain

import (
	"bytes"
	"encoding/json"
	"testing"
)

// A name that steers a terminal is escaped, and a program reads it as it was.
func TestObjectSteersNothing(t *testing.T) {
	type named struct{ Name string }
	want := named{"a\x1b[31mb\nc\u009bd\u202ee\x7f ✖ é \u2066"}
	var out bytes.Buffer
	if err := Object(&out, "x/1", want); err != nil {
		t.Fatal(err)
	}
	const line = `{"schema":"x/1","Name":"a\u001b[31mb\nc\u009bd\u202ee\u007f ✖ é \u2066"}` + "\n"
	if out.String() != line {
		t.Errorf("got %q, want %q", out.String(), line)
	}
	var got named
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != want {
		t.Errorf("read back: %+v, %v", got, err)
	}
}
