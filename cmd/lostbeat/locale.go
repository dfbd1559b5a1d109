package main

import (
	"cmp"
	"io"
	"os"
	"slices"
	"strings"

	"lostbeat/internal/lazyregexp"
	"lostbeat/internal/plain"
)

// asciiLocale says that the locale's characters are not those of UTF-8: it is C
// or POSIX, or names another code set. The variables count in the order that
// POSIX gives. Where none is set, which containers and service managers do on
// terminals of all kinds, it is not.
func asciiLocale(env func(string) string) bool {
	locale := cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG"))
	locale, _, _ = strings.Cut(locale, "@") // a modifier, such as @euro
	name, codeSet, ok := strings.Cut(locale, ".")
	if !ok {
		return name == "C" || name == "POSIX"
	}
	return !strings.EqualFold(strings.ReplaceAll(codeSet, "-", ""), "utf8")
}

// plainTerminals are the values of TERM of terminals whose fonts lack what the screen draws.
var plainTerminals = []string{"linux", "dumb", "vt100", "vt220"}

// serialLine matches the devices of serial lines and of the consoles of virtual machines.
var serialLine = lazyregexp.New(`^/dev/(tty(S|AMA|USB|ACM|O|PS|mxc|sclp|SAC)|hvc|hvsi|sclp_line|xvc|cuau?)[0-9]+$`)

// asciiTerminal says that a terminal, by its type and its device, shows characters of ASCII only.
func asciiTerminal(kind, device string) bool {
	return slices.Contains(plainTerminals, kind) || serialLine.MatchString(device)
}

// terminalName is the device of standard output, "" where the system does not say.
func terminalName() string {
	name, err := os.Readlink("/proc/self/fd/1")
	if err != nil {
		return ""
	}
	return name
}

// withBlanks returns w, or in a locale without UTF-8 a writer that replaces the no-break spaces of each text by blanks.
func withBlanks(w io.Writer) io.Writer {
	if !asciiLocale(os.Getenv) {
		return w
	}
	return blankWriter{w}
}

type blankWriter struct{ w io.Writer }

// Write implements io.Writer for whole texts.
func (b blankWriter) Write(text []byte) (int, error) {
	if _, err := io.WriteString(b.w, plain.Blanks(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
