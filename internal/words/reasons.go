package words

import (
	"strings"

	"lostbeat/model"
)

// Reasons returns the causes of a finding as they are read under its title. Where the first one is the sentence of
// which the title is the beginning, it is only what the title leaves out.
func Reasons(f *model.Finding) []string {
	if len(f.Causes) == 0 {
		return nil
	}
	rest, found := strings.CutPrefix(f.Causes[0], Sentence(f.Title))
	if !found {
		return f.Causes
	}
	if inner, enclosed := strings.CutPrefix(rest, " ("); enclosed {
		inner, enclosed = strings.CutSuffix(inner, ")")
		if !enclosed || strings.ContainsAny(inner, "()") {
			return f.Causes
		}
		return append([]string{Sentence(inner)}, f.Causes[1:]...)
	}
	for _, sign := range []string{"; ", ", ", ": ", " and "} {
		if clause, found := strings.CutPrefix(rest, sign); found {
			return append([]string{Sentence(clause)}, f.Causes[1:]...)
		}
	}
	return f.Causes
}
