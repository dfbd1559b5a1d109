package words

import (
	"slices"
	"testing"

	"lostbeat/model"
)

func TestReasons(t *testing.T) {
	const title = "CPU 0 had no time for 1.5 s"
	for first, want := range map[string]string{
		title + " (78 % of the timeout)":           "78 % of the timeout",
		title + ": its program was stopped":        "Its program was stopped",
		title + "; so were 3 others (of 9)":        "So were 3 others (of 9)",
		title + " and lost 3 packets":              "Lost 3 packets",
		title + "ingle core":                       title + "ingle core",
		title + " (a) and (b)":                     title + " (a) and (b)",
		title + " (a), which is not a timeout":     title + " (a), which is not a timeout",
		"The program did not read, packets waited": "The program did not read, packets waited",
	} {
		f := model.Finding{Title: title, Causes: []string{first, "another"}}
		if got := Reasons(&f); !slices.Equal(got, []string{want, "another"}) {
			t.Errorf("%q: %q, want %q", first, got, want)
		}
	}
	f := model.Finding{Title: "this host was paused", Causes: []string{"This host was paused: it was stopped"}}
	if got := Reasons(&f); !slices.Equal(got, []string{"It was stopped"}) {
		t.Errorf("a title without a capital letter: %q", got)
	}
	if got := Reasons(&model.Finding{Title: title}); got != nil {
		t.Errorf("no causes: %q", got)
	}
}
