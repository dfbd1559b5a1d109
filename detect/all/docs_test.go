package all_test

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"lostbeat/detect/all"
)

// TestDocumentation wants the pages to say what the detectors say of
// themselves, in lines of at most 120 columns.
func TestDocumentation(t *testing.T) {
	for name, want := range map[string]string{"DETECTORS.md": all.Documentation(), "REASONS.md": all.Reasons()} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != want {
			t.Errorf("docs/%s is not what make generate writes", name)
		}
		for line := range strings.SplitSeq(want, "\n") {
			if n := utf8.RuneCountInString(line); n > 120 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}

// A detector's section has its name, by which lostbeat explain finds it.
func TestEveryDetectorIsExplained(t *testing.T) {
	s := all.Settings()
	for _, d := range s.Definitions() {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.Doc, "## "), "\n")
		if text, ok := all.Explain(name); !ok || strings.Contains(name, " ") || len(text) < 100 {
			t.Errorf("%q is not the name of a detector with a text", name)
		}
	}
}
