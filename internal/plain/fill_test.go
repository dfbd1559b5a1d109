package plain

import "testing"

func TestFill(t *testing.T) {
	for text, want := range map[string]string{
		"short\n":              "short\n",
		"one two three\n\nend": "one two\nthree\n\nend\n",
		"- one two three\n":    "- one\n  two\n  three\n",
		"12. one two\n":        "12. one\n    two\n",
		"| one | two |\n":      "| one | two |\n",
		"unbreakable\n":        "unbreakable\n",
	} {
		if got := Fill(text, 7); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
