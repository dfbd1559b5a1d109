package etw

import (
	"strings"
	"testing"
)

// TestCallErrors checks that each known error is a sentence, and that an unknown one has its number.
func TestCallErrors(t *testing.T) {
	for code, known := range callErrors {
		e := &CallError{Call: "start the session x", Code: code}
		if text := e.Error(); !strings.HasPrefix(text, "start the session x: "+known.text) || e.Hint() != known.hint {
			t.Errorf("%d: %q, hint %q", code, text, e.Hint())
		}
	}
	e := &CallError{Call: "start the session x", Code: errorNoSystemResources, Sessions: make([]string, 20)}
	for i := range e.Sessions {
		e.Sessions[i] = "s"
	}
	if hint := e.Hint(); !strings.Contains(hint, "20 are running: s, s") || !strings.HasSuffix(hint, "and 8 more") {
		t.Error(hint)
	}
	if text := (&CallError{Call: "read", Code: 4242}).Error(); text != "read: error 4242" {
		t.Error(text)
	}
}
