package findings

import (
	"fmt"
	"io"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// WriteMarkdown writes a finding in full as Markdown, for a ticket, with times of the given zone.
func WriteMarkdown(w io.Writer, f model.Finding, zone *time.Location) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s %s\n\n", severityMarks[f.Severity], plain.Markdown(f.Title))
	fmt.Fprintf(&b, "%s, %s, %s\n", f.Severity, plain.Markdown(f.Detector), plain.Markdown(span(f, zone)))
	list := func(title, bullet string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", title)
		for _, line := range lines {
			fmt.Fprintf(&b, "%s %s\n", bullet, plain.Markdown(line))
		}
	}
	list("Why", "1.", words.Reasons(&f))
	if len(f.Evidence) > 0 {
		b.WriteString("\n**Evidence**\n\n| what | value |\n|---|---|\n")
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "| %s | %s |\n", plain.Markdown(e.Name), plain.Markdown(plain.Quantity(e.Value, e.Unit)))
		}
	}
	list("Ruled out", "-", f.RuledOut)
	list("What to do", "-", f.Advice)
	if f.Loss > 0 {
		fmt.Fprintf(&b, "\n%s\n", lossLine(f.Loss))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}
