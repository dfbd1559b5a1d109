package run

import (
	"fmt"
	"strings"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/source"

	"github.com/dustin/go-humanize"
)

// Integrity says how much of the file could be read: what its outline shows, and
// after a Run that has reached the end everything.
func (c *Capture) Integrity() source.Integrity {
	file := c.File
	if p, ok := file.(*pooled); ok {
		file = p.File
	}
	var i source.Integrity
	if v, ok := file.(source.Verified); ok {
		i = v.Integrity()
	}
	if c.lacking != "" {
		i.Add("what this part was cut from is "+c.lacking, 0)
	}
	if c.implausible > 0 {
		i.Add(words.Number(c.implausible)+" events left out that no host could have sent", 0)
	}
	return i
}

// PartOfIncomplete tells a capture what of its recording's facts is known without a Run: that it is a part of something
// that could not be read to its end, empty where it is not.
func (c *Capture) PartOfIncomplete(what string) {
	if what != "" {
		c.lacking = what
	}
}

// incompleteOf says of captures that could not be read to their ends what is missing, empty for none.
func incompleteOf(captures []*Capture) string {
	var lines []string
	for _, c := range captures {
		if i := c.Integrity(); !i.Complete() {
			lines = append(lines, IntegrityLine(i))
		}
	}
	return strings.Join(lines, "; ")
}

// IntegrityLine says in one line how much of a file could be read, and what is
// damaged or missing.
func IntegrityLine(i source.Integrity) string {
	count := countOf(i)
	if i.Complete() {
		if i.Unit == "" && i.Unknown == "" {
			return ""
		}
		return join("complete: ", count, i.Unknown)
	}
	parts := []string{count}
	if i.Start != 0 && i.End >= i.Start {
		parts = append(parts, fmt.Sprintf("events from %s to %s (%s)", i.Start, i.End, plain.Span(i.End.Sub(i.Start))))
	}
	if i.Bytes > 0 {
		parts = append(parts, humanize.IBytes(uint64(i.Bytes))+" not readable")
	}
	parts = append(parts, i.Damage...)
	if i.More > 0 {
		parts = append(parts, "and "+words.Plural(i.More, "more damaged place"))
	}
	return join("incomplete: ", append(parts, i.Unknown)...)
}

// countOf says how many of the parts of a file could be read, "" when that is not known.
func countOf(i source.Integrity) string {
	switch {
	case i.Unit == "":
		return ""
	case i.Written > i.Read:
		return words.Number(i.Read) + " of " + words.Plural(i.Written, i.Unit) + " read"
	}
	return words.Plural(i.Read, i.Unit) + " read"
}

func join(prefix string, parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return prefix + strings.Join(said, "; ")
}
