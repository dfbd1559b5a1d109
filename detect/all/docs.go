package all

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"lostbeat/detect/packetdrop"
)

//go:embed intro.md
var intro string

// settingsMark is where a section's list of settings goes.
const settingsMark = "{{settings}}"

// Documentation returns docs/DETECTORS.md: what holds for all detectors, then
// the section of each.
func Documentation() string {
	s := Settings()
	lists := make(map[string][]string)
	for _, f := range s.Fields() {
		table, _, _ := strings.Cut(f.Name, ".")
		lists[table] = append(lists[table], fmt.Sprintf("- `%s` = %s: %s (why: %s)", f.Name, f, f.Doc, f.Reason))
	}
	var out strings.Builder
	section := func(text, table string) {
		out.WriteString(wrap(strings.Replace(text, settingsMark, strings.Join(lists[table], "\n"), 1)))
	}
	section(intro, "lifecycle")
	for _, d := range s.Definitions() {
		out.WriteString("\n")
		section(d.Doc, d.Table)
	}
	return out.String()
}

// Reasons returns docs/REASONS.md: the table of drop reasons that packet-drop looks up.
func Reasons() string { return wrap(packetdrop.Documentation()) }

// columns is the width of the pages.
const columns = 120

// narrow turns the tables of a page that are too wide for it into lists.
func narrow(text string) string {
	var out, table []string
	end := func() {
		if slices.ContainsFunc(table, func(row string) bool { return utf8.RuneCountInString(row) > columns }) {
			table = list(table)
		}
		out, table = append(out, table...), nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "|") {
			table = append(table, line)
			continue
		}
		end()
		out = append(out, line)
	}
	end()
	return strings.Join(out, "\n")
}

// list writes the rows of a table as items: the first cell, and the others under their headings.
func list(table []string) (items []string) {
	cells := func(row string) []string {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		return cells
	}
	head := cells(table[0])
	for _, row := range table[min(2, len(table)):] {
		item := ""
		for i, c := range cells(row) {
			switch {
			case i == 0:
				item = "- **" + c + "**."
			case c != "":
				item += " " + strings.ToUpper(head[i][:1]) + head[i][1:] + ": " + c + "."
			}
		}
		items = append(items, item)
	}
	return items
}

// wrap breaks the paragraphs and list items of a page into lines; headings, code and tables that fit stay as they are.
func wrap(text string) string {
	text = narrow(text)
	var out, paragraph strings.Builder
	end := func() {
		indent := ""
		if strings.HasPrefix(paragraph.String(), "- ") {
			indent = "  "
		}
		width := 0
		for i, word := range strings.Fields(paragraph.String()) {
			n := utf8.RuneCountInString(word)
			switch {
			case i == 0:
			case width+1+n > columns:
				out.WriteString("\n" + indent)
				width = len(indent)
			default:
				out.WriteByte(' ')
				width++
			}
			out.WriteString(word)
			width += n
		}
		if paragraph.Len() > 0 {
			out.WriteByte('\n')
		}
		paragraph.Reset()
	}
	code := false
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		fence := strings.HasPrefix(line, "```")
		verbatim := line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "|") || fence || code
		if verbatim || strings.HasPrefix(line, "- ") {
			end()
		}
		if fence {
			code = !code
		}
		if verbatim {
			out.WriteString(line + "\n")
			continue
		}
		paragraph.WriteString(line + " ")
	}
	end()
	return out.String()
}
