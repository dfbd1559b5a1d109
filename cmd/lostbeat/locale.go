package main

import (
	"cmp"
	"strings"
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
