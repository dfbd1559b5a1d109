package tui

import (
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// replacement stands for a character that must not reach the terminal.
const replacement = '\uFFFD'

// asciiForms are the plain forms of the typographic characters that lostbeat's
// own prose uses.
var asciiForms = map[rune]string{
	'–': "-", '—': "-", '·': "-", '…': "...", 'µ': "u", 'μ': "u", '→': "->", '←': "<-", '±': "+/-",
	'≥': ">=", '≤': "<=", '×': "x", '≈': "~",
	'‘': "'", '’': "'", '“': `"`, '”': `"`, '\u00a0': noBreak, '✔': "ok", '✖': "X", '▲': "!", '●': "*", '◂': "<",
	'▸': ">", '−': "-", '⏸': "||",
}

// printable says that s is printable ASCII, which is what nearly all text is.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// noBreak joins a number to its unit where a line may end; on the screen it is a blank.
const noBreak = "\u00a0"

// clean returns s as it may be written to a terminal: C0 and C1 controls,
// DEL, line and paragraph separators, bidirectional and zero-width formatting,
// tags and invalid UTF-8 become U+FFFD. With ascii, everything outside
// ASCII becomes its plain form or ?, except the no-break space, which [line] writes as a blank.
func clean(s string, ascii bool) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if hidden(r) || (r == utf8.RuneError && size <= 1) {
			r = replacement
		}
		switch {
		case !ascii || r < utf8.RuneSelf:
			b.WriteRune(r)
		case asciiForms[r] != "":
			b.WriteString(asciiForms[r])
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

// hidden says that r controls a terminal or changes how the text around it is
// shown, rather than being shown itself.
func hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0xad, r == 0x61c, r == 0x180e, r == 0xfeff:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	case r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}

// width returns how many cells s takes.
func width(s string) int {
	if printable(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// truncate returns the start of s that fits w cells, with tail in its last
// cells when something was cut off.
func truncate(s string, w int, tail string) string {
	switch {
	case w <= 0:
		return ""
	case width(s) <= w:
		return s
	case width(tail) > w:
		tail = ""
	}
	if printable(s) {
		return s[:w-width(tail)] + tail
	}
	return ansi.Truncate(s, w, tail)
}

// measures are the units that stay on the line of their number.
var measures = map[string]bool{
	"%": true, "ns": true, "µs": true, "us": true, "ms": true, "s": true, "min": true, "h": true, "d": true,
	"B": true, "KiB": true, "MiB": true, "GiB": true, "k": true, "M": true, "G": true,
	"Hz": true, "MHz": true, "GHz": true,
}

// unbroken cuts s at blanks, but neither at no-break spaces nor between a number and its unit.
func unbroken(s string) []string {
	var out []string
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }) {
		if n := len(out); n > 0 && measures[strings.TrimRight(word, ".,;:)")] {
			if last := out[n-1]; last[len(last)-1] >= '0' && last[len(last)-1] <= '9' {
				out[n-1] += " " + word
				continue
			}
		}
		out = append(out, word)
	}
	return out
}

// wrap breaks s into lines of at most w cells, between words where it can.
func wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	var lines []string
	current, used := "", 0
	for _, word := range unbroken(s) {
		n := width(word)
		if used > 0 && used+1+n <= w {
			current += " " + word
			used += 1 + n
			continue
		}
		if used > 0 {
			lines = append(lines, current)
		}
		for n > w {
			head := truncate(word, w, "")
			if head == "" { // a rune wider than the line
				return lines
			}
			lines = append(lines, head)
			word = word[len(head):]
			n = width(word)
		}
		current, used = word, n
	}
	if used > 0 {
		lines = append(lines, current)
	}
	return lines
}

// Text returns the screen of opt as it stands, as lines without styles: what a
// reader sees who has no terminal.
func Text(opt Options) string {
	u := newUI(opt)
	u.printed = true
	lines := strings.Split(ansi.Strip(u.render()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}
