package detect

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"lostbeat/internal/words"
	"lostbeat/model"
)

// Typeset prepares the sentences of a finding for people: advice begins with a capital letter, a line that is one
// sentence has no full stop, and no line ends between a number and its unit.
func Typeset(f model.Finding) model.Finding {
	f.Causes, f.RuledOut, f.Advice = slices.Clone(f.Causes), slices.Clone(f.RuledOut), slices.Clone(f.Advice)
	if short := headline(f.Title); short != f.Title {
		f.Title, f.Causes = short, append([]string{words.Sentence(f.Title)}, f.Causes...)
	}
	f.Title = words.Tie(f.Title)
	for i, text := range f.Advice {
		f.Advice[i] = words.Sentence(text)
	}
	for _, list := range [][]string{f.Causes, f.RuledOut, f.Advice} {
		for i, text := range list {
			if !strings.Contains(text, ". ") {
				text = strings.TrimSuffix(text, ".")
			}
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

// headline shortens a title to TitleLength: it leaves out what is in parentheses, the last first, and then the last
// clauses. Where only a name would be left, the title breaks off.
func headline(title string) string {
	for utf8.RuneCountInString(title) > TitleLength {
		from := strings.LastIndex(title, " (")
		if from < 0 {
			break
		}
		length := strings.IndexByte(title[from:], ')')
		if length < 0 {
			break
		}
		title = title[:from] + title[from+length+1:]
	}
	if utf8.RuneCountInString(title) <= TitleLength {
		return title
	}
	end, weak, length, quoted := 0, 0, 0, false
	for i, r := range title {
		starts := func(sign string) bool { return strings.HasPrefix(title[i:], sign) }
		switch {
		case quoted:
		case slices.ContainsFunc([]string{"; ", ", ", ": "}, starts):
			end = i
		case starts(" and "):
			weak = i
		}
		switch r {
		case '“':
			quoted = true
		case '”':
			quoted = false
		}
		if length++; length > TitleLength {
			break
		}
	}
	if end = cmp.Or(end, weak); len(strings.Fields(title[:end])) >= fewestWords {
		return title[:end]
	}
	begun := string([]rune(title)[:TitleLength-2])
	if strings.Count(begun, "“") > strings.Count(begun, "”") {
		return begun + "…”"
	}
	return begun + "…"
}

// fewestWords is how many words a title has at least where clauses are left out: a name alone reports no fault.
const fewestWords = 3
