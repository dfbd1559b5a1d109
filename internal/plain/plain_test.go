package plain

import "testing"

func TestText(t *testing.T) {
	if got, want := Text("a\x1b[31mb\nc\u009bd\u202ee ✖ é"), "a·[31mb·c·d·e ✖ é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
