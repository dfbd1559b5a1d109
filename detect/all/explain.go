package all

import (
	"slices"
	"strings"

	"lostbeat/detect/packetdrop"
	"lostbeat/internal/driverstat"
	"lostbeat/internal/lazyregexp"
)

// sections returns the sections of the documentation by heading, the list of headings in their order, and the
// section's settings with it.
func sections() (headings []string, texts map[string]string) {
	texts = make(map[string]string)
	for i, part := range strings.Split(Documentation(), "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		if i == 0 {
			continue // the introduction
		}
		headings = append(headings, heading)
		texts[heading] = strings.TrimSpace(text)
	}
	return headings, texts
}

// Detectors returns the names of the detectors with the first sentence of what each says of itself.
func Detectors() (names []string, sentences map[string]string) {
	headings, texts := sections()
	sentences = make(map[string]string)
	for _, name := range headings {
		if strings.Contains(name, " ") {
			continue // holds for all of them
		}
		paragraph, _, _ := strings.Cut(texts[name], "\n\n")
		sentence := strings.Join(strings.Fields(paragraph), " ")
		if end := strings.Index(sentence, ". "); end >= 0 {
			sentence = sentence[:end+1]
		}
		names, sentences[name] = append(names, name), sentence
	}
	return names, sentences
}

// Explain says what is known about a detector, a setting, a reason or a kernel
// function for which packets are dropped, or a finding by its id: as the
// documentation does, in lines of at most 120 columns. It returns false for
// what has none of these names.
func Explain(name string) (text string, ok bool) {
	name, _, _ = strings.Cut(name, "/") // the id of a finding begins with its detector
	headings, texts := sections()
	if slices.Contains(headings, name) {
		return texts[name], true
	}
	for _, f := range Settings().Fields() {
		if f.Name == name {
			return wrap(f.Name + " = " + f.String() + ": " + f.Doc + "\n\nWhy: " + f.Reason), true
		}
	}
	if text, ok = packetdrop.Explain(name); ok {
		return wrap(text), true
	}
	if text, ok = driverstat.Describe(name); ok {
		return wrap(text), true
	}
	return "", false
}

// Names lists what Explain knows: detectors, settings and reasons.
func Names() []string {
	names, _ := Detectors()
	for _, f := range Settings().Fields() {
		names = append(names, f.Name)
	}
	return append(names, packetdrop.Names()...)
}

// linked is a link of Markdown to another page of the documentation.
var linked = lazyregexp.New(`\[[^]]+\]\(([^)]*)\)`)

// Unmarked removes Markdown's marks for links, bold text and code, which help nobody in a terminal.
func Unmarked(text string) string {
	text = linked.ReplaceAllString(text, "docs/$1")
	return strings.NewReplacer("**", "", "`", "").Replace(strings.TrimSpace(text))
}
