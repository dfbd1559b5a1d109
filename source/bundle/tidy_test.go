package bundle

import "testing"

// TestTidy has names of members for people.
func TestTidy(t *testing.T) {
	for name, want := range map[string]string{
		"a/b": "a/b", `..\..\b`: "b", "/etc/x": "etc/x", "a\x00/b\n\x1b[31m\u0085": "a/b[31m", "stra\xe1e": "straße",
	} {
		if got := tidy(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
