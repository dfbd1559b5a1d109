package source

import (
	"bufio"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
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

// UTF8Reader decodes a text that is UTF-16, with or without a byte order mark, and takes the mark of UTF-8 away. What
// is
// not valid becomes U+FFFD.
func UTF8Reader(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	head, _ := b.Peek(4)
	switch {
	case len(head) < 2:
	case head[0] == 0xff && head[1] == 0xfe, head[0] == 0xfe && head[1] == 0xff, head[0] == 0xef:
		return transform.NewReader(b, unicode.BOMOverride(transform.Nop))
	case head[0] == 0 && head[1] != 0:
		return transform.NewReader(b, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder())
	case head[0] != 0 && head[1] == 0:
		return transform.NewReader(b, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder())
	}
	return b
}
