package detect

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lostbeat/model"
)

func TestTypeset(t *testing.T) {
	long := "cvp.log has no line for 10.8 s, then “one, two”; CPU 3 of CVP1 spent 96 % of that time in DPCs " +
		"(usually 1 %), which chance alone does in 1 of 800 cases"
	f := Typeset(model.Finding{Title: long, Causes: []string{"b."}, Advice: []string{"do this. Then that."}})
	if f.Title != "cvp.log has no line for 10.8\u00a0s, then “one, two”; CPU 3 of CVP1 spent 96\u00a0% of that time "+
		"in DPCs" {
		t.Errorf("title %q", f.Title)
	}
	if len(f.Causes) != 2 || !strings.HasSuffix(f.Causes[0], "800 cases") || f.Causes[1] != "b" ||
		!slices.Equal(f.Advice, []string{"Do this. Then that."}) {
		t.Errorf("%q, %q", f.Causes, f.Advice)
	}
	if again := Typeset(f); again.Title != f.Title || len(again.Causes) != 2 {
		t.Errorf("twice: %q, %q", again.Title, again.Causes)
	}
	if name := Typeset(model.Finding{Title: strings.Repeat("x", 200)}).Title; !strings.HasSuffix(name, "x…") ||
		utf8.RuneCountInString(name) != TitleLength-1 {
		t.Errorf("a long name: %q", name)
	}
	line := Typeset(model.Finding{Title: "messages: “" + strings.Repeat("token timed out, ", 9) + "…” after 3 s"}).Title
	if !strings.HasPrefix(line, "messages: “token timed out, ") || !strings.HasSuffix(line, "…”") ||
		utf8.RuneCountInString(line) != TitleLength {
		t.Errorf("a name and a quoted line: %q", line)
	}
	if got := Title("a", "; b", strings.Repeat("x", TitleLength), "; c"); got != "a; b" {
		t.Errorf("parts: %q", got)
	}
}
