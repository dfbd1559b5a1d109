package testutil

import "testing"

func TestFirstDifference(t *testing.T) {
	for _, test := range []struct {
		want, got string
		line      int
		same      bool
	}{
		{"", "", 0, true},
		{"a\nb\n", "a\nb\n", 0, true},
		{"a\nb\n", "a\nc\n", 2, false},
		{"a\n", "a\nb\n", 2, false},
		{"x", "y", 1, false},
	} {
		if line, same := firstDifference(test.want, test.got); line != test.line || same != test.same {
			t.Errorf("firstDifference(%q, %q) = %d, %v, want %d, %v", test.want, test.got, line, same, test.line, test.same)
		}
	}
}
