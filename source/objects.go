package source

import (
	"bufio"
	"errors"
	"io"

	"lostbeat/internal/lazyregexp"
)

// wrapper is how Windows PowerShell begins an array in an object: {"value":[...],"Count":2}.
var wrapper = lazyregexp.New(`^\{\s*"value"\s*:\s*\[$`)

// EachObject calls do with each JSON object of a text, one after the other, whatever arrays they are in, so that one
// that is damaged costs itself. Objects are told apart by their braces; do finds out whether they are valid. It is
// given at most most+1 bytes, valid until it returns: more than most are an object that is too long.
// stray is how many bytes between objects are neither space nor part of an array. An end within an object or an array
// is [io.ErrUnexpectedEOF].
func EachObject(r *bufio.Reader, most int, do func(object []byte)) (stray int64, err error) {
	var object []byte
	depth, arrays, wrapped := 0, 0, false
	quoted, escaped := false, false
	for {
		c, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && (depth > 0 || arrays > 0):
			return stray, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return stray, nil
		case err != nil:
			return stray, err
		}
		if depth > 0 && len(object) <= most {
			object = append(object, c)
		}
		switch {
		case quoted:
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				quoted = false
			}
			if depth == 0 && !wrapped {
				stray++
			}
			continue
		case c == '"':
			quoted = true
		case c == '{':
			if depth++; depth == 1 {
				object = append(object[:0], c)
			}
			continue
		case c == '[' && depth == 0:
			arrays++
			continue
		case c == '[' && depth == 1 && wrapper.Match(object[:min(len(object), 64)]):
			depth, arrays, wrapped = 0, arrays+1, true
		case c == ']' && depth == 0:
			arrays--
			continue
		case c == '}' && depth > 0:
			if depth--; depth == 0 {
				do(object)
			}
			continue
		}
		if depth == 0 && !wrapped && c > ' ' && c != ',' {
			stray++
		}
	}
}
