package plain

import "strings"

// units are the words and signs that belong to the number in front of them.
var units = map[string]bool{
	"ns": true, "µs": true, "ms": true, "s": true, "min": true, "h": true, "day": true, "days": true,
	"%": true, "M": true, "G": true, "T": true,
	"B": true, "KiB": true, "MiB": true, "GiB": true, "byte": true, "bytes": true,
	"packet": true, "packets": true, "datagram": true, "datagrams": true, "port": true, "ports": true,
	"sample": true, "samples": true, "entry": true, "entries": true, "time": true, "times": true,
	"connection": true, "connections": true,
}

const noBreak = "\u00a0"

// Tie joins each number of a sentence to its unit by a no-break space, so that no line ends between them. What the
// sentence quotes stays as it is.
func Tie(text string) string {
	var b strings.Builder
	done, quoted := 0, false
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ' ' && !quoted && i > 0 && endsNumber(text[i-1]) && afterNumber(text[:i]) &&
			units[firstWord(text[i+1:])]:
			b.WriteString(text[done:i])
			b.WriteString(noBreak)
			done = i + 1
		}
	}
	if done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// endsNumber says that a number may end in c: few words do.
func endsNumber(c byte) bool { return c >= '0' && c <= '9' || c == 'M' || c == 'G' || c == 'T' }

// afterNumber says that text ends in a number, or in one with its factor: 28,232 or 3.6 M.
func afterNumber(text string) bool {
	word := text[strings.LastIndexByte(text, ' ')+1:]
	if before, factor, ok := strings.Cut(word, noBreak); ok || strings.Contains("MGT", word) && word != "" {
		return ok && factor != "" && strings.Contains("MGT", factor) && afterNumber(before) ||
			!ok && len(text) > len(word) && afterNumber(text[:len(text)-len(word)-1])
	}
	digits := 0
	for i := range len(word) {
		switch c := word[i]; {
		case c >= '0' && c <= '9':
			digits++
		case !strings.ContainsRune("(<-+.,", rune(c)):
			return false
		}
	}
	return digits > 0 && word[len(word)-1] != '.' && word[len(word)-1] != ','
}

// firstWord is what stands before the first character that cannot be a part of a unit.
func firstWord(text string) string {
	if strings.HasPrefix(text, "%") {
		return "%"
	}
	end := strings.IndexFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != 'µ' })
	if end < 0 {
		return text
	}
	return text[:end]
}
