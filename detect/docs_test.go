package detect_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"lostbeat/detect"
)

// TestDocumentation wants every setting, with its present default and reason,
// in the documentation, and no row there for a setting that does not exist.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/DETECTORS.md")
	if err != nil {
		t.Fatal(err)
	}
	s := detect.Default()
	rows := make(map[string]bool)
	for _, f := range s.Fields() {
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", f.Name, f, f.Doc, f.Reason)
		rows[row] = true
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/DETECTORS.md lacks the row\n%s", row)
		}
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") && !rows[line] {
			t.Errorf("docs/DETECTORS.md has a row for no setting:\n%s", line)
		}
	}
}
