package etw

import (
	"encoding/hex"
	"fmt"
)

// GUID identifies a provider or an event class, in the byte order of the wire:
// the first three groups are little-endian. The zero GUID is none.
type GUID [16]byte

// order is the position in a GUID of each byte of its text form.
var order = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

// dashes are the positions in the text form that hold a dash.
var dashes = [4]int{8, 13, 18, 23}

// String returns the form 3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c.
func (g GUID) String() string {
	var swapped [16]byte
	for i, from := range order {
		swapped[i] = g[from]
	}
	var text [32]byte
	hex.Encode(text[:], swapped[:])
	return string(
		text[:8],
	) + "-" + string(
		text[8:12],
	) + "-" + string(
		text[12:16],
	) + "-" + string(
		text[16:20],
	) + "-" + string(
		text[20:],
	)
}

// ParseGUID reads the form that String writes, with or without braces.
func ParseGUID(s string) (g GUID, err error) {
	if len(s) == 38 && s[0] == '{' && s[37] == '}' {
		s = s[1:37]
	}
	if len(s) != 36 {
		return g, fmt.Errorf("parse GUID %q: want 36 characters", s)
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if n < 32 && !isDash(i) {
			digits[n] = s[i]
			n++
		} else if s[i] != '-' {
			return g, fmt.Errorf("parse GUID %q: want a dash at %d", s, i)
		}
	}
	var swapped [16]byte
	if _, err := hex.Decode(swapped[:], digits[:]); err != nil {
		return g, fmt.Errorf("parse GUID %q: %w", s, err)
	}
	for i, to := range order {
		g[to] = swapped[i]
	}
	return g, nil
}

func isDash(i int) bool {
	for _, d := range dashes {
		if i == d {
			return true
		}
	}
	return false
}

// MustGUID is ParseGUID for constants; it panics on a malformed one.
func MustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}
