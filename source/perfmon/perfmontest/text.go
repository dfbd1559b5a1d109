// Package perfmontest writes performance logs of every form, for tests. It
// shares no code with the reader: what it knows of the formats stands here a
// second time.
package perfmontest

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding"
)

// Text is a PDH text log. The zero value with Paths and Rows is a CSV without
// a zone, as typeperf writes it.
type Text struct {
	// Magic is the signature, "(PDH-CSV 4.0)" when empty.
	Magic string
	// Zone is what follows the signature in the first cell, for example " (GMT Standard Time)(0)".
	Zone string
	// Paths are the columns, Description one more without values.
	Paths       []string
	Description string
	Rows        []Row
	// Separator is ',' when 0.
	Separator byte
	// Encoding is that of the header, nil for UTF-8; UTF16 writes the whole file in UTF-16 with a mark.
	Encoding encoding.Encoding
	UTF16    bool
	BOM      bool
	// LF ends lines without a carriage return.
	LF bool
	// Typeperf adds the empty first line and the sentences at the end.
	Typeperf bool
	// Comma writes decimal commas, Exponent three-digit exponents, Unquoted no quotes.
	Comma, Exponent, Unquoted bool
}

// Row is one sample: local time and a value to a path, NaN for missing.
type Row struct {
	Time   time.Time
	Values []float64
}

// Bytes returns the file.
func (t *Text) Bytes() []byte {
	var b bytes.Buffer
	sep, end := t.Separator, "\r\n"
	if sep == 0 {
		sep = ','
	}
	if t.LF {
		end = "\n"
	}
	line := func(cells []string) {
		for i, cell := range cells {
			if i > 0 {
				b.WriteByte(sep)
			}
			if t.Unquoted {
				b.WriteString(cell)
			} else {
				b.WriteString(`"` + cell + `"`)
			}
		}
		b.WriteString(end)
	}
	if t.Typeperf {
		b.WriteString(end)
	}
	magic := t.Magic
	if magic == "" {
		magic = "(PDH-CSV 4.0)"
	}
	cells := append([]string{magic + t.Zone}, t.Paths...)
	if t.Description != "" {
		cells = append(cells, t.Description)
	}
	if t.Encoding != nil {
		for i, cell := range cells {
			if s, err := encoding.ReplaceUnsupported(t.Encoding.NewEncoder()).String(cell); err == nil {
				cells[i] = s
			}
		}
	}
	line(cells)
	for _, row := range t.Rows {
		cells = append(cells[:0], row.Time.Format("01/02/2006 15:04:05.000"))
		for _, v := range row.Values {
			cells = append(cells, t.number(v))
		}
		if t.Description != "" {
			cells = append(cells, " ")
		}
		line(cells)
	}
	if t.Typeperf {
		b.WriteString(
			end + "Exiting, please wait..." + strings.Repeat(" ", 25) + end + "The command completed successfully." + end + end,
		)
	}
	out := b.Bytes()
	switch {
	case t.UTF16:
		wide := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(string(out))) {
			wide = append(wide, byte(u), byte(u>>8))
		}
		return wide
	case t.BOM:
		return append([]byte{0xef, 0xbb, 0xbf}, out...)
	}
	return out
}

func (t *Text) number(v float64) string {
	if math.IsNaN(v) {
		return " "
	}
	s := strconv.FormatFloat(v, 'g', 17, 64)
	if t.Exponent && v != 0 {
		s = fmt.Sprintf("%.19e", v)
		if i := strings.IndexByte(s, 'e'); len(s)-i == 4 {
			s = s[:i+2] + "0" + s[i+2:]
		}
	}
	if t.Comma {
		s = strings.Replace(s, ".", ",", 1)
	}
	return s
}
