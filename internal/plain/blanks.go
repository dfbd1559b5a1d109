package plain

import "strings"

// Blanks replaces the no-break spaces between numbers and units by blanks, for lines that other programs match and for
// terminals without UTF-8.
func Blanks(text string) string { return strings.ReplaceAll(text, noBreak, " ") }
