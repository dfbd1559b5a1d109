package detecttest

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lostbeat/model"
)

// titleLength is the longest title in characters: one line of a wide terminal.
const titleLength = 110

// present are verbs in the tense of what goes on: no title of a finding that has ended has them.
var present = regexp.MustCompile(`\b(still|holds?|keeps|takes?|releases?|loses?|drops?|exceeds?|delays?|` +
	`yields?|spends?|overflows?|refuses?|has not been|does not|do not|is (nearly )?exhausted)\b`)

// past is what one of those verbs may follow.
var past = regexp.MustCompile(`\b(did|could) not \w+`)

// Words checks the sentences of a finding as it is emitted: length, words, units, plural and tense.
func Words(t testing.TB, f model.Finding) {
	t.Helper()
	bad := func(part, text string, faults ...string) {
		for _, fault := range faults {
			t.Errorf("%s of a finding of %s: %s\n\t%s", part, f.Detector, fault, text)
		}
	}
	if n := utf8.RuneCountInString(f.Title); n > titleLength {
		t.Errorf("title of %d characters, %d are the most: %s", n, titleLength, f.Title)
	}
	if strings.HasSuffix(f.Title, ".") || strings.Contains(f.Title, "\n") {
		bad("title", f.Title, "it ends in a period or has several lines")
	}
	bad("title", f.Title, Tense(f)...)
	bad("title", f.Title, Prose(f.Title)...)
	for name, list := range map[string][]string{"cause": f.Causes, "ruled-out line": f.RuledOut, "advice": f.Advice} {
		for _, text := range list {
			bad(name, text, Prose(text)...)
		}
	}
	for _, e := range f.Evidence {
		bad("evidence", e.Name, Prose(e.Name)...)
	}
}

// Tense returns what in the title of a finding says that it goes on although it has ended.
func Tense(f model.Finding) (faults []string) {
	if found := present.FindString(past.ReplaceAllString(f.Title, "")); found != "" && !f.Ongoing {
		faults = append(faults, "it has ended, and yet: "+found)
	}
	return faults
}

// Blanks returns f with blanks in the place of no-break spaces, so that tests find what they look for.
func Blanks(f model.Finding) model.Finding {
	blank := func(text string) string { return strings.ReplaceAll(text, "\u00a0", " ") }
	f.Title = blank(f.Title)
	f.Causes, f.RuledOut, f.Advice = slices.Clone(f.Causes), slices.Clone(f.RuledOut), slices.Clone(f.Advice)
	for _, list := range [][]string{f.Causes, f.RuledOut, f.Advice} {
		for i := range list {
			list[i] = blank(list[i])
		}
	}
	f.Evidence = slices.Clone(f.Evidence)
	for i := range f.Evidence {
		f.Evidence[i].Name = blank(f.Evidence[i].Name)
	}
	return f
}

// checkWords checks all that was emitted; what is said of a finding again is checked once.
func checkWords(t *testing.T, out []Emission) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range out {
		if !seen[e.typeset.Title] {
			seen[e.typeset.Title] = true
			Words(t, e.typeset)
		}
	}
}
