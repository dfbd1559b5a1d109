package perfmon

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// codePage is an ANSI code page of Windows.
type codePage struct {
	name string
	encoding.Encoding
}

// codePages are the ANSI code pages that Windows has, in the order in which
// equals are preferred.
var codePages = []codePage{
	{"cp1252", charmap.Windows1252},
	{"cp1251", charmap.Windows1251},
	{"cp1250", charmap.Windows1250},
	{"cp1254", charmap.Windows1254},
	{"cp1253", charmap.Windows1253},
	{"cp1257", charmap.Windows1257},
	{"cp1255", charmap.Windows1255},
	{"cp1256", charmap.Windows1256},
	{"cp1258", charmap.Windows1258},
	{"cp874", charmap.Windows874},
	{"cp932", japanese.ShiftJIS},
	{"cp936", simplifiedchinese.GBK},
	{"cp949", korean.EUCKR},
	{"cp950", traditionalchinese.Big5},
}

// codePageNamed returns the code page called "cp1251", "1251" or "windows-1251".
func codePageNamed(name string) (codePage, error) {
	number := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(name), "windows-"), "cp")
	for _, p := range codePages {
		if p.name == "cp"+number {
			return p, nil
		}
	}
	return codePage{}, fmt.Errorf("code page %q is not known: %w", name, errCodePage)
}

// decode returns s in UTF-8; bytes that the page does not have become U+FFFD.
func (p codePage) decode(s string) string {
	out, err := p.NewDecoder().String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}

// CheckCodePage refuses the name of a code page that is not known.
func CheckCodePage(name string) error {
	_, err := codePageNamed(name)
	return err
}

// guessCodePage returns the code page in which the header cells make most
// sense: counters that lostbeat knows first, then the bias of letters towards
// one script. A header in ASCII or valid UTF-8 needs none; ok is false.
func guessCodePage(cells []string, n *names) (page codePage, ok bool) {
	odd := cells[:0:0]
	for _, cell := range cells {
		if !utf8.ValidString(cell) {
			odd = append(odd, cell)
			if len(odd) == 400 {
				break
			}
		}
	}
	if len(odd) == 0 {
		return codePage{}, false
	}
	best := -1 << 30
	for _, candidate := range codePages {
		if score := candidate.score(odd, n); score > best {
			best, page = score, candidate
		}
	}
	return page, true
}

// score says how much sense cells make in p.
func (p codePage) score(cells []string, n *names) int {
	score := 0
	objects := map[string]bool{}
	for _, cell := range cells {
		text := p.decode(cell)
		if at, ok := parsePath(text); ok && !objects[at.object] {
			objects[at.object] = true
			if n.knows(at.object) && at.object != fold(at.object) {
				score += 200
			}
		}
		if at, ok := parsePath(text); ok {
			if _, spec := n.find(at.object, at.counter); spec != nil {
				score += 100
			}
		}
		score += plausible(text)
	}
	return score
}

// plausible rates the letters outside ASCII of a name: words of one script are
// likely, letters amid another script and signs inside words are not.
func plausible(text string) int {
	score := 0
	var before rune
	for _, r := range text {
		switch {
		case r == utf8.RuneError || r < 0xa0 && r >= 0x80:
			score -= 20
		case r < 0x80:
		case unicode.IsLetter(r):
			switch {
			case unicode.Is(unicode.Latin, r):
				// An accented letter stands alone between plain ones.
				if before >= 0x80 {
					score -= 4
				} else {
					score++
				}
				if unicode.IsUpper(r) && unicode.IsLower(before) {
					score -= 4
				}
			case unicode.Is(unicode.Cyrillic, r) || unicode.Is(unicode.Greek, r):
				if before >= 'A' && before < 0x80 && unicode.IsLetter(before) {
					score -= 4
				} else {
					score += 2
				}
				if unicode.IsUpper(r) && unicode.IsLower(before) {
					score -= 4
				}
			case unicode.Is(unicode.Han, r) || unicode.Is(unicode.Hiragana, r) ||
				unicode.Is(unicode.Katakana, r) || unicode.Is(unicode.Hangul, r):
				score += 2
			default:
				score++
			}
		default:
			score -= 3
		}
		before = r
	}
	return score
}
