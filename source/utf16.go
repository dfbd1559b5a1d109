package source

import (
	"unicode/utf16"
	"unicode/utf8"
)

// AppendUTF16 appends UTF-16 as UTF-8; a half of a pair alone becomes U+FFFD, and an odd last byte is left out.
func AppendUTF16(dst, src []byte, bigEndian bool) []byte {
	at := func(i int) rune {
		if bigEndian {
			return rune(src[i])<<8 | rune(src[i+1])
		}
		return rune(src[i+1])<<8 | rune(src[i])
	}
	for i := 0; i+1 < len(src); i += 2 {
		r := at(i)
		if utf16.IsSurrogate(r) && i+3 < len(src) {
			if pair := utf16.DecodeRune(r, at(i+2)); pair != utf8.RuneError {
				r = pair
				i += 2
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
