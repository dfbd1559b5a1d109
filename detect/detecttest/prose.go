package detecttest

import (
	"fmt"
	"regexp"
)

// banned are words and turns that no text for people has, with what is written instead.
var banned = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\bdear\b`), "expensive"},
	{regexp.MustCompile(`(?i)\bmend(s|ed|ing)?\b`), "fix"},
	{regexp.MustCompile(`(?i)\btold (of|as)\b|\btells? of\b`), "report"},
	{regexp.MustCompile(`(?i)\bbears?\b`), "sustain"},
	{regexp.MustCompile(`(?i)\bin its path\b`), "on its path"},
	{regexp.MustCompile(`(?i)\bthe second at\b`), "1 s to 19:51:30"},
	{regexp.MustCompile(`(?i)\blost none\b`), "no loss"},
	{regexp.MustCompile(`(?i)\bin vain\b`), "finds no free port"},
	{regexp.MustCompile(`(?i)\b(has|have|had) gone\b`), "was removed, ended"},
	{regexp.MustCompile(`(?i)\bspeaks? (for|of)\b`), "suggests, reports"},
	{regexp.MustCompile(`(?i)\bwant of\b`), "lack of"},
	{regexp.MustCompile(`(?i); not (needed )?(when|while|before|through)\b`), "unless, but not while, not needed if"},
	{regexp.MustCompile(`(?i)\bg(ives?|ave|iven|iving) ((none|nothing|each|them|it|ports) )?back\b`), "release"},
	{regexp.MustCompile(`(?i)\bwhilst\b|\bthereof\b|\bupon\b|\bhenceforth\b`), "a plain word"},
	{regexp.MustCompile(`(?i)\bstill going on\b`), "ongoing"},
}

// Banned returns what is wrong with the words of a text that people read.
func Banned(text string) (faults []string) {
	for _, b := range banned {
		if found := b.pattern.FindString(text); found != "" {
			faults = append(faults, fmt.Sprintf("%q: write %s", found, b.instead))
		}
	}
	return faults
}

// nouns are those that are counted in sentences.
const nouns = `packet|datagram|port|connection|sample|time|run|wait|process|socket|delay|allocation|search|event|` +
	`flow|queue|CPU|thread|entry|line|record`

var (
	singular = regexp.MustCompile(`(?:^|[ (])1[ \x{a0}](?:(?:` + nouns + `)(?:s|es)|entries)\b`)
	plurals  = regexp.MustCompile(`(?:^|[ (])(?:0|[2-9]|[1-9][0-9,]*[0-9])[ \x{a0}](?:` + nouns + `)(?:$|[,.;:)])`)
	loose    = regexp.MustCompile(`[0-9] (?:ns|µs|ms|s|min|h|days?|%|packets?|ports?|bytes?|samples?)(?:$|[^\w/])`)
	double   = regexp.MustCompile(`  |^ | $| [,;.](?:\s|$)`)
	quote    = regexp.MustCompile(`"[^"]*"`)
)

// Prose returns what is wrong with the form of a sentence: its words, its blanks, plural and singular, and numbers that
// could be parted from their units. What it quotes is left out.
func Prose(text string) (faults []string) {
	text = quote.ReplaceAllString(text, `""`)
	faults = Banned(text)
	for _, f := range []struct {
		pattern *regexp.Regexp
		fault   string
	}{
		{singular, "a plural after 1"}, {plurals, "a singular after a number"},
		{loose, "a blank that is not U+00A0 before a unit"}, {double, "blanks"},
	} {
		if found := f.pattern.FindString(text); found != "" {
			faults = append(faults, fmt.Sprintf("%q: %s", found, f.fault))
		}
	}
	return faults
}
