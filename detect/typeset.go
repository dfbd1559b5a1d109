package detect

import (
	"slices"
	"unicode/utf8"

	"lostbeat/internal/words"
	"lostbeat/model"
)

// Typeset prepares the sentences of a finding for people: advice begins with a capital letter, and
// no line ends between a number and its unit.
func Typeset(f model.Finding) model.Finding {
	f.Title = words.Tie(f.Title)
	f.Causes, f.RuledOut, f.Advice = slices.Clone(f.Causes), slices.Clone(f.RuledOut), slices.Clone(f.Advice)
	for i, text := range f.Advice {
		f.Advice[i] = words.Sentence(text)
	}
	for _, list := range [][]string{f.Causes, f.RuledOut, f.Advice} {
		for i, text := range list {
			list[i] = words.Tie(text)
		}
	}
	f.Evidence = slices.Clone(f.Evidence)
	for i := range f.Evidence {
		f.Evidence[i].Name = words.Tie(f.Evidence[i].Name)
	}
	return f
}

// TitleLength is the most characters of a title: one line of a wide terminal.
const TitleLength = 110

// Title joins the parts of a title as far as they fit in TitleLength. The first part names the fault and its subject;
// what a later part says is said in the causes or the evidence as well.
func Title(first string, parts ...string) string {
	for _, part := range parts {
		if utf8.RuneCountInString(first)+utf8.RuneCountInString(part) > TitleLength {
			break
		}
		first += part
	}
	return first
}
