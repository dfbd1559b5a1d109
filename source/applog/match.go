package applog

import "slices"

// Blocks of three bytes decide how far the search may skip.
const (
	blockBytes = 3
	tableBits  = 15
)

// matcher finds which of many literals are in a text, in one pass that skips
// most bytes (Wu and Manber, "A fast algorithm for multi-pattern searching",
// 1994). Letters of ASCII match in both cases.
type matcher struct {
	literals []string
	// shortest is the length of the shortest literal, at least blockBytes.
	shortest int
	// shift is how far the search may move when the block at its end has this hash.
	shift [1 << tableBits]uint8
	// group is which of ends has the literals whose first shortest bytes end in a block of this hash; 0 is none.
	group [1 << tableBits]uint16
	ends  [][]int
}

// newMatcher returns a matcher of literals in lower case, each at least blockBytes long.
func newMatcher(literals []string) *matcher {
	m := &matcher{literals: literals, ends: make([][]int, 1)}
	for i, l := range literals {
		if i == 0 || len(l) < m.shortest {
			m.shortest = len(l)
		}
	}
	m.shortest = min(m.shortest, 255)
	for i := range m.shift {
		m.shift[i] = uint8(max(m.shortest-blockBytes+1, 1))
	}
	for i, l := range literals {
		for end := blockBytes; end <= m.shortest; end++ {
			h := hash(l[end-3], l[end-2], l[end-1])
			m.shift[h] = min(m.shift[h], uint8(m.shortest-end))
		}
		h := hash(l[m.shortest-3], l[m.shortest-2], l[m.shortest-1])
		if m.group[h] == 0 {
			m.group[h] = uint16(len(m.ends))
			m.ends = append(m.ends, nil)
		}
		m.ends[m.group[h]] = append(m.ends[m.group[h]], i)
	}
	return m
}

// hash takes letters of both cases for the same.
func hash(a, b, c byte) uint32 {
	return (uint32(a&^0x20)<<10 ^ uint32(b&^0x20)<<5 ^ uint32(c&^0x20)) & (1<<tableBits - 1)
}

// in appends the literals that are in text to found, each once.
func (m *matcher) in(text []byte, found []int) []int {
	if len(m.literals) == 0 {
		return found
	}
	for end := m.shortest; end <= len(text); {
		h := hash(text[end-3], text[end-2], text[end-1])
		if shift := int(m.shift[h]); shift > 0 {
			end += shift
			continue
		}
		for _, i := range m.ends[m.group[h]] {
			if l := m.literals[i]; hasFold(text[end-m.shortest:], l) && !slices.Contains(found, i) {
				found = append(found, i)
			}
		}
		end++
	}
	return found
}

// hasFold reports whether b begins with prefix, which is in lower case.
func hasFold(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := b[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}
