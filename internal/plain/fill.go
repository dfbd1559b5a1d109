package plain

import "strings"

// Fill breaks the lines of a Markdown page that are longer than width. Lines of a list are indented; rows of tables
// stay whole.
func Fill(text string, width int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		indent := ""
		if strings.HasPrefix(line, "- ") {
			indent = "  "
		} else if number, _, ok := strings.Cut(line, ". "); ok && strings.Trim(number, "0123456789") == "" {
			indent = strings.Repeat(" ", len(number)+2)
		}
		for len(line) > width && !strings.HasPrefix(line, "|") {
			cut := strings.LastIndex(line[:width+1], " ")
			if cut <= len(indent) {
				break
			}
			out.WriteString(line[:cut] + "\n")
			line = indent + line[cut+1:]
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}
