package model

import "strings"

// WithoutNumbers leaves out of a command line what tells the workers of one
// program apart: words that are numbers, and the digits of options.
func WithoutNumbers(cmdline string) string {
	if !strings.ContainsAny(cmdline, "0123456789") {
		return cmdline
	}
	var words []string
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	for word := range strings.FieldsSeq(cmdline) {
		if strings.HasPrefix(word, "-") {
			word = strings.Map(func(r rune) rune {
				if isDigit(r) {
					return -1
				}
				return r
			}, word)
		}
		if strings.TrimFunc(word, isDigit) != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}
