package lazyregexp

import (
	"regexp"
	"testing"
)

// A wrong expression does not wait until a user needs it.
func TestWrongExpression(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New accepts a wrong expression in a test")
		}
	}()
	New("(")
}

func TestUses(t *testing.T) {
	for name, r := range map[string]*Regexp{
		"lazy":     {expression: `(\w+)=(\d+)`},
		"compiled": Compiled(regexp.MustCompile(`(\w+)=(\d+)`)),
	} {
		for range 2 {
			if got := r.FindStringSubmatch("port=5060"); len(got) != 3 || got[2] != "5060" {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}
